//! The eBPF programs: loaded, their maps filled, attached; what is not pinned is detached when it is dropped.

use std::borrow::BorrowMut;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, MapData, PerCpuArray, ProgramArray};
use aya::programs::{Program as AnyProgram, ProgramFd, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::address_table::{self, AddressLine};
use lb_common::gue::probe::{self, Capabilities};
use lb_common::port_translation::{self, PORTS, PortKey};
use lb_common::reason::Reason;
use lb_common::tunnel::Continuation;
use lb_common::{maps, tunnel};
use tracing::info;

use super::addresses::Netlink;
use super::options::Configuration;
use super::pins::Pins;
use crate::programs::{self, Buffers};

/// The XDP program that packets begin with; the others' names begin with it.
pub(super) const XDP: &str = "agent";
/// The same for tc.
pub(super) const TC: &str = "agent_tc";
/// The program for what leaves.
pub(super) const EGRESS: &str = "agent_egress";

/// The loaded programs.
pub(super) struct Program {
    pub(super) ebpf: Ebpf,
}

impl Program {
    /// Loads the programs for this configuration: all of what comes in, and that for what leaves if it has anything to
    /// do. The counters are those of an earlier agent, if one has left any.
    pub(super) fn load(configuration: &Configuration, pins: &mut Pins) -> anyhow::Result<Program> {
        let counters = pins.counters(&maps::REASON_COUNTERS.to_lowercase(), Reason::COUNTERS as u32)?;
        programs::with_best_buffers(|buffers| Program::load_for(configuration, counters.as_deref(), buffers))
    }

    fn load_for(
        configuration: &Configuration,
        counters: Option<&Path>,
        buffers: Buffers,
    ) -> anyhow::Result<Program> {
        let mut loader = EbpfLoader::new();
        if let Some(path) = counters {
            loader.map_pin_path(maps::REASON_COUNTERS, path);
        }
        loader.map_max_entries(tunnel::PEERS, at_least(1, configuration.peers.len()));
        loader.map_max_entries(PORTS, at_least(1, 2 * configuration.ports.len()));
        let ebpf = programs::load_maps(&mut loader, programs::agent()?, buffers);
        let mut program = Program { ebpf: ebpf.context("loading the agent's maps")? };
        program.fill(configuration)?;
        program.load_kind(XDP, tunnel::AGENT_CONTINUATIONS)?;
        program.load_kind(TC, tunnel::AGENT_TC_CONTINUATIONS)?;
        if configuration.needs_egress() {
            program.classifier(EGRESS)?.load().with_context(|| loading(EGRESS))?;
        }
        Ok(program)
    }

    /// The maps stay the programs': one that is taken before a program is loaded would be closed again.
    fn fill(&mut self, configuration: &Configuration) -> anyhow::Result<()> {
        self.fill_addresses(tunnel::NODES, configuration.nodes.iter().map(|node| (*node, tunnel::KNOWN)))?;
        let translated = |vip: &IpAddr| configuration.ports.iter().any(|port| port.vip == *vip);
        let vips = configuration.vips.iter();
        self.fill_addresses(
            tunnel::AGENT_VIPS,
            vips.map(|vip| (*vip, if translated(vip) { tunnel::TRANSLATED } else { tunnel::KNOWN })),
        )?;
        let peers = self.map(tunnel::PEERS)?;
        let mut peers: LpmTrie<_, [u32; 4], u32> = LpmTrie::try_from(peers)?;
        for peer in &configuration.peers {
            peers.insert(&peer.key(), 0, 0).with_context(|| format!("writing peer {peer}"))?;
        }
        let mut ports: HashMap<_, PortKey, u32> = HashMap::try_from(self.map(PORTS)?)?;
        for port in &configuration.ports {
            let vip = key(port.vip);
            let pair =
                port_translation::entries(vip, port.protocol.number(), port.listener_port, port.target_port);
            for (key, value) in pair {
                ports.insert(key, value, 0).with_context(|| format!("writing port {port}"))?;
            }
        }
        let mut capabilities: Array<_, u32> = Array::try_from(self.map(probe::CAPABILITIES)?)?;
        capabilities.set(0, configuration.capabilities().0, 0).context("writing the agent's capabilities")
    }

    fn fill_addresses(
        &mut self,
        name: &str,
        addresses: impl Iterator<Item = (IpAddr, u32)>,
    ) -> anyhow::Result<()> {
        let mut table = AddressTable(Array::try_from(self.map(name)?)?);
        addresses.into_iter().try_for_each(|(address, value)| {
            table.set(address, value).with_context(|| format!("writing {address} into {name}"))
        })
    }

    fn map(&mut self, name: &str) -> anyhow::Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the program has no map {name}"))
    }

    /// Loads a program and those that go on for it, and puts these where it finds them.
    fn load_kind(&mut self, entry: &str, continuations: &str) -> anyhow::Result<()> {
        self.load_program(entry)?;
        for continuation in Continuation::ALL {
            let name = format!("{entry}{}", continuation.suffix());
            let program = self.load_program(&name)?;
            let mut map: ProgramArray<_> = ProgramArray::try_from(self.map(continuations)?)?;
            map.set(continuation as u32, &program, 0)
                .with_context(|| format!("placing the program `{name}`"))?;
        }
        Ok(())
    }

    fn load_program(&mut self, name: &str) -> anyhow::Result<ProgramFd> {
        let program =
            self.ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?;
        let descriptor = match program {
            AnyProgram::Xdp(program) => {
                program.load().with_context(|| loading(name))?;
                program.fd()?.try_clone()
            }
            AnyProgram::SchedClassifier(program) => {
                program.load().with_context(|| loading(name))?;
                program.fd()?.try_clone()
            }
            _ => bail!("`{name}` is neither an XDP nor a tc program"),
        };
        descriptor.with_context(|| format!("duplicating the descriptor of `{name}`"))
    }

    /// The XDP program to attach.
    pub(super) fn xdp(&mut self) -> anyhow::Result<&mut Xdp> {
        let program = self.ebpf.program_mut(XDP).context("the object has no program `agent`")?;
        Ok(program.try_into()?)
    }

    /// A tc program to attach.
    pub(super) fn classifier(&mut self, name: &str) -> anyhow::Result<&mut SchedClassifier> {
        let program =
            self.ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?;
        Ok(program.try_into()?)
    }

    /// The ends of tunnels, to be kept current.
    pub(super) fn locals(&mut self) -> anyhow::Result<Locals> {
        let map = self.ebpf.take_map(tunnel::LOCALS).context("the program has no map of local addresses")?;
        Ok(Locals { table: AddressTable(Array::try_from(map)?), written: BTreeSet::new() })
    }

    /// The counters, readable for as long as anybody holds them.
    pub(super) fn counters(&mut self) -> anyhow::Result<Counters> {
        let map = self.ebpf.take_map(maps::REASON_COUNTERS).context("the program has no counters")?;
        Ok(Counters { map: PerCpuArray::try_from(map)? })
    }
}

