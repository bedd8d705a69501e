// SPDX-License-Identifier: Apache-2.0
//! Completing the checksums that a sender left to a network card which does not exist.
//!
//! Linux sends a TCP or UDP segment over an interface that says it can do checksums (veth, tap,
//! virtio-net, macvlan) with the sum of the pseudo header alone in the checksum field, folded and not
//! inverted (`CHECKSUM_PARTIAL`). What tells the receiver so is not in the frame; but the field is.
//!
//! a. If the field is that sum, the checksum is computed over the segment, field included, and put there.
//! b. Was the checksum a valid one that happened to look so, the same one comes out: for a valid one, field
//!    and rest of the segment add up to minus the pseudo header, which is what is computed and inverted.
//! c. So what is right is never changed; what is wrong, with one chance in 65536 by every frame.
//!
//! A segment in a tunnel has its own checksum completed (if the outer one is not what was left). The outer
//! one was computed for the frame as it will be (see "Local Checksum Offload" in the kernel's documentation)
//! and is right then.
//!
//! The bytes may be written by others at the same time. Each header is copied once, and every access is
//! checked by [`RawBytesMut`]; the worst is a wrong checksum in a frame that was garbled anyway.
#![forbid(unsafe_code)]

use crate::bytes::RawBytesMut;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// A second tag, before 802.1ad had a number for it.
const ETHERTYPE_OLD_QINQ: u16 = 0x9100;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_MPLS_MULTICAST: u16 = 0x8848;
/// Ethernet in GRE or Geneve.
const ETHERTYPE_BRIDGING: u16 = 0x6558;
const ETHERTYPE_ERSPAN: u16 = 0x88be;

const IP_IPV4: u8 = 4;
const IP_TCP: u8 = 6;
const IP_UDP: u8 = 17;
const IP_IPV6: u8 = 41;
const IP_GRE: u8 = 47;
const IP_SCTP: u8 = 132;
const IP_MPLS: u8 = 137;

const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_OPTIONS: u8 = 60;

const PORT_VXLAN: u16 = 4789;
/// What Linux took before there was a number for VXLAN, and takes today where nobody says otherwise.
const PORT_OLD_VXLAN: u16 = 8472;
const PORT_GENEVE: u16 = 6081;

/// Headers that are looked through in a frame, at most: nobody has that many, and a frame that is
/// nothing but headers must not take long.
const MAX_HEADERS: u32 = 24;

/// Completes the checksum in an Ethernet frame, if it is partial. Whether it was.
#[inline]
pub fn complete(frame: RawBytesMut<'_>) -> bool {
    let mut walk = Walk {
        headers: 0,
        plain: None,
        left: None,
    };
    walk.ethernet(frame).is_some()
}

/// Where the bytes of a frame are that a checksum is for, and where in them it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The first byte of the TCP or UDP header; the last one is that of the frame.
    pub start: u16,
    /// The checksum, from there.
    pub offset: u16,
}

/// What was found in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No partial checksum.
    Nothing,
    /// One, which is complete now.
    Completed,
    /// One, which was left as it is.
    Left(Partial),
}

/// As [`complete`], but a partial checksum is left where Open vSwitch will find it by itself: that of a
/// segment which is in no tunnel, whose headers have nothing that is unusual, and which ends with the frame.
#[inline]
pub fn find(frame: RawBytesMut<'_>) -> Found {
    let mut walk = Walk {
        headers: 0,
        plain: Some(frame),
        left: None,
    };
    match (walk.ethernet(frame), walk.left) {
        (_, Some(partial)) => Found::Left(partial),
        (Some(()), None) => Found::Completed,
        (None, None) => Found::Nothing,
    }
}

/// Completes the checksum that is at `partial` in `frame`, which is the sum of the pseudo header now. False,
/// and nothing changed, if there is no such place.
pub fn complete_at(frame: RawBytesMut<'_>, partial: Partial) -> bool {
    let segment = frame.skip(partial.start.into());
    segment.is_some_and(|segment| put(segment, partial.offset.into()).is_some())
}

/// A way through the headers of a frame. `None` from a step says that there is nothing to do.
struct Walk<'f> {
    headers: u32,
    /// The frame, if a partial checksum may be left, and nothing unusual was seen as yet.
    plain: Option<RawBytesMut<'f>>,
    /// A partial checksum that was left.
    left: Option<Partial>,
}

impl<'f> Walk<'f> {
    /// Is about to look through a header that is not one of those which each frame has.
    #[inline]
    fn count(&mut self) -> Option<()> {
        self.plain = None;
        self.headers += 1;
        (self.headers <= MAX_HEADERS).then_some(())
    }

