//! Where the data plane is while no controller runs: its maps, programs and links pinned in a BPF file system.
//!
//! ```text
//!   PINS/                         0700; the controller that works with it holds its lock
//!   PINS/maps/LISTENERS …         what the next controller goes on with
//!   PINS/maps/KEEPER              pinned last: what the words mean, and the hash's key
//!   PINS/maps-1                   maps of other sizes, while they take the places of those ([`super::migration`])
//!   PINS/new-maps                 the same, not yet whole: nobody knows them
//!   PINS/programs-17              the continuations of one generation of programs: the kernel empties an array of
//!                                 programs when nobody holds it any more; 17 is its number in the kernel
//!   PINS/native-3 | generic-3     the link of a generation's first program to the interface with the index 3
//! ```
//!
//! The maps are those of the set with the largest number. Killed between any two steps, a controller leaves a data plane that works: maps are whole before `KEEPER` is pinned,
//! a link is moved from one generation to the next in one step, and a generation goes after its last link.

mod set;

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use lb_common::hash::HashKey;
use lb_common::maps::{KEEPER, LAYOUT};
use tracing::info;

use super::Capacity;
use super::attach::Mode;
use super::migration::{self, Frozen};
use super::state::{self, Difference, Shape};
pub(super) use set::MapSet;

/// `BPF_FS_MAGIC`.
const BPF_FILE_SYSTEM: u64 = 0xcafe_4a11;

/// How long the helper of a controller that was killed may take to end.
const RELEASE: Duration = Duration::from_secs(1);

const MAPS: &str = "maps";
/// Before the number of a set that takes another one's place.
const NEXT_MAPS: &str = "maps-";
/// A set that is not yet whole.
const NEW_MAPS: &str = "new-maps";
const PROGRAMS: &str = "programs-";

