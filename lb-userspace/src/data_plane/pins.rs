//! Where the data plane is while no controller runs: its maps, programs and links pinned in a BPF file system.
//!
//! ```text
//!   PINS/                         0700; the controller that works with it holds its lock
//!   PINS/maps/LISTENERS …         what the next controller goes on with
//!   PINS/maps/KEEPER              pinned last: what the words mean, and the hash's key
//!   PINS/programs-17              the continuations of one generation of programs: the kernel empties an array of
//!                                 programs when nobody holds it any more; 17 is its number in the kernel
//!   PINS/native-3 | generic-3     the link of a generation's first program to the interface with the index 3
//! ```
//!
//! Killed between any two steps, a controller leaves a data plane that works: maps are whole before `KEEPER` is pinned,
//! a link is moved from one generation to the next in one step, and a generation goes after its last link.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use lb_common::hash::HashKey;
use lb_common::maps::{KEEPER, LAYOUT};
use tracing::info;

use super::Capacity;
use super::attach::Mode;
use super::state::{self, Shape};

/// `BPF_FS_MAGIC`.
const BPF_FILE_SYSTEM: u64 = 0xcafe_4a11;

const MAPS: &str = "maps";
const PROGRAMS: &str = "programs-";

/// A directory of pins that nobody else works with.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Its lock is the kernel's: it is free as soon as the controller is dead, however it died.
    _lock: File,
}

/// Whether maps are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// They were made just now.
    Nothing,
    /// An earlier controller has left them.
    Maps,
}

