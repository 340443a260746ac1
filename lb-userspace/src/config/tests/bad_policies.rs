//! Allow-lists and limits: how they are read, and mistakes with them, one a row.

use super::bad_files::{BadFile, bad, said_about, wrong_answers};
use crate::config::parse;
use crate::model::{AllowRule, NewFlowLimits, RulePorts, RuleProtocol, SourceLimit};

const GOOD: &str = r#"{
  "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
  "load_balancers": [
    { "name": "www", "vips": ["10.200.1.1"],
      "allow": [
        { "sources": ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"] },
        { "sources": ["10.0.0.0/8"], "protocol": "TCP", "ports": [443, "8000-8080"] },
        { "sources": ["0.0.0.0/0"], "protocol": "UDP", "ports": "50-60" } ],
      "listeners": [
        { "protocol": "TCP", "port": 443, "forward": [{ "target_group": "web" }],
          "new_flows_per_second": 1000, "new_flows_per_second_per_source": 10,
          "source_prefix": { "ipv4": 24 } },
        { "protocol": "TCP_UDP", "port": 53, "forward": [{ "target_group": "dns" }] } ] },
    { "name": "all", "vips": ["10.200.1.2"],
      "allow": [ { "sources": ["::/0"], "protocol": "any", "ports": "any" } ],
      "listeners": [ { "protocol": "UDP", "port": "any", "forward": [{ "target_group": "udp" }] } ] } ],
  "target_groups": [
    { "name": "web", "protocol": "TCP", "port": 443, "targets": [] },
    { "name": "udp", "protocol": "UDP", "port": 443, "targets": [] },
    { "name": "dns", "protocol": "TCP_UDP", "port": 53, "targets": [] }
  ]
}"#;

#[test]
fn rules_and_limits_are_read_with_their_defaults() {
    let desired = parse("f", GOOD).map_err(|error| error.to_string()).unwrap();
    let rules = &desired.load_balancers["www"].allow.as_ref().unwrap().0;
    let shown = |rule: &AllowRule| rule.sources.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&rules[0]), ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"]);
    assert_eq!((rules[0].protocol, &rules[0].ports), (RuleProtocol::Any, &RulePorts::Any));
    assert_eq!(rules[1].ports, RulePorts::Ranges(vec![(443, 443), (8000, 8080)]));
    assert_eq!((rules[2].protocol, &rules[2].ports), (RuleProtocol::Udp, &RulePorts::Ranges(vec![(50, 60)])));
    let listeners = &desired.load_balancers["www"].listeners;
    let per_source = SourceLimit { per_second: 10, ipv4_bits: 24, ipv6_bits: 64 };
    assert_eq!(listeners[0].limits, NewFlowLimits { all: Some(1000), per_source: Some(per_source) });
    assert_eq!(listeners[1].limits, NewFlowLimits::default());
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(said_about(GOOD), "nothing");
}

#[test]
fn every_bad_policy_gets_its_message() {
    let wrong = wrong_answers(GOOD, BAD_POLICIES);
    assert!(wrong.is_empty(), "{wrong}");
}

