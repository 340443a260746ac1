//! The decision: from the kernel's route, the interfaces and the neighbours to a target's next hop, or to the
//! reason why it has none. Pure.

use std::net::IpAddr;

use netlink_packet_route::route::RouteType;
use rustix::io::Errno;

use super::links::{Interface, Links};
use super::neighbours::{Hop, Neighbour, Neighbours, Reach};
use super::route::{Route, RouteAnswer, RouteFault};
use super::{NextHop, Resolution, Unresolved};

/// How `target` is reached.
pub(super) fn resolve(
    target: IpAddr,
    answer: &RouteAnswer,
    links: &Links,
    neighbours: &Neighbours,
) -> Resolution {
    let way = way(target, answer, links)?;
    let neighbour = neighbours.of(way.hop);
    let Some(destination_mac) = neighbour.mac else {
        return Err(without_mac(target, &way, neighbour));
    };
    Ok(NextHop {
        interface: way.interface.index,
        interface_name: way.interface.name.clone(),
        source_mac: way.source_mac,
        destination_mac,
        source: way.source,
        mtu: way.mtu,
        neighbour_silent: matches!(neighbour.reach, Reach::Silent | Reach::Refused(_)),
    })
}

/// All of a next hop but the neighbour's MAC address.
#[derive(Debug)]
pub(super) struct Way<'a> {
    /// Whose MAC address is needed.
    pub(super) hop: Hop,
    interface: &'a Interface,
    source_mac: [u8; 6],
    source: IpAddr,
    mtu: u16,
}

/// The way to `target` as far as its neighbour: what must be known before that is worth resolving.
pub(super) fn way<'a>(target: IpAddr, answer: &RouteAnswer, links: &'a Links) -> Result<Way<'a>, Unresolved> {
    let route = answer.as_ref().map_err(|fault| refused_lookup(target, *fault))?;
    check_route(target, route)?;
    let index = route.interface;
    let interface = links.by_index(index).ok_or(Unresolved::InterfaceUnknown { target, index })?;
    let name = || interface.name.clone();
    if !interface.up {
        return Err(Unresolved::InterfaceDown { target, interface: name() });
    }
    Ok(Way {
        hop: Hop { interface: index, address: route.gateway.unwrap_or(target) },
        interface,
        source_mac: interface.mac.ok_or_else(|| Unresolved::NoMac { target, interface: name() })?,
        source: route.source.ok_or_else(|| Unresolved::NoSource { target, interface: name() })?,
        mtu: route.mtu.map_or(interface.mtu, |mtu| mtu.min(interface.mtu)),
    })
}

/// Routes that refuse are an error of the look-up in IPv4, and an error or a route with a type in IPv6.
fn refused_lookup(target: IpAddr, fault: RouteFault) -> Unresolved {
    match fault {
        RouteFault::Kernel(Errno::NETUNREACH) => Unresolved::NoRoute { target },
        RouteFault::Kernel(Errno::HOSTUNREACH) => Unresolved::Refused { target, kind: "unreachable" },
        RouteFault::Kernel(Errno::ACCESS) => Unresolved::Refused { target, kind: "prohibit" },
        RouteFault::Kernel(Errno::INVAL) => Unresolved::Refused { target, kind: "blackhole" },
        RouteFault::Kernel(error) => Unresolved::LookupFailed { target, error: error.to_string() },
        RouteFault::NoAnswer => Unresolved::LookupFailed { target, error: "no readable answer".into() },
    }
}

fn check_route(target: IpAddr, route: &Route) -> Result<(), Unresolved> {
    match route.kind {
        RouteType::Unicast if route.encapsulated => Err(Unresolved::Encapsulated { target }),
        RouteType::Unicast => Ok(()),
        RouteType::Local => Err(Unresolved::Local { target }),
        RouteType::BlackHole => Err(Unresolved::Refused { target, kind: "blackhole" }),
        RouteType::Unreachable => Err(Unresolved::Refused { target, kind: "unreachable" }),
        RouteType::Prohibit => Err(Unresolved::Refused { target, kind: "prohibit" }),
        kind => Err(Unresolved::NotUnicast { target, kind: format!("{kind:?}").to_lowercase() }),
    }
}

