//! What the agent changes on the host, and its undoing: VIPs on lo, ARP, the reverse-path filter.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use tracing::{error, info, warn};

use super::addresses::{Address, Link, Netlink};
use super::directory::{Journal, RuntimeDirectory};
use super::options::Configuration;
use super::sysctl;

/// The links with these names.
pub(super) fn interfaces<'a>(links: &'a [Link], names: &BTreeSet<String>) -> anyhow::Result<Vec<&'a Link>> {
    names.iter().map(|name| interface(links, name)).collect()
}

fn interface<'a>(links: &'a [Link], name: &str) -> anyhow::Result<&'a Link> {
    links.iter().find(|link| link.name == name).with_context(|| {
        let there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        format!("there is no interface {name}; there are {}", there.join(", "))
    })
}

/// VIPs that lo is to hold, and that the journal names already.
pub(super) struct Claim {
    loopback: u32,
    /// Those that it does not hold yet.
    vips: Vec<IpAddr>,
    journal: Journal,
    /// What an earlier agent did, and this one does without.
    unwanted: Journal,
}

/// Makes the host fit for VIPs: first of all it must not answer ARP for them. The VIPs themselves come last, by
/// [`Claim::hold`], when packets for them can be received. What an earlier agent has left in place stays so.
pub(super) async fn prepare(
    configuration: &Configuration,
    links: &[Link],
    directory: &RuntimeDirectory,
    netlink: &Netlink,
) -> anyhow::Result<Claim> {
    let loopback = loopback(links)?;
    let old = directory.journal()?;
    let names = configuration.interfaces.iter().map(String::as_str);
    let settings = sysctl::plan(names, |name| sysctl::read_without(name, &old.settings))?;
    let held = netlink.addresses().await?;
    let is_held = |vip: &IpAddr| held.iter().any(|held| held.address == *vip);
    let is_ours = |vip: &IpAddr| old.addresses.contains(vip) || !is_held(vip);
    let addresses: Vec<_> = configuration.vips.iter().copied().filter(is_ours).collect();
    warn_of_vips_elsewhere(configuration, &held, links, loopback);
    let unwanted = Journal {
        settings: old.settings.into_iter().filter(|old| !settings.contains(old)).collect(),
        addresses: old.addresses.into_iter().filter(|old| !addresses.contains(old)).collect(),
    };
    let journal = Journal { settings, addresses };
    directory.write(&Journal::all([&unwanted, &journal]))?;
    for change in &journal.settings {
        if change.apply()? {
            info!("{} was {}, is {}", change.name, change.before, change.set);
        }
    }
    let missing = journal.addresses.iter().copied().filter(|vip| !is_held(vip)).collect();
    Ok(Claim { loopback: loopback.index, vips: missing, journal, unwanted })
}

impl Claim {
    /// Adds the VIPs to lo, and undoes what is not wanted any more.
    pub(super) async fn hold(self, directory: &RuntimeDirectory, netlink: &Netlink) -> anyhow::Result<()> {
        for vip in self.vips {
            netlink.add(vip, self.loopback).await?;
            info!("{vip} is on the loopback");
        }
        let left = undo(&self.unwanted, netlink).await?;
        directory.write(&Journal::all([&left, &self.journal]))
    }
}

fn loopback(links: &[Link]) -> anyhow::Result<&Link> {
    let Some(link) = links.iter().find(|link| link.is_loopback) else {
        bail!("the host has no loopback interface to hold the VIPs");
    };
    ensure!(link.is_up, "the loopback interface {0} is down: `ip link set {0} up`", link.name);
    Ok(link)
}

fn warn_of_vips_elsewhere(configuration: &Configuration, held: &[Address], links: &[Link], loopback: &Link) {
    let is_elsewhere =
        |held: &&Address| held.interface != loopback.index && configuration.vips.contains(&held.address);
    for Address { address, interface } in held.iter().filter(is_elsewhere) {
        let name = links.iter().find(|link| link.index == *interface).map_or("?", |link| &link.name);
        warn!(
            "VIP {address} is on {name}, where the host answers ARP and neighbour discovery for it: move it to lo"
        );
    }
}

/// Undoes what the journal names; what can't be undone stays in it, and is an error.
pub(super) async fn restore(directory: &RuntimeDirectory, netlink: &Netlink) -> anyhow::Result<()> {
    let left = undo(&directory.journal()?, netlink).await?;
    directory.write(&left)?;
    ensure!(left.is_empty(), "the host is not as it was; see the errors above, the next start tries again");
    Ok(())
}

/// Returns what could not be undone.
async fn undo(journal: &Journal, netlink: &Netlink) -> anyhow::Result<Journal> {
    let mut left = Journal::default();
    if !journal.addresses.is_empty() {
        let links = netlink.links().await?;
        let loopback = links.iter().find(|link| link.is_loopback).map_or(1, |link| link.index);
        for vip in &journal.addresses {
            if let Err(error) = netlink.remove(*vip, loopback).await {
                error!("{error:#}");
                left.addresses.push(*vip);
            }
        }
    }
    for change in journal.settings.iter().rev() {
        if let Err(error) = change.undo() {
            error!("{error:#}");
            left.settings.insert(0, change.clone());
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, is_loopback: bool, is_up: bool) -> Link {
        Link { index, name: name.into(), is_loopback, is_up, mtu: 1500, xdp_program: None }
    }

    #[test]
    fn an_unknown_interface_is_refused_with_those_that_exist() {
        let links = [link(1, "lo", true, true), link(2, "eth0", false, true)];
        let message = interfaces(&links, &["eth1".to_string()].into()).unwrap_err().to_string();
        assert_eq!(message, "there is no interface eth1; there are lo, eth0");
    }

    #[test]
    fn a_loopback_that_is_down_is_told_with_its_remedy() {
        let links = [link(1, "lo", true, false)];
        assert!(loopback(&links).unwrap_err().to_string().contains("ip link set lo up"));
    }
}
