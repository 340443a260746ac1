//! The frame that the wrapper starts from, and what must have become of it.

use anyhow::{Context, ensure};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use lb_common::Reason;
use lb_common::bench::{LISTENER_PORT, NODE_MAC, ROUTER_MAC, SyntheticFlow, Workload};
use lb_common::gue::Carrier;
use lb_common::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6};

use crate::node;
use crate::scenario::{Family, Kind, Scenario, Slots};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// EtherType of ARP (RFC 826).
const ETHERTYPE_ARP: u16 = 0x0806;
/// Bytes of every packet's payload.
const PAYLOAD: [u8; 10] = *b"synthetic.";

/// The workload of a scenario, from packet number zero on.
pub(crate) fn workload(scenario: &Scenario) -> Workload {
    let ethertype = match scenario.family {
        _ if scenario.ends == Some(Reason::NotIp) => ETHERTYPE_ARP,
        Family::Ipv4 => ETHERTYPE_IPV4,
        Family::Ipv6 => ETHERTYPE_IPV6,
    };
    let first = SyntheticFlow { number: 0, vip: 0 };
    Workload {
        next: 0,
        flow_mask: scenario.flows - 1,
        frame_length: frame(scenario, first).len() as u32,
        vips: scenario.groups,
        ethertype,
        reserved: [0; 3],
    }
}

/// A packet of the flow as it comes in, by an independent builder.
pub(crate) fn frame(scenario: &Scenario, flow: SyntheticFlow) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(ROUTER_MAC, NODE_MAC);
    let ip = match scenario.family {
        Family::Ipv4 => link.ipv4(flow.ipv4_source().to_be_bytes(), flow.ipv4_vip().to_be_bytes(), 63),
        Family::Ipv6 => link.ipv6(bytes(flow.ipv6_source()), bytes(flow.ipv6_vip()), 63),
    };
    let mut frame = Vec::new();
    let written = match scenario.kind {
        Kind::Udp => ip.udp(flow.source_port(), LISTENER_PORT).write(&mut frame, &PAYLOAD),
        Kind::Tcp => ip.tcp(flow.source_port(), LISTENER_PORT, 1, 1024).ack(1).write(&mut frame, &PAYLOAD),
        Kind::Syn => ip.tcp(flow.source_port(), LISTENER_PORT, 1, 1024).syn().write(&mut frame, &PAYLOAD),
    };
    written.expect("a short packet has room for its lengths");
    frame
}

fn bytes(words: [u64; 2]) -> [u8; 16] {
    ((u128::from(words[0]) << 64) | u128::from(words[1])).to_be_bytes()
}

/// Checks what became of a packet of `flow`: encapsulated to a target of its group and sent, or left alone.
pub(crate) fn check(
    scenario: &Scenario,
    flow: SyntheticFlow,
    action: u32,
    left: &[u8],
) -> anyhow::Result<()> {
    let expected = match scenario.ends.map(Reason::verdict) {
        None | Some(lb_common::Verdict::Answered) => XDP_TX,
        Some(lb_common::Verdict::Passed) => XDP_PASS,
        Some(lb_common::Verdict::Dropped) => XDP_DROP,
    };
    ensure!(action == expected, "the action is {action}, not {expected}");
    let came = frame(scenario, flow);
    match scenario.ends {
        Some(Reason::NotIp) => Ok(()),
        Some(_) => check_same(&came[14..], &left[14..], scenario),
        None => {
            let inner = check_outer(scenario, flow, left)?;
            check_same(&came[14..], inner, scenario)
        }
    }
}

/// The packet inside, after its outer header was found right.
fn check_outer<'a>(scenario: &Scenario, flow: SyntheticFlow, left: &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let outer = SlicedPacket::from_ethernet(left).context("the outer header")?;
    let id = match outer.net.as_ref().context("no outer IP header")? {
        NetSlice::Ipv4(ip) => ip.header().destination()[2..].try_into(),
        NetSlice::Ipv6(ip) => ip.header().destination()[14..].try_into(),
        NetSlice::Arp(_) => anyhow::bail!("the outer packet is ARP"),
    };
    let id = u16::from_be_bytes(id.expect("two bytes were taken"));
    let first = flow.vip as u16 * scenario.targets + 1;
    ensure!((first..first + scenario.targets).contains(&id), "target {id} is not of group {}", flow.vip);
    let kind = node::target(scenario, id).way.kind().context("the target has no next hop")?;
    let is_udp =
        matches!(outer.transport, Some(TransportSlice::Udp(ref udp)) if udp.destination_port() == 6080);
    ensure!(is_udp == scenario.gue, "GUE where there should be none, or none where it should be");
    ensure!(left[..6] == ROUTER_MAC && left[6..12] == NODE_MAC, "the outer MAC addresses are wrong");
    let chain = match (scenario.slots, scenario.outer.unwrap_or(scenario.family)) {
        (Slots::Stable | Slots::Changing, _) => 0,
        (Slots::Chained, Family::Ipv4) => Ipv4::HEADER_AND_CHAIN,
        (Slots::Chained, Family::Ipv6) => Ipv6::HEADER_AND_CHAIN,
    };
    left.get(kind.length() + chain..).context("the packet ends in its outer header")
}

/// All bytes but the checksums, which the wrapper does not write.
fn check_same(came: &[u8], left: &[u8], scenario: &Scenario) -> anyhow::Result<()> {
    let (header, transport_sum) = match (scenario.family, scenario.kind) {
        (Family::Ipv4, Kind::Udp) => (10..12, 26..28),
        (Family::Ipv4, _) => (10..12, 36..38),
        (Family::Ipv6, Kind::Udp) => (0..0, 46..48),
        (Family::Ipv6, _) => (0..0, 56..58),
    };
    ensure!(came.len() == left.len(), "{} bytes became {}", came.len(), left.len());
    let differs = |at: &usize| came[*at] != left[*at] && !header.contains(at) && !transport_sum.contains(at);
    if let Some(at) = (0..came.len()).find(differs) {
        anyhow::bail!("byte {at} of the packet changed from {:#04x} to {:#04x}", came[at], left[at]);
    }
    Ok(())
}
