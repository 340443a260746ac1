//! A target without Sluice's agent: the kernel's own tunnels, as any host can have them with `ip`.

use std::net::IpAddr;

use anyhow::Result;
use lab::topology::Target;
use lb_common::encapsulation::GUE_PORT;

/// Lets the kernel of `target` take tunnel packets from anybody, and serve `vips`.
///
/// The devices only receive: answers go straight to the clients. GUE needs no device of its own, what comes out
/// of its UDP port is a packet of protocol 4 or 41, which the same devices take.
pub(super) fn open(target: &Target, vips: &[IpAddr]) -> Result<()> {
    // A router that asks for a VIP must get no answer from a target.
    target.host.set_sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    target.host.set_sysctl("net/ipv4/conf/all/arp_announce", "2")?;
    for vip in vips {
        let length = if vip.is_ipv4() { 32 } else { 128 };
        target.host.ip(&format!("address add {vip}/{length} dev lo"))?;
    }
    for (name, device) in [
        ("ipip1", format!("type ipip local {} remote any", target.v4)),
        ("sit1", format!("type sit local {} remote any", target.v4)),
        ("ip6tnl1", format!("type ip6tnl mode any local {} remote any", target.v6)),
    ] {
        target.host.ip(&format!("link add name {name} {device}"))?;
        target.host.ip(&format!("link set dev {name} up"))?;
    }
    target.host.ip(&format!("fou add port {GUE_PORT} gue"))?;
    target.host.ip(&format!("-6 fou add port {GUE_PORT} gue")).map(drop)
}
