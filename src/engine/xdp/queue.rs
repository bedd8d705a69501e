// SPDX-License-Identifier: Apache-2.0
//! The four rings of an AF_XDP socket, each with one writer and one reader.
//!
//! ```text
//!   fill        we write    kernel reads   u64: address of an empty frame
//!   receive     kernel      we             Desc: a frame with a packet in it
//!   transmit    we          kernel         Desc: a frame to send
//!   completion  kernel      we             u64: address of a frame that was sent
//! ```
//!
//! A ring's `producer` and `consumer` count up for ever and wrap at 2^32; the entry of a position is
//! `position & mask`. Each side writes its own position only and keeps the authoritative copy of it
//! in a private field, so what stands in shared memory can be wrong only about the other side. That
//! side's position is checked; every access to an entry is masked. The worst that a wrong position
//! or entry does is a wrong value, which [`super::sync`] checks before it is used.
//!
//! Ordering, argued once. Producer: entries are written before the release store of `producer`,
//! which the kernel reads with acquire; so it sees them whole. It advances `consumer` with release
//! after it read an entry, and we read that with acquire before we reuse the entry. Consumer: the
//! same with the roles exchanged. This is the contract of the kernel's `net/xdp/xsk_queue.h`.

use std::mem::{align_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// A receive or transmit descriptor: `struct xdp_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(super) struct Desc {
    /// Byte offset of the packet in the UMEM.
    pub addr: u64,
    /// Its bytes.
    pub len: u32,
    /// `XDP_PKT_CONTD` and the like.
    pub options: u32,
}

const _: () = assert!(size_of::<Desc>() == size_of::<libc::xdp_desc>());
const _: () = assert!(align_of::<Desc>() == align_of::<libc::xdp_desc>());

/// What a ring can hold.
///
/// # Safety
///
/// Every bit pattern is a value of the type.
pub(super) unsafe trait Entry: Copy {}
// SAFETY: an integer.
unsafe impl Entry for u64 {}
// SAFETY: integers, without padding.
unsafe impl Entry for Desc {}

/// Where the parts of a ring are in its mapping, in bytes: `struct xdp_ring_offset`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offsets {
    pub producer: u64,
    pub consumer: u64,
    pub flags: u64,
    pub desc: u64,
}

impl From<&libc::xdp_ring_offset> for Offsets {
    fn from(kernel: &libc::xdp_ring_offset) -> Offsets {
        Offsets {
            producer: kernel.producer,
            consumer: kernel.consumer,
            flags: kernel.flags,
            desc: kernel.desc,
        }
    }
}

/// A mapped ring; unmapped when dropped. The mapping keeps the socket alive in the kernel, even
/// when its descriptor is closed.
struct Shared<T> {
    base: NonNull<u8>,
    len: usize,
    producer: NonNull<u32>,
    consumer: NonNull<u32>,
    flags: NonNull<u32>,
    entries: NonNull<T>,
    mask: u32,
}

// SAFETY: the mapping is owned and belongs to no thread; positions and flags are only accessed as
// atomics, and entries only by the one side that holds this value.
unsafe impl<T: Entry> Send for Shared<T> {}

