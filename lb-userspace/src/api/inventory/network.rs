//! An IP network: an address and the length of its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `10.0.0.0/8` or `fd00::/8`; the bits after the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    /// 0 to 32 or 128.
    prefix: u8,
}

impl Network {
    /// The one of a single address.
    pub fn of(address: IpAddr) -> Network {
        Network { address, prefix: if address.is_ipv6() { 128 } else { 32 } }
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv6() == address.is_ipv6()
            && (bits(address) ^ bits(self.address)).checked_shr(self.host_bits()).unwrap_or(0) == 0
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Network) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Its first address and the length of its prefix.
    pub fn prefix(&self) -> (IpAddr, u8) {
        (self.address, self.prefix)
    }

    /// Whether its addresses are IPv6 ones.
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// How many addresses it has that hosts may have: without an IPv4 network's first and last one (the network's and
    /// the broadcast address), and without an IPv6 network's first (the routers' anycast address, RFC 4291), where
    /// it is longer than two.
    pub fn hosts(&self) -> u128 {
        let all = 1_u128.checked_shl(self.host_bits()).unwrap_or(u128::MAX);
        if all <= 2 { all } else { all - if self.is_ipv6() { 1 } else { 2 } }
    }

    /// The host address of that number, which is below [`Network::hosts`].
    pub fn host(&self, number: u128) -> IpAddr {
        let first = u128::from(self.host_bits() > 1);
        let bits = bits(self.address) + first + number;
        match self.address {
            IpAddr::V4(_) => {
                Ipv4Addr::from(u32::try_from(bits).expect("below 2³² in an IPv4 network")).into()
            }
            IpAddr::V6(_) => Ipv6Addr::from(bits).into(),
        }
    }

    /// The number of a host address, the reverse of [`Network::host`].
    pub fn number(&self, address: IpAddr) -> Option<u128> {
        let first = u128::from(self.host_bits() > 1);
        let number = bits(address).checked_sub(bits(self.address) + first)?;
        (self.contains(address) && number < self.hosts()).then_some(number)
    }

    fn host_bits(&self) -> u32 {
        if self.is_ipv6() { 128 - u32::from(self.prefix) } else { 32 - u32::from(self.prefix) }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let expected =
            || format!("{text:?} is no network; expected an address and a prefix: 10.0.0.0/8, fd00::/8");
        let (address, prefix) = text.split_once('/').ok_or_else(expected)?;
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let prefix: u8 = prefix.parse().map_err(|_| expected())?;
        if prefix > if address.is_ipv6() { 128 } else { 32 } {
            return Err(expected());
        }
        let network = Network { address, prefix };
        let hosts = 1_u128.checked_shl(network.host_bits()).map_or(u128::MAX, |all| all - 1);
        if bits(address) & hosts != 0 {
            return Err(format!(
                "{text:?} has bits after its prefix; the network's own address comes before the /"
            ));
        }
        Ok(network)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (net, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("10.0.0.4/30", "10.0.0.7", "10.0.0.8"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::/0", "ffff::", "0.0.0.0"),
        ] {
            assert!(network(net).contains(inside.parse().unwrap()), "{inside} in {net}");
            assert!(!network(net).contains(outside.parse().unwrap()), "{outside} not in {net}");
        }
        assert!(network("10.0.0.0/8").overlaps(&network("10.1.0.0/16")));
        assert!(!network("10.0.0.0/16").overlaps(&network("10.1.0.0/16")));
    }

    #[test]
    fn hosts_are_numbered() {
        for (net, hosts, first, last) in [
            ("10.0.0.0/24", 254, "10.0.0.1", "10.0.0.254"),
            ("10.0.0.0/30", 2, "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/31", 2, "10.0.0.0", "10.0.0.1"),
            ("10.0.0.7/32", 1, "10.0.0.7", "10.0.0.7"),
            ("fd00::/126", 3, "fd00::1", "fd00::3"),
            ("fd00::7/128", 1, "fd00::7", "fd00::7"),
        ] {
            let net = network(net);
            assert_eq!(net.hosts(), hosts);
            assert_eq!(
                (net.host(0).to_string(), net.host(hosts - 1).to_string()),
                (first.into(), last.into())
            );
            assert_eq!(net.number(net.host(hosts - 1)), Some(hosts - 1));
        }
        assert_eq!(network("10.0.0.0/24").number("10.0.0.255".parse().unwrap()), None);
        assert_eq!(network("10.0.0.0/24").number("10.0.1.1".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.1/8", "x/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
