//! The agent's programs under BPF_PROG_TEST_RUN, in XDP or tc, and the packets that they get.

use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, PerCpuArray, ProgramArray};
use aya::programs::{Program, ProgramFd, SchedClassifier, TestRun as _, Xdp};
use aya::{Ebpf, TestRunOptions};
use etherparse::{IpNumber, PacketBuilder};
use lab::test_run::test_run;
use lb_common::address_table::{self, AddressLine};
use lb_common::port_translation::{self, PORTS, PortKey};
use lb_common::reason::Reason;
use lb_common::tunnel::{
    AGENT_CONTINUATIONS, AGENT_TC_CONTINUATIONS, Continuation, KNOWN, PEER_WAYS, PeerWay, REACHED_PEERS,
    TRANSLATED,
};

pub(crate) const NODE: [u8; 4] = [10, 0, 0, 1];
pub(crate) const LOCAL: [u8; 4] = [10, 0, 0, 2];
pub(crate) const PEER: [u8; 4] = [10, 0, 0, 3];
pub(crate) const LAST_PEER: [u8; 4] = [10, 0, 0, 4];
pub(crate) const VIP: [u8; 4] = [192, 0, 2, 7];
pub(crate) const CLIENT: [u8; 4] = [198, 51, 100, 1];
pub(crate) const NODE_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const LOCAL_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub(crate) const PEER_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
pub(crate) const LAST_PEER_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
pub(crate) const VIP_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
pub(crate) const CLIENT_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// The MAC addresses of the way to every peer: the next hop's, and the interface's own.
pub(crate) const WAY: [[u8; 6]; 2] = [[0xa, 0, 0, 0, 0, 1], [0xa, 0, 0, 0, 0, 2]];

/// Where the kernel's test run lets packets come in: the loopback.
const LOOPBACK: u32 = 1;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Dropped,
    Passed,
    Sent,
    Redirected,
}

/// The programs of which kind run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Xdp,
    Tc,
}

/// The loaded programs with one node, one local address, two peers and one VIP of each version.
pub(crate) struct Agent {
    pub(crate) ebpf: Ebpf,
    kind: Kind,
}

impl Agent {
    pub(crate) fn load(kind: Kind) -> Option<Agent> {
        if !lab::require_root() {
            return None;
        }
        let object = lb_userspace::programs::agent().unwrap();
        let mut agent = Agent { ebpf: Ebpf::load(object).unwrap(), kind };
        agent.fill("NODES", NODE.into(), NODE_6.into());
        agent.fill("LOCALS", LOCAL.into(), LOCAL_6.into());
        agent.fill("AGENT_VIPS", VIP.into(), VIP_6.into());
        for (near, far) in [(PEER, PEER_6), (LAST_PEER, LAST_PEER_6)] {
            agent.add_peer(near.into());
            agent.add_peer(far.into());
        }
        let (entry, continuations) = match kind {
            Kind::Xdp => ("agent", AGENT_CONTINUATIONS),
            Kind::Tc => ("agent_tc", AGENT_TC_CONTINUATIONS),
        };
        agent.load_program(entry);
        for continuation in Continuation::ALL {
            let program = agent.load_program(&format!("{entry}{}", continuation.suffix()));
            let mut map: ProgramArray<_> =
                ProgramArray::try_from(agent.ebpf.map_mut(continuations).unwrap()).unwrap();
            map.set(continuation as u32, &program, 0).unwrap();
        }
        Some(agent)
    }

    fn load_program(&mut self, name: &str) -> ProgramFd {
        let descriptor = match self.ebpf.program_mut(name).unwrap() {
            Program::Xdp(program) => {
                program.load().unwrap();
                program.fd().unwrap().try_clone()
            }
            Program::SchedClassifier(program) => {
                program.load().unwrap();
                program.fd().unwrap().try_clone()
            }
            other => panic!("{:?}", other.prog_type()),
        };
        descriptor.unwrap()
    }

    pub(crate) fn fill(&mut self, map: &str, v4: IpAddr, v6: IpAddr) {
        for address in [v4, v6] {
            set_address(&mut self.ebpf, map, address, KNOWN);
        }
    }

    /// Makes an address a peer, to which the way is known.
    pub(crate) fn add_peer(&mut self, peer: IpAddr) {
        let map = self.ebpf.map_mut("PEERS").unwrap();
        let mut peers: LpmTrie<_, [u8; 16], u32> = LpmTrie::try_from(map).unwrap();
        peers.insert(&Key::new(128, mapped(peer)), 0, 0).unwrap();
        self.set_way(peer, Some(LOOPBACK));
    }

    /// Says by which interface a peer is reached, if by any.
    pub(crate) fn set_way(&mut self, peer: IpAddr, interface: Option<u32>) {
        let index = u32::from(mapped(peer)[15]) + if peer.is_ipv4() { 0 } else { 100 };
        if let Some(interface) = interface {
            let map = self.ebpf.map_mut(PEER_WAYS).unwrap();
            let mut ways: Array<_, PeerWay> = Array::try_from(map).unwrap();
            ways.set(index, PeerWay::new(interface, WAY[1], WAY[0]), 0).unwrap();
        }
        set_address(&mut self.ebpf, REACHED_PEERS, peer, interface.map_or(0, |_| index));
    }

    /// Translates a listener's port of both VIPs to a target's.
    pub(crate) fn translate(&mut self, protocol: u8, listener: u16, target: u16) {
        for vip in [IpAddr::from(VIP), VIP_6.into()] {
            set_address(&mut self.ebpf, "AGENT_VIPS", vip, TRANSLATED);
            let key = key(vip);
            let mut ports: HashMap<_, PortKey, u32> =
                HashMap::try_from(self.ebpf.map_mut(PORTS).unwrap()).unwrap();
            for (key, value) in port_translation::entries(key, protocol, listener, target) {
                ports.insert(key, value, 0).unwrap();
            }
        }
    }

