//! Prometheus' own tool, which reads what Prometheus would read. `cargo xtask test` installs it in the target
//! directory; elsewhere it may be in the path.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tool; none where it is not installed and need not be.
fn promtool() -> Option<PathBuf> {
    let running = std::env::current_exe().unwrap();
    let installed = running.ancestors().map(|directory| directory.join("tools/prometheus/usr/bin/promtool"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join("promtool"));
    let found = installed.chain(in_path).find(|file| file.is_file());
    let is_required = std::env::var_os("SLUICE_TEST_PRIVILEGED").is_some_and(|value| value == "required");
    assert!(found.is_some() || !is_required, "promtool is not installed: `cargo xtask test` does that");
    if found.is_none() {
        eprintln!("skipped: promtool is not installed; `cargo xtask test` does that");
    }
    found
}

/// Runs it, and panics with what it says against the input.
pub(super) fn run(arguments: &[&str], directory: &Path, input: &str) {
    let Some(promtool) = promtool() else { return };
    let mut command = Command::new(promtool);
    command.args(arguments).current_dir(directory);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}
