// SPDX-License-Identifier: Apache-2.0
//! An open port as it lies in its region: where its rings are, and its list of extra buffers.

use std::any::Any;
use std::mem::{offset_of, size_of};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use netmap_sys::netmap::netmap_ring;

use super::region::{KernelRegion, nonsense};
use crate::abi::{netmap_if, nmreq_register};
use crate::engine::Direction;
use crate::error::Result;
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::ring::Ring;

/// An open port in its region: its `netmap_if`, with its rings and its list of extra buffers.
pub struct NetmapIf {
    region: KernelRegion,
    nifp: usize,
    /// The module's answer, which unlike the `netmap_if` nobody else can write.
    answer: nmreq_register,
}

impl NetmapIf {
    /// The port whose registration was answered with `answer`.
    pub fn new(region: KernelRegion, answer: nmreq_register) -> Result<NetmapIf> {
        let nifp = answer.nr_offset as usize;
        match region.mapping.u32_at(nifp, size_of::<netmap_if>()) {
            Some(_) => Ok(NetmapIf {
                region,
                nifp,
                answer,
            }),
            None => Err(nonsense(answer.nr_mem_id, "the port's netmap_if")),
        }
    }

    /// The region it lies in.
    pub fn region(&self) -> &KernelRegion {
        &self.region
    }

    pub fn mem_id(&self) -> u16 {
        self.answer.nr_mem_id
    }

    /// Hardware rings in direction `dir`.
    pub fn nic_rings(&self, dir: Direction) -> u16 {
        match dir {
            Direction::Tx => self.answer.nr_tx_rings,
            Direction::Rx => self.answer.nr_rx_rings,
        }
    }

    /// Host rings in direction `dir`.
    pub fn host_rings(&self, dir: Direction) -> u16 {
        match dir {
            Direction::Tx => self.answer.nr_host_tx_rings,
            Direction::Rx => self.answer.nr_host_rx_rings,
        }
    }

    /// The ring `index`, counted as in `ring_ofs`: hardware rings first, host rings after them.
    #[allow(unsafe_code)]
    pub fn ring(&self, dir: Direction, index: u16, max_offset: u32) -> Result<Ring> {
        let mapping = &self.region.mapping;
        let bad = || nonsense(self.answer.nr_mem_id, &format!("{dir:?} ring {index}"));
        // A port without host rings has one entry for them all the same.
        let tx_entries = self.answer.nr_tx_rings + self.answer.nr_host_tx_rings.max(1);
        let entry = match dir {
            Direction::Tx => usize::from(index),
            Direction::Rx => usize::from(tx_entries) + usize::from(index),
        };
        let entry = self.nifp + offset_of!(netmap_if, ring_ofs) + entry * size_of::<isize>();
        let ring_ofs = mapping
            .u64_at(entry)
            .ok_or_else(bad)?
            .load(Ordering::Relaxed);
        if ring_ofs == 0 {
            return Err(bad());
        }
        let at = (self.nifp as u64).wrapping_add(ring_ofs);
        let size = self.check_ring(at).ok_or_else(bad)?;
        let address = mapping.address(at as usize, size).and_then(NonNull::new);
        let memory: Arc<dyn Any + Send + Sync> = Arc::clone(mapping) as _;
        // SAFETY: a. `size` bytes at `at` are inside the mapping (`address`), which `memory` keeps;
        // b. `Ring::new` refuses a bad alignment, and no reference to the bytes is made.
        unsafe {
            Ring::new(
                address.ok_or_else(bad)?,
                size,
                Owner::OUTSIDE,
                max_offset,
                memory,
            )
        }
        .map_err(|_| bad())
    }

    /// Bytes that the ring at offset `at` may have, if its header agrees with the region.
    fn check_ring(&self, at: u64) -> Option<usize> {
        let (mapping, pools) = (&self.region.mapping, &self.region.mapping.pools);
        let in_pool = at.checked_sub(pools.nr_ring_pool_offset)?;
        let pool = u64::from(pools.nr_ring_pool_objtotal) * u64::from(pools.nr_ring_pool_objsize);
        let size = u64::from(pools.nr_ring_pool_objsize).min(pool.checked_sub(in_pool)?) as usize;
        mapping.address(at as usize, size.max(size_of::<netmap_ring>()))?;

        let word = |field: usize| mapping.u32_at(at as usize + field, 0);
        let buf_size = word(offset_of!(netmap_ring, nr_buf_size))?.load(Ordering::Relaxed);
        let buf_ofs = mapping.u64_at(at as usize + offset_of!(netmap_ring, buf_ofs))?;
        let buffers = at.wrapping_add(buf_ofs.load(Ordering::Relaxed));
        let agrees =
            buf_size == self.region.buffers.buf_size() && buffers == pools.nr_buf_pool_offset;
        agrees.then_some(size)
    }

    /// Takes the port's extra buffers, at most as many as the module said it gave.
    pub fn take_extra(&self) -> Vec<OwnedBuf> {
        let mapping = &self.region.mapping;
        let given = self.answer.nr_extra_bufs;
        let mut bufs = Vec::with_capacity(given as usize);
        let Some(head) = mapping.bufs_head(self.nifp) else {
            return bufs;
        };
        // From here on the list is ours: if this process dies, the module must not follow links
        // that packets have overwritten.
        let mut next = head.swap(0, Ordering::Relaxed);
        while next != 0 && bufs.len() < given as usize {
            let idx = BufIdx(next);
            let (Some(link), Some(buf)) = (
                mapping.link_of(idx),
                self.region.buffers.claim(idx, Owner::OUTSIDE),
            ) else {
                break;
            };
            next = link.load(Ordering::Relaxed);
            bufs.push(buf);
        }
        if bufs.len() < given as usize {
            log::warn!(
                "netmap: the list of {given} extra buffers breaks after {}",
                bufs.len()
            );
        }
        bufs
    }

    /// Hangs `bufs` on the port, so that the module takes them when the port is closed.
    pub fn give_extra(&self, bufs: Vec<OwnedBuf>) {
        let (region, mapping) = (&self.region.buffers, &self.region.mapping);
        let indices = bufs.into_iter().map(|b| region.release(b, Owner::OUTSIDE));
        let head = mapping.link(indices, 0);
        if let Some(word) = mapping.bufs_head(self.nifp) {
            word.store(head, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
