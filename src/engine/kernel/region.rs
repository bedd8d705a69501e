// SPDX-License-Identifier: Apache-2.0
//! The module's memory regions as this process maps them, each once, whatever the number of ports.
//!
//! A mapping keeps the port of its descriptor attached until it is gone. So no port's descriptor is
//! mapped: each region has an anchor, a descriptor that is bound to a null port in that region
//! (`NR_REG_NULL`: no rings, no buffers). Ports come and go; anchor and mapping go with the last
//! packet of the region, and so does the module's own memory if nobody else uses it.
//!
//! What lies in a region may be written by other processes at any time. All access here is by
//! relaxed atomics at checked offsets.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::device::Device;
use crate::abi::{NETMAP_API, NR_REG_NULL, netmap_if, nmreq_pools_info, nmreq_register};
use crate::error::{Error, Result};
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::region::{Backing, Region, RegionKind};

/// Name of the anchors in the module's messages; `null:` goes in front of it there.
const ANCHOR: &str = "ovs-netmap";

/// The region that each process gets which opens a hardware port.
pub const GLOBAL: u16 = 1;

/// All regions that still have a user.
static REGIONS: Mutex<Vec<Known>> = Mutex::new(Vec::new());

struct Known {
    mem_id: u16,
    buffers: Weak<Region>,
    mapping: Weak<Mapping>,
}

/// A region of the module, mapped.
#[derive(Clone)]
pub struct KernelRegion {
    pub buffers: Arc<Region>,
    /// All of it.
    pub mapping: Arc<Mapping>,
}

/// A whole region in this process's address space, and the anchor that keeps it there.
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    pub(super) pools: nmreq_pools_info,
    /// The anchor's `netmap_if`, and the buffers that hang on it already.
    leftovers: Mutex<Leftovers>,
    /// Numbers for rings, to mark their buffers with.
    pub(super) free_owners: Mutex<Vec<u16>>,
    /// Closed after the mapping is gone; the module takes the leftovers then.
    anchor: Device,
}

struct Leftovers {
    nifp: usize,
    head: u32,
}

// SAFETY: the mapping belongs to no thread; the rest of the struct is `Sync` by itself.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as for Send; the mapped bytes are only accessed by atomics and raw copies.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

/// Ids of the regions that this process has mapped, oldest first.
pub fn mapped_ids() -> Vec<u16> {
    let regions = REGIONS.lock();
    let alive = regions.iter().filter(|k| k.buffers.strong_count() > 0);
    alive.map(|k| k.mem_id).collect()
}

/// Bytes of a buffer in the region that `name` would be opened in with `mem_id`, as the module says.
pub fn pools_info(device: &Device, name: &str, mem_id: u16) -> io::Result<nmreq_pools_info> {
    let mut pools = nmreq_pools_info {
        nr_mem_id: mem_id,
        ..nmreq_pools_info::default()
    };
    device.ask(NETMAP_API, name, &mut pools)?;
    Ok(pools)
}

impl KernelRegion {
    /// The region `mem_id`, in which `port` is open: the one that is mapped already, or a new one.
    pub fn of_open_port(device: &Device, port: &str, mem_id: u16) -> Result<KernelRegion> {
        let mut regions = REGIONS.lock();
        regions.retain(|k| k.buffers.strong_count() > 0);
        for known in regions.iter().filter(|k| k.mem_id == mem_id) {
            if let (Some(buffers), Some(mapping)) =
                (known.buffers.upgrade(), known.mapping.upgrade())
            {
                return Ok(KernelRegion { buffers, mapping });
            }
        }
        let pools = pools_info(device, port, mem_id)
            .or_else(|e| match port.rsplit_once(':') {
                // An interface of VALE's that is attached to a switch: known by its own name only.
                Some((_, interface)) => pools_info(device, interface, mem_id).map_err(|_| e),
                None => Err(e),
            })
            .map_err(|e| Error::from_io(format!("{port}: cannot ask for its region"), &e))?;
        if pools.nr_mem_id != mem_id {
            return Err(Error::new(
                libc::EIO,
                format!(
                    "{port}: the module opened it in region {mem_id} and says that it is in {}",
                    pools.nr_mem_id
                ),
            ));
        }
        let made = KernelRegion::over(mem_id, Mapping::new(mem_id, pools)?)?;
        regions.push(Known {
            mem_id,
            buffers: Arc::downgrade(&made.buffers),
            mapping: Arc::downgrade(&made.mapping),
        });
        Ok(made)
    }

