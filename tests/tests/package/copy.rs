//! A copy of this machine to install things on: `copy.sh` says how it is made, and that nothing of it stays.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lab::process::output_of;

use crate::scratch::Scratch;

/// Who runs the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// A shell.
    Shell,
    /// systemd, as the copy's first process.
    Systemd,
}

/// What the story says, in a copy where the package is `/package.deb`.
pub(crate) fn tell(scratch: &Scratch, package: &Path, init: Init, story: &str) -> Result<String> {
    let (directory, written) = (scratch.path().join("copy"), scratch.path().join("story"));
    fs::create_dir(&directory)?;
    fs::write(&written, story)?;
    let group = ControlGroup::make(scratch)?;
    let mut command = Command::new("sh");
    // Into the group first: the new namespace's root is the group that its maker is in.
    command.args([
        "-ec",
        r#"echo $$ > "$0/cgroup.procs"; exec timeout --signal=KILL 600 unshare --mount --net \
        --pid --ipc --uts --cgroup --fork --kill-child sh "$@""#,
    ]);
    command.arg(&group.0).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package/copy.sh"));
    command.arg(&directory).arg(package).arg(written).args((init == Init::Systemd).then_some("boot"));
    let ended = output_of(&mut command);
    let told = fs::read_to_string(scratch.path().join("copy.out")).unwrap_or_default();
    ended.with_context(|| format!("the story so far:\n{told}")).map(|_| told)
}

/// A control group for the copy's processes, in a mount of its own of the hierarchy.
struct ControlGroup(std::path::PathBuf);

impl ControlGroup {
    fn make(scratch: &Scratch) -> Result<ControlGroup> {
        let mount = scratch.path().join("cgroup");
        fs::create_dir(&mount)?;
        output_of(Command::new("mount").args(["-t", "cgroup2", "cgroup2"]).arg(&mount))?;
        // Its own name in the hierarchy, which all mounts share.
        let name = scratch.path().file_name().context("a scratch directory has a name")?;
        let group = ControlGroup(mount.join(name));
        fs::create_dir(&group.0)?;
        Ok(group)
    }

    /// The groups that systemd has made, the innermost first, and the group itself.
    fn clear(&self) -> Result<()> {
        output_of(
            Command::new("find").arg(&self.0).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]),
        )?;
        output_of(Command::new("umount").args(self.0.parent())).map(drop)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        if let Err(error) =
            lab::wait::until("the copy's end", std::time::Duration::from_secs(5), || self.clear())
        {
            eprintln!("lab: {error:#}");
        }
    }
}
