//! A process with the user, the capabilities and the flags of a unit, watched by strace for what else the unit forbids.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::process::output_of;
use rustix::thread::CapabilitySet;

use crate::scratch::Scratch;
use crate::unit::Unit;

/// A user and group that nobody else is.
pub(crate) const USER: u32 = 64_117;

/// `sluice` as the unit would run it, by another user than root; strace writes down its calls.
pub(crate) fn command(unit: &Unit, scratch: &Scratch, calls: &Path) -> Command {
    let list = |key| -> String {
        unit.capabilities(key).iter().map(|name| format!(",+{name}")).collect::<Vec<_>>().concat()
    };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".into()]);
    command.arg(format!("--bounding-set=-all{}", list("CapabilityBoundingSet")));
    for set in ["inh", "ambient"] {
        command.arg(format!("--{set}-caps=-all{}", list("AmbientCapabilities")));
    }
    assert_eq!(unit.only("NoNewPrivileges"), "yes");
    command.arg("--no-new-privs");
    // The process stays this one's child (-D), so that signals are its own. What setpriv does before is not traced.
    command.args(["strace", "-D", "-f", "-qq", "-s", "0", "-o"]).arg(calls).arg(scratch.sluice());
    command
}

/// Gives a directory to the user.
pub(crate) fn give(directory: &Path) -> Result<()> {
    chown(directory, Some(USER), Some(USER)).with_context(|| format!("giving {} away", directory.display()))
}

/// The capabilities that a running process has, and those that it could ever get.
pub(crate) fn held(process: u32) -> Result<[CapabilitySet; 2]> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let set = |key: &str| -> Result<CapabilitySet> {
        let bits = status.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
        Ok(CapabilitySet::from_bits_retain(u64::from_str_radix(bits.trim(), 16)?))
    };
    Ok([set("CapEff:")?, set("CapBnd:")?])
}

/// The privileged helper of a controller.
pub(crate) fn helper_of(controller: u32) -> Result<u32> {
    let processes = fs::read_dir("/proc")?.flatten();
    let mut processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = format!("\nPPid:\t{controller}\n");
    let is_helper = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status"));
        status.is_ok_and(|status| status.contains(&parent) && status.starts_with("Name:\tsluice-helper\n"))
    };
    processes.find(is_helper).context("the controller has no helper")
}

/// What the unit grants.
pub(crate) fn granted(unit: &Unit) -> CapabilitySet {
    let capability = |name: String| match name.as_str() {
        "bpf" => CapabilitySet::BPF,
        "perfmon" => CapabilitySet::PERFMON,
        "net_admin" => CapabilitySet::NET_ADMIN,
        _ => panic!("{} grants {name}: why?", unit.name),
    };
    unit.capabilities("CapabilityBoundingSet").into_iter().map(capability).collect()
}

/// What a traced process did that its unit would have refused.
pub(crate) fn expect_allowed(unit: &Unit, calls: &Path) -> Result<()> {
    let traced = fs::read_to_string(calls).context("reading what strace wrote")?;
    let allowed = unit.system_calls();
    let made: BTreeSet<&str> = traced.lines().filter_map(call).collect();
    ensure!(made.contains("bpf") && made.contains("epoll_wait"), "strace saw too little: {made:?}");
    let refused: Vec<_> = made.iter().filter(|name| !allowed.contains(**name)).collect();
    ensure!(refused.is_empty(), "{}: SystemCallFilter would refuse {refused:?}", unit.name);
    let families: BTreeSet<&str> = unit.only("RestrictAddressFamilies").split_whitespace().collect();
    for line in traced.lines().filter(|line| call(line) == Some("socket")) {
        let family = line.split_once("socket(").and_then(|(_, rest)| rest.split([',', ')']).next());
        let is_allowed = family.is_some_and(|family| families.contains(family));
        ensure!(is_allowed, "{}: RestrictAddressFamilies would refuse {line}", unit.name);
    }
    for line in
        traced.lines().filter(|line| matches!(call(line), Some("mmap" | "mprotect" | "pkey_mprotect")))
    {
        ensure!(
            !(line.contains("PROT_EXEC") && line.contains("PROT_WRITE")),
            "writable and executable: {line}"
        );
    }
    Ok(())
}

/// The call of a line of strace: `123 openat(…` → `openat`.
fn call(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name)
}

/// A BPF file system of the test's own, unmounted with it.
pub(crate) struct BpfFileSystem(PathBuf);

impl BpfFileSystem {
    /// With a directory `name` that is the user's.
    pub(crate) fn mount(scratch: &Scratch, name: &str) -> Result<BpfFileSystem> {
        let path = scratch.path().join("bpf");
        fs::create_dir(&path)?;
        output_of(Command::new("mount").args(["-t", "bpf", "-o", "mode=0755", "bpf"]).arg(&path))?;
        let mounted = BpfFileSystem(path);
        fs::create_dir(mounted.0.join(name))?;
        give(&mounted.0.join(name))?;
        Ok(mounted)
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for BpfFileSystem {
    fn drop(&mut self) {
        if let Err(error) = output_of(Command::new("umount").arg(&self.0)) {
            eprintln!("lab: {error:#}");
        }
    }
}
