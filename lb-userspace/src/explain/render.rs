//! An explanation for people: a line a stage, in the order in which the packet meets them.

use std::fmt::Write;

use super::report::{
    Explanation, FlowTablePart, FragmentPart, FramePart, ListenerPart, PacketPart, PolicyPart, SlotPart,
    TargetPart, VerdictPart,
};
use crate::status::report::NextHopReport;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// A line a stage.
    #[default]
    Stages,
    /// The bytes of the packet, too.
    Bytes,
}

/// The explanation as text that ends with a line end.
pub fn render(explanation: &Explanation, detail: Detail) -> String {
    let mut page = String::new();
    let mut line = |stage: &str, text: String| {
        _ = writeln!(page, "{stage:<11}{}", text.trim_end());
    };
    line("packet", packet(explanation));
    if let Some(part) = explanation.packet.as_ref().and_then(|packet| packet.fragment.as_ref()) {
        line("fragment", fragment(part));
    }
    if let Some(part) = &explanation.listener {
        line("listener", listener(part));
    }
    if let Some(part) = &explanation.policy {
        line("policy", policy(part));
    }
    if explanation.by_server_id {
        line("slot", "not asked: the server id in the QUIC connection id names the target".to_owned());
    }
    if let Some(part) = &explanation.slot {
        line("slot", slot(part));
        line("flow table", flow_table(explanation, part));
    }
    if let Some(part) = &explanation.target {
        line("target", target(part));
        line("next hop", next_hop(part, explanation.packet.as_ref()));
    }
    line("verdict", verdict(explanation));
    if let Some(outer) = &explanation.outer {
        let port = outer.source_port.map_or(String::new(), |port| format!(", UDP {port} → 6080"));
        let version = outer.gue_version.map_or(String::new(), |version| format!(" {version}"));
        line(
            "outer",
            format!(
                "{}{version} {} → {}{port}, {} bytes, traffic class {:#04x}, TTL {}",
                outer.encapsulation,
                outer.source,
                outer.destination,
                outer.length,
                outer.traffic_class,
                outer.ttl
            ),
        );
        line("", format!("Ethernet {} → {}", outer.source_mac, outer.destination_mac));
    }
    if detail == Detail::Bytes {
        line("bytes in", explanation.frame_in.clone());
        line("bytes out", explanation.frame_out.clone().unwrap_or_else(|| "none".to_owned()));
    }
    page
}

fn packet(explanation: &Explanation) -> String {
    let Some(packet) = &explanation.packet else {
        return format!("{} bytes on {}", explanation.frame.length, explanation.interface);
    };
    let age = match packet.segment.as_deref() {
        Some("opening") => ", a SYN: begins a flow",
        Some("established") => ", of a flow that began earlier",
        _ => "",
    };
    format!(
        "{} {} → {}, {} bytes, on {}{age}",
        packet.protocol,
        end(packet.source, packet.source_port),
        end(packet.destination, packet.destination_port),
        packet.length,
        explanation.interface
    )
}

fn end(address: std::net::IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| std::net::SocketAddr::new(address, port).to_string())
}

fn fragment(part: &FragmentPart) -> String {
    let FragmentPart { identification, offset, more, ports_known } = part;
    let which = if *more { "more follows" } else { "the last one" };
    let ports = match (offset, ports_known) {
        (0, true) => "it has the ports; the live program remembers them for the others",
        (0, false) => "its ports are not read",
        (_, true) => "the ports are those of the first one, which came before it",
        (_, false) => "its ports are not known",
    };
    format!("of datagram {identification:#x}, at byte {offset}, {which}: {ports}")
}

fn listener(part: &ListenerPart) -> String {
    let tracking = match part.tracking.as_str() {
        "always" => "; every flow is remembered",
        "never" => "; no flow is remembered",
        _ => "",
    };
    format!(
        "load balancer {}, {} {}, forwards to {}{tracking}",
        part.load_balancer,
        part.protocol,
        part.port,
        part.target_groups.join(", ")
    )
}

fn policy(part: &PolicyPart) -> String {
    let rule = part.rule.zip(part.prefix.as_ref());
    let list = match (part.allow_list.as_deref(), rule) {
        (Some("allowed"), Some((rule, prefix))) => Some(format!("allow[{rule}] lets {prefix} in")),
        (Some(_), _) => Some("no rule lets the source in".to_owned()),
        (None, _) => None,
    };
    let limits = part.limits.as_deref().map(|limits| match limits {
        "source_limit" => "a new flow, beyond the limit of its source".to_owned(),
        "listener_limit" => "a new flow, beyond the limit of the listener".to_owned(),
        _ => "a new flow, within the limits".to_owned(),
    });
    list.into_iter().chain(limits).collect::<Vec<_>>().join("; ")
}