    /// The region whose memory is `mapping`.
    #[allow(unsafe_code)]
    pub(super) fn over(mem_id: u16, mapping: Mapping) -> Result<KernelRegion> {
        let pools = mapping.pools;
        let mapping = Arc::new(mapping);
        let (buf_size, n_bufs) = (pools.nr_buf_pool_objsize, pools.nr_buf_pool_objtotal);
        let buffers = mapping
            .base
            .as_ptr()
            .wrapping_add(pools.nr_buf_pool_offset as usize);
        let buffers = NonNull::new(buffers).ok_or_else(|| nonsense(mem_id, "its buffers"))?;
        let backing = Box::new(KernelBacking {
            mapping: Arc::clone(&mapping),
            mem_id,
        });
        // SAFETY: a. `check` found that all buffers are inside the mapping, which the backing keeps;
        // b. no reference to those bytes is made anywhere.
        let region = unsafe { Region::new(buffers, buf_size, n_bufs, backing) };
        Ok(KernelRegion {
            buffers: Arc::new(region),
            mapping,
        })
    }
}

impl Mapping {
    /// Maps the region `mem_id`, whose pools are `pools`, by an anchor of its own.
    fn new(mem_id: u16, pools: nmreq_pools_info) -> Result<Mapping> {
        let failed = |what: &str, e: &io::Error| {
            Error::from_io(format!("netmap region {mem_id}: cannot {what}"), e)
        };
        let anchor = Device::open().map_err(|e| failed("open /dev/netmap again", &e))?;
        let mut register = nmreq_register {
            nr_mode: NR_REG_NULL,
            nr_mem_id: mem_id,
            ..nmreq_register::default()
        };
        anchor.register(ANCHOR, &mut register).map_err(|e| {
            failed(
                "open a null port in it, to keep it mapped while OVS holds packets",
                &e,
            )
        })?;
        if register.nr_mem_id != mem_id {
            return Err(nonsense(mem_id, "the null port's region"));
        }
        check(mem_id, &pools, register.nr_memsize)?;
        let len = register.nr_memsize as usize;

        let base = mmap(len, libc::MAP_SHARED, anchor.fd())
            .map_err(|e| failed(&format!("map its {len} bytes"), &e))?;
        let mapping = Mapping {
            base,
            len,
            pools,
            leftovers: Mutex::new(Leftovers {
                nifp: register.nr_offset as usize,
                head: 0,
            }),
            free_owners: Mutex::new(ring_owners()),
            anchor,
        };
        match mapping.u32_at(register.nr_offset as usize, size_of::<netmap_if>()) {
            Some(_) => Ok(mapping),
            None => Err(nonsense(mem_id, "the null port's netmap_if")),
        }
    }

    /// A region of zeroed memory that no module knows.
    #[cfg(test)]
    pub fn for_test(pools: nmreq_pools_info) -> Mapping {
        let len = pools.nr_memsize as usize;
        Mapping {
            base: mmap(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1).unwrap(),
            len,
            pools,
            leftovers: Mutex::new(Leftovers { nifp: 0, head: 0 }),
            free_owners: Mutex::new(ring_owners()),
            anchor: Device::of_dev_null(),
        }
    }

    /// The 32-bit word at `offset`, where `size` bytes must be inside the mapping.
    pub(super) fn u32_at(&self, offset: usize, size: usize) -> Option<&AtomicU32> {
        let word = self
            .address(offset, size.max(size_of::<u32>()))?
            .cast::<u32>();
        // SAFETY: inside the mapping and aligned (`address`), and accessed by atomics alone.
        #[allow(unsafe_code)]
        word.is_aligned()
            .then(|| unsafe { AtomicU32::from_ptr(word) })
    }

    /// The 64-bit word at `offset`.
    pub(super) fn u64_at(&self, offset: usize) -> Option<&AtomicU64> {
        let word = self.address(offset, size_of::<u64>())?.cast::<u64>();
        // SAFETY: as in `u32_at`.
        #[allow(unsafe_code)]
        word.is_aligned()
            .then(|| unsafe { AtomicU64::from_ptr(word) })
    }

