//! The rules for addresses: which ones a VIP or a target can have, and where metrics can be served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::cursor::At;
use super::json::Quoted;

/// A VIP's or target's address: one that packets are routed to, and that is one host's.
pub(super) fn host(at: &At) -> Option<IpAddr> {
    const RULE: &str = "an IP address such as \"10.0.0.1\" or \"fc00::1\"";
    let text = at.text(RULE)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        return refuse_text(at, text, RULE);
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return at.refuse(format!("{v6} is an IPv4-mapped IPv6 address; write \"{v4}\""));
    }
    let kind = match address {
        IpAddr::V4(v4) => unfit_v4(v4),
        IpAddr::V6(v6) => unfit_v6(v6),
    };
    match kind {
        None => Some(address),
        Some(kind) => {
            at.refuse(format!("{address} is {kind}; expected a host's address that packets can be routed to"))
        }
    }
}

/// People paste addresses with a prefix length from `ip address`.
fn refuse_text(at: &At, text: &str, rule: &str) -> Option<IpAddr> {
    let bare = text.split_once('/').and_then(|(address, _)| address.parse::<IpAddr>().ok());
    match bare {
        Some(bare) => at.refuse(format!("expected one address, found {}; write \"{bare}\"", Quoted(text))),
        None => at.refuse_expecting(rule),
    }
}

fn unfit_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.octets()[0] == 0 => Some("an address of \"this network\" (RFC 1122 section 3.2.1.3)"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_broadcast() => Some("the broadcast address"),
        _ if address.is_link_local() => Some("a link-local address"),
        _ => None,
    }
}

fn unfit_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    }
}

/// An address and port to serve on; port 0 would be another one after every start.
pub(super) fn socket(at: &At) -> Option<SocketAddr> {
    const RULE: &str = "an IP address and a port such as \"127.0.0.1:9100\" or \"[::1]:9100\"";
    let text = at.text(RULE)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        Ok(_) => at.refuse("port 0 is another port after every start; expected a port from 1 to 65535"),
        Err(_) => at.refuse_expecting(RULE),
    }
}
