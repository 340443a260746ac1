//! The eBPF program: loaded, its maps filled, attached; detached when it is dropped.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, ensure};
use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::{ProgramError, Xdp, xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::reason::Reason;
use lb_common::{maps, tunnel};
use rustix::io::Errno;
use tracing::{info, warn};

use super::addresses::{Link, Netlink};
use super::mss::{MssClamp, Segments};
use super::options::Configuration;
use super::report::{InterfaceReport, XdpMode};
use crate::programs::{self, Buffers};

/// The loaded program.
pub(super) struct Program {
    ebpf: Ebpf,
}

impl Program {
    /// Loads the program for these nodes and VIPs.
    pub(super) fn load(configuration: &Configuration) -> anyhow::Result<Program> {
        programs::with_best_buffers(|buffers| Program::load_for(configuration, buffers))
    }

    fn load_for(configuration: &Configuration, buffers: Buffers) -> anyhow::Result<Program> {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(tunnel::NODES, at_least(1, configuration.nodes.len()));
        loader.map_max_entries(tunnel::AGENT_VIPS, at_least(1, configuration.vips.len()));
        let ebpf = programs::load_maps(&mut loader, programs::agent()?, buffers);
        let mut program = Program { ebpf: ebpf.context("loading the agent's maps")? };
        program.fill(tunnel::NODES, &configuration.nodes)?;
        program.fill(tunnel::AGENT_VIPS, &configuration.vips)?;
        program.xdp()?.load().context("loading the agent's program")?;
        Ok(program)
    }

    /// The map stays the program's: one that is taken before the program is loaded would be closed again.
    fn fill(&mut self, name: &str, addresses: &BTreeSet<IpAddr>) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("the program has no map {name}"))?;
        let mut map: HashMap<_, [u32; 4], u32> = HashMap::try_from(map)?;
        for address in addresses {
            map.insert(key(*address), 1, 0).with_context(|| format!("writing {address} into {name}"))?;
        }
        Ok(())
    }

    /// Attaches the program: native if the driver can, generic if not.
    pub(super) fn attach(&mut self, link: &Link) -> anyhow::Result<InterfaceReport> {
        crate::xdp::expect_free(&link.name, link.xdp_program)?;
        let xdp = self.xdp()?;
        let mode = match xdp.attach_to_if_index(link.index, xdp::XdpMode::Driver) {
            Ok(_) => XdpMode::Native,
            Err(error) => {
                ensure!(!is_busy(&error), "another XDP program was attached to {} just now", link.name);
                warn!("{}: no native XDP, so generic: {:#}", link.name, anyhow::Error::from(error));
                xdp.attach_to_if_index(link.index, xdp::XdpMode::Skb)
                    .with_context(|| format!("attaching the agent's program to {}", link.name))?;
                XdpMode::Generic
            }
        };
        let program_id = xdp.info().context("asking for the program's id")?.id();
        info!("{}: {mode} XDP, program {program_id}", link.name);
        Ok(InterfaceReport { name: link.name.clone(), mode, program_id })
    }

    /// The limits of the segments that servers offer, to be kept current.
    pub(super) fn segments(&mut self, clamp: MssClamp, links: &[&Link]) -> anyhow::Result<Segments> {
        Segments::attach(&mut self.ebpf, clamp, links)
    }

    /// The ends of tunnels, to be kept current.
    pub(super) fn locals(&mut self) -> anyhow::Result<Locals> {
        let map = self.ebpf.take_map(tunnel::LOCALS).context("the program has no map of local addresses")?;
        Ok(Locals { map: HashMap::try_from(map)?, written: BTreeSet::new() })
    }

    /// The counters, readable for as long as anybody holds them.
    pub(super) fn counters(&mut self) -> anyhow::Result<Counters> {
        let map = self.ebpf.take_map(maps::REASON_COUNTERS).context("the program has no counters")?;
        Ok(Counters { map: PerCpuArray::try_from(map)? })
    }

    fn xdp(&mut self) -> anyhow::Result<&mut Xdp> {
        let program = self.ebpf.program_mut("agent").context("the object has no program `agent`")?;
        Ok(program.try_into()?)
    }
}

fn at_least(least: u32, count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(least)
}

fn is_busy(error: &ProgramError) -> bool {
    let busy = [Errno::BUSY, Errno::EXIST];
    matches!(error, ProgramError::SyscallError(call)
        if busy.iter().any(|errno| call.io_error.raw_os_error() == Some(errno.raw_os_error())))
}

fn key(address: IpAddr) -> [u32; 4] {
    let bytes = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (words, _) = bytes.as_chunks::<4>();
    [words[0], words[1], words[2], words[3]].map(u32::from_ne_bytes)
}

/// The addresses at which tunnels end: the host's own but the VIPs, loopback and link-local ones.
pub(super) struct Locals {
    map: HashMap<MapData, [u32; 4], u32>,
    written: BTreeSet<IpAddr>,
}

impl Locals {
    /// Makes the map hold the addresses that the host has now.
    pub(super) async fn refresh(
        &mut self,
        netlink: &Netlink,
        configuration: &Configuration,
    ) -> anyhow::Result<()> {
        let held = netlink.addresses().await?.into_iter().map(|held| held.address);
        let wanted: BTreeSet<IpAddr> =
            held.filter(|address| ends_tunnels(*address) && !configuration.vips.contains(address)).collect();
        for address in self.written.clone().difference(&wanted) {
            self.map.remove(&key(*address)).with_context(|| format!("forgetting address {address}"))?;
            self.written.remove(address);
            info!("tunnels end no more at {address}");
        }
        for address in &wanted {
            if !self.written.contains(address) {
                self.map.insert(key(*address), 1, 0).with_context(|| format!("adding address {address}"))?;
                self.written.insert(*address);
                info!("tunnels end at {address}");
            }
        }
        Ok(())
    }
}

fn ends_tunnels(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback()
}

/// The per-CPU counters by reason.
pub(super) struct Counters {
    map: PerCpuArray<MapData, u64>,
}

impl Counters {
    /// The sum over all processors.
    pub(super) fn count(&self, reason: Reason) -> anyhow::Result<u64> {
        let values = self.map.get(&(reason as u32), 0).context("reading the counters")?;
        Ok(values.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes_as_on_the_wire() {
        let bytes = |address: &str| key(address.parse().unwrap()).map(u32::to_ne_bytes).concat();
        assert_eq!(bytes("192.0.2.7"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(bytes("102:304:506:708::9"), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn tunnels_end_at_addresses_that_others_can_reach() {
        for (address, expected) in
            [("10.0.0.1", true), ("fc00::1", true), ("127.0.0.1", false), ("::1", false), ("fe80::1", false)]
        {
            assert_eq!(ends_tunnels(address.parse().unwrap()), expected, "{address}");
        }
    }
}
