//! What a program's instructions tell without a kernel: the features that they need, and the stack that they
//! use. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aya_obj::generated::bpf_insn;

use super::kernels::{Feature, Instructions};

/// The frame pointer: the stack is below it, and no instruction writes it.
const FRAME: u8 = 10;

/// The verifier rounds each function's frame up to this many bytes.
const FRAME_UNIT: u32 = 32;

/// Programs that are longer than this need the limits of Linux 5.2.
const OLD_PROGRAM_LIMIT: usize = 4096;

/// `BPF_OP` of a call.
const CALL: u8 = 0x85;

/// What stands in a call's source register.
const HELPER: u8 = 0;
const FUNCTION: u8 = 1;
const KERNEL_FUNCTION: u8 = 2;

/// The instruction classes, `code & 7`.
const CLASS: u8 = 0x07;
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;

/// The access modes, `code & 0xe0`.
const MODE: u8 = 0xe0;
const SIGN_EXTENDED: u8 = 0x80;
const ATOMIC: u8 = 0xc0;

/// The operations, `code & 0xf0`, that later instruction sets gave a new meaning.
const OPERATION: u8 = 0xf0;
const ADD: u8 = 0x00;
const DIVIDE: u8 = 0x30;
const REMAINDER: u8 = 0x90;
const MOVE: u8 = 0xb0;
const SWAP: u8 = 0xd0;
const JUMP: u8 = 0x00;
const EXIT: u8 = 0x90;

/// The features that a linked program needs.
pub(crate) fn features(program: &[bpf_insn]) -> BTreeSet<Feature> {
    let mut found: BTreeSet<Feature> =
        without_second_halves(program).flat_map(|(_, instruction)| features_of(instruction)).collect();
    if program.len() > OLD_PROGRAM_LIMIT {
        found.insert(Feature::Instructions(Instructions::LongProgram));
    }
    found
}

fn features_of(instruction: &bpf_insn) -> Option<Feature> {
    if instruction.code == CALL {
        return match instruction.src_reg() {
            HELPER => Some(Feature::Helper(instruction.imm.cast_unsigned())),
            FUNCTION => Some(Feature::Instructions(Instructions::FunctionCall)),
            KERNEL_FUNCTION => Some(Feature::Instructions(Instructions::KernelFunctionCall)),
            _ => None,
        };
    }
    instructions_of(instruction).map(Feature::Instructions)
}

/// What is younger than the first instruction set, if anything.
fn instructions_of(instruction: &bpf_insn) -> Option<Instructions> {
    let (class, mode) = (instruction.code & CLASS, instruction.code & MODE);
    let operation = instruction.code & OPERATION;
    match class {
        STX if mode == ATOMIC && instruction.imm != 0 => Some(Instructions::AtomicFetch),
        LDX if mode == SIGN_EXTENDED => Some(Instructions::Version4),
        ALU | ALU64 if is_version_4(class, operation, instruction.off) => Some(Instructions::Version4),
        JMP32 if operation == JUMP => Some(Instructions::Version4),
        JMP32 if instruction.off < 0 => Some(Instructions::Loop),
        JMP32 => Some(Instructions::Jump32),
        JMP if ![CALL & OPERATION, EXIT].contains(&operation) && instruction.off < 0 => {
            Some(Instructions::Loop)
        }
        _ => None,
    }
}

/// Signed division and moves are told by the offset, the unconditional swap by its class.
fn is_version_4(class: u8, operation: u8, offset: i16) -> bool {
    match operation {
        MOVE | DIVIDE | REMAINDER => offset != 0,
        SWAP => class == ALU64,
        _ => false,
    }
}

/// Instructions with their indices; a 64-bit constant's second half is none.
fn without_second_halves(program: &[bpf_insn]) -> impl Iterator<Item = (usize, &bpf_insn)> {
    let mut is_second_half = false;
    program.iter().enumerate().filter(move |(_, instruction)| {
        let is_instruction = !is_second_half;
        is_second_half = is_instruction && instruction.code & CLASS == LD && instruction.code & MODE == 0;
        is_instruction
    })
}

/// Bytes of stack that the deepest chain of calls uses, each frame rounded up as the verifier does.
pub(crate) fn stack_depth(program: &[bpf_insn]) -> u32 {
    let functions = functions(program);
    depth_from(0, &functions, functions.len())
}

/// A function's frame, and the functions that it calls by their first instruction.
#[derive(Debug, Default)]
struct Function {
    frame: u32,
    calls: BTreeSet<usize>,
}

/// `remaining` bounds the chain: the verifier refuses recursion, this must only end.
fn depth_from(start: usize, functions: &BTreeMap<usize, Function>, remaining: usize) -> u32 {
    let (Some(function), Some(remaining)) = (functions.get(&start), remaining.checked_sub(1)) else {
        return 0;
    };
    let below = function.calls.iter().map(|called| depth_from(*called, functions, remaining)).max();
    function.frame.max(1).next_multiple_of(FRAME_UNIT) + below.unwrap_or(0)
}

