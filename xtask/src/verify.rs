//! `cargo xtask verify`: builds the eBPF programs in every combination of their features, and gives all of them
//! to this kernel's verifier.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::build::{self, Profile};
use crate::invocation::{cargo, output_of, say, status_of};
use crate::privilege::Privilege;
use crate::workspace::Workspace;

/// The binary that loads and measures, in the package `lab`.
pub(crate) const VERIFY_BINARY: &str = "verify";

/// More features would be more combinations (2^n) than anybody waits for.
const MAX_FEATURES: usize = 4;

/// Arguments of `cargo xtask verify`.
#[derive(Args)]
pub(crate) struct Verify {}

impl Verify {
    /// Builds, verifies, prints; success means that all programs are within their budget.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let privilege = Privilege::find("cargo xtask verify")?;
        build::ebpf(workspace)?;
        build::user_space(workspace, Profile::Debug, &["lb-userspace", "lab"])?;
        Ok(if passes(workspace, privilege)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The same with user space built already.
pub(crate) fn passes(workspace: &Workspace, privilege: Privilege) -> Result<bool> {
    let sets = build_all(workspace)?;
    let mut command = privilege.command(workspace.binary(Profile::Debug.directory(), VERIFY_BINARY));
    Ok(status_of(add_objects(&mut command, &sets))?.success())
}

/// Programs that were built with the same features.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FeatureSet {
    /// The features, joined by `+`; `default` without any.
    pub(crate) name: String,
    /// Where the objects are.
    pub(crate) directory: PathBuf,
}

/// Builds all programs with every combination of `lb-ebpf`'s features, each into its own directory.
pub(crate) fn build_all(workspace: &Workspace) -> Result<Vec<FeatureSet>> {
    let mut sets = Vec::new();
    for features in combinations(&features(workspace)?) {
        let name = if features.is_empty() { "default".to_string() } else { features.join("+") };
        say(format_args!("the features of the eBPF programs: {name}"));
        let directory = workspace.target.join("verify").join(&name);
        build::ebpf_with(workspace, &features, &directory)?;
        sets.push(FeatureSet { name, directory });
    }
    Ok(sets)
}

fn add_objects<'a>(command: &'a mut Command, sets: &[FeatureSet]) -> &'a mut Command {
    for set in sets {
        command.arg("--objects").arg(format!("{}={}", set.name, set.directory.display()));
    }
    command
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    features: std::collections::BTreeMap<String, Vec<String>>,
}

/// The features that `lb-ebpf` names, by name.
fn features(workspace: &Workspace) -> Result<Vec<String>> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]);
    let metadata: Metadata = serde_json::from_str(&output_of(command.arg(workspace.ebpf_manifest()))?)
        .context("reading the output of cargo metadata")?;
    let features = metadata.packages.into_iter().flat_map(|package| package.features.into_keys());
    let features: Vec<String> = features.filter(|name| name != "default").collect();
    ensure!(features.len() <= MAX_FEATURES, "lb-ebpf has {} features, too many to combine", features.len());
    Ok(features)
}

/// All subsets, the empty one first.
fn combinations(features: &[String]) -> Vec<Vec<String>> {
    let chosen = |set: u32| features.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
    (0..1 << features.len()).map(|set| chosen(set).map(|(_, name)| name.clone()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there_once() {
        let features = ["a".to_string(), "b".to_string()];
        let joined: Vec<String> = combinations(&features).iter().map(|set| set.join("+")).collect();
        assert_eq!(joined, ["", "a", "b", "a+b"]);
        assert_eq!(combinations(&[]), [Vec::<String>::new()]);
    }

    #[test]
    fn the_features_of_the_programs_are_found() {
        let features = features(&Workspace::find().unwrap()).unwrap();
        assert!(features.contains(&"trace".to_string()), "{features:?}");
    }
}
