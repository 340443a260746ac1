//! The maps that outlive the programs: which they are, what they must be like, and whether those that are pinned are.

use std::collections::BTreeMap;

use anyhow::Context;
use aya::maps::{MapData, MapInfo};
use aya_obj::Object;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::listener::Traffic;
use lb_common::maps::{self as names, OF_PROGRAMS};

use super::Capacity;
use super::carried::Carried;
use super::load::entries;
use super::names::NameLine;
use crate::programs;

/// `BPF_F_MMAPABLE`.
const MAPPED: u32 = 1 << 10;

/// What a map is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

impl Shape {
    fn of(map: &aya_obj::Map) -> Shape {
        Shape {
            kind: map.map_type(),
            key: map.key_size(),
            value: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }

    /// What the kernel says of a map.
    pub(super) fn found(info: &MapInfo) -> anyhow::Result<Shape> {
        let kind = info.map_type().context("a map of an unknown type")? as u32;
        let (key, value, entries) = (info.key_size(), info.value_size(), info.max_entries());
        Ok(Shape { kind, key, value, entries, flags: info.map_flags() })
    }

    /// Makes a map that is like this.
    pub(super) fn make(self, name: &str) -> anyhow::Result<MapData> {
        let Shape { kind, key, value, entries, flags } = self;
        let map = aya_obj::Map::new_from_params(kind, key, value, entries, flags);
        MapData::create(map, name, None).with_context(|| format!("making the map {name}"))
    }

    /// How many values it has.
    pub(super) const fn entries(self) -> u32 {
        self.entries
    }

    /// An array that user space alone uses.
    const fn array(value: usize, entries: u32, flags: u32) -> Shape {
        Shape { kind: BPF_MAP_TYPE_ARRAY as u32, key: 4, value: value as u32, entries, flags }
    }
}

/// The maps that outlive the programs, by name.
pub(super) fn shapes(capacity: Capacity) -> anyhow::Result<BTreeMap<String, Shape>> {
    let object = Object::parse(programs::balancer()?).context("reading the balancer's object")?;
    let entries = entries(capacity);
    let shape = |(name, mut map): (String, aya_obj::Map)| {
        if let Some((_, entries)) = entries.iter().find(|(known, _)| *known == name) {
            map.set_max_entries(*entries);
        }
        (name, Shape::of(&map))
    };
    let of_packets = object.maps.into_iter().filter(|(name, _)| outlives_programs(name)).map(shape);
    Ok(of_packets.chain(of_user_space(capacity).map(|(name, shape)| (name.to_owned(), shape))).collect())
}

/// The maps that only user space uses.
pub(super) fn of_user_space(capacity: Capacity) -> [(&'static str, Shape); 6] {
    let lines = |entries| Shape::array(size_of::<NameLine>(), entries, MAPPED);
    let traffic = |entries| Shape::array(size_of::<Traffic>(), entries, MAPPED);
    let reasons = Shape::array(size_of::<u64>(), Carried::REASONS, MAPPED);
    [
        (names::REASONS_CARRIED, reasons),
        (names::LISTENERS_CARRIED, traffic(capacity.listeners)),
        (names::TARGETS_CARRIED, traffic(capacity.targets)),
        (names::TARGET_NAMES, lines(capacity.targets)),
        (names::FORWARD_NAMES, lines(capacity.forwards)),
        (names::LISTENER_NAMES, lines(capacity.listeners)),
    ]
}

/// The map `KEEPER`.
pub(super) const fn keeper() -> Shape {
    Shape::array(size_of::<[u64; 3]>(), 1, 0)
}

/// Compiled-in constants, and what logs packets, are one build's too.
fn outlives_programs(name: &str) -> bool {
    !OF_PROGRAMS.contains(&name) && !name.starts_with('.') && !name.starts_with("AYA_")
}

/// The maps that are there and differ from what is wanted.
pub(super) fn differences(
    wanted: &BTreeMap<String, Shape>,
    found: &BTreeMap<String, Shape>,
) -> Vec<Difference> {
    let differing = |(name, found): (&String, &Shape)| {
        let wanted = *wanted.get(name).filter(|wanted| *wanted != found)?;
        Some(Difference { name: name.clone(), found: *found, wanted })
    };
    found.iter().filter_map(differing).collect()
}

/// A map that is there, and is not as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) name: String,
    pub(super) found: Shape,
    pub(super) wanted: Shape,
}

impl Difference {
    /// Whether both mean the same by a key and by a value: only how many there are differs.
    pub(super) fn is_of_size_only(&self) -> bool {
        self.found == Shape { entries: self.found.entries, ..self.wanted }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { name, found, wanted } = self;
        write!(f, "{name} is {found}, wanted is {wanted}")
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shape { kind, key, value, entries, flags } = self;
        write!(f, "{entries} entries of {value} bytes (type {kind}, keys of {key}, flags {flags:#x})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_another_shape_are_named_and_missing_ones_are_not() {
        let wanted = BTreeMap::from([
            ("FLOWS".to_owned(), Shape::array(64, 131_072, MAPPED)),
            ("SLOTS".to_owned(), Shape::array(64, 16, MAPPED)),
        ]);
        assert_eq!(differences(&wanted, &wanted), []);
        assert_eq!(differences(&wanted, &BTreeMap::new()), []);
        let found = BTreeMap::from([
            ("FLOWS".to_owned(), Shape::array(64, 65_536, MAPPED)),
            ("OLD".to_owned(), Shape::array(8, 1, 0)),
        ]);
        let [flows] = &differences(&wanted, &found)[..] else { panic!("one map differs") };
        assert!(flows.is_of_size_only());
        assert_eq!(
            flows.to_string(),
            "FLOWS is 65536 entries of 64 bytes (type 2, keys of 4, flags 0x400), wanted is 131072 entries of 64 \
             bytes (type 2, keys of 4, flags 0x400)"
        );
        let found = BTreeMap::from([("FLOWS".to_owned(), Shape::array(32, 131_072, MAPPED))]);
        assert!(!differences(&wanted, &found)[0].is_of_size_only());
    }

    #[test]
    fn what_one_program_leaves_to_the_next_is_of_one_generation() {
        for name in ["CONTINUATIONS", "VERDICTS", ".rodata", "AYA_LOGS"] {
            assert!(!outlives_programs(name), "{name}");
        }
        for name in ["FLOWS", "SETTINGS", "REASON_COUNTERS", "ALLOWED"] {
            assert!(outlives_programs(name), "{name}");
        }
    }
}
