// SPDX-License-Identifier: Apache-2.0
//! What can be tested without the module: `tests/kernel.rs` does the rest where there is one.

mod copied;

use super::*;
use crate::name::PortName;

#[test]
fn without_the_module_the_message_tells_how_to_get_it() {
    if available() {
        println!("skipped: /dev/netmap is there");
        return;
    }
    let name = PortName::parse("vale0:1").unwrap();
    let error = open(&OpenRequest::small(&name))
        .err()
        .expect("there is no module to open it");
    let message = error.to_string();
    for part in [
        "vale0:1",
        "engine kernel",
        device::PATH,
        &how_to_get(),
        "netmap-engine",
    ] {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    assert_ne!(error.errno(), 0);
}

/// The module is there: to build it would not help.
#[test]
fn who_may_not_open_the_module_is_told_so() {
    for (errno, part) in [
        (libc::EACCES, "permission"),
        (libc::EMFILE, "too many open files"),
    ] {
        let hint = diagnose::no_access(&io::Error::from_raw_os_error(errno)).unwrap();
        assert!(hint.contains(part) && hint.contains(device::PATH), "{hint}");
    }
    assert_eq!(
        diagnose::no_access(&io::Error::from_raw_os_error(libc::ENOENT)),
        None
    );
}
