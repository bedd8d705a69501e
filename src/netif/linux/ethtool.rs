// SPDX-License-Identifier: Apache-2.0
//! What drivers tell through `SIOCETHTOOL`. All of it is optional: virtual interfaces answer some
//! questions, some answer none.

use std::ffi::CStr;
use std::mem;

use super::Query;

// Of linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GLINKSETTINGS: u32 = 0x4c;
const DUPLEX_HALF: u8 = 0;
const DUPLEX_FULL: u8 = 1;
const SPEED_UNKNOWN: u32 = u32::MAX;

/// Link-mode bitmaps that may follow the settings: three of up to 127 words.
const MAX_MODE_WORDS: usize = 3 * i8::MAX as usize;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    version: [u8; 32],
    fw_version: [u8; 32],
    bus_info: [u8; 32],
    erom_version: [u8; 32],
    reserved2: [u8; 12],
    n_priv_flags: u32,
    n_stats: u32,
    testinfo_len: u32,
    eedump_len: u32,
    regdump_len: u32,
}
const _: () = assert!(mem::size_of::<DriverInfo>() == 196);

/// `struct ethtool_channels`.
#[repr(C)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}
const _: () = assert!(mem::size_of::<Channels>() == 36);

/// `struct ethtool_link_settings`, with room for the longest bitmaps.
#[repr(C)]
struct LinkSettings {
    cmd: u32,
    speed: u32,
    duplex: u8,
    port: u8,
    phy_address: u8,
    autoneg: u8,
    mdio_support: u8,
    eth_tp_mdix: u8,
    eth_tp_mdix_ctrl: u8,
    link_mode_masks_nwords: i8,
    transceiver: u8,
    master_slave_cfg: u8,
    master_slave_state: u8,
    rate_matching: u8,
    reserved: [u32; 7],
    link_mode_masks: [u32; MAX_MODE_WORDS],
}
const _: () = assert!(mem::offset_of!(LinkSettings, link_mode_masks) == 48);

/// An ethtool structure.
///
/// # Safety
///
/// a. It is `repr(C)`, of integers alone, and begins with the command. b. It is as large as the
/// kernel's structure for [`Command::CODE`], what may follow that included.
pub(super) unsafe trait Command {
    const CODE: u32;

    fn set_code(&mut self);
}

// SAFETY: a. and b. as asserted and commented at each structure.
unsafe impl Command for DriverInfo {
    const CODE: u32 = ETHTOOL_GDRVINFO;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

// SAFETY: as above.
unsafe impl Command for Channels {
    const CODE: u32 = ETHTOOL_GCHANNELS;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

// SAFETY: as above; the kernel writes at most three bitmaps of `link_mode_masks_nwords` words, which
// it takes only when it is the number of its own, at most 127.
unsafe impl Command for LinkSettings {
    const CODE: u32 = ETHTOOL_GLINKSETTINGS;

    fn set_code(&mut self) {
        self.cmd = Self::CODE;
    }
}

pub(super) fn zeroed<C: Command>() -> C {
    // SAFETY: a `Command` is integers alone, for which zeros are valid.
    unsafe { mem::zeroed() }
}

impl Query<'_> {
    /// Fills in `command`; None when the driver does not know it.
    pub(super) fn ethtool<C: Command>(&self, mut command: C) -> Option<C> {
        command.set_code();
        let mut request = self.request();
        request.ifr_ifru.ifru_data = (&raw mut command).cast();
        // SAFETY: a. SIOCETHTOOL takes an ifreq; b. `command` is as large as its code demands, and
        // borrowed by nobody.
        unsafe { self.ioctl(libc::SIOCETHTOOL, &mut request) }.ok()?;
        Some(command)
    }

    /// The names of the driver, and of the device on its bus.
    pub(super) fn device(&self) -> Option<(String, String)> {
        let info = self.ethtool::<DriverInfo>(zeroed())?;
        let text = |bytes| {
            let text = CStr::from_bytes_until_nul(bytes).unwrap_or_default();
            text.to_string_lossy().into_owned()
        };
        Some((text(&info.driver), text(&info.bus_info)))
    }

    /// Receive and transmit queues in use.
    pub(super) fn channels(&self) -> Option<(u32, u32)> {
        let channels = self.ethtool::<Channels>(zeroed())?;
        let both = channels.combined_count;
        Some((
            channels.rx_count.saturating_add(both),
            channels.tx_count.saturating_add(both),
        ))
    }

    /// Speed in Mbit/s, 0 when unknown, and whether it is full duplex.
    pub(super) fn speed(&self) -> Option<(u32, Option<bool>)> {
        // Asked for no bitmaps, the kernel answers with minus the number of words that it has; only
        // asked for that many it fills in the rest.
        let offer = self.ethtool::<LinkSettings>(zeroed())?;
        let words = offer.link_mode_masks_nwords.checked_neg()?;
        if words <= 0 {
            return None;
        }
        let settings = self.ethtool(LinkSettings {
            link_mode_masks_nwords: words,
            ..zeroed()
        })?;
        let speed = match settings.speed {
            SPEED_UNKNOWN => 0,
            speed => speed,
        };
        let duplex = match settings.duplex {
            DUPLEX_FULL => Some(true),
            DUPLEX_HALF => Some(false),
            _ => None,
        };
        Some((speed, duplex))
    }
}
