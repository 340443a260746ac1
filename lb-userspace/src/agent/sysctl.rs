//! The kernel settings that a target needs, planned from those that it has.
//!
//! | setting | wanted | why |
//! | --- | --- | --- |
//! | arp_ignore | at least 1 | an address on lo is not answered for on another interface |
//! | arp_announce | at least 2 | the host never asks in the VIP's name, which would teach neighbours a wrong MAC |
//! | rp_filter | not strict | clients' packets come by the nodes' way, their answers may go by another |
//!
//! The kernel takes the greater of `conf/all` and the interface's value for each of them. IPv6 needs none:
//! neighbours are only answered for addresses of the interface itself (or proxied ones), never for those on lo,
//! and there is no reverse-path filter outside netfilter.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

const RP_FILTER_STRICT: u32 = 1;
const RP_FILTER_LOOSE: u32 = 2;

/// One setting of the kernel that the agent changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Its path below `/proc/sys`.
    pub(super) name: String,
    /// The value that it had.
    pub(super) before: u32,
    /// The value that the agent gives it.
    pub(super) set: u32,
}

/// What has to change for these interfaces, given `read`, which tells the values.
pub(super) fn plan<'a>(
    interfaces: impl IntoIterator<Item = &'a str>,
    read: impl Fn(&str) -> anyhow::Result<u32>,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    at_least(&mut changes, &read, "all", "arp_ignore", 1)?;
    at_least(&mut changes, &read, "all", "arp_announce", 2)?;
    let for_all = read(&name("all", "rp_filter"))?;
    for interface in interfaces {
        at_least(&mut changes, &read, interface, "arp_ignore", 1)?;
        at_least(&mut changes, &read, interface, "arp_announce", 2)?;
        if for_all.max(read(&name(interface, "rp_filter"))?) == RP_FILTER_STRICT {
            at_least(&mut changes, &read, interface, "rp_filter", RP_FILTER_LOOSE)?;
        }
    }
    Ok(changes)
}

fn at_least(
    changes: &mut Vec<Change>,
    read: &impl Fn(&str) -> anyhow::Result<u32>,
    interface: &str,
    setting: &str,
    wanted: u32,
) -> anyhow::Result<()> {
    let name = name(interface, setting);
    let before = read(&name)?;
    if before < wanted {
        changes.push(Change { name, before, set: wanted });
    }
    Ok(())
}

fn name(interface: &str, setting: &str) -> String {
    format!("net/ipv4/conf/{interface}/{setting}")
}

/// The value of the setting.
pub(super) fn read(name: &str) -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(path(name)).with_context(|| format!("reading /proc/sys/{name}"))?;
    text.trim().parse().with_context(|| format!("/proc/sys/{name} is no number: {text:?}"))
}

/// The value that the setting would have without these changes, as far as they are in force.
pub(super) fn read_without(name: &str, changes: &[Change]) -> anyhow::Result<u32> {
    let value = read(name)?;
    let made = changes.iter().find(|change| change.name == name && change.set == value);
    Ok(made.map_or(value, |change| change.before))
}

impl Change {
    /// Makes the change; returns whether it was not made already.
    pub(super) fn apply(&self) -> anyhow::Result<bool> {
        if read(&self.name)? == self.set {
            return Ok(false);
        }
        std::fs::write(path(&self.name), self.set.to_string()).with_context(|| {
            format!("setting /proc/sys/{} to {} (is /proc/sys mounted read-only?)", self.name, self.set)
        })?;
        Ok(true)
    }

    /// Puts the old value back, unless somebody else has changed it since or the interface is gone.
    pub(super) fn undo(&self) -> anyhow::Result<()> {
        let text = match std::fs::read_to_string(path(&self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("reading /proc/sys/{}", self.name))?,
        };
        if text.trim() != self.set.to_string() {
            return Ok(());
        }
        std::fs::write(path(&self.name), self.before.to_string())
            .with_context(|| format!("setting /proc/sys/{} back to {}", self.name, self.before))
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(values: &[(&str, u32)]) -> Vec<(String, u32)> {
        let read = |name: &str| {
            let short = name.strip_prefix("net/ipv4/conf/").unwrap();
            Ok(values.iter().find(|(name, _)| *name == short).map_or(0, |(_, value)| *value))
        };
        let changes = plan(["eth0.7"], read).unwrap();
        changes.into_iter().map(|change| (change.name.replace("net/ipv4/conf/", ""), change.set)).collect()
    }

    fn arp() -> Vec<(String, u32)> {
        ["all", "eth0.7"]
            .into_iter()
            .flat_map(|at| [(format!("{at}/arp_ignore"), 1), (format!("{at}/arp_announce"), 2)])
            .collect()
    }

    #[test]
    fn a_fresh_host_learns_not_to_answer_arp_for_a_vip() {
        assert_eq!(planned(&[]), arp());
    }

    #[test]
    fn a_strict_reverse_path_filter_becomes_loose_wherever_it_was_set() {
        let loose = [arp(), vec![("eth0.7/rp_filter".into(), 2)]].concat();
        assert_eq!(planned(&[("all/rp_filter", 1)]), loose);
        assert_eq!(planned(&[("eth0.7/rp_filter", 1)]), loose);
        assert_eq!(planned(&[("all/rp_filter", 2)]), arp());
        assert_eq!(planned(&[("all/rp_filter", 1), ("eth0.7/rp_filter", 2)]), arp());
        assert_eq!(planned(&[("all/rp_filter", 2), ("eth0.7/rp_filter", 1)]), arp());
    }

    #[test]
    fn what_is_already_so_or_stricter_stays() {
        let values = [("all/arp_ignore", 2), ("eth0.7/arp_ignore", 1), ("all/arp_announce", 2)];
        assert_eq!(planned(&values), [("eth0.7/arp_announce".to_string(), 2)]);
    }
}
