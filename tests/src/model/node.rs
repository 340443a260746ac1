//! A node: what it was told, and what it does with a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::listener::Traffic;
use lb_common::{ChainWord, Reason, Slot, TargetId, Verdict};

use super::flow_table::{FlowTable, Sighting, Tick};
use super::fragments::{Fragment, Fragments};
use super::packet::{self, Packet, Ports, TCP, Transport, UDP};
use super::policy::Policy;
use super::quic::{self, Route, ServerId};
use super::quote::Flow;
use super::target::Target;
use super::{choice, echo, encapsulation, hash, martian, quote, too_big};

/// A node with all that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The key of the flow hash.
    pub key: [u64; 2],
    /// The index of the interface that packets come in by.
    pub interface: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Bytes of a frame that its first buffer holds; the headers of a longer one must be in it.
    pub first_buffer: usize,
    /// The addresses that answer pings.
    pub vips: BTreeSet<IpAddr>,
    /// By VIP, protocol and port; port 0 takes all ports that have no listener of their own.
    pub listeners: BTreeMap<(IpAddr, u8, u16), Listener>,
    /// What stands before listeners, by their counter.
    pub policies: BTreeMap<u16, Policy>,
    /// The tables of the forward actions.
    pub tables: BTreeMap<u32, Table>,
    /// Whom QUIC connection ids name, by the listener's forward action.
    pub quic_servers: BTreeMap<(u32, ServerId), TargetId>,
    /// The targets.
    pub targets: BTreeMap<TargetId, Target>,
    /// Flows that are remembered.
    pub flows: FlowTable,
    /// Datagrams whose later fragments may come.
    pub fragments: Fragments,
    /// Whether senders are told of packets that are too big although they may be fragmented.
    pub answers_oversized: bool,
    /// What was counted.
    pub counters: Counters,
}

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its forward action.
    pub forward: u32,
    /// Its counter.
    pub counter: u16,
    /// After how many ticks without a packet its flows are forgotten.
    pub idle: u16,
    /// Which of its flows are remembered.
    pub tracking: Tracking,
    /// What belongs together.
    pub affinity: Affinity,
    /// Whether GUE packets are left alone, so that no tunnel is put into a tunnel.
    pub leaves_tunnels: bool,
    /// Whether packets go to whom their connection id names (UDP only).
    pub is_quic: bool,
}

/// What chooses a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// The flow.
    Flow,
    /// The client's address and the VIP, whatever the ports and the protocol.
    Client,
}

/// Which flows are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// Those in slots that changed.
    Changed,
    /// All, from their first packet on (UDP only).
    Always,
    /// None (UDP only).
    Never,
}

/// A forward action's table: 2^n slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The slots.
    pub slots: Vec<Slot>,
    /// Their chains, where targets give second chances.
    pub chains: Vec<ChainWord>,
    /// When a packet last went elsewhere than its slot says: by slot, zero for never.
    pub marks: Vec<Tick>,
}

impl Table {
    /// Which slot a hash chooses.
    fn at(&self, place: u64) -> usize {
        (place >> (u64::BITS - self.slots.len().ilog2())) as usize
    }

    fn slot(&self, place: u64) -> Slot {
        self.slots[self.at(place)]
    }

    /// Who had a changed slot before its current target, newest first, where packets name them.
    fn former(&self, place: u64) -> Option<[TargetId; 2]> {
        let (slot, ChainWord(word)) = (self.slot(place), self.chains[self.at(place)]);
        if word == 0 || slot.current() == slot.previous() {
            return None;
        }
        let oldest = if word == slot.current().0 { TargetId::NONE } else { TargetId(word) };
        Some([slot.previous(), oldest])
    }
}

/// What a node counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets that were not forwarded, by the number of their reason.
    pub reasons: BTreeMap<u8, u64>,
    /// What was forwarded, by the listener's counter.
    pub listeners: BTreeMap<u16, Traffic>,
    /// What was forwarded, by target.
    pub targets: BTreeMap<u16, Traffic>,
}

/// XDP's verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The program failed, which it never may.
    Aborted,
    /// Dropped.
    Drop,
    /// Given to the host.
    Pass,
    /// Sent by the interface that it came in by.
    Tx,
    /// Sent by another.
    Redirect,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub action: Action,
    /// The frame afterwards; of a dropped packet it means nothing.
    pub frame: Vec<u8>,
    /// Why it was not forwarded, if it was not.
    pub reason: Option<Reason>,
}

impl Node {
    /// Processes a frame at `now`, and counts and remembers what it must.
    pub fn process(&mut self, frame: &[u8], now: Tick) -> Outcome {
        match self.decide(frame, now) {
            Ok((action, frame)) => Outcome { action, frame, reason: None },
            Err(Refusal { reason, answer }) => {
                let reason = if frame.len() > self.first_buffer { split(reason) } else { reason };
                *self.counters.reasons.entry(reason as u8).or_default() += 1;
                let action = match reason.verdict() {
                    Verdict::Passed => Action::Pass,
                    Verdict::Dropped => Action::Drop,
                    Verdict::Answered => Action::Tx,
                };
                Outcome { action, frame: answer.unwrap_or_else(|| frame.to_vec()), reason: Some(reason) }
            }
        }
    }

