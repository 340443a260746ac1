//! Next hops against the real kernel: a node, its neighbours and a router, each a network namespace.
//!
//! ```text
//!   node ── veth ── peer     10.77.0.1/24, fd77::1/64  ──  10.77.0.2, fd77::2 (and more)
//!     └──── veth ── router   10.78.0.1/24, fd78::1/64  ──  10.78.0.254, fd78::254
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lb_userspace::next_hop::{Interface, NextHop, NextHops, Resolution, Resolutions, Unresolved, interface};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

#[test]
fn targets_on_the_link_are_resolved_in_both_families() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2", "fd77::2"]));
        let node = interface("to-peer").await.expect("the node has it");
        let peer = lab.mac(&lab.peer, "to-node");
        for (target, source) in [("10.77.0.2", "10.77.0.1"), ("fd77::2", "fd77::1")] {
            let expected = NextHop {
                interface: node.index,
                interface_name: "to-peer".into(),
                source_mac: node.mac.expect("a veth is Ethernet"),
                destination_mac: peer,
                source: address(source),
                mtu: 1500,
                neighbour_silent: false,
            };
            lab.until(&hops, target, |resolution| resolution == &Ok(expected.clone())).await;
        }
        let entries = lab.node.ip(&["neigh", "show", "10.77.0.2"]);
        // So that the kernel neither forgets it nor throws it out where there are many.
        let words = ["managed", "extern_learn", "proto 214"];
        assert!(words.iter().all(|word| entries.contains(word)), "{entries}");
    });
}

#[test]
fn targets_behind_a_router_have_its_mac_address_and_the_routes_mtu() {
    let Some(lab) = Lab::new() else { return };
    lab.node.ip(&["route", "add", "10.90.0.0/24", "via", "10.78.0.254", "mtu", "1400"]);
    lab.node.ip(&["route", "add", "fd90::/64", "via", "fd78::254", "mtu", "1380"]);
    lab.node.ip(&["route", "add", "10.91.0.0/24", "via", "inet6", "fd78::254"]);
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.90.0.7", "fd90::7", "10.91.0.7"]));
        let router = lab.mac(&lab.router, "to-node");
        for (target, mtu, source) in
            [("10.90.0.7", 1400, "10.78.0.1"), ("fd90::7", 1380, "fd78::1"), ("10.91.0.7", 1500, "10.78.0.1")]
        {
            let hop = lab.until_resolved(&hops, target).await;
            assert_eq!(
                (hop.destination_mac, hop.mtu, hop.source),
                (router, mtu, address(source)),
                "{target}"
            );
            assert_eq!(hop.interface_name, "to-router");
        }
    });
}

#[test]
fn a_changed_route_is_followed() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.90.0.7"]));
        let no_route = Err(Unresolved::NoRoute { target: address("10.90.0.7") });
        lab.until(&hops, "10.90.0.7", |resolution| *resolution == no_route).await;
        lab.node.ip(&["route", "add", "10.90.0.0/24", "via", "10.78.0.254"]);
        lab.until_interface(&hops, "10.90.0.7", "to-router").await;
        lab.node.ip(&["route", "replace", "10.90.0.0/24", "via", "10.77.0.2"]);
        lab.until_interface(&hops, "10.90.0.7", "to-peer").await;
        lab.node.ip(&["route", "replace", "10.90.0.0/24", "via", "10.78.0.254", "mtu", "1300"]);
        lab.until(&hops, "10.90.0.7", |resolution| resolution.as_ref().is_ok_and(|hop| hop.mtu == 1300))
            .await;
        lab.node.ip(&["route", "del", "10.90.0.0/24"]);
        lab.until(&hops, "10.90.0.7", |resolution| *resolution == no_route).await;
    });
}

