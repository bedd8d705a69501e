// SPDX-License-Identifier: Apache-2.0
//! The XDP program of an interface, as instructions, and the little assembler that it is written with.
//!
//! ```text
//!   verdict = bpf_redirect_map(&sockets, ctx->rx_queue_index, fallback);
//!   if (verdict != XDP_REDIRECT)          (only where the fallback is to drop)
//!       atomic add 1 to the counter;
//!   return verdict;
//! ```
//!
//! The program decides by itself what becomes of a frame whose queue has no socket: before the
//! sockets are there, after they are gone, and on queues that appear later.
#![forbid(unsafe_code)]

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

// From linux/bpf.h.
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
const BPF_PSEUDO_MAP_FD: u8 = 1;
const BPF_PSEUDO_MAP_VALUE: u8 = 2;
const BPF_ADD: i32 = 0;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_REDIRECT: i32 = 4;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const RX_QUEUE_INDEX: i16 = 16;

// Instruction classes, sizes, modes and operations, as linux/bpf_common.h and linux/bpf.h combine
// them.
const LDX_MEM_W: u8 = 0x61;
const LD_IMM_DW: u8 = 0x18;
const ALU64_MOV_K: u8 = 0xb7;
const STX_ATOMIC_DW: u8 = 0xdb;
const JMP_JEQ_K: u8 = 0x15;
const JMP_CALL: u8 = 0x85;
const JMP_EXIT: u8 = 0x95;

/// What becomes of frames of a queue that has no socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// They go on to the host's network stack: the port is on other queues.
    Pass,
    /// They are dropped, and counted: the port is the whole interface.
    Drop,
}

/// `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Insn {
    code: u8,
    /// Destination in the low half, source in the high half (as C lays the bit fields out on a
    /// little-endian machine; see [`regs`]).
    regs: u8,
    off: i16,
    imm: i32,
}

const _: () = assert!(size_of::<Insn>() == 8);

const fn regs(dst: Reg, src: u8) -> u8 {
    if cfg!(target_endian = "little") {
        dst as u8 | src << 4
    } else {
        src | (dst as u8) << 4
    }
}

/// Registers that are used. R1 is the context at first; calls take R1 to R5 and return in R0.
#[derive(Debug, Clone, Copy)]
enum Reg {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
}

/// A jump whose target is not known yet.
struct Jump(usize);

/// Instructions in the making.
#[derive(Default)]
struct Assembler(Vec<Insn>);

impl Assembler {
    fn emit(&mut self, code: u8, dst: Reg, src: u8, off: i16, imm: i32) {
        let regs = regs(dst, src);
        self.0.push(Insn {
            code,
            regs,
            off,
            imm,
        });
    }

    /// `to = *(u32 *)(base + offset)`
    fn load_word(&mut self, to: Reg, base: Reg, offset: i16) {
        self.emit(LDX_MEM_W, to, base as u8, offset, 0);
    }

    /// `to = map`, for calls.
    fn load_map(&mut self, to: Reg, map: BorrowedFd<'_>) {
        self.emit(LD_IMM_DW, to, BPF_PSEUDO_MAP_FD, 0, map.as_raw_fd());
        self.emit(0, Reg::R0, 0, 0, 0);
    }

    /// `to = address of the byte at offset in the only value of map`
    fn load_value_address(&mut self, to: Reg, map: BorrowedFd<'_>, offset: i32) {
        self.emit(LD_IMM_DW, to, BPF_PSEUDO_MAP_VALUE, 0, map.as_raw_fd());
        self.emit(0, Reg::R0, 0, 0, offset);
    }

    /// `to = value`
    fn set(&mut self, to: Reg, value: i32) {
        self.emit(ALU64_MOV_K, to, 0, 0, value);
    }

    /// Atomically, `*(u64 *)base += what`
    fn atomic_add(&mut self, base: Reg, what: Reg) {
        self.emit(STX_ATOMIC_DW, base, what as u8, 0, BPF_ADD);
    }

    fn call(&mut self, helper: i32) {
        self.emit(JMP_CALL, Reg::R0, 0, 0, helper);
    }

    /// `if (left == right) goto` where [`Assembler::land`] says.
    fn jump_if_equal(&mut self, left: Reg, right: i32) -> Jump {
        self.emit(JMP_JEQ_K, left, 0, 0, right);
        Jump(self.0.len() - 1)
    }

    /// The next instruction is the target of `jump`.
    fn land(&mut self, jump: Jump) {
        let distance = self.0.len() - jump.0 - 1;
        self.0[jump.0].off = i16::try_from(distance).expect("programs are short");
    }

    fn exit(&mut self) {
        self.emit(JMP_EXIT, Reg::R0, 0, 0, 0);
    }
}

/// The program: `sockets` is the map from queue to socket, the only value of `counters` a `u64`.
pub(super) fn program(
    fallback: Fallback,
    sockets: BorrowedFd<'_>,
    counters: BorrowedFd<'_>,
) -> Vec<Insn> {
    let mut asm = Assembler::default();
    asm.load_word(Reg::R2, Reg::R1, RX_QUEUE_INDEX);
    asm.load_map(Reg::R1, sockets);
    match fallback {
        Fallback::Pass => {
            asm.set(Reg::R3, XDP_PASS);
            asm.call(BPF_FUNC_REDIRECT_MAP);
        }
        Fallback::Drop => {
            asm.set(Reg::R3, XDP_DROP);
            asm.call(BPF_FUNC_REDIRECT_MAP);
            let redirected = asm.jump_if_equal(Reg::R0, XDP_REDIRECT);
            asm.load_value_address(Reg::R1, counters, 0);
            asm.set(Reg::R2, 1);
            asm.atomic_add(Reg::R1, Reg::R2);
            asm.land(redirected);
        }
    }
    asm.exit();
    asm.0
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn jumps_land_behind_what_they_pass_over() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let insns = program(Fallback::Drop, file.as_fd(), file.as_fd());
        let jump = insns.iter().position(|i| i.code == JMP_JEQ_K).unwrap();
        let target = jump + 1 + insns[jump].off as usize;
        assert_eq!(insns[target].code, JMP_EXIT);
        assert_eq!(target, insns.len() - 1);
        let pass = program(Fallback::Pass, file.as_fd(), file.as_fd());
        assert!(pass.iter().all(|i| i.code != JMP_JEQ_K));
    }
}
