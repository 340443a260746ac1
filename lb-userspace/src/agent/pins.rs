//! What keeps the program attached without the agent: links and maps pinned in a BPF file system.
//!
//! ```text
//!   PINS/native-eth0 | generic-eth0 | tc-eth0     the link of what comes in
//!   PINS/egress-eth0                              the link of what leaves
//!   PINS/agent_continuations, agent_tc_…          the kernel empties a program array when nobody holds it any more
//!   PINS/reason_counters                          the counters, which go on
//! ```
//!
//! A new agent takes the links over by updating them: each interface changes from the old program to the new one in
//! one step. It goes on with the counters if they have its own layout. Every other map is the new program's own, filled
//! before that, so no map of another layout is ever read.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use aya::maps::{Map, MapInfo, MapType};
use aya::programs::links::{FdLink, PinnedLink};
use tracing::{info, warn};

/// `BPF_FS_MAGIC`.
const BPF_FILE_SYSTEM: u64 = 0xcafe_4a11;

/// The directory, if there is a BPF file system to have it in.
#[derive(Debug)]
pub(super) struct Pins {
    directory: Option<PathBuf>,
    /// Names that are in use; others are removed by [`Pins::remove_others`].
    used: BTreeSet<String>,
}

impl Pins {
    /// Makes the directory if it isn't there. Without a BPF file system nothing is pinned, and that is said.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Pins> {
        let parent = directory.ancestors().skip(1).find(|parent| parent.exists()).unwrap_or(Path::new("/"));
        let system =
            rustix::fs::statfs(parent).with_context(|| format!("looking at {}", parent.display()))?;
        if system.f_type as u64 & 0xffff_ffff != BPF_FILE_SYSTEM {
            warn!(
                "{} is no BPF file system: nothing is pinned, and a restart of the agent interrupts what comes in \
                 (`mount -t bpf bpf {}`, or name another --pins)",
                parent.display(),
                parent.display()
            );
            return Ok(Pins { directory: None, used: BTreeSet::new() });
        }
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        Ok(Pins { directory: Some(directory.to_path_buf()), used: BTreeSet::new() })
    }

    /// The link of this name that an earlier agent has left.
    pub(super) fn link(&self, name: &str) -> Option<FdLink> {
        let path = self.directory.as_ref()?.join(name);
        path.exists().then(|| PinnedLink::from_pin(&path).ok()).flatten().map(FdLink::from)
    }

    /// Notes that the link of this name, which is pinned already, was taken over.
    pub(super) fn keep(&mut self, name: &str) {
        self.used.insert(name.to_owned());
    }

    /// Pins a link; without pins it is only held. A file that is in its place is of no use any more.
    pub(super) fn pin_link(&mut self, name: &str, link: FdLink) -> anyhow::Result<Held> {
        let Some(directory) = &self.directory else { return Ok(link.into()) };
        let path = directory.join(name);
        remove(&path)?;
        let pinned = link.pin(&path).with_context(|| format!("pinning {}", path.display()))?;
        self.used.insert(name.to_owned());
        Ok(FdLink::from(pinned).into())
    }

    /// Keeps a program array, in the place of an earlier agent's, whose programs no link names any more.
    pub(super) fn pin_map(&mut self, name: &str, map: &Map) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let (path, new) = (directory.join(name), directory.join(format!("{name}-new")));
        remove(&new)?;
        map.pin(&new).with_context(|| format!("pinning {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("replacing {}", path.display()))?;
        self.used.insert(name.to_owned());
        Ok(())
    }

    /// Where the per-processor counters of this name, `count` of them, are kept for the next agent; none without pins.
    /// Those of another layout are removed: they count what only another version knows.
    pub(super) fn counters(&mut self, name: &str, count: u32) -> anyhow::Result<Option<PathBuf>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let path = directory.join(name);
        if path.exists() && !MapInfo::from_pin(&path).is_ok_and(|info| are_counters(&info, count)) {
            remove(&path)?;
            warn!("{name}: of another version of the agent; the counters begin at zero");
        }
        self.used.insert(name.to_owned());
        Ok(Some(path))
    }

    /// Removes what an earlier agent has left and this one has not taken over.
    pub(super) fn remove_others(&self) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
            let entry = entry.with_context(|| format!("listing {}", directory.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !self.used.contains(&name) {
                remove(&entry.path())?;
                info!("{name}: an earlier agent's, taken away");
            }
        }
        Ok(())
    }

    /// Removes everything: what is pinned there is detached, unless somebody holds it.
    pub(super) fn remove_all(directory: &Path) -> anyhow::Result<()> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("listing {}", directory.display()))?,
        };
        for entry in entries {
            remove(&entry.with_context(|| format!("listing {}", directory.display()))?.path())?;
        }
        fs::remove_dir(directory).with_context(|| format!("removing {}", directory.display()))
    }
}

fn are_counters(info: &MapInfo, count: u32) -> bool {
    let sizes = (info.key_size(), info.value_size(), info.max_entries());
    info.map_type().is_ok_and(|kind| kind == MapType::PerCpuArray) && sizes == (4, 8, count)
}

/// A link that stays at least as long as this.
#[derive(Debug)]
pub(super) struct Held {
    _link: Option<FdLink>,
}

impl Held {
    /// What is attached without a link.
    pub(super) const NOTHING: Held = Held { _link: None };
}

impl From<FdLink> for Held {
    fn from(link: FdLink) -> Held {
        Held { _link: Some(link) }
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
