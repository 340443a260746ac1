//! Processes that end with their owner, and write to a log that can be shown when something went wrong.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a process may take to end when asked to: as long as `sluice stop` waits for a controller.
const END: Duration = Duration::from_secs(30);

/// The same of one whose owner is gone, where nobody looks at how it ends.
const END_UNSEEN: Duration = Duration::from_secs(5);

/// A running process; asked to end, then killed, on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    command: String,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// It gets a process group of its own, so that Ctrl-C in a terminal reaches only the lab, which then ends
    /// its processes in order.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening the log {}", log.display()))?;
        let again = file.try_clone().context("duplicating the log's descriptor")?;
        let shown = shown(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        Ok(Process { child, log: log.to_path_buf(), command: shown })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Bytes that a field of its `/proc/PID/status` tells in kB: `VmRSS`, what of it is in memory.
    ///
    /// # Errors
    /// If it has ended, or has no such field.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.map(|kibibytes| kibibytes << 10).with_context(|| format!("{path} has no {field}"))
    }

    /// What was started.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("({}: {error})", self.log.display()))
    }

    /// Whether it still runs, or how it ended.
    ///
    /// # Errors
    /// When it has ended, with its log.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("looking at {}", self.command))? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its log:\n{}", self.command, self.log()),
        }
    }

    /// Asks it to end (SIGTERM) and waits for that; kills it if it does not.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.stop_within(END)
    }

    fn stop_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        let ended = wait::until(&format!("the end of {}", self.command), limit, || {
            self.child.try_wait()?.context("it still runs after SIGTERM")
        });
        if ended.is_err() {
            self.kill();
        }
        ended
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal; nothing happens when it has ended already.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) && self.stop_within(END_UNSEEN).is_err() {
            eprintln!("lab: {} did not end when asked to, and was killed", self.command);
        }
    }
}

/// Standard output of a command that must succeed.
///
/// # Errors
/// With the command and all that it wrote, when it does not.
pub fn output_of(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {shown}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
    if !output.status.success() {
        bail!("{shown} ended with {}: {}{}", output.status, text(&output.stderr), text(&output.stdout));
    }
    Ok(text(&output.stdout))
}

/// A binary of this workspace, built beside the one that runs.
pub fn binary(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("finding this executable")?;
    // Tests run in target/PROFILE/deps, binaries in target/PROFILE.
    let candidates = running.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    candidates.into_iter().find(|candidate| candidate.is_file()).with_context(|| {
        format!("{name} is not built: run `cargo xtask build` (looked near {})", running.display())
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("sluice-lab-{name}-{}.log", std::process::id()))
    }

    #[test]
    fn a_process_that_ended_tells_why() {
        let log = log_file("ended");
        let mut process =
            Process::start(Command::new("sh").args(["-c", "echo no config >&2; exit 3"]), &log).unwrap();
        let error = wait::until("its end", END, || match process.check_running() {
            Ok(()) => bail!("it runs"),
            Err(error) => Ok(error),
        });
        let text = error.unwrap().to_string();
        assert!(text.contains("exit status: 3") && text.contains("no config"), "{text}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_process_ends_with_its_owner() {
        let log = log_file("owner");
        let process = Process::start(Command::new("sleep").arg("600"), &log).unwrap();
        let pid = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        fs::remove_file(log).unwrap();
    }
}
