//! Ports that the target serves under another number than its listeners have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::ensure;
use lb_common::flow::{TCP, UDP};
use serde::Deserialize;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// Its number.
    pub(super) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A listener's port, and the target's that it is translated to and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// The listener's VIP.
    pub vip: IpAddr,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// The listener's port: what clients connect to.
    pub listener_port: u16,
    /// The target's port: what its server listens on, at the VIP.
    pub target_port: u16,
}

/// It is not written `VIP:PORT/tcp=PORT`.
#[derive(Debug, thiserror::Error)]
#[error("expected `VIP:PORT/tcp=PORT` or `…/udp=PORT` such as `192.0.2.7:80/tcp=8080`, found `{0}`")]
pub struct PortMappingError(String);

impl FromStr for PortMapping {
    type Err = PortMappingError;

    fn from_str(text: &str) -> Result<PortMapping, PortMappingError> {
        read(text).ok_or_else(|| PortMappingError(text.to_owned()))
    }
}

fn read(text: &str) -> Option<PortMapping> {
    let (listener, target) = text.split_once('=')?;
    let (address, protocol) = listener.split_once('/')?;
    let listener: SocketAddr = address.parse().ok()?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(PortMapping {
        vip: listener.ip(),
        protocol,
        listener_port: listener.port(),
        target_port: target.parse().ok()?,
    })
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = SocketAddr::new(self.vip, self.listener_port);
        write!(f, "{listener}/{}={}", self.protocol, self.target_port)
    }
}

/// The mappings, if packets can find their way there and back by them alone.
pub(super) fn valid(
    mappings: Vec<PortMapping>,
    vips: &BTreeSet<IpAddr>,
) -> anyhow::Result<BTreeSet<PortMapping>> {
    let (mut listeners, mut targets) = (BTreeMap::new(), BTreeMap::new());
    for mapping in &mappings {
        let PortMapping { vip, protocol, listener_port, target_port } = *mapping;
        ensure!(vips.contains(&vip), "port {mapping}: {vip} is no VIP of this target");
        ensure!(listener_port != 0 && target_port != 0, "port {mapping}: there is no port 0");
        ensure!(listener_port != target_port, "port {mapping}: both ports are the same, leave it out");
        let other = listeners.insert((vip, protocol, listener_port), mapping);
        ensure!(other.is_none(), "port {mapping}: the listener's port has another target's port already");
        let other = targets.insert((vip, protocol, target_port), mapping);
        ensure!(
            other.is_none(),
            "port {mapping}: another listener's port is translated to {target_port}; by an answer's port alone \
             nobody could tell which it belongs to"
        );
    }
    Ok(mappings.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[&str]) -> anyhow::Result<BTreeSet<PortMapping>> {
        let vips = ["192.0.2.7".parse().unwrap(), "fc00::7".parse().unwrap()].into();
        valid(texts.iter().map(|text| text.parse().unwrap()).collect(), &vips)
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["192.0.2.7:80/tcp=8080", "[fc00::7]:53/udp=5353"] {
            assert_eq!(text.parse::<PortMapping>().unwrap().to_string(), text);
        }
        for wrong in
            ["", "192.0.2.7:80=8080", "192.0.2.7/tcp=8080", "192.0.2.7:80/sctp=1", "192.0.2.7:80/tcp=65536"]
        {
            assert!(wrong.parse::<PortMapping>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ports_name_each_other_or_are_refused() {
        let good = [
            "192.0.2.7:80/tcp=8080",
            "192.0.2.7:80/udp=8080",
            "[fc00::7]:80/tcp=8080",
            "192.0.2.7:8080/tcp=80",
        ];
        assert_eq!(told(&good).unwrap().len(), 4);
        for (texts, expected) in [
            (&["192.0.2.8:80/tcp=8080"][..], "is no VIP"),
            (&["192.0.2.7:80/tcp=80"], "both ports are the same"),
            (&["192.0.2.7:80/tcp=0"], "no port 0"),
            (&["192.0.2.7:80/tcp=1", "192.0.2.7:80/tcp=2"], "another target's port"),
            (&["192.0.2.7:80/tcp=1", "192.0.2.7:81/tcp=1"], "another listener's port"),
        ] {
            let message = told(texts).unwrap_err().to_string();
            assert!(message.contains(expected), "{texts:?}: {message}");
        }
    }
}
