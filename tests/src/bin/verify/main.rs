//! `verify`: gives eBPF objects to this kernel's verifier and says what they cost it, what they need, and
//! which kernel is the oldest that has all of it. `cargo xtask verify` calls it; so does the guest of
//! `cargo xtask test --kernel`.

mod bytecode;
mod kernels;
mod measurement;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use measurement::Measurement;
use report::Report;

#[derive(Parser)]
#[command(name = "verify", about = "Load eBPF objects and print what the verifier makes of them")]
struct Arguments {
    /// A feature set and the directory of its objects (repeatable)
    #[arg(long, value_name = "NAME=DIRECTORY", required = true, value_parser = feature_set)]
    objects: Vec<(String, PathBuf)>,
}

fn main() -> ExitCode {
    match verify(&Arguments::parse().objects) {
        Ok(report) => {
            print!("{report}");
            if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn verify(feature_sets: &[(String, PathBuf)]) -> Result<Report> {
    let mut report = Report::default();
    for (features, directory) in feature_sets {
        for object in objects_in(directory)? {
            let name = object.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match Measurement::of_object(&object, features) {
                Ok(measured) => report.add(measured),
                Err(error) => report.add_failure(format!("{name} ({features}): {error:#}")),
            }
        }
    }
    Ok(report)
}

/// The objects by name; hidden files are half-written ones.
fn objects_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let shown = directory.display();
    let entries = std::fs::read_dir(directory).with_context(|| format!("listing {shown}"))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut objects = paths.with_context(|| format!("listing {shown}"))?;
    objects.retain(|path| path.is_file() && !path.file_name().is_some_and(is_hidden));
    objects.sort_unstable();
    ensure!(!objects.is_empty(), "{shown} holds no eBPF object: build them with `cargo xtask build`");
    Ok(objects)
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn feature_set(text: &str) -> Result<(String, PathBuf)> {
    match text.split_once('=') {
        Some((name, directory)) if !name.is_empty() => Ok((name.to_owned(), directory.into())),
        _ => bail!("expected NAME=DIRECTORY"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_set_has_a_name_and_a_directory() {
        assert_eq!(feature_set("trace=/a=b").unwrap(), ("trace".to_owned(), PathBuf::from("/a=b")));
        assert!(feature_set("/a").is_err() && feature_set("=/a").is_err());
    }
}
