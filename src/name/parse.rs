// SPDX-License-Identifier: Apache-2.0
//! The parser behind [`PortName::parse`].

use super::{
    IFNAME_MAX, NETMAP_REQ_IFNAMSIZ, NETMAP_SCOPE, NULL_SCOPE, PipeRole, PortKind, PortName,
    RING_LIMIT, Rings, VALE_PREFIX,
};
use crate::error::{Error, Result};

/// Where names of interfaces and VALE ports end. A dash ends them only before digits.
const SEPARATORS: &[char] = &['*', '^', '/', '@', '{', '}'];

/// How much of a name a message repeats; more would only hide the reason.
const SHOWN: usize = 80;

/// The text and how far it has been understood.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// What stands before the suffix.
enum Base<'a> {
    Interface(&'a str),
    Vale { switch: &'a str, port: &'a str },
}

pub(super) fn parse(text: &str) -> Result<PortName> {
    let mut cursor = Cursor { text, at: 0 };
    let kind = if cursor.eat(NULL_SCOPE) {
        let id = cursor.number("a number, as in \"null:0\"", 0, u32::MAX)?;
        cursor.end_of_name()?;
        PortKind::Null { id }
    } else {
        let scoped = cursor.eat(NETMAP_SCOPE);
        // With the scope and without a VALE port, it can only be an interface of such a name.
        let vale = cursor.rest().starts_with(VALE_PREFIX);
        let base = if vale && (!scoped || cursor.rest().contains(':')) {
            cursor.vale()?
        } else {
            cursor.interface()?
        };
        cursor.suffix(base)?
    };
    let end = cursor.at;
    let region = cursor.region()?;
    let name = PortName { kind, region };
    if name.netmap_name().len() >= NETMAP_REQ_IFNAMSIZ {
        cursor.at = end;
        let max = NETMAP_REQ_IFNAMSIZ - 1;
        return Err(cursor.expected(&format!("the name to end: it has at most {max} bytes")));
    }
    Ok(name)
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes the longest piece of the rest whose characters all satisfy `accept`.
    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// The name did not go on as it should at the current position.
    fn expected(&self, what: &str) -> Error {
        let found = match self.rest() {
            "" => "at its end".to_owned(),
            rest => format!("at {:?}", shorten(rest)),
        };
        let position = self.text[..self.at].chars().count() + 1;
        Error::new(
            libc::EINVAL,
            format!(
                "port name {:?} breaks at character {position}, {found}: expected {what}",
                shorten(self.text)
            ),
        )
    }

    /// A decimal number from `min` to `max`; `what` describes it.
    fn number<T>(&mut self, what: &str, min: T, max: T) -> Result<T>
    where
        T: std::str::FromStr + PartialOrd,
    {
        let start = self.at;
        let digits = self.take_while(|c| c.is_ascii_digit());
        match digits.parse() {
            Ok(number) if number >= min && number <= max => Ok(number),
            _ => {
                self.at = start;
                Err(self.expected(what))
            }
        }
    }

    /// `vale0:1`, with the cursor on the `v`.
    fn vale(&mut self) -> Result<Base<'a>> {
        let start = self.at;
        let switch = self.take_while(is_identifier);
        if switch.len() > IFNAME_MAX {
            self.at = start + IFNAME_MAX;
            return Err(self.expected("':', as a VALE switch's name has at most 15 bytes"));
        }
        if !self.eat(":") {
            return Err(self.expected(
                "':' and a port, as in \"vale0:1\" (what begins with \"vale\" is a VALE switch, and \
                 there is no interface of that name)",
            ));
        }
        let port = self.word("a VALE port's name")?;
        Ok(Base::Vale { switch, port })
    }

    fn interface(&mut self) -> Result<Base<'a>> {
        let start = self.at;
        let ifname = self.word("an interface's name")?;
        if ifname == "." || ifname == ".." {
            self.at = start;
            return Err(self.expected("a name that an interface can have"));
        }
        Ok(Base::Interface(ifname))
    }

    /// Name of an interface or of a VALE port, up to a separator.
    fn word(&mut self, what: &str) -> Result<&'a str> {
        let rest = self.rest();
        let end = rest.find(SEPARATORS).unwrap_or(rest.len());
        // "eth0-3" and "eth0-" end at the dash, "ovs-p0" does not.
        let word = match rest[..end].rsplit_once('-') {
            Some((word, ring)) if ring.bytes().all(|b| b.is_ascii_digit()) => word,
            _ => &rest[..end],
        };
        let bad = word.find(|c: char| c.is_whitespace() || c.is_control() || c == ':');
        if let Some(bad) = bad {
            self.at += bad;
            return Err(self.expected(&format!("{what}, without white space or ':'")));
        }
        if word.is_empty() {
            return Err(self.expected(what));
        }
        if word.len() > IFNAME_MAX {
            let fits = (0..=IFNAME_MAX).rfind(|&i| word.is_char_boundary(i));
            self.at += fits.unwrap_or(0);
            return Err(self.expected(&format!(
                "{what} to end, after at most 15 bytes (no interface has that as an alternative \
                 name)"
            )));
        }
        self.at += word.len();
        Ok(word)
    }

    /// What may follow a base: the choice of rings, or the end of a pipe.
    fn suffix(&mut self, base: Base<'a>) -> Result<PortKind> {
        let kind = match (self.rest().chars().next(), base) {
            (Some(c @ ('{' | '}')), base) => {
                self.at += 1;
                let role = match c {
                    '{' => PipeRole::Master,
                    _ => PipeRole::Slave,
                };
                let id = self.take_while(is_identifier).to_owned();
                if id.is_empty() {
                    return Err(self.expected("the pipe's name: letters, digits, '_'"));
                }
                let base = match base {
                    Base::Interface(ifname) => ifname.to_owned(),
                    Base::Vale { switch, port } => format!("{switch}:{port}"),
                };
                PortKind::Pipe { base, id, role }
            }
            (next, Base::Interface(ifname)) => PortKind::Hardware {
                ifname: ifname.to_owned(),
                rings: self.rings(next)?,
            },
            (Some('-' | '^' | '*'), Base::Vale { .. }) => {
                return Err(self.expected(
                    "no choice of rings: only a network interface has them (see options:n_rxq)",
                ));
            }
            (_, Base::Vale { switch, port }) => PortKind::Vale {
                switch: switch.to_owned(),
                port: port.to_owned(),
                full: format!("{switch}:{port}"),
            },
        };
        self.end_of_name()?;
        Ok(kind)
    }

    fn rings(&mut self, next: Option<char>) -> Result<Rings> {
        let rings = match next {
            Some('^') => Rings::Host,
            Some('*') => {
                return Err(self.expected(
                    "no '*': a port with hardware and host rings would send each frame out at one or \
                     the other; add the interface and its host rings (\"eth0\" and \"eth0^\") as two \
                     ports",
                ));
            }
            Some('-') => {
                self.at += 1;
                let last = RING_LIMIT - 1;
                let what = format!("the number of a ring, 0 to {last}");
                return Ok(Rings::One(self.number(&what, 0, last)?));
            }
            _ => return Ok(Rings::All),
        };
        self.at += 1;
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.expected("the end of the name, as a port has all host rings"));
        }
        Ok(rings)
    }

    /// The name proper is over: only a region may follow.
    fn end_of_name(&self) -> Result<()> {
        match self.rest().chars().next() {
            None | Some('@') => Ok(()),
            Some('/') => Err(self
                .expected("no flags: monitors, one-way and exclusive ports are not for a switch")),
            Some(_) => Err(self.expected("the end of the name, or '@' and a region")),
        }
    }

    /// `@N`, then nothing.
    fn region(&mut self) -> Result<Option<u16>> {
        if !self.eat("@") {
            return Ok(None);
        }
        let what = "a memory region's number from 1 to 65535 (netmap's @conf, @share, @extmem and \
                    @offset are not for a switch port, and there is no interface of that name)";
        let region = self.number(what, 1, u16::MAX)?;
        if !self.rest().is_empty() {
            return Err(self.expected("nothing after the region's number"));
        }
        Ok(Some(region))
    }
}

/// What the module takes as an identifier.
fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