#[test]
fn a_changed_rule_and_a_changed_next_hop_object_are_followed() {
    let Some(lab) = Lab::new() else { return };
    lab.node.ip(&["nexthop", "add", "id", "7", "via", "10.78.0.254", "dev", "to-router"]);
    lab.node.ip(&["route", "add", "10.90.0.0/24", "nhid", "7"]);
    lab.node.ip(&["route", "add", "10.90.0.0/24", "via", "10.78.0.254", "table", "99"]);
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.90.0.7"]));
        lab.until_interface(&hops, "10.90.0.7", "to-router").await;
        lab.node.ip(&["nexthop", "replace", "id", "7", "via", "10.77.0.2", "dev", "to-peer"]);
        lab.until_interface(&hops, "10.90.0.7", "to-peer").await;
        lab.node.ip(&["rule", "add", "to", "10.90.0.0/24", "table", "99"]);
        lab.until_interface(&hops, "10.90.0.7", "to-router").await;
    });
}

#[test]
fn routes_that_lead_nowhere_say_so() {
    let Some(lab) = Lab::new() else { return };
    for (kind, v4, v6) in [
        ("blackhole", "10.91.0.0/24", "fd91::/64"),
        ("unreachable", "10.92.0.0/24", "fd92::/64"),
        ("prohibit", "10.93.0.0/24", "fd93::/64"),
    ] {
        lab.node.ip(&["route", "add", kind, v4]);
        lab.node.ip(&["-6", "route", "add", kind, v6]);
    }
    lab.follow(async |hops| {
        let refused = [("91", "blackhole"), ("92", "unreachable"), ("93", "prohibit")];
        let v4 = refused.map(|(net, kind)| (address(&format!("10.{net}.0.7")), kind));
        let v6 = refused.map(|(net, kind)| (address(&format!("fd{net}::7")), kind));
        let mut expected: BTreeMap<IpAddr, Unresolved> = BTreeMap::new();
        for (target, kind) in v4.into_iter().chain(v6) {
            expected.insert(target, Unresolved::Refused { target, kind });
        }
        for target in ["10.94.0.7", "fd94::7"].map(address) {
            expected.insert(target, Unresolved::NoRoute { target });
        }
        for target in ["10.77.0.1", "fd77::1"].map(address) {
            expected.insert(target, Unresolved::Local { target });
        }
        hops.set_targets(expected.keys().copied().collect());
        let found = lab.until_all(&hops, |found| found.len() == expected.len()).await;
        for (target, unresolved) in expected {
            assert_eq!(found[&target], Err(unresolved), "{target}");
        }
    });
}

#[test]
fn ways_that_the_data_plane_can_not_take_say_so() {
    let Some(lab) = Lab::new() else { return };
    lab.node.ip(&[
        "route",
        "add",
        "10.95.0.0/24",
        "encap",
        "ip",
        "id",
        "5",
        "dst",
        "10.77.0.2",
        "dev",
        "to-peer",
    ]);
    let encap = ["encap", "seg6", "mode", "encap", "segs", "fd77::2", "dev", "to-peer"];
    lab.node.ip(&[&["-6", "route", "add", "fd95::/64"][..], &encap].concat());
    lab.node.ip(&["route", "add", "10.98.0.0/24", "dev", "lo"]);
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.95.0.7", "fd95::7", "10.98.0.7", "10.77.0.255"]));
        let found = lab.until_all(&hops, |found| found.len() == 4).await;
        for target in ["10.95.0.7", "fd95::7"].map(address) {
            assert_eq!(found[&target], Err(Unresolved::Encapsulated { target }));
        }
        let target = address("10.98.0.7");
        assert_eq!(found[&target], Err(Unresolved::NoMac { target, interface: "lo".into() }));
        let target = address("10.77.0.255");
        assert_eq!(found[&target], Err(Unresolved::NotUnicast { target, kind: "broadcast".into() }));
    });
}

