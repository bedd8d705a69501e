// SPDX-License-Identifier: Apache-2.0
//! A burst to send as OVS hands it over: an array of packets, ours and others.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;

use super::PacketCsum;
use crate::bytes::RawBytesMut;
use crate::csum::{self, Partial};
use crate::engine::{NS_TX_METADATA, TX_METADATA_LEN, checksum_metadata};
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
    csums: &'a [PacketCsum],
    /// By place in the array: whether there are metadata in front of the packet's frame, which ask for its
    /// checksum.
    metadata: u64,
}

/// What became of partial checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CsumsPrepared {
    /// Those that the other side of the ring is asked for.
    pub offloaded: usize,
    /// Those that were completed.
    pub completed: usize,
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
            csums: &[],
            metadata: 0,
        }
    }

    /// The same, with those of its packets whose checksums are partial. What does not fit to a packet is
    /// passed over.
    ///
    /// # Safety
    ///
    /// The bytes of their frames, and those in front of these in the same memory, are the packets' own, and
    /// may be written during `'a`.
    #[inline]
    pub unsafe fn with_csums(self, csums: &'a [PacketCsum]) -> TxBurst<'a> {
        TxBurst { csums, ..self }
    }

    /// Whether there are partial checksums.
    #[inline]
    pub(crate) fn has_csums(&self) -> bool {
        !self.csums.is_empty()
    }

    /// Sees to the partial checksums, before anything else is done: has the other side of the ring asked for
    /// those of packets of the pool `asked`, and completes all others.
    pub(crate) fn prepare_csums(&mut self, asked: Option<u64>) -> CsumsPrepared {
        let mut prepared = CsumsPrepared::default();
        for csum in self.csums {
            let at = usize::from(csum.packet);
            let Some(&raw) = self.packets.get(at) else {
                continue;
            };
            if asked.is_some_and(|pool_id| self.ask(at, pool_id, csum.partial())) {
                self.metadata |= 1 << at;
                prepared.offloaded += 1;
            } else if csum::complete_at(self.writable(raw), csum.partial()) {
                prepared.completed += 1;
            }
        }
        prepared
    }

    /// Writes metadata in front of the frame of the packet `at`, if it is one of the pool `pool_id` with its
    /// frame in its buffer and room in front of that. Whether it did.
    fn ask(&self, at: usize, pool_id: u64, partial: Partial) -> bool {
        let raw = self.packets[at];
        // SAFETY: `new` a.; nothing of the burst was taken yet.
        let (ours, frame) = unsafe {
            let ours = self.layout.is_own(raw) && InFlightTag::of(pool_id).matches(raw);
            (ours, self.layout.frame_of(raw))
        };
        let sum_end = u32::from(partial.start) + u32::from(partial.offset) + 2;
        let room = u32::from(frame.data_ofs).checked_sub(TX_METADATA_LEN);
        let Some(start) = room.filter(|_| ours && at < 64 && sum_end <= frame.size) else {
            return false;
        };
        // SAFETY: in front of the frame, in its memory, by the promise of `with_csums`.
        let bytes = unsafe {
            let start = frame.base.wrapping_add(start as usize);
            RawBytesMut::new(start, TX_METADATA_LEN as usize)
        };
        bytes.store(0, checksum_metadata(partial))
    }

    /// The bytes of the frame of the packet at `raw`, one of those with a partial checksum.
    fn writable(&self, raw: *mut c_void) -> RawBytesMut<'a> {
        // SAFETY: `new` a.
        let frame = unsafe { self.layout.frame_of(raw) };
        let data = frame.base.wrapping_add(frame.data_ofs as usize);
        // SAFETY: by the promise of `with_csums`.
        unsafe { RawBytesMut::new(data, frame.size as usize) }
    }

    /// Completes the checksum of the next packet to do, if it has metadata that ask for it: they do not go
    /// where its bytes go. Whether it did.
    #[cold]
    pub(crate) fn complete_next(&mut self) -> bool {
        let at = self.done;
        if at >= 64 || self.metadata >> at & 1 == 0 {
            return false;
        }
        self.metadata &= !(1 << at);
        let csum = self.csums.iter().find(|c| usize::from(c.packet) == at);
        let bytes = self.writable(self.packets[at]);
        csum.is_some_and(|csum| csum::complete_at(bytes, csum.partial()))
    }

    /// For the packets to do, in order, whether their slots have metadata; those past 64 have none.
    #[inline]
    pub(crate) fn metadata(&self) -> TxMetadata {
        TxMetadata(self.metadata.checked_shr(self.done as u32).unwrap_or(0))
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

/// Which of the packets to do have metadata in front of their frames.
#[derive(Clone, Copy)]
pub struct TxMetadata(u64);

impl TxMetadata {
    /// Whether some have.
    #[inline]
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// The flag for the slot of the first packet, and the rest.
    #[inline]
    pub fn next(self) -> (u16, TxMetadata) {
        let flag = (self.0 & 1) as u16 * NS_TX_METADATA;
        (flag, TxMetadata(self.0 >> 1))
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
