// SPDX-License-Identifier: Apache-2.0
//! The memory of the user-space engines: regions of anonymous memory whose buffers this module
//! hands out, as netmap's allocator does in the kernel, and rings in front of them.
//!
//! `xdp` and `memory` ports share these regions, so any two of them forward by swapping indices. For
//! AF_XDP the whole region is one UMEM: buffer `i` is frame `i`, at `i * buf_size`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::{offset_of, size_of};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use netmap_sys::netmap::netmap_ring;
use parking_lot::Mutex;

use super::{Direction, OpenRequest, memory_left};
use crate::abi;
use crate::error::{Error, Result};
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::region::{Backing, Region, RegionKind};
use crate::ring::{Ring, SLOTS_OFFSET, Slot};

/// Room before a frame for headers that OVS pushes (VXLAN over IPv6 with a VLAN tag takes 74 bytes,
/// Geneve options up to 252 more). AF_XDP itself leaves 256 bytes (`XDP_PACKET_HEADROOM`), and one
/// number for both engines lets a packet of either be sent by the other.
pub const HEADROOM: u32 = 256;

/// Bytes of a huge page of most machines; on others the memory is merely aligned to that.
const HUGE_PAGE: usize = 2 << 20;

/// All regions that still have a user.
static REGIONS: Mutex<Vec<(Weak<Region>, Weak<Mapping>)>> = Mutex::new(Vec::new());

/// A user-space region: its buffers, and the memory that hands them out.
#[derive(Clone)]
pub struct UserRegion {
    region: Arc<Region>,
    mapping: Arc<Mapping>,
}

/// The mapping, and which of its buffers and port numbers are free.
pub struct Mapping {
    /// Start of the mapping, which is larger than the buffers by [`HUGE_PAGE`].
    start: NonNull<u8>,
    base: NonNull<u8>,
    len: usize,
    free: Mutex<Vec<BufIdx>>,
    free_owners: Mutex<Vec<u16>>,
    /// AF_XDP sockets that are bound to a UMEM of this memory, and what their UMEM takes; a new one joins one
    /// that is like it.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    sockets: Mutex<Vec<(Weak<OwnedFd>, UmemFeatures)>>,
}

/// What a UMEM takes.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UmemFeatures {
    /// Frames may take several buffers.
    pub several_bufs: bool,
    /// Frames to send may have metadata in front of them.
    pub tx_metadata: bool,
}

// SAFETY: the mapping belongs to no thread; the rest of the struct is `Sync` by itself.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as for Send; nothing here makes a reference to the mapped bytes.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

impl Mapping {
    /// New memory, which starts at a multiple of [`HUGE_PAGE`] and lies in huge pages if the system
    /// gives them (`madvise` or `always` in /sys/kernel/mm/transparent_hugepage/enabled): frames of a
    /// burst lie in many pages otherwise, more than a first-level TLB has entries for.
    #[allow(unsafe_code)]
    pub(super) fn map(len: usize) -> Result<Mapping> {
        // SAFETY: a new anonymous private mapping touches no memory that exists.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + HUGE_PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(Error::last_os(format!(
                "cannot map {len} bytes for packet buffers; lower other_config:netmap-region-bufs \
                 or give the process more memory"
            )));
        }
        let start = NonNull::new(mapped.cast::<u8>())
            .ok_or_else(|| Error::new(libc::ENOMEM, "packet buffers were mapped at address 0"))?;
        let skip = start.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `skip` is less than HUGE_PAGE.
        let base = unsafe { start.add(skip) };
        #[cfg(target_os = "linux")]
        // SAFETY: the range is mapped; the advice does not change what is in it, and where the
        // kernel does not follow it all is as without.
        unsafe {
            libc::madvise(base.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
            // Page faults now, not when packets come.
            libc::madvise(base.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE);
        }
        Ok(Mapping {
            start,
            base,
            len,
            free: Mutex::new(Vec::new()),
            free_owners: Mutex::new((Owner::FIRST_PORT..Owner::NOBODY.0).rev().collect()),
            sockets: Mutex::new(Vec::new()),
        })
    }

    /// First byte and length of the buffers, to register them as a UMEM.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    pub fn area(&self) -> (NonNull<u8>, usize) {
        (self.base, self.len)
    }

    /// The bound sockets on UMEMs of this memory, and what these take.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    pub fn sockets(&self) -> &Mutex<Vec<(Weak<OwnedFd>, UmemFeatures)>> {
        &self.sockets
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the mapping is ours (`map`), and this is its last owner: region and ports hold an
        // `Arc` of it. A UMEM on it has its own hold on the pages.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len + HUGE_PAGE) };
    }
}

/// Keeps the memory for the region.
struct UserBacking(Arc<Mapping>);

impl Backing for UserBacking {
    fn give_back(&self, bufs: Vec<OwnedBuf>) {
        let idxs = bufs.iter().map(OwnedBuf::idx);
        self.0.free.lock().extend(idxs);
    }

    fn kind(&self) -> RegionKind {
        RegionKind::Userspace
    }

