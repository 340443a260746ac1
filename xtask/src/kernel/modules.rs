//! The kernel's modules that the lab needs, with those that they need, in the order of their loading.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Cables, switches, and the tunnels that targets have in place of Sluice's agent.
const WANTED: [&str; 8] = ["veth", "bridge", "ipip", "sit", "ip6_tunnel", "fou", "sch_ingress", "cls_bpf"];

/// The files of all modules below `modules` (`lib/modules/RELEASE`) that are needed, dependencies first.
pub(super) fn needed(modules: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    index(&modules.join("kernel"), &mut files)?;
    let mut ordered = Vec::new();
    for name in WANTED {
        add(name, &files, &mut ordered)?;
    }
    Ok(ordered)
}

/// A module's name is its file's, with `_` for `-`.
fn index(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let shown = directory.display();
    for entry in fs::read_dir(directory).with_context(|| format!("listing {shown}"))? {
        let path = entry.with_context(|| format!("listing {shown}"))?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            files.insert(name, path);
        }
    }
    Ok(())
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, ordered: &mut Vec<PathBuf>) -> Result<()> {
    let path = files.get(name).with_context(|| format!("the kernel has no module {name}"))?;
    if ordered.contains(path) {
        return Ok(());
    }
    let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    for dependency in dependencies(&content) {
        add(&dependency, files, ordered)?;
    }
    ordered.push(path.clone());
    Ok(())
}

/// What `.modinfo` (strings that each end with a zero byte) says after `depends=`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let listed = module.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="));
    let listed = String::from_utf8_lossy(listed.unwrap_or_default()).replace('-', "_");
    listed.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_module() {
        let module = b"\x7fELF\0\0license=GPL\0depends=tunnel4,ip-tunnel\0retpoline=Y\0";
        assert_eq!(dependencies(module), ["tunnel4", "ip_tunnel"]);
        assert!(dependencies(b"depends=\0").is_empty());
        assert!(dependencies(b"").is_empty());
    }

    #[test]
    fn a_module_comes_after_what_it_needs_and_once() {
        let directory = std::env::temp_dir().join(format!("sluice-xtask-modules-{}", std::process::id()));
        let files: BTreeMap<String, PathBuf> =
            ["a", "b", "c"].map(|name| (name.to_string(), directory.join(name))).into();
        fs::create_dir_all(&directory).unwrap();
        fs::write(&files["a"], b"\0depends=b,c\0").unwrap();
        fs::write(&files["b"], b"\0depends=c\0").unwrap();
        fs::write(&files["c"], b"\0depends=\0").unwrap();
        let mut ordered = Vec::new();
        add("a", &files, &mut ordered).unwrap();
        add("b", &files, &mut ordered).unwrap();
        assert_eq!(ordered, [&files["c"], &files["b"], &files["a"]].map(PathBuf::clone));
        assert!(add("d", &files, &mut ordered).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}
