//! What the kernel of this host says: addresses, settings, counters. Reads only.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use anyhow::Context;
use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::next_hop::{self, Interface};

/// An address of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The name of the interface that has it.
    pub interface: String,
}

impl Held {
    /// The command that takes the address away.
    pub fn removal(&self) -> String {
        format!("ip address delete {}/{} dev {}", self.address, self.prefix, self.interface)
    }
}

/// The host's interfaces by name, and its addresses.
///
/// # Errors
/// If the kernel does not answer.
pub async fn links() -> anyhow::Result<(BTreeMap<String, Interface>, Vec<Held>)> {
    let interfaces = next_hop::interfaces().await?;
    let (connection, handle, _unsolicited) =
        rtnetlink::new_connection().context("opening a netlink socket for the host's addresses")?;
    let connection = tokio::spawn(connection);
    let messages = handle.address().get().execute().try_collect::<Vec<_>>().await;
    connection.abort();
    let messages = messages.context("listing the host's addresses")?;
    let name = |index| interfaces.iter().find(|at| at.index == index).map(|at| at.name.clone());
    let held = messages.iter().filter_map(|message| held(message, name(message.header.index)?)).collect();
    Ok((interfaces.into_iter().map(|at| (at.name.clone(), at)).collect(), held))
}

/// Of a point-to-point link, `Local` is this host's and `Address` the other end's.
fn held(message: &AddressMessage, interface: String) -> Option<Held> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some(Held { address: found?, prefix: message.header.prefix_len, interface })
}

/// The kernel's number for `/proc/sys/net/ipv4/conf/INTERFACE/SETTING`, of which it takes the greater of the
/// interface's and that of `all`; none if either can't be read.
pub fn ipv4_setting(interface: &str, setting: &str) -> Option<u32> {
    let read = |of: &str| -> Option<u32> {
        // A file of its own for each name: a VLAN's dot is part of it.
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/{setting}")).ok()?;
        text.trim().parse().ok()
    };
    Some(read("all")?.max(read(interface)?))
}

/// How many packets the IPv4 reverse-path filter has dropped in this network namespace; none if the kernel does
/// not tell.
pub fn reverse_path_drops() -> Option<u64> {
    counter(&fs::read_to_string("/proc/thread-self/net/netstat").ok()?, "TcpExt:", "IPReversePathFilter")
}

/// A number of `/proc/net/netstat`: a line of names is followed by one of values.
fn counter(text: &str, line: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|candidate| candidate.starts_with(line));
    let at = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 17\nIpExt: InNoRoutes\nIpExt: 3\n";
        assert_eq!(counter(text, "TcpExt:", "IPReversePathFilter"), Some(17));
        assert_eq!(counter(text, "IpExt:", "InNoRoutes"), Some(3));
        assert_eq!(counter(text, "TcpExt:", "InNoRoutes"), None);
    }

    #[test]
    fn an_address_is_removed_where_it_is() {
        let held = Held { address: "fc00:1::1".parse().unwrap(), prefix: 128, interface: "lo".into() };
        assert_eq!(held.removal(), "ip address delete fc00:1::1/128 dev lo");
    }
}
