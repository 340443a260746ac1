//! The package's files: where each comes from, where it goes, and its mode.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::invocation::{clean, output_of, succeed};

/// Files of the workspace that are installed as they are.
const FILES: [(&str, &str); 17] = [
    ("packaging/systemd/sluice.service", "lib/systemd/system/sluice.service"),
    ("packaging/systemd/sluice-agent.service", "lib/systemd/system/sluice-agent.service"),
    ("packaging/systemd/sluice-pins@.service", "lib/systemd/system/sluice-pins@.service"),
    ("packaging/sysusers.d/sluice.conf", "usr/lib/sysusers.d/sluice.conf"),
    ("packaging/tmpfiles.d/sluice.conf", "usr/lib/tmpfiles.d/sluice.conf"),
    ("packaging/etc/sluice.json", CONFIGURATION),
    ("packaging/etc/agent.json", "usr/share/doc/sluice/examples/agent.json"),
    ("lb-userspace/examples/sluice.json", "usr/share/doc/sluice/examples/sluice.json"),
    ("lb-userspace/src/api/inventory/sample.json", "usr/share/doc/sluice/examples/inventory.json"),
    ("packaging/examples/bird.conf", "usr/share/doc/sluice/examples/bird.conf"),
    ("packaging/examples/frr.conf", "usr/share/doc/sluice/examples/frr.conf"),
    ("packaging/examples/router-bird.conf", "usr/share/doc/sluice/examples/router-bird.conf"),
    ("packaging/examples/router-frr.conf", "usr/share/doc/sluice/examples/router-frr.conf"),
    ("packaging/grafana/sluice.json", "usr/share/doc/sluice/examples/grafana/sluice.json"),
    ("packaging/prometheus/sluice.rules.yml", "usr/share/doc/sluice/examples/prometheus/sluice.rules.yml"),
    (
        "packaging/prometheus/sluice.rules.test.yml",
        "usr/share/doc/sluice/examples/prometheus/sluice.rules.test.yml",
    ),
    ("packaging/debian/copyright", "usr/share/doc/sluice/copyright"),
];

/// The same, compressed.
const COMPRESSED: [(&str, &str); 3] = [
    ("packaging/debian/changelog", "usr/share/doc/sluice/changelog"),
    ("README.md", "usr/share/doc/sluice/README.md"),
    ("SECURITY.md", "usr/share/doc/sluice/SECURITY.md"),
];

/// Where each shell looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/sluice"),
    ("zsh", "usr/share/zsh/vendor-completions/_sluice"),
    ("fish", "usr/share/fish/vendor_completions.d/sluice.fish"),
];

/// It may hold routers' passwords: nobody but root and the group that root gives it to may read it.
const CONFIGURATION: &str = "etc/sluice/sluice.json";

const MANUAL: &str = "usr/share/man/man1";

/// The licences of the crates in the program.
const LICENCES: &str = "usr/share/doc/sluice/licences-of-crates";

/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// The tree that dpkg-deb packs.
pub(super) struct Tree<'a> {
    root: &'a Path,
}

