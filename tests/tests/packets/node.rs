//! The loaded balancer with the maps that all cases share, and what it counted and remembered.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use lb_common::flow_log::Share;
use lb_common::listener::{Listener, ListenerKey, QuicServerKey};
use lb_common::packet::{MacAddress, ServerId};
use lb_common::{ChainWord, Slot, Target, TargetId};
use lb_userspace::data_plane::{Capacity, DataPlane, Explained, FlowRecords};
use lb_userspace::model::{Oversized, Policy};
use lb_userspace::programs::Buffers;

use crate::client::{Family, KEY, NODE_MAC};
use crate::policy::policies;
use crate::program::{Outcome, Program};
use crate::remote::{NODE_INTERFACE, Remote};

/// Port 80, TCP: flows are remembered in changed slots.
pub const TCP: u16 = 1;
/// Port 80, UDP: the same.
pub const UDP: u16 = 2;
/// Port 81, UDP: all flows are remembered.
pub const UDP_ALWAYS: u16 = 3;
/// Port 82, UDP: none is.
pub const UDP_NEVER: u16 = 4;
/// Port 83, UDP: in changed slots, until the next tick.
pub const UDP_BRIEF: u16 = 8;
/// Port 90, TCP: its table is not written yet.
pub const NO_TABLE: u16 = 5;
/// All ports of VIP 2, TCP.
pub const WILDCARD: u16 = 6;
/// Port 80 of VIP 2, TCP, which goes before the wildcard.
pub const EXACT: u16 = 7;

/// Port 443 of VIP 7, UDP: QUIC.
pub const QUIC: u16 = 20;
/// Port 444 of VIP 7, UDP: QUIC, and all flows are remembered.
pub const QUIC_ALWAYS: u16 = 21;
/// Port 445 of VIP 7, UDP: QUIC, and no flow is remembered.
pub const QUIC_NEVER: u16 = 22;
/// Port 80 of VIP 7, TCP and UDP: a client's connections stay together.
pub const AFFINITY: u16 = 23;
/// All ports of VIP 7, UDP: GUE's is left alone.
pub const ANY_UDP: u16 = 24;

/// Port 80 of VIP 9, TCP and UDP: each serves some hosts only ([`crate::policy`]).
pub const ALLOWED: u16 = 30;
/// Port 443 of VIP 9, UDP: QUIC, likewise.
pub const ALLOWED_QUIC: u16 = 31;
/// All ports of VIP 9, UDP: likewise, and GUE's is left alone.
pub const ALLOWED_ANY_UDP: u16 = 32;
/// Port 82 of VIP 9, TCP: new flows are counted.
pub const LIMITED: u16 = 33;
/// A QUIC listener that leaves GUE alone, as one of any port does.
const QUIC_LEAVING_TUNNELS: u16 = 34;

/// The forward action of all listeners but one.
const FORWARD: u32 = 1;
const FORWARD_WITHOUT_TABLE: u32 = 2;
/// Binary logarithm of the number of slots.
const TABLE_LOG2: u8 = 4;
/// Slots of the table.
pub const SLOTS: usize = 1 << TABLE_LOG2;

/// What has been counted: a line for each counter that is not zero.
pub type Counts = BTreeMap<String, u64>;

/// Counters, entries of the flow table and of the fragment table in their order, and the slots' marks.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    pub counts: Counts,
    flows: Vec<u64>,
    fragments: Vec<u64>,
    marks: Vec<Option<u16>>,
}

/// The node under test.
pub struct Node {
    data_plane: DataPlane,
    program: Program,
    published: Option<(Vec<Slot>, ChainWord)>,
}

impl Node {
    /// The balancer with its listeners, VIPs and targets, and without a table.
    pub fn new() -> Node {
        Node::for_buffers(Buffers::Several)
    }

    /// The same with programs for packets of so many buffers.
    pub fn for_buffers(buffers: Buffers) -> Node {
        let capacity = Capacity {
            listeners: 64,
            vips: 16,
            forwards: 8,
            targets: 64,
            slots_log2: 8,
            // Small, because every case reads all of it.
            flow_sets_log2: 8,
            allowed_prefixes: 4096,
            fragment_sets_log2: 4,
            interfaces: 16,
        };
        let mut data_plane = DataPlane::load_for(buffers, capacity, KEY).expect("the balancer loads");
        let program = data_plane.program().expect("a descriptor of the balancer");
        let program = Program::new(program.as_fd()).expect("the balancer is found by its id");
        let mut node = Node { data_plane, program, published: None };
        node.fill();
        node
    }