#[test]
fn an_absent_neighbour_is_pending_then_silent_and_is_found_when_it_comes() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.40", "fd77::40"]));
        let is_pending = |found: &Resolution| matches!(found, Err(Unresolved::NeighbourPending { .. }));
        let is_silent = |found: &Resolution| matches!(found, Err(Unresolved::NeighbourSilent { .. }));
        lab.until_all(&hops, |found| found.len() == 2 && found.values().all(is_pending)).await;
        lab.until_all(&hops, |found| found.values().all(is_silent)).await;
        lab.peer.ip(&["address", "add", "10.77.0.40/24", "dev", "to-node"]);
        lab.peer.ip(&["address", "add", "fd77::40/64", "dev", "to-node", "nodad"]);
        for target in ["10.77.0.40", "fd77::40"] {
            assert_eq!(
                lab.until_resolved(&hops, target).await.destination_mac,
                lab.mac(&lab.peer, "to-node")
            );
        }
    });
}

#[test]
fn a_neighbour_that_falls_silent_keeps_its_mac_address() {
    let Some(lab) = Lab::new() else { return };
    // Sooner than the kernel's 30 s between two proofs that the neighbour lives.
    lab.node.write("/proc/sys/net/ipv4/neigh/to-peer/base_reachable_time_ms", "500");
    lab.node.write("/proc/sys/net/ipv4/neigh/to-peer/delay_first_probe_time", "1");
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2"]));
        let known = lab.until_resolved(&hops, "10.77.0.2").await;
        lab.peer.ip(&["address", "del", "10.77.0.2/24", "dev", "to-node"]);
        let silent = Ok(NextHop { neighbour_silent: true, ..known.clone() });
        lab.until(&hops, "10.77.0.2", |resolution| *resolution == silent).await;
        lab.peer.ip(&["address", "add", "10.77.0.2/24", "dev", "to-node"]);
        lab.until(&hops, "10.77.0.2", |resolution| *resolution == Ok(known.clone())).await;
    });
}

#[test]
fn an_announced_change_of_a_neighbours_mac_address_is_followed() {
    let Some(lab) = Lab::new() else { return };
    lab.peer.write("/proc/sys/net/ipv4/conf/to-node/arp_notify", "1");
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2"]));
        lab.until_resolved(&hops, "10.77.0.2").await;
        lab.peer.ip(&["link", "set", "to-node", "address", "02:00:00:00:77:99"]);
        let moved = |found: &Resolution| {
            found.as_ref().is_ok_and(|hop| hop.destination_mac == [2, 0, 0, 0, 0x77, 0x99])
        };
        lab.until(&hops, "10.77.0.2", moved).await;
    });
}

#[test]
fn a_permanent_neighbour_is_taken_and_stays_permanent() {
    let Some(lab) = Lab::new() else { return };
    let pin = |mac| {
        let entry = ["neigh", "replace", "10.77.0.50", "lladdr", mac, "dev", "to-peer", "nud", "permanent"];
        lab.node.ip(&entry);
    };
    pin("02:00:00:00:50:01");
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.50"]));
        assert_eq!(lab.until_resolved(&hops, "10.77.0.50").await.destination_mac, [2, 0, 0, 0, 0x50, 1]);
        pin("02:00:00:00:50:02");
        let moved =
            |found: &Resolution| found.as_ref().is_ok_and(|hop| hop.destination_mac == [2, 0, 0, 0, 0x50, 2]);
        lab.until(&hops, "10.77.0.50", moved).await;
        let entry = lab.node.ip(&["neigh", "show", "10.77.0.50"]);
        assert!(entry.contains("PERMANENT"), "{entry}");
    });
}

#[test]
fn a_deleted_neighbour_entry_is_asked_for_again() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2"]));
        lab.until_resolved(&hops, "10.77.0.2").await;
        lab.node.ip(&["neigh", "del", "10.77.0.2", "dev", "to-peer"]);
        lab.until_neighbour("10.77.0.2", |entry| entry.contains("managed")).await;
    });
}

#[test]
fn a_target_that_goes_and_comes_back_is_kept_resolved_again() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        for _ in 0..3 {
            hops.set_targets(addresses(&["10.77.0.2"]));
            lab.until_resolved(&hops, "10.77.0.2").await;
            lab.until_neighbour("10.77.0.2", |entry| entry.contains("managed")).await;
            hops.set_targets(BTreeSet::new());
            lab.until_all(&hops, BTreeMap::is_empty).await;
            lab.until_neighbour("10.77.0.2", |entry| !entry.contains("managed")).await;
        }
    });
}

