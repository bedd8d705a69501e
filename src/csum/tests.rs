// SPDX-License-Identifier: Apache-2.0
//! Frames are built here by a second, plain implementation of the checksums, and compared bit for bit.

use proptest::prelude::*;

use super::*;

/// RFC 1071 as one reads it.
fn internet_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// RFC 3720 as one reads it.
fn plain_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// As it should be.
    Full,
    /// As the kernel leaves it.
    Partial,
    /// Off by so much, which is neither.
    Wrong(u16),
}

#[derive(Debug, Clone)]
enum Packet {
    Tcp { options: usize },
    Udp,
    UdpWithoutChecksum,
    Sctp,
    Icmp,
}

#[derive(Debug, Clone)]
enum Network {
    V4 { options: Vec<u8>, fragment: bool },
    V6 { extensions: Vec<Extension> },
}

#[derive(Debug, Clone)]
enum Extension {
    HopByHop(usize),
    Options(usize),
    HomeAddress([u8; 16]),
    Segments(Vec<[u8; 16]>),
    SourceRoute(Vec<[u8; 16]>),
    AtomicFragment,
    Fragment,
}

#[derive(Debug, Clone)]
enum Tunnel {
    Vxlan,
    OldVxlan,
    Geneve(usize),
    Gre(u16),
    GreEthernet,
    Ip,
    Mpls(usize),
}

#[derive(Debug, Clone)]
struct Plan {
    tags: Vec<u16>,
    network: Network,
    tunnel: Option<(Tunnel, Network)>,
    packet: Packet,
    payload: Vec<u8>,
    addresses: [u8; 64],
    padding: usize,
}

/// A frame, and where in it the checksum is, if it has one that can be partial.
struct Built {
    bytes: Vec<u8>,
    field: Option<(usize, usize)>,
    full: Vec<u8>,
    partial: Vec<u8>,
}

impl Built {
    fn with(&self, state: State) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let Some((at, len)) = self.field else {
            return bytes;
        };
        bytes[at..at + len].copy_from_slice(match state {
            State::Partial => &self.partial,
            _ => &self.full,
        });
        if let State::Wrong(by) = state {
            let field = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&field.wrapping_add(by).to_be_bytes());
        }
        bytes
    }
}

