// SPDX-License-Identifier: Apache-2.0
//! Names the shared library, and writes the C header from the source.
//!
//! The documentation of `src/ffi/` is written for rustdoc: a summary, then sections of fixed names. Here
//! it becomes doxygen's.

use std::path::Path;
use std::{env, fs};

#[path = "src/ffi/abi.rs"]
mod abi;

/// Columns of a line of the header.
const WIDTH: usize = 79;

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    let version = Version::of_package();
    println!(
        "cargo:rustc-cdylib-link-arg=-Wl,-soname,libovs_netmap.so.{}",
        version.soname()
    );

    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&root);
    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    config.after_includes = Some(version.macros());
    let mut header = Vec::new();
    match cbindgen::generate_with_config(root, config) {
        Ok(bindings) => bindings.write(&mut header),
        // A syntax error: the compiler says it better.
        Err(error) => return println!("cargo:warning=no header: {error}"),
    };
    let header = doxygen(&String::from_utf8(header).expect("source code is UTF-8"));
    let path = root.join("include/ovs_netmap.h");
    if fs::read_to_string(&path).is_ok_and(|old| old == header) {
        return;
    }
    if let Err(error) = fs::write(&path, header) {
        println!("cargo:warning=cannot write {}: {error}", path.display());
    }
}

/// The package's version.
struct Version {
    text: String,
    numbers: [String; 3],
}

impl Version {
    fn of_package() -> Version {
        let get = |part| env::var(format!("CARGO_PKG_VERSION{part}")).expect("cargo sets it");
        Version {
            text: get(""),
            numbers: ["_MAJOR", "_MINOR", "_PATCH"].map(get),
        }
    }

    /// The part of it that stands for compatibility: programs find the library by it.
    fn soname(&self) -> String {
        match self.numbers.each_ref().map(String::as_str) {
            ["0", "0", patch] => format!("0.0.{patch}"),
            ["0", minor, _] => format!("0.{minor}"),
            [major, ..] => major.to_owned(),
        }
    }

    /// It, for the C preprocessor.
    fn macros(&self) -> String {
        let Version {
            text,
            numbers: [major, minor, patch],
        } = self;
        format!(
            "\n/** Version of the library that this header came with. */\n\
             #define OVS_NETMAP_VERSION \"{text}\"\n\
             #define OVS_NETMAP_VERSION_MAJOR {major}\n\
             #define OVS_NETMAP_VERSION_MINOR {minor}\n\
             #define OVS_NETMAP_VERSION_PATCH {patch}\n\
             \n\
             /** Number of the interface: what netmap_host's abi is to be. */\n\
             #define OVS_NETMAP_ABI {}",
            abi::ABI
        )
    }
}

/// `header` with each `/** */` block that cbindgen made from rustdoc in doxygen's terms.
fn doxygen(header: &str) -> String {
    let mut out = String::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() != "/**" {
            match line.split_once("// ") {
                Some((code, text)) => out.push_str(&format!("{code}/* {text} */\n")),
                None => out.push_str(&format!("{line}\n")),
            }
            continue;
        }
        let block = lines.by_ref().take_while(|line| line.trim() != "*/");
        let text: Vec<_> = block
            .map(|line| line.trim_start().trim_start_matches('*').trim())
            .collect();
        out.push_str(&comment(&text, &" ".repeat(indent)));
    }
    out
}

/// One comment, from the lines of its text.
fn comment(text: &[&str], indent: &str) -> String {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut section = "";
    for paragraph in text.split(|line| line.is_empty()) {
        // A list has a paragraph an item.
        let items = paragraph.chunk_by(|_, next| !next.starts_with("* "));
        for item in items {
            let item = item.join(" ").replace('`', "");
            match (item.strip_prefix("# "), section) {
                (Some("Parameters"), _) => section = "@param",
                (Some("Returns"), _) => section = "@return ",
                (Some("Safety"), _) => section = "@pre ",
                (Some("Ownership"), _) => section = "@note Ownership: ",
                (Some("Threads"), _) => section = "@note Threads: ",
                (Some(other), _) => panic!("no doxygen command for the section {other:?}"),
                (None, "@param") => paragraphs.push(parameter(&item)),
                (None, command) => paragraphs.push(format!("{command}{item}")),
            }
        }
    }
    if let [only] = &paragraphs[..] {
        let line = format!("{indent}/** {only} */\n");
        if line.len() <= WIDTH + 1 {
            return line;
        }
    }
    let mut out = format!("{indent}/**\n");
    for (i, paragraph) in paragraphs.iter().enumerate() {
        let command = paragraph.starts_with('@');
        // Commands stand together, after an empty line.
        if i > 0 && !(command && paragraphs[i - 1].starts_with('@')) {
            out.push_str(&format!("{indent} *\n"));
        }
        let hang = if command { "    " } else { "" };
        out.push_str(&wrap(paragraph, &format!("{indent} * "), hang));
    }
    out.push_str(&format!("{indent} */\n"));
    out
}

/// "* NAME: text", or "* NAME (out): text", as doxygen wants it.
fn parameter(item: &str) -> String {
    let (name, text) = item
        .strip_prefix("* ")
        .and_then(|item| item.split_once(": "))
        .unwrap_or_else(|| panic!("not a parameter: {item:?}"));
    match name.split_once(" (") {
        Some((name, direction)) => {
            let direction = direction.trim_end_matches(')');
            format!("@param[{direction}] {name} {text}")
        }
        None => format!("@param[in] {name} {text}"),
    }
}

/// `text` in lines that start with `prefix`, and from the second on with `hang`.
fn wrap(text: &str, prefix: &str, hang: &str) -> String {
    let mut out = String::new();
    let mut line = prefix.to_owned();
    let mut start = line.len();
    for word in text.split_whitespace() {
        if line.len() > start && line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{prefix}{hang}");
            start = line.len();
        }
        if line.len() > start {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
    out
}
