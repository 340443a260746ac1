//! The licences of the crates that the program is made of: most of them ask that their text goes along.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::invocation::{cargo, output_of};

/// How files begin that say who holds the copyright, and under which terms.
const FILES: [&str; 6] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "UNLICENSE"];

/// What cargo knows of a package, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    /// None of a package of this workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

/// No kind is a dependency of the program itself; others build or test it.
#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// What the package says of the crates behind the programs of these manifests, each with the name of its package.
pub(super) fn of(programs: &[(PathBuf, &str)]) -> Result<String> {
    let mut crates = BTreeMap::new();
    for (manifest, name) in programs {
        crates.extend(crates_of(manifest, name)?);
    }
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut summary = String::from("Sluice's program contains these crates, under these licences:\n\n");
    for (title, package) in &crates {
        writeln!(summary, "  {title}: {}", package.license.as_deref().unwrap_or("see its text"))?;
        for text in package.texts()? {
            texts.entry(text).or_default().insert(title.clone());
        }
    }
    for (text, titles) in texts {
        let titles: Vec<String> = titles.into_iter().collect();
        write!(summary, "\n{}\n{}:\n\n{}\n", "-".repeat(80), titles.join(", "), text.trim_end())?;
    }
    Ok(summary)
}

/// The crates that the package called `name` is made of, by name and version.
fn crates_of(manifest: &Path, name: &str) -> Result<BTreeMap<String, Package>> {
    let mut command = cargo();
    command.args(["metadata", "--locked", "--format-version=1", "--manifest-path"]).arg(manifest);
    command.arg("--filter-platform").arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let metadata: Metadata =
        serde_json::from_str(&output_of(&mut command)?).context("reading what cargo says of the crates")?;
    let used = used(&metadata, name).with_context(|| format!("{} has no {name}", manifest.display()))?;
    let is_in = |package: &Package| used.contains(&package.id) && package.source.is_some();
    let packages = metadata.packages.into_iter().filter(is_in);
    Ok(packages.map(|package| (format!("{} {}", package.name, package.version), package)).collect())
}

/// The ids of the packages that the one called `name` is made of.
fn used(metadata: &Metadata, name: &str) -> Option<BTreeSet<String>> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let first = metadata.packages.iter().find(|package| package.name == name)?;
    let (mut used, mut next) = (BTreeSet::new(), vec![first.id.as_str()]);
    while let Some(id) = next.pop() {
        if used.insert(id.to_owned()) {
            let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let is_linked = |to: &&Dependency| to.dep_kinds.iter().any(|kind| kind.kind.is_none());
            next.extend(dependencies.filter(is_linked).map(|to| to.pkg.as_str()));
        }
    }
    Some(used)
}

impl Package {
    fn texts(&self) -> Result<Vec<String>> {
        let directory = self.manifest_path.parent().context("a manifest is in a directory")?;
        let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
        let mut texts = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("reading {}", directory.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            if path.is_file() && FILES.iter().any(|begin| name.starts_with(begin)) {
                let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_only_build_or_test_the_program_are_no_part_of_it() {
        let package = |name: &str| {
            format!(
                r#"{{"id":"{name}#1","name":"{name}","version":"1","license":null,"manifest_path":"/m","source":"s"}}"#
            )
        };
        let names = ["sluice", "linked", "behind", "built", "tested"];
        let packages: Vec<String> = names.into_iter().map(package).collect();
        let metadata = format!(
            r#"{{"packages":[{}],"resolve":{{"nodes":[
                {{"id":"sluice#1","deps":[
                    {{"pkg":"linked#1","dep_kinds":[{{"kind":"build"}},{{"kind":null}}]}},
                    {{"pkg":"built#1","dep_kinds":[{{"kind":"build"}}]}},
                    {{"pkg":"tested#1","dep_kinds":[{{"kind":"dev"}}]}}]}},
                {{"id":"linked#1","deps":[{{"pkg":"behind#1","dep_kinds":[{{"kind":null}}]}}]}},
                {{"id":"behind#1","deps":[]}}, {{"id":"built#1","deps":[]}}, {{"id":"tested#1","deps":[]}}]}}}}"#,
            packages.join(",")
        );
        let metadata: Metadata = serde_json::from_str(&metadata).unwrap();
        let used = used(&metadata, "sluice").unwrap();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["behind#1", "linked#1", "sluice#1"]);
    }
}