#[test]
fn neighbours_of_targets_that_are_gone_are_released() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2"]));
        lab.until_resolved(&hops, "10.77.0.2").await;
    });
    // The entry outlives the first run, as the data plane does; the second one doesn't want it.
    lab.follow(async |hops| {
        let entry = lab.node.ip(&["neigh", "show", "10.77.0.2"]);
        assert!(entry.contains("managed"), "{entry}");
        hops.set_targets(addresses(&["fd77::2"]));
        let mac = lab.until_resolved(&hops, "fd77::2").await;
        assert_eq!(mac.destination_mac, lab.mac(&lab.peer, "to-node"));
        assert_eq!(hops.watch().borrow().len(), 1);
        let entry = lab.node.ip(&["neigh", "show", "10.77.0.2"]);
        assert!(!entry.contains("managed") && !entry.contains("extern_learn"), "{entry}");
    });
}

#[test]
fn a_link_that_goes_down_and_comes_back_is_followed() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2"]));
        let before = lab.until_resolved(&hops, "10.77.0.2").await;
        lab.peer.ip(&["link", "set", "to-node", "down"]);
        let down = Unresolved::InterfaceDown { target: address("10.77.0.2"), interface: "to-peer".into() };
        lab.until(&hops, "10.77.0.2", |resolution| *resolution == Err(down.clone())).await;
        lab.peer.ip(&["link", "set", "to-node", "up"]);
        lab.until(&hops, "10.77.0.2", |resolution| *resolution == Ok(before.clone())).await;
        lab.node.ip(&["link", "set", "to-peer", "down"]);
        lab.until(&hops, "10.77.0.2", |resolution| resolution.is_err()).await;
        lab.node.ip(&["link", "set", "to-peer", "up"]);
        lab.until(&hops, "10.77.0.2", |resolution| *resolution == Ok(before.clone())).await;
    });
}

#[test]
fn the_own_interfaces_are_observable() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        let found = interface("to-peer").await.expect("the node has it");
        assert_eq!((found.mtu, found.up, found.kind.as_deref()), (1500, true, Some("veth")));
        assert_eq!(hops.interfaces().borrow().get(&found.index), Some(&found));
        lab.node.ip(&["link", "set", "to-peer", "address", "02:00:00:00:77:11", "mtu", "1450"]);
        let expected = Interface { mac: Some([2, 0, 0, 0, 0x77, 0x11]), mtu: 1450, ..found };
        let mut interfaces = hops.interfaces();
        let changed = interfaces.wait_for(|all| all.get(&expected.index) == Some(&expected));
        timeout_at(deadline(), changed).await.expect("the change is seen").expect("the task lives");
        let error = interface("nonesuch").await.expect_err("there is none");
        assert!(format!("{error:#}").contains("nonesuch"), "{error:#}");
    });
}

#[test]
fn an_unchanged_content_wakes_nobody() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2"]));
        lab.until_resolved(&hops, "10.77.0.2").await;
        let mut watch = hops.watch();
        watch.borrow_and_update();
        // Twenty times the pause after which an unrelated route makes everything be looked up again.
        lab.node.ip(&["route", "add", "10.99.0.0/24", "via", "10.78.0.254"]);
        lab.node.ip(&["route", "del", "10.99.0.0/24"]);
        tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.expect_err("nothing changed");
    });
}

