//! A load balancer's `allow` list: whom its listeners serve.

use std::net::IpAddr;

use lb_common::flow::{TCP, UDP};

use super::cursor::{At, Fields};
use super::json::Quoted;
use crate::model::{AllowList, AllowRule, Listener, ListenerPort, Prefix, RulePorts, RuleProtocol};

const SOURCE: &str = "an address prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
const PORTS: &str = "\"any\", a range such as \"80-90\", or a list of ports and ranges";
const PORT: &str = "a port from 1 to 65535 or a range such as \"80-90\"";

/// The list, if there is one; `Some(None)` lets everybody in.
pub(super) fn read(fields: &Fields) -> Option<Option<AllowList>> {
    let Some(at) = fields.optional("allow") else { return Some(None) };
    let items = at.items("a list of rules that say who is served")?;
    if items.is_empty() {
        return at
            .refuse("an empty list lets nobody in; add a rule, or leave \"allow\" out to let everybody in");
    }
    let rules: Vec<_> = items.iter().map(rule).collect();
    Some(Some(AllowList(rules.into_iter().collect::<Option<_>>()?)))
}

fn rule(at: &At) -> Option<AllowRule> {
    let fields = at.fields(&["sources", "protocol", "ports"])?;
    let sources = sources(&fields.at("sources"));
    let protocols = [("TCP", RuleProtocol::Tcp), ("UDP", RuleProtocol::Udp), ("any", RuleProtocol::Any)];
    let protocol =
        fields.optional("protocol").map_or(Some(RuleProtocol::default()), |at| at.choice(&protocols, &[]));
    let ports = fields.optional("ports").map_or(Some(RulePorts::default()), |at| ports(&at));
    Some(AllowRule { sources: sources?, protocol: protocol?, ports: ports? })
}

fn sources(at: &At) -> Option<Vec<Prefix>> {
    let items = at.items("a list of one or more address prefixes")?;
    if items.is_empty() {
        return at.refuse("an empty list; expected one or more address prefixes");
    }
    let sources: Vec<_> = items.iter().map(source).collect();
    sources.into_iter().collect()
}

/// An address without a length is one host's.
fn source(at: &At) -> Option<Prefix> {
    let text = at.text(SOURCE)?;
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return at.refuse_expecting(SOURCE);
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => Some(longest),
        Some(bits) => bits.parse::<u8>().ok().filter(|bits| *bits <= longest),
    };
    let Some(bits) = bits else {
        return at.refuse(format!("expected a prefix length from 0 to {longest}, found {}", Quoted(text)));
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let bits = bits.saturating_sub(96);
        return at.refuse(format!("{v6} is an IPv4-mapped IPv6 address; write \"{v4}/{bits}\""));
    }
    let around = Prefix::around(address, bits).expect("the length was just checked");
    match Prefix::new(address, bits) {
        Some(prefix) => Some(prefix),
        None => at.refuse(format!("{text} has bits set behind its prefix; write \"{around}\"")),
    }
}

fn ports(at: &At) -> Option<RulePorts> {
    if at.is_text("any") {
        return Some(RulePorts::Any);
    }
    if !at.is_list() {
        return Some(RulePorts::Ranges(vec![range(at, PORTS)?]));
    }
    let items = at.items(PORTS)?;
    if items.is_empty() {
        return at.refuse("an empty list; expected ports, or leave \"ports\" out for all of them");
    }
    let ranges: Vec<_> = items.iter().map(|item| range(item, PORT)).collect();
    Some(RulePorts::Ranges(ranges.into_iter().collect::<Option<_>>()?))
}

fn range(at: &At, expected: &str) -> Option<(u16, u16)> {
    let Some(text) = at.found_text() else {
        return at.number_expecting(1..=u16::MAX, expected).map(|port| (port, port));
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let Some((first, last)) = text.split_once('-').and_then(|(first, last)| port(first).zip(port(last)))
    else {
        return at.refuse_expecting(expected);
    };
    if first > last {
        return at.refuse(format!("the range ends before it begins; write \"{last}-{first}\""));
    }
    Some((first, last))
}

/// Whether every listener has a rule, every rule a listener, and no rule speaks of some ports only of a listener that
/// takes any.
pub(super) fn check(at: &At, list: &AllowList, listeners: &[Listener]) -> Option<()> {
    let halves = || {
        listeners.iter().enumerate().flat_map(|(index, listener)| {
            let has = [(TCP, listener.protocol.has_tcp()), (UDP, listener.protocol.has_udp())];
            has.into_iter().filter(|(_, has)| *has).map(move |(protocol, _)| Half {
                index,
                protocol,
                port: listener.port,
            })
        })
    };
    let mut result = Some(());
    for (index, rule) in list.0.iter().enumerate() {
        let path = format!("{}[{index}]", at.path());
        if let Some((half, port)) = halves().find_map(|half| Some((half, half.lost_port(rule, halves)?))) {
            result = at.refuse_at(
                &format!("{path}.ports"),
                format!(
                    "port {port} is one that {} takes, and a listener of any port has one list for all of them; give \
                     the port a listener of its own, or let this rule have \"ports\": \"any\"",
                    half.path()
                ),
            );
        } else if !halves().any(|half| rule.speaks_of(half.protocol, half.port)) {
            result = at.refuse_at(
                &path,
                "the rule has the protocol and ports of no listener of this load balancer; correct or remove it",
            );
        }
    }
    for half in halves() {
        if !list.0.iter().any(|rule| rule.speaks_of(half.protocol, half.port)) {
            result = at.refuse(format!(
                "no rule lets anybody in to {} of this load balancer ({} {}); add one, or remove the listener",
                half.path(),
                half.protocol_name(),
                half.port
            ));
        }
    }
    result
}

/// A listener's packets of one protocol.
#[derive(Clone, Copy)]
struct Half {
    index: usize,
    protocol: u8,
    port: ListenerPort,
}

impl Half {
    fn path(self) -> String {
        format!("listeners[{}]", self.index)
    }

    fn protocol_name(self) -> &'static str {
        if self.protocol == TCP { "TCP" } else { "UDP" }
    }

    /// The first port that the rule names and that this listener of any port takes.
    fn lost_port<I: Iterator<Item = Half>>(self, rule: &AllowRule, all: impl Fn() -> I) -> Option<u16> {
        let RulePorts::Ranges(ranges) = &rule.ports else { return None };
        if self.port != ListenerPort::Any || !rule.protocol.has(self.protocol) {
            return None;
        }
        let own: std::collections::BTreeSet<ListenerPort> =
            all().filter(|half| half.protocol == self.protocol).map(|half| half.port).collect();
        let mut ports = ranges.iter().flat_map(|(first, last)| *first..=*last);
        ports.find(|port| !own.contains(&ListenerPort::Port(*port)))
    }
}
