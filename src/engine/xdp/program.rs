// SPDX-License-Identifier: Apache-2.0
//! The XDP program of an interface, as instructions, and the little assembler that it is written with.
//!
//! ```text
//!   if (there is a socket && bpf_xdp_metadata_rx_vlan_tag(ctx, &tpid, &tci) == 0)
//!       put the tag into the frame, or drop and count it;             (where the driver can tell it)
//!   verdict = bpf_redirect_map(&sockets, ctx->rx_queue_index, fallback);
//!   if (verdict != XDP_REDIRECT)          (only where the fallback is to drop)
//!       atomic add 1 to the counter;
//!   return verdict;
//! ```
//!
//! The program decides by itself what becomes of a frame whose queue has no socket: before the
//! sockets are there, after they are gone, and on queues that appear later. A frame that goes on to the
//! network stack keeps its tag where it is.
#![forbid(unsafe_code)]

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

// From linux/bpf.h.
const BPF_FUNC_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_FUNC_XDP_ADJUST_HEAD: i32 = 44;
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
const BPF_PSEUDO_KFUNC_CALL: u8 = 2;
const BPF_PSEUDO_MAP_FD: u8 = 1;
const BPF_PSEUDO_MAP_VALUE: u8 = 2;
const BPF_ADD: i32 = 0;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_REDIRECT: i32 = 4;
// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const RX_QUEUE_INDEX: i16 = 16;

/// Both addresses of an Ethernet header, which a VLAN tag follows.
const ADDRESSES: i16 = 12;
const TAG: i16 = 4;

// Places on the stack.
const QUEUE: i16 = -4;
const TCI: i16 = -6;
const TPID: i16 = -8;

// Instruction classes, sizes, modes and operations, as linux/bpf_common.h and linux/bpf.h combine
// them.
const LDX_MEM_W: u8 = 0x61;
const LDX_MEM_H: u8 = 0x69;
const STX_MEM_W: u8 = 0x63;
const STX_MEM_H: u8 = 0x6b;
const ST_MEM_W: u8 = 0x62;
const LD_IMM_DW: u8 = 0x18;
const ALU64_MOV_K: u8 = 0xb7;
const ALU64_MOV_X: u8 = 0xbf;
const ALU64_ADD_K: u8 = 0x07;
const ALU_END_TO_BE: u8 = 0xdc;
const STX_ATOMIC_DW: u8 = 0xdb;
const JMP_JEQ_K: u8 = 0x15;
const JMP_JNE_K: u8 = 0x55;
const JMP_JGT_X: u8 = 0x2d;
const JMP32_JNE_K: u8 = 0x56;
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
    R4 = 4,
    R6 = 6,
    /// The end of the stack.
    R10 = 10,
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

    /// `to = *(u16 *)(base + offset)`
    fn load_half(&mut self, to: Reg, base: Reg, offset: i16) {
        self.emit(LDX_MEM_H, to, base as u8, offset, 0);
    }

    /// `*(u32 *)(base + offset) = from`
    fn store_word(&mut self, base: Reg, offset: i16, from: Reg) {
        self.emit(STX_MEM_W, base, from as u8, offset, 0);
    }

    /// `*(u16 *)(base + offset) = from`
    fn store_half(&mut self, base: Reg, offset: i16, from: Reg) {
        self.emit(STX_MEM_H, base, from as u8, offset, 0);
    }

    /// `*(u32 *)(base + offset) = 0`
    fn clear_word(&mut self, base: Reg, offset: i16) {
        self.emit(ST_MEM_W, base, 0, offset, 0);
    }

    /// `to = from + offset`
    fn address(&mut self, to: Reg, from: Reg, offset: i16) {
        self.emit(ALU64_MOV_X, to, from as u8, 0, 0);
        if offset != 0 {
            self.emit(ALU64_ADD_K, to, 0, 0, offset as i32);
        }
    }

    /// The low 16 bits of `reg`, most significant byte first.
    fn swap_to_be16(&mut self, reg: Reg) {
        self.emit(ALU_END_TO_BE, reg, 0, 0, 16);
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

    /// Calls the kernel function of this number.
    fn call_kernel(&mut self, function: i32) {
        self.emit(JMP_CALL, Reg::R0, BPF_PSEUDO_KFUNC_CALL, 0, function);
    }

    /// `if (left != right) goto` where [`Assembler::land`] says.
    fn jump_unless_equal(&mut self, left: Reg, right: i32) -> Jump {
        self.emit(JMP_JNE_K, left, 0, 0, right);
        Jump(self.0.len() - 1)
    }

    /// The same for an `int`.
    fn jump_unless_equal_32(&mut self, left: Reg, right: i32) -> Jump {
        self.emit(JMP32_JNE_K, left, 0, 0, right);
        Jump(self.0.len() - 1)
    }

    /// `if (left > right) goto` where [`Assembler::land`] says.
    fn jump_if_greater(&mut self, left: Reg, right: Reg) -> Jump {
        self.emit(JMP_JGT_X, left, right as u8, 0, 0);
        Jump(self.0.len() - 1)
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
/// `rx_vlan_tag` is the number of the kernel function that tells a frame's VLAN tag, if it is to be called.
pub(super) fn program(
    fallback: Fallback,
    rx_vlan_tag: Option<i32>,
    sockets: BorrowedFd<'_>,
    counters: BorrowedFd<'_>,
) -> Vec<Insn> {
    let mut asm = Assembler::default();
    asm.address(Reg::R6, Reg::R1, 0);
    let lost = rx_vlan_tag.map(|function| put_tag_back(&mut asm, function, sockets));
    asm.load_word(Reg::R2, Reg::R6, RX_QUEUE_INDEX);
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
            count(&mut asm, counters);
            asm.land(redirected);
        }
    }
    asm.exit();
    if let Some(lost) = lost {
        lost.into_iter().for_each(|jump| asm.land(jump));
        count(&mut asm, counters);
        asm.set(Reg::R0, XDP_DROP);
        asm.exit();
    }
    asm.0
}