#[test]
fn a_thousand_targets_are_resolved() {
    let Some(lab) = Lab::new() else { return };
    lab.node.ip(&["route", "add", "10.96.0.0/16", "via", "10.78.0.254"]);
    lab.node.ip(&["route", "add", "fd96::/64", "via", "fd78::254"]);
    let v4 = (0..500u32).map(|n| IpAddr::from([10, 96, (n >> 8) as u8, n as u8]));
    let v6 = (0..500u16).map(|n| IpAddr::from([0xfd96, 0, 0, 0, 0, 0, 1, n]));
    let targets: BTreeSet<IpAddr> = v4.chain(v6).collect();
    lab.follow(async |hops| {
        hops.set_targets(targets.clone());
        let all = |found: &Resolutions| found.len() == 1000 && found.values().all(Result::is_ok);
        lab.until_all(&hops, all).await;
        let start = Instant::now();
        lab.node.ip(&["route", "replace", "10.96.0.0/16", "via", "10.77.0.2"]);
        let moved = |hop: &Resolution| hop.as_ref().is_ok_and(|hop| hop.interface_name == "to-peer");
        lab.until_all(&hops, |found| found.values().filter(|hop| moved(hop)).count() == 500).await;
        println!("500 of 1000 targets moved {:?} after `ip route replace` was started", start.elapsed());
    });
}

#[test]
fn lost_notifications_are_survived() {
    let Some(lab) = Lab::new() else { return };
    lab.follow(async |hops| {
        hops.set_targets(addresses(&["10.77.0.2", "10.97.0.7"]));
        lab.until_resolved(&hops, "10.77.0.2").await;
        // The runtime has one thread, and this blocks it: nobody reads the socket while 60 000 routes come
        // and go. The last two changes are among what the kernel can't tell any more.
        let mut batch: String = (0..30_000u32)
            .map(|n| format!("route add 10.100.{}.{}/32 dev to-peer\n", n >> 8, n & 255))
            .collect();
        batch += "route flush root 10.100.0.0/16\n";
        batch += "route add 10.97.0.0/24 via 10.78.0.254\nlink set to-peer mtu 1420\n";
        lab.node.ip_batch(&batch);
        lab.until_interface(&hops, "10.97.0.7", "to-router").await;
        lab.until(&hops, "10.77.0.2", |found| found.as_ref().is_ok_and(|hop| hop.mtu == 1420)).await;
    });
}

/// The node and its two neighbours; gone when this is dropped.
struct Lab {
    node: Namespace,
    peer: Namespace,
    router: Namespace,
}

impl Lab {
    /// None, with a message, where the test can't run; a failure where it must.
    fn new() -> Option<Lab> {
        if !rustix::process::geteuid().is_root() {
            let required = std::env::var("SLUICE_TEST_PRIVILEGED").is_ok_and(|value| value == "required");
            assert!(!required, "SLUICE_TEST_PRIVILEGED=required, but this is not root");
            println!("skipped: network namespaces need root");
            return None;
        }
        let lab = Lab { node: Namespace::new("n"), peer: Namespace::new("p"), router: Namespace::new("r") };
        lab.connect(&lab.peer, "to-peer", 77, 2);
        lab.connect(&lab.router, "to-router", 78, 254);
        Some(lab)
    }

    /// A link to a neighbour, which has the address with that last number.
    fn connect(&self, neighbour: &Namespace, name: &str, net: u8, number: u8) {
        let node_addresses = [format!("10.{net}.0.1/24"), format!("fd{net}::1/64")];
        let addresses = [format!("10.{net}.0.{number}/24"), format!("fd{net}::{number}/64")];
        let peer = ["type", "veth", "peer", "name", "to-node", "netns", &neighbour.0];
        self.node.ip(&[&["link", "add", name][..], &peer].concat());
        for (namespace, interface, addresses) in
            [(&self.node, name, node_addresses), (neighbour, "to-node", addresses)]
        {
            namespace.ip(&["link", "set", "lo", "up"]);
            namespace.ip(&["link", "set", interface, "up"]);
            for address in addresses {
                let dad = if address.contains(':') { &["nodad"][..] } else { &[] };
                namespace.ip(&[&["address", "add", &address, "dev", interface][..], dad].concat());
            }
        }
    }

