//! The host's links and addresses, through rtnetlink.

use std::net::IpAddr;

use anyhow::Context;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;
use tracing::warn;

/// A link of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Its index.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
    /// Whether it is a loopback.
    pub(super) is_loopback: bool,
    /// Whether it is administratively up.
    pub(super) is_up: bool,
    /// Bytes of an IP packet that it carries.
    pub(super) mtu: u32,
    /// The id of the XDP program that is attached to it.
    pub(super) xdp_program: Option<u32>,
}

/// An address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    /// The address.
    pub(super) address: IpAddr,
    /// The index of the link that has it.
    pub(super) interface: u32,
}

/// A connection to the kernel; its task ends with it.
pub(super) struct Netlink {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Netlink {
    /// Connects to the kernel, in the network namespace of this thread.
    pub(super) fn connect() -> anyhow::Result<Netlink> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening a netlink socket")?;
        Ok(Netlink { handle, task: tokio::spawn(connection) })
    }

    /// All links.
    pub(super) async fn links(&self) -> anyhow::Result<Vec<Link>> {
        let links = self.handle.link().get().execute().map_ok(|message| link(&message));
        links.try_collect().await.context("listing the host's interfaces")
    }

    /// All addresses.
    pub(super) async fn addresses(&self) -> anyhow::Result<Vec<Address>> {
        let messages = self.handle.address().get().execute();
        let addresses = messages.try_filter_map(async |message| Ok(address(&message)));
        addresses.try_collect().await.context("listing the host's addresses")
    }

    /// Adds the VIP to the link. It is no source address for what the host itself sends: in IPv4 by its scope, in
    /// IPv6 by being deprecated (RFC 6724, rule 3) where there is another.
    pub(super) async fn add(&self, vip: IpAddr, link: u32) -> anyhow::Result<()> {
        let mut request = self.handle.address().add(link, vip, prefix(vip));
        let message = request.message_mut();
        if vip.is_ipv4() {
            message.header.scope = AddressScope::Host;
        } else {
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut lifetime = CacheInfo::default();
            (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        request.execute().await.with_context(|| {
            let hint = if vip.is_ipv6() { " (is IPv6 disabled there?)" } else { "" };
            format!("adding VIP {vip} to the loopback{hint}")
        })
    }

    /// Removes the VIP from the link; nothing, if it isn't there.
    pub(super) async fn remove(&self, vip: IpAddr, link: u32) -> anyhow::Result<()> {
        let message = self.handle.address().add(link, vip, prefix(vip)).message_mut().clone();
        match self.handle.address().del(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if is_absent(error.raw_code()) => Ok(()),
            done => done.with_context(|| format!("removing VIP {vip} from the loopback")),
        }
    }
}

fn is_absent(code: i32) -> bool {
    let absent = [rustix::io::Errno::ADDRNOTAVAIL, rustix::io::Errno::NODEV];
    absent.iter().any(|errno| errno.raw_os_error() == -code)
}

fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        is_loopback: message.header.flags.contains(LinkFlags::Loopback),
        is_up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        xdp_program: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Xdp(attributes) => link.xdp_program = crate::xdp::occupant(attributes),
            _ => {}
        }
    }
    link
}

/// Of a point-to-point link, `Local` is this host's and `Address` the other end's.
fn address(message: &AddressMessage) -> Option<Address> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some(Address { address: found?, interface: message.header.index })
}

/// Tells when an address of the host has come or gone.
pub(super) struct AddressChanges {
    messages: Messages,
    task: JoinHandle<()>,
}

type Messages = futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

impl Drop for AddressChanges {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AddressChanges {
    /// Watches from now on.
    pub(super) fn watch() -> anyhow::Result<AddressChanges> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&groups).context("watching the host's addresses")?;
        let messages = messages.map(|(message, _)| message).boxed();
        Ok(AddressChanges { messages, task: tokio::spawn(connection) })
    }

    /// Returns after the next change, or several at once; never, if the kernel tells no more.
    pub(super) async fn changed(&mut self) {
        if self.messages.next().await.is_none() {
            warn!("the kernel tells no more of changed addresses; they are read twice a minute");
            std::future::pending().await
        }
        while self.messages.next().now_or_never().flatten().is_some() {}
    }
}