impl<T: Entry> Shared<T> {
    /// Maps the ring of `entries` entries that `fd` has at `page_offset`; without `fd`, memory of
    /// our own that stands for it (tests).
    fn map(
        fd: Option<BorrowedFd<'_>>,
        page_offset: u64,
        entries: u32,
        at: Offsets,
    ) -> Result<Shared<T>> {
        let nonsense = || {
            Error::new(
                libc::EINVAL,
                "the kernel's AF_XDP ring layout makes no sense",
            )
        };
        let table = entries as u64 * size_of::<T>() as u64;
        let len = at.desc.checked_add(table).ok_or_else(nonsense)?;
        let fits = |offset: u64| {
            offset.is_multiple_of(4) && offset.checked_add(4).is_some_and(|e| e <= len)
        };
        if !entries.is_power_of_two()
            || !at.desc.is_multiple_of(align_of::<T>() as u64)
            || ![at.producer, at.consumer, at.flags].into_iter().all(fits)
        {
            return Err(nonsense());
        }
        let len = usize::try_from(len).map_err(|_| nonsense())?;
        let page_offset = libc::off_t::try_from(page_offset).map_err(|_| nonsense())?;
        let (fd, flags) = match fd {
            Some(fd) => (fd.as_raw_fd(), libc::MAP_SHARED | libc::MAP_POPULATE),
            None => (-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, page_offset) };
        if base == libc::MAP_FAILED {
            return Err(Error::last_os("cannot map an AF_XDP ring"));
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(nonsense)?;
        // SAFETY: all four offsets were just checked to lie, whole and aligned, in the `len` bytes
        // of the mapping, which starts at a page.
        unsafe {
            Ok(Shared {
                base,
                len,
                producer: base.add(at.producer as usize).cast(),
                consumer: base.add(at.consumer as usize).cast(),
                flags: base.add(at.flags as usize).cast(),
                entries: base.add(at.desc as usize).cast(),
                mask: entries - 1,
            })
        }
    }

    #[inline]
    fn size(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping and aligned (`map`), which lives as long as `self`; only ever
        // accessed atomically, by the kernel too.
        unsafe { AtomicU32::from_ptr(self.producer.as_ptr()) }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { AtomicU32::from_ptr(self.consumer.as_ptr()) }
    }

    #[inline]
    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { AtomicU32::from_ptr(self.flags.as_ptr()) }
    }