/// A directory of pins that nobody else works with.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Its lock is the kernel's: it is free as soon as who has it is dead (a controller's helper), however it died.
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
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < RELEASE => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => return Err(Unusable::Taken(directory.to_owned())),
                Err(TryLockError::Error(error)) => {
                    return Err(Unusable::Other(anyhow::Error::new(error).context(about())));
                }
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
        let set = self.current();
        if !set.is_whole() {
            return Ok(None);
        }
        let (path, keeper) = (set.path(KEEPER), set.open(KEEPER)?);
        let shape = Shape::found(&keeper.info()?)?;
        ensure!(shape == state::keeper(), "{}", self.refusal(&format!("KEEPER is {shape}")));
        let keeper: Array<_, [u64; 3]> = Array::try_from(Map::from_map_data(keeper)?)?;
        let [layout, k0, k1] = keeper.get(&0, 0).with_context(|| format!("reading {}", path.display()))?;
        let differ = || format!("their layout is number {layout}, this build's {LAYOUT}");
        ensure!(layout == LAYOUT, "{}", self.refusal(&differ()));
        Ok(Some(HashKey { k0, k1 }))
    }

    /// Where a map is that programs are to be loaded with.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        let new = self.new_set();
        if new.exists() { new.path(name) } else { self.current().path(name) }
    }

    fn set(&self, name: &str) -> MapSet {
        MapSet::at(self.directory.join(name))
    }

    fn new_set(&self) -> MapSet {
        self.set(NEW_MAPS)
    }

    /// The set that has taken the places of all others, or is doing so.
    fn current(&self) -> MapSet {
        self.sets().pop().map_or_else(|| self.set(MAPS), |(_, set)| set)
    }

    /// The sets that are there, with their numbers.
    fn sets(&self) -> Vec<(u32, MapSet)> {
        let number = |name: &String| {
            if name == MAPS { Some(0) } else { name.strip_prefix(NEXT_MAPS)?.parse().ok() }
        };
        // Where nothing can be listed, nothing is found, which who makes something says.
        let names = listed(&self.directory).unwrap_or_default();
        let mut sets: Vec<_> =
            names.iter().filter_map(|name| Some((number(name)?, self.set(name)))).collect();
        sets.sort_by_key(|(number, _)| *number);
        sets
    }

    /// Sees to it that all maps are there, empty ones where there were none. Where those that are there are to have
    /// other sizes, a new set is made beside them, which takes their places by [`Pins::begin_move`] and
    /// [`Pins::end_move`].
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
        // Of a controller that was killed while it made them, too.
        self.new_set().remove()?;
        let current = self.current();
        current.make()?;
        let present = current.shapes()?;
        let differ = state::differences(&wanted, &present);
        self.expect_movable(&current, &differ)?;
        if !differ.is_empty() {
            let new = self.new_set();
            new.make()?;
            migration::prepare(&current, &new, &wanted, &differ).context("making maps of other sizes")?;
            return Ok(found);
        }
        for name in present.keys().filter(|name| !wanted.contains_key(*name) && *name != KEEPER) {
            // What another build kept in it is not kept current from now on.
            remove(&current.path(name))?;
        }
        for (name, shape) in wanted.iter().filter(|(name, _)| !present.contains_key(*name)) {
            current.pin(name, &shape.make(name)?)?;
        }
        if found == Found::Nothing {
            self.pin_keeper(&current, key)?;
        }
        Ok(found)
    }

    fn expect_movable(&self, current: &MapSet, differ: &[Difference]) -> anyhow::Result<()> {
        let others: Vec<String> =
            differ.iter().filter(|one| !one.is_of_size_only()).map(Difference::to_string).collect();
        ensure!(others.is_empty(), "{}", self.refusal(&others.join("; ")));
        let problems = migration::problems(current, differ).context("looking at what is in the maps")?;
        ensure!(problems.is_empty(), "{}", self.without_room(&problems.join("; ")));
        Ok(())
    }

    /// Lets maps of other sizes, if they were made, take the places of those that are there: links may be given
    /// programs that look into them from now on.
    ///
    /// # Errors
    /// If they have no room for what is there by now; nothing was touched then.
    pub(super) fn begin_move(&self) -> anyhow::Result<Frozen> {
        let (new, sets) = (self.new_set(), self.sets());
        let Some((number, current)) = sets.last().filter(|_| new.exists()) else {
            return Ok(Frozen::default());
        };
        let frozen = migration::fill(current, &new).with_context(|| {
            format!("moving the maps in {} to other sizes; they stay as they are", self.directory.display())
        })?;
        new.rename(&self.set(&format!("{NEXT_MAPS}{}", number + 1)))?;
        Ok(frozen)
    }

    /// No link has programs any more that look into other maps than the current ones: these go.
    ///
    /// # Errors
    /// If the kernel refuses; the next start goes on.
    pub(super) fn end_move(&self, frozen: &Frozen) -> anyhow::Result<()> {
        let (current, all) = (self.current(), self.sets());
        let whole: Vec<MapSet> = all.iter().map(|(_, set)| set.clone()).filter(MapSet::is_whole).collect();
        migration::settle(&whole).context("bringing maps of other sizes up to date")?;
        let older: Vec<&MapSet> = all.iter().map(|(_, set)| set).filter(|set| **set != current).collect();
        // None is looked into again.
        older.iter().try_for_each(|set| set.part())?;
        migration::thaw(&current, frozen)?;
        older.iter().try_for_each(|set| set.remove())?;
        if current == self.set(MAPS) {
            return Ok(());
        }
        current.rename(&self.set(MAPS))?;
        info!("{}: the maps have other sizes now", self.directory.display());
        Ok(())
    }

    fn pin_keeper(&self, set: &MapSet, key: HashKey) -> anyhow::Result<()> {
        let map = Map::from_map_data(state::keeper().make(KEEPER)?)?;
        let mut keeper: Array<_, [u64; 3]> = Array::try_from(map)?;
        keeper.set(0, [LAYOUT, key.k0, key.k1], 0).context("writing the map KEEPER")?;
        let path = set.path(KEEPER);
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

    fn without_room(&self, problems: &str) -> String {
        let pins = self.directory.display();
        format!(
            "the maps in {pins} hold more than maps of the sizes that are asked for: {problems}. Nothing was touched, and \
             the data plane goes on as it is. Ask for as much room as before (`sluice run --max …`), or end it \
             (`sluice detach --pins {pins}`) and start anew: connections whose slots changed lately, and counters, are \
             then forgotten"
        )
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
        self.new_set().remove()?;
        // The one that says what is in force goes last.
        self.sets().into_iter().try_for_each(|(_, set)| set.remove())
    }

    /// Removes everything that is pinned, and the directory: the data plane ends.
    ///
    /// # Errors
    /// If something can't be removed.
    pub fn remove_all(self) -> anyhow::Result<()> {
        self.clear()?;
        if self.directory.exists() {
            let about = || format!("removing {}", self.directory.display());
            fs::remove_dir(&self.directory).with_context(about)?;
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
