//! `cargo xtask test --kernel NAME`: boots another kernel in a virtual machine and runs Sluice's smoke tests
//! there. Nothing is installed on the host but the emulator; the kernel stays in the target directory.
//!
//! ```text
//!   image (Debian package → target/kernel) ─┐
//!   modules (with their dependencies) ──────┼─► initramfs (cpio) ─► machine (QEMU) ─► checks
//!   binaries, libraries, eBPF objects ──────┘
//! ```

mod cpio;
mod image;
mod initramfs;
mod machine;
mod modules;

use anyhow::Result;
use clap::ValueEnum;

use crate::invocation::say;
use crate::verify;
use crate::workspace::Workspace;
use image::Image;
use machine::Machine;

pub(crate) use machine::Check;

/// A kernel that can be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// The one of Debian 12
    #[value(name = "debian-6.1")]
    Debian61,
}

impl Kernel {
    /// Its name on the command line and in the target directory.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::Debian61 => "debian-6.1",
        }
    }

    /// What the name of its Debian package begins with.
    fn package_prefix(self) -> &'static str {
        match self {
            Kernel::Debian61 => "linux-image-6.1.",
        }
    }

    /// Boots it, with user space built already, and returns what it was checked for.
    pub(crate) fn checks(self, workspace: &Workspace) -> Result<Vec<Check>> {
        let feature_sets = verify::build_all(workspace)?;
        let image = Image::ensure(workspace, self)?;
        let initramfs = initramfs::write(workspace, &image, &feature_sets)?;
        say(format_args!("booting {} in an emulator; this takes a minute or two", self.name()));
        Machine { image, initramfs }.run()
    }
}
