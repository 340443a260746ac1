//! A listener's limits of new flows.

use super::cursor::{At, Fields};
use crate::model::{NewFlowLimits, Protocol, SourceLimit};

/// The fields of a listener that are read here.
pub(super) const FIELDS: [&str; 3] = [ALL, PER_SOURCE, SOURCE_PREFIX];

const ALL: &str = "new_flows_per_second";
const PER_SOURCE: &str = "new_flows_per_second_per_source";
const SOURCE_PREFIX: &str = "source_prefix";

/// The limits of a listener with that protocol.
pub(super) fn read(fields: &Fields, protocol: Option<Protocol>) -> Option<NewFlowLimits> {
    let refused = [ALL, PER_SOURCE]
        .into_iter()
        .filter_map(|name| fields.optional(name))
        .filter(|at| refuse_udp(at, protocol).is_none())
        .count();
    let all = fields.optional(ALL).map_or(Some(None), |at| at.number(1..=10_000_000).map(Some));
    let per_source = per_source(fields);
    let limits = NewFlowLimits { all: all?, per_source: per_source? };
    (refused == 0).then_some(limits)
}

/// Of TCP a SYN tells that a flow begins; of UDP nothing does.
fn refuse_udp(at: &At, protocol: Option<Protocol>) -> Option<()> {
    let remedy = match protocol {
        Some(Protocol::Udp | Protocol::Quic) => "remove the limit",
        Some(Protocol::TcpUdp) => {
            "make it two listeners, TCP and UDP, with a target group each, and limit the TCP one"
        }
        Some(Protocol::Tcp) | None => return Some(()),
    };
    let protocol = protocol.map_or(String::new(), |protocol| protocol.to_string());
    at.refuse(format!(
        "this listener is {protocol}, and nothing in a UDP packet tells whether its flow is new; {remedy}"
    ))
}

fn per_source(fields: &Fields) -> Option<Option<SourceLimit>> {
    let (ipv4_bits, ipv6_bits) = prefix(fields)?;
    let Some(at) = fields.optional(PER_SOURCE) else { return Some(None) };
    let per_second = at.number(1..=100_000)?;
    Some(Some(SourceLimit { per_second, ipv4_bits, ipv6_bits }))
}

fn prefix(fields: &Fields) -> Option<(u8, u8)> {
    const DEFAULT: (u8, u8) = (32, 64);
    let Some(at) = fields.optional(SOURCE_PREFIX) else { return Some(DEFAULT) };
    if fields.optional(PER_SOURCE).is_none() {
        return at.refuse(format!(
            "says what a source is for {PER_SOURCE}, which is missing; add it, or remove this"
        ));
    }
    let lengths = at.fields(&["ipv4", "ipv6"])?;
    let ipv4 = lengths.optional("ipv4").map_or(Some(DEFAULT.0), |at| at.number(24..=32));
    let ipv6 = lengths.optional("ipv6").map_or(Some(DEFAULT.1), |at| at.number(48..=128));
    ipv4.zip(ipv6)
}
