//! A report for tests, with something of everything.

use std::collections::BTreeMap;

use super::report::*;
use crate::announce::report::{BfdReport, RoutersReport, SessionReport, ZoneShiftReport};
use crate::metrics::histogram::Durations;

/// One load balancer with two listeners; of its three targets one is unhealthy and one has
/// no next hop.
pub(crate) fn report() -> Report {
    Report {
        node: "lb1".into(),
        zone: "a".into(),
        version: "0.1.0".into(),
        uptime_seconds: 7503.5,
        hash_key: "5eed5eed5eed5eed".into(),
        configuration: ConfigurationReport {
            file: "/etc/sluice/sluice.json".into(),
            generation: 3,
            rejected: None,
            owner: OwnerReport::File,
        },
        interfaces: vec![native("eth0", 2), generic("eth1", 3)],
        load_balancers: BTreeMap::from([("web".to_owned(), load_balancer())]),
        target_groups: BTreeMap::from([("web".to_owned(), target_group())]),
        publications: PublicationReport {
            tables: 12,
            last_write_seconds: 0.000_35,
            last_decision_seconds: Some(0.0012),
            max_decision_seconds: Some(0.0031),
            decisions: Durations { buckets: [0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], sum: 0.0087 },
            failure: None,
        },
        reasons: vec![
            reason("not_ours", "passed", "No listener has this address, protocol and port.", 1204),
            reason("no_next_hop", "dropped", "The target's route or neighbour is unknown.", 7),
            reason("no_target", "dropped", "No target could take the flow.", 0),
        ],
        announcements: vec![
            announcement("10.200.1.1", "announced", None),
            announcement("fc00:1::1", "withdrawn", Some("too few healthy targets")),
        ],
        routers: Some(routers()),
        shared_state: Some(SharedStateReport {
            generation: 9,
            generation_in_force: 8,
            store_reachable: true,
            store_problem: None,
            refused: Some("The data plane has room for 8, and 9 VIPs would be needed".into()),
            members: vec![
                member("lb1", "this", 0.0),
                member("lb2", "present", 0.0),
                member("lb3", "gone", 184.0),
            ],
            members_age_seconds: Some(1.5),
            members_problem: None,
        }),
        flow_log: Some(FlowLogReport {
            directory: "/var/log/sluice/flows".into(),
            sample: 0.01,
            lines: 8123,
            lost_records: 12,
            lost_lines: 3,
            failing: true,
        }),
    }
}

/// A report without anything that has a name.
pub(crate) fn empty_report() -> Report {
    Report {
        interfaces: Vec::new(),
        load_balancers: BTreeMap::new(),
        target_groups: BTreeMap::new(),
        publications: PublicationReport::default(),
        reasons: Vec::new(),
        announcements: Vec::new(),
        routers: None,
        shared_state: None,
        flow_log: None,
        ..report()
    }
}

fn member(name: &str, state: &str, last_seen_seconds: f64) -> MemberReport {
    MemberReport {
        name: name.into(),
        zone: "a".into(),
        version: "0.1.0".into(),
        state: state.into(),
        last_seen_seconds,
        up_seconds: 7503.5,
        generation: 8,
        table_digest: "00c0ffee00c0ffee".into(),
        tables_differ: name == "lb2",
        hash_key: (name != "lb3").then(|| "5eed5eed5eed5eed".into()),
        hash_key_differs: false,
        room: vec![RoomReport { what: "targets".into(), held: 3, room: 16383 }],
        interfaces: vec!["eth0".into()],
        vips: vec!["10.200.1.1".parse().unwrap()],
        unhealthy: Some(1),
    }
}

fn announcement(vip: &str, state: &str, reason: Option<&str>) -> AnnouncementReport {
    AnnouncementReport {
        vip: vip.parse().unwrap(),
        announced: state == "announced",
        state: state.into(),
        reason: reason.map(Into::into),
        since_seconds: 75.0,
    }
}

/// One router that is told, with BFD, and one that is not.
fn routers() -> RoutersReport {
    let established = SessionReport {
        peer: "10.0.0.254".parse().unwrap(),
        state: "Established".into(),
        since_seconds: 7500.0,
        announced: 1,
        draining: 0,
        withheld: None,
        last_error: None,
        established: 1,
        bfd: Some(BfdReport {
            state: "Up".into(),
            since_seconds: 7499.0,
            detection_milliseconds: 300,
            downs: 0,
            last_down: None,
        }),
    };
    let idle = SessionReport {
        peer: "fd00::fe".parse().unwrap(),
        state: "Idle".into(),
        since_seconds: 2.0,
        announced: 0,
        last_error: Some("connecting: connection refused".into()),
        established: 0,
        bfd: None,
        ..established.clone()
    };
    RoutersReport {
        by: "bgp".into(),
        problem: None,
        drain: None,
        zone_shift: Some(ZoneShiftReport {
            zone: "a".into(),
            since_seconds: 10.0,
            withdraw_in_seconds: 20.0,
            ends_in_seconds: 7190.0,
        }),
        sessions: vec![established, idle],
        table: None,
    }
}

