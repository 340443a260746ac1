//! The controller's part of `sluice explain`: it runs the program and puts names to what the stages saw.

use anyhow::{Context, ensure};
use lb_common::flow::{ICMP, ICMPV6, TCP, UDP};
use lb_common::flow_table::{FlowEntry, Tick};
use lb_common::listener::{Forward, Listener};
use lb_common::packet::Segment;
use lb_common::policy::Allowance;
use lb_common::trace::{Step, Trace};
use lb_common::{ChainWord, Reason, Slot, SlotState, TargetId};

use super::names::Names;
use super::node::Node;
use crate::data_plane::Explained;
use crate::explain::Question;
use crate::explain::outer::{address, mac, outer};
use crate::explain::question::{Bytes, MOST_PACKETS, Packet, Packets, hexadecimal};
use crate::explain::report::{
    Explanation, FlowTablePart, FragmentPart, FramePart, ListenerPart, PacketPart, PolicyPart, SlotPart,
    TargetPart, VerdictPart,
};
use crate::model::Prefix;
use crate::privileges::Attached;
use crate::status::report::NextHopReport;

/// From whom a packet without a link layer comes: a locally administered address that is nobody's.
const NOBODY: [u8; 6] = [0x02, 0, 0, 0, 0, 0];

impl Node {
    /// Answers who wants packets explained.
    pub(super) fn answer_question(&mut self, question: Question) {
        let answer = self.explain(&question.packets).map_err(|error| format!("{error:#}"));
        // Who asked may have gone.
        drop(question.answer.send(answer));
    }

    fn explain(&mut self, asked: &Packets) -> anyhow::Result<Vec<Explanation>> {
        ensure!(asked.packets.len() <= MOST_PACKETS, "at most {MOST_PACKETS} packets are explained at once");
        let (name, interface) = self.interface_of(asked.interface.as_deref())?;
        let mac = self.data_plane.maps.interface(interface)?;
        let names = self.names();
        let explain = |packet: &Packet| {
            let frame = frame(packet, mac);
            let explained = self.data_plane.explain(interface, &frame)?;
            Ok(self.explanation(&name, mac, &frame, &explained, &names))
        };
        asked.packets.iter().map(explain).collect()
    }

    /// The name and index of an interface that the balancer is on.
    fn interface_of(&self, wanted: Option<&str>) -> anyhow::Result<(String, u32)> {
        let first = self.desired().node.interfaces.first().map(String::as_str);
        let name = wanted.or(first).context("the configuration names no interface")?;
        let attachment: &Attached = self.attachments.get(name).with_context(|| {
            let on: Vec<&str> = self.attachments.keys().map(String::as_str).collect();
            format!("the balancer is not on an interface {name}; it is on: {}", on.join(", "))
        })?;
        Ok((name.to_owned(), attachment.interface))
    }

    fn explanation(
        &self,
        interface: &str,
        interface_mac: [u8; 6],
        frame: &[u8],
        explained: &Explained,
        names: &Names,
    ) -> Explanation {
        let trace = &explained.trace;
        let verdict = verdict(explained);
        let is_forwarded = verdict.verdict == "forwarded";
        Explanation {
            interface: interface.to_owned(),
            frame: FramePart {
                destination_mac: mac(&frame[..6]),
                interface_mac: mac(&interface_mac),
                length: frame.len(),
            },
            packet: packet_part(trace),
            listener: listener_part(trace, names),
            policy: policy_part(trace),
            by_server_id: trace.has(Step::ServerId),
            slot: slot_part(trace, names),
            flow_table: flow_table_part(trace, names),
            target: trace.has(Step::Target).then(|| self.target_part(trace, names)),
            outer: if is_forwarded { outer(&explained.frame) } else { None },
            frame_in: hexadecimal(frame),
            frame_out: (verdict.verdict != "dropped").then(|| hexadecimal(&explained.frame)),
            verdict,
        }
    }

    fn target_part(&self, trace: &Trace, names: &Names) -> TargetPart {
        let id = TargetId(trace.target);
        let key = names.targets.get(&id);
        let way = lb_common::encapsulation::Way(trace.way);
        let state = self.reconciler.registry().by_id(id).map_or("gone", |(_, record)| match record {
            _ if record.is_lingering() => "unused",
            _ if record.is_draining() => "draining",
            _ => record.health.state.as_str(),
        });
        let gone = || NextHopReport::Unresolved { problem: "the target has gone".to_owned() };
        TargetPart {
            target_group: key.map(|key| key.target_group.clone()).unwrap_or_default(),
            address: names.target(id),
            state: state.to_owned(),
            next_hop: key.map_or_else(gone, |key| self.next_hop(key.address)),
            mtu: if way.kind().is_some() { way.mtu() } else { 0 },
            overhead: way
                .kind()
                .map_or(0, |kind| (kind.length() - lb_common::encapsulation::ETHERNET) as u16),
        }
    }
}

