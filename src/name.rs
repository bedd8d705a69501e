// SPDX-License-Identifier: Apache-2.0
//! The port-name grammar: netmap's own, as far as it makes sense for a switch port.
//!
//! ```text
//! name      = hardware | vale | pipe | null, each with an optional "@" region
//! hardware  = ["netmap:"] ifname [ "-" ring | "^" ]
//! vale      = ["netmap:"] "vale" [switch-id] ":" port
//! pipe      = (["netmap:"] ifname | vale) ("{" | "}") id       "{" is the master's end
//! null      = "null:" number
//! ```
//!
//! Two things differ from libnetmap on purpose. A dash that is not followed by digits alone belongs
//! to the interface's name (libnetmap cannot open `ovs-p0` at all). And what would turn a switch
//! port into something else, or is set by an OVS option (flags after `/`, options after `@`), is
//! refused with the reason.

use std::fmt;

use crate::error::{Error, Result};

mod parse;

/// Longest name of a network interface, in bytes (`IFNAMSIZ` less the terminating NUL). The module
/// holds switch and port of a VALE name to the same bound.
const IFNAME_MAX: usize = 15;
/// Size of `nr_name` in `struct nmreq_header`, terminating NUL included.
const NETMAP_REQ_IFNAMSIZ: usize = 64;
/// Ring numbers end below this one (`NETMAP_RING_MASK`).
const RING_LIMIT: u16 = 0x0fff;
/// The only scope that libnetmap strips before it asks the kernel.
const NETMAP_SCOPE: &str = "netmap:";
/// What names in a VALE switch begin with.
const VALE_PREFIX: &str = "vale";
/// Scope of the ports that are endless sources and sinks.
const NULL_SCOPE: &str = "null:";

/// Which rings of a host interface a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rings {
    /// All hardware rings (`eth0`).
    All,
    /// One pair of hardware rings (`eth0-3`).
    One(u16),
    /// The rings towards the host's network stack (`eth0^`).
    Host,
}

impl Rings {
    /// Whether a ring is in both.
    fn overlap(self, other: Rings) -> bool {
        match (self, other) {
            (Rings::Host, other) | (other, Rings::Host) => other == Rings::Host,
            (Rings::One(one), Rings::One(other)) => one == other,
            _ => true,
        }
    }
}

/// Which end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PipeRole {
    /// `x{1`
    Master,
    /// `x}1`
    Slave,
}

impl PipeRole {
    fn separator(self) -> char {
        match self {
            PipeRole::Master => '{',
            PipeRole::Slave => '}',
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// A host interface.
    Hardware {
        /// Its name, or an alternative one, without `/`, `:` or white space.
        ifname: String,
        /// The rings to take.
        rings: Rings,
    },
    /// A port of a VALE switch.
    Vale {
        /// The switch, `vale0` in `vale0:1`.
        switch: String,
        /// The port, `1` in `vale0:1`.
        port: String,
        /// Both, `vale0:1`.
        full: String,
    },
    /// One end of a pipe.
    Pipe {
        /// The port that the pipe hangs on; it need not exist. May be a VALE port.
        base: String,
        /// Name of the pipe among those of its base: letters, digits, `_`.
        id: String,
        /// The end.
        role: PipeRole,
    },
    /// An endless source and sink inside the process.
    Null {
        /// Tells null ports apart.
        id: u32,
    },
}

/// A parsed port name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PortName {
    kind: PortKind,
    region: Option<u16>,
}

impl PortName {
    /// Parses `text`. What ends in a dash and digits is one ring pair (`eth0-3`).
    ///
    /// # Errors
    ///
    /// `EINVAL`, and a message with the position where the name broke and what was expected there.
    pub fn parse(text: &str) -> Result<PortName> {
        parse::parse(text)
    }

