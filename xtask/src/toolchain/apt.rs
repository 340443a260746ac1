//! Installing Debian packages: without a question, and without starting any service.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::invocation::{on_path, say, shown, status_of, succeed, try_output};
use crate::privilege::Privilege;

/// Whether this machine can install Debian packages at all.
pub(crate) fn is_usable() -> bool {
    on_path("apt-get").is_some() && Privilege::find("apt-get").is_ok()
}

/// Whether all of `packages` can be installed from this machine's sources (refreshed once, if they look
/// stale).
pub(crate) fn offers(packages: &[&str]) -> bool {
    has_candidates(packages) || (update().is_ok() && has_candidates(packages))
}

fn has_candidates(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let policy = try_output(crate::invocation::clean("apt-cache").args(["policy", package]));
        policy.is_some_and(|text| {
            text.lines()
                .any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|v| v.trim() != "(none)"))
        })
    })
}

/// Installs `packages`; those that are installed already cost nothing.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if on_path("apt-get").is_none() {
        bail!("this machine has no apt-get: install what Debian calls {} by hand", packages.join(" "));
    }
    say(format_args!("installing the Debian packages {}", packages.join(" ")));
    // The lists may name versions that the mirror no longer has; then they are refreshed and it is tried again.
    if has_candidates(packages) && try_install(packages)? {
        return Ok(());
    }
    update()?;
    if !try_install(packages)? {
        bail!("apt-get could not install {}; its messages are above", packages.join(" "));
    }
    Ok(())
}

fn try_install(packages: &[&str]) -> Result<bool> {
    let mut command = apt_get()?;
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    Ok(status_of(&mut command)?.success())
}

/// Refreshes the package lists, once in a process's life.
fn update() -> Result<()> {
    static UPDATED: OnceLock<()> = OnceLock::new();
    if UPDATED.get().is_some() {
        return Ok(());
    }
    let mut command = apt_get()?;
    command.args(["update", "--quiet"]);
    say(format_args!("{} (which versions are there)", shown(&command)));
    succeed(&mut command).context("refreshing the package lists")?;
    UPDATED.get_or_init(|| ());
    Ok(())
}

/// RUNLEVEL=1 makes Debian's invoke-rc.d leave services alone.
fn apt_get() -> Result<std::process::Command> {
    let mut command = Privilege::find("installing Debian packages")?.command("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]);
    Ok(command)
}