    fn decide(&mut self, frame: &[u8], now: Tick) -> Result<(Action, Vec<u8>), Refusal> {
        let packet = Packet::parse(frame, self.mac, self.first_buffer)?;
        let (protocol, ports, begins) = match packet.transport {
            Transport::Tcp(ports, begins) => (TCP, ports, begins),
            Transport::Udp(ports) => (UDP, ports, false),
            Transport::Icmp(kind, _) if quote::is_error(&packet, kind) => {
                return Ok(self.error(frame, &packet, now)?);
            }
            Transport::Icmp(kind, code) => return Err(self.ping(frame, &packet, kind, code)),
            Transport::Fragment(fragment) => self.fragment(frame, &packet, fragment, now)?,
        };
        let flow = Flow { client: packet.source, protocol, ports };
        self.check_policy(&packet, &flow)?;
        let (listener, place, hash) = self.place(&packet, &flow)?;
        let (id, former) = match quic::route(self, frame, &packet, listener) {
            Route::Target(id) => (id, None),
            Route::Table => self.by_table(listener, place, hash, begins, now)?,
            Route::Opening => self.by_table(listener, place, hash, true, now)?,
        };
        self.send(frame, &packet, listener, hash, id, former).map_err(|reason| match reason {
            Reason::TooBig => self.too_big(frame, &packet, id),
            reason => reason.into(),
        })
    }

    /// Pings and errors are not held against it.
    fn check_policy(&self, packet: &Packet, flow: &Flow) -> Result<(), Reason> {
        let listener = self.listener(packet, flow.protocol, flow.ports).ok_or(Reason::NotOurs)?;
        match self.policies.get(&listener.counter) {
            Some(policy) if !policy.admits(flow.protocol, flow.client) => Err(Reason::NotAllowed),
            _ => Ok(()),
        }
    }

    /// Protocol and ports of a fragment, and whether it begins its flow.
    fn fragment(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        fragment: Fragment,
        now: Tick,
    ) -> Result<(u8, Ports, bool), Reason> {
        if !self.vips.contains(&packet.destination) || !fragment.may_have_ports(packet.source) {
            return Err(Reason::Fragment);
        }
        let Fragment { identification, more, protocol, .. } = fragment;
        let hash = hash::datagram(self.key, identification, packet.source, packet.destination, protocol);
        if fragment.offset > 0 {
            if fragment.overwrites_flags() {
                return Err(Reason::TinyFragment);
            }
            let known = self.fragments.find(hash, more, now);
            return known.map(|(protocol, ports)| (protocol, ports, false)).ok_or(Reason::FragmentUnknown);
        }
        let end = packet.ip_at + packet.length;
        let read = |end| {
            let bytes = frame.get(packet.transport_at..end).unwrap_or_default();
            packet::transport(protocol, packet.source, bytes)
        };
        let (ports, begins) = match read(end) {
            Ok(Transport::Tcp(ports, begins)) => (ports, begins),
            Ok(Transport::Udp(ports)) => (ports, false),
            Ok(_) | Err(Reason::NotOurs) => return Err(Reason::Fragment),
            Err(_) => return Err(Reason::TinyFragment),
        };
        read(end.min(self.first_buffer))?;
        self.fragments.remember(hash, protocol, ports, now);
        Ok((protocol, ports, begins))
    }

    /// An error goes where the flow that it speaks of goes; it is no sign of that flow's life.
    fn error(&mut self, frame: &[u8], packet: &Packet, now: Tick) -> Result<(Action, Vec<u8>), Reason> {
        if !self.vips.contains(&packet.destination) {
            return Err(Reason::NotOurs);
        }
        let flow = quote::flow(&frame[..frame.len().min(self.first_buffer)], packet)?;
        let (listener, place, hash) = self.place(packet, &flow)?;
        if let Some((current, former)) = self.former(listener, place)? {
            return self.send(frame, packet, listener, hash, current, Some(former));
        }
        let slot = self.tables.get(&listener.forward).ok_or(Reason::NoTable)?.slot(place);
        let sighting = Sighting { hash, now, idle: listener.idle };
        let id = choice::peek(self, slot, listener.tracking, sighting)?;
        self.send(frame, packet, listener, hash, id, None)
    }

    /// The slot's current target and those that had it, where packets name them; a listener that remembers no flow
    /// has no use for either.
    fn former(&self, listener: Listener, place: u64) -> Result<Option<(TargetId, [TargetId; 2])>, Reason> {
        let table = self.tables.get(&listener.forward).ok_or(Reason::NoTable)?;
        let Some(former) = table.former(place).filter(|_| listener.tracking != Tracking::Never) else {
            return Ok(None);
        };
        let current = table.slot(place).current();
        if current.is_none() { Err(Reason::NoTarget) } else { Ok(Some((current, former))) }
    }

