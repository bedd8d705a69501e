// SPDX-License-Identifier: Apache-2.0
//! Names the shared library, and writes the C header from the source.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    // The interface's version stands for compatibility: programs find the library by it.
    let major = env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libovs_netmap.so.{major}");

    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&root);
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut header = Vec::new();
    match cbindgen::generate_with_config(root, config) {
        Ok(bindings) => bindings.write(&mut header),
        // A syntax error: the compiler says it better.
        Err(error) => return println!("cargo:warning=no header: {error}"),
    };
    let path = root.join("include/ovs_netmap.h");
    if fs::read(&path).is_ok_and(|old| old == header) {
        return;
    }
    if let Err(error) = fs::write(&path, header) {
        println!("cargo:warning=cannot write {}: {error}", path.display());
    }
}
