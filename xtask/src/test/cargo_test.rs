//! `cargo test` with its output passed through, and its results counted on the way.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::invocation::{cargo, clean, output_of, shown};
use crate::privilege::Privilege;
use crate::workspace::Workspace;

/// What one `cargo test` came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Tests that passed.
    pub(super) passed: u32,
    /// Tests that failed.
    pub(super) failed: u32,
    /// Tests that are marked `#[ignore]`.
    pub(super) ignored: u32,
    /// Names of those that failed, as libtest lists them.
    pub(super) failures: Vec<String>,
    /// Whether cargo itself was content; it is not when something did not compile.
    pub(super) is_success: bool,
}

/// Runs the tests of `selection` (cargo's package options) as root, with these variables.
pub(super) fn run(
    workspace: &Workspace,
    privilege: Privilege,
    environment: &[(&str, &str)],
    selection: &[&str],
    filter: Option<&str>,
) -> Result<Outcome> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["test", "--no-fail-fast"]).args(selection).args(filter);
    command.envs(environment.iter().copied());
    if let Some(runner) = privilege.runner(&[environment, &[("RUST_BACKTRACE", "1")]].concat()) {
        command.env(runner_variable()?, runner);
    }
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {}", shown(&command)))?;
    let output = child.stdout.take().expect("standard output is a pipe");
    let mut outcome = count(BufReader::new(output), std::io::stdout().lock())?;
    outcome.is_success = child.wait().context("waiting for cargo test")?.success();
    Ok(outcome)
}

fn count(output: impl BufRead, mut terminal: impl Write) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for line in output.split(b'\n') {
        let line = line.context("reading the output of cargo test")?;
        // A reader that went away must not fail the tests.
        let _ = terminal.write_all(&line).and_then(|()| terminal.write_all(b"\n"));
        outcome.take(&String::from_utf8_lossy(&line));
    }
    Ok(outcome)
}

impl Outcome {
    fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_string());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let of = |what: &str| -> u32 {
            let field = counts.split([';', '.']).find_map(|field| field.trim().strip_suffix(what));
            field.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        self.passed += of(" passed");
        self.failed += of(" failed");
        self.ignored += of(" ignored");
    }
}

/// Cargo's variable that names the runner of this host's executables.
fn runner_variable() -> Result<String> {
    let version = output_of(clean("rustc").args(["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc --version --verbose names no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.replace(['-', '.'], "_").to_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_executables_are_summed_up() {
        let output = "running 3 tests\n\
             test a ... ok\n\
             test slots::b ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.23s\n";
        let outcome = count(output.as_bytes(), std::io::sink()).unwrap();
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored), (13, 1, 1));
        assert_eq!(outcome.failures, ["slots::b"]);
    }
}