    /// A flow's listener, what chooses its slot, and its hash.
    fn place(&self, packet: &Packet, flow: &Flow) -> Result<(Listener, u64, u64), Reason> {
        let Flow { client, protocol, ports } = *flow;
        let listener = self.listener(packet, protocol, ports).ok_or(Reason::NotOurs)?;
        if listener.leaves_tunnels && (protocol, ports.destination) == (UDP, encapsulation::GUE) {
            return Err(Reason::AlreadyEncapsulated);
        }
        martian::refuse(packet)?;
        let vip = packet.destination;
        let hash = hash::flow(self.key, client, vip, [ports.source, ports.destination], protocol);
        let place = match listener.affinity {
            Affinity::Flow => hash,
            Affinity::Client => hash::client(self.key, client, vip),
        };
        Ok((listener, place, hash))
    }

    fn send(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        listener: Listener,
        hash: u64,
        id: TargetId,
        former: Option<[TargetId; 2]>,
    ) -> Result<(Action, Vec<u8>), Reason> {
        let target = self.targets.get(&id).filter(|target| target.next_hop.is_some());
        let target = target.ok_or(Reason::NoNextHop)?;
        if packet.length + target.overhead() > usize::from(target.mtu) {
            return Err(Reason::TooBig);
        }
        let next_hop = target.next_hop.expect("targets without a next hop are sorted out");
        let former = former.map(|former| former.map(|id| self.targets.get(&id).map(|target| target.ends)));
        let frame = encapsulation::encapsulate(frame, packet, hash, target, next_hop, former);
        count(self.counters.listeners.entry(listener.counter).or_default(), packet.length);
        count(self.counters.targets.entry(id.0).or_default(), packet.length);
        let action = if next_hop.interface == self.interface { Action::Tx } else { Action::Redirect };
        Ok((action, frame))
    }

    /// The limit of answers is not the model's: it answers all that are owed one.
    fn too_big(&self, frame: &[u8], packet: &Packet, id: TargetId) -> Refusal {
        let target = &self.targets[&id];
        let fits = usize::from(target.mtu).saturating_sub(target.overhead());
        match too_big::answer(frame, packet, fits, self.answers_oversized) {
            Some(answer) => match martian::refuse_link(frame) {
                Ok(()) => Refusal { reason: Reason::TooBigAnswered, answer: Some(answer) },
                Err(reason) => reason.into(),
            },
            None => Reason::TooBig.into(),
        }
    }

    fn ping(&self, frame: &[u8], packet: &Packet, kind: u8, code: u8) -> Refusal {
        if (kind, code) != (echo::types(packet).0, 0) || !self.vips.contains(&packet.destination) {
            return Reason::NotOurs.into();
        }
        if let Err(reason) = martian::refuse(packet).and_then(|()| martian::refuse_link(frame)) {
            return reason.into();
        }
        Refusal { reason: Reason::EchoAnswered, answer: Some(echo::reply(frame, packet)) }
    }

    fn listener(&self, packet: &Packet, protocol: u8, ports: Ports) -> Option<Listener> {
        let find = |port: u16| self.listeners.get(&(packet.destination, protocol, port));
        find(ports.destination).or_else(|| find(0)).copied()
    }

    /// The target that the table names, and those that had its slot where packets name them.
    fn by_table(
        &mut self,
        listener: Listener,
        place: u64,
        hash: u64,
        begins: bool,
        now: Tick,
    ) -> Result<(TargetId, Option<[TargetId; 2]>), Reason> {
        match self.former(listener, place)? {
            Some((current, former)) => Ok((current, Some(former))),
            None => Ok((self.target(listener, place, hash, begins, now)?, None)),
        }
    }

    /// The target of the flow with the hash `hash` whose slot `place` chooses; the slot is marked if the packet goes
    /// elsewhere than it says.
    fn target(
        &mut self,
        listener: Listener,
        place: u64,
        hash: u64,
        begins: bool,
        now: Tick,
    ) -> Result<TargetId, Reason> {
        let table = self.tables.get(&listener.forward).ok_or(Reason::NoTable)?;
        let (at, slot) = (table.at(place), table.slot(place));
        let sighting = Sighting { hash, now, idle: listener.idle };
        let target = choice::choose(self, slot, listener.tracking, begins, sighting)?;
        if target != slot.current() {
            let table = self.tables.get_mut(&listener.forward).expect("the table was just read");
            table.marks[at] = now;
        }
        Ok(target)
    }
}

/// Why a packet is not forwarded, and what answers it.
struct Refusal {
    reason: Reason,
    answer: Option<Vec<u8>>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal { reason, answer: None }
    }
}

/// The reason for a frame in several buffers: headers that are not in the first can't be told from missing ones.
fn split(reason: Reason) -> Reason {
    match reason {
        Reason::MalformedEthernet
        | Reason::MalformedIpv4
        | Reason::MalformedIpv6
        | Reason::MalformedTransport
        | Reason::MalformedQuote => Reason::SplitHeaders,
        reason => reason,
    }
}

fn count(traffic: &mut Traffic, bytes: usize) {
    traffic.packets += 1;
    traffic.bytes += bytes as u64;
}
