//! The rtnetlink socket that reads and writes the routes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use futures_util::TryStreamExt;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::plan::{Change, Place, Route};
use crate::netlink::{RequestError, within_timeout};

/// The socket.
pub(crate) struct Requests {
    handle: Handle,
    /// Ends with this.
    _connection: JoinSet<()>,
}

impl Requests {
    /// Opens it in the calling thread's network namespace.
    pub(crate) fn open() -> anyhow::Result<Requests> {
        // Strict: the kernel then lists the asked table alone, and not a million routes of another.
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection_with_strict_check().context("opening a netlink socket for requests")?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Requests { handle, _connection: task })
    }

    /// All routes of some tables, whoever made them.
    pub(super) async fn routes(&self, tables: &BTreeSet<u32>) -> Result<Vec<Route>, RequestError> {
        let mut routes = Vec::new();
        for table in tables {
            let v4 = RouteMessageBuilder::<Ipv4Addr>::new();
            let v6 = RouteMessageBuilder::<Ipv6Addr>::new();
            for question in [listing(v4, *table), listing(v6, *table)] {
                let listed: Result<Vec<RouteMessage>, RequestError> =
                    within_timeout(self.handle.route().get(question).execute().try_collect()).await;
                match listed {
                    Ok(listed) => routes.extend(listed.iter().filter_map(parse)),
                    // A table without a route does not exist.
                    Err(RequestError::Kernel(Errno::NOENT)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        routes.retain(|route| tables.contains(&route.place.table));
        Ok(routes)
    }

    /// Does it. A route that went by itself needs no removal.
    pub(crate) async fn apply(&self, change: Change) -> Result<(), RequestError> {
        match change {
            Change::Create(route) => within_timeout(self.handle.route().add(message(&route)).execute()).await,
            Change::Replace(route) => {
                within_timeout(self.handle.route().add(message(&route)).replace().execute()).await
            }
            Change::Remove(route) => {
                let mut message = message(&route);
                // Whatever its scope is.
                message.header.scope = RouteScope::NoWhere;
                match within_timeout(self.handle.route().del(message).execute()).await {
                    Err(RequestError::Kernel(Errno::SRCH | Errno::NOENT)) => Ok(()),
                    result => result,
                }
            }
        }
    }
}

/// A clean header: a strict kernel filters by what is in it, and refuses what it can't filter by.
fn listing<T>(builder: RouteMessageBuilder<T>, table: u32) -> RouteMessage {
    let mut message =
        builder.protocol(RouteProtocol::Unspec).scope(RouteScope::Universe).kind(RouteType::Unspec).build();
    place_in(&mut message, table);
    message
}

fn place_in(message: &mut RouteMessage, table: u32) {
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.attributes.push(RouteAttribute::Table(table));
}

fn message(route: &Route) -> RouteMessage {
    let Place { table, destination, length, tos, metric } = route.place;
    let mut message = match destination {
        IpAddr::V4(address) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, length).build()
        }
        IpAddr::V6(address) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, length).build()
        }
    };
    place_in(&mut message, table);
    message.header.tos = tos;
    message.header.protocol = route.protocol.into();
    message.header.kind = route.kind.into();
    message.attributes.push(RouteAttribute::Priority(metric));
    message
}

/// None for what is no unicast family's.
fn parse(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let unspecified = match header.address_family {
        netlink_packet_route::AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        netlink_packet_route::AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut table, mut destination, mut metric) = (u32::from(header.table), unspecified, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = (*address).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = (*address).into(),
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    let length = header.destination_prefix_length;
    let place = Place { table, destination, length, tos: header.tos, metric };
    Some(Route { place, protocol: header.protocol.into(), kind: header.kind.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for (destination, length, table) in
            [("10.200.1.1", 32, 214), ("fc00::1", 128, 70_000), ("0.0.0.0", 0, 7), ("fc00::", 7, 255)]
        {
            let destination = destination.parse().unwrap();
            let place = Place { table, destination, length, tos: 4, metric: 100 };
            let route = Route { place, protocol: 215, kind: 6 };
            assert_eq!(parse(&message(&route)), Some(route));
        }
    }
}