/// Adds 1 to the counter; keeps R0.
fn count(asm: &mut Assembler, counters: BorrowedFd<'_>) {
    asm.load_value_address(Reg::R1, counters, 0);
    asm.set(Reg::R2, 1);
    asm.atomic_add(Reg::R1, Reg::R2);
}

/// If the frame goes to a socket and the kernel `function` knows a VLAN tag of it, puts that into the
/// frame: behind the addresses, which move to the front by as much. The jumps are for a frame that has no
/// room for it.
fn put_tag_back(asm: &mut Assembler, function: i32, sockets: BorrowedFd<'_>) -> [Jump; 2] {
    asm.load_word(Reg::R2, Reg::R6, RX_QUEUE_INDEX);
    asm.store_word(Reg::R10, QUEUE, Reg::R2);
    asm.load_map(Reg::R1, sockets);
    asm.address(Reg::R2, Reg::R10, QUEUE);
    asm.call(BPF_FUNC_MAP_LOOKUP_ELEM);
    let no_socket = asm.jump_if_equal(Reg::R0, 0);

    asm.clear_word(Reg::R10, TPID);
    asm.address(Reg::R1, Reg::R6, 0);
    asm.address(Reg::R2, Reg::R10, TPID);
    asm.address(Reg::R3, Reg::R10, TCI);
    asm.call_kernel(function);
    let no_tag = asm.jump_unless_equal_32(Reg::R0, 0);

    asm.address(Reg::R1, Reg::R6, 0);
    asm.set(Reg::R2, -(TAG as i32));
    asm.call(BPF_FUNC_XDP_ADJUST_HEAD);
    let no_room = asm.jump_unless_equal(Reg::R0, 0);
    asm.load_word(Reg::R2, Reg::R6, DATA);
    asm.load_word(Reg::R3, Reg::R6, DATA_END);
    asm.address(Reg::R4, Reg::R2, ADDRESSES + TAG);
    let too_short = asm.jump_if_greater(Reg::R4, Reg::R3);
    for at in (0..ADDRESSES).step_by(4) {
        asm.load_word(Reg::R4, Reg::R2, at + TAG);
        asm.store_word(Reg::R2, at, Reg::R4);
    }
    // The kernel has the first as it is on the wire, the second as a number.
    asm.load_half(Reg::R4, Reg::R10, TPID);
    asm.store_half(Reg::R2, ADDRESSES, Reg::R4);
    asm.load_half(Reg::R4, Reg::R10, TCI);
    asm.swap_to_be16(Reg::R4);
    asm.store_half(Reg::R2, ADDRESSES + 2, Reg::R4);
    asm.land(no_socket);
    asm.land(no_tag);
    [no_room, too_short]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn jumps_land_behind_what_they_pass_over() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let insns = program(Fallback::Drop, None, file.as_fd(), file.as_fd());
        let jump = insns.iter().position(|i| i.code == JMP_JEQ_K).unwrap();
        let target = jump + 1 + insns[jump].off as usize;
        assert_eq!(insns[target].code, JMP_EXIT);
        assert_eq!(target, insns.len() - 1);
        let pass = program(Fallback::Pass, None, file.as_fd(), file.as_fd());
        assert!(pass.iter().all(|i| i.code != JMP_JEQ_K));
    }
}
