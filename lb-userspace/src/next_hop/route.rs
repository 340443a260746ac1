//! The kernel's answer to "how would you send to this address?", reduced to what matters here.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteLwEnCapType, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use rustix::io::Errno;

/// One look-up's outcome.
pub(super) type RouteAnswer = Result<Route, RouteFault>;

/// The path that the kernel chose. Of a multipath route it is the one that the kernel's hash gives this
/// destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Unicast, local, blackhole, ….
    pub(super) kind: RouteType,
    /// Index of the interface; 0 if the route names none.
    pub(super) interface: u32,
    /// The router; none if the target is on the link. May be of the other family (RFC 8950).
    pub(super) gateway: Option<IpAddr>,
    /// The address that the kernel would send from.
    pub(super) source: Option<IpAddr>,
    /// The route's own MTU, or a learnt path MTU; the interface's holds otherwise.
    pub(super) mtu: Option<u16>,
    /// Whether the route needs what the data plane can't do: a light-weight tunnel, MPLS labels.
    pub(super) encapsulated: bool,
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteFault {
    /// The kernel answered with an error: for IPv4 that is how it reports routes that refuse, too.
    Kernel(Errno),
    /// No answer came, or none that could be read.
    NoAnswer,
}

impl Route {
    /// Reads the kernel's message.
    pub(super) fn parse(message: &RouteMessage) -> Route {
        let mut route = Route {
            kind: message.header.kind,
            interface: 0,
            gateway: None,
            source: None,
            mtu: None,
            encapsulated: false,
        };
        for attribute in &message.attributes {
            route.absorb(attribute);
        }
        route
    }

    fn absorb(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.interface = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => self.gateway = Some((*gateway).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => self.gateway = Some((*gateway).into()),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => self.gateway = Some((*gateway).into()),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => self.gateway = Some((*gateway).into()),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::NewDestination(_) => {
                self.encapsulated = true;
            }
            RouteAttribute::EncapType(kind) => self.encapsulated |= *kind != RouteLwEnCapType::None,
            RouteAttribute::PrefSource(address) => self.source = specified(address),
            RouteAttribute::Metrics(metrics) => self.mtu = mtu(metrics),
            _ => {}
        }
    }
}

fn specified(address: &RouteAddress) -> Option<IpAddr> {
    let address: IpAddr = match address {
        RouteAddress::Inet(address) => (*address).into(),
        RouteAddress::Inet6(address) => (*address).into(),
        _ => return None,
    };
    (!address.is_unspecified()).then_some(address)
}

fn mtu(metrics: &[RouteMetric]) -> Option<u16> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(u16::try_from(*mtu).unwrap_or(u16::MAX)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn parse(attributes: Vec<RouteAttribute>) -> Route {
        let mut message = RouteMessage::default();
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        Route::parse(&message)
    }

    #[test]
    fn a_gateway_may_be_of_the_other_family() {
        let via = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let route = parse(vec![RouteAttribute::Via(RouteVia::Inet6(via)), RouteAttribute::Oif(3)]);
        assert_eq!((route.gateway, route.interface), (Some(IpAddr::V6(via)), 3));
        assert!(!route.encapsulated);
    }

    #[test]
    fn light_weight_tunnels_and_foreign_gateways_are_noticed() {
        assert!(parse(vec![RouteAttribute::EncapType(RouteLwEnCapType::Ip)]).encapsulated);
        assert!(parse(vec![RouteAttribute::Via(RouteVia::Packet(vec![0; 6]))]).encapsulated);
        assert!(!parse(vec![RouteAttribute::EncapType(RouteLwEnCapType::None)]).encapsulated);
    }

    #[test]
    fn an_unspecified_source_is_none() {
        let source = |address| parse(vec![RouteAttribute::PrefSource(RouteAddress::Inet(address))]).source;
        assert_eq!(source(Ipv4Addr::UNSPECIFIED), None);
        assert_eq!(source(Ipv4Addr::new(10, 0, 0, 1)), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
    }

    #[test]
    fn the_mtu_is_found_among_other_metrics() {
        let metrics = vec![RouteMetric::Lock(4), RouteMetric::Advmss(1300), RouteMetric::Mtu(1400)];
        assert_eq!(parse(vec![RouteAttribute::Metrics(metrics)]).mtu, Some(1400));
        assert_eq!(parse(vec![RouteAttribute::Metrics(vec![RouteMetric::Mtu(0)])]).mtu, None);
    }
}
