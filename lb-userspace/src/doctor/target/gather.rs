//! Looks at the target.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::{Agent, Facts, Port, Settings};
use crate::doctor::{kernel, listening};
use crate::next_hop::Interface;
use crate::status::client;

/// All that can be seen of the target whose agent serves on `socket`; counters are looked at for so long.
///
/// # Errors
/// If the kernel does not answer.
pub async fn gather(socket: &Path, watch: Duration, ports: Vec<Port>) -> anyhow::Result<Facts> {
    let before = agent(socket).await;
    let filtered = kernel::reverse_path_drops();
    sleep(watch).await;
    let (interfaces, addresses) = kernel::links().await?;
    let agent = agent(socket).await;
    let packets = match (&before, &agent) {
        (Ok(before), Ok(agent)) => rise(&before.packets, &agent.packets),
        _ => BTreeMap::new(),
    };
    let filtered = kernel::reverse_path_drops().zip(filtered);
    Ok(Facts {
        agent,
        settings: interfaces.values().filter_map(settings).collect(),
        interfaces,
        addresses,
        reverse_path_drops: filtered.map_or(0, |(now, before)| now.saturating_sub(before)),
        listening: listening::sockets(),
        ports,
        packets,
    })
}

async fn agent(socket: &Path) -> Result<Agent, String> {
    client::agent(socket).await.map_err(|error| format!("{error:#}"))
}

fn rise(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let rise = |(name, count): (&String, &u64)| {
        (name.clone(), count.saturating_sub(before.get(name).copied().unwrap_or_default()))
    };
    after.iter().map(rise).filter(|(_, packets)| *packets > 0).collect()
}

fn settings(interface: &Interface) -> Option<(String, Settings)> {
    let read = |setting| kernel::ipv4_setting(&interface.name, setting);
    let settings = Settings {
        arp_ignore: read("arp_ignore")?,
        arp_announce: read("arp_announce")?,
        rp_filter: read("rp_filter")?,
    };
    Some((interface.name.clone(), settings))
}