    fn fill(&mut self) {
        let maps = &mut self.data_plane.maps;
        maps.set_interface(NODE_INTERFACE, MacAddress::new(NODE_MAC)).expect("the interface is set");
        for family in Family::BOTH {
            for vip in [1, 2, 7, 9] {
                maps.add_vip(words(&family.vip(vip))).expect("the VIP is added");
            }
            for (vip, protocol, port, counter) in LISTENERS {
                let key = ListenerKey::new(words(&family.vip(vip)), port.to_be(), protocol);
                maps.set_listener(key, listener(counter)).expect("the listener is added");
            }
        }
        for (counter, policy) in policies() {
            maps.policies.set(counter, &policy).expect("the policy is set");
        }
        for remote in Remote::all() {
            let key = QuicServerKey::new(FORWARD, ServerId::new(remote.server_id()));
            maps.set_quic_server(key, remote.id()).expect("the server id is added");
        }
        self.reset_targets();
    }

    fn reset_targets(&self) {
        Remote::all().for_each(|remote| self.set_target(remote));
    }

    /// As [`Node::new`], with `slot` everywhere in the table.
    pub fn reset(&mut self, slot: Slot) {
        self.reset_with(slot, ChainWord::NONE);
    }

    /// As [`Node::new`], with `slot` and `chain` everywhere in the table.
    pub fn reset_with(&mut self, slot: Slot, chain: ChainWord) {
        self.reset_targets();
        self.data_plane.maps.sweep_flows(|_| true);
        self.forget_fragments();
        if !self.marked_slots().is_empty() {
            self.data_plane.maps.unpublish(FORWARD);
            self.published = None;
        }
        self.publish_with(vec![slot; SLOTS], chain);
    }

    /// Forgets all datagrams whose later fragments may come.
    pub fn forget_fragments(&self) {
        self.data_plane.maps.forget_fragments();
    }

    /// Publishes a table.
    pub fn publish(&mut self, slots: Vec<Slot>) {
        self.publish_with(slots, ChainWord::NONE);
    }

    /// Publishes a table with the same chain in every slot.
    fn publish_with(&mut self, slots: Vec<Slot>, chain: ChainWord) {
        let table = (slots, chain);
        if self.published.as_ref() != Some(&table) {
            let maps = &mut self.data_plane.maps;
            maps.publish_chains(FORWARD, TABLE_LOG2, &table.0, &[chain; SLOTS])
                .expect("room for a small table");
            self.published = Some(table);
        }
    }

    /// Sets what stands before the listener with that counter.
    pub fn set_policy(&mut self, counter: u16, policy: &Policy) {
        let policies = &mut self.data_plane.maps.policies;
        policies.set(counter, policy).expect("there is room for a small list");
        policies.reclaim().expect("old lists are removed");
    }

    pub fn set_target(&self, remote: Remote) {
        self.set_entry(remote.id(), &remote.entry());
    }

    /// Writes what is in `TARGETS` for an id.
    pub fn set_entry(&self, id: TargetId, entry: &Target) {
        self.data_plane.maps.set_target(id, entry);
    }

    /// What the programs tell for the flow log.
    pub fn flow_records(&mut self) -> FlowRecords {
        self.data_plane.take_flow_records().expect("they are taken once")
    }

    /// Lets all listeners be logged, with this share of the flows; what is told.
    pub fn log_flows(&mut self, share: Share) -> FlowRecords {
        let maps = &mut self.data_plane.maps;
        maps.set_flow_log_share(share).expect("the setting is written");
        for family in Family::BOTH {
            for (vip, protocol, port, counter) in LISTENERS {
                let key = ListenerKey::new(words(&family.vip(vip)), port.to_be(), protocol);
                let listener = listener(counter);
                let logged = Listener { flags: listener.flags | Listener::FLAG_LOGGED, ..listener };
                maps.set_listener(key, logged).expect("the listener is written");
            }
        }
        self.flow_records()
    }

    /// Sets what becomes of packets that are too big although they may be fragmented.
    pub fn set_oversized(&mut self, oversized: Oversized) {
        self.data_plane.maps.set_oversized(oversized).expect("the setting is written");
    }

    /// Runs the balancer on a frame.
    pub fn run(&self, frame: &[u8]) -> Outcome {
        self.program.run(frame)
    }

    /// What the program `explain` says of a frame.
    pub fn explain(&mut self, interface: u32, frame: &[u8]) -> Explained {
        self.data_plane.explain(interface, frame).expect("the kernel takes the packet")
    }

