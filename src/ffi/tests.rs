// SPDX-License-Identifier: Apache-2.0
use std::ffi::c_char;
use std::fs;
use std::path::Path;

use super::guard::guard;
use super::port::interval;
use super::text::{c_string, put_text};

/// The code of every file of this directory.
fn sources() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    let files = fs::read_dir(directory).expect("a directory");
    let files = files.map(|file| file.expect("a file").path());
    let code = files.filter(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    code.map(|path| fs::read_to_string(path).expect("text"))
        .collect()
}

/// Each exported function with its body.
fn exported() -> Vec<(String, String)> {
    let mut exported = Vec::new();
    for source in sources() {
        for text in source.split("#[unsafe(no_mangle)]").skip(1) {
            let name = text.split("fn ").nth(1).and_then(|t| t.split('(').next());
            let body = text.split("\n}\n").next().unwrap_or_default();
            exported.push((name.expect("a function").to_owned(), body.to_owned()));
        }
    }
    exported
}

#[test]
fn every_exported_function_is_guarded() {
    let exported = exported();
    assert!(exported.len() > 30, "{}", exported.len());
    for (name, body) in exported {
        let guarded = body.contains("guard(") || body.contains("with_port(");
        assert!(guarded, "{name} can unwind into C");
    }
}

#[test]
fn every_exported_function_is_in_the_header() {
    let header = include_str!("../../include/ovs_netmap.h");
    for (name, _) in exported() {
        assert!(header.contains(&format!("{name}(")), "{name}");
    }
}

#[test]
fn a_panic_becomes_the_other_value() {
    assert_eq!(guard(7, || panic!("on purpose")), 7);
    assert_eq!(guard(7, || 8), 8);
}

#[test]
fn messages_are_cut_and_terminated() {
    let mut room = [1 as c_char; 4];
    // SAFETY: four bytes of room.
    unsafe { put_text("abcdef", room.as_mut_ptr(), 4) };
    assert_eq!(room, [b'a', b'b', b'c', 0].map(|b| b as c_char));
    // SAFETY: no room is asked for.
    unsafe { put_text("abc", std::ptr::null_mut(), 9) };
    assert_eq!(c_string("a\0b").to_bytes(), b"a");
    assert!(interval(-2).is_err() && interval(-1) == Ok(None) && interval(3) == Ok(Some(3)));
}