fn without_mac(target: IpAddr, way: &Way<'_>, neighbour: Neighbour) -> Unresolved {
    let (interface, neighbour_address) = (way.interface.name.clone(), way.hop.address);
    match neighbour.reach {
        Reach::Silent => Unresolved::NeighbourSilent { target, neighbour: neighbour_address, interface },
        Reach::Refused(errno) => Unresolved::NeighbourRefused {
            target,
            neighbour: neighbour_address,
            interface,
            error: errno.to_string(),
            remedy: remedy(errno),
        },
        // An entry that answers without a MAC address of six bytes is not Ethernet's: it is not resolved.
        Reach::Resolving | Reach::Answering => {
            Unresolved::NeighbourPending { target, neighbour: neighbour_address, interface }
        }
    }
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::NOBUFS => {
            "the neighbour table is full: raise net.ipv4.neigh.default.gc_thresh3 (and ipv6) above the number of targets"
        }
        Errno::PERM | Errno::ACCESS => "run with CAP_NET_ADMIN",
        _ => "compare `ip neigh` on this host",
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::neighbour::NeighbourState;

    use super::super::neighbours::tests::{MAC, a_hop, message};
    use super::*;

    const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn target() -> IpAddr {
        a_hop().address
    }

    fn eth0() -> Interface {
        Interface {
            index: 2,
            name: "eth0".into(),
            mac: Some(OWN_MAC),
            mtu: 1500,
            up: true,
            kind: None,
            xdp_program: None,
        }
    }

    fn route() -> Route {
        Route {
            kind: RouteType::Unicast,
            interface: 2,
            gateway: None,
            source: Some("10.0.0.1".parse().unwrap()),
            mtu: None,
            encapsulated: false,
        }
    }

    fn neighbours(hop: Hop, state: NeighbourState, mac: Option<[u8; 6]>) -> Neighbours {
        let mut neighbours = Neighbours::default();
        neighbours.update(&message(hop, state, mac));
        neighbours
    }

    fn reachable() -> Neighbours {
        neighbours(a_hop(), NeighbourState::Reachable, Some(MAC))
    }

    fn resolve_with(answer: RouteAnswer, interface: Interface, neighbours: &Neighbours) -> Resolution {
        resolve(target(), &answer, &[interface].into_iter().collect(), neighbours)
    }

    fn expected() -> NextHop {
        NextHop {
            interface: 2,
            interface_name: "eth0".into(),
            source_mac: OWN_MAC,
            destination_mac: MAC,
            source: "10.0.0.1".parse().unwrap(),
            mtu: 1500,
            neighbour_silent: false,
        }
    }

    #[test]
    fn a_target_on_the_link_is_its_own_neighbour() {
        assert_eq!(resolve_with(Ok(route()), eth0(), &reachable()), Ok(expected()));
    }

    #[test]
    fn a_target_behind_a_router_has_the_routers_mac_address_whatever_its_family() {
        for gateway in ["10.0.0.254", "fe80::1"] {
            let gateway: IpAddr = gateway.parse().unwrap();
            let router_mac = [2, 0, 0, 0, 0, 0xfe];
            let hop = Hop { interface: 2, address: gateway };
            let known = neighbours(hop, NeighbourState::Stale, Some(router_mac));
            let resolution = resolve_with(Ok(Route { gateway: Some(gateway), ..route() }), eth0(), &known);
            assert_eq!(resolution, Ok(NextHop { destination_mac: router_mac, ..expected() }));
        }
    }

    #[test]
    fn a_routes_mtu_counts_unless_the_interfaces_is_smaller() {
        let mtu = |mtu| resolve_with(Ok(Route { mtu, ..route() }), eth0(), &reachable()).map(|hop| hop.mtu);
        assert_eq!(mtu(None), Ok(1500));
        assert_eq!(mtu(Some(1400)), Ok(1400));
        assert_eq!(mtu(Some(9000)), Ok(1500));
    }

    #[test]
    fn a_silent_neighbour_keeps_its_mac_address_and_says_so() {
        let mut known = reachable();
        known.update(&message(a_hop(), NeighbourState::Failed, None));
        let expected = NextHop { neighbour_silent: true, ..expected() };
        assert_eq!(resolve_with(Ok(route()), eth0(), &known), Ok(expected));
    }

    #[test]
    fn a_neighbour_that_never_answered_is_pending_then_silent() {
        let (target, interface) = (target(), "eth0".to_string());
        let pending =
            Unresolved::NeighbourPending { target, neighbour: target, interface: interface.clone() };
        assert_eq!(resolve_with(Ok(route()), eth0(), &Neighbours::default()), Err(pending.clone()));
        let asked = neighbours(a_hop(), NeighbourState::Incomplete, None);
        assert_eq!(resolve_with(Ok(route()), eth0(), &asked), Err(pending));
        let failed = neighbours(a_hop(), NeighbourState::Failed, None);
        let silent = Unresolved::NeighbourSilent { target, neighbour: target, interface };
        assert_eq!(resolve_with(Ok(route()), eth0(), &failed), Err(silent));
    }

    #[test]
    fn a_full_neighbour_table_is_named_with_its_remedy() {
        let mut full = Neighbours::default();
        full.refuse(a_hop(), Errno::NOBUFS);
        let error = resolve_with(Ok(route()), eth0(), &full).unwrap_err().to_string();
        assert!(error.contains("gc_thresh3") && error.contains("10.0.0.9"), "{error}");
    }

    #[test]
    fn a_refused_request_does_not_take_a_known_mac_address_away() {
        let mut known = reachable();
        known.refuse(a_hop(), Errno::PERM);
        assert_eq!(resolve_with(Ok(route()), eth0(), &known), Ok(expected()));
        known.update(&message(a_hop(), NeighbourState::Failed, None));
        known.refuse(a_hop(), Errno::PERM);
        let expected = NextHop { neighbour_silent: true, ..expected() };
        assert_eq!(resolve_with(Ok(route()), eth0(), &known), Ok(expected));
    }

    #[test]
    fn an_interface_must_exist_be_up_and_be_ethernet() {
        let (target, interface) = (target(), "eth0".to_string());
        let gone = resolve(target, &Ok(route()), &Links::default(), &reachable());
        assert_eq!(gone, Err(Unresolved::InterfaceUnknown { target, index: 2 }));
        let down = resolve_with(Ok(route()), Interface { up: false, ..eth0() }, &reachable());
        assert_eq!(down, Err(Unresolved::InterfaceDown { target, interface: interface.clone() }));
        let tunnel = resolve_with(Ok(route()), Interface { mac: None, ..eth0() }, &reachable());
        assert_eq!(tunnel, Err(Unresolved::NoMac { target, interface }));
    }

    #[test]
    fn routes_that_do_not_lead_to_one_other_host_are_told_apart() {
        let target = target();
        let of_kind = |kind| resolve_with(Ok(Route { kind, ..route() }), eth0(), &reachable()).unwrap_err();
        assert_eq!(of_kind(RouteType::Local), Unresolved::Local { target });
        assert_eq!(of_kind(RouteType::Unreachable), Unresolved::Refused { target, kind: "unreachable" });
        assert!(matches!(of_kind(RouteType::Broadcast), Unresolved::NotUnicast { .. }));
        let by_error =
            |errno| resolve_with(Err(RouteFault::Kernel(errno)), eth0(), &reachable()).unwrap_err();
        assert_eq!(by_error(Errno::NETUNREACH), Unresolved::NoRoute { target });
        assert_eq!(by_error(Errno::HOSTUNREACH), Unresolved::Refused { target, kind: "unreachable" });
        assert_eq!(by_error(Errno::INVAL), Unresolved::Refused { target, kind: "blackhole" });
        assert!(matches!(by_error(Errno::NODEV), Unresolved::LookupFailed { .. }));
    }

    #[test]
    fn an_encapsulated_route_and_one_without_a_source_are_refused() {
        let target = target();
        let encapsulated = resolve_with(Ok(Route { encapsulated: true, ..route() }), eth0(), &reachable());
        assert_eq!(encapsulated, Err(Unresolved::Encapsulated { target }));
        let sourceless = resolve_with(Ok(Route { source: None, ..route() }), eth0(), &reachable());
        assert_eq!(sourceless, Err(Unresolved::NoSource { target, interface: "eth0".into() }));
    }
}
