// SPDX-License-Identifier: Apache-2.0
//! Tests of the port-name grammar.

use proptest::prelude::*;

use super::*;

fn hardware(ifname: &str, rings: Rings) -> PortKind {
    let ifname = ifname.to_owned();
    PortKind::Hardware { ifname, rings }
}

fn vale(switch: &str, port: &str) -> PortKind {
    PortKind::Vale {
        switch: switch.to_owned(),
        port: port.to_owned(),
        full: format!("{switch}:{port}"),
    }
}

fn pipe(base: &str, id: &str, role: PipeRole) -> PortKind {
    let (base, id) = (base.to_owned(), id.to_owned());
    PortKind::Pipe { base, id, role }
}

/// `text` means `kind` in `region`, is written `canonical`, and the kernel calls it `netmap_name`.
#[track_caller]
fn check(text: &str, kind: PortKind, region: Option<u16>, canonical: &str, netmap_name: &str) {
    let name = PortName::parse(text).unwrap();
    assert_eq!(name, PortName { kind, region }, "{text}");
    assert_eq!(name.to_string(), canonical);
    assert_eq!(name.netmap_name(), netmap_name);
    assert_eq!(canonical.parse(), Ok(name));
}

/// `text` is refused at `position` (from 1) and the message contains `expected`.
#[track_caller]
fn refused(text: &str, position: usize, expected: &str) {
    let error = PortName::parse(text).expect_err(text);
    assert_eq!(error.errno(), libc::EINVAL);
    let message = error.to_string();
    let place = format!("breaks at character {position}, ");
    assert!(message.contains(&place), "{message}: not {place}");
    assert!(message.contains(expected), "{message}: no {expected}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn every_form_of_the_contract() {
    let all = hardware("eth0", Rings::All);
    check("netmap:eth0", all.clone(), None, "netmap:eth0", "eth0");
    check("eth0", all, None, "netmap:eth0", "eth0");
    let one = hardware("eth0", Rings::One(3));
    check("netmap:eth0-3", one, None, "netmap:eth0-3", "eth0");
    let host = hardware("eth0", Rings::Host);
    check("netmap:eth0^", host, None, "netmap:eth0^", "eth0");
    check("vale0:1", vale("vale0", "1"), None, "vale0:1", "vale0:1");
    let master = pipe("x", "1", PipeRole::Master);
    check("netmap:x{1", master, None, "netmap:x{1", "x{1");
    let slave = pipe("x", "1", PipeRole::Slave);
    check("netmap:x}1", slave, None, "netmap:x}1", "x}1");
    check("null:7", PortKind::Null { id: 7 }, None, "null:7", "null:7");
}

#[test]
fn regions() {
    let all = hardware("eth0", Rings::All);
    check("eth0@1", all, Some(1), "netmap:eth0@1", "eth0");
    let one = hardware("eth0", Rings::One(0));
    check(
        "netmap:eth0-0@65535",
        one,
        Some(65535),
        "netmap:eth0-0@65535",
        "eth0",
    );
    let end = pipe("x", "1", PipeRole::Slave);
    check("x}1@7", end, Some(7), "netmap:x}1@7", "x}1");
    check(
        "vale0:1@2",
        vale("vale0", "1"),
        Some(2),
        "vale0:1@2",
        "vale0:1",
    );
}

#[test]
fn general_vale_names() {
    check("vale:1", vale("vale", "1"), None, "vale:1", "vale:1");
    let name = vale("vale_Sw1", "up-link.7");
    check(
        "vale_Sw1:up-link.7",
        name,
        None,
        "vale_Sw1:up-link.7",
        "vale_Sw1:up-link.7",
    );
    // libnetmap takes this one too.
    check(
        "netmap:vale0:1",
        vale("vale0", "1"),
        None,
        "vale0:1",
        "vale0:1",
    );
    let name = pipe("vale0:1", "2", PipeRole::Master);
    check("vale0:1{2", name, None, "vale0:1{2", "vale0:1{2");
    assert!(PortName::parse("vale0:1}2").unwrap().is_vale());
    assert!(!PortName::parse("x}2").unwrap().is_vale());
    // A pipe on an interface whose name begins like a switch's.
    let pipe = PortName::parse("netmap:valeria}2").unwrap();
    assert!(!pipe.is_vale());
    assert_eq!(pipe.to_string(), "netmap:valeria}2");
}

#[test]
fn a_dash_before_anything_but_digits_belongs_to_the_name() {
    let name = hardware("ovs-p0", Rings::All);
    check("ovs-p0", name, None, "netmap:ovs-p0", "ovs-p0");
    let name = hardware("ovs-p0", Rings::One(2));
    check("netmap:ovs-p0-2", name, None, "netmap:ovs-p0-2", "ovs-p0");
    let name = hardware("eth0.10", Rings::All);
    check("eth0.10", name, None, "netmap:eth0.10", "eth0.10");
    let name = pipe("a-b", "c", PipeRole::Master);
    check("a-b{c", name, None, "netmap:a-b{c", "a-b{c");
}

#[test]
fn an_existing_interface_decides_what_a_dash_means() {
    let parse = |text: &str, present: &[&str]| {
        let name = PortName::parse_on_host(text, |ifname| present.contains(&ifname)).unwrap();
        (name.kind, name.region)
    };
    let whole = hardware("veth-1", Rings::All);
    let ring = hardware("veth", Rings::One(1));
    assert_eq!(parse("veth-1", &[]), (ring.clone(), None));
    assert_eq!(parse("veth-1", &["veth"]), (ring.clone(), None));
    assert_eq!(parse("veth-1@3", &["veth-1"]), (whole.clone(), Some(3)));
    assert_eq!(parse("veth-1", &["veth", "veth-1"]), (whole.clone(), None));
    assert_eq!(parse("netmap:veth-1", &["veth-1"]), (whole, None));
    assert_eq!(
        parse("netmap:veth-1", &["veth", "veth-1"]),
        (ring.clone(), None)
    );
    assert_eq!(
        parse("netmap:veth-1@3", &["veth", "veth-1"]),
        (ring.clone(), Some(3))
    );
    let zero = hardware("veth-01", Rings::All);
    assert_eq!(parse("veth-01", &["veth-01"]), (zero, None));
}

#[test]
fn an_existing_interface_may_have_any_name() {
    let long = "an_alternative_name_that_is_longer_than_fifteen_bytes";
    for name in ["a@b", "a@1", "a@1-2", "vale7", "valet", "e*", "e-", long] {
        let whole = hardware(name, Rings::All);
        for text in [name.to_owned(), format!("netmap:{name}")] {
            let parsed = PortName::parse_on_host(&text, |ifname| ifname == name).unwrap();
            assert_eq!(
                (parsed.kind, parsed.region),
                (whole.clone(), None),
                "{text}"
            );
        }
    }
    // One that has the name of something else is not in its way.
    for text in ["x{1", "eth0^", "netmap:x}a", "vale0:1", "null:1"] {
        let parsed = PortName::parse_on_host(text, |_| true).unwrap();
        assert_eq!(parsed, PortName::parse(text).unwrap());
    }
    let too_long = "n".repeat(64);
    assert!(PortName::parse_on_host(&too_long, |_| true).is_err());
}

#[test]
fn an_interface_whose_name_begins_like_a_vale_switch() {
    let all = hardware("valence", Rings::All);
    check("netmap:valence", all, None, "netmap:valence", "valence");
    let one = hardware("vale0", Rings::One(2));
    check("netmap:vale0-2", one, None, "netmap:vale0-2", "vale0");
}

#[test]
fn refusals_say_where_and_what() {
    refused("", 1, "an interface's name");
    refused("netmap:", 8, "at its end: expected an interface's name");
    refused("netmap:@1", 8, "an interface's name");
    refused("eth0-", 6, "the number of a ring");
    refused("netmap:eth0-4095", 13, "0 to 4094");
    refused("netmap:eth0-99999999999999999999", 13, "0 to 4094");
    refused("netmap:eth0-3^", 14, "at \"^\": expected the end");
    refused("netmap:eth0^3", 13, "the end of the name");
    refused("netmap:eth0^3", 13, "all host rings");
    refused("netmap:eth0*", 12, "as two ports");
    refused("eth0*", 5, "\"eth0^\"");
    refused("netmap:eth0/x", 12, "no flags");
    refused("netmap:eth0-1/R", 14, "no flags");
    refused("vale0:1/z", 8, "no flags");
    refused("netmap:eth0@", 13, "a memory region's number");
    refused("netmap:eth0@0", 13, "a memory region's number");
    refused("netmap:eth0@65536", 13, "a memory region's number");
    refused("netmap:eth0@conf:rings=2", 13, "@conf");
    refused("netmap:eth0@1@2", 14, "nothing after");
    refused("netmap:eth0@1/x", 14, "nothing after");
    refused("netmap:my eth", 10, "without white space");
    refused("netmap:eth0\n", 12, "without white space");
    refused("netmap:eth0:1", 12, "without white space or ':'");
    refused("foo:1", 4, "':'");
    refused("dev/null", 4, "no flags");
    refused("netmap:..", 8, "a name that an interface can have");
    refused("netmap:sixteen_bytes_xx", 23, "at most 15 bytes");
    refused("vale0", 6, "':' and a port");
    refused("valence", 8, "no interface of that name");
    refused("netmap:eth@x", 12, "no interface of that name");
    refused("netmap:sixteen_bytes_xx", 23, "alternative");
    refused("vale-x:1", 5, "':' and a port");
    refused("vale0:", 7, "a VALE port's name");
    refused("vale0:1-0", 8, "options:n_rxq");
    refused("vale0:1^", 8, "options:n_rxq");
    refused("vale012345678901:1", 16, "15 bytes");
    refused("netmap:x{", 10, "the pipe's name");
    refused("netmap:{1", 8, "an interface's name");
    refused("netmap:x{1-0", 11, "the end of the name");
    refused("netmap:x{1}2", 11, "the end of the name");
    refused("netmap:x{a.b", 11, "the end of the name");
    refused("null:", 6, "a number");
    refused("null:x", 6, "a number");
    refused("null:4294967296", 6, "a number");
    refused("null:1-0", 7, "the end of the name");
    refused(&format!("x{{{}", "i".repeat(62)), 65, "63 bytes");
    assert!(PortName::parse(&format!("x{{{}", "i".repeat(61))).is_ok());
}

#[test]
fn length_counts_bytes() {
    assert!(PortName::parse("ééééééé").is_ok());
}

#[test]
fn a_length_that_ends_inside_a_character_is_refused_before_it() {
    refused("éééééééé", 8, "15 bytes");
}

#[test]
fn a_long_name_does_not_flood_the_log() {
    let error = PortName::parse(&"a b".repeat(10_000)).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn ports_of_the_same_rings_overlap() {
    let overlap = |one: &str, other: &str| {
        let (one, other) = (
            PortName::parse(one).unwrap(),
            PortName::parse(other).unwrap(),
        );
        let same = |a: &str, b: &str| [a, b].contains(&"eth0") && [a, b].contains(&"alias");
        let overlap = one.overlaps(&other, same);
        assert_eq!(other.overlaps(&one, same), overlap, "{one} {other}");
        overlap
    };
    for (one, other) in [
        ("eth0", "netmap:eth0-0"),
        ("eth0-3", "netmap:eth0-3@7"),
        ("eth0", "eth0@1"),
        ("netmap:eth0", "alias-2"),
        ("eth0^", "alias^@4"),
        ("vale8:1", "vale8:1@1"),
        ("x{1", "netmap:x{1@9"),
        ("vale0:1{a", "vale0:1{a@2"),
        ("null:3", "null:3"),
    ] {
        assert!(overlap(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("eth0", "eth1"),
        ("eth0-0", "eth0-1"),
        ("eth0", "eth0^"),
        ("eth0-0", "alias^"),
        ("vale8:1", "vale8:2"),
        ("vale8:1", "vale8:1{1"),
        ("x{1", "x}1"),
        ("x{1", "x{2"),
        ("eth0", "eth0{1"),
        ("null:3", "null:4"),
    ] {
        assert!(!overlap(one, other), "{one} {other}");
    }
}

#[test]
fn both_ends_of_a_pipe_name_it() {
    let pipe = |text: &str| {
        let name = PortName::parse(text).unwrap();
        name.pipe().map(|(base, id)| format!("{base} {id}"))
    };
    assert_eq!(pipe("x{1"), pipe("netmap:x}1@9"));
    assert_ne!(pipe("x{1"), pipe("x{2"));
    assert_ne!(pipe("vale0:1{a"), pipe("vale0:2}a"));
    assert_eq!(pipe("eth0"), None);
}

/// Names as they can be written, canonical or not.
fn any_name() -> impl Strategy<Value = String> {
    let ifname = "[a-z][a-z0-9._-]{0,10}";
    let rings = prop_oneof![
        Just(String::new()),
        Just("^".to_owned()),
        (0..RING_LIMIT).prop_map(|ring| format!("-{ring}")),
    ];
    let scope = prop_oneof![Just(""), Just(NETMAP_SCOPE)];
    let hardware = (scope, ifname, rings).prop_map(|(s, i, r)| format!("{s}{i}{r}"));
    let vale = "vale[A-Za-z0-9_]{0,11}:[a-z0-9.]{1,15}".boxed();
    let base = prop_oneof![vale.clone(), "netmap:(x|vale[a-z]{0,4})"];
    let pipe = (base, "[{}]", "[A-Za-z0-9_]{1,20}").prop_map(|(b, r, i)| format!("{b}{r}{i}"));
    let null = any::<u32>().prop_map(|id| format!("null:{id}"));
    let region = prop_oneof![
        Just(String::new()),
        (1..=u16::MAX).prop_map(|region| format!("@{region}")),
    ];
    let name = prop_oneof![hardware, vale, pipe, null];
    (name, region).prop_map(|(name, region)| name + &region)
}

proptest! {
    #[test]
    fn canonical_form_parses_back(text in any_name()) {
        // "a-" and "vale" as an interface are made here too, and rightly refused.
        if let Ok(name) = PortName::parse(&text) {
            prop_assert_eq!(PortName::parse(&name.to_string()), Ok(name.clone()));
            prop_assert!(name.netmap_name().len() < NETMAP_REQ_IFNAMSIZ);
        } else {
            prop_assert!(text.contains('-') || text.contains("vale"), "{} refused", text);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        if let Ok(name) = PortName::parse(&text) {
            prop_assert_eq!(PortName::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn text_of_the_grammars_own_letters_never_panics(text in "(netmap:|null:)?[val0-9é:{}@^*/ -]{0,24}") {
        if let Ok(name) = PortName::parse(&text) {
            prop_assert_eq!(PortName::parse(&name.to_string()), Ok(name));
        }
    }
}