    #[inline]
    fn ethernet(&mut self, frame: RawBytesMut<'f>) -> Option<()> {
        self.ethertype(frame.load(12).map(u16::from_be_bytes)?, frame.skip(14)?)
    }

    /// What follows an EtherType.
    #[inline]
    fn ethertype(&mut self, ethertype: u16, rest: RawBytesMut<'f>) -> Option<()> {
        match ethertype {
            ETHERTYPE_IPV4 => self.ipv4(rest),
            ETHERTYPE_IPV6 => self.ipv6(rest),
            _ => self.other(ethertype, rest),
        }
    }

    #[inline(never)]
    fn other(&mut self, ethertype: u16, rest: RawBytesMut<'f>) -> Option<()> {
        // Open vSwitch looks behind one VLAN tag, and behind a second one only if it is told to.
        let plain = self.plain.take();
        let first_tag = matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) && self.headers == 0;
        self.count()?;
        if first_tag {
            self.plain = plain;
        }
        match ethertype {
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_OLD_QINQ => {
                self.ethertype(rest.load(2).map(u16::from_be_bytes)?, rest.skip(4)?)
            }
            ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => self.mpls(rest),
            ETHERTYPE_BRIDGING => self.ethernet(rest),
            _ => None,
        }
    }

    fn mpls(&mut self, mut rest: RawBytesMut<'f>) -> Option<()> {
        loop {
            self.count()?;
            let bottom_of_stack = rest.load::<4>(0)?[2] & 1 != 0;
            rest = rest.skip(4)?;
            if bottom_of_stack {
                break;
            }
        }
        // What is in there, nothing says but its first bits.
        match rest.load::<1>(0)?[0] >> 4 {
            4 => self.ipv4(rest),
            6 => self.ipv6(rest),
            _ => None,
        }
    }

    #[inline]
    fn ipv4(&mut self, packet: RawBytesMut<'f>) -> Option<()> {
        let ip: [u8; 20] = packet.load(0)?;
        let header = (ip[0] & 0xf) as usize * 4;
        let total = be16(&ip, 2) as usize;
        // All but "don't fragment": a fragment, be it the first or another.
        let fragment = be16(&ip, 6) & 0x3fff != 0;
        if ip[0] >> 4 != 4 || header < 20 || fragment {
            return None;
        }
        let segment = packet.part(header, total.checked_sub(header)?)?;
        let mut addresses = sum_of(&ip[12..]);
        if header > 20 {
            self.plain = None;
        }
        if header > 20
            && let Some(last) = last_hop_v4(packet.part(20, header - 20)?)
        {
            addresses = sum_of(&ip[12..16]) + sum_of(&last);
        }
        self.segment(ip[9], addresses, segment)
    }

    #[inline]
    fn ipv6(&mut self, packet: RawBytesMut<'f>) -> Option<()> {
        let ip: [u8; 40] = packet.load(0)?;
        if ip[0] >> 4 != 6 {
            return None;
        }
        // A length of 0 is that of a jumbogram, which no frame holds.
        let payload = packet.part(40, be16(&ip, 4) as usize)?;
        match ip[6] {
            next @ (IP_TCP | IP_UDP) => self.segment(next, sum_of(&ip[8..]), payload),
            next => self.ipv6_extensions(next, &ip, payload),
        }
    }

    #[inline(never)]
    fn ipv6_extensions(
        &mut self,
        mut next: u8,
        ip: &[u8; 40],
        mut rest: RawBytesMut<'f>,
    ) -> Option<()> {
        let mut source = sum_of(&ip[8..24]);
        let mut destination = sum_of(&ip[24..]);
        loop {
            self.count()?;
            let header = match next {
                IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_OPTIONS | IPV6_FRAGMENT => {
                    rest.load::<8>(0)?
                }
                _ => return self.segment(next, source + destination, rest),
            };
            let len = match next {
                IPV6_FRAGMENT => 8,
                _ => (header[1] as usize + 1) * 8,
            };
            let whole = rest.part(0, len)?;
            match next {
                // A header for fragments in what is none: offset 0, and no more of them.
                IPV6_FRAGMENT if be16(&header, 2) & 0xfff9 != 0 => return None,
                IPV6_ROUTING if header[3] > 0 => destination = last_hop_v6(header[2], whole)?,
                IPV6_OPTIONS => {
                    if let Some(home) = home_address(whole) {
                        source = sum_of(&home);
                    }
                }
                _ => {}
            }
            next = header[0];
            rest = rest.skip(len)?;
        }
    }

    /// What is in an IP packet, whose addresses add up to `addresses`.
    #[inline]
    fn segment(&mut self, protocol: u8, addresses: u64, segment: RawBytesMut<'f>) -> Option<()> {
        let pseudo = |segment: RawBytesMut<'f>| {
            fold(addresses + swapped(segment.len() as u16) + swapped(protocol as u16))
        };
        match protocol {
            IP_TCP => {
                let field: [u8; 2] = segment.part(0, 20)?.load(16)?;
                self.finish(segment, 16, field, pseudo(segment))
            }
            IP_UDP => {
                let udp: [u8; 8] = segment.load(0)?;
                // Bytes behind the datagram are not in its checksum, and nobody leaves that one.
                if be16(&udp, 4) as usize != segment.len() {
                    return None;
                }
                let port = be16(&udp, 2);
                let is_tunnel = matches!(port, PORT_VXLAN | PORT_OLD_VXLAN | PORT_GENEVE);
                if is_tunnel {
                    self.plain = None;
                }
                let done = self.finish(segment, 6, [udp[6], udp[7]], pseudo(segment));
                match done {
                    None if is_tunnel => self.udp_tunnel(port, segment.skip(8)?),
                    done => done,
                }
            }
            _ => self.other_segment(protocol, segment),
        }
    }

    /// Completes the checksum at `at` in `segment`, which is `field` now, if that is `pseudo`; or leaves it.
    #[inline]
    fn finish(
        &mut self,
        segment: RawBytesMut<'f>,
        at: u16,
        field: [u8; 2],
        pseudo: u16,
    ) -> Option<()> {
        if u16::from_ne_bytes(field) != pseudo {
            return None;
        }
        if let Some(start) = self.plain.and_then(|frame| segment.start_if_end_of(frame)) {
            self.left = u16::try_from(start)
                .ok()
                .map(|start| Partial { start, offset: at });
            if self.left.is_some() {
                return None;
            }
        }
        put(segment, at.into())
    }

    #[inline(never)]
    fn other_segment(&mut self, protocol: u8, segment: RawBytesMut<'f>) -> Option<()> {
        self.count()?;
        match protocol {
            IP_SCTP => sctp(segment),
            IP_GRE => self.gre(segment),
            IP_IPV4 => self.ipv4(segment),
            IP_IPV6 => self.ipv6(segment),
            IP_MPLS => self.mpls(segment),
            _ => None,
        }
    }

    #[inline(never)]
    fn udp_tunnel(&mut self, port: u16, tunnelled: RawBytesMut<'f>) -> Option<()> {
        self.count()?;
        let header: [u8; 8] = tunnelled.load(0)?;
        if port == PORT_GENEVE {
            let options = (header[0] & 0x3f) as usize * 4;
            let inner = tunnelled.skip(8 + options)?;
            let version_0 = header[0] >> 6 == 0;
            return version_0.then(|| self.ethertype(be16(&header, 2), inner))?;
        }
        self.ethernet(tunnelled.skip(8)?)
    }

    fn gre(&mut self, packet: RawBytesMut<'f>) -> Option<()> {
        let header: [u8; 4] = packet.load(0)?;
        let flags = be16(&header, 0);
        // Checksum, key, sequence number: each a word. Routing and other versions are not of today.
        let words = (flags & 0xb000).count_ones() as usize;
        if flags & 0x4007 != 0 {
            return None;
        }
        let inner = packet.skip(4 + 4 * words)?;
        match be16(&header, 2) {
            // Type II has a header of its own, and a sequence number.
            ETHERTYPE_ERSPAN if words > 0 => self.ethernet(inner.skip(8)?),
            ethertype => self.ethertype(ethertype, inner),
        }
    }
}

