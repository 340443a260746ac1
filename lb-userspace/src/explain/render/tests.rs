use super::*;

fn explanation() -> Explanation {
    serde_json::from_value(serde_json::json!({
        "interface": "eth0",
        "frame": {"destination_mac": "02:00:00:00:00:01", "interface_mac": "02:00:00:00:00:01", "length": 74},
        "packet": {"protocol": "TCP", "source": "10.0.0.9", "source_port": 40000,
            "destination": "10.200.1.1", "destination_port": 80, "segment": "established", "length": 1480},
        "listener": {"load_balancer": "web", "protocol": "TCP", "port": "80",
            "target_groups": ["web"], "tracking": "changed"},
        "slot": {"hash": "4d2f000000000000", "number": 1234, "slots": 4096, "state": "stable",
            "current": "10.0.0.3"},
        "target": {"target_group": "web", "address": "10.0.0.3", "state": "healthy",
            "next_hop": {"interface": "eth1", "mac": "02:00:00:00:00:03", "mtu": 1400},
            "mtu": 1400, "overhead": 20},
        "verdict": {"verdict": "dropped", "action": "XDP_DROP", "reason": "too_big", "description": "Too big."},
        "frame_in": "00ff",
    }))
    .unwrap()
}

fn lines(explanation: &Explanation) -> Vec<String> {
    render(explanation, Detail::Stages).lines().map(str::to_owned).collect()
}

#[test]
fn each_stage_is_a_line_in_words() {
    assert_eq!(
        lines(&explanation()),
        [
            "packet     TCP 10.0.0.9:40000 → 10.200.1.1:80, 1480 bytes, on eth0, of a flow that began earlier",
            "listener   load balancer web, TCP 80, forwards to web",
            "slot       1234 of 4096, stable: 10.0.0.3 (hash 4d2f000000000000)",
            "flow table not asked: the slot is stable",
            "target     10.0.0.3 of target group web, healthy",
            "next hop   eth1, 02:00:00:00:00:03; too big: 1480 + 20 > 1400",
            "verdict    dropped (XDP_DROP), too_big: Too big.",
        ]
    );
    assert!(render(&explanation(), Detail::Bytes).ends_with("bytes in   00ff\nbytes out  none\n"));
}

#[test]
fn a_chain_is_told_in_the_order_of_time() {
    let mut explanation = explanation();
    let slot = explanation.slot.as_mut().unwrap();
    slot.state = "chained".to_owned();
    slot.chain = vec!["10.0.0.2".to_owned(), "10.0.0.1".to_owned()];
    let lines = lines(&explanation);
    assert!(lines[2].contains("chained: now 10.0.0.3, before that 10.0.0.2, 10.0.0.1 (hash"), "{}", lines[2]);
    assert!(lines[3].starts_with("flow table not asked: the packet names"), "{}", lines[3]);
}

#[test]
fn what_the_flow_table_says_is_told_apart() {
    let told = |state: &str, segment: &str, remembered: Option<&str>, exception: bool| {
        let mut explanation = explanation();
        let slot = explanation.slot.as_mut().unwrap();
        slot.state = state.to_owned();
        slot.previous = (state == "changing").then(|| "10.0.0.2".to_owned());
        explanation.packet.as_mut().unwrap().segment = Some(segment.to_owned());
        explanation.flow_table = Some(FlowTablePart {
            remembered_on: remembered.map(str::to_owned),
            seen_seconds_ago: remembered.map(|_| 12),
            exception,
        });
        lines(&explanation)[3].clone()
    };
    let changing = |remembered, exception| told("changing", "established", remembered, exception);
    assert_eq!(changing(Some("10.0.0.2"), true), "flow table remembered on 10.0.0.2, seen 12 s ago");
    assert!(changing(Some("10.0.0.2"), false).ends_with("ignored, because that target is dead"));
    assert!(changing(None, true).contains("began before the change: to the previous target"));
    assert!(changing(None, false).contains("the previous target is dead"));
    assert!(told("exceptions", "established", None, false).ends_with("unknown: to the current target"));
    assert!(told("changing", "opening", Some("10.0.0.2"), false).contains("forgets 10.0.0.2, remembers"));
    assert!(told("exceptions", "opening", None, false).ends_with("needs to remember nothing"));
}

#[test]
fn a_frame_for_another_mac_is_named_with_both() {
    let mut explanation = explanation();
    (explanation.packet, explanation.listener, explanation.slot, explanation.target) =
        (None, None, None, None);
    explanation.frame.destination_mac = "02:00:00:00:00:99".to_owned();
    explanation.verdict.reason = Some("other_mac".to_owned());
    let lines = lines(&explanation);
    assert_eq!(lines[0], "packet     74 bytes on eth0");
    assert!(lines[1].ends_with("the frame is for 02:00:00:00:00:99, eth0 is 02:00:00:00:00:01"));
}

#[test]
fn the_policy_says_which_rule_lets_the_source_in_and_which_limit_holds() {
    let told = |allow_list: Option<&str>, rule: Option<u32>, limits: Option<&str>| {
        let mut explanation = explanation();
        explanation.policy = Some(PolicyPart {
            allow_list: allow_list.map(str::to_owned),
            rule,
            prefix: rule.map(|_| "10.0.0.0/8".to_owned()),
            limits: limits.map(str::to_owned),
        });
        lines(&explanation)[2].clone()
    };
    assert_eq!(told(Some("allowed"), Some(1), None), "policy     allow[1] lets 10.0.0.0/8 in");
    assert_eq!(told(Some("not_allowed"), None, None), "policy     no rule lets the source in");
    assert_eq!(
        told(Some("allowed"), Some(0), Some("within")),
        "policy     allow[0] lets 10.0.0.0/8 in; a new flow, within the limits"
    );
    assert!(told(None, None, Some("source_limit")).ends_with("beyond the limit of its source"));
    assert!(told(None, None, Some("listener_limit")).ends_with("beyond the limit of the listener"));
}

#[test]
fn a_fragment_says_where_its_ports_are_from() {
    let told = |offset: u16, ports_known: bool| {
        let mut explanation = explanation();
        let part = FragmentPart { identification: 0xbeef, offset, more: offset == 0, ports_known };
        explanation.packet.as_mut().unwrap().fragment = Some(part);
        lines(&explanation)[1].clone()
    };
    assert_eq!(
        told(0, true),
        "fragment   of datagram 0xbeef, at byte 0, more follows: it has the ports; the live program remembers them \
         for the others"
    );
    assert!(
        told(1480, true).ends_with(
            "at byte 1480, the last one: the ports are those of the first one, which came before it"
        )
    );
    assert!(told(1480, false).ends_with("its ports are not known"));
}
