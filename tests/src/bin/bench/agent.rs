//! The agent's XDP programs as `sluice agent` would load them on a target, with one node, one peer and one VIP of each
//! version, and the frames that they get.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, PerCpuArray, ProgramArray};
use aya::programs::{ProgramFd, Xdp};
use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};
use lb_common::Reason;
use lb_common::address_table::{self, AddressLine};
use lb_common::bench::{LISTENER_PORT, NODE_MAC, RESTORED, ROUTER_MAC};
use lb_common::encapsulation::GUE_PORT;
use lb_common::maps::REASON_COUNTERS;
use lb_common::tunnel::{self, Continuation, PEER_WAYS, PeerWay, REACHED_PEERS};

use crate::harness::INTERFACE;
use crate::scenario::Family;

/// The entry program.
const ENTRY: &str = "agent";
/// The index of the only peers' ways.
const WAY: u32 = 1;

/// Who sends or receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Node,
    Target,
    Peer,
    Stranger,
    Vip,
    Client,
}

impl End {
    /// Its address.
    pub(crate) fn address(self, family: Family) -> IpAddr {
        let (v4, v6) = match self {
            End::Node => ([10, 202, 0, 1], [0xfd02, 1]),
            End::Target => ([10, 203, 0, 1], [0xfd03, 1]),
            End::Peer => ([10, 203, 0, 2], [0xfd03, 2]),
            End::Stranger => ([10, 203, 0, 9], [0xfd03, 9]),
            End::Vip => ([172, 16, 0, 1], [0xfc00, 1]),
            End::Client => ([198, 51, 100, 1], [0xfd10, 1]),
        };
        let [network, host] = v6;
        match family {
            Family::Ipv4 => Ipv4Addr::from(v4).into(),
            Family::Ipv6 => Ipv6Addr::new(network, 0, 0, 0, 0, 0, 0, host).into(),
        }
    }
}

/// The loaded programs.
pub(crate) struct Agent {
    ebpf: Ebpf,
}

impl Agent {
    /// Loads them and fills their maps.
    ///
    /// # Errors
    /// If the kernel refuses something.
    pub(crate) fn load() -> Result<Agent> {
        let ebpf = Ebpf::load(lb_userspace::programs::agent()?).context("making the agent's maps")?;
        let mut agent = Agent { ebpf };
        for family in [Family::Ipv4, Family::Ipv6] {
            agent.know(tunnel::NODES, End::Node.address(family), tunnel::KNOWN)?;
            agent.know(tunnel::LOCALS, End::Target.address(family), tunnel::KNOWN)?;
            agent.know(tunnel::AGENT_VIPS, End::Vip.address(family), tunnel::KNOWN)?;
            agent.know(REACHED_PEERS, End::Peer.address(family), WAY)?;
        }
        let mut ways: Array<_, PeerWay> = Array::try_from(agent.map(PEER_WAYS)?)?;
        ways.set(WAY, PeerWay::new(INTERFACE, NODE_MAC, ROUTER_MAC), 0).context("writing the peers' way")?;
        agent.load_program(ENTRY)?;
        for continuation in Continuation::ALL {
            let program = agent.load_program(&format!("{ENTRY}{}", continuation.suffix()))?;
            let mut programs: ProgramArray<_> =
                ProgramArray::try_from(agent.map(tunnel::AGENT_CONTINUATIONS)?)?;
            programs.set(continuation as u32, &program, 0).context("placing a continuation")?;
        }
        Ok(agent)
    }

    /// The program that packets begin with.
    pub(crate) fn entry(&self) -> Result<&Xdp> {
        Ok(self.ebpf.program(ENTRY).context("the agent has no entry program")?.try_into()?)
    }

    /// How many packets ended for this reason.
    pub(crate) fn count(&self, reason: Reason) -> Result<u64> {
        let map = self.ebpf.map(REASON_COUNTERS).context("the agent has no counters")?;
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        Ok(counters.get(&(reason as u32), 0).context("reading the agent's counters")?.iter().sum())
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the agent has no map {name}"))
    }

    fn know(&mut self, table: &str, address: IpAddr, value: u32) -> Result<()> {
        let mut table: Array<_, AddressLine> = Array::try_from(self.map(table)?)?;
        let read = |line| table.get(&line, 0).unwrap_or_default();
        let (line, changed) =
            address_table::change(key(address), value, read).context("an empty table has room")?;
        table.set(line, changed, 0).with_context(|| format!("writing {address}"))
    }

    fn load_program(&mut self, name: &str) -> Result<ProgramFd> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().with_context(|| format!("loading the agent's program {name}"))?;
        Ok(program.fd()?.try_clone()?)
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn key(address: IpAddr) -> [u32; 4] {
    let bytes = octets(address);
    std::array::from_fn(|at| u32::from_ne_bytes(bytes.as_chunks().0[at]))
}

/// How a packet gets to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// An outer IP header alone.
    Ip,
    /// UDP and GUE without a chain.
    Gue,
    /// UDP and GUE with a chain of one target, the peer.
    Chain,
    /// The same after it was handed on once: no target is left.
    EndOfChain,
}

/// A frame for the target from `source`, with a client's packet inside.
pub(crate) fn frame(outer: Family, source: End, carrier: Carrier, inner: &[u8]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let link = PacketBuilder::ethernet2(ROUTER_MAC, NODE_MAC);
    let ip = between(link, source.address(outer), End::Target.address(outer));
    let mut frame = Vec::new();
    let written = match carrier {
        Carrier::Ip => ip.write(&mut frame, IpNumber(protocol), inner),
        _ => ip
            .udp(49_152, GUE_PORT)
            .write(&mut frame, &[gue(outer, carrier, protocol), inner.to_vec()].concat()),
    };
    written.expect("a short packet has room for its lengths");
    frame.resize(frame.len().max(RESTORED), 0);
    frame
}

fn gue(outer: Family, carrier: Carrier, protocol: u8) -> Vec<u8> {
    let address = match End::Peer.address(outer) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let none = vec![0; address.len()];
    let words = 1 + 2 * address.len() as u8 / 4;
    match carrier {
        Carrier::Ip => Vec::new(),
        Carrier::Gue => vec![0, protocol, 0, 0],
        Carrier::Chain => [vec![words, protocol, 0, 0, 1, 0, 1, 0], address, none].concat(),
        Carrier::EndOfChain => [vec![words, protocol, 0, 0, 1, 1, 0, 0], none.clone(), none].concat(),
    }
}

/// A client's segment to the VIP.
pub(crate) fn segment(family: Family, client_port: u16, flag: Flag) -> Vec<u8> {
    let mut tcp = etherparse::TcpHeader::new(client_port, LISTENER_PORT, 1, 1024);
    (tcp.syn, tcp.ack) = (flag == Flag::Syn, flag == Flag::Ack);
    let mut packet = Vec::new();
    let (client, vip) = (End::Client.address(family), End::Vip.address(family));
    let builder = match (client, vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => PacketBuilder::ipv4(client.octets(), vip.octets(), 63),
        (client, vip) => PacketBuilder::ipv6(octets(client), octets(vip), 63),
    };
    builder
        .tcp_header(tcp)
        .write(&mut packet, b"synthetic.")
        .expect("a short packet has room for its lengths");
    packet
}

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    Syn,
    Ack,
}

fn between(
    link: PacketBuilderStep<etherparse::Ethernet2Header>,
    source: IpAddr,
    destination: IpAddr,
) -> PacketBuilderStep<etherparse::IpHeaders> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), 64),
        (source, destination) => link.ipv6(octets(source), octets(destination), 64),
    }
}
