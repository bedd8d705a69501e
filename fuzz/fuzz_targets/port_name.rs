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

    // On a host, another reading of the rings may win, nothing else.
    for exists in [false, true] {
        let on_host = PortName::parse_on_host(text, |_| exists).expect("as parse");
        assert_eq!(on_host.region(), name.region());
        match name.kind() {
            PortKind::Hardware { .. } => assert!(on_host.ifname().is_some()),
            kind => assert_eq!(on_host.kind(), kind),
        }
    }
});
