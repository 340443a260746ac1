//! A map that nobody can write any more but the programs that use it: what a controller meets when a write fails.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use aya::maps::MapInfo;

/// `BPF_MAP_FREEZE` of linux/bpf.h (since Linux 5.2): the `bpf` system call refuses to change the map for good.
const MAP_FREEZE: libc::c_int = 22;

/// Freezes the map of this name that a process has a descriptor of.
///
/// # Errors
/// If there is none, or it is mapped into a process's memory.
pub fn freeze(process: u32, name: &str) -> Result<()> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo")).context("listing its descriptors")?;
    // A descriptor of a connection may be gone by now.
    let texts = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let is_it = |map: &MapInfo| map.name_as_str() == Some(name);
    let mut maps = texts.filter_map(|text| MapInfo::from_id(map_id(&text)?).ok());
    let map = maps.find(is_it).with_context(|| format!("process {process} has no map {name}"))?;
    let descriptor = map.fd()?;
    // union bpf_attr: the call takes the descriptor, and nothing else of it is set.
    let mut attributes = [0_u32; 32];
    attributes[0] = u32::try_from(descriptor.as_fd().as_raw_fd())?;
    let size = std::mem::size_of_val(&attributes);
    // SAFETY: the attributes are as long as said, outlive the call, and name a descriptor that is open.
    let failed = unsafe { libc::syscall(libc::SYS_bpf, MAP_FREEZE, attributes.as_ptr(), size) } != 0;
    let error = failed.then(std::io::Error::last_os_error);
    error.map_or(Ok(()), Err).with_context(|| format!("freezing {name}"))
}

fn map_id(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
}