    /// Runs `scenario` with the node's next hops followed, on a thread inside the node's namespace.
    fn follow<F: Future<Output = ()>>(&self, scenario: impl FnOnce(NextHops) -> F + Send) {
        let path = format!("/run/netns/{}", self.node.0);
        let inside = || {
            let namespace = File::open(&path).expect("the node's namespace exists");
            rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .expect("root may enter it");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { scenario(NextHops::start().await.expect("netlink is there")).await });
        };
        std::thread::scope(|scope| {
            if let Err(panic) = scope.spawn(inside).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn mac(&self, namespace: &Namespace, interface: &str) -> [u8; 6] {
        let text = namespace.run("cat", &[&format!("/sys/class/net/{interface}/address")]);
        let bytes: Vec<u8> =
            text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
        bytes.try_into().expect("six bytes")
    }

    /// Waits until a target's resolution is as wanted.
    async fn until(&self, hops: &NextHops, target: &str, wanted: impl Fn(&Resolution) -> bool) {
        let target = address(target);
        self.until_all(hops, |found| found.get(&target).is_some_and(&wanted)).await;
    }

    async fn until_resolved(&self, hops: &NextHops, target: &str) -> NextHop {
        let target = address(target);
        let found = self.until_all(hops, |found| found.get(&target).is_some_and(Result::is_ok)).await;
        found[&target].clone().expect("it was waited for")
    }

    async fn until_interface(&self, hops: &NextHops, target: &str, interface: &str) {
        let wanted = |found: &Resolution| found.as_ref().is_ok_and(|hop| hop.interface_name == interface);
        self.until(hops, target, wanted).await;
    }

    async fn until_all(&self, hops: &NextHops, wanted: impl Fn(&Resolutions) -> bool) -> Arc<Resolutions> {
        let mut watch: watch::Receiver<Arc<Resolutions>> = hops.watch();
        if let Ok(found) = timeout_at(deadline(), watch.wait_for(|found| wanted(found))).await {
            return Arc::clone(&found.expect("the task lives"));
        }
        let found: Vec<_> = hops.watch().borrow().iter().take(10).map(|entry| format!("{entry:?}")).collect();
        panic!(
            "not as wanted in time\nfound (first ten): {found:#?}\nroutes:\n{}{}neighbours:\n{}links:\n{}",
            self.node.ip(&["route"]),
            self.node.ip(&["-6", "route"]),
            self.node.ip(&["neigh"]),
            self.node.ip(&["address"]),
        );
    }

    /// Waits until what the node's kernel shows of a neighbour is as wanted.
    async fn until_neighbour(&self, neighbour: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = deadline();
        loop {
            let entry = self.node.ip(&["neigh", "show", neighbour]);
            if wanted(&entry) {
                return;
            }
            assert!(Instant::now() < deadline, "not as wanted in time: `{entry}`");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A network namespace of its own; gone when this is dropped.
struct Namespace(String);

impl Namespace {
    fn new(role: &str) -> Namespace {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nh-{}-{number}-{role}", std::process::id());
        succeed(Command::new("ip").args(["netns", "add", &name]));
        Namespace(name)
    }

    /// `ip` in this namespace; its output.
    fn ip(&self, arguments: &[&str]) -> String {
        succeed(Command::new("ip").args(["-n", &self.0]).args(arguments))
    }

    fn ip_batch(&self, lines: &str) {
        let path = std::env::temp_dir().join(format!("{}.batch", self.0));
        std::fs::write(&path, lines).expect("the temporary directory is writable");
        succeed(Command::new("ip").args(["-n", &self.0, "-batch"]).arg(&path));
        std::fs::remove_file(&path).expect("it was just written");
    }

    /// A command inside this namespace; its output.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        succeed(Command::new("ip").args(["netns", "exec", &self.0, program]).args(arguments))
    }

    fn write(&self, path: &str, value: &str) {
        self.run("sh", &["-c", &format!("echo {value} > {path}")]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failed test may already be unwinding: what can't be removed is only reported.
        if let Err(error) = Command::new("ip").args(["netns", "del", &self.0]).status() {
            eprintln!("namespace {} is left behind: {error}", self.0);
        }
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| address(text)).collect()
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}
