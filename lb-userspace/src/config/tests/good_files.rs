use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{ConfigError, load, parse, summary};
use crate::model::{
    CheckPort, Desired, Encapsulation, FlowLogging, ForwardAction, HealthCheck, HealthView, Listener,
    ListenerPort, LoadBalancer, LogPlace, MinimumHealthy, NewFlowLimits, Node, Override, Oversized, Probe,
    Protocol, QuicServerId, Sample, SecondChance, StatusCodes, Stickiness, Target, TargetGroup, Threshold,
    UdpTracking, UnhealthyFlows, WeightedTargetGroup,
};

/// The shape that the project promises to take.
const PROMISED: &str = r#"
    { "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
      "load_balancers": [ { "name": "web", "vips": ["10.200.1.1", "fc00:1::1"],
        "listeners": [ { "protocol": "TCP", "port": 80, "forward": [ { "target_group": "web" } ] } ] } ],
      "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "encapsulation": "ipip",
        "health_check": { "protocol": "HTTP", "port": 80, "path": "/healthz", "interval_seconds": 10,
          "timeout_seconds": 5, "healthy_threshold": 3, "unhealthy_threshold": 3 },
        "targets": [ { "id": "10.0.0.1", "weight": 1, "zone": "a" } ] } ] }"#;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node() -> Node {
    Node {
        name: "lb1".into(),
        zone: "a".into(),
        interfaces: vec!["eth0".into()],
        oversized: Oversized::Drop,
        health_view: HealthView::Own,
        flow_log: None,
    }
}