fn functions(program: &[bpf_insn]) -> BTreeMap<usize, Function> {
    let calls: Vec<(usize, usize)> = without_second_halves(program)
        .filter(|(_, instruction)| instruction.code == CALL && instruction.src_reg() == FUNCTION)
        .filter_map(|(at, call)| Some((at, (at + 1).checked_add_signed(call.imm as isize)?)))
        .collect();
    let mut starts: BTreeSet<usize> = calls.iter().map(|(_, called)| *called).collect();
    starts.insert(0);
    let ends = starts.iter().copied().skip(1).chain([program.len()]);
    let mut functions = BTreeMap::new();
    for (start, end) in starts.iter().copied().zip(ends) {
        let calls = calls.iter().filter(|(at, _)| (start..end).contains(at)).map(|(_, called)| *called);
        let body = program.get(start..end).unwrap_or_default();
        functions.insert(start, Function { frame: frame(body), calls: calls.collect() });
    }
    functions
}

/// The lowest byte below the frame pointer that the function names, read from top to bottom: compilers derive
/// pointers into the stack by a move and an addition, right where they need them.
fn frame(function: &[bpf_insn]) -> u32 {
    let mut offsets: [Option<i32>; 16] = [None; 16];
    offsets[FRAME as usize] = Some(0);
    let mut lowest = 0;
    for (_, instruction) in without_second_halves(function) {
        let (to, from) = (instruction.dst_reg() as usize & 15, instruction.src_reg() as usize & 15);
        let accessed = match instruction.code & CLASS {
            LDX => offsets[from].map(|base| base + i32::from(instruction.off)),
            ST | STX => offsets[to].map(|base| base + i32::from(instruction.off)),
            _ => None,
        };
        let derived = derived(instruction, offsets[to], offsets[from]);
        let is_write = matches!(instruction.code & CLASS, LD | LDX | ALU | ALU64);
        if is_write && to != FRAME as usize {
            offsets[to] = derived;
        }
        lowest = accessed.into_iter().chain(derived).fold(lowest, i32::min);
    }
    lowest.unsigned_abs()
}

/// A pointer into the stack that a 64-bit move or addition of a constant makes.
fn derived(instruction: &bpf_insn, to: Option<i32>, from: Option<i32>) -> Option<i32> {
    const MOVE_REGISTER: u8 = ALU64 | MOVE | 0x08;
    const ADD_CONSTANT: u8 = ALU64 | ADD;
    match instruction.code {
        MOVE_REGISTER => from,
        ADD_CONSTANT => to.and_then(|base| base.checked_add(instruction.imm)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
        let mut instruction =
            bpf_insn { code, _bitfield_align_1: [], _bitfield_1: Default::default(), off, imm };
        instruction.set_dst_reg(to);
        instruction.set_src_reg(from);
        instruction
    }

    #[test]
    fn helpers_and_new_instructions_are_found() {
        let program = [
            // The second half's code byte is data.
            instruction(0x18, 1, 1, 0, 5),
            instruction(0x00, 0, 0, 0, 0),
            instruction(CALL, 0, HELPER, 0, 160),
            instruction(CALL, 0, FUNCTION, 0, 1),
            instruction(0xdb, 1, 2, 0, 1),
            instruction(0x05, 0, 0, -3, 0),
            instruction(0x16, 1, 0, 2, 0),
            instruction(0xbf, 1, 2, 8, 0),
            instruction(0x95, 0, 0, 0, 0),
        ];
        let expected = [
            Feature::Helper(160),
            Feature::Instructions(Instructions::FunctionCall),
            Feature::Instructions(Instructions::AtomicFetch),
            Feature::Instructions(Instructions::Loop),
            Feature::Instructions(Instructions::Jump32),
            Feature::Instructions(Instructions::Version4),
        ];
        assert_eq!(features(&program), BTreeSet::from(expected));
    }

    #[test]
    fn plain_instructions_need_nothing() {
        let program = [
            instruction(0xb7, 0, 0, 0, 2),
            instruction(0x0f, 0, 1, 0, 0),
            instruction(0xdb, 1, 2, 0, 0),
            instruction(0x15, 0, 0, 3, 0),
            instruction(0xdc, 0, 0, 0, 16),
            instruction(0x95, 0, 0, 0, 0),
        ];
        assert!(features(&program).is_empty());
    }

    #[test]
    fn the_stack_is_the_deepest_chain_of_frames() {
        let program = [
            instruction(0x7b, FRAME, 1, -8, 0),
            instruction(0xbf, 2, FRAME, 0, 0),
            instruction(0x07, 2, 0, 0, -40),
            instruction(CALL, 0, FUNCTION, 0, 1),
            instruction(0x95, 0, 0, 0, 0),
            instruction(0x79, 1, FRAME, -16, 0),
            instruction(0x95, 0, 0, 0, 0),
        ];
        assert_eq!(stack_depth(&program), 64 + 32);
    }

    #[test]
    fn a_register_that_left_the_stack_is_forgotten() {
        let program = [
            instruction(0xbf, 2, FRAME, 0, 0),
            instruction(0xb7, 2, 0, 0, 0),
            instruction(0x07, 2, 0, 0, -400),
            instruction(0x95, 0, 0, 0, 0),
        ];
        assert_eq!(stack_depth(&program), 32);
    }
}
