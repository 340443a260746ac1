use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::announce::bfd::Timers;
use crate::announce::bgp::{Families, Peer};
use crate::announce::fitness::{Rules, WhenUnfit};
use crate::announce::{By, Configuration, kernel_table};
use crate::config::parse_content;

const PEER: &str =
    r#"{ "address": "10.0.0.1", "source": "10.0.0.11", "remote_as": 65000, "families": ["ipv4"] }"#;

fn file(announce: &str) -> String {
    format!(
        r#"{{ "node": {{ "name": "lb1", "zone": "a", "interfaces": ["eth0"] }}, "load_balancers": [],
             "target_groups": [], "announce": {announce} }}"#
    )
}

fn read(announce: &str) -> Configuration {
    parse_content("test.json", file(announce)).unwrap().announce.unwrap()
}

fn bgp(peers: &str) -> String {
    format!(r#"{{ "bgp": {{ "local_as": 65001, "peers": [{peers}] }} }}"#)
}

fn said(announce: &str) -> String {
    match parse_content("bad.json", file(announce)) {
        Ok(content) => format!("{content:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn without_the_section_nothing_is_announced() {
    let text = file("null").replace(r#", "announce": null"#, "");
    assert_eq!(parse_content("test.json", text).unwrap().announce, None);
}

#[test]
fn a_small_section_has_all_defaults() {
    let configuration = read(&bgp(PEER));
    assert_eq!((configuration.rules, configuration.drain), (Rules::default(), Duration::from_secs(30)));
    let By::Bgp(speaker) = configuration.by else { panic!("{configuration:?}") };
    assert_eq!((speaker.local_as, speaker.router_id), (65001, Ipv4Addr::new(10, 0, 0, 11)));
    let [router, source] = ["10.0.0.1", "10.0.0.11"].map(|address| address.parse::<IpAddr>().unwrap());
    let families = Families { ipv4: true, ipv6: false };
    assert_eq!(speaker.peers, [Peer { families, ..Peer::new(router, source, 65000) }]);
}

#[test]
fn every_option_arrives() {
    let announce = r#"{ "hold_down_seconds": 7, "hold_down_max_seconds": 70, "when_unfit": "keep", "drain_seconds": 60,
        "bgp": { "local_as": 4200000001, "router_id": "192.0.2.11", "peers": [ {
            "address": "fd05::1", "source": "fd05::11", "remote_as": 65000, "port": 1179, "hold_time_seconds": 30,
            "keepalive_seconds": 5, "md5_password": "secret", "hops": 1, "ttl_security": true,
            "families": ["ipv4", "ipv6"], "next_hop_ipv4": "10.0.0.11", "next_hop_ipv6": "fd05::12",
            "extended_next_hop": true, "communities": ["65000:120"], "large_communities": ["65000:1:2"], "med": 100,
            "local_preference": 200, "graceful_shutdown": false,
            "bfd": { "transmit_milliseconds": 100, "receive_milliseconds": 150, "multiplier": 4 } } ] } }"#;
    let configuration = read(announce);
    let second = Duration::from_secs(1);
    assert_eq!(configuration.drain, 60 * second);
    assert_eq!(
        configuration.rules,
        Rules { hold_down: 7 * second, hold_down_max: 70 * second, when_unfit: WhenUnfit::Keep }
    );
    let By::Bgp(speaker) = configuration.by else { panic!("{configuration:?}") };
    assert_eq!((speaker.local_as, speaker.router_id), (4_200_000_001, Ipv4Addr::new(192, 0, 2, 11)));
    let expected = Peer {
        address: "fd05::1".parse().unwrap(),
        source: "fd05::11".parse().unwrap(),
        remote_as: 65000,
        port: 1179,
        hold_time: 30 * second,
        keepalive: Some(5 * second),
        md5_password: Some("secret".to_owned()),
        hops: 1,
        ttl_security: true,
        families: Families { ipv4: true, ipv6: true },
        next_hop_ipv4: Some("10.0.0.11".parse().unwrap()),
        next_hop_ipv6: Some("fd05::12".parse().unwrap()),
        extended_next_hop: true,
        communities: vec!["65000:120".parse().unwrap()],
        large_communities: vec!["65000:1:2".parse().unwrap()],
        med: Some(100),
        local_preference: 200,
        graceful_shutdown: false,
        bfd: Some(Timers {
            transmit: Duration::from_millis(100),
            receive: Duration::from_millis(150),
            multiplier: 4,
        }),
    };
    assert_eq!(speaker.peers, [expected]);
}

#[test]
fn mistakes_are_named_with_their_place_and_what_is_right() {
    let with = |from: &str, to: &str| {
        assert!(PEER.contains(from), "{from}");
        bgp(&PEER.replace(from, to))
    };
    let more = |field: &str| with(r#""families""#, &format!(r#"{field}, "families""#));
    let peer = "announce.bgp.peers[0]";
    let rows = [
        ("{}".to_owned(), "announce: nobody tells routers; give \"bgp\"".to_owned()),
        (
            bgp(PEER).replace("\"bgp\"", "\"bpg\""),
            "announce.bpg: unknown field; did you mean \"bgp\"?".to_owned(),
        ),
        (bgp(PEER).replace("65001", "23456"), "announce.bgp.local_as: expected an AS number".to_owned()),
        (bgp(""), "announce.bgp.peers: an empty list".to_owned()),
        (bgp(&format!("{PEER}, {PEER}")), "announce.bgp.peers[1].address: the same router as".to_owned()),
        (with("65000", "0"), format!("{peer}.remote_as: expected an AS number")),
        (with("10.0.0.11", "10.0.0.1"), format!("{peer}: its address must not be the source")),
        (with(r#""source": "10.0.0.11", "#, ""), format!("{peer}.source: missing; expected an IP address")),
        (with("ipv4", "ipv5"), format!("{peer}.families[0]: expected \"ipv4\" or \"ipv6\"")),
        (
            with(r#", "families": ["ipv4"]"#, ""),
            format!("{peer}: next_hop_ipv6 is needed to announce IPv6 VIPs"),
        ),
        (
            more(r#""hold_time_seconds": 2"#),
            format!("{peer}.hold_time_seconds: expected a whole number of seconds from 3"),
        ),
        (
            more(r#""hold_time": 9"#),
            format!("{peer}.hold_time: unknown field; did you mean \"hold_time_seconds\"?"),
        ),
        (more(r#""keepalive_seconds": 4"#), format!("{peer}: keepalive must be 1 s to a third of hold_time")),
        (more(r#""communities": ["65000"]"#), format!("{peer}.communities[0]: \"65000\" is not a community")),
        (more(r#""large_communities": [7]"#), format!("{peer}.large_communities[0]: expected a community")),
        (
            more(r#""bfd": { "multiplier": 1 }"#),
            format!("{peer}.bfd.multiplier: expected a whole number from 2 to 255"),
        ),
        (more(r#""bfd": { "interval": 100 }"#), format!("{peer}.bfd.interval: unknown field")),
        (more(r#""bfd": {}, "hops": 2"#), format!("{peer}: bfd is for directly connected routers")),
        (
            bgp(PEER).replacen('{', r#"{ "hold_down_seconds": 9, "hold_down_max_seconds": 8, "#, 1),
            "announce.hold_down_max_seconds: is less than hold_down_seconds".to_owned(),
        ),
        (
            bgp(PEER).replacen('{', r#"{ "when_unfit": "stay", "#, 1),
            "announce.when_unfit: expected \"withdraw\" or \"keep\"".to_owned(),
        ),
    ];
    for (announce, expected) in rows {
        let said = said(&announce);
        assert!(
            said.starts_with(&format!("bad.json: {expected}")),
            "{announce}\n  said: {said}\n  expected: {expected}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_speaker_without_ipv4_needs_an_identifier() {
    let peer = r#"{ "address": "fd05::1", "source": "fd05::11", "remote_as": 65000, "families": ["ipv6"] }"#;
    let said = said(&bgp(peer));
    assert!(
        said.starts_with("bad.json: announce.bgp.router_id: missing; expected an IPv4 address"),
        "{said}"
    );
}

#[test]
fn a_password_is_in_no_message() {
    let password = "x".repeat(81);
    let peer = PEER.replacen('{', &format!(r#"{{ "md5_password": "{password}", "#), 1);
    let said = said(&bgp(&peer));
    assert!(said.contains("md5_password: 81 bytes long") && !said.contains("xxx"), "{said}");
}

#[test]
fn a_kernel_table_has_defaults_too_and_takes_every_option() {
    let by = |announce: &str| read(announce).by;
    assert_eq!(by(r#"{ "kernel_table": {} }"#), By::KernelTable(kernel_table::Configuration::default()));
    let all = r#"{ "kernel_table": { "table": 100, "protocol": 220, "draining_protocol": 221, "metric": 5,
        "draining_metric": 6 } }"#;
    let expected = kernel_table::Configuration {
        table: 100,
        protocol: 220,
        draining_protocol: 221,
        metric: 5,
        draining_metric: 6,
        hold: Duration::ZERO,
    };
    assert_eq!(by(all), By::KernelTable(expected));
}

#[test]
fn a_kernel_table_that_is_not_free_is_refused_with_the_owner() {
    for (announce, problem) in [
        (
            r#"{ "kernel_table": { "table": 254 } }"#,
            "announce.kernel_table: table 254 is the kernel's own (main)",
        ),
        (r#"{ "kernel_table": { "protocol": 12 } }"#, "announce.kernel_table: protocol 12 is BIRD's"),
        (r#"{ "kernel_table": { "metric": 0 } }"#, "announce.kernel_table.metric: "),
        (r#"{ "kernel_table": { "tabel": 9 } }"#, "announce.kernel_table.tabel: "),
    ] {
        assert!(said(announce).contains(problem), "{announce}: {}", said(announce));
    }
    let both = format!(r#"{{ "bgp": {{ "local_as": 65001, "peers": [{PEER}] }}, "kernel_table": {{}} }}"#);
    assert!(
        said(&both).contains("announce.kernel_table: routers are told by \"bgp\" already"),
        "{}",
        said(&both)
    );
}