/// Why a directory of pins can't be worked with.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("there is nothing at {}", .0.display())]
    Absent(PathBuf),
    /// Somebody holds its lock.
    #[error(
        "another controller works with the pins in {}: end it (`sluice stop`), or name another directory with --pins",
        .0.display()
    )]
    Taken(PathBuf),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Pins {
    /// Takes the directory, which is made if it isn't there.
    ///
    /// # Errors
    /// If it is in no BPF file system, can't be made, or another controller has it.
    pub fn take(directory: &Path) -> Result<Pins, Unusable> {
        expect_bpf_file_system(directory)?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| {
            format!("making the directory of pins {}; without pins: --unpinned", directory.display())
        })?;
        Pins::take_existing(directory)
    }

    /// Takes the directory if it is there.
    ///
    /// # Errors
    /// As [`Pins::take`], and [`Unusable::Absent`].
    pub fn take_existing(directory: &Path) -> Result<Pins, Unusable> {
        let about = || format!("opening the directory of pins {}", directory.display());
        let lock = match File::open(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Unusable::Absent(directory.to_owned()));
            }
            opened => opened.with_context(about)?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Unusable::Taken(directory.to_owned())),
            Err(TryLockError::Error(error)) => {
                return Err(Unusable::Other(anyhow::Error::new(error).context(about())));
            }
        }
        fs::set_permissions(directory, Permissions::from_mode(0o700)).with_context(about)?;
        Ok(Pins { directory: directory.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The key of the flows' hash in the maps that are pinned; none if there are none.
    ///
    /// # Errors
    /// If their words mean something else than this build takes them for: nothing was touched.
    pub fn hash_key(&self) -> anyhow::Result<Option<HashKey>> {
        let path = self.map(KEEPER);
        if !path.exists() {
            return Ok(None);
        }
        let keeper = open(&path)?;
        let shape = Shape::found(&keeper.info()?)?;
        ensure!(shape == state::keeper(), "{}", self.refusal(&format!("KEEPER is {shape}")));
        let keeper: Array<_, [u64; 3]> = Array::try_from(Map::from_map_data(keeper)?)?;
        let [layout, k0, k1] = keeper.get(&0, 0).with_context(|| format!("reading {}", path.display()))?;
        let differ = || format!("their layout is number {layout}, this build's {LAYOUT}");
        ensure!(layout == LAYOUT, "{}", self.refusal(&differ()));
        Ok(Some(HashKey { k0, k1 }))
    }

    /// Where a map is.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(MAPS).join(name)
    }

    /// Sees to it that all maps are there, empty ones where there were none.
    ///
    /// # Errors
    /// If those that are there are not what this build works with (nothing was touched then), or the kernel refuses.
    pub(super) fn prepare(&self, capacity: Capacity, key: HashKey) -> anyhow::Result<Found> {
        let wanted = state::shapes(capacity)?;
        let found = match self.hash_key()? {
            Some(_) => Found::Maps,
            None => {
                // A controller that was killed while it made them: no program knows them.
                self.clear()?;
                Found::Nothing
            }
        };
        let present = self.shapes()?;
        let differ = state::differences(&wanted, &present);
        ensure!(differ.is_empty(), "{}", self.refusal(&differ));
        for name in present.keys().filter(|name| !wanted.contains_key(*name) && *name != KEEPER) {
            // What another build kept in it is not kept current from now on.
            remove(&self.map(name))?;
        }
        for (name, shape) in wanted.iter().filter(|(name, _)| !present.contains_key(*name)) {
            pin(&shape.make(name)?, &self.map(name))?;
        }
        if found == Found::Nothing {
            self.pin_keeper(key)?;
        }
        Ok(found)
    }

    fn pin_keeper(&self, key: HashKey) -> anyhow::Result<()> {
        let map = Map::from_map_data(state::keeper().make(KEEPER)?)?;
        let mut keeper: Array<_, [u64; 3]> = Array::try_from(map)?;
        keeper.set(0, [LAYOUT, key.k0, key.k1], 0).context("writing the map KEEPER")?;
        let path = self.map(KEEPER);
        keeper.pin(&path).with_context(|| format!("pinning {}", path.display()))
    }

    fn refusal(&self, differ: &str) -> String {
        let pins = self.directory.display();
        format!(
            "the maps in {pins} are of another layout: {differ}. Nothing was touched, and the data plane goes on as it \
             is. Go on with the sluice that made them, or end it (`sluice detach --pins {pins}`) and start anew: \
             connections whose slots changed lately, and counters, are then forgotten"
        )
    }

    fn shapes(&self) -> anyhow::Result<BTreeMap<String, Shape>> {
        let directory = self.directory.join(MAPS);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let shape = |name: String| {
            let info =
                MapInfo::from_pin(self.map(&name)).with_context(|| format!("the pinned map {name}"))?;
            Ok((name, Shape::found(&info)?))
        };
        listed(&directory)?.into_iter().map(shape).collect()
    }

    /// Keeps the continuations of a generation of programs.
    pub(super) fn keep_programs(&self, continuations: &Map) -> anyhow::Result<PathBuf> {
        let Map::ProgramArray(data) = continuations else { bail!("CONTINUATIONS is no array of programs") };
        let id = data.info().context("asking the kernel about the continuations")?.id();
        let path = self.directory.join(format!("{PROGRAMS}{id}"));
        pin(data, &path)?;
        Ok(path)
    }

    /// Removes all generations of programs but that of `kept`: no packet is in them any more.
    pub(super) fn remove_programs_except(&self, kept: &Path) -> anyhow::Result<()> {
        for name in self.listed_with(PROGRAMS)? {
            let path = self.directory.join(&name);
            if path != kept {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Where the link to an interface is.
    pub(super) fn link(&self, mode: Mode, interface: u32) -> PathBuf {
        self.directory.join(format!("{}{interface}", prefix(mode)))
    }

    /// The links that are pinned: the interface's index, the mode, and the file.
    pub(super) fn links(&self) -> anyhow::Result<Vec<(u32, Mode, PathBuf)>> {
        let mut links = Vec::new();
        for mode in [Mode::Native, Mode::Generic] {
            for name in self.listed_with(prefix(mode))? {
                if let Ok(interface) = name[prefix(mode).len()..].parse() {
                    links.push((interface, mode, self.directory.join(&name)));
                }
            }
        }
        Ok(links)
    }

    fn listed_with(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let mut names = listed(&self.directory)?;
        names.retain(|name| name.starts_with(prefix));
        Ok(names)
    }

    /// Removes everything that is pinned, links first: no packet meets half of a data plane.
    fn clear(&self) -> anyhow::Result<()> {
        for (_, _, path) in self.links()? {
            remove(&path)?;
        }
        for name in self.listed_with(PROGRAMS)? {
            remove(&self.directory.join(name))?;
        }
        let maps = self.directory.join(MAPS);
        if maps.exists() {
            // First that which says that they are whole.
            remove(&self.map(KEEPER))?;
            for name in listed(&maps)? {
                remove(&maps.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes everything that is pinned, and the directory: the data plane ends.
    ///
    /// # Errors
    /// If something can't be removed.
    pub fn remove_all(self) -> anyhow::Result<()> {
        self.clear()?;
        for directory in [self.directory.join(MAPS), self.directory.clone()] {
            if directory.exists() {
                fs::remove_dir(&directory).with_context(|| format!("removing {}", directory.display()))?;
            }
        }
        info!("{}: nothing is pinned any more", self.directory.display());
        Ok(())
    }
}

const fn prefix(mode: Mode) -> &'static str {
    match mode {
        Mode::Native => "native-",
        Mode::Generic => "generic-",
    }
}

fn expect_bpf_file_system(directory: &Path) -> anyhow::Result<()> {
    let there = directory.ancestors().find(|parent| parent.exists()).unwrap_or(Path::new("/"));
    let system = rustix::fs::statfs(there).with_context(|| format!("looking at {}", there.display()))?;
    ensure!(
        system.f_type as u64 & 0xffff_ffff == BPF_FILE_SYSTEM,
        "{} is in no BPF file system, so the data plane can't outlive the controller there: `mount -t bpf bpf \
         /sys/fs/bpf`, name a directory in one with --pins, or do without: --unpinned",
        directory.display()
    );
    Ok(())
}

/// A link that is pinned.
pub(super) fn open_link(path: &Path) -> anyhow::Result<FdLink> {
    let link = PinnedLink::from_pin(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(FdLink::from(link))
}

/// Pins a link.
pub(super) fn pin_link(link: FdLink, path: &Path) -> anyhow::Result<FdLink> {
    remove(path)?;
    let pinned = link.pin(path).with_context(|| format!("pinning {}", path.display()))?;
    Ok(FdLink::from(pinned))
}

/// A map that is pinned.
pub(super) fn open(path: &Path) -> anyhow::Result<MapData> {
    MapData::from_pin(path).with_context(|| format!("opening {}", path.display()))
}

fn pin(map: &MapData, path: &Path) -> anyhow::Result<()> {
    remove(path)?;
    map.pin(path).with_context(|| format!("pinning {}", path.display()))
}

fn listed(directory: &Path) -> anyhow::Result<Vec<String>> {
    let about = || format!("listing {}", directory.display());
    let entries = fs::read_dir(directory).with_context(about)?;
    entries.map(|entry| Ok(entry.with_context(about)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Removes a pin, if it is there.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
