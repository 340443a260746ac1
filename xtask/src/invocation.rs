//! Calling other programs: what is called is said, and a failure names the command.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// Variables that `cargo run` and rustup set for this process and that would mislead another toolchain.
const INHERITED: [&str; 5] =
    ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "LD_LIBRARY_PATH", "RUST_RECURSION_COUNT"];

/// The cargo that called this xtask, as a user would call it.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    clean(cargo)
}

/// A program without what cargo left in the environment.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in INHERITED {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command
}

/// Says what is about to happen, in one line, on standard error.
pub(crate) fn say(what: impl std::fmt::Display) {
    eprintln!("xtask: {what}");
}

/// Runs to success, output and all to the terminal.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = status_of(command)?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to its end, output and all to the terminal.
pub(crate) fn status_of(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("starting {}", shown(command)))
}

/// Standard output of a command that must succeed.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of {} is not UTF-8", shown(command)))
}

/// Standard output of a command that may well be missing or fail.
pub(crate) fn try_output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Where `program` is on the PATH, or in the directories of system programs that a user's PATH often lacks.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_in_the_error() {
        let error = succeed(Command::new("false").arg("--flag")).unwrap_err();
        assert!(error.to_string().starts_with("false --flag ended with"), "{error}");
    }

    #[test]
    fn a_missing_program_is_no_output() {
        assert_eq!(try_output(&mut Command::new("sluice-no-such-program")), None);
    }

    #[test]
    fn a_shell_is_on_the_path() {
        assert!(on_path("sh").is_some());
    }
}
