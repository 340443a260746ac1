//! The host's interfaces as the kernel last described them. No sockets but in [`interface`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};

use super::requests::Requests;
use crate::xdp;

/// One network interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its index: not given to another interface while it exists.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; none if it is not Ethernet (`lo`, tunnels, point-to-point).
    pub mac: Option<[u8; 6]>,
    /// Bytes of an IP packet that it takes; more than 65535 (as `lo` has) is 65535.
    pub mtu: u16,
    /// Whether it is set up and has a carrier.
    pub up: bool,
    /// The kernel's word for a virtual interface (`veth`, `vlan`, `bond`, `bridge`), none for hardware.
    pub kind: Option<String>,
    /// The id of the XDP program on it, if there is one.
    pub xdp_program: Option<u32>,
}

/// Asks the kernel for the interface called `name` in the network namespace of the calling thread.
pub async fn interface(name: &str) -> anyhow::Result<Interface> {
    let message = Requests::open()?.link(name).await.with_context(|| {
        format!("interface {name}: the kernel doesn't show it; compare `ip link show {name}`")
    })?;
    Interface::parse(&message).with_context(|| {
        format!("interface {name}: the kernel's answer has no name; compare `ip link show {name}`")
    })
}

impl Interface {
    /// None for messages that are not about an interface as such: a bridge's view of its port, and events of
    /// wireless drivers, have the same type but another family or no name.
    pub(super) fn parse(message: &LinkMessage) -> Option<Interface> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let mut interface = Interface {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
            kind: None,
            xdp_program: None,
        };
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Address(mac) if ethernet => interface.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => interface.mtu = u16::try_from(*mtu).unwrap_or(u16::MAX),
                LinkAttribute::LinkInfo(info) => interface.kind = kind(info),
                LinkAttribute::Xdp(attributes) => interface.xdp_program = xdp::occupant(attributes),
                _ => {}
            }
        }
        (!interface.name.is_empty()).then_some(interface)
    }
}

fn kind(info: &[LinkInfo]) -> Option<String> {
    info.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

/// All interfaces by index. Cheap to clone: readers share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Links(Arc<BTreeMap<u32, Interface>>);

impl Links {
    /// What a complete listing of the kernel says.
    pub(super) fn from_dump(messages: &[LinkMessage]) -> Links {
        Links(Arc::new(
            messages
                .iter()
                .filter_map(Interface::parse)
                .map(|interface| (interface.index, interface))
                .collect(),
        ))
    }

    /// Takes in one notification. Returns the index of the interface if it is not as it was.
    pub(super) fn update(&mut self, message: &LinkMessage) -> Option<u32> {
        let interface = Interface::parse(message)?;
        let index = interface.index;
        if self.by_index(index) == Some(&interface) {
            return None;
        }
        Arc::make_mut(&mut self.0).insert(index, interface);
        Some(index)
    }

    /// Takes in that an interface is gone. Returns its index if it was known.
    pub(super) fn remove(&mut self, message: &LinkMessage) -> Option<u32> {
        // A port that leaves a bridge is announced by the bridge family with the same message type.
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let index = message.header.index;
        Arc::make_mut(&mut self.0).remove(&index).map(|_| index)
    }

    /// The interface with that index.
    pub(super) fn by_index(&self, index: u32) -> Option<&Interface> {
        self.0.get(&index)
    }

    /// The whole, for readers.
    pub(super) fn share(&self) -> Arc<BTreeMap<u32, Interface>> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
impl FromIterator<Interface> for Links {
    fn from_iter<I: IntoIterator<Item = Interface>>(interfaces: I) -> Links {
        Links(Arc::new(interfaces.into_iter().map(|interface| (interface.index, interface)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: u32, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = flags;
        message.attributes = vec![
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        ];
        message
    }

    #[test]
    fn an_interface_is_up_when_it_is_set_up_and_has_a_carrier() {
        let up = |flags| Interface::parse(&message(2, flags)).expect("it is an interface").up;
        assert!(up(LinkFlags::Up | LinkFlags::Running | LinkFlags::Multicast));
        assert!(!up(LinkFlags::Up));
        assert!(!up(LinkFlags::Running));
    }

    #[test]
    fn only_ethernet_has_a_mac_address() {
        let mut tunnel = message(2, LinkFlags::Up);
        assert_eq!(Interface::parse(&tunnel).and_then(|i| i.mac), Some([2, 0, 0, 0, 0, 1]));
        tunnel.header.link_layer_type = LinkLayerType::Loopback;
        assert_eq!(Interface::parse(&tunnel).and_then(|i| i.mac), None);
    }

    #[test]
    fn an_mtu_that_does_not_fit_is_the_largest_that_does() {
        let mut loopback = message(1, LinkFlags::Up);
        loopback.attributes.push(LinkAttribute::Mtu(65536));
        assert_eq!(Interface::parse(&loopback).map(|i| i.mtu), Some(65535));
    }

    #[test]
    fn a_bridges_message_about_its_port_changes_nothing() {
        let mut links = Links::from_dump(&[message(2, LinkFlags::Up)]);
        let mut port = message(2, LinkFlags::empty());
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(links.update(&port), None);
        assert_eq!(links.remove(&port), None);
        assert!(links.by_index(2).is_some());
    }

    #[test]
    fn a_repeated_description_is_no_change() {
        const UP: LinkFlags = LinkFlags::Up.union(LinkFlags::Running);
        let mut links = Links::default();
        assert_eq!(links.update(&message(2, UP)), Some(2));
        assert_eq!(links.update(&message(2, UP)), None);
        assert_eq!(links.update(&message(2, LinkFlags::empty())), Some(2));
        assert_eq!(links.remove(&message(2, LinkFlags::empty())), Some(2));
        assert_eq!(links.remove(&message(2, LinkFlags::empty())), None);
    }
}
