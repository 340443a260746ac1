//! What packets find in the pinned maps, in words that tell nothing of how it came to be there: a target is its
//! address, a table the order of its targets, an allow-list its prefixes. Read with nothing of the controller's.
//!
//! Left out is what the past has left for the flows that began in it: the flow table, who had a slot before, marks of
//! exceptions; and counters.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::Slot;
use lb_common::listener::{Forward, Listener, ListenerKey, ListenerLine};
use lb_common::maps::{self as names, SLOTS_PER_LINE, Settings};
use lb_common::policy::{Allowance, AllowedKey};

use super::Pinned;

/// The words of an entry of `TARGETS` that are its address.
const ADDRESS: std::ops::Range<usize> = 11..13;

impl Pinned {
    /// What packets find in the pinned maps, a line each, sorted.
    ///
    /// # Errors
    /// If a map can't be read.
    pub fn contents(&self) -> Result<Vec<String>> {
        let maps = self.pins().join("maps");
        let targets = Targets::read(&maps)?;
        let mut lines = targets.lines();
        lines.extend(listeners(&maps, &targets)?);
        lines.extend(vips(&maps)?);
        for (index, mac) in
            entries::<u64>(&maps, names::INTERFACES)?.iter().enumerate().filter(|(_, mac)| **mac != 0)
        {
            lines.push(format!("interface {index} has {mac:#x}"));
        }
        let settings: Array<_, Settings> = open(&maps, names::SETTINGS)?.try_into()?;
        lines.push(format!("{:x?}", settings.get(&0, 0)?));
        let forwards = entries::<u64>(&maps, names::FORWARDS)?.iter().filter(|word| **word != 0).count();
        lines.push(format!("{forwards} tables"));
        lines.sort();
        Ok(lines)
    }
}

fn open(maps: &Path, name: &str) -> Result<Map> {
    let data = MapData::from_pin(maps.join(name)).with_context(|| format!("opening the pinned {name}"))?;
    Ok(Map::from_map_data(data)?)
}

fn entries<T: aya::Pod>(maps: &Path, name: &str) -> Result<Vec<T>> {
    let array: Array<_, T> = open(maps, name)?.try_into().with_context(|| format!("the map {name}"))?;
    array.iter().collect::<Result<_, _>>().with_context(|| format!("reading {name}"))
}

/// The targets by their ids.
struct Targets(BTreeMap<u32, [u64; 16]>);

impl Targets {
    fn read(maps: &Path) -> Result<Targets> {
        let all = entries::<[u64; 16]>(maps, names::TARGETS)?;
        Ok(Targets((0..).zip(all).filter(|(_, words)| *words != [0; 16]).collect()))
    }

    fn lines(&self) -> Vec<String> {
        let line = |(id, words): (&u32, &[u64; 16])| format!("target {}: {words:x?}", self.address(*id));
        self.0.iter().map(line).collect()
    }

    fn address(&self, id: u32) -> String {
        self.0.get(&id).map_or("nobody".to_owned(), |words| {
            address(words[ADDRESS].iter().flat_map(|word| word.to_ne_bytes())).to_string()
        })
    }
}

fn address(bytes: impl Iterator<Item = u8>) -> IpAddr {
    let mut octets = [0; 16];
    octets.iter_mut().zip(bytes).for_each(|(octet, byte)| *octet = byte);
    let address = Ipv6Addr::from(octets);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

fn of_words(words: [u32; 4]) -> IpAddr {
    address(words.into_iter().flat_map(u32::to_ne_bytes))
}

fn vips(maps: &Path) -> Result<Vec<String>> {
    let vips: HashMap<_, [u32; 4], u32> = open(maps, names::VIPS)?.try_into()?;
    vips.keys().map(|vip| Ok(format!("VIP {}", of_words(vip?)))).collect()
}

fn listeners(maps: &Path, targets: &Targets) -> Result<Vec<String>> {
    let (forwards, slots) =
        (entries::<u64>(maps, names::FORWARDS)?, entries::<[u32; 16]>(maps, names::SLOTS)?);
    let (policies, lists) = (entries::<[u64; 8]>(maps, names::POLICIES)?, allow_lists(maps)?);
    let mut lines = Vec::new();
    for words in entries::<[u64; 8]>(maps, names::LISTENERS)? {
        if words[2] <= ListenerLine::REMOVED {
            continue;
        }
        let (vip, port, protocol) = ListenerKey::from_words([words[0], words[1], words[2]]).parts();
        let listener = Listener::from_word(words[3]);
        let Some(forward) = forwards.get(listener.forward as usize) else {
            bail!("{listener:?} has no table")
        };
        let table = table(Forward(*forward), &slots, targets);
        let policy = policies.get(usize::from(listener.counter)).copied().unwrap_or_default();
        let lists = [policy[0] as u32, (policy[0] >> 32) as u32].map(|id| lists.get(&id));
        let Listener { idle, tracking, flags, .. } = listener;
        lines.push(format!(
            "listener {} {} {protocol}: {idle} {tracking} {flags:x}, hash {:x?}, limits {:x?}, from {lists:?}, to {table}",
            of_words(vip),
            u16::from_be(port),
            &words[4..],
            &policy[1..],
        ));
    }
    Ok(lines)
}

/// Who has the slots, in their order.
fn table(forward: Forward, slots: &[[u32; 16]], targets: &Targets) -> String {
    let indices = forward.first()..forward.first() + (1 << forward.log2());
    let slot = |index: u32| Slot(slots[(index / SLOTS_PER_LINE) as usize][(index % SLOTS_PER_LINE) as usize]);
    let owners: Vec<String> = indices.map(|index| targets.address(slot(index).current().0.into())).collect();
    owners.join(" ")
}

/// The prefixes of each allow-list, with the rules that they are of.
fn allow_lists(maps: &Path) -> Result<BTreeMap<u32, Vec<String>>> {
    let allowed: LpmTrie<_, AllowedKey, Allowance> = open(maps, names::ALLOWED)?.try_into()?;
    let mut lists: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for entry in allowed.iter() {
        let (key, allowance) = entry.context("reading the prefixes of allow-lists")?;
        let (id, is_ipv4) = key.data().parts();
        let (address, bits) = (of_words(key.data().address), allowance.bits());
        let prefix = format!("{address}/{bits} (IPv4: {is_ipv4}, rule {})", allowance.rule());
        lists.entry(id.0).or_default().push(prefix);
    }
    lists.values_mut().for_each(|prefixes| prefixes.sort());
    Ok(lists)
}
