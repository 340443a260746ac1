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
    let has_names = builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString));
    if !has_names {
        // LLVM keeps the names of sections and of symbols in one table, the builder in two.
        let names = builder.sections.add();
        (names.name, names.sh_type) = (".shstrtab".into(), SHT_STRTAB);
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    let mut smaller = Vec::new();
    builder.write(&mut smaller).context("writing the object as ELF")?;
    Ok(smaller)
}

#[cfg(test)]
mod tests {
    use object::Endianness;
    use object::elf::{EM_BPF, ET_REL, SHT_PROGBITS};

    use super::*;

    fn names(object: &[u8]) -> Vec<String> {
        let builder = Builder::read(object).unwrap();
        builder.sections.iter().map(|section| section.name.to_string()).collect()
    }

    #[test]
    fn dwarf_goes_and_everything_else_stays() {
        let mut builder = Builder::new(Endianness::Little, true);
        (builder.header.e_type, builder.header.e_machine) = (ET_REL, EM_BPF);
        for name in [".text", ".debug_info", ".BTF", ".debug_line", ".BTF.ext"] {
            let section = builder.sections.add();
            (section.name, section.sh_type) = (name.into(), SHT_PROGBITS);
            section.data = SectionData::Data(name.as_bytes().into());
        }
        let table = builder.sections.add();
        (table.name, table.sh_type, table.data) = (".strtab".into(), SHT_STRTAB, SectionData::SectionString);
        let mut object = Vec::new();
        builder.write(&mut object).unwrap();
        let smaller = without_dwarf(&object).unwrap();
        let left = names(&smaller);
        assert!(
            [".text", ".BTF", ".BTF.ext"].iter().all(|name| left.iter().any(|at| at == name)),
            "{left:?}"
        );
        assert!(left.iter().all(|name| !name.starts_with(".debug")), "{left:?}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        without_dwarf(b"\x7fELF 1").unwrap_err();
    }
}