    fn unassigned(&self) -> Option<u32> {
        Some(self.0.free.lock().len() as u32)
    }
}

impl UserRegion {
    /// A region with at least `needed` free buffers for the port of `request`: one that exists and
    /// that `usable` accepts, else a new one.
    ///
    /// Its buffers have at least `buf_size` bytes, or as many as the user wants to have. Of several
    /// regions it is one with the largest: any port can be there, so that in the end most are in one
    /// region, and no frame between them is copied.
    pub fn get(
        request: &OpenRequest<'_>,
        needed: u32,
        buf_size: u32,
        usable: impl Fn(&UserRegion) -> bool,
    ) -> Result<UserRegion> {
        let mut best: Option<UserRegion> = None;
        let mut regions = REGIONS.lock();
        regions.retain(|(region, _)| region.strong_count() > 0);
        for (region, mapping) in regions.iter() {
            let (Some(region), Some(mapping)) = (region.upgrade(), mapping.upgrade()) else {
                continue;
            };
            let size = region.buf_size();
            let fits = request.process.buf_size.will_do(size, buf_size)
                && mapping.free.lock().len() >= needed as usize;
            let found = UserRegion { region, mapping };
            let better = best
                .as_ref()
                .is_none_or(|best| size > best.region.buf_size());
            if fits && better && usable(&found) {
                best = Some(found);
            }
        }
        if let Some(found) = best {
            return Ok(found);
        }
        let most = request
            .process
            .region_bufs
            .saturating_sub(BufIdx::FIRST_VALID);
        if needed > most {
            return Err(Error::new(
                libc::ENOMEM,
                format!(
                    "{}: its rings and extra buffers need {needed} buffers, but a region has {}; \
                     raise other_config:netmap-region-bufs or lower netmap-nextrabufs",
                    request.name, request.process.region_bufs
                ),
            ));
        }
        let buf_size = request.process.buf_size.bytes(buf_size);
        memory_left::check(request.process.region_bufs as u64 * buf_size as u64)
            .map_err(|e| e.context(request.name))?;
        let made = UserRegion::map(request.process.region_bufs, buf_size)?;
        regions.push((Arc::downgrade(&made.region), Arc::downgrade(&made.mapping)));
        Ok(made)
    }

    #[allow(unsafe_code)]
    fn map(n_bufs: u32, buf_size: u32) -> Result<UserRegion> {
        let mapping = Arc::new(Mapping::map(n_bufs as usize * buf_size as usize)?);
        *mapping.free.lock() = (BufIdx::FIRST_VALID..n_bufs).rev().map(BufIdx).collect();
        let backing = Box::new(UserBacking(Arc::clone(&mapping)));
        // SAFETY: a. `mapping` maps `n_bufs * buf_size` bytes at its base until its last `Arc` goes,
        // and the backing has one; b. no reference to those bytes is made anywhere.
        let region = unsafe { Region::new(mapping.base, buf_size, n_bufs, backing) };
        Ok(UserRegion {
            region: Arc::new(region),
            mapping,
        })
    }

    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// A number of its own for a port's rings.
    pub fn port(&self) -> Result<PortBuffers> {
        let owner = self.mapping.free_owners.lock().pop();
        let owner = owner.ok_or_else(|| {
            Error::new(libc::ENOSPC, "the region has as many ports as it can have")
        })?;
        Ok(PortBuffers {
            region: self.clone(),
            owner: Owner(owner),
        })
    }
}

/// The buffers that one port's rings hold. When the port goes, all of them are free again, wherever
/// they were: in slots, in an AF_XDP fill ring, or on their way out.
pub struct PortBuffers {
    region: UserRegion,
    owner: Owner,
}

impl PortBuffers {
    pub fn user_region(&self) -> &UserRegion {
        &self.region
    }

    /// The number that marks the buffers of this port's rings.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// A ring of `num_slots` slots (2 or more), each with a buffer, whose frames start at `offset`.
    /// `head` and `tail` are 0: a receive ring with nothing in it; for transmit the engine moves
    /// `tail`.
    pub fn ring(&self, num_slots: u32, ringid: u16, dir: Direction, offset: u32) -> Result<Ring> {
        let bufs = self.take(num_slots)?;
        let region = &self.region.region;
        let memory = RingMemory::new(num_slots);
        let size = memory.layout.size();
        let buf_ofs =
            (self.region.mapping.base.as_ptr() as i64).wrapping_sub(memory.ring.as_ptr() as i64);
        memory.init(|header| {
            header.buf_ofs = buf_ofs;
            header.num_slots = num_slots;
            header.nr_buf_size = region.buf_size();
            header.ringid = ringid;
            header.dir = dir as u16;
        });
        let ring = memory.open(size, self.owner, region.buf_size())?;
        for (pos, idx) in bufs.into_iter().enumerate() {
            region.set_owner(idx, self.owner);
            ring.put_slot(
                pos as u32,
                Slot {
                    buf_idx: idx.0,
                    ptr: offset as u64,
                    ..Slot::default()
                },
            );
        }
        Ok(ring)
    }

