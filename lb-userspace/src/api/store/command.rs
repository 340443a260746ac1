//! `sluice state`: look at the API's state, save it, and make a store of what was saved.

use std::fs;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::directory::Directory;
use super::document::Document;
use super::embedded::Embedded;
use super::inspect::{Inspected, inspect, take};
use super::{DEFAULT_DIRECTORY, audit};
use crate::api::calendar::Timestamp;
use crate::output;

/// Nothing is wrong.
pub(super) const SOUND: u8 = 0;
/// The state is damaged, or not what operations can have made.
pub(super) const UNSOUND: u8 = 1;
/// There was nothing to look at, or nothing was done.
const UNDONE: u8 = 2;

/// What to do with the API's state
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
    /// Where the state is
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY, global = true)]
    state_directory: PathBuf,
    /// Answer with JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Say whether the state is whole and makes sense: ends with 0 if so, 1 if not, 2 if there is none
    Check,
    /// Write the state to standard output: ends with 0 if it is whole, 1 if something is missing, 2 if there is none
    Export,
    /// Make a new state of an export: ends with 0 if that was done, 2 if not
    Import {
        /// The export; - is standard input
        file: PathBuf,
        /// Do so even if there is a state, which is kept beside the new one
        #[arg(long)]
        replace: bool,
        /// Do so even if something is missing in the export
        #[arg(long)]
        incomplete: bool,
    },
}

/// Does it. What went wrong is said on standard error.
///
/// # Errors
/// If standard output can't be written.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { action, state_directory, json } = options;
    let done = match action {
        Action::Check => check(&state_directory),
        Action::Export => export(&state_directory),
        Action::Import { file, replace, incomplete } => {
            import(&state_directory, &file, Consent { replace, incomplete })
        }
    };
    let report = done.unwrap_or_else(|error| Report {
        code: UNDONE,
        text: String::new(),
        complaint: format!("error: {error:#}\n"),
        json: json!({ "error": format!("{error:#}") }),
    });
    eprint!("{}", report.complaint);
    output::print(&if json { format!("{:#}\n", report.json) } else { report.text })?;
    Ok(report.code.into())
}

/// What is said, and how it ends.
pub(super) struct Report {
    pub(super) code: u8,
    pub(super) text: String,
    pub(super) complaint: String,
    json: Value,
}

pub(super) fn check(path: &Path) -> anyhow::Result<Report> {
    let directory = take(path)?;
    let Inspected { state, findings, document } = inspect(&directory)?;
    let shown = directory.state();
    let shown = shown.display();
    Ok(match state {
        Ok(state) => {
            let (load_balancers, target_groups) = (state.load_balancers.len(), state.target_groups.len());
            let mut text = format!(
                "{shown}: {}: generation {}, {load_balancers} load balancers, {target_groups} target groups\n",
                if findings.is_empty() { "sound" } else { "whole, but not as it should be" },
                state.generation
            );
            text.extend(findings.iter().map(|finding| format!("  {finding}\n")));
            let json = json!({
                "is_whole": true,
                "generation": state.generation,
                "load_balancers": load_balancers,
                "target_groups": target_groups,
                "findings": findings,
            });
            let code = if findings.is_empty() { SOUND } else { UNSOUND };
            Report { code, text, complaint: String::new(), json }
        }
        Err(why) => Report {
            code: UNSOUND,
            text: format!(
                "{shown}: damaged: {why}\nWhat an export would still find: {}. Save it with sluice state export, and \
                 make a new state of that, or of an earlier export, with sluice state import --replace\n",
                document.missing.join("; ")
            ),
            complaint: String::new(),
            json: json!({ "is_whole": false, "why": why, "missing": document.missing }),
        },
    })
}

pub(super) fn export(path: &Path) -> anyhow::Result<Report> {
    let directory = take(path)?;
    let Inspected { document, .. } = inspect(&directory)?;
    let complaint: String = document.missing.iter().map(|what| format!("missing: {what}\n")).collect();
    let code = if complaint.is_empty() { SOUND } else { UNSOUND };
    let json = serde_json::to_value(&document).context("writing the state as JSON")?;
    Ok(Report { code, text: document.text(), complaint, json })
}

/// What the caller is content with.
pub(super) struct Consent {
    pub(super) replace: bool,
    pub(super) incomplete: bool,
}

pub(super) fn import(path: &Path, file: &Path, consent: Consent) -> anyhow::Result<Report> {
    let document = Document::parse(&read(file)?).with_context(|| file.display().to_string())?;
    if !document.missing.is_empty() && !consent.incomplete {
        bail!(
            "{} is not complete ({}): mend it, or import it as it is with --incomplete",
            file.display(),
            document.missing.join("; ")
        );
    }
    let mut state = document.state().with_context(|| file.display().to_string())?;
    let findings = audit::findings(&state);
    if !findings.is_empty() {
        bail!("{} makes no sense; mend it: {}", file.display(), findings.join("; "));
    }
    let directory = Directory::take(path)?;
    let kept = keep_old(&directory, consent.replace)?;
    // Newer than anything that anybody knows.
    state.generation = 1 + state.generation.max(directory.acknowledged());
    let (generation, shown) = (state.generation, directory.state().display().to_string());
    Embedded::write(directory, &state)?;
    let old = kept.as_ref().map_or(String::new(), |kept| format!("; the old one is {}", kept.display()));
    Ok(Report {
        code: SOUND,
        text: format!("{shown}: written as generation {generation}{old}\n"),
        complaint: String::new(),
        json: json!({ "generation": generation, "kept": kept }),
    })
}

fn keep_old(directory: &Directory, may_replace: bool) -> anyhow::Result<Option<PathBuf>> {
    let path = directory.state();
    if !fs::exists(&path)? {
        return Ok(None);
    }
    if !may_replace {
        bail!("there is a state in {} already: --replace keeps it beside the new one", path.display());
    }
    directory.keep_old("before-import", Timestamp::now()).map(Some)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        stdin().read_to_string(&mut text).context("reading standard input")?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}
