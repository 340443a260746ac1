//! `sluice-lab guest`: the init of a virtual machine that `cargo xtask test --kernel` boots. Makes a system of
//! what the initramfs holds, runs the smoke tests, and powers the machine off, whatever happened.

mod story;
mod tunnels;

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

/// What is mounted where. Each is needed by what comes after it.
const MOUNTS: [(&str, &str); 6] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("bpf", "/sys/fs/bpf"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
];

/// The kernel's modules, their names in the order of their loading.
const MODULES: &str = "/modules";

/// The second serial port: the first one is full of the kernel's messages.
const REPORT: &str = "/dev/ttyS1";

/// Runs the smoke tests; does not come back.
///
/// # Errors
/// If this is not the first process of a machine of its own.
pub(crate) fn run() -> Result<ExitCode> {
    ensure!(
        std::process::id() == 1,
        "this is the first process of a virtual machine: `cargo xtask test --kernel debian-6.1` boots one"
    );
    if let Err(error) = prepare().and_then(|()| play()) {
        eprintln!("guest: {error:#}");
    }
    reboot(RebootCommand::PowerOff).context("powering off")?;
    Ok(ExitCode::FAILURE)
}

fn prepare() -> Result<()> {
    for (kind, path) in MOUNTS {
        mount(kind, path, kind, MountFlags::empty(), None::<&CStr>)
            .with_context(|| format!("mounting {kind} on {path}"))?;
    }
    modules()?.iter().try_for_each(|module| load(module))
}

fn modules() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(MODULES).with_context(|| format!("listing {MODULES}"))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut modules = paths.with_context(|| format!("listing {MODULES}"))?;
    modules.sort_unstable();
    Ok(modules)
}

fn load(module: &Path) -> Result<()> {
    let shown = module.display();
    let file = File::open(module).with_context(|| format!("opening {shown}"))?;
    finit_module(file, c"", 0).with_context(|| format!("loading {shown}"))
}

fn play() -> Result<()> {
    let mut report = File::options().write(true).open(REPORT).with_context(|| format!("opening {REPORT}"))?;
    let counts = story::play(&mut report);
    writeln!(report, "{counts}").context("writing the report")?;
    report.flush().context("writing the report")
}