/// Puts the checksum of `segment` to `at` there, where the sum of the pseudo header is.
#[inline]
fn put(segment: RawBytesMut<'_>, at: usize) -> Option<()> {
    // 0 and 0xffff are the same to a receiver, but for UDP, where 0 says that there is none. A valid one
    // that came as 0xffff stays that.
    let sum = match !fold(sum(segment)) {
        0 => 0xffff,
        sum => sum,
    };
    segment.store(at, sum.to_ne_bytes()).then_some(())
}

/// An SCTP packet with a checksum of 0: it was left out. Is it right by chance, it comes out the same.
#[cold]
fn sctp(packet: RawBytesMut<'_>) -> Option<()> {
    let header: [u8; 12] = packet.load(0)?;
    if header[8..] != [0; 4] {
        return None;
    }
    // RFC 9260, appendix A: it goes on the wire as a little-endian number.
    packet.store(8, crc32c(packet).to_le_bytes()).then_some(())
}

/// The last address of a source route in the options of an IPv4 header that is not at its end: that is
/// the destination which the checksum is for. `None` without one.
#[cold]
fn last_hop_v4(options: RawBytesMut<'_>) -> Option<[u8; 4]> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut at = 0;
    loop {
        let [kind] = options.load(at)?;
        if kind == END {
            return None;
        }
        if kind == NOTHING {
            at += 1;
            continue;
        }
        let [len] = options.load(at + 1)?;
        let len = len as usize;
        if len < 2 {
            return None;
        }
        if matches!(kind, LOOSE | STRICT) {
            let [next] = options.load(at + 2)?;
            // The place of the next address, counted from 1.
            return match (next as usize) < len && len >= 7 {
                true => options.load(at + len - 4),
                false => None,
            };
        }
        at += len;
    }
}