#[test]
fn packets_that_are_too_big_are_dropped_or_answered() {
    for (field, expected) in [("drop", Oversized::Drop), ("answer", Oversized::Answer)] {
        let text = PROMISED.replace(
            r#""zone": "a", "interfaces""#,
            &format!(r#""zone": "a", "oversized": "{field}", "interfaces""#),
        );
        let desired = parse("f", &text).map_err(|error| error.to_string()).unwrap();
        assert_eq!(desired.node, Node { oversized: expected, ..node() });
    }
}

#[test]
fn load_balancers_are_logged_where_the_file_says() {
    let logging = r#""zone": "a", "flow_log": { "directory": "/var/log/f", "sample": 0.5 }, "interfaces""#;
    let logged = |field: &str| {
        let text = PROMISED.replace(r#""zone": "a", "interfaces""#, logging);
        let text = text.replace(r#""name": "web", "vips""#, &format!(r#""name": "web", {field}"vips""#));
        parse("f", &text).map_err(|error| error.to_string()).unwrap()
    };
    let expected = FlowLogging {
        directory: "/var/log/f".into(),
        sample: Sample::new(0.5).unwrap(),
        maximum_bytes: 1 << 30,
    };
    assert_eq!(logged("").node.flow_log, Some(expected));
    for (field, place) in [
        ("", None),
        (r#""flow_log": false, "#, None),
        (r#""flow_log": true, "#, Some(("", ""))),
        (r#""flow_log": {}, "#, Some(("", ""))),
        (r#""flow_log": { "bucket": "b", "prefix": "a/c" }, "#, Some(("b", "a/c"))),
    ] {
        let place = place.map(|(bucket, prefix)| LogPlace::new(bucket, prefix).unwrap());
        assert_eq!(logged(field).load_balancers["web"].flow_log, place, "{field}");
    }
}

/// A file with one target group that gives only `fields`.
fn group(fields: &str) -> TargetGroup {
    let text = format!(
        r#"{{ "node": {{ "name": "lb1", "zone": "a", "interfaces": ["eth0"] }}, "load_balancers": [],
              "target_groups": [ {{ "name": "g", {fields} }} ] }}"#
    );
    parse("f", &text).map_err(|error| error.to_string()).unwrap().target_groups["g"].as_ref().clone()
}

#[test]
fn the_promised_shape_is_taken_as_it_stands() {
    let forward = ForwardAction(vec![WeightedTargetGroup { target_group: "web".into(), weight: 1 }]);
    let web = LoadBalancer {
        vips: vec![address("10.200.1.1"), address("fc00:1::1")],
        vip_zones: BTreeMap::new(),
        listeners: vec![Listener {
            protocol: Protocol::Tcp,
            port: ListenerPort::Port(80),
            forward,
            limits: NewFlowLimits::default(),
            idle_timeout: None,
        }],
        allow: None,
        flow_log: None,
    };
    let targets = BTreeMap::from([(
        address("10.0.0.1"),
        Target { weight: 1, operator: Override::default(), zone: "a".into(), port: 80, quic_server_id: None },
    )]);
    let group = TargetGroup {
        protocol: Protocol::Tcp,
        port: 80,
        encapsulation: Encapsulation::Ipip,
        health_check: Arc::new(HealthCheck {
            probe: Probe::Http { path: "/healthz".into(), matcher: StatusCodes(vec![(200, 399)]) },
            port: CheckPort::Port(80),
            interval: seconds(10),
            timeout: seconds(5),
            healthy_threshold: 3,
            unhealthy_threshold: 3,
        }),
        minimum_healthy: MinimumHealthy::default(),
        unhealthy_flows: UnhealthyFlows::Terminate,
        draining: seconds(300),
        terminates_on_deregistration: false,
        idle_timeout: seconds(350),
        udp_idle_timeout: seconds(350),
        udp_tracking: UdpTracking::Changed,
        second_chance: SecondChance::Auto,
        stickiness: Stickiness::None,
        cross_zone: true,
        absent: 0,
        targets,
    };
    let expected = Desired {
        node: node(),
        metrics_address: None,
        load_balancers: BTreeMap::from([("web".into(), Arc::new(web))]),
        target_groups: BTreeMap::from([("web".into(), Arc::new(group))]),
    };
    assert_eq!(parse("f", PROMISED).unwrap(), expected);
}

#[test]
fn an_empty_installation_is_an_installation() {
    let text = r#"{ "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
                    "load_balancers": [], "target_groups": [] }"#;
    let expected = Desired {
        node: node(),
        metrics_address: None,
        load_balancers: BTreeMap::new(),
        target_groups: BTreeMap::new(),
    };
    assert_eq!(parse("f", text).unwrap(), expected);
    assert_eq!(parse("f", &format!("\u{feff}{text}")).unwrap(), expected);
}

#[test]
fn what_a_tcp_group_leaves_out_gets_its_default() {
    let expected = TargetGroup {
        protocol: Protocol::Tcp,
        port: 8080,
        encapsulation: Encapsulation::Ipip,
        health_check: Arc::new(HealthCheck {
            probe: Probe::Tcp,
            port: CheckPort::Traffic,
            interval: seconds(30),
            timeout: seconds(10),
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        }),
        minimum_healthy: MinimumHealthy::default(),
        unhealthy_flows: UnhealthyFlows::Terminate,
        draining: seconds(300),
        terminates_on_deregistration: false,
        idle_timeout: seconds(350),
        udp_idle_timeout: seconds(350),
        udp_tracking: UdpTracking::Changed,
        second_chance: SecondChance::Auto,
        stickiness: Stickiness::None,
        cross_zone: true,
        absent: 0,
        targets: BTreeMap::from([(
            address("fc00::1"),
            Target {
                weight: 1,
                operator: Override::default(),
                zone: "a".into(),
                port: 8080,
                quic_server_id: None,
            },
        )]),
    };
    let given = r#""protocol": "TCP", "port": 8080, "targets": [ { "id": "fc00::1" } ]"#;
    assert_eq!(group(given), expected);
    assert_eq!(group(&format!(r#"{given}, "health_check": {{}}"#)), expected);
}

#[test]
fn a_udp_groups_flows_idle_for_two_minutes() {
    let group = group(r#""protocol": "UDP", "port": 53, "targets": []"#);
    assert_eq!((group.idle_timeout, group.udp_tracking), (seconds(120), UdpTracking::Changed));
    assert_eq!((&group.health_check.probe, group.health_check.port), (&Probe::Tcp, CheckPort::Traffic));
}

#[test]
fn a_tcp_udp_group_has_a_time_out_for_each_protocol() {
    let given = r#""protocol": "TCP_UDP", "port": 53, "targets": []"#;
    let times = |group: TargetGroup| (group.idle_timeout, group.udp_idle_timeout);
    assert_eq!(times(group(given)), (seconds(350), seconds(120)));
    let longer = format!(r#"{given}, "idle_timeout_seconds": 60, "udp_idle_timeout_seconds": 10"#);
    assert_eq!(times(group(&longer)), (seconds(60), seconds(10)));
    let tracked = format!(r#"{given}, "udp_tracking": "always""#);
    assert_eq!(group(&tracked).udp_tracking, UdpTracking::Always);
}

#[test]
fn a_group_may_keep_a_clients_connections_together() {
    let given = r#""protocol": "TCP", "port": 80, "targets": []"#;
    for (text, stickiness) in [("source_ip", Stickiness::SourceIp), ("none", Stickiness::None)] {
        assert_eq!(group(&format!(r#"{given}, "stickiness": "{text}""#)).stickiness, stickiness);
    }
}

#[test]
fn a_quic_group_is_udp_with_a_server_id_for_each_target() {
    let group = group(
        r#""protocol": "QUIC", "port": 443, "targets": [
            { "id": "10.0.0.1", "quic_server_id": "0x0102030405060708" },
            { "id": "10.0.0.2", "quic_server_id": "0xffffffffffffffff" } ]"#,
    );
    assert_eq!((group.idle_timeout, group.udp_tracking), (seconds(120), UdpTracking::Changed));
    let ids: Vec<_> = group.targets.values().map(|target| target.quic_server_id).collect();
    assert_eq!(ids, [Some(QuicServerId([1, 2, 3, 4, 5, 6, 7, 8])), Some(QuicServerId([0xff; 8]))]);
    assert_eq!(QuicServerId([1, 2, 3, 4, 5, 6, 7, 8]).to_string(), "0x0102030405060708");
}

#[test]
fn listeners_of_one_port_that_share_no_packet_are_neighbours() {
    let text = PROMISED
        .replacen(
            r#"{ "protocol": "TCP", "port": 80"#,
            r#"{ "protocol": "QUIC", "port": 80, "forward": [ { "target_group": "q" } ] },
            { "protocol": "TCP", "port": 80"#,
            1,
        )
        .replacen(
            r#""target_groups": ["#,
            r#""target_groups": [ { "name": "q", "protocol": "QUIC", "port": 80, "targets": [] }, "#,
            1,
        );
    let listeners = parse("f", &text).unwrap().load_balancers["web"].listeners.clone();
    assert_eq!(
        listeners.iter().map(|listener| listener.protocol).collect::<Vec<_>>(),
        [Protocol::Quic, Protocol::Tcp]
    );
}

#[test]
fn an_http_check_asks_for_the_root_and_passes_200_to_399() {
    let group = group(
        r#""protocol": "UDP", "port": 53, "health_check": { "protocol": "HTTP", "port": "traffic-port" },
           "targets": []"#,
    );
    let expected = Probe::Http { path: "/".into(), matcher: StatusCodes(vec![(200, 399)]) };
    assert_eq!((&group.health_check.probe, group.health_check.port), (&expected, CheckPort::Traffic));
}

#[test]
fn the_default_timeout_of_a_check_is_never_longer_than_its_interval() {
    let timeout = |interval: u64| {
        let check = format!(r#""health_check": {{ "interval_seconds": {interval} }}"#);
        group(&format!(r#""protocol": "TCP", "port": 1, "targets": [], {check}"#)).health_check.timeout
    };
    assert_eq!([1, 9, 10, 11, 300].map(timeout), [1, 9, 10, 10, 10].map(seconds));
}

#[test]
fn every_field_of_a_target_group_counts() {
    let expected = TargetGroup {
        protocol: Protocol::Udp,
        port: 65535,
        encapsulation: Encapsulation::Gue,
        health_check: Arc::new(HealthCheck {
            probe: Probe::Http {
                path: "/a%20b?c=d&e".into(),
                matcher: StatusCodes(vec![(200, 200), (202, 204), (599, 599)]),
            },
            port: CheckPort::Port(9),
            interval: seconds(300),
            timeout: seconds(120),
            healthy_threshold: 10,
            unhealthy_threshold: 1,
        }),
        minimum_healthy: MinimumHealthy::default(),
        unhealthy_flows: UnhealthyFlows::Terminate,
        draining: seconds(0),
        terminates_on_deregistration: true,
        idle_timeout: seconds(10),
        udp_idle_timeout: seconds(10),
        udp_tracking: UdpTracking::Always,
        second_chance: SecondChance::Auto,
        stickiness: Stickiness::None,
        cross_zone: false,
        absent: 0,
        targets: BTreeMap::from([
            (
                address("10.0.0.1"),
                Target {
                    weight: 0,
                    operator: Override::default(),
                    zone: "b".into(),
                    port: 65535,
                    quic_server_id: None,
                },
            ),
            (
                address("192.168.0.1"),
                Target {
                    weight: 1000,
                    operator: Override::default(),
                    zone: "a".into(),
                    port: 65535,
                    quic_server_id: None,
                },
            ),
        ]),
    };
    let given = r#""protocol": "UDP", "port": 65535, "encapsulation": "gue",
        "health_check": { "protocol": "HTTP", "port": 9, "path": "/a%20b?c=d&e", "matcher": "200,202-204,599",
            "interval_seconds": 300, "timeout_seconds": 120, "healthy_threshold": 10, "unhealthy_threshold": 1 },
        "draining_seconds": 0, "idle_timeout_seconds": 10, "udp_tracking": "always", "cross_zone": false,
        "targets": [ { "id": "10.0.0.1", "weight": 0, "zone": "b" }, { "id": "192.168.0.1", "weight": 1000 } ]"#;
    assert_eq!(group(given), expected);
}

#[test]
fn an_any_listener_forwards_to_a_group_of_any_port() {
    let text = PROMISED.replacen(r#""port": 80, "forward""#, r#""port": "any", "forward""#, 1);
    let listener = parse("f", &text).unwrap().load_balancers["web"].listeners[0].clone();
    assert_eq!(listener.port, ListenerPort::Any);
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let desired = parse("sluice.json", include_str!("../../../examples/sluice.json")).unwrap();
    assert_eq!(summary(&desired), "1 load balancer, 2 listeners, 3 target groups, 6 targets");
    assert_eq!(desired.metrics_address, Some("127.0.0.1:9100".parse().unwrap()));
    let weights = &desired.load_balancers["web"].listeners[1].forward.0;
    assert_eq!(weights.iter().map(|group| group.weight).collect::<Vec<_>>(), [9, 1]);
}

#[test]
fn a_file_is_loaded_and_a_missing_one_is_named() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sluice.json");
    assert!(load(example.as_ref()).is_ok());
    let error = load("/nowhere/sluice.json".as_ref()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert_eq!(
        error.to_string(),
        "/nowhere/sluice.json: can't be read: No such file or directory (os error 2); expected a JSON file \
         that this user may read"
    );
}

#[test]
fn thresholds_and_the_flows_of_bad_and_removed_targets_are_read() {
    let web = group(
        r#""protocol": "TCP", "port": 80, "minimum_healthy": { "routing": { "percent": 20 },
             "failover": { "count": 2, "percent": 50 } },
           "unhealthy_draining_seconds": 60, "terminate_on_deregistration": true,
           "targets": [ { "id": "10.0.0.1", "port": 8080 }, { "id": "10.0.0.2" } ]"#,
    );
    let threshold = |count, percent| Threshold { count, percent: Some(percent) };
    let expected = MinimumHealthy { routing: threshold(1, 20), failover: Some(threshold(2, 50)) };
    assert_eq!((web.minimum_healthy, web.terminates_on_deregistration), (expected, true));
    assert_eq!(web.unhealthy_flows, UnhealthyFlows::Drain(seconds(60)));
    assert_eq!(web.targets.values().map(|target| target.port).collect::<Vec<_>>(), [8080, 80]);
}

#[test]
fn each_kind_of_probe_is_read() {
    let probe = |check: &str| {
        let given = r#""protocol": "UDP", "port": 53, "targets": []"#;
        group(&format!(r#"{given}, "health_check": {{ {check} }}"#)).health_check.probe.clone()
    };
    let matcher = StatusCodes(vec![(200, 399)]);
    assert_eq!(probe(r#""protocol": "HTTPS", "path": "/up""#), Probe::Https { path: "/up".into(), matcher });
    assert_eq!(probe(r#""protocol": "GRPC", "service": "a.B""#), Probe::Grpc { service: "a.B".into() });
    assert_eq!(probe(r#""protocol": "GRPC""#), Probe::Grpc { service: String::new() });
    assert_eq!(probe(r#""protocol": "UDP""#), Probe::Udp);
}

#[test]
fn zones_of_vips_and_idle_time_outs_of_listeners_are_read() {
    let text = PROMISED.replace(r#""fc00:1::1""#, r#"{ "address": "fc00:1::1", "zone": "b" }"#).replace(
        r#""TCP", "port": 80, "forward""#,
        r#""TCP", "port": 443, "idle_timeout_seconds": 60, "forward""#,
    );
    let desired = parse("f", &text).map_err(|error| error.to_string()).unwrap();
    let web = &desired.load_balancers["web"];
    assert_eq!(web.vips, [address("10.200.1.1"), address("fc00:1::1")]);
    assert_eq!(web.vip_zones, BTreeMap::from([(address("fc00:1::1"), "b".to_owned())]));
    assert_eq!(web.listeners[0].idle_timeout, Some(seconds(60)));
    assert_eq!(web.listeners[0].port, ListenerPort::Port(443), "the agents translate to port 80");
}

#[test]
fn tcp_and_udp_listeners_may_forward_to_a_tcp_udp_group() {
    for (listener, group, fits) in [
        ("TCP", "TCP_UDP", true),
        ("UDP", "TCP_UDP", true),
        ("TCP_UDP", "TCP_UDP", true),
        ("TCP_UDP", "TCP", false),
        ("QUIC", "TCP_UDP", false),
        ("QUIC", "UDP", false),
        ("UDP", "TCP", false),
    ] {
        let text = PROMISED
            .replace(
                r#""protocol": "TCP", "port": 80, "forward""#,
                &format!(r#""protocol": "{listener}", "port": 80, "forward""#),
            )
            .replace(
                r#""protocol": "TCP", "port": 80, "encapsulation""#,
                &format!(r#""protocol": "{group}", "port": 80, "encapsulation""#),
            );
        assert_eq!(parse("f", &text).is_ok(), fits, "{listener} to {group}");
    }
}