impl Tree<'_> {
    /// An empty one; its directories can be entered by all, whatever the umask.
    pub(super) fn new(root: &Path) -> Result<Tree<'_>> {
        fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        set_mode(root, 0o755)?;
        Ok(Tree { root })
    }

    /// The binary, without the symbols that only a debugger reads.
    pub(super) fn program(&self, binary: &Path) -> Result<()> {
        let place = self.place("usr/bin/sluice")?;
        succeed(clean("strip").arg("-o").args([&place, binary]))?;
        set_mode(&place, 0o755)
    }

    /// What the binary says of its own command line.
    pub(super) fn manual_and_completions(&self, binary: &Path) -> Result<()> {
        let manual = self.root.join(MANUAL);
        self.directories(Path::new(MANUAL))?;
        succeed(clean(binary).arg("manual").arg(&manual))?;
        for page in entries(&manual)? {
            compress(&page)?;
        }
        for (shell, place) in COMPLETIONS {
            let script = output_of(clean(binary).args(["completions", shell]))?;
            self.write(place, script.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Units, users, configuration, examples.
    pub(super) fn files(&self, workspace: &Path) -> Result<()> {
        FILES.iter().try_for_each(|(from, to)| self.copy(&workspace.join(from), to))?;
        set_mode(&self.root.join(CONFIGURATION), 0o640)
    }

    /// What people read.
    pub(super) fn documentation(&self, workspace: &Path) -> Result<()> {
        for (from, to) in COMPRESSED {
            self.copy(&workspace.join(from), to)?;
            compress(&self.root.join(to))?;
        }
        Ok(())
    }

    /// What the crates' licences ask to be told.
    pub(super) fn licences(&self, text: &str) -> Result<()> {
        self.write(LICENCES, text.as_bytes(), 0o644)?;
        compress(&self.root.join(LICENCES))
    }

    /// What dpkg reads: last, as it counts the files.
    pub(super) fn control(&self, workspace: &Path, control: &str) -> Result<()> {
        let sums = self.sums()?;
        self.write("DEBIAN/control", control.as_bytes(), 0o644)?;
        self.write("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
        self.write("DEBIAN/conffiles", format!("/{CONFIGURATION}\n").as_bytes(), 0o644)?;
        for script in SCRIPTS {
            let path = workspace.join("packaging/debian").join(script);
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            self.write(&format!("DEBIAN/{script}"), &text, 0o755)?;
        }
        Ok(())
    }

    /// How much the files take, each in whole kilobytes.
    pub(super) fn kilobytes(&self) -> Result<u64> {
        let sizes =
            self.all()?.into_iter().map(|path| Ok(fs::metadata(self.root.join(path))?.len().div_ceil(1024)));
        sizes.sum()
    }

    fn sums(&self) -> Result<String> {
        // The configuration is the administrator's, and not summed.
        let files = self.all()?.into_iter().filter(|path| !path.starts_with("etc"));
        output_of(clean("md5sum").current_dir(self.root).arg("--").args(files))
    }

    /// The paths of all files, in order.
    fn all(&self) -> Result<Vec<PathBuf>> {
        let (mut directories, mut files) = (vec![self.root.to_owned()], Vec::new());
        while let Some(directory) = directories.pop() {
            for path in entries(&directory)? {
                if path.is_dir() {
                    directories.push(path);
                } else {
                    files.push(path.strip_prefix(self.root).expect("it was found under the root").to_owned());
                }
            }
        }
        files.sort();
        Ok(files)
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.write(to, &content, 0o644)
    }

    fn write(&self, to: &str, content: &[u8], mode: u32) -> Result<()> {
        let place = self.place(to)?;
        fs::write(&place, content).with_context(|| format!("writing {}", place.display()))?;
        set_mode(&place, mode)
    }

    /// A file's place, its directories made.
    fn place(&self, path: &str) -> Result<PathBuf> {
        self.directories(Path::new(path).parent().unwrap_or(Path::new("")))?;
        Ok(self.root.join(path))
    }

    fn directories(&self, path: &Path) -> Result<()> {
        let mut made = self.root.to_owned();
        for part in path {
            made.push(part);
            if !made.exists() {
                fs::create_dir(&made).with_context(|| format!("making {}", made.display()))?;
                set_mode(&made, 0o755)?;
            }
        }
        Ok(())
    }
}

/// Compresses a file in place, without its name and time.
fn compress(file: &Path) -> Result<()> {
    set_mode(file, 0o644)?;
    succeed(clean("gzip").args(["-9", "--no-name", "--force"]).arg(file))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let about = || format!("listing {}", directory.display());
    let entries = fs::read_dir(directory).with_context(about)?;
    entries.map(|entry| Ok(entry.with_context(about)?.path())).collect()
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}
