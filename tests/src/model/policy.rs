//! Whom a listener serves. Limits of new flows are not the model's: time is not in its hands, so the nodes that it
//! plays have none that is ever reached.

use std::net::IpAddr;

/// What stands before a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whose TCP segments it takes: address and prefix length; none is everybody's.
    pub tcp: Option<Vec<(IpAddr, u8)>>,
    /// Whose UDP datagrams, likewise.
    pub udp: Option<Vec<(IpAddr, u8)>>,
    /// Whether new flows are counted.
    pub counts: bool,
}

impl Policy {
    /// Whether a packet of `protocol` from `source` goes on.
    pub(super) fn admits(&self, protocol: u8, source: IpAddr) -> bool {
        let list = if protocol == super::packet::TCP { &self.tcp } else { &self.udp };
        match list {
            None => true,
            Some(prefixes) => prefixes.iter().any(|(first, length)| is_in(source, *first, *length)),
        }
    }
}

/// Whether two addresses of one family begin with the same `length` bits.
fn is_in(source: IpAddr, first: IpAddr, length: u8) -> bool {
    match (source, first) {
        (IpAddr::V4(source), IpAddr::V4(first)) => same(&source.octets(), &first.octets(), length.into()),
        (IpAddr::V6(source), IpAddr::V6(first)) => same(&source.octets(), &first.octets(), length.into()),
        _ => false,
    }
}

fn same(one: &[u8], other: &[u8], length: usize) -> bool {
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    (0..length).all(|at| bit(one, at) == bit(other, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_the_addresses_that_begin_like_it() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let is_in = |source: &str, first: &str, length| super::is_in(address(source), address(first), length);
        assert!(is_in("192.0.2.127", "192.0.2.0", 25) && !is_in("192.0.2.128", "192.0.2.0", 25));
        assert!(is_in("1.2.3.4", "0.0.0.0", 0) && is_in("::1", "::", 0) && !is_in("1.2.3.4", "::", 0));
        assert!(is_in("2001:db8::1", "2001:db8::1", 128) && !is_in("2001:db8::2", "2001:db8::1", 128));
    }
}