    #[inline]
    fn entry(&self, position: u32) -> NonNull<T> {
        // SAFETY: the masked index is below the number of entries, all of which `map` mapped.
        unsafe { self.entries.add((position & self.mask) as usize) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length; every pointer into it goes with `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The writing end of a ring: fill or transmit.
pub(super) struct Producer<T> {
    ring: Shared<T>,
    /// Our position, of which `producer` in the ring is a copy for the kernel.
    produced: u32,
}

impl<T: Entry> Producer<T> {
    /// Maps the ring that `fd` has at `page_offset`.
    pub(super) fn map(
        fd: BorrowedFd<'_>,
        page_offset: u64,
        entries: u32,
        at: Offsets,
    ) -> Result<Producer<T>> {
        Ok(Producer {
            ring: Shared::map(Some(fd), page_offset, entries, at)?,
            produced: 0,
        })
    }

    /// Entries that the kernel has not taken yet.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        let consumed = self.ring.consumer().load(Ordering::Acquire);
        // More than the ring holds is a wrong position: then it counts as full.
        self.produced.wrapping_sub(consumed).min(self.ring.size())
    }

    /// The position after the last published entry.
    #[inline]
    pub(super) fn produced(&self) -> u32 {
        self.produced
    }

    /// Reads, once, the entry at `position`, which is one of those that are [`Producer::pending`].
    pub(super) fn published(&self, position: u32) -> T {
        // SAFETY: inside the mapping and aligned (`entry`), any bit pattern is a value (`Entry`), and
        // only we write it.
        unsafe { self.ring.entry(position).as_ptr().read_volatile() }
    }

    /// Writes `value` over the entry at `position`. The kernel may read it at the same time, and see
    /// any mixture of both.
    pub(super) fn overwrite(&mut self, position: u32, value: T) {
        // SAFETY: inside the mapping and aligned (`entry`). What the kernel reads it checks.
        unsafe { self.ring.entry(position).as_ptr().write_volatile(value) };
    }

    /// Entries that can be written now.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        self.ring.size() - self.pending()
    }

    /// Writes the entry `ahead` positions after the last published one; the caller has made sure
    /// that there is [`Producer::room`].
    #[inline]
    pub(super) fn put(&mut self, ahead: u32, value: T) {
        let entry = self.ring.entry(self.produced.wrapping_add(ahead));
        // SAFETY: inside the mapping and aligned (`entry`); the kernel only reads it, and does not
        // before `publish`. A caller that ignored `room` garbles entries, nothing else.
        unsafe { entry.as_ptr().write_volatile(value) };
    }

    /// Gives the first `n` entries written since to the kernel.
    #[inline]
    pub(super) fn publish(&mut self, n: u32) {
        self.produced = self.produced.wrapping_add(n);
        self.ring.producer().store(self.produced, Ordering::Release);
    }

    /// Whether the kernel sleeps and wants a system call to look at this ring.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The reading end of a ring: receive or completion.
pub(super) struct Consumer<T> {
    ring: Shared<T>,
    /// Our position, of which `consumer` in the ring is a copy for the kernel.
    consumed: u32,
}

impl<T: Entry> Consumer<T> {
    /// Maps the ring that `fd` has at `page_offset`.
    pub(super) fn map(
        fd: BorrowedFd<'_>,
        page_offset: u64,
        entries: u32,
        at: Offsets,
    ) -> Result<Consumer<T>> {
        Ok(Consumer {
            ring: Shared::map(Some(fd), page_offset, entries, at)?,
            consumed: 0,
        })
    }

    /// Entries that have come and were not released yet.
    #[inline]
    pub(super) fn avail(&self) -> u32 {
        let produced = self.ring.producer().load(Ordering::Acquire);
        // More than the ring holds is a wrong position: what the entries say is checked anyway.
        produced.wrapping_sub(self.consumed).min(self.ring.size())
    }

    /// Reads, once, the entry `ahead` positions after the last released one; the caller has made
    /// sure that it is [`Consumer::avail`]able.
    #[inline]
    pub(super) fn get(&self, ahead: u32) -> T {
        let entry = self.ring.entry(self.consumed.wrapping_add(ahead));
        // SAFETY: inside the mapping and aligned (`entry`), any bit pattern is a value (`Entry`),
        // and the kernel wrote it before it published it (`avail`).
        unsafe { entry.as_ptr().read_volatile() }
    }

    /// Gives the first `n` entries back to the kernel.
    #[inline]
    pub(super) fn release(&mut self, n: u32) {
        if n > 0 {
            self.consumed = self.consumed.wrapping_add(n);
            self.ring.consumer().store(self.consumed, Ordering::Release);
        }
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! Rings in plain memory, whose other end a test plays.

    use super::*;

    /// The layout of such a ring.
    const AT: Offsets = Offsets {
        producer: 0,
        consumer: 64,
        flags: 128,
        desc: 192,
    };

    /// The other end: what the kernel does to a ring.
    pub(in super::super) struct Kernel<T> {
        producer: NonNull<u32>,
        consumer: NonNull<u32>,
        flags: NonNull<u32>,
        entries: NonNull<T>,
        mask: u32,
    }

    impl<T: Entry> Kernel<T> {
        fn of(ring: &Shared<T>) -> Kernel<T> {
            Kernel {
                producer: ring.producer,
                consumer: ring.consumer,
                flags: ring.flags,
                entries: ring.entries,
                mask: ring.mask,
            }
        }

        fn word(&self, at: NonNull<u32>) -> &AtomicU32 {
            // SAFETY: tests drop this end before the other, which owns the mapping.
            unsafe { AtomicU32::from_ptr(at.as_ptr()) }
        }

        /// Takes the next entry.
        pub(in super::super) fn take(&self) -> Option<T> {
            let consumed = self.word(self.consumer).load(Ordering::Relaxed);
            if consumed == self.word(self.producer).load(Ordering::Acquire) {
                return None;
            }
            // SAFETY: masked, so inside the mapping; see `word`.
            let value = unsafe {
                self.entries
                    .add((consumed & self.mask) as usize)
                    .as_ptr()
                    .read_volatile()
            };
            let next = consumed.wrapping_add(1);
            self.word(self.consumer).store(next, Ordering::Release);
            Some(value)
        }

        /// Adds an entry.
        pub(in super::super) fn give(&self, value: T) {
            let produced = self.word(self.producer).load(Ordering::Relaxed);
            let consumed = self.word(self.consumer).load(Ordering::Acquire);
            assert!(produced.wrapping_sub(consumed) <= self.mask, "ring full");
            // SAFETY: masked, so inside the mapping; see `word`.
            unsafe {
                let entry = self.entries.add((produced & self.mask) as usize);
                entry.as_ptr().write_volatile(value);
            }
            let next = produced.wrapping_add(1);
            self.word(self.producer).store(next, Ordering::Release);
        }

        /// Scribbles a position.
        pub(in super::super) fn set_positions(&self, producer: u32, consumer: u32) {
            self.word(self.producer).store(producer, Ordering::Relaxed);
            self.word(self.consumer).store(consumer, Ordering::Relaxed);
        }

        /// Sets or clears the wakeup flag.
        pub(in super::super) fn set_flags(&self, flags: u32) {
            self.word(self.flags).store(flags, Ordering::Relaxed);
        }
    }

    /// A ring that we write.
    pub(in super::super) fn producer<T: Entry>(entries: u32) -> (Producer<T>, Kernel<T>) {
        let ring = Shared::map(None, 0, entries, AT).unwrap();
        let kernel = Kernel::of(&ring);
        (Producer { ring, produced: 0 }, kernel)
    }

    /// A ring that we read.
    pub(in super::super) fn consumer<T: Entry>(entries: u32) -> (Consumer<T>, Kernel<T>) {
        let ring = Shared::map(None, 0, entries, AT).unwrap();
        let kernel = Kernel::of(&ring);
        (Consumer { ring, consumed: 0 }, kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_arrive_in_order_and_positions_wrap() {
        let (mut tx, kernel) = fake::producer::<u64>(4);
        let near_the_wrap = u32::MAX - 1;
        kernel.set_positions(near_the_wrap, near_the_wrap);
        tx.produced = near_the_wrap;
        for round in 0..10 {
            assert_eq!(tx.room(), 4);
            (0..4).for_each(|i| tx.put(i, round * 4 + i as u64));
            assert_eq!(kernel.take(), None, "seen before it was published");
            tx.publish(4);
            assert_eq!((tx.pending(), tx.room()), (4, 0));
            (0..4).for_each(|i| assert_eq!(kernel.take(), Some(round * 4 + i)));
        }
        assert_eq!(kernel.take(), None);
    }

    #[test]
    fn what_is_not_released_stays() {
        let (mut rx, kernel) = fake::consumer::<Desc>(4);
        for addr in 0..4 {
            kernel.give(Desc {
                addr,
                ..Desc::default()
            });
        }
        assert_eq!((rx.avail(), rx.get(3).addr), (4, 3));
        rx.release(1);
        assert_eq!((rx.avail(), rx.get(0).addr), (3, 1));
    }

    #[test]
    fn scribbled_positions_never_exceed_the_ring() {
        let (tx, kernel) = fake::producer::<u64>(4);
        kernel.set_positions(0, 77);
        assert_eq!((tx.pending(), tx.room()), (4, 0));
        let (rx, kernel) = fake::consumer::<u64>(4);
        kernel.set_positions(1 << 31, 0);
        assert_eq!(rx.avail(), 4);
    }

    #[test]
    fn a_layout_that_does_not_fit_is_refused() {
        let at = |producer, desc| Offsets {
            producer,
            consumer: 4,
            flags: 8,
            desc,
        };
        assert!(Shared::<u64>::map(None, 0, 4, at(0, 16)).is_ok());
        for (entries, offsets) in [
            (3, at(0, 16)),
            (4, at(2, 16)),
            (4, at(48, 16)),
            (4, at(u64::MAX - 3, 16)),
            (4, at(0, 12)),
            (4, at(0, u64::MAX)),
        ] {
            assert!(Shared::<u64>::map(None, 0, entries, offsets).is_err());
        }
    }
}
