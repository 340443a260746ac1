//! Another build of `sluice`, whose eBPF programs are others to the kernel and do the same: what an upgrade brings.
//!
//! It is the binary with one instruction written in another way wherever it is: `r = number` for 64 bits becomes
//! `w = number` for 32, which clears the upper half. Of a number that is not negative both are the same.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;

use crate::process::binary;

/// Writes it into a directory.
///
/// # Errors
/// If `sluice` is not built, or has no program in it.
pub fn write(directory: &Path) -> Result<PathBuf> {
    let original = binary("sluice")?;
    let mut bytes = std::fs::read(&original).with_context(|| format!("reading {}", original.display()))?;
    let changed = rewrite_objects(&mut bytes);
    ensure!(changed > 0, "{} has no eBPF program with a number in it", original.display());
    let path = directory.join("sluice-upgraded");
    std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// What the kernel knows a loaded program's instructions by.
///
/// # Errors
/// If there is no such program.
pub fn tag(program: u32) -> Result<u64> {
    let programs = loaded_programs().filter_map(Result::ok);
    let found = programs.into_iter().find(|found| found.id() == program);
    Ok(found.with_context(|| format!("there is no program {program}"))?.tag())
}

/// An ELF file of 64 bits, little endian.
const ELF: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// What an object in the binary begins at a multiple of.
const ALIGNMENT: usize = 8;
/// `EM_BPF`, and where a file has it.
const BPF: u16 = 247;
const MACHINE: usize = 18;

/// Rewrites the objects that are somewhere in a file; how many instructions changed.
fn rewrite_objects(bytes: &mut [u8]) -> usize {
    let begins =
        |at: &usize| bytes[*at..].starts_with(&ELF) && number(bytes, at + MACHINE, 2) == Some(BPF.into());
    let objects: Vec<usize> = (0..bytes.len()).step_by(ALIGNMENT).filter(begins).collect();
    objects.into_iter().map(|at| rewrite_object(&mut bytes[at..]).unwrap_or(0)).sum()
}

/// `SHT_PROGBITS`, and `SHF_EXECINSTR`.
const CONTENT: u64 = 1;
const EXECUTABLE: u64 = 4;

fn rewrite_object(object: &mut [u8]) -> Option<usize> {
    let (headers, size, count) = (number(object, 40, 8)?, number(object, 58, 2)?, number(object, 60, 2)?);
    let mut changed = 0;
    for section in 0..count {
        let header = usize::try_from(headers + section * size).ok()?;
        let field = |at, length| number(object, header + at, length);
        let is_code = field(4, 4)? == CONTENT && field(8, 8)? & EXECUTABLE != 0;
        if is_code {
            let (begin, length) =
                (usize::try_from(field(24, 8)?).ok()?, usize::try_from(field(32, 8)?).ok()?);
            changed += rewrite_code(object.get_mut(begin..begin + length)?);
        }
    }
    Some(changed)
}

/// Opcodes: `BPF_ALU64 | BPF_MOV | BPF_K`, the same of 32 bits, and `BPF_LD | BPF_IMM | BPF_DW`, which is two long.
const MOVE_64: u8 = 0xb7;
const MOVE_32: u8 = 0xb4;
const LOAD_WIDE: u8 = 0x18;

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

fn rewrite_code(code: &mut [u8]) -> usize {
    let mut changed = 0;
    let mut is_second_half = false;
    for instruction in code.chunks_exact_mut(INSTRUCTION) {
        if is_second_half {
            is_second_half = false;
            continue;
        }
        is_second_half = instruction[0] == LOAD_WIDE;
        let is_negative = instruction[INSTRUCTION - 1] & 0x80 != 0;
        if instruction[0] == MOVE_64 && !is_negative {
            instruction[0] = MOVE_32;
            changed += 1;
        }
    }
    changed
}

/// A number of so many bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_moved_in_another_way_and_all_else_stays() {
        let mut code = [
            [MOVE_64, 1, 0, 0, 2, 0, 0, 0],
            // Minus one has all 64 bits.
            [MOVE_64, 1, 0, 0, 255, 255, 255, 255],
            [LOAD_WIDE, 1, 0, 0, 7, 0, 0, 0],
            // The second half of a number, whatever it looks like.
            [MOVE_64, 0, 0, 0, 7, 0, 0, 0],
            [MOVE_64, 0, 0, 0, 1, 0, 0, 0],
        ];
        let before = code;
        assert_eq!(rewrite_code(code.as_flattened_mut()), 2);
        let mut expected = before;
        (expected[0][0], expected[4][0]) = (MOVE_32, MOVE_32);
        assert_eq!(code, expected);
    }

    #[test]
    fn what_is_no_object_or_half_of_one_is_left_alone() {
        let mut object = [&ELF[..], &[0; 12], &BPF.to_le_bytes(), &[0; 20], &1000u64.to_le_bytes()].concat();
        object.extend([0; 20]);
        object[60] = 1;
        let before = object.clone();
        assert_eq!((rewrite_objects(&mut object), &object), (0, &before));
        assert_eq!(rewrite_objects(&mut [0; 3]), 0);
    }
}