    /// `n` extra buffers, or as many as there are.
    pub fn extra(&self, n: u32) -> Vec<OwnedBuf> {
        let mut free = self.region.mapping.free.lock();
        let keep = free.len().saturating_sub(n as usize);
        let taken = free.split_off(keep);
        drop(free);
        let region = &self.region.region;
        taken
            .into_iter()
            .filter_map(|idx| region.claim(idx, Owner::OUTSIDE))
            .collect()
    }

    /// Takes extra buffers back.
    pub fn give_back(&self, bufs: Vec<OwnedBuf>) {
        let region = &self.region.region;
        let freed = bufs.into_iter().map(|b| region.release(b, Owner::OUTSIDE));
        self.region.mapping.free.lock().extend(freed);
    }

    fn take(&self, n: u32) -> Result<Vec<BufIdx>> {
        let mut free = self.region.mapping.free.lock();
        let Some(keep) = free.len().checked_sub(n as usize) else {
            let message = format!(
                "a ring needs {n} buffers, but the region has {} left; raise \
                 other_config:netmap-region-bufs",
                free.len()
            );
            return Err(Error::new(libc::ENOMEM, message));
        };
        Ok(free.split_off(keep))
    }
}

impl Drop for PortBuffers {
    fn drop(&mut self) {
        let region = &self.region.region;
        let bufs = region.owned_by(self.owner);
        for &idx in &bufs {
            region.set_owner(idx, Owner::OUTSIDE);
        }
        self.region.mapping.free.lock().extend(bufs);
        self.region.mapping.free_owners.lock().push(self.owner.0);
    }
}

/// Zeroed memory of one ring, aligned as netmap aligns its own.
struct RingMemory {
    ring: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory, owned, and only accessed through `Ring`'s atomics once it is shared.
#[allow(unsafe_code)]
unsafe impl Send for RingMemory {}
// SAFETY: as for Send.
#[allow(unsafe_code)]
unsafe impl Sync for RingMemory {}

impl RingMemory {
    #[allow(unsafe_code)]
    fn new(num_slots: u32) -> RingMemory {
        let size = SLOTS_OFFSET + num_slots as usize * size_of::<Slot>();
        let layout = Layout::from_size_align(size, abi::NM_CACHE_ALIGN)
            .expect("a ring is far smaller than the address space");
        // SAFETY: the layout is not empty (`SLOTS_OFFSET` > 0).
        let ring = unsafe { alloc_zeroed(layout) };
        match NonNull::new(ring) {
            Some(ring) => RingMemory { ring, layout },
            None => handle_alloc_error(layout),
        }
    }

    /// Writes the constant fields of the header, while nobody else knows the ring.
    #[allow(unsafe_code)]
    fn init(&self, fill: impl FnOnce(&mut netmap_ring)) {
        // SAFETY: the memory is zeroed, which is a valid `netmap_ring`, large and aligned enough,
        // and no other handle on it exists yet.
        unsafe {
            fill(&mut *self.ring.as_ptr().cast::<netmap_ring>());
            self.ring
                .as_ptr()
                .add(abi::RING_OFFSET_MASK)
                .cast::<u64>()
                .write(u64::MAX);
        }
    }

    #[allow(unsafe_code)]
    fn open(self, size: usize, owner: Owner, max_offset: u32) -> Result<Ring> {
        let ring = self.ring;
        // SAFETY: a. the allocation has `size` bytes and lives in the `Arc`; b. it is aligned to
        // `NM_CACHE_ALIGN`, and the reference made in `init` is gone.
        unsafe { Ring::new(ring, size, owner, max_offset, Arc::new(self)) }
            .map_err(|_| Error::new(libc::EINVAL, "a ring has 2 to 1048576 slots"))
    }
}

impl Drop for RingMemory {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout; the last `Ring` on it is gone.
        unsafe { dealloc(self.ring.as_ptr(), self.layout) };
    }
}

const _: () = assert!(offset_of!(netmap_ring, slot) % 8 == 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BufSize;
    use crate::name::PortName;

    #[test]
    fn the_region_with_the_largest_buffers_is_taken() {
        let name = PortName::parse("eth0").unwrap();
        let mut request = OpenRequest::small(&name);
        // Too few for anybody else.
        request.process.region_bufs = 64;
        let made = [2048, 4096].map(|size| UserRegion::get(&request, 1, size, |_| false).unwrap());
        let mut taken = |wanted, smallest| {
            request.process.buf_size = wanted;
            let is_made = |found: &UserRegion| {
                let same = |made: &UserRegion| Arc::ptr_eq(&made.region, &found.region);
                made.iter().any(same)
            };
            let region = UserRegion::get(&request, 1, smallest, is_made).unwrap();
            assert!(is_made(&region));
            region.region().buf_size()
        };
        assert_eq!(taken(BufSize::Auto, 2048), 4096);
        assert_eq!(taken(BufSize::Auto, 4096), 4096);
        assert_eq!(taken(BufSize::Bytes(2048), 4096), 2048);
        assert_eq!(taken(BufSize::Bytes(4096), 2048), 4096);
    }
}
