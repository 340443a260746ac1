//! The virtual machine: an emulated one, because hardware virtualization is not to be had everywhere. The
//! kernel's own messages go to a file by the first serial port, the guest's results come by the second.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::image::Image;
use crate::invocation::{clean, on_path, say};
use crate::toolchain::apt;

const EMULATOR: &str = "qemu-system-x86_64";

/// From boot to power-off. An idle machine needs a fifth of it.
const DEADLINE: Duration = Duration::from_secs(600);

/// Words of kernel messages that tell of a fault.
const FAULTS: [&str; 6] = ["WARNING: ", "BUG: ", "Oops: ", "Kernel panic", "general protection", "rcu_sched"];

/// The last lines of the kernel's messages are what matters.
const CONSOLE_LINES: usize = 30;

/// One thing that was checked in the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What was checked.
    pub(crate) name: String,
    /// Whether it was as it must be.
    pub(crate) is_success: bool,
}

/// A machine that is about to be started.
pub(super) struct Machine {
    /// Its kernel.
    pub(super) image: Image,
    /// Its file system.
    pub(super) initramfs: PathBuf,
}

impl Machine {
    /// Runs it to its end, its results shown on the way.
    pub(super) fn run(self) -> Result<Vec<Check>> {
        if on_path(EMULATOR).is_none() {
            say(format_args!("{EMULATOR} is missing: it emulates the machine that boots the kernel"));
            apt::install(&["qemu-system-x86"])?;
        }
        let start = Instant::now();
        let mut running = Running::start(&mut self.command())?;
        let mut checks = follow(&running.lines, start + DEADLINE);
        running.end();
        say(format_args!("the guest ended after {} s", start.elapsed().as_secs()));
        let console = fs::read(self.console()).unwrap_or_default();
        checks.push(judge_console(&String::from_utf8_lossy(&console), &self.console().display().to_string()));
        Ok(checks)
    }

    fn console(&self) -> PathBuf {
        self.image.directory.join("console.log")
    }

    fn command(&self) -> Command {
        let mut command = clean(EMULATOR);
        command
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048"])
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .arg("-kernel")
            .arg(&self.image.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            // A panic ends the machine. What the kernel does not know goes into init's environment, what follows
            // `--` is its arguments.
            .args(["-append", "console=ttyS0 loglevel=5 panic=-1 SLUICE_LAB_SLOWNESS=10 -- guest"])
            .arg("-serial")
            .arg(format!("file:{}", self.console().display()))
            .args(["-serial", "stdio"]);
        command
    }
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Result<Running> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {EMULATOR}"))?;
        let output = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_string();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Running { child, lines })
    }

    /// The machine has ended, or is ended.
    fn end(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Shows what the guest says, and counts its checks. That it came to its end is a check too.
fn follow(lines: &Receiver<String>, deadline: Instant) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut counts = None;
    let why = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("  {line}");
                checks.extend(check(&line));
                counts = counts.or_else(|| line.contains(" passed, ").then_some(line));
            }
            Err(RecvTimeoutError::Timeout) => break "its time is over",
            Err(RecvTimeoutError::Disconnected) => break "the machine ended",
        }
    };
    let failed = checks.iter().filter(|check| !check.is_success).count();
    let expected = format!("{} passed, {failed} failed", checks.len() - failed);
    let is_success = counts.as_ref() == Some(&expected);
    if !is_success {
        say(format_args!("the guest did not get to its end ({why}); it should have said: {expected}"));
    }
    checks.push(Check { name: "the guest runs to its end".to_string(), is_success });
    checks
}

/// `ok      NAME (EVIDENCE)` or `FAILED  NAME`.
fn check(line: &str) -> Option<Check> {
    let of = |name: &str, is_success| Some(Check { name: name.trim().to_string(), is_success });
    if let Some(passed) = line.strip_prefix("ok  ") {
        return of(passed.split(" (").next().unwrap_or(passed), true);
    }
    of(line.strip_prefix("FAILED  ")?, false)
}

/// What the kernel itself complained about.
fn judge_console(console: &str, path: &str) -> Check {
    let is_fault = |line: &&str| FAULTS.iter().any(|word| line.contains(word));
    let is_success = !console.lines().any(|line| is_fault(&line)) && !console.is_empty();
    if !is_success {
        let lines: Vec<&str> = console.lines().collect();
        let last = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
        say(format_args!("the end of the kernel's messages ({path}):\n{}", last.join("\n")));
    }
    Check { name: "the kernel complains about nothing".to_string(), is_success }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Vec<Check> {
        let (sender, receiver) = channel();
        lines.iter().for_each(|line| sender.send(line.to_string()).unwrap());
        drop(sender);
        follow(&receiver, Instant::now() + Duration::from_secs(5))
    }

    fn named(name: &str, is_success: bool) -> Check {
        Check { name: name.to_string(), is_success }
    }

    #[test]
    fn the_guests_lines_become_checks() {
        let checks =
            told(&["ok      programs load (6; 1.2 s)", "FAILED  a lab", "why", "1 passed, 1 failed"]);
        let end = named("the guest runs to its end", true);
        assert_eq!(checks, [named("programs load", true), named("a lab", false), end]);
    }

    #[test]
    fn a_guest_that_dies_or_miscounts_is_a_failure() {
        assert_eq!(told(&[]), [named("the guest runs to its end", false)]);
        let checks = told(&["ok      one", "2 passed, 0 failed"]);
        assert_eq!(checks.last(), Some(&named("the guest runs to its end", false)));
    }

    #[test]
    fn a_kernel_warning_is_a_failure() {
        assert!(judge_console("[    0.0] Linux version 6.1", "log").is_success);
        assert!(!judge_console("[   12.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c", "log").is_success);
        assert!(!judge_console("", "log").is_success);
    }
}
