//! Objects of eBPF programs without what only a debugger on the host would read.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The ELF file without DWARF, of which bpf-linker has made BTF: it is nine tenths of the balancer's object, and every
/// controller would carry it in its memory. Programs, maps, symbols and BTF with the lines of the source stay.
pub(crate) fn without_dwarf(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("reading the object as ELF")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = [".debug_", ".rel.debug_"].iter().any(|prefix| name.starts_with(prefix));
    }
    // LLVM keeps the names of sections and of symbols in one table, the builder in two.
    let names = builder.sections.add();
    (names.name, names.sh_type) = (".shstrtab".into(), SHT_STRTAB);
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut smaller = Vec::new();
    builder.write(&mut smaller).context("writing the object as ELF")?;
    Ok(smaller)
}
