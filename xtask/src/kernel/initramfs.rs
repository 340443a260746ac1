//! The guest's file system: our binaries with the host's libraries, the eBPF objects, the kernel's modules.
//!
//! ```text
//!   /init → sluice/debug/sluice-lab     /sluice/debug/{sluice, verify}    /sluice/bpf/*
//!   /bin/{ip, nstat}                    /sluice/verify/FEATURES/*         /modules/NN-name.ko
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::image::Image;
use super::modules;
use crate::build::Profile;
use crate::invocation::{clean, on_path, output_of};
use crate::run::LAB_BINARY;
use crate::verify::{FeatureSet, VERIFY_BINARY};
use crate::workspace::Workspace;

/// Where the guest's init mounts something.
const MOUNT_POINTS: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

/// Programs that the lab calls.
const PROGRAMS: [&str; 2] = ["ip", "nstat"];

/// Writes the archive, and returns its path.
pub(super) fn write(workspace: &Workspace, image: &Image, sets: &[FeatureSet]) -> Result<PathBuf> {
    let path = image.directory.join("initramfs.cpio");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let mut initramfs = Initramfs { archive: Archive::new(BufWriter::new(file)), libraries: BTreeSet::new() };
    initramfs.fill(workspace, image, sets).with_context(|| format!("writing {}", path.display()))?;
    initramfs.archive.finish().with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

struct Initramfs {
    archive: Archive<BufWriter<File>>,
    libraries: BTreeSet<PathBuf>,
}

impl Initramfs {
    fn fill(&mut self, workspace: &Workspace, image: &Image, sets: &[FeatureSet]) -> Result<()> {
        for mount_point in MOUNT_POINTS {
            self.archive.directory(Path::new(mount_point))?;
        }
        for name in [LAB_BINARY, VERIFY_BINARY, "sluice"] {
            let binary = workspace.binary(Profile::Debug.directory(), name);
            self.executable(&Path::new("/sluice/debug").join(name), &binary)?;
        }
        self.archive.link(Path::new("/init"), &format!("/sluice/debug/{LAB_BINARY}"))?;
        for name in PROGRAMS {
            let program = on_path(name).with_context(|| format!("{name} (package iproute2) is missing"))?;
            self.executable(&Path::new("/bin").join(name), &program)?;
        }
        self.files(Path::new("/sluice/bpf"), &workspace.bpf_objects())?;
        for set in sets {
            self.files(&Path::new("/sluice/verify").join(&set.name), &set.directory)?;
        }
        for (number, module) in modules::needed(&image.modules)?.iter().enumerate() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            self.copy(Path::new(&format!("/modules/{number:02}-{name}")), module)?;
        }
        Ok(())
    }

    /// A program with the libraries that it is linked with, each at the host's path.
    fn executable(&mut self, path: &Path, program: &Path) -> Result<()> {
        self.copy(path, program)?;
        for library in libraries(&output_of(clean("ldd").arg(program))?) {
            if self.libraries.insert(library.clone()) {
                self.copy(&library, &library)?;
            }
        }
        Ok(())
    }

    /// All files of a directory; hidden ones are half-written.
    fn files(&mut self, to: &Path, directory: &Path) -> Result<()> {
        let shown = directory.display();
        for entry in fs::read_dir(directory).with_context(|| format!("listing {shown}"))? {
            let entry = entry.with_context(|| format!("listing {shown}"))?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                self.copy(&to.join(entry.file_name()), &entry.path())?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, to: &Path, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.archive.file(to, &content).context("writing the archive")
    }
}

/// The paths in ldd's output: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader itself.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let path = line.rsplit("=> ").next()?.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    ldd.lines().filter_map(|line| path(line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f75ecebe000)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f75ecb35000)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f75ecec0000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(ldd), expected.map(PathBuf::from));
    }
}