/// The sum of the last address of an IPv6 routing header of the type `kind`, some of whose addresses are
/// still to be visited. `None` when nobody knows where it is.
#[cold]
fn last_hop_v6(kind: u8, header: RawBytesMut<'_>) -> Option<u64> {
    const SOURCE_ROUTE: u8 = 0;
    const MOBILITY: u8 = 2;
    const SEGMENTS: u8 = 4;
    let last: [u8; 16] = match kind {
        SOURCE_ROUTE | MOBILITY => header.load(header.len().checked_sub(16)?.max(8))?,
        // In reverse order.
        SEGMENTS => header.load(8)?,
        _ => return None,
    };
    Some(sum_of(&last))
}

/// The home address of a mobile node in a header of IPv6 destination options: its checksums are for that
/// instead of the source address. `None` without one.
#[cold]
fn home_address(header: RawBytesMut<'_>) -> Option<[u8; 16]> {
    const PADDING: u8 = 0;
    const HOME_ADDRESS: u8 = 201;
    let mut at = 2;
    loop {
        let [kind] = header.load(at)?;
        if kind == PADDING {
            at += 1;
            continue;
        }
        let [len] = header.load(at + 1)?;
        if kind == HOME_ADDRESS && len >= 16 {
            return header.load(at + 2);
        }
        at += 2 + len as usize;
    }
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A number as the bytes on the wire are read here.
#[inline]
fn swapped(number: u16) -> u64 {
    number.to_be() as u64
}

/// The Internet checksum (RFC 1071) is a sum of 16-bit numbers, to which a carry is added at the other
/// end; it does not matter in which order their bytes are, nor how many numbers are added at a time. Here
/// they are in this machine's order. This brings such a sum down to 16 bits; only that of zeros is 0.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The sum of 8 bytes, with room for many more of its kind.
#[inline]
fn sum_8(bytes: [u8; 8]) -> u64 {
    let number = u64::from_ne_bytes(bytes);
    (number >> 32) + (number & 0xffff_ffff)
}

/// The sum of some multiple of 4 bytes.
#[inline]
fn sum_of(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    words
        .map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]) as u64)
        .sum()
}

/// The sum of all bytes. It cannot overflow: a frame has less than 2^32 words.
#[inline]
fn sum(bytes: RawBytesMut<'_>) -> u64 {
    const BLOCK: usize = 64;
    let mut at = 0;
    let mut sum = 0;
    while let Some(block) = bytes.load::<BLOCK>(at) {
        for i in 0..BLOCK / 8 {
            let mut word = [0; 8];
            word.copy_from_slice(&block[8 * i..8 * i + 8]);
            sum += sum_8(word);
        }
        at += BLOCK;
    }
    while let Some(word) = bytes.load::<8>(at) {
        sum += sum_8(word);
        at += 8;
    }
    if let Some(word) = bytes.load::<4>(at) {
        sum += sum_of(&word);
        at += 4;
    }
    if let Some(half) = bytes.load::<2>(at) {
        sum += u16::from_ne_bytes(half) as u64;
        at += 2;
    }
    // An odd last byte counts as if a zero followed.
    bytes
        .load::<1>(at)
        .map_or(sum, |[last]| sum + u16::from_ne_bytes([last, 0]) as u64)
}

/// By position from the end of a block of 8 bytes, what a byte there adds to the remainder.
const CRC32C: [[u32; 256]; 8] = {
    /// Castagnoli's polynomial, in reverse.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc: u32 = tables[table - 1][byte];
            tables[table][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
};

fn crc32c(bytes: RawBytesMut<'_>) -> u32 {
    let mut crc = u32::MAX;
    let mut at = 0;
    while let Some(block) = bytes.load::<8>(at) {
        let block = (u64::from_le_bytes(block) ^ crc as u64).to_le_bytes();
        let tables = CRC32C.iter().rev();
        crc = tables
            .zip(block)
            .fold(0, |crc, (table, byte)| crc ^ table[byte as usize]);
        at += 8;
    }
    while let Some([byte]) = bytes.load(at) {
        crc = (crc >> 8) ^ CRC32C[0][((crc ^ byte as u32) & 0xff) as usize];
        at += 1;
    }
    !crc
}

#[cfg(test)]
mod tests;
