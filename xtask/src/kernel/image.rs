//! A kernel out of its Debian package, unpacked into the target directory and not installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Kernel;
use crate::invocation::{clean, output_of, say, succeed};
use crate::toolchain::apt;
use crate::workspace::Workspace;

/// Debian's package that depends on the kernel of the day.
const META_PACKAGE: &str = "linux-image-amd64";

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Image {
    /// The directory of this kernel, for what is made for it.
    pub(super) directory: PathBuf,
    /// The kernel itself.
    pub(super) kernel: PathBuf,
    /// `lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
}

impl Image {
    /// Finds it in the target directory, or gets it from Debian.
    pub(super) fn ensure(workspace: &Workspace, kernel: Kernel) -> Result<Image> {
        let directory = workspace.target.join("kernel").join(kernel.name());
        let root = directory.join("root");
        if !root.is_dir() {
            unpack(&download(&directory, kernel)?, &root)?;
        }
        Ok(Image {
            kernel: only_entry(&root.join("boot"), "vmlinuz-")?,
            modules: only_entry(&root.join("lib/modules"), "")?,
            directory,
        })
    }
}

/// The package of the day, downloaded into `directory`.
fn download(directory: &Path, kernel: Kernel) -> Result<PathBuf> {
    ensure!(
        apt::is_usable() && apt::offers(&[META_PACKAGE]),
        "{} comes from Debian's package {META_PACKAGE}, which this machine's package sources do not offer",
        kernel.name()
    );
    let depends = output_of(clean("apt-cache").args(["depends", META_PACKAGE]))?;
    let package = dependency(&depends, kernel.package_prefix()).with_context(|| {
        format!(
            "{META_PACKAGE} depends on no {}…: this is not Debian 12:\n{depends}",
            kernel.package_prefix()
        )
    })?;
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    say(format_args!("downloading Debian's package {package} (it is unpacked, not installed)"));
    succeed(clean("apt-get").args(["download", package]).current_dir(directory))?;
    only_entry(directory, &format!("{package}_"))
}

/// The package that a line of `apt-cache depends` names.
fn dependency<'a>(depends: &'a str, prefix: &str) -> Option<&'a str> {
    let packages = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    packages.map(str::trim).find(|package| package.starts_with(prefix))
}

/// By renaming, so that half of a kernel is never taken for one.
fn unpack(package: &Path, root: &Path) -> Result<()> {
    let half = root.with_extension("half");
    if half.exists() {
        fs::remove_dir_all(&half).with_context(|| format!("removing {}", half.display()))?;
    }
    succeed(clean("dpkg-deb").arg("--extract").arg(package).arg(&half))?;
    fs::rename(&half, root).with_context(|| format!("making {}", root.display()))?;
    fs::remove_file(package).with_context(|| format!("removing {}", package.display()))
}

fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let mut named = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path());
    let found = named.next().with_context(|| format!("{} has no {prefix}…", directory.display()))?;
    ensure!(
        named.next().is_none(),
        "{} has several {prefix}…: remove {} and try again",
        directory.display(),
        directory.display()
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_the_day_is_found() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(dependency(depends, "linux-image-6.1."), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(dependency(depends, "linux-image-6.12."), None);
    }
}