fn native(name: &str, index: u32) -> InterfaceReport {
    InterfaceReport { name: name.into(), index, mode: "native".into(), fallback_reason: None, program_id: 41 }
}

fn generic(name: &str, index: u32) -> InterfaceReport {
    InterfaceReport {
        mode: "generic".into(),
        fallback_reason: Some("Operation not supported (os error 95)".into()),
        ..native(name, index)
    }
}

fn load_balancer() -> LoadBalancerReport {
    LoadBalancerReport {
        vips: vec!["10.200.1.1".parse().unwrap(), "fc00:1::1".parse().unwrap()],
        listeners: vec![listener("TCP", "80", 12, 0), listener("UDP", "any", 0, 0)],
    }
}

fn listener(protocol: &str, port: &str, changing_slots: u32, exception_slots: u32) -> ListenerReport {
    ListenerReport {
        protocol: protocol.into(),
        port: port.into(),
        forward: vec![ForwardReport { target_group: "web".into(), weight: 1 }],
        slots: 4099,
        changing_slots,
        exception_slots,
        chained_slots: 0,
        deferred_slots: 0,
        table_digest: "00c0ffee00c0ffee".into(),
        packets: 1_234_567,
        bytes: 987_654_321,
    }
}

fn target_group() -> TargetGroupReport {
    TargetGroupReport {
        protocol: "TCP".into(),
        port: 80,
        encapsulation: "ipip".into(),
        stickiness: "none".into(),
        flows_kept_by: "flow_table".into(),
        no_second_chance: None,
        untold: Vec::new(),
        fail_open: false,
        check_durations: Some(durations()),
        targets: vec![healthy(), unhealthy(), unreachable()],
    }
}

/// 740 checks that took 2 ms each, and ten of 0.3 s.
fn durations() -> Durations {
    let mut durations = Durations { sum: 4.48, ..Durations::default() };
    (durations.buckets[2], durations.buckets[9]) = (740, 10);
    durations
}

fn healthy() -> TargetReport {
    TargetReport {
        id: "10.0.0.1".parse().unwrap(),
        port: 80,
        zone: "a".into(),
        weight: 1,
        operator: None,
        quic_server_id: None,
        state: "healthy".into(),
        reason: None,
        description: None,
        elsewhere: None,
        agent: Some(crate::status::report::AgentReport {
            state: "present".into(),
            version: Some("0.1.0".into()),
            second_chance: true,
        }),
        checks: ChecksReport {
            passed: 750,
            failed: 1,
            last_seconds: Some(0.0021),
            last_seconds_ago: Some(3.5),
            interval_seconds: 10.0,
        },
        slots: 2733,
        share: 0.6667,
        next_hop: NextHopReport::Resolved {
            interface: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
        },
        packets: 1_200_000,
        bytes: 960_000_000,
        exception_flows: 0,
    }
}

fn unhealthy() -> TargetReport {
    TargetReport {
        id: "10.0.0.2".parse().unwrap(),
        state: "unhealthy".into(),
        reason: Some("Target.FailedHealthChecks".into()),
        description: Some("connecting to 10.0.0.2:80: connection refused".into()),
        agent: None,
        checks: ChecksReport { passed: 0, failed: 3, last_seconds: None, ..healthy().checks },
        slots: 0,
        share: 0.0,
        packets: 34_567,
        bytes: 27_654_321,
        exception_flows: 17,
        ..healthy()
    }
}

fn unreachable() -> TargetReport {
    TargetReport {
        id: "fd00::3".parse().unwrap(),
        zone: "b".into(),
        slots: 1366,
        share: 0.3333,
        next_hop: NextHopReport::Unresolved { problem: "no route to fd00::3; add one".into() },
        packets: 0,
        bytes: 0,
        ..healthy()
    }
}

fn reason(reason: &str, verdict: &str, description: &str, packets: u64) -> ReasonReport {
    ReasonReport { reason: reason.into(), verdict: verdict.into(), description: description.into(), packets }
}