fn loading(name: &str) -> String {
    format!("loading the agent's program `{name}`")
}

impl Configuration {
    /// Whether anything is to be done with what leaves.
    pub(super) fn needs_egress(&self) -> bool {
        self.mss_clamp != super::MssClamp::Off || !self.ports.is_empty()
    }

    /// What nodes are told of this agent.
    pub(super) fn capabilities(&self) -> Capabilities {
        let always = Capabilities::PORT_TRANSLATION.and(Capabilities::GUE_VERSION_1);
        if self.peers.is_empty() { always } else { always.and(Capabilities::SECOND_CHANCE) }
    }
}

fn at_least(least: u32, count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(least)
}

/// A table of addresses, to be written.
pub(super) struct AddressTable<T>(pub(super) Array<T, AddressLine>);

impl<T: BorrowMut<MapData>> AddressTable<T> {
    /// Gives an address a value; zero takes it out.
    pub(super) fn set(&mut self, address: IpAddr, value: u32) -> anyhow::Result<()> {
        let read = |line| self.0.get(&line, 0).unwrap_or_default();
        let (line, changed) = address_table::change(key(address), value, read)
            .context("the table has no room left: about a thousand addresses are what it is made for")?;
        Ok(self.0.set(line, changed, 0)?)
    }
}

/// An address as a key of the agent's maps.
pub(super) fn key(address: IpAddr) -> [u32; 4] {
    let bytes = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (words, _) = bytes.as_chunks::<4>();
    [words[0], words[1], words[2], words[3]].map(u32::from_ne_bytes)
}
/// The addresses at which tunnels end: the host's own but the VIPs, loopback and link-local ones.
pub(super) struct Locals {
    table: AddressTable<MapData>,
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
            self.table.set(*address, 0).with_context(|| format!("forgetting address {address}"))?;
            self.written.remove(address);
            info!("tunnels end no more at {address}");
        }
        for address in &wanted {
            if !self.written.contains(address) {
                self.table
                    .set(*address, tunnel::KNOWN)
                    .with_context(|| format!("adding address {address}"))?;
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
