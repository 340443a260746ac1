//! What the data plane's maps take of the machine's memory, as the kernel accounts it: `memlock` of each map's
//! `/proc/self/fdinfo` (since Linux 6.4 what the map has really been given, counters of all processors included).

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use lb_common::hash::HashKey;
use lb_userspace::config;
use lb_userspace::data_plane::{Capacity, DataPlane, Writer};
use lb_userspace::model::Desired;
use lb_userspace::reconcile::Reconciler;
use serde_json::{Value, json};

const GROUPS: u16 = 1000;
const TARGETS: u16 = 16;
const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// The most that is aimed at, in MiB: as it is by default, and with [`GROUPS`] groups of [`TARGETS`] targets.
const AIMS: [f64; 2] = [64.0, 128.0];

/// Prints the table.
///
/// # Errors
/// If the kernel refuses a map, or the groups do not fit.
pub(crate) fn report() -> Result<()> {
    println!("\nMemory of all maps, MiB");
    let before = maps_of_this_process()?;
    let capacity = Capacity::default();
    let mut plane = DataPlane::load(capacity, HashKey { k0: 1, k1: 2 })?;
    row("the default configuration", total(&plane, &before)?, AIMS[0]);
    let reconciler = Reconciler::new(desired()?, capacity, Instant::now())?;
    Writer::default().write(&mut plane.maps, &reconciler.contents(), reconciler.leaving())?;
    let name = format!("with {GROUPS} groups of {TARGETS} targets");
    row(&name, total(&plane, &before)?, AIMS[1]);
    Ok(())
}

fn row(name: &str, bytes: u64, aim: f64) {
    let size = bytes as f64 / MEBIBYTE;
    let verdict = if size <= aim { "met" } else { "missed" };
    println!("  {name:<36} {size:>16.1}  ≤ {aim}: {verdict}");
}

/// What has been given to the maps of the balancer's program, and to all others that were not there `before`: the
/// memory-mapped ones have no descriptor any more.
fn total(plane: &DataPlane, before: &BTreeSet<u32>) -> Result<u64> {
    let used = plane.balancer()?.info()?.map_ids()?.context("the kernel does not tell a program's maps")?;
    let mut maps = maps_of_this_process()?;
    maps.retain(|id| !before.contains(id));
    maps.extend(used);
    maps.into_iter().map(memory_of).sum()
}

/// The ids of the maps that this process has a descriptor of.
fn maps_of_this_process() -> Result<BTreeSet<u32>> {
    let entries = fs::read_dir("/proc/self/fdinfo").context("listing this process's descriptors")?;
    // The descriptor that lists them is gone when it is its turn.
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    Ok(texts.filter_map(|text| u32::try_from(number(&text, "map_id")?).ok()).collect())
}

fn memory_of(id: u32) -> Result<u64> {
    let map = MapInfo::from_id(id)?.fd()?;
    let path = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    number(&text, "memlock").with_context(|| format!("{path} does not tell a map's memory"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

/// A load balancer with a listener for each of the groups.
fn desired() -> Result<Desired> {
    let address = |group: u16, target: u16| {
        let number = u32::from(group) * u32::from(TARGETS) + u32::from(target);
        format!("10.{}.{}.{}", 1 + number / 62_500, number / 250 % 250, number % 250 + 1)
    };
    let group = |group: u16| {
        let targets: Vec<Value> =
            (0..TARGETS).map(|target| json!({ "id": address(group, target) })).collect();
        json!({ "name": format!("group{group}"), "protocol": "TCP", "port": 1000 + group, "targets": targets })
    };
    let listener = |group: u16| json!({ "protocol": "TCP", "port": 1000 + group, "forward": [ { "target_group": format!("group{group}") } ] });
    let text = json!({
        "node": { "name": "bench", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [ { "name": "many", "vips": ["10.200.1.1", "fc00:1::1"],
            "listeners": (0..GROUPS).map(listener).collect::<Vec<_>>() } ],
        "target_groups": (0..GROUPS).map(group).collect::<Vec<_>>()
    });
    Ok(config::parse("bench.json", &text.to_string())?)
}
