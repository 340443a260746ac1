//! The maps of a loaded balancer that user space works with, by name: what one process hands to another.
//!
//! Reading and writing a map by a descriptor needs no capability since Linux 5.19.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, bail};
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use lb_common::maps::{self as names};

use super::mapped::{MappedArray, SharedValue};
use super::{Capacity, Pins, pins, state};

/// The maps.
pub struct LoadedMaps(BTreeMap<String, MapData>);

/// Those of the object that user space works with.
const OF_OBJECT: [&str; 24] = [
    names::LISTENERS,
    names::VIPS,
    names::QUIC_SERVERS,
    names::FORWARDS,
    names::SLOTS,
    names::EXCEPTIONS,
    names::CHAINS,
    names::FLOWS,
    names::FRAGMENTS,
    names::TARGETS,
    names::INTERFACES,
    names::SETTINGS,
    names::ANSWER_LIMIT,
    names::REASON_COUNTERS,
    names::LISTENER_COUNTERS,
    names::TARGET_COUNTERS,
    names::POLICIES,
    names::ALLOWED,
    names::EXPLAINED,
    names::CAPTURE_FILTER,
    names::CAPTURE_RING,
    names::CAPTURE_LOST,
    names::FLOW_LOG,
    names::FLOW_LOG_LOST,
];

impl LoadedMaps {
    /// Takes them out of an object, after its programs were loaded; those that only user space has are made, or are in
    /// `pins`.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        capacity: Capacity,
        pins: Option<&Pins>,
    ) -> anyhow::Result<LoadedMaps> {
        let mut maps = BTreeMap::new();
        for name in OF_OBJECT {
            let map = ebpf.take_map(name).with_context(|| format!("the object has no map `{name}`"))?;
            maps.insert(name.to_owned(), data(name, map)?);
        }
        for (name, shape) in state::of_user_space(capacity) {
            let map = match pins {
                Some(pins) => pins::open(&pins.map(name))?,
                None => shape.make(name)?,
            };
            maps.insert(name.to_owned(), map);
        }
        Ok(LoadedMaps(maps))
    }

    /// Those that another process has sent.
    ///
    /// # Errors
    /// If a descriptor is no map's.
    pub(crate) fn received(maps: impl Iterator<Item = (String, OwnedFd)>) -> anyhow::Result<LoadedMaps> {
        let map = |(name, descriptor)| {
            let map = MapData::from_fd(descriptor)
                .with_context(|| format!("the descriptor of the map `{name}`"))?;
            Ok((name, map))
        };
        maps.map(map).collect::<anyhow::Result<_>>().map(LoadedMaps)
    }

    /// Their names and descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.0.iter().map(|(name, map)| (name.as_str(), map.fd().as_fd()))
    }

    /// Another descriptor of a map.
    pub(super) fn another(&self, name: &str) -> anyhow::Result<Map> {
        let map = self.0.get(name).with_context(|| format!("there is no map `{name}`"))?;
        let descriptor = map.fd().as_fd().try_clone_to_owned();
        let descriptor = descriptor.with_context(|| format!("duplicating the map `{name}`"))?;
        Ok(Map::from_map_data(MapData::from_fd(descriptor)?)?)
    }

    /// Takes a map that is read and written by calls.
    pub(super) fn typed<T: TryFrom<Map, Error = MapError>>(&mut self, name: &str) -> anyhow::Result<T> {
        let map = Map::from_map_data(self.remove(name)?)?;
        T::try_from(map).with_context(|| format!("the map `{name}` is of another type or layout"))
    }

    /// Takes a map into this process's memory.
    pub(super) fn mapped<T: SharedValue>(
        &mut self,
        name: &str,
        entries: u32,
    ) -> anyhow::Result<MappedArray<T>> {
        MappedArray::new(self.remove(name)?.fd().as_fd(), entries)
            .with_context(|| format!("the map `{name}`"))
    }

    fn remove(&mut self, name: &str) -> anyhow::Result<MapData> {
        self.0.remove(name).with_context(|| format!("there is no map `{name}`"))
    }
}

fn data(name: &str, map: Map) -> anyhow::Result<MapData> {
    match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::RingBuf(data) => Ok(data),
        _ => bail!("the map `{name}` is of another type than those that user space works with"),
    }
}
