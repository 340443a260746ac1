//! Cables and switches between hosts: veth pairs and bridges.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::host::Host;
use crate::offload;
use crate::process::output_of;

/// The longest name that an interface can have (`IFNAMSIZ` without its final zero).
const MAX_NAME: usize = 15;

/// One end of a cable.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The host that it is plugged into.
    pub host: &'a Host,
    /// The interface's name there, at most 15 bytes.
    pub interface: &'a str,
}

/// Joins two hosts by a veth pair that carries IP packets of up to `mtu` bytes, both ends up and fit for XDP.
pub fn connect(a: End<'_>, b: End<'_>, mtu: u16) -> Result<()> {
    for end in [a, b] {
        ensure!(end.interface.len() <= MAX_NAME, "the interface name {} is too long", end.interface);
    }
    let mtu = mtu.to_string();
    output_of(Command::new("ip").args([
        "link",
        "add",
        "name",
        a.interface,
        "mtu",
        &mtu,
        "netns",
        a.host.name(),
        "type",
        "veth",
        "peer",
        "name",
        b.interface,
        "mtu",
        &mtu,
        "netns",
        b.host.name(),
    ]))?;
    for end in [a, b] {
        end.host.ip(&format!("link set dev {} up", end.interface))?;
    }
    // Only when both are up, see there.
    for end in [a, b] {
        offload::fit_for_xdp(end.host, end.interface)?;
    }
    Ok(())
}

/// Makes a bridge on a host: the switch that its `ports` are plugged into.
pub fn bridge(host: &Host, name: &str, mtu: u16) -> Result<()> {
    // An address of its own; otherwise it would change with the ports, and neighbours would know an old one.
    let address: [u8; 5] = std::array::from_fn(|_| fastrand::u8(..));
    let address: String = address.iter().map(|byte| format!(":{byte:02x}")).collect();
    let options = "stp_state 0 forward_delay 0 mcast_snooping 0";
    host.ip(&format!("link add name {name} address 02{address} mtu {mtu} type bridge {options}"))?;
    host.ip(&format!("link set dev {name} up"))?;
    Ok(())
}

/// Plugs an interface of a host into a bridge of the same host.
pub fn plug(host: &Host, interface: &str, bridge: &str) -> Result<()> {
    host.ip(&format!("link set dev {interface} master {bridge}")).map(drop)
}

/// Gives an interface an address; /24 for IPv4, /64 for IPv6, as all of the lab's networks are.
pub fn address(host: &Host, interface: &str, address: IpAddr) -> Result<()> {
    let (prefix, nodad) = if address.is_ipv4() { (24, "") } else { (64, "nodad") };
    host.ip(&format!("address add {address}/{prefix} dev {interface} {nodad}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lease;

    #[test]
    fn two_connected_hosts_reach_each_other() {
        if !crate::require_root() {
            return;
        }
        let lease = Lease::take().unwrap();
        let (a, b) = (Host::new(&lease, "a").unwrap(), Host::new(&lease, "b").unwrap());
        connect(End { host: &a, interface: "eth0" }, End { host: &b, interface: "eth0" }, 1600).unwrap();
        for (host, number) in [(&a, 1), (&b, 2)] {
            address(host, "eth0", format!("192.0.2.{number}").parse().unwrap()).unwrap();
            address(host, "eth0", format!("2001:db8::{number}").parse().unwrap()).unwrap();
        }
        let echo = b.enter(|| std::net::TcpListener::bind("[::]:7").unwrap());
        for peer in ["192.0.2.2:7", "[2001:db8::2]:7"] {
            a.enter(|| std::net::TcpStream::connect(peer)).unwrap();
            let seen = echo.accept().unwrap().1.ip().to_canonical();
            assert!(["192.0.2.1", "2001:db8::1"].contains(&seen.to_string().as_str()), "{seen}");
        }
        assert!(a.ip("link show dev eth0").unwrap().contains("mtu 1600"));
    }
}