/// The frame as it comes in by an interface with this MAC address.
fn frame(packet: &Packet, mac: [u8; 6]) -> Vec<u8> {
    match packet {
        Packet::Frame(Bytes(bytes)) => bytes.clone(),
        Packet::Ip(Bytes(bytes)) => {
            let is_v6 = bytes.first().is_some_and(|first| first >> 4 == 6);
            let ethertype: [u8; 2] = if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
            [&mac[..], &NOBODY, &ethertype, bytes].concat()
        }
    }
}

fn packet_part(trace: &Trace) -> Option<PacketPart> {
    let [a, b, c, d] = trace.ports.to_ne_bytes();
    let port = |bytes: [u8; 2]| trace.has(Step::Flow).then(|| u16::from_be_bytes(bytes));
    trace.has(Step::Datagram).then(|| PacketPart {
        protocol: match trace.protocol {
            TCP => "TCP".to_owned(),
            UDP => "UDP".to_owned(),
            ICMP => "ICMP".to_owned(),
            ICMPV6 => "ICMPv6".to_owned(),
            other => format!("protocol {other}"),
        },
        source: address(trace.source),
        source_port: port([a, b]),
        destination: address(trace.destination),
        destination_port: port([c, d]),
        segment: trace.segment().map(|segment| {
            match segment {
                Segment::Opening => "opening",
                Segment::Established => "established",
                Segment::Ageless => "ageless",
            }
            .to_owned()
        }),
        length: trace.length,
        fragment: fragment_part(trace),
    })
}

fn fragment_part(trace: &Trace) -> Option<FragmentPart> {
    trace.has(Step::Fragment).then(|| FragmentPart {
        identification: trace.identification,
        offset: trace.fragment_offset,
        more: trace.more_fragments != 0,
        ports_known: trace.has(Step::Flow),
    })
}

fn listener_part(trace: &Trace, names: &Names) -> Option<ListenerPart> {
    let counter = Listener::from_word(trace.listener).counter;
    if trace.has(Step::Listener) { names.listeners.get(&counter).cloned() } else { None }
}

fn policy_part(trace: &Trace) -> Option<PolicyPart> {
    let allowance = Allowance(trace.allowance);
    let is_allowed = trace.has(Step::AllowList).then(|| !allowance.is_none());
    let prefix = || Prefix::around(address(trace.source), allowance.bits());
    let limits = trace.has(Step::Limits).then(|| match trace.reason() {
        Some(reason @ (Reason::SourceLimit | Reason::ListenerLimit)) => reason.name(),
        _ => "within",
    });
    (is_allowed.is_some() || limits.is_some()).then(|| PolicyPart {
        allow_list: is_allowed
            .map(|is_allowed| if is_allowed { "allowed" } else { "not_allowed" }.to_owned()),
        rule: (!allowance.is_none()).then(|| allowance.rule()),
        prefix: if allowance.is_none() { None } else { prefix().map(|prefix| prefix.to_string()) },
        limits: limits.map(str::to_owned),
    })
}

fn slot_part(trace: &Trace, names: &Names) -> Option<SlotPart> {
    if !trace.has(Step::Slot) {
        return None;
    }
    let slot = Slot(trace.slot_word);
    let named = |id: TargetId| (!id.is_none()).then(|| names.target(id));
    let chain = ChainWord(trace.chain);
    let is_chained = trace.has(Step::Chain) && chain.is_chain_of(slot);
    let former = [slot.previous(), chain.oldest(slot)].into_iter().filter_map(named);
    let state = match slot.state() {
        _ if is_chained => "chained",
        _ if slot.current().is_none() && slot.previous().is_none() => "no_target",
        SlotState::Stable => "stable",
        SlotState::Changing => "changing",
        SlotState::Exceptions => "exceptions",
    };
    Some(SlotPart {
        hash: format!("{:016x}", trace.hash),
        number: trace.slot,
        slots: 1 << Forward(trace.forward).log2(),
        state: state.to_owned(),
        current: named(slot.current()),
        previous: if slot.state() == SlotState::Changing { named(slot.previous()) } else { None },
        chain: if is_chained { former.collect() } else { Vec::new() },
    })
}

fn flow_table_part(trace: &Trace, names: &Names) -> Option<FlowTablePart> {
    let entry = trace.has(Step::Known).then_some(FlowEntry(trace.entry));
    trace.has(Step::FlowTable).then(|| FlowTablePart {
        remembered_on: entry.map(|entry| names.target(entry.target())),
        seen_seconds_ago: entry.map(|entry| seconds(Tick(trace.now).since(entry.seen()))),
        exception: trace.has(Step::Exception),
    })
}

/// The whole seconds of so many ticks.
fn seconds(ticks: u16) -> u32 {
    ((u64::from(ticks) << 30) / 1_000_000_000) as u32
}

fn verdict(explained: &Explained) -> VerdictPart {
    let reason = explained.trace.reason();
    VerdictPart {
        verdict: reason.map_or("forwarded", |reason| reason.verdict().as_str()).to_owned(),
        action: action(explained.action),
        reason: reason.map(|reason| reason.name().to_owned()),
        description: reason.map(|reason| reason.description().to_owned()),
    }
}

fn action(number: u32) -> String {
    let names = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
    names.get(number as usize).map_or_else(|| format!("XDP action {number}"), |name| (*name).to_owned())
}
