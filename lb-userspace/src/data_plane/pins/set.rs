//! A set of pinned maps that belong together: a directory of its own.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context;
use aya::maps::{Map, MapData, MapError, MapInfo};
use lb_common::maps::KEEPER;

use super::{listed, open, pin, remove};
use crate::data_plane::mapped::{MappedArray, SharedValue};
use crate::data_plane::state::Shape;

/// A set of maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::data_plane) struct MapSet(PathBuf);

impl MapSet {
    /// The set in this directory, which need not be there.
    pub(super) fn at(directory: PathBuf) -> MapSet {
        MapSet(directory)
    }

    /// Where one of its maps is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether it has a directory.
    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Whether it has such a map.
    pub(in crate::data_plane) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Whether all of its maps are there: the last one is.
    pub(super) fn is_whole(&self) -> bool {
        self.has(KEEPER)
    }

    /// Makes its directory, if it is not there.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.with_context(|| format!("making {}", self.0.display()))
    }

    /// What its maps are like, by name.
    pub(super) fn shapes(&self) -> anyhow::Result<BTreeMap<String, Shape>> {
        let shape = |name: String| {
            let info =
                MapInfo::from_pin(self.path(&name)).with_context(|| format!("the pinned map {name}"))?;
            Ok((name, Shape::found(&info)?))
        };
        listed(&self.0)?.into_iter().map(shape).collect()
    }

    /// One of its maps.
    pub(in crate::data_plane) fn open(&self, name: &str) -> anyhow::Result<MapData> {
        open(&self.path(name))
    }

    /// One of its maps, as what it is read by.
    pub(in crate::data_plane) fn typed<T: TryFrom<Map, Error = MapError>>(
        &self,
        name: &str,
    ) -> anyhow::Result<T> {
        let map = Map::from_map_data(self.open(name)?)?;
        T::try_from(map).with_context(|| format!("the map `{name}` is of another type or layout"))
    }

    /// One of its maps in this process's memory, all of it.
    pub(in crate::data_plane) fn mapped<T: SharedValue>(&self, name: &str) -> anyhow::Result<MappedArray<T>> {
        let map = self.open(name)?;
        let info = map.info()?;
        let bytes = u64::from(info.max_entries()) * u64::from(info.value_size());
        let length = u32::try_from(bytes / size_of::<T>() as u64).context("a map of many gigabytes")?;
        MappedArray::new(map.fd().as_fd(), length).with_context(|| format!("the map `{name}`"))
    }

    /// How many entries one of its maps has.
    pub(in crate::data_plane) fn entries(&self, name: &str) -> anyhow::Result<u32> {
        Ok(self.open(name)?.info()?.max_entries())
    }

    /// Whether a map is another one here than in another set. One that is not here is no other.
    pub(in crate::data_plane) fn differs(&self, other: &MapSet, name: &str) -> anyhow::Result<bool> {
        if !self.has(name) || !other.has(name) {
            return Ok(false);
        }
        Ok(self.open(name)?.info()?.id() != other.open(name)?.info()?.id())
    }

    /// Adds a map, in the place of one that may be there.
    pub(in crate::data_plane) fn pin(&self, name: &str, map: &MapData) -> anyhow::Result<()> {
        pin(map, &self.path(name))
    }

    /// Says that not all of it is there any more.
    pub(super) fn part(&self) -> anyhow::Result<()> {
        remove(&self.path(KEEPER))
    }

    /// Removes it.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        if !self.exists() {
            return Ok(());
        }
        self.part()?;
        for name in listed(&self.0)? {
            remove(&self.path(&name))?;
        }
        fs::remove_dir(&self.0).with_context(|| format!("removing {}", self.0.display()))
    }

    /// Gives it another directory, in one step.
    pub(super) fn rename(&self, to: &MapSet) -> anyhow::Result<()> {
        let about = || format!("renaming {} to {}", self.0.display(), to.0.display());
        fs::rename(&self.0, &to.0).with_context(about)
    }
}