const BAD_POLICIES: &[BadFile] = &[
    bad(
        "a list that lets nobody in",
        r#"[ { "sources": ["::/0"], "protocol": "any", "ports": "any" } ]"#,
        "[]",
        &[
            r#"load_balancers[1].allow: an empty list lets nobody in; add a rule, or leave "allow" out to let everybody in"#,
        ],
    ),
    bad(
        "a rule for nobody",
        r#"["::/0"]"#,
        "[]",
        &["load_balancers[1].allow[0].sources: an empty list; expected one or more address prefixes"],
    ),
    bad(
        "a host in the prefix's place",
        "192.0.2.0/24",
        "192.0.2.9/24",
        &[
            r#"load_balancers[0].allow[0].sources[0]: 192.0.2.9/24 has bits set behind its prefix; write "192.0.2.0/24""#,
        ],
    ),
    bad(
        "a prefix that is too long",
        "192.0.2.0/24",
        "192.0.2.0/33",
        &[
            r#"load_balancers[0].allow[0].sources[0]: expected a prefix length from 0 to 32, found "192.0.2.0/33""#,
        ],
    ),
    bad(
        "IPv4 in IPv6's clothes",
        "2001:db8::/32",
        "::ffff:192.0.2.0/120",
        &[
            r#"load_balancers[0].allow[0].sources[1]: ::ffff:192.0.2.0 is an IPv4-mapped IPv6 address; write "192.0.2.0/24""#,
        ],
    ),
    bad(
        "a name",
        "2001:db8::/32",
        "example.org",
        &[
            r#"load_balancers[0].allow[0].sources[1]: expected an address prefix such as "192.0.2.0/24" or "2001:db8::/32", found the string "example.org""#,
        ],
    ),
    bad(
        "a protocol in small letters",
        r#""protocol": "UDP", "ports""#,
        r#""protocol": "udp", "ports""#,
        &[r#"load_balancers[0].allow[2].protocol: expected "TCP", "UDP" or "any", found the string "udp""#],
    ),
    bad(
        "a range from its end",
        "8000-8080",
        "8080-8000",
        &[r#"load_balancers[0].allow[1].ports[1]: the range ends before it begins; write "8000-8080""#],
    ),
    bad(
        "no range",
        r#""50-60""#,
        r#""fifty""#,
        &[
            r#"load_balancers[0].allow[2].ports: expected "any", a range such as "80-90", or a list of ports and ranges, found the string "fifty""#,
        ],
    ),
    bad(
        "a rule of no listener",
        r#"[443, "8000-8080"]"#,
        r#"["8000-8080"]"#,
        &[
            "load_balancers[0].allow[1]: the rule has the protocol and ports of no listener of this load balancer; correct or remove it",
        ],
    ),
    bad(
        "a listener of no rule",
        r#"{ "sources": ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"] }"#,
        r#"{ "sources": ["192.0.2.0/24"], "protocol": "UDP" }"#,
        &[
            "load_balancers[0].allow: no rule lets anybody in to listeners[1] of this load balancer (TCP 53); add one, or remove the listener",
        ],
    ),
    bad(
        "a rule for some ports of a listener of any port",
        r#""protocol": "any", "ports": "any" } ]"#,
        r#""ports": [8443] }, { "sources": ["::/0"] } ]"#,
        &[
            r#"load_balancers[1].allow[0].ports: port 8443 is one that listeners[0] takes, and a listener of any port has one list for all of them; give the port a listener of its own, or let this rule have "ports": "any""#,
        ],
    ),
    bad(
        "a limit of nothing",
        r#""new_flows_per_second": 1000"#,
        r#""new_flows_per_second": 0"#,
        &[
            "load_balancers[0].listeners[0].new_flows_per_second: expected a whole number from 1 to 10000000, found the number 0",
        ],
    ),
    bad(
        "a limit of UDP",
        r#""protocol": "UDP", "port": "any","#,
        r#""protocol": "UDP", "port": "any", "new_flows_per_second": 5,"#,
        &[
            "load_balancers[1].listeners[0].new_flows_per_second: this listener is UDP, and nothing in a UDP packet tells whether its flow is new; remove the limit",
        ],
    ),
    bad(
        "a limit of both protocols",
        r#""protocol": "TCP_UDP", "port": 53, "forward""#,
        r#""protocol": "TCP_UDP", "port": 53, "new_flows_per_second_per_source": 5, "forward""#,
        &[
            "load_balancers[0].listeners[1].new_flows_per_second_per_source: this listener is TCP_UDP, and nothing in a UDP packet tells whether its flow is new; make it two listeners, TCP and UDP, with a target group each, and limit the TCP one",
        ],
    ),
    bad(
        "a source's prefix without a limit",
        r#""new_flows_per_second_per_source": 10,"#,
        "",
        &[
            "load_balancers[0].listeners[0].source_prefix: says what a source is for new_flows_per_second_per_source, which is missing; add it, or remove this",
        ],
    ),
    bad(
        "a source that is too large",
        r#""ipv4": 24"#,
        r#""ipv4": 16"#,
        &[
            "load_balancers[0].listeners[0].source_prefix.ipv4: expected a whole number from 24 to 32, found the number 16",
        ],
    ),
];
