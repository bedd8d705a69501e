// SPDX-License-Identifier: Apache-2.0
//! Any text as a port's name: it is refused with a message, or it is a name whose written form is read
//! as the same name, and which is safe where it goes: into netmap's fixed field and into file names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_netmap::test_utils::name::{PortKind, PortName};

fuzz_target!(|text: &str| {
    let name = match PortName::parse(text) {
        Ok(name) => name,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written = name.to_string();
    let again = PortName::parse(&written);
    assert_eq!(again.as_ref().ok(), Some(&name), "{written:?}: {again:?}");
    assert_eq!(name.to_string(), written);

    // `nr_name` has 64 bytes, the last of them 0.
    let short = name.netmap_name();
    assert!((1..64).contains(&short.len()), "{short:?}");
    assert!(!short.contains('\0'), "{short:?}");
    if let Some(ifname) = name.ifname() {
        assert!((1..16).contains(&ifname.len()), "{ifname:?}");
        assert!(ifname != "." && ifname != "..", "{ifname:?}");
        let safe = |c: char| c != '/' && c != ':' && c != '\0' && !c.is_whitespace();
        assert!(ifname.chars().all(safe), "{ifname:?}");
    }

    // On a host, the whole text may be the name of an interface, or all before the region; nothing else
    // changes.
    for exists in [false, true] {
        let on_host = PortName::parse_on_host(text, |_| exists).expect("as parse");
        if on_host == name {
            continue;
        }
        assert!(exists, "{on_host}");
        assert!(
            matches!(name.kind(), PortKind::Hardware { .. }),
            "{on_host}"
        );
        let whole = text.strip_prefix("netmap:").unwrap_or(text);
        let before = whole.split_once('@').map(|(before, _)| before);
        let read = (on_host.ifname(), on_host.region());
        assert!(
            read == (Some(whole), None) || (read.0 == before && read.1 == name.region()),
            "{on_host}"
        );
    }
});