    pub(crate) fn set_capabilities(&mut self, capabilities: u32) {
        let map = self.ebpf.map_mut("CAPABILITIES").unwrap();
        Array::<_, u32>::try_from(map).unwrap().set(0, capabilities, 0).unwrap();
    }

    /// What became of a packet, what it is then, and the one reason that was counted once.
    pub(crate) fn run(&self, frame: &[u8]) -> (Fate, Vec<u8>, Reason) {
        let before = self.counts();
        let (fate, packet) = self.run_uncounted(frame);
        let after = self.counts();
        let counted: Vec<Reason> = Reason::ALL
            .iter()
            .copied()
            .filter(|reason| after[*reason as usize] != before[*reason as usize])
            .collect();
        assert_eq!(counted.len(), 1, "{counted:?} for {frame:02x?}");
        assert_eq!(after[counted[0] as usize], before[counted[0] as usize] + 1);
        (fate, packet, counted[0])
    }

    fn run_uncounted(&self, frame: &[u8]) -> (Fate, Vec<u8>) {
        match self.kind {
            Kind::Xdp => {
                let program: &Xdp = self.ebpf.program("agent").unwrap().try_into().unwrap();
                let run = test_run(program, frame, 1).unwrap();
                let fates =
                    [None, Some(Fate::Dropped), Some(Fate::Passed), Some(Fate::Sent), Some(Fate::Redirected)];
                (fates[run.action as usize].unwrap(), run.packet)
            }
            Kind::Tc => {
                let program: &SchedClassifier = self.ebpf.program("agent_tc").unwrap().try_into().unwrap();
                let (action, packet) = run_classifier(program, frame);
                let fate = match action as i32 {
                    -1 => Fate::Passed,
                    2 => Fate::Dropped,
                    // XDP sends by the interface that a packet came by, and tc redirects there.
                    7 => Fate::Sent,
                    other => panic!("action {other}"),
                };
                (fate, packet)
            }
        }
    }

    pub(crate) fn survives(&self, frame: &[u8]) {
        let (fate, packet, reason) = self.run(frame);
        assert!([Fate::Dropped, Fate::Passed].contains(&fate), "{fate:?}, {reason:?}: {frame:02x?}");
        if !matches!(reason, Reason::AgentDecapsulated | Reason::AgentUnclaimed) {
            assert_eq!(packet, frame, "{reason:?}: the packet was changed");
        }
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        let counters: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map("REASON_COUNTERS").unwrap()).unwrap();
        let sum = |reason: &Reason| counters.get(&(*reason as u32), 0).unwrap().iter().sum();
        Reason::ALL.iter().map(sum).collect()
    }
}

/// The action that a tc program returned for a packet, and the packet.
pub(crate) fn run_classifier(program: &SchedClassifier, frame: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; frame.len() + 256];
    let options =
        TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
    let run = program.test_run(options).unwrap();
    out.truncate(run.data_size_out as usize);
    (run.return_value, out)
}

/// Writes an address into a table.
pub(crate) fn set_address(ebpf: &mut Ebpf, map: &str, address: IpAddr, value: u32) {
    let mut table: Array<_, AddressLine> = Array::try_from(ebpf.map_mut(map).unwrap()).unwrap();
    let (line, changed) =
        address_table::change(key(address), value, |line| table.get(&line, 0).unwrap()).unwrap();
    table.set(line, changed, 0).unwrap();
}

fn key(address: IpAddr) -> [u32; 4] {
    let bytes = mapped(address);
    std::array::from_fn(|at| u32::from_ne_bytes(bytes.as_chunks().0[at]))
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

pub(crate) fn ethernet(tags: usize, version: u8) -> Vec<u8> {
    let mut header = vec![4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2];
    for tag in 0..tags {
        header.extend(if tags == 2 && tag == 0 { [0x88, 0xa8] } else { [0x81, 0] });
        header.extend([0x20, 7]);
    }
    header.extend(if version == 4 { [0x08, 0] } else { [0x86, 0xdd] });
    header
}

/// A packet from the node to the host.
pub(crate) fn ip(version: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(NODE, LOCAL, 64)
    } else {
        PacketBuilder::ipv6(NODE_6, LOCAL_6, 64)
    };
    builder.write(&mut packet, IpNumber(protocol), payload).unwrap();
    packet
}

/// A UDP datagram with a GUE header of version 0 in it.
pub(crate) fn gue(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() + 12) as u16;
    let [high, low] = length.to_be_bytes();
    [&[0xc0, 1, 0x17, 0xc0, high, low, 0, 0, 0, protocol, 0, 0], payload].concat()
}

/// A UDP datagram that is GUE of version 1: the packet follows as it is.
pub(crate) fn gue_direct(payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16 + 8).to_be_bytes();
    [&[0xc0, 1, 0x17, 0xc0, high, low, 0, 0], payload].concat()
}

/// A client's datagram for the VIP.
pub(crate) fn datagram(version: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(CLIENT, VIP, 63)
    } else {
        PacketBuilder::ipv6(CLIENT_6, VIP_6, 63)
    };
    builder.udp(1234, 53).write(&mut packet, b"the client's payload").unwrap();
    packet
}

/// Sets the congestion field, with a checksum computed afresh.
pub(crate) fn set_congestion(version: u8, packet: &mut [u8], field: u8) {
    if version == 6 {
        packet[1] = packet[1] & 0xcf | field << 4;
        return;
    }
    packet[1] = packet[1] & 0xfc | field;
    let header = etherparse::Ipv4Header::from_slice(packet).unwrap().0;
    packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}