/// The bytes of a packet as they go into an IP packet, the protocol, and the field, with what is in it when
/// full and when partial. `pseudo` is what stands in the pseudo header before the length and protocol.
#[allow(clippy::type_complexity)]
fn segment(plan: &Plan, pseudo: &[u8]) -> (Vec<u8>, u8, Option<(usize, Vec<u8>, Vec<u8>)>) {
    let mut bytes = Vec::new();
    let (protocol, at) = match &plan.packet {
        Packet::Tcp { options } => {
            bytes.extend([0x12, 0x34, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8]);
            bytes.extend([((5 + options) as u8) << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend(vec![1; 4 * options]);
            (IP_TCP, Some(16))
        }
        Packet::Udp | Packet::UdpWithoutChecksum => {
            let len = (8 + plan.payload.len()) as u16;
            bytes.extend([0x12, 0x34, 0, 53]);
            bytes.extend(len.to_be_bytes());
            bytes.extend([0, 0]);
            let field = matches!(plan.packet, Packet::Udp).then_some(6);
            (IP_UDP, field)
        }
        Packet::Sctp => {
            bytes.extend([0x12, 0x34, 0, 99, 9, 8, 7, 6, 0, 0, 0, 0]);
            bytes.extend(&plan.payload);
            let crc = plain_crc32c(&bytes).to_le_bytes().to_vec();
            return (bytes, IP_SCTP, Some((8, crc, vec![0; 4])));
        }
        Packet::Icmp => {
            bytes.extend([8, 0, 0x12, 0x34, 0, 1, 0, 1]);
            (1, None)
        }
    };
    bytes.extend(&plan.payload);
    let field = at.map(|at| {
        let mut header = pseudo.to_vec();
        header.extend((bytes.len() as u32).to_be_bytes());
        header.extend([0, 0, 0, protocol]);
        let partial = internet_sum(&header);
        header.extend(&bytes);
        let full = match !internet_sum(&header) {
            0 => 0xffff,
            sum => sum,
        };
        (
            at,
            full.to_be_bytes().to_vec(),
            partial.to_be_bytes().to_vec(),
        )
    });
    (bytes, protocol, field)
}

/// What of the addresses stands in the pseudo header.
fn pseudo(network: &Network, addresses: &[u8]) -> Vec<u8> {
    match network {
        Network::V4 { options, .. } => {
            let mut pseudo = addresses[..8].to_vec();
            if options.first() == Some(&131) && options[2] < options[1] {
                let end = options[1] as usize;
                pseudo[4..].copy_from_slice(&options[end - 4..end]);
            }
            pseudo
        }
        Network::V6 { extensions } => {
            let mut pseudo = addresses[..32].to_vec();
            for extension in extensions {
                match extension {
                    Extension::HomeAddress(home) => pseudo[..16].copy_from_slice(home),
                    Extension::Segments(list) => pseudo[16..].copy_from_slice(&list[0]),
                    Extension::SourceRoute(list) => {
                        pseudo[16..].copy_from_slice(list.last().unwrap());
                    }
                    _ => {}
                }
            }
            pseudo
        }
    }
}

/// Puts an IP header in front of `payload`; the bytes, and how many came in front.
fn with_ip(
    network: &Network,
    addresses: &[u8],
    protocol: u8,
    payload: &[u8],
) -> (Vec<u8>, usize, u16) {
    let mut ip = Vec::new();
    match network {
        Network::V4 { options, fragment } => {
            let header = 20 + options.len();
            ip.extend([0x40 | (header / 4) as u8, 0]);
            ip.extend(((header + payload.len()) as u16).to_be_bytes());
            ip.extend([
                0,
                7,
                if *fragment { 0x20 } else { 0x40 },
                0,
                64,
                protocol,
                0,
                0,
            ]);
            ip.extend(&addresses[..8]);
            ip.extend(options);
            let sum = !internet_sum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Network::V6 { extensions } => {
            let mut chain = Vec::new();
            let numbers: Vec<u8> = extensions.iter().map(extension_number).collect();
            for (i, extension) in extensions.iter().enumerate() {
                let next = numbers.get(i + 1).copied().unwrap_or(protocol);
                chain.extend(extension_bytes(extension, next));
            }
            ip.extend([0x60, 0, 0, 0]);
            ip.extend(((chain.len() + payload.len()) as u16).to_be_bytes());
            ip.extend([numbers.first().copied().unwrap_or(protocol), 64]);
            ip.extend(&addresses[..32]);
            ip.extend(chain);
        }
    }
    let header = ip.len();
    let ethertype = match network {
        Network::V4 { .. } => ETHERTYPE_IPV4,
        Network::V6 { .. } => ETHERTYPE_IPV6,
    };
    ip.extend(payload);
    (ip, header, ethertype)
}

fn extension_number(extension: &Extension) -> u8 {
    match extension {
        Extension::HopByHop(_) => IPV6_HOP_BY_HOP,
        Extension::Options(_) | Extension::HomeAddress(_) => IPV6_OPTIONS,
        Extension::Segments(_) | Extension::SourceRoute(_) => IPV6_ROUTING,
        Extension::AtomicFragment | Extension::Fragment => IPV6_FRAGMENT,
    }
}

fn extension_bytes(extension: &Extension, next: u8) -> Vec<u8> {
    let mut bytes = vec![next, 0];
    match extension {
        Extension::HopByHop(words) | Extension::Options(words) => {
            // Padding.
            let rest = 8 * (words + 1) - 4;
            bytes.extend([1, rest as u8]);
            bytes.extend(vec![0; rest]);
        }
        Extension::HomeAddress(home) => {
            bytes.extend([1, 2, 0, 0, 201, 16]);
            bytes.extend(home);
        }
        Extension::Segments(list) => {
            bytes.extend([4, 1, list.len() as u8 - 1, 0, 0, 0]);
            list.iter().for_each(|address| bytes.extend(address));
        }
        Extension::SourceRoute(list) => {
            bytes.extend([0, 1, 0, 0, 0, 0]);
            list.iter().for_each(|address| bytes.extend(address));
        }
        Extension::AtomicFragment => bytes.extend([0, 0, 1, 2, 3, 4]),
        Extension::Fragment => bytes.extend([0, 1, 1, 2, 3, 4]),
    }
    assert_eq!(bytes.len() % 8, 0);
    if !matches!(extension, Extension::AtomicFragment | Extension::Fragment) {
        bytes[1] = (bytes.len() / 8 - 1) as u8;
    }
    bytes
}

fn is_fragment(network: &Network) -> bool {
    match network {
        Network::V4 { fragment, .. } => *fragment,
        Network::V6 { extensions } => extensions
            .iter()
            .any(|extension| matches!(extension, Extension::Fragment)),
    }
}

fn ethernet(ethertype: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(ethertype.to_be_bytes());
    bytes
}

fn udp_header(port: u16, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0xc0, 1];
    bytes.extend(port.to_be_bytes());
    bytes.extend(((8 + payload) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn build(plan: &Plan) -> Built {
    let inner_network = plan.tunnel.as_ref().map_or(&plan.network, |(_, n)| n);
    let inner = &plan.addresses[32..];
    let (bytes, protocol, field) = segment(plan, &pseudo(inner_network, inner));
    let mut fragment = is_fragment(inner_network);
    let (mut bytes, mut before, mut ethertype) = with_ip(inner_network, inner, protocol, &bytes);
    let mut prepend = |bytes: &mut Vec<u8>, header: Vec<u8>| {
        before += header.len();
        bytes.splice(..0, header);
    };
    if let Some((tunnel, _)) = &plan.tunnel {
        let eth = ethernet(ethertype);
        let mut protocol = IP_UDP;
        match tunnel {
            Tunnel::Vxlan | Tunnel::OldVxlan => {
                prepend(&mut bytes, eth);
                prepend(&mut bytes, vec![8, 0, 0, 0, 0, 0, 42, 0]);
                let port = match tunnel {
                    Tunnel::Vxlan => PORT_VXLAN,
                    _ => PORT_OLD_VXLAN,
                };
                let udp = udp_header(port, bytes.len());
                prepend(&mut bytes, udp);
            }
            Tunnel::Geneve(words) => {
                prepend(&mut bytes, eth);
                let mut header = vec![*words as u8, 0, 0x65, 0x58, 0, 0, 42, 0];
                header.extend(vec![7; 4 * words]);
                prepend(&mut bytes, header);
                let udp = udp_header(PORT_GENEVE, bytes.len());
                prepend(&mut bytes, udp);
            }
            Tunnel::Gre(flags) => {
                let mut header = flags.to_be_bytes().to_vec();
                header.extend(ethertype.to_be_bytes());
                header.extend(vec![9; 4 * flags.count_ones() as usize]);
                prepend(&mut bytes, header);
                protocol = IP_GRE;
            }
            Tunnel::GreEthernet => {
                prepend(&mut bytes, eth);
                prepend(&mut bytes, vec![0, 0, 0x65, 0x58]);
                protocol = IP_GRE;
            }
            Tunnel::Ip => {
                protocol = match ethertype {
                    ETHERTYPE_IPV4 => IP_IPV4,
                    _ => IP_IPV6,
                };
            }
            Tunnel::Mpls(labels) => {
                let mut header = Vec::new();
                (0..*labels).for_each(|i| {
                    header.extend([0, 1, u8::from(i + 1 == *labels), 64]);
                });
                prepend(&mut bytes, header);
                protocol = IP_MPLS;
            }
        }
        let (outer, header, outer_type) = with_ip(&plan.network, &plan.addresses, protocol, &bytes);
        prepend(&mut bytes, outer[..header].to_vec());
        ethertype = outer_type;
        fragment |= is_fragment(&plan.network);
    }
    for (i, tag) in plan.tags.iter().enumerate().rev() {
        let kind = if i == 0 && plan.tags.len() > 1 {
            ETHERTYPE_QINQ
        } else {
            ETHERTYPE_VLAN
        };
        let mut header = tag.to_be_bytes().to_vec();
        header.extend(ethertype.to_be_bytes());
        prepend(&mut bytes, header);
        ethertype = kind;
    }
    prepend(&mut bytes, ethernet(ethertype));
    bytes.extend(vec![0xee; plan.padding]);
    let field = field.filter(|_| !fragment);
    let (at, full, partial) = field.unwrap_or_default();
    Built {
        bytes,
        field: (!full.is_empty()).then(|| (before + at, full.len())),
        full,
        partial,
    }
}

fn network() -> impl Strategy<Value = Network> {
    let options = prop_oneof![
        6 => Just(vec![]),
        1 => Just(vec![1, 1, 1, 0]),
        1 => Just(vec![148, 4, 0, 0]),
        1 => Just(vec![131, 11, 4, 10, 9, 8, 7, 10, 9, 8, 6, 0]),
        1 => Just(vec![131, 11, 12, 10, 9, 8, 7, 10, 9, 8, 6, 0]),
    ];
    let address = any::<[u8; 16]>();
    let extension = prop_oneof![
        (0..4usize).prop_map(Extension::HopByHop),
        (0..4usize).prop_map(Extension::Options),
        address.prop_map(Extension::HomeAddress),
        prop::collection::vec(any::<[u8; 16]>(), 2..4).prop_map(Extension::Segments),
        prop::collection::vec(any::<[u8; 16]>(), 1..4).prop_map(Extension::SourceRoute),
        Just(Extension::AtomicFragment),
        Just(Extension::Fragment),
    ];
    prop_oneof![
        (options, prop::bool::weighted(0.1))
            .prop_map(|(options, fragment)| Network::V4 { options, fragment }),
        prop::collection::vec(extension, 0..3).prop_map(|extensions| Network::V6 { extensions }),
    ]
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    prop_oneof![
        Just(Tunnel::Vxlan),
        Just(Tunnel::OldVxlan),
        (0..5usize).prop_map(Tunnel::Geneve),
        prop_oneof![Just(0), Just(0x2000), Just(0x3000), Just(0xb000)].prop_map(Tunnel::Gre),
        Just(Tunnel::GreEthernet),
        Just(Tunnel::Ip),
        (1..4usize).prop_map(Tunnel::Mpls),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let packet = prop_oneof![
        (0..6usize).prop_map(|options| Packet::Tcp { options }),
        Just(Packet::Udp),
        Just(Packet::UdpWithoutChecksum),
        Just(Packet::Sctp),
        Just(Packet::Icmp),
    ];
    let payload = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..100),
        1 => prop::collection::vec(any::<u8>(), 1000..9000),
    ];
    (
        prop::collection::vec(any::<u16>(), 0..3),
        network(),
        prop::option::weighted(0.4, (tunnel(), network())),
        packet,
        payload,
        any::<[[u8; 32]; 2]>(),
        0..20usize,
    )
        .prop_map(
            |(tags, network, tunnel, packet, payload, addresses, padding)| Plan {
                tags,
                network,
                tunnel,
                packet,
                payload,
                addresses: addresses.concat().try_into().unwrap(),
                padding,
            },
        )
}

/// Whether Open vSwitch finds the segment by itself.
fn is_plain(plan: &Plan) -> bool {
    let bare = match &plan.network {
        Network::V4 { options, .. } => options.is_empty(),
        Network::V6 { extensions } => extensions.is_empty(),
    };
    bare && plan.tunnel.is_none() && plan.tags.len() < 2 && plan.padding == 0
}

#[test]
fn a_place_outside_the_frame_is_none() {
    let frame = tcp(State::Partial, b"hello");
    for (start, offset) in [(34, 24), (60, 0), (u16::MAX, u16::MAX)] {
        let mut bytes = frame.clone();
        let partial = Partial { start, offset };
        assert!(!complete_at(RawBytesMut::from(&mut bytes[..]), partial));
        assert_eq!(bytes, frame);
    }
}

fn run(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut bytes = bytes.to_vec();
    let done = complete(RawBytesMut::from(&mut bytes[..]));
    (bytes, done)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Full ones stay bit for bit, partial ones get the right sum, wrong ones stay wrong.
    #[test]
    fn frames_mean_what_the_sender_meant(plan in plan(), by in 1..u16::MAX) {
        let built = build(&plan);
        let full = built.with(State::Full);
        let partial = built.with(State::Partial);
        prop_assert_eq!(run(&full).0, full.clone());
        let (mended, done) = run(&partial);
        prop_assert_eq!(mended, full);
        prop_assert_eq!(done, built.field.is_some());
        let wrong = built.with(State::Wrong(by));
        if wrong != partial {
            prop_assert_eq!(run(&wrong).0, wrong);
        }
    }

    /// Whether a partial checksum is left or completed, all others stay as they are; what was left comes out
    /// right when it is completed at the place that was told.
    #[test]
    fn what_is_left_is_told_and_nothing_else_changes(plan in plan(), by in 1..u16::MAX) {
        let built = build(&plan);
        let (full, partial) = (built.with(State::Full), built.with(State::Partial));
        let mut bytes = full.clone();
        if full != partial {
            prop_assert_eq!(find(RawBytesMut::from(&mut bytes[..])), Found::Nothing);
        }
        prop_assert_eq!(&bytes, &full);
        let wrong = built.with(State::Wrong(by));
        if wrong != partial {
            let mut bytes = wrong.clone();
            prop_assert_eq!(find(RawBytesMut::from(&mut bytes[..])), Found::Nothing);
            prop_assert_eq!(bytes, wrong);
        }
        let Some((at, 2)) = built.field else {
            return Ok(());
        };
        let mut bytes = partial.clone();
        match find(RawBytesMut::from(&mut bytes[..])) {
            Found::Left(left) => {
                prop_assert!(is_plain(&plan));
                prop_assert_eq!(usize::from(left.start + left.offset), at);
                prop_assert_eq!(&bytes, &partial);
                prop_assert!(complete_at(RawBytesMut::from(&mut bytes[..]), left));
            }
            found => {
                prop_assert!(!is_plain(&plan));
                prop_assert_eq!(found, Found::Completed);
            }
        }
        prop_assert_eq!(bytes, full);
    }

    /// A valid checksum that looks like a partial one: the payload is chosen so.
    #[test]
    fn what_looks_partial_by_chance_stays(plan in plan()) {
        let mut plan = plan;
        plan.packet = Packet::Udp;
        plan.payload.truncate(60);
        let even = plan.payload.len() / 2 * 2;
        plan.payload.truncate(even);
        plan.payload.extend([0, 0]);
        let built = build(&plan);
        if built.field.is_none() {
            return Ok(());
        }
        let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        // What the last two bytes must be, for the sum to be what a partial one has.
        let (full, partial) = (number(&built.full), number(&built.partial));
        let missing = u32::from(full) + u32::from(!partial);
        let missing = ((missing >> 16) + (missing & 0xffff)) as u16;
        let end = plan.payload.len();
        plan.payload[end - 2..].copy_from_slice(&missing.to_be_bytes());
        let built = build(&plan);
        prop_assert_eq!(&built.full, &built.partial);
        let frame = built.with(State::Full);
        prop_assert_eq!(run(&frame).0, frame);
    }

    /// Whatever the bytes are and wherever they end, nothing outside is touched and nothing panics.
    #[test]
    fn any_bytes_are_fine(
        plan in plan(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = build(&plan).with(State::Partial);
        for (at, value) in changes {
            let at = at.index(bytes.len().min(120));
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let (after, done) = run(&bytes);
        let differ = after.iter().zip(&bytes).filter(|(a, b)| a != b).count();
        let most = if done { 4 } else { 0 };
        prop_assert!(differ <= most);
    }

    #[test]
    fn noise_is_fine(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        run(&bytes);
    }
}

/// A TCP segment as a veth delivers it.
fn tcp(state: State, payload: &[u8]) -> Vec<u8> {
    build(&Plan {
        tags: vec![],
        network: Network::V4 {
            options: vec![],
            fragment: false,
        },
        tunnel: None,
        packet: Packet::Tcp { options: 0 },
        payload: payload.to_vec(),
        addresses: [10; 64],
        padding: 0,
    })
    .with(state)
}

#[test]
fn a_segment_that_is_cut_stays() {
    let mut bytes = tcp(State::Partial, b"hello, world");
    bytes.pop();
    assert_eq!(run(&bytes), (bytes.clone(), false));
}

#[test]
fn a_checksum_that_comes_to_zero_is_sent_as_ones() {
    let full = tcp(State::Full, &[0, 0]);
    let mut partial = tcp(State::Partial, &[0, 0]);
    let end = partial.len();
    // What makes the sum of all of it all ones.
    partial[end - 2..].copy_from_slice(&full[50..52]);
    let (after, done) = run(&partial);
    assert!(done);
    assert_eq!(after[50..52], [0xff, 0xff]);
}

#[test]
fn headers_without_end_are_given_up() {
    let mut bytes = ethernet(ETHERTYPE_VLAN);
    for _ in 0..2000 {
        bytes.extend([0, 1, 0x81, 0]);
    }
    assert_eq!(run(&bytes), (bytes.clone(), false));
    let mut bytes = ethernet(ETHERTYPE_MPLS);
    bytes.extend(vec![0; 9000]);
    assert_eq!(run(&bytes), (bytes.clone(), false));
}

#[test]
fn crc32c_is_the_known_one() {
    let mut text = *b"123456789";
    assert_eq!(crc32c(RawBytesMut::from(&mut text[..])), 0xe306_9283);
}
