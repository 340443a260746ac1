//! Which ports of which addresses something listens on, from the kernel's lists of sockets. Pure but for
//! [`sockets`].

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::probe::{Service, Transport};

/// A socket that takes connections or datagrams from anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// Its address; unspecified for all addresses, `::` of IPv4 too (if the socket is not for IPv6 alone, which
    /// the list does not tell).
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The port's transport.
    pub transport: Transport,
}

impl Listening {
    /// Whether it is where packets for the service arrive.
    pub fn takes(&self, service: &Service) -> bool {
        let all = match self.address {
            IpAddr::V4(address) => address.is_unspecified() && service.vip.is_ipv4(),
            IpAddr::V6(address) => address.is_unspecified(),
        };
        self.is_at_port_of(service) && (all || self.address == service.vip)
    }

    /// Whether it has the service's port, at whatever address.
    pub fn is_at_port_of(&self, service: &Service) -> bool {
        (self.port, self.transport) == (service.port, service.transport)
    }
}

/// All of them, in the network namespace of the calling thread.
pub fn sockets() -> Vec<Listening> {
    let lists = [
        ("tcp", Transport::Tcp),
        ("tcp6", Transport::Tcp),
        ("udp", Transport::Udp),
        ("udp6", Transport::Udp),
    ];
    let read = |(name, transport)| {
        // A kernel without IPv6 has no such lists.
        let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        text.lines().filter_map(|line| parse(line, transport)).collect::<Vec<_>>()
    };
    let mut found: Vec<Listening> = lists.into_iter().flat_map(read).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// TCP sockets in state LISTEN, UDP ones without a peer.
fn parse(line: &str, transport: Transport) -> Option<Listening> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let state_of_listeners = if transport == Transport::Tcp { "0A" } else { "07" };
    let is_unconnected = remote.split_once(':').is_some_and(|(_, port)| port == "0000");
    (state == state_of_listeners && is_unconnected).then_some(())?;
    let (address, port) = local.split_once(':')?;
    Some(Listening { address: self::address(address)?, port: u16::from_str_radix(port, 16).ok()?, transport })
}

/// The kernel prints each 32-bit word of an address in its own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_read_from_the_kernels_lists() {
        let read = |line, transport| parse(line, transport).map(|at| (at.address.to_string(), at.port));
        let tcp = "   0: 0107C80A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1";
        assert_eq!(read(tcp, Transport::Tcp), Some(("10.200.7.1".into(), 80)));
        let tcp6 = "   1: 000100FC000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(read(tcp6, Transport::Tcp), Some(("fc00:100::1".into(), 443)));
        let udp = "  96: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1";
        assert_eq!(read(udp, Transport::Udp), Some(("0.0.0.0".into(), 53)));
        let established = tcp.replace(" 0A ", " 01 ");
        assert_eq!(read(&established, Transport::Tcp), None);
        let connected = udp.replace("00000000:0000 07", "0100000A:0035 07");
        assert_eq!(read(&connected, Transport::Udp), None);
        assert_eq!(read("  sl  local_address rem_address   st", Transport::Tcp), None);
    }

    #[test]
    fn a_socket_takes_what_is_for_its_address_or_for_all() {
        let service = |vip: &str| Service { vip: vip.parse().unwrap(), port: 80, transport: Transport::Tcp };
        let takes = |address: &str, vip: &str| {
            let at = Listening { address: address.parse().unwrap(), port: 80, transport: Transport::Tcp };
            at.takes(&service(vip))
        };
        for (address, vip, expected) in [
            ("0.0.0.0", "192.0.2.7", true),
            ("::", "192.0.2.7", true),
            ("::", "2001:db8::7", true),
            ("0.0.0.0", "2001:db8::7", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("10.0.0.2", "192.0.2.7", false),
        ] {
            assert_eq!(takes(address, vip), expected, "{address} {vip}");
        }
    }
}
