// SPDX-License-Identifier: Apache-2.0
//! What senders leave to a card that does not exist, and which interfaces frames with that come from.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::netif::HostInterface;

/// Drivers of devices on a bus whose frames may have partial checksums: the other end is the network
/// stack of this machine or of another one on it, not a wire.
const PARAVIRTUAL: [&str; 3] = ["tun", "virtio_net", "vif"];

/// Value of `options:rx-csum`: whether partial checksums are completed ([`crate::csum`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RxCsum {
    /// Where frames may come with such.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl FromStr for RxCsum {
    type Err = Error;

    fn from_str(text: &str) -> Result<RxCsum> {
        let all = [RxCsum::Auto, RxCsum::On, RxCsum::Off];
        let found = all.into_iter().find(|choice| text == choice.to_string());
        found.ok_or_else(|| {
            Error::new(
                libc::EINVAL,
                format!("rx-csum={text}: expected \"auto\", \"on\" or \"off\""),
            )
        })
    }
}

impl fmt::Display for RxCsum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RxCsum::Auto => "auto",
            RxCsum::On => "on",
            RxCsum::Off => "off",
        })
    }
}

impl RxCsum {
    /// Whether checksums are to be completed for a port on `host`, or for one without an interface.
    pub fn applies(self, host: Option<&HostInterface>) -> bool {
        match self {
            RxCsum::Auto => host.is_some_and(may_be_partial),
            RxCsum::On => true,
            RxCsum::Off => false,
        }
    }
}

/// Whether frames of `host` may have partial checksums. A device on a bus has a wire at its other end,
/// and what comes from there is complete; all others (veth, macvlan, bridges) pass on what somebody
/// on this machine sends.
fn may_be_partial(host: &HostInterface) -> bool {
    host.bus.is_empty() || PARAVIRTUAL.contains(&host.driver.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(driver: &str, bus: &str) -> bool {
        let mut host = HostInterface::read("lo").unwrap();
        host.driver = driver.into();
        host.bus = bus.into();
        RxCsum::Auto.applies(Some(&host))
    }

    #[test]
    fn interfaces_without_a_wire_have_partial_checksums() {
        for (driver, bus) in [
            ("veth", ""),
            ("macvlan", ""),
            ("tun", "tap"),
            ("virtio_net", "virtio0"),
            ("vif", "vif-0"),
            ("802.1Q VLAN Support", ""),
            ("", ""),
        ] {
            assert!(on(driver, bus), "{driver}");
        }
        assert!(!on("ixgbe", "0000:01:00.0") && !on("e1000", "0000:00:03.0"));
        assert!(!RxCsum::Auto.applies(None) && RxCsum::On.applies(None));
        assert!(!RxCsum::Off.applies(HostInterface::read("lo").ok().as_ref()));
    }

    #[test]
    fn values_are_read_and_others_named() {
        assert_eq!("auto".parse(), Ok(RxCsum::Auto));
        assert_eq!("off".parse(), Ok(RxCsum::Off));
        let error = "yes".parse::<RxCsum>().unwrap_err();
        assert!(error.to_string().contains("rx-csum=yes"), "{error}");
    }
}
