// SPDX-License-Identifier: Apache-2.0
//! Features of an interface that can be switched on and off, by their names (`ethtool -k`).

use std::mem;

use super::Query;
use super::ethtool::{Command, zeroed};

// Of linux/ethtool.h.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// The set of strings that has the names of features.
const ETH_SS_FEATURES: u32 = 4;

/// Features that there can be: the kernel has 64 today.
const MAX_FEATURES: usize = 256;
const BLOCKS: usize = MAX_FEATURES / 32;

/// `struct ethtool_sset_info`, for one set.
#[repr(C)]
struct SetInfo {
    cmd: u32,
    reserved: u32,
    sset_mask: u64,
    count: u32,
    padding: u32,
}
const _: () = assert!(mem::offset_of!(SetInfo, count) == 16);

/// `struct ethtool_gstrings`, with room for the names.
#[repr(C)]
struct Strings {
    cmd: u32,
    string_set: u32,
    len: u32,
    names: [[u8; 32]; MAX_FEATURES],
}
const _: () = assert!(mem::offset_of!(Strings, names) == 12);

/// `struct ethtool_get_features_block`: a bit a feature.
#[derive(Clone, Copy)]
#[repr(C)]
struct State {
    available: u32,
    requested: u32,
    active: u32,
    never_changed: u32,
}

/// `struct ethtool_gfeatures`, with room for the blocks.
#[repr(C)]
struct GetFeatures {
    cmd: u32,
    size: u32,
    blocks: [State; BLOCKS],
}

/// `struct ethtool_set_features_block`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Change {
    valid: u32,
    requested: u32,
}

/// `struct ethtool_sfeatures`, with room for the blocks.
#[repr(C)]
struct SetFeatures {
    cmd: u32,
    size: u32,
    blocks: [Change; BLOCKS],
}

// SAFETY: a. as asserted; b. the kernel writes one number for each bit of the mask, of which there is one.
unsafe impl Command for SetInfo {
    const CODE: u32 = ETHTOOL_GSSET_INFO;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

// SAFETY: a. as asserted; b. the kernel writes as many names as there are, which `indexes` has asked for.
unsafe impl Command for Strings {
    const CODE: u32 = ETHTOOL_GSTRINGS;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

// SAFETY: a. integers alone; b. the kernel writes at most `size` blocks, which is never more than there are.
unsafe impl Command for GetFeatures {
    const CODE: u32 = ETHTOOL_GFEATURES;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

// SAFETY: a. integers alone; b. the kernel reads `size` blocks, which is never more than there are.
unsafe impl Command for SetFeatures {
    const CODE: u32 = ETHTOOL_SFEATURES;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

/// A feature, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feature {
    number: usize,
    /// How many there are.
    count: usize,
    /// Whether it is on.
    pub active: bool,
    /// Whether it can be switched.
    pub changeable: bool,
}

impl Query<'_> {
    /// The feature called `name`; `None` when the interface or the kernel has none of that name.
    pub(super) fn feature(&self, name: &str) -> Option<Feature> {
        let info = self.ethtool(SetInfo {
            sset_mask: 1 << ETH_SS_FEATURES,
            ..zeroed()
        })?;
        let count = info.count as usize;
        if info.sset_mask == 0 || count > MAX_FEATURES {
            return None;
        }
        let strings = self.ethtool(Strings {
            string_set: ETH_SS_FEATURES,
            len: count as u32,
            ..zeroed()
        })?;
        let is_it = |text: &[u8; 32]| {
            let end = text.iter().position(|&byte| byte == 0).unwrap_or(32);
            &text[..end] == name.as_bytes()
        };
        let number = strings.names[..count].iter().position(is_it)?;
        let features = self.ethtool(GetFeatures {
            size: count.div_ceil(32) as u32,
            ..zeroed()
        })?;
        let state = features.blocks.get(number / 32)?;
        let bit = 1 << (number % 32);
        Some(Feature {
            number,
            count,
            active: state.active & bit != 0,
            changeable: state.available & bit != 0 && state.never_changed & bit == 0,
        })
    }

    /// Switches a feature. Whether the kernel took the request; whether it followed it is to be seen.
    pub(super) fn set_feature(&self, feature: Feature, on: bool) -> bool {
        let mut request = SetFeatures {
            size: feature.count.div_ceil(32) as u32,
            ..zeroed()
        };
        let Some(block) = request.blocks.get_mut(feature.number / 32) else {
            return false;
        };
        block.valid = 1 << (feature.number % 32);
        block.requested = if on { block.valid } else { 0 };
        self.ethtool(request).is_some()
    }
}
