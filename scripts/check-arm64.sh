#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The library's unit tests on arm64, with QEMU's user emulation on this
# machine's kernel.  Left out are those that need what QEMU does not pass on.
# Needs Debian's qemu-user and gcc-aarch64-linux-gnu; skipped without.
. "$(dirname "$0")/lib.sh"

target=aarch64-unknown-linux-gnu
skip() {
    echo "skipped: $1"
    exit 77
}
command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64: apt install qemu-user"
command -v aarch64-linux-gnu-gcc >/dev/null || skip "no cross compiler: apt install gcc-aarch64-linux-gnu"
need_rust
[ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || rustup target add "$target" ||
    skip "no Rust library for $target, and no rustup to add it"

lacking=(
    engine::xdp::tests                  # bpf(2), AF_XDP
    # The ioctl SIOCETHTOOL.
    netif::tests::linux::what_is_set_is_read_back
    netif::tests::linux::vlan_offloads_are_switched_one_by_one
    vlan::tests::the_offload_is_off_while_a_port_is_open_and_on_again_after_a_crash
    logger::tests::messages_reach_the_callback_once_it_is_installed   # runs itself: an arm64 program
)
leave_out=()
for name in "${lacking[@]}"; do
    leave_out+=(--skip "$name")
    echo "left out under QEMU: $name"
done
cd "$ROOT"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo test --lib --target "$target" --no-fail-fast -- "${leave_out[@]}"
