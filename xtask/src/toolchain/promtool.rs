//! Prometheus' own tool, by which the tests read the metrics, the alert rules and the dashboard as Prometheus would.
//!
//! Debian has it in the package of the server. The package is unpacked into the target directory instead of being
//! installed: no service comes with it, and nothing of this machine changes.

use std::fs;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::invocation::{clean, on_path, say, succeed};
use crate::workspace::Workspace;

const PACKAGE: &str = "prometheus";

/// Makes sure that the tool is there: in the target directory, where the tests look first, or in the path.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let directory = workspace.tools().join(PACKAGE);
    if directory.join("usr/bin/promtool").is_file() || on_path("promtool").is_some() {
        return Ok(());
    }
    if on_path("dpkg-deb").is_none() || !apt::offers(&[PACKAGE]) {
        bail!(
            "promtool is missing and this machine has no Debian package {PACKAGE}: put promtool into the path"
        );
    }
    say(format_args!(
        "promtool is missing: unpacking it from the Debian package {PACKAGE} into {}; the tests check metrics, alert \
         rules and the dashboard with it",
        directory.display()
    ));
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    succeed(clean("apt-get").args(["download", "--quiet", PACKAGE]).current_dir(&directory))?;
    let packages =
        fs::read_dir(&directory).with_context(|| format!("looking into {}", directory.display()))?;
    let mut files = packages.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.find(|file| file.extension().is_some_and(|ending| ending == "deb"));
    let package =
        package.with_context(|| format!("apt-get download left no package in {}", directory.display()))?;
    succeed(clean("dpkg-deb").arg("--extract").args([&package, &directory]))?;
    fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))
}
