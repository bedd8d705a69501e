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
fn every_exported_function_is_in_the_header_and_the_version_map() {
    let header = include_str!("../../include/ovs_netmap.h");
    let map = include_str!("../ovs_netmap.map");
    for (name, _) in exported() {
        assert!(header.contains(&format!("{name}(")), "{name}");
        assert!(map.contains(&format!(" {name};")), "{name} has no version");
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

/// Each function of the header: its documentation, its name, whether it returns something, its
/// parameters.
fn declared(header: &str) -> Vec<(&str, &str, bool, Vec<&str>)> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    // What stands before are types.
    let (_, header) = header.split_once("extern \"C\" {").expect("functions");
    let documented = header.split("/**").skip(1);
    let functions = documented.filter_map(|text| {
        let (doc, rest) = text.split_once("*/")?;
        let (prototype, _) = rest.split_once(";")?;
        let (left, parameters) = prototype.trim().strip_suffix(")")?.split_once('(')?;
        let name = left.rsplit(|c| !word(c)).next()?;
        let parameters = parameters.split(',').filter(|p| p.trim() != "void");
        let parameters = parameters.filter_map(|p| p.trim().rsplit(|c| !word(c)).next());
        Some((doc, name, !left.starts_with("void "), parameters.collect()))
    });
    functions.collect()
}

#[test]
fn the_header_is_in_one_style() {
    let header = include_str!("../../include/ovs_netmap.h");
    for (not_c, what) in [
        ("# S", "a Rust heading"),
        ("`", "a Rust quote"),
        ("//", "a line comment"),
    ] {
        assert!(!header.contains(not_c), "{what} in the header");
    }
    assert!(
        header.lines().all(|line| line.len() < 80),
        "a long line in the header"
    );

    let functions = declared(header);
    assert_eq!(functions.len(), exported().len());
    for (doc, name, returns, parameters) in functions {
        let documented: Vec<_> = doc.split("@param[").skip(1).collect();
        let names = documented
            .iter()
            .map(|text| text.split(' ').nth(1).unwrap_or_default());
        assert_eq!(names.collect::<Vec<_>>(), parameters, "@param of {name}");
        assert_eq!(doc.contains("@return "), returns, "@return of {name}");
        let threads: Vec<_> = doc.split("@note Threads: ").skip(1).collect();
        let fixed = ["main.", "any.", "queue."];
        assert!(
            threads.len() == 1 && fixed.iter().any(|word| threads[0].starts_with(word)),
            "threads of {name}: expected one of {fixed:?}"
        );
    }
}
