// SPDX-License-Identifier: Apache-2.0
//! A burst to send as OVS hands it over: an array of packets, ours and others.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;

use crate::index::OwnedBuf;
use crate::policer::Policer;
use crate::pool::{self, Frame, InFlightTag, Packet, PacketLayout, PacketSlice, Pool};
use crate::region::RawBytes;

/// Packets that OVS hands over, in an array of its own. They are worked through from the first to the
/// last; ours are taken, the others are moved to the front of the array: they stay OVS's.
///
/// ```text
///   | OVS's | ...   | taken | taken | to do | to do |
///     0               first           done            len
/// ```
pub struct TxBurst<'a> {
    packets: &'a mut [*mut c_void],
    layout: PacketLayout,
    /// Packets of others, at the front.
    returned: usize,
    /// Those from `first` up to `done` are taken, and of one pool.
    first: usize,
    done: usize,
}

#[allow(unsafe_code)]
impl<'a> TxBurst<'a> {
    /// The burst in `packets`.
    ///
    /// # Safety
    ///
    /// a. Each element is a packet of `layout`, and nobody else uses it during `'a`; none is in the
    ///    array twice. Those that are ours are in flight.
    /// b. The bytes of its frame are readable during `'a`.
    #[inline]
    pub unsafe fn new(packets: &'a mut [*mut c_void], layout: PacketLayout) -> TxBurst<'a> {
        TxBurst {
            packets,
            layout,
            returned: 0,
            first: 0,
            done: 0,
        }
    }

    /// How many are to do.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.packets.len() - self.done
    }

    /// The packets to do, in order: each, if it is one of the pool `pool_id` with its frame in its
    /// buffer. Those that are taken, the first ones, must be passed by [`TxBurst::taken`].
    #[inline]
    pub(crate) fn swappable(
        &self,
        pool_id: u64,
    ) -> impl ExactSizeIterator<Item = Option<Swappable<'_>>> {
        let (layout, tag) = (self.layout, InFlightTag::of(pool_id));
        self.packets[self.done..].iter().map(move |&raw| {
            // SAFETY: `new` a.; a packet that was taken is not in flight, and its memory is there.
            let swappable = unsafe { layout.is_own(raw) && tag.matches(raw) };
            swappable.then_some(Swappable {
                raw,
                layout,
                tag,
                burst: PhantomData,
            })
        })
    }

    /// The next `n` packets to do were taken.
    #[inline]
    pub(crate) fn taken(&mut self, n: usize) {
        self.done += n.min(self.left());
    }

    /// The bytes of the next frame to do.
    #[inline]
    pub(crate) fn next_bytes(&self) -> Option<RawBytes<'a>> {
        let &raw = self.packets.get(self.done)?;
        // SAFETY: `new` a.
        let frame = unsafe { self.layout.frame_of(raw) };
        let data = frame.base.wrapping_add(frame.data_ofs as usize);
        // SAFETY: `new` b.
        Some(unsafe { RawBytes::new(data, frame.size as usize) })
    }

    /// Is done with the next packet, after all that were taken, which are of `pool`.
    #[cold]
    pub(crate) fn dismiss(&mut self, pool: &Pool) {
        // Taken first: should it be in the array twice, it is not in flight now.
        let packet = self.take_next();
        self.put_taken(pool);
        self.settle(packet);
    }

    /// Is done with those of the packets, none of which was taken, that `policer` does not let pass. Returns
    /// how many.
    #[cold]
    pub fn police(&mut self, policer: &Policer, pool: &Pool) -> usize {
        let layout = self.layout;
        let packets = Cell::from_mut(&mut self.packets[self.done..]).as_slice_of_cells();
        // SAFETY: `new` a.
        let length = |raw: &Cell<*mut c_void>| unsafe { layout.frame_of(raw.get()) }.size;
        let dropped = policer.sift(packets, length);
        // Those that do not pass are to go first.
        self.packets[self.done..].rotate_right(dropped);
        for _ in 0..dropped {
            self.dismiss(pool);
        }
        dropped
    }

    /// Is done with all packets, none of which was taken. Returns how many are OVS's still.
    pub(crate) fn discard(mut self) -> usize {
        while self.left() > 0 {
            let packet = self.take_next();
            self.settle(packet);
        }
        self.returned
    }

    /// The next packet to do, if it is one of ours, of whichever pool.
    fn take_next(&self) -> Option<Packet> {
        let raw = self.packets[self.done];
        // SAFETY: `new` a.
        if !unsafe { self.layout.is_own(raw) } {
            return None;
        }
        // SAFETY: `new` a.; a packet that was taken is not in flight, and its memory is there.
        unsafe { Packet::from_raw(raw) }
    }

    /// Frees `packet`, the next one to do, or moves it to the front if it is none of ours.
    fn settle(&mut self, packet: Option<Packet>) {
        match packet {
            Some(packet) => pool::free(packet),
            None => {
                self.packets[self.returned] = self.packets[self.done];
                self.returned += 1;
            }
        }
        self.done += 1;
        self.first = self.done;
    }

    /// Puts what was taken back to `pool`, whose packets they are, and dismisses the rest. Returns how
    /// many packets are OVS's still.
    #[inline]
    pub(crate) fn finish(&mut self, pool: &Pool) -> usize {
        while self.left() > 0 {
            self.dismiss(pool);
        }
        self.put_taken(pool);
        self.returned
    }

    #[inline]
    fn put_taken(&mut self, pool: &Pool) {
        let taken = &mut self.packets[self.first..self.done];
        self.first = self.done;
        // SAFETY: they were taken (`taken`), and nobody keeps what `Swappable::take` had.
        pool.put(unsafe { PacketSlice::of_raw(taken) });
    }
}

/// A packet to send whose buffer can be exchanged: [`TxBurst::swappable`] saw that it is in flight, with
/// its frame in its buffer.
pub struct Swappable<'b> {
    raw: *mut c_void,
    layout: PacketLayout,
    tag: InFlightTag,
    burst: PhantomData<&'b mut Packet>,
}

#[allow(unsafe_code)]
impl Swappable<'_> {
    /// Where its frame is.
    #[inline]
    pub fn frame(&self) -> Frame {
        // SAFETY: `TxBurst::new` a.
        unsafe { self.layout.frame_of(self.raw) }
    }

    /// Takes it from OVS and gives it the buffer `buf`. Returns the one it had.
    #[inline]
    pub fn take(self, buf: OwnedBuf) -> OwnedBuf {
        // SAFETY: it matched, and nobody else has it.
        unsafe { self.tag.take(self.raw) }.exchange_buf(buf)
    }
}
