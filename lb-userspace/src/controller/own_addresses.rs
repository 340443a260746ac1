//! A node is not its own target: a packet that it encapsulated for itself would come back to it.
//!
//! The configuration alone can't tell which addresses are the node's, so this is asked of the kernel before a
//! configuration is taken. An address that the node gets later is seen by `next_hop`, and then has no next hop.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::model::{Desired, TargetKey};

/// Refuses a desired state with a target that is an address of this host.
pub(super) async fn refuse_as_targets(desired: &Desired) -> anyhow::Result<()> {
    let own = own_addresses().await?;
    match targets_among(desired, &own).next() {
        None => Ok(()),
        Some(target) => bail!(
            "the target {target} is an address of this node, and its packets would come back here: a target must \
             be another host; remove the target, or the address (`ip address`)"
        ),
    }
}

/// All addresses of this host's interfaces.
async fn own_addresses() -> anyhow::Result<BTreeSet<IpAddr>> {
    let (connection, handle, _unsolicited) =
        rtnetlink::new_connection().context("opening a netlink socket for the host's addresses")?;
    let connection = tokio::spawn(connection);
    let messages = handle.address().get().execute().try_collect::<Vec<_>>().await;
    connection.abort();
    let messages = messages.context("listing the host's addresses")?;
    Ok(messages.iter().filter_map(address).collect())
}

/// The host's address in a message: on a point-to-point link `Address` is the peer's, and `Local` the host's.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let local = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    };
    let any = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    find(local).or_else(|| find(any))
}

fn targets_among<'a>(
    desired: &'a Desired,
    own: &'a BTreeSet<IpAddr>,
) -> impl Iterator<Item = TargetKey> + use<'a> {
    desired.target_groups.iter().flat_map(move |(name, group)| {
        let found = group.targets.keys().filter(|address| own.contains(address));
        found.map(|address| TargetKey { target_group: name.clone(), address: *address })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_target_that_is_the_nodes_own_address_is_named() {
        let text = r#"{ "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] }, "load_balancers": [],
            "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80,
                "targets": [ { "id": "10.0.0.1" }, { "id": "fc00::1" } ] } ] }"#;
        let desired = config::parse("test.json", text).expect("a good file");
        let found = |own: &[&str]| {
            let own = own.iter().map(|address| address.parse().expect("an address")).collect();
            targets_among(&desired, &own).map(|target| target.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found(&["10.0.0.2", "fc00::1"]), ["web/fc00::1"]);
        assert_eq!(found(&["127.0.0.1", "10.0.0.11"]), Vec::<String>::new());
    }

    #[test]
    fn the_local_end_of_a_link_is_the_hosts() {
        let mut message = AddressMessage::default();
        message.attributes = vec![AddressAttribute::Address("10.0.0.2".parse().unwrap())];
        assert_eq!(address(&message), Some("10.0.0.2".parse().unwrap()));
        message.attributes.push(AddressAttribute::Local("10.0.0.1".parse().unwrap()));
        assert_eq!(address(&message), Some("10.0.0.1".parse().unwrap()));
    }
}
