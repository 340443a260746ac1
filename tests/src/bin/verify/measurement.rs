//! One object, read and loaded: what its programs cost the verifier and need of the kernel.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use aya::EbpfLoader;
use aya::programs::{Program, ProgramInfo};
use aya_obj::generated::bpf_insn;
use aya_obj::{EbpfSectionKind, Object, ProgramSection};
use lb_userspace::programs::{Buffers, load_maps};

use super::bytecode;
use super::kernels::{Feature, Kind, Known, known};

/// A program as this kernel took it.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// Its name.
    pub(crate) program: String,
    /// The features that it was built with.
    pub(crate) features: String,
    /// Instructions that the verifier processed; None before Linux 5.16, which does not say.
    pub(crate) processed: Option<u32>,
    /// Instructions of the object.
    pub(crate) instructions: usize,
    /// Instructions after the kernel has rewritten them.
    pub(crate) translated: u32,
    /// Bytes of machine code; 0 without a JIT.
    pub(crate) machine_code: u32,
    /// Bytes of stack.
    pub(crate) stack: u32,
    /// What it needs.
    pub(crate) needs: BTreeSet<Known>,
}

impl Measurement {
    /// Loads all programs of an object; its maps have the sizes that the object names.
    ///
    /// # Errors
    /// If something in it is not in the list of what kernels have, or the kernel refuses it; then with the
    /// verifier's log.
    pub(crate) fn of_object(path: &Path, features: &str) -> Result<Vec<Measurement>> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let object = linked(&bytes)?;
        // The kernels that lack several buffers have another verifier, but what this one refuses they refuse, too.
        let mut for_one =
            load_maps(&mut EbpfLoader::new(), &bytes, Buffers::One).context("making its maps")?;
        for (name, program) in for_one.programs_mut() {
            load(program).with_context(|| format!("loading the program {name} for packets of one buffer"))?;
        }
        let mut loaded = EbpfLoader::new().load(&bytes).context("making its maps")?;
        let mut measured = Vec::new();
        for (name, program) in loaded.programs_mut() {
            let info = load(program).with_context(|| format!("loading the program {name}"))?;
            let code = code(&object, name)?;
            measured.push(Measurement {
                program: name.to_owned(),
                features: features.to_owned(),
                processed: info.verified_instruction_count(),
                instructions: code.len(),
                translated: info.size_translated().unwrap_or(0) / size_of::<bpf_insn>() as u32,
                machine_code: info.size_jitted(),
                stack: bytecode::stack_depth(code),
                needs: needs(&object, name, code)?,
            });
        }
        measured.sort_by(|one, other| one.program.cmp(&other.program));
        Ok(measured)
    }
}

fn load(program: &mut Program) -> Result<ProgramInfo> {
    match program {
        Program::Xdp(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        other => bail!("programs of type {:?} are not loaded here yet", other.prog_type()),
    }
    program.info().context("asking the kernel about it")
}

/// The object with each program's functions behind it, as the kernel gets it.
fn linked(bytes: &[u8]) -> Result<Object> {
    let mut object = Object::parse(bytes).context("reading the object")?;
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).context("linking the object's functions")?;
    Ok(object)
}

fn code<'a>(object: &'a Object, name: &str) -> Result<&'a [bpf_insn]> {
    let program = object.programs.get(name);
    let function = program.and_then(|program| object.functions.get(&program.function_key()));
    Ok(&function.with_context(|| format!("the object has no code of {name}"))?.instructions)
}

fn needs(object: &Object, name: &str, code: &[bpf_insn]) -> Result<BTreeSet<Known>> {
    let mut features = bytecode::features(code);
    features.insert(Feature::Capabilities);
    features.insert(Feature::Program(kind(object, name)?));
    features.extend(object.maps.values().flat_map(map_features));
    let unknown = |feature: &Feature| {
        anyhow!(
            "{feature:?} is not in the list of what kernels have: add it with the first kernel that has it"
        )
    };
    features.iter().map(|feature| known(*feature).ok_or_else(|| unknown(feature))).collect()
}

fn kind(object: &Object, name: &str) -> Result<Kind> {
    match object.programs.get(name).map(|program| &program.section) {
        Some(ProgramSection::Xdp { frags: false, .. }) => Ok(Kind::Xdp),
        Some(ProgramSection::Xdp { frags: true, .. }) => Ok(Kind::XdpFragments),
        Some(ProgramSection::SchedClassifier) => Ok(Kind::Classifier),
        other => bail!("{name} is of a kind whose first kernel is not listed: {other:?}"),
    }
}

/// A map's type and flags; sections of variables are maps that the loader makes.
fn map_features(map: &aya_obj::Map) -> Vec<Feature> {
    use EbpfSectionKind::{Bss, Data, Rodata};
    if matches!(map.section_kind(), Bss | Data | Rodata) {
        return vec![Feature::GlobalData];
    }
    let flags = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| map.map_flags() & bit != 0);
    flags.map(Feature::MapFlag).chain([Feature::MapType(map.map_type())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kernels_covers_all_that_the_objects_contain() {
        let running = std::env::current_exe().unwrap();
        let objects = running.ancestors().nth(3).unwrap().join("bpf");
        if !objects.is_dir() && !lab::require_root() {
            return;
        }
        for path in crate::objects_in(&objects).unwrap() {
            let object = linked(&std::fs::read(&path).unwrap()).unwrap();
            assert!(!object.programs.is_empty(), "{}", path.display());
            for name in object.programs.keys() {
                let needs = needs(&object, name, code(&object, name).unwrap()).unwrap();
                let is_place = |name: &str| name.starts_with("XDP") || name == "traffic control classifiers";
                assert!(needs.iter().any(|known| is_place(known.name)), "{name}: {needs:?}");
            }
        }
    }
}