    /// Parses `text` for a machine on which `exists` tells whether an interface has a given name.
    ///
    /// Linux allows `veth-1` as an interface's name, which the grammar reads as ring 1 of `veth`, `a@1`,
    /// `vale0`, and alternative names that are longer than any that the grammar takes. Whoever types
    /// such a name means the interface, if it exists. With `netmap:` in front the grammar's meaning wins,
    /// unless only the longer name exists. What the grammar reads as a pipe or host rings is that.
    ///
    /// # Errors
    ///
    /// Those of [`PortName::parse`].
    pub fn parse_on_host(text: &str, exists: impl Fn(&str) -> bool) -> Result<PortName> {
        let parsed = PortName::parse(text);
        let whole = text.strip_prefix(NETMAP_SCOPE).unwrap_or(text);
        let scoped = whole.len() < text.len();
        let (named, ring) = match &parsed {
            Ok(name) => match &name.kind {
                PortKind::Hardware { ifname, rings } if *rings != Rings::Host => {
                    (Some(ifname), *rings != Rings::All)
                }
                _ => return parsed,
            },
            Err(_) => (None, false),
        };
        let is_interface = |name: &str| {
            name.len() < NETMAP_REQ_IFNAMSIZ
                && exists(name)
                && !(scoped && named.is_some_and(|named| exists(named)))
        };
        let all_of = |ifname: &str, region| PortName {
            kind: PortKind::Hardware {
                ifname: ifname.to_owned(),
                rings: Rings::All,
            },
            region,
        };
        if named.is_none_or(|named| named != whole) && is_interface(whole) {
            return Ok(all_of(whole, None));
        }
        // As typed, not formatted from the number: `veth-01` is a name too.
        if let Ok(PortName { region, .. }) = parsed
            && let Some((before, _)) = whole.split_once('@')
            && ring
            && is_interface(before)
        {
            return Ok(all_of(before, region));
        }
        parsed
    }

    /// What the name stands for.
    pub fn kind(&self) -> &PortKind {
        &self.kind
    }

    /// The memory region asked for with `@N`.
    pub fn region(&self) -> Option<u16> {
        self.region
    }

    /// The host interface behind the port, if there is one.
    pub fn ifname(&self) -> Option<&str> {
        match &self.kind {
            PortKind::Hardware { ifname, .. } => Some(ifname),
            _ => None,
        }
    }

    /// Whether the port lives in a VALE switch (a pipe on a VALE port does): only netmap's kernel
    /// module has those.
    pub fn is_vale(&self) -> bool {
        match &self.kind {
            PortKind::Vale { .. } => true,
            // An interface may be called "valeria", but none has a colon in its name.
            PortKind::Pipe { base, .. } => base.contains(':'),
            _ => false,
        }
    }

    /// The pipe that the port is one end of, by what it hangs on and its name there.
    pub fn pipe(&self) -> Option<(&str, &str)> {
        match &self.kind {
            PortKind::Pipe { base, id, .. } => Some((base, id)),
            _ => None,
        }
    }

    /// Whether this port and `other` would take the same rings: two threads would be on one ring, and
    /// frames go to either. `same` tells whether two names are those of one interface.
    pub fn overlaps(&self, other: &PortName, same: impl Fn(&str, &str) -> bool) -> bool {
        // A memory region makes no other port of it.
        match (&self.kind, &other.kind) {
            (
                PortKind::Hardware { ifname, rings },
                PortKind::Hardware {
                    ifname: other_ifname,
                    rings: other_rings,
                },
            ) => {
                rings.overlap(*other_rings)
                    && (ifname == other_ifname || same(ifname, other_ifname))
            }
            (one, other) => one == other,
        }
    }

    /// What goes into `nr_name` of `struct nmreq_header`: always shorter than that field. The
    /// module knows no null ports; for those it is a name for messages.
    pub fn netmap_name(&self) -> String {
        match &self.kind {
            PortKind::Hardware { ifname, .. } => ifname.clone(),
            PortKind::Vale { full, .. } => full.clone(),
            PortKind::Pipe { base, id, role } => format!("{base}{}{id}", role.separator()),
            PortKind::Null { id } => format!("{NULL_SCOPE}{id}"),
        }
    }
}

impl std::str::FromStr for PortName {
    type Err = Error;

    fn from_str(text: &str) -> Result<PortName> {
        PortName::parse(text)
    }
}

/// The canonical form, with the scope written out.
impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_vale() && !matches!(self.kind, PortKind::Null { .. }) {
            f.write_str(NETMAP_SCOPE)?;
        }
        f.write_str(&self.netmap_name())?;
        if let PortKind::Hardware { rings, .. } = self.kind {
            match rings {
                Rings::All => {}
                Rings::One(ring) => write!(f, "-{ring}")?,
                Rings::Host => f.write_str("^")?,
            }
        }
        if let Some(region) = self.region {
            write!(f, "@{region}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