    /// All that a packet may change.
    pub fn state(&self) -> State {
        let mut flows = Vec::new();
        self.data_plane.maps.for_each_flow(|entry| flows.push(entry.0));
        let sets = self.data_plane.maps.fragment_sets().iter();
        let fragments = sets.flat_map(|set| set.0.iter().map(|entry| entry.load())).collect();
        let marks = (0..SLOTS as u32)
            .map(|slot| self.data_plane.maps.last_exception(FORWARD, slot).map(|tick| tick.0))
            .collect();
        State { counts: self.counts(), flows, fragments, marks }
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// All counters that are not zero.
    pub fn counts(&self) -> Counts {
        let maps = &self.data_plane.maps;
        let reasons = maps.reasons().expect("the reasons are read").into_iter();
        let mut counts: Counts =
            reasons.map(|(reason, count)| (format!("reason {}", reason.name()), count)).collect();
        for counter in 0..64 {
            let listener = maps.listener_traffic(counter).expect("the counter is read");
            let target = maps.target_traffic(TargetId(counter)).expect("the counter is read");
            for (what, traffic) in [("listener", listener), ("target", target)] {
                counts.insert(format!("{what} {counter} packets"), traffic.packets);
                counts.insert(format!("{what} {counter} bytes"), traffic.bytes);
            }
        }
        counts.retain(|_, count| *count != 0);
        counts
    }

    /// The flow table: tags and targets.
    pub fn flows(&self) -> BTreeMap<u32, TargetId> {
        let mut flows = BTreeMap::new();
        self.data_plane.maps.for_each_flow(|entry| {
            flows.insert(entry.tag(), entry.target());
        });
        flows
    }

    /// The slots in which an exception has been marked.
    pub fn marked_slots(&self) -> Vec<u32> {
        let marked = |slot: &u32| self.data_plane.maps.last_exception(FORWARD, *slot).is_some();
        (0..SLOTS as u32).filter(marked).collect()
    }
}

/// VIP, protocol, port and counter of each listener.
const LISTENERS: [(u8, u8, u16, u16); 20] = [
    (1, 6, 80, TCP),
    (1, 17, 80, UDP),
    (1, 17, 81, UDP_ALWAYS),
    (1, 17, 82, UDP_NEVER),
    (1, 17, 83, UDP_BRIEF),
    (1, 6, 90, NO_TABLE),
    (1, 17, 6080, QUIC_LEAVING_TUNNELS),
    (2, 6, 0, WILDCARD),
    (2, 6, 80, EXACT),
    (7, 17, 443, QUIC),
    (7, 17, 444, QUIC_ALWAYS),
    (7, 17, 445, QUIC_NEVER),
    (7, 6, 80, AFFINITY),
    (7, 17, 80, AFFINITY),
    (7, 17, 0, ANY_UDP),
    (9, 6, 80, ALLOWED),
    (9, 17, 80, ALLOWED),
    (9, 17, 443, ALLOWED_QUIC),
    (9, 17, 0, ALLOWED_ANY_UDP),
    (9, 6, 82, LIMITED),
];

fn listener(counter: u16) -> Listener {
    let forward = if counter == NO_TABLE { FORWARD_WITHOUT_TABLE } else { FORWARD };
    let tracking = match counter {
        UDP_ALWAYS | QUIC_ALWAYS => Listener::TRACK_ALWAYS,
        UDP_NEVER | QUIC_NEVER => Listener::TRACK_NEVER,
        _ => Listener::TRACK_CHANGED,
    };
    let flags = match counter {
        QUIC | QUIC_ALWAYS | QUIC_NEVER => Listener::FLAG_QUIC,
        AFFINITY => Listener::FLAG_SOURCE_AFFINITY,
        ANY_UDP => Listener::FLAG_LEAVES_TUNNELS,
        QUIC_LEAVING_TUNNELS => Listener::FLAG_QUIC | Listener::FLAG_LEAVES_TUNNELS,
        ALLOWED | LIMITED => Listener::FLAG_POLICY,
        ALLOWED_QUIC => Listener::FLAG_POLICY | Listener::FLAG_QUIC,
        ALLOWED_ANY_UDP => Listener::FLAG_POLICY | Listener::FLAG_LEAVES_TUNNELS,
        _ => 0,
    };
    Listener { forward, counter, idle: if counter == UDP_BRIEF { 0 } else { 300 }, tracking, flags }
}

/// What grew from `before` to `after`, and by how much.
pub fn growth(before: &Counts, after: &Counts) -> Counts {
    let grown = after.iter().map(|(what, count)| (what.clone(), count - before.get(what).unwrap_or(&0)));
    grown.filter(|(_, count)| *count != 0).collect()
}

/// An address as the maps' keys have it: IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2).
fn words(address: &[u8]) -> [u32; 4] {
    let mut bytes = if address.len() == 4 { vec![0; 10] } else { Vec::new() };
    if address.len() == 4 {
        bytes.extend([0xff, 0xff]);
    }
    bytes.extend(address);
    std::array::from_fn(|at| u32::from_ne_bytes(crate::client::array(&bytes[at * 4..at * 4 + 4])))
}