    /// The address of `size` bytes at `offset`, if they are inside the mapping.
    pub(super) fn address(&self, offset: usize, size: usize) -> Option<*mut u8> {
        let end = offset.checked_add(size)?;
        (end <= self.len).then(|| self.base.as_ptr().wrapping_add(offset))
    }

    /// The word in buffer `idx` that links it to the next one of a list.
    pub(super) fn link_of(&self, idx: BufIdx) -> Option<&AtomicU32> {
        if idx.0 < BufIdx::FIRST_VALID || idx.0 >= self.pools.nr_buf_pool_objtotal {
            return None;
        }
        let offset = idx.0 as usize * self.pools.nr_buf_pool_objsize as usize;
        self.u32_at(self.pools.nr_buf_pool_offset as usize + offset, 0)
    }

    /// Puts `bufs` in front of the list that starts with `head`; returns its new head.
    pub(super) fn link(&self, bufs: impl IntoIterator<Item = BufIdx>, mut head: u32) -> u32 {
        for idx in bufs {
            if let Some(link) = self.link_of(idx) {
                link.store(head, Ordering::Relaxed);
                head = idx.0;
            }
        }
        head
    }

    pub(super) fn bufs_head(&self, nifp: usize) -> Option<&AtomicU32> {
        self.u32_at(nifp.checked_add(offset_of!(netmap_if, ni_bufs_head))?, 0)
    }
}

/// All numbers that a ring may have.
fn ring_owners() -> Vec<u16> {
    (Owner::FIRST_PORT..Owner::NOBODY.0).rev().collect()
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: mapped by `mmap`, and this is its last owner: the region's backing and each ring
        // hold an `Arc` of it. The anchor is closed right after, as a field.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        log::debug!(
            "netmap: unmapped a region ({} bytes, {:?})",
            self.len,
            self.anchor
        );
    }
}

/// `len` bytes of `fd`, readable and writable, at an address that the system chooses.
#[allow(unsafe_code)]
fn mmap(len: usize, flags: i32, fd: RawFd) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a free address touches no memory that exists.
    let base = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Whether the pools lie inside the region, as the module says they do.
fn check(mem_id: u16, pools: &nmreq_pools_info, memsize: u64) -> Result<()> {
    let fits = |offset: u64, n: u32, size: u32| {
        let bytes = u64::from(n) * u64::from(size);
        size > 0 && offset.checked_add(bytes).is_some_and(|end| end <= memsize)
    };
    let rings = fits(
        pools.nr_ring_pool_offset,
        pools.nr_ring_pool_objtotal,
        pools.nr_ring_pool_objsize,
    );
    let bufs = fits(
        pools.nr_buf_pool_offset,
        pools.nr_buf_pool_objtotal,
        pools.nr_buf_pool_objsize,
    );
    if !rings {
        return Err(nonsense(mem_id, "the pool of its rings"));
    }
    if !bufs || pools.nr_buf_pool_objtotal <= BufIdx::FIRST_VALID {
        return Err(nonsense(mem_id, "the pool of its buffers"));
    }
    Ok(())
}

pub(super) fn nonsense(mem_id: u16, what: &str) -> Error {
    Error::new(
        libc::EPROTO,
        format!("netmap region {mem_id}: the module's account of {what} is inconsistent"),
    )
}

/// Keeps the mapping for the region.
struct KernelBacking {
    mapping: Arc<Mapping>,
    mem_id: u16,
}

impl Backing for KernelBacking {
    fn give_back(&self, bufs: Vec<OwnedBuf>) {
        let mut leftovers = self.mapping.leftovers.lock();
        let n = bufs.len();
        let head = self
            .mapping
            .link(bufs.iter().map(OwnedBuf::idx), leftovers.head);
        if let Some(word) = self.mapping.bufs_head(leftovers.nifp) {
            word.store(head, Ordering::Relaxed);
            leftovers.head = head;
        }
        log::debug!("netmap: region {} gives {n} more buffers back", self.mem_id);
    }

    fn kind(&self) -> RegionKind {
        RegionKind::Kernel {
            mem_id: self.mem_id,
        }
    }

    fn unassigned(&self) -> Option<u32> {
        // The module has the free ones, and tells nobody how many.
        None
    }
}

#[cfg(test)]
mod tests;