fn slot(part: &SlotPart) -> String {
    let current = part.current.as_deref().unwrap_or("no target");
    let state = match (part.state.as_str(), part.previous.as_deref()) {
        ("stable", _) => format!("stable: {current}"),
        ("chained", _) => format!("chained: now {current}, before that {}", part.chain.join(", ")),
        ("changing", Some(previous)) => format!("changing: was {previous}, now {current}"),
        ("exceptions", _) => format!("has exceptions: now {current}, some flows are still elsewhere"),
        _ => "without a target".to_owned(),
    };
    format!("{} of {}, {state} (hash {})", part.number, part.slots, part.hash)
}

fn flow_table(explanation: &Explanation, slot: &SlotPart) -> String {
    let tracking = explanation.listener.as_ref().map_or("changed", |listener| listener.tracking.as_str());
    let opens =
        explanation.packet.as_ref().is_some_and(|packet| packet.segment.as_deref() == Some("opening"));
    let Some(part) = &explanation.flow_table else {
        if slot.state == "chained" {
            return "not asked: the packet names those who had the slot, and the target hands it on if need be"
                .to_owned();
        }
        let why =
            if tracking == "never" { "the target group remembers no flow" } else { "the slot is stable" };
        return format!("not asked: {why}");
    };
    if opens {
        return opening(part, slot);
    }
    let Some(on) = &part.remembered_on else { return unknown(part, slot, tracking) };
    let seen = part.seen_seconds_ago.map_or(String::new(), |seconds| format!(", seen {seconds} s ago"));
    let ignored = !part.exception && slot.current.as_ref() != Some(on);
    let rest = if ignored { "; ignored, because that target is dead" } else { "" };
    format!("remembered on {on}{seen}{rest}")
}

fn opening(part: &FlowTablePart, slot: &SlotPart) -> String {
    let old = part.remembered_on.as_ref().map_or(String::new(), |on| format!("forgets {on}, "));
    let new = if slot.state == "changing" { "remembers the new target" } else { "needs to remember nothing" };
    format!("a SYN begins anew: {old}{new}")
}

fn unknown(part: &FlowTablePart, slot: &SlotPart, tracking: &str) -> String {
    match (slot.state.as_str(), part.exception) {
        _ if tracking == "always" => "unknown: a new flow, to be remembered".to_owned(),
        ("changing", true) => "unknown, so it began before the change: to the previous target".to_owned(),
        ("changing", false) => "unknown, and the previous target is dead: to the current one".to_owned(),
        _ => "unknown: to the current target".to_owned(),
    }
}

fn target(part: &TargetPart) -> String {
    format!("{} of target group {}, {}", part.address, part.target_group, part.state)
}

fn next_hop(part: &TargetPart, packet: Option<&PacketPart>) -> String {
    let way = match &part.next_hop {
        NextHopReport::Resolved { interface, mac, .. } => format!("{interface}, {mac}"),
        NextHopReport::Unresolved { problem } => format!("none: {problem}"),
    };
    let Some(packet) = packet.filter(|_| part.overhead > 0) else { return way };
    let whole = u32::from(packet.length) + u32::from(part.overhead);
    if whole > u32::from(part.mtu) {
        format!("{way}; too big: {} + {} > {}", packet.length, part.overhead, part.mtu)
    } else {
        format!("{way}; fits: {} + {} ≤ {}", packet.length, part.overhead, part.mtu)
    }
}

fn verdict(explanation: &Explanation) -> String {
    let VerdictPart { verdict, action, reason, description } = &explanation.verdict;
    let FramePart { destination_mac, interface_mac, .. } = &explanation.frame;
    match (reason.as_deref(), description) {
        (Some("other_mac"), _) => format!(
            "{verdict} ({action}), other_mac: the frame is for {destination_mac}, {} is {interface_mac}",
            explanation.interface
        ),
        (Some(reason), Some(description)) => format!("{verdict} ({action}), {reason}: {description}"),
        _ => format!("{verdict} ({action})"),
    }
}

#[cfg(test)]
mod tests;
