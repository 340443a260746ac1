//! One mistake a row: what is changed in a good file, and all that is then said.

use crate::config::parse;

const GOOD: &str = r#"{
  "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0", "eth1"] },
  "metrics_address": "127.0.0.1:9100",
  "load_balancers": [
    { "name": "www", "vips": ["10.200.1.1", "fc00:1::1"], "listeners": [
      { "protocol": "TCP", "port": 80, "forward": [{ "target_group": "web", "weight": 5 }, { "target_group": "web-2" }] },
      { "protocol": "UDP", "port": 53, "forward": [{ "target_group": "dns" }] } ] },
    { "name": "mail", "vips": ["10.200.1.2"], "listeners": [] }
  ],
  "target_groups": [
    { "name": "web", "protocol": "TCP", "port": 80, "encapsulation": "ipip", "draining_seconds": 9,
      "health_check": { "protocol": "HTTP", "port": 81, "path": "/up", "matcher": "200", "interval_seconds": 20,
        "timeout_seconds": 8, "healthy_threshold": 3, "unhealthy_threshold": 4 },
      "idle_timeout_seconds": 90, "cross_zone": true,
      "targets": [{ "id": "10.0.0.1", "weight": 7, "zone": "b" }, { "id": "10.0.0.2" }] },
    { "name": "web-2", "protocol": "TCP", "port": 80, "targets": [] },
    { "name": "dns", "protocol": "UDP", "port": 53, "udp_tracking": "never", "idle_timeout_seconds": 30,
      "health_check": { "protocol": "TCP", "port": "traffic-port" }, "targets": [{ "id": "fc00::1" }] }
  ]
}"#;

/// One mistake: what is changed in a good file, and what is then said.
pub(super) struct BadFile {
    mistake: &'static str,
    from: &'static str,
    to: &'static str,
    says: &'static [&'static str],
}

/// A row of a table of mistakes.
pub(super) const fn bad(
    mistake: &'static str,
    from: &'static str,
    to: &'static str,
    says: &'static [&'static str],
) -> BadFile {
    BadFile { mistake, from, to, says }
}

/// What is said about a file; `nothing` of a good one.
pub(super) fn said_about(text: &str) -> String {
    match parse("bad.json", text) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(said_about(GOOD), "nothing");
}

/// The rows that are not answered as they should be, in words.
pub(super) fn wrong_answers(good: &str, rows: &[BadFile]) -> String {
    let mut wrong = String::new();
    for BadFile { mistake, from, to, says } in rows {
        assert_eq!(good.matches(from).count(), 1, "{mistake}: {from} is not in the good file once");
        let expected: Vec<_> = says.iter().map(|line| format!("bad.json: {line}")).collect();
        let said = said_about(&good.replacen(from, to, 1));
        if said != expected.join("\n") {
            wrong += &format!("{mistake}\n  said:\n{said}\n  expected:\n{}\n", expected.join("\n"));
        }
    }
    wrong
}

#[test]
fn every_bad_file_gets_its_message() {
    let wrong = wrong_answers(GOOD, BAD_FILES);
    assert!(wrong.is_empty(), "{wrong}");
    assert!(BAD_FILES.len() >= 60);
}

#[test]
fn all_problems_of_a_file_are_said_at_once() {
    let mut text = GOOD.replacen("\"eth0\"", "7", 1);
    text = text.replacen("fc00:1::1", "::1", 1).replacen("\"weight\": 7", "\"weight\": -1", 1);
    text = text.replacen("\"target_group\": \"dns\"", "\"target_group\": \"dnss\"", 1);
    assert_eq!(
        said_about(&text),
        "bad.json: node.interfaces[0]: expected an interface name such as \"eth0\", found the number 7\n\
         bad.json: target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number -1\n\
         bad.json: load_balancers[0].vips[1]: ::1 is a loopback address; expected a host's address that packets can be routed to\n\
         bad.json: load_balancers[0].listeners[1].forward[0].target_group: no target group has the name \"dnss\"; did you mean \"dns\"?"
    );
}

#[test]
fn a_syntax_error_shows_its_line() {
    assert_eq!(
        said_about(&GOOD.replacen("\"lb1\",", "\"lb1\"", 1)),
        "bad.json: line 2, column 27: expected `,` or `}`\n\
         \x20     \"node\": { \"name\": \"lb1\" \"zone\": \"a\", \"interfaces\": [\"eth0\", \"eth1\"] },\n\
         \x20                             ^"
    );
}

#[test]
fn what_people_take_json_for_is_named() {
    for (from, to, says) in [
        ("\"interfaces\"", "// comment", "; JSON has no comments"),
        ("\"lb1\"", "'lb1'", "; strings stand in double quotes"),
        ("\"eth1\"]", "]", "; is there a comma before this bracket that must go?"),
        ("\n  ]\n}", "\n  ]", "; the file ends too early, a closing bracket or quote is missing"),
    ] {
        let said = said_about(&GOOD.replacen(from, to, 1));
        assert!(said.lines().next().unwrap().ends_with(says), "{said}");
    }
}

#[test]
fn a_long_line_is_cut_around_the_syntax_error() {
    let text = format!("[{}, nothing, {}]", "1, ".repeat(1000), "2, ".repeat(1000));
    let said = said_about(&text);
    assert!(said.lines().all(|line| line.len() < 150), "{said}");
    assert_eq!(
        said.lines().nth(2).unwrap().find('^'),
        said.lines().nth(1).unwrap().find(", nothing"),
        "{said}"
    );
}

#[test]
fn an_empty_file_is_told_what_it_should_hold() {
    let expected = "bad.json: line 1, column 0: EOF while parsing a value; the file is empty, expected an object \
                    with \"node\", \"load_balancers\" and \"target_groups\"";
    assert_eq!(said_about("").lines().next(), Some(expected));
}

#[test]
fn a_file_of_another_kind_says_what_belongs_there() {
    assert_eq!(
        said_about("[1]"),
        "bad.json: expected an object with node, metrics_address, load_balancers, target_groups, found a list"
    );
    assert_eq!(
        said_about("{}"),
        "bad.json: node: missing; expected an object with name, zone, interfaces, oversized\n\
         bad.json: target_groups: missing; expected a list of target groups\n\
         bad.json: load_balancers: missing; expected a list of load balancers"
    );
}

#[test]
fn more_targets_than_a_node_holds_are_refused() {
    let targets = |first: u32, count: u32| -> String {
        let ids = (first..first + count).map(|low| std::net::Ipv4Addr::from(0x0a00_0000 + low));
        ids.map(|id| format!(r#"{{ "id": "{id}" }}"#)).collect::<Vec<_>>().join(",")
    };
    let with = |count| {
        let second = format!(r#""port": 80, "targets": [{}]"#, targets(256, count));
        GOOD.replacen(r#""port": 80, "targets": []"#, &second, 1)
    };
    assert_eq!(said_about(&with(65_000 - 3)), "nothing");
    assert_eq!(
        said_about(&with(65_000 - 2)),
        "bad.json: target_groups: 65001 targets in all groups together; a node holds at most 65000"
    );
}

#[test]
fn endless_problems_are_counted_after_the_first_hundred() {
    let text = format!("{{ {} }}", vec!["\"qqq\": 1"; 1000].join(","));
    let said = said_about(&text);
    assert_eq!(said.lines().count(), 101);
    assert_eq!(said.lines().last(), Some("bad.json: and 903 more problems"));
}

const BAD_FILES: &[BadFile] = &[
    // Fields and types.
    bad(
        "an unknown field that looks like a known one",
        r#""name": "lb1""#,
        r#""nmae": "lb1""#,
        &[r#"node.nmae: unknown field; did you mean "name"?"#],
    ),
    bad(
        "an unknown field like none",
        r#""name": "lb1","#,
        r#""name": "lb1", "color": "red","#,
        &["node.color: unknown field; the fields here are name, zone, interfaces, oversized"],
    ),
    bad(
        "a field without its unit",
        r#""interval_seconds""#,
        r#""interval""#,
        &[r#"target_groups[0].health_check.interval: unknown field; did you mean "interval_seconds"?"#],
    ),
    bad(
        "a field in camel case",
        r#""encapsulation""#,
        r#""Encapsulation""#,
        &[r#"target_groups[0].Encapsulation: unknown field; did you mean "encapsulation"?"#],
    ),
    bad(
        "an unknown field on top",
        r#""metrics_address""#,
        r#""metrics""#,
        &[r#"metrics: unknown field; did you mean "metrics_address"?"#],
    ),
    bad(
        "a field name that is no word",
        r#""zone": "a""#,
        "\"zone\": \"a\", \"\\u001b[31m\": 1",
        &[r#"node["\u{1b}[31m"]: unknown field; the fields here are name, zone, interfaces, oversized"#],
    ),
    bad(
        "a field given twice",
        r#""zone": "a""#,
        r#""zone": "a", "zone": "b""#,
        &["node.zone: given twice; a field is given once"],
    ),
    bad(
        "a section given twice",
        r#""metrics_address": "127.0.0.1:9100""#,
        r#""node": {}"#,
        &["node: given twice; a field is given once"],
    ),
    bad(
        "a missing field",
        r#""name": "lb1", "#,
        "",
        &[
            "node.name: missing; expected a name of 1 to 64 characters, without control characters and outer spaces",
        ],
    ),
    bad(
        "a missing list",
        r#", "targets": []"#,
        "",
        &["target_groups[1].targets: missing; expected a list of targets"],
    ),
    bad(
        "null for a string",
        r#""zone": "a""#,
        r#""zone": null"#,
        &[
            "node.zone: expected a name of 1 to 64 characters, without control characters and outer spaces, found null",
        ],
    ),
    bad(
        "null for a field with a default",
        r#""weight": 5"#,
        r#""weight": null"#,
        &[
            "load_balancers[0].listeners[0].forward[0].weight: expected a whole number from 0 to 999, found null",
        ],
    ),
    bad(
        "an object for a list",
        r#""targets": []"#,
        r#""targets": {}"#,
        &["target_groups[1].targets: expected a list of targets, found an object"],
    ),
    bad(
        "a list for an object",
        r#"{ "target_group": "dns" }"#,
        r#"["dns"]"#,
        &[
            "load_balancers[0].listeners[1].forward[0]: expected an object with target_group, weight, found a list",
        ],
    ),
    bad(
        "a string for an object",
        r#"{ "id": "fc00::1" }"#,
        r#""fc00::1""#,
        &[
            r#"target_groups[2].targets[0]: expected an object with id, weight, zone, quic_server_id, found the string "fc00::1""#,
        ],
    ),
    bad(
        "a string for a flag",
        r#""cross_zone": true"#,
        r#""cross_zone": "true""#,
        &[r#"target_groups[0].cross_zone: expected true or false, found the string "true""#],
    ),
    bad(
        "a number in quotes",
        r#""weight": 7"#,
        r#""weight": "7""#,
        &[
            r#"target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the string "7"; remove the quotes"#,
        ],
    ),
    bad(
        "a word for a number",
        r#""weight": 7"#,
        r#""weight": "much""#,
        &[
            r#"target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the string "much""#,
        ],
    ),
    bad(
        "a fraction",
        r#""weight": 7"#,
        r#""weight": 7.5"#,
        &["target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number 7.5"],
    ),
    bad(
        "a number beyond all ranges",
        r#""weight": 7"#,
        r#""weight": 99999999999999999999"#,
        &[
            "target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number 1e20",
        ],
    ),
    // The node.
    bad(
        "an empty node name",
        r#""name": "lb1""#,
        r#""name": """#,
        &[
            r#"node.name: expected a name of 1 to 64 characters, without control characters and outer spaces, found the string """#,
        ],
    ),
    bad(
        "a zone with a line break",
        r#""zone": "a""#,
        r#""zone": "a\nb""#,
        &[
            r#"node.zone: expected a name of 1 to 64 characters, without control characters and outer spaces, found the string "a\nb""#,
        ],
    ),
    bad(
        "no interface",
        r#"["eth0", "eth1"]"#,
        "[]",
        &["node.interfaces: an empty list; expected 1 to 64 interface names"],
    ),
    bad(
        "one interface without its list",
        r#"["eth0", "eth1"]"#,
        r#""eth0""#,
        &[r#"node.interfaces: expected a list of 1 to 64 interface names, found the string "eth0""#],
    ),
    bad(
        "an interface twice",
        r#""eth1""#,
        r#""eth0""#,
        &["node.interfaces[1]: the same interface as node.interfaces[0]; name each once"],
    ),
    bad(
        "an interface name that Linux can't have",
        r#""eth1""#,
        r#""eth/1""#,
        &[
            r#"node.interfaces[1]: expected an interface name such as "eth0", without '/', ':' and spaces, found the string "eth/1""#,
        ],
    ),
    bad(
        "an interface name that is too long",
        r#""eth1""#,
        r#""ethernet12345678""#,
        &[
            r#"node.interfaces[1]: "ethernet12345678" is 16 bytes long; an interface name of Linux has at most 15"#,
        ],
    ),
    bad(
        "another policy for packets that are too big",
        r#""zone": "a", "interfaces""#,
        r#""zone": "a", "oversized": "fragment", "interfaces""#,
        &[r#"node.oversized: expected "drop" or "answer", found the string "fragment""#],
    ),
    bad(
        "a metrics address without a port",
        "127.0.0.1:9100",
        "127.0.0.1",
        &[
            r#"metrics_address: expected an IP address and a port such as "127.0.0.1:9100" or "[::1]:9100", found the string "127.0.0.1""#,
        ],
    ),
    bad(
        "a metrics address with a host name",
        "127.0.0.1:9100",
        "localhost:9100",
        &[
            r#"metrics_address: expected an IP address and a port such as "127.0.0.1:9100" or "[::1]:9100", found the string "localhost:9100""#,
        ],
    ),
    bad(
        "metrics on port 0",
        "127.0.0.1:9100",
        "127.0.0.1:0",
        &["metrics_address: port 0 is another port after every start; expected a port from 1 to 65535"],
    ),
    // Names and addresses.
    bad(
        "a load balancer's name with an underscore",
        r#""name": "mail""#,
        r#""name": "m_l""#,
        &[
            r#"load_balancers[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "m_l""#,
        ],
    ),
    bad(
        "a name that ends with a hyphen",
        r#""name": "mail""#,
        r#""name": "mail-""#,
        &[
            r#"load_balancers[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "mail-""#,
        ],
    ),
    bad(
        "a name that is too long",
        r#""name": "mail""#,
        r#""name": "mail-0123456789-0123456789-012345""#,
        &[
            r#"load_balancers[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "mail-0123456789-0123456789-012345""#,
        ],
    ),
    bad(
        "a load balancer's name twice",
        r#""name": "mail""#,
        r#""name": "www""#,
        &[r#"load_balancers[1].name: "www" is the name of load_balancers[0] already; names are unique"#],
    ),
    bad(
        "a target group's name twice",
        r#""name": "dns""#,
        r#""name": "web""#,
        &[
            r#"target_groups[2].name: "web" is the name of target_groups[0] already; names are unique"#,
            r#"load_balancers[0].listeners[1].forward[0].target_group: no target group has the name "dns"; add it to target_groups"#,
        ],
    ),
    bad(
        "a target group's bad name, which is not said twice",
        r#""name": "web-2""#,
        r#""name": "web_2""#,
        &[
            r#"target_groups[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "web_2""#,
        ],
    ),
    bad(
        "no VIP",
        r#"["10.200.1.2"]"#,
        "[]",
        &["load_balancers[1].vips: an empty list; expected one or more IP addresses"],
    ),
    bad(
        "a VIP that is a host name",
        r#""10.200.1.2""#,
        r#""www.example.com""#,
        &[
            r#"load_balancers[1].vips[0]: expected an IP address such as "10.0.0.1" or "fc00::1", found the string "www.example.com""#,
        ],
    ),
    bad(
        "a VIP with a prefix length",
        r#""10.200.1.2""#,
        r#""10.200.1.2/32""#,
        &[r#"load_balancers[1].vips[0]: expected one address, found "10.200.1.2/32"; write "10.200.1.2""#],
    ),
    bad(
        "a VIP with an octal look",
        r#""10.200.1.2""#,
        r#""10.200.1.02""#,
        &[
            r#"load_balancers[1].vips[0]: expected an IP address such as "10.0.0.1" or "fc00::1", found the string "10.200.1.02""#,
        ],
    ),
    bad(
        "the unspecified IPv4 address",
        r#""10.200.1.2""#,
        r#""0.0.0.0""#,
        &[
            "load_balancers[1].vips[0]: 0.0.0.0 is the unspecified address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an address of this network",
        r#""10.200.1.2""#,
        r#""0.200.1.2""#,
        &[
            r#"load_balancers[1].vips[0]: 0.200.1.2 is an address of "this network" (RFC 1122 section 3.2.1.3); expected a host's address that packets can be routed to"#,
        ],
    ),
    bad(
        "the unspecified IPv6 address",
        r#""10.200.1.2""#,
        r#""::""#,
        &[
            "load_balancers[1].vips[0]: :: is the unspecified address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4 loopback address",
        r#""10.200.1.2""#,
        r#""127.1.2.3""#,
        &[
            "load_balancers[1].vips[0]: 127.1.2.3 is a loopback address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4 multicast address",
        r#""10.200.1.2""#,
        r#""224.0.0.5""#,
        &[
            "load_balancers[1].vips[0]: 224.0.0.5 is a multicast address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv6 multicast address",
        r#""10.200.1.2""#,
        r#""ff02::1""#,
        &[
            "load_balancers[1].vips[0]: ff02::1 is a multicast address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "the broadcast address",
        r#""10.200.1.2""#,
        r#""255.255.255.255""#,
        &[
            "load_balancers[1].vips[0]: 255.255.255.255 is the broadcast address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4 link-local address",
        r#""10.200.1.2""#,
        r#""169.254.0.1""#,
        &[
            "load_balancers[1].vips[0]: 169.254.0.1 is a link-local address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv6 link-local address",
        r#""10.200.1.2""#,
        r#""fe80::1""#,
        &[
            "load_balancers[1].vips[0]: fe80::1 is a link-local address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4-mapped address",
        r#""10.200.1.2""#,
        r#""::ffff:10.200.1.2""#,
        &[
            r#"load_balancers[1].vips[0]: ::ffff:10.200.1.2 is an IPv4-mapped IPv6 address; write "10.200.1.2""#,
        ],
    ),
    bad(
        "a VIP of two load balancers",
        r#""10.200.1.2""#,
        r#""10.200.1.1""#,
        &[
            "load_balancers[1].vips[0]: 10.200.1.1 is load_balancers[0].vips[0] already; a VIP is one load balancer's, once",
        ],
    ),
    bad(
        "a VIP twice, written in another way",
        r#""10.200.1.2""#,
        r#""FC00:1:0::1""#,
        &[
            "load_balancers[1].vips[0]: fc00:1::1 is load_balancers[0].vips[1] already; a VIP is one load balancer's, once",
        ],
    ),
    // Listeners.
    bad(
        "TLS",
        r#""protocol": "TCP", "port": 80, "forward""#,
        r#""protocol": "TLS", "port": 80, "forward""#,
        &[
            r#"load_balancers[0].listeners[0].protocol: "TLS" is not supported yet; use "TCP", "UDP", "TCP_UDP" or "QUIC""#,
        ],
    ),
    bad(
        "TCP_QUIC",
        r#""protocol": "TCP", "port": 80, "forward""#,
        r#""protocol": "TCP_QUIC", "port": 80, "forward""#,
        &[
            r#"load_balancers[0].listeners[0].protocol: "TCP_QUIC" is not supported yet; use "TCP", "UDP", "TCP_UDP" or "QUIC""#,
        ],
    ),
    bad(
        "a protocol in small letters",
        r#""name": "web-2", "protocol": "TCP""#,
        r#""name": "web-2", "protocol": "tcp""#,
        &[r#"target_groups[1].protocol: expected "TCP", "UDP", "TCP_UDP" or "QUIC", found the string "tcp""#],
    ),
    bad(
        "listener port 0",
        r#""port": 53, "forward""#,
        r#""port": 0, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the number 0"#,
        ],
    ),
    bad(
        "a listener port beyond 65535",
        r#""port": 53, "forward""#,
        r#""port": 65536, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the number 65536"#,
        ],
    ),
    bad(
        "a listener port in quotes",
        r#""port": 53, "forward""#,
        r#""port": "53", "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the string "53"; remove the quotes"#,
        ],
    ),
    bad(
        "a listener port range",
        r#""port": 53, "forward""#,
        r#""port": "53-54", "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the string "53-54""#,
        ],
    ),
    bad(
        "two listeners on one port",
        r#""UDP", "port": 53, "forward": [{ "target_group": "dns" }]"#,
        r#""TCP", "port": 80, "forward": [{ "target_group": "web" }]"#,
        &[
            "load_balancers[0].listeners[1]: TCP port 80 is that of load_balancers[0].listeners[0] already; expected one listener for a protocol and port",
        ],
    ),
    bad(
        "nothing to forward to",
        r#"[{ "target_group": "dns" }]"#,
        "[]",
        &[
            "load_balancers[0].listeners[1].forward: an empty list; expected one or more target groups with weights",
        ],
    ),
    bad(
        "a target group that there is not",
        r#""target_group": "dns""#,
        r#""target_group": "ntp""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: no target group has the name "ntp"; add it to target_groups"#,
        ],
    ),
    bad(
        "a target group's name misspelt",
        r#""target_group": "dns""#,
        r#""target_group": "dsn""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: no target group has the name "dsn"; did you mean "dns"?"#,
        ],
    ),
    bad(
        "a target group of another protocol",
        r#""protocol": "UDP", "port": 53, "forward""#,
        r#""protocol": "TCP", "port": 53, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: the target group "dns" is UDP, this listener is TCP; make them the same"#,
        ],
    ),
    bad(
        "a target group of another port",
        r#""port": 53, "forward""#,
        r#""port": 5353, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: the target group "dns" has port 53, this listener has port 5353; direct server return keeps the destination port, so make them equal"#,
        ],
    ),
    bad(
        "a target group twice in one action",
        r#""target_group": "web-2""#,
        r#""target_group": "web""#,
        &[
            r#"load_balancers[0].listeners[0].forward[1].target_group: "web" is that of load_balancers[0].listeners[0].forward[0] already; name it once, with a weight"#,
        ],
    ),
    bad(
        "no weight above 0",
        r#"{ "target_group": "dns" }"#,
        r#"{ "target_group": "dns", "weight": 0 }"#,
        &[
            "load_balancers[0].listeners[1].forward: every weight is 0, so no flow could go anywhere; expected one above 0",
        ],
    ),
    bad(
        "a weight of an action beyond 999",
        r#""weight": 5"#,
        r#""weight": 1000"#,
        &[
            "load_balancers[0].listeners[0].forward[0].weight: expected a whole number from 0 to 999, found the number 1000",
        ],
    ),
    // Target groups.
    bad(
        "a target group's port that is any",
        r#""port": 80, "targets""#,
        r#""port": "any", "targets""#,
        &[r#"target_groups[1].port: expected a whole number from 1 to 65535, found the string "any""#],
    ),
    bad(
        "another encapsulation",
        r#""ipip""#,
        r#""vxlan""#,
        &[r#"target_groups[0].encapsulation: expected "ipip" or "gue", found the string "vxlan""#],
    ),
    bad(
        "draining for too long",
        r#""draining_seconds": 9"#,
        r#""draining_seconds": 3601"#,
        &[
            "target_groups[0].draining_seconds: expected a whole number of seconds from 0 to 3600, found the number 3601",
        ],
    ),
    bad(
        "a duration with a unit",
        r#""draining_seconds": 9"#,
        r#""draining_seconds": "9s""#,
        &[
            r#"target_groups[0].draining_seconds: expected a whole number of seconds from 0 to 3600, found the string "9s""#,
        ],
    ),
    bad(
        "TCP flows that idle too shortly",
        r#""idle_timeout_seconds": 90"#,
        r#""idle_timeout_seconds": 59"#,
        &[
            "target_groups[0].idle_timeout_seconds: expected a whole number of seconds from 60 to 6000, found the number 59",
        ],
    ),
    bad(
        "UDP flows that idle too shortly",
        r#""idle_timeout_seconds": 30"#,
        r#""idle_timeout_seconds": 9"#,
        &[
            "target_groups[2].idle_timeout_seconds: expected a whole number of seconds from 10 to 6000, found the number 9",
        ],
    ),
    bad(
        "UDP tracking of a TCP group",
        r#""cross_zone": true"#,
        r#""udp_tracking": "always""#,
        &["target_groups[0].udp_tracking: this target group is TCP, only UDP ones have it; leave it out"],
    ),
    bad(
        "another UDP tracking",
        r#""never""#,
        r#""sometimes""#,
        &[
            r#"target_groups[2].udp_tracking: expected "changed", "always" or "never", found the string "sometimes""#,
        ],
    ),
    // Health checks.
    bad(
        "an HTTPS check",
        r#""HTTP""#,
        r#""HTTPS""#,
        &[r#"target_groups[0].health_check.protocol: "HTTPS" is not supported yet; use "TCP" or "HTTP""#],
    ),
    bad(
        "a check port that is any",
        r#""traffic-port""#,
        r#""any""#,
        &[
            r#"target_groups[2].health_check.port: expected a whole number from 1 to 65535 or "traffic-port", found the string "any""#,
        ],
    ),
    bad(
        "a path and a matcher of a TCP check",
        r#""protocol": "HTTP""#,
        r#""protocol": "TCP""#,
        &[
            r#"target_groups[0].health_check.path: only HTTP checks have one; leave it out or set the check's protocol to "HTTP""#,
            r#"target_groups[0].health_check.matcher: only HTTP checks have one; leave it out or set the check's protocol to "HTTP""#,
        ],
    ),
    bad(
        "a path without its slash",
        r#""/up""#,
        r#""up""#,
        &[
            r#"target_groups[0].health_check.path: expected a path of 1 to 1024 characters that starts with "/", such as "/healthz", found the string "up""#,
        ],
    ),
    bad(
        "a path that smuggles a header",
        r#""/up""#,
        r#""/up\r\nX: y""#,
        &[
            r"target_groups[0].health_check.path: '\r' can't stand in the path of a request; write it percent-encoded, like %20 for a space",
        ],
    ),
    bad(
        "a path with half an escape",
        r#""/up""#,
        r#""/up%2""#,
        &[
            "target_groups[0].health_check.path: '%' can't stand in the path of a request; write it percent-encoded, like %20 for a space",
        ],
    ),
    bad(
        "a matcher that is a number",
        r#""matcher": "200""#,
        r#""matcher": 200"#,
        &[
            r#"target_groups[0].health_check.matcher: expected a string of HTTP status codes from 200 to 599 and ranges of them, such as "200" or "200,300-399", found the number 200"#,
        ],
    ),
    bad(
        "a matcher that goes backwards",
        r#""matcher": "200""#,
        r#""matcher": "299-200""#,
        &[
            r#"target_groups[0].health_check.matcher: expected a string of HTTP status codes from 200 to 599 and ranges of them, such as "200" or "200,300-399", found the string "299-200""#,
        ],
    ),
    bad(
        "a matcher of an interim answer",
        r#""matcher": "200""#,
        r#""matcher": "100""#,
        &[
            r#"target_groups[0].health_check.matcher: expected a string of HTTP status codes from 200 to 599 and ranges of them, such as "200" or "200,300-399", found the string "100""#,
        ],
    ),
    bad(
        "an interval of nothing",
        r#""interval_seconds": 20"#,
        r#""interval_seconds": 0"#,
        &[
            "target_groups[0].health_check.interval_seconds: expected a whole number of seconds from 1 to 300, found the number 0",
        ],
    ),
    bad(
        "a time-out beyond its range",
        r#""timeout_seconds": 8"#,
        r#""timeout_seconds": 121"#,
        &[
            "target_groups[0].health_check.timeout_seconds: expected a whole number of seconds from 1 to 120, found the number 121",
        ],
    ),
    bad(
        "a time-out longer than the interval",
        r#""timeout_seconds": 8"#,
        r#""timeout_seconds": 21"#,
        &[
            "target_groups[0].health_check.timeout_seconds: 21 s is longer than the interval of 20 s; make it at most interval_seconds",
        ],
    ),
    bad(
        "a threshold of 0",
        r#""healthy_threshold": 3"#,
        r#""healthy_threshold": 0"#,
        &[
            "target_groups[0].health_check.healthy_threshold: expected a whole number from 1 to 10, found the number 0",
        ],
    ),
    bad(
        "a threshold beyond 10",
        r#""unhealthy_threshold": 4"#,
        r#""unhealthy_threshold": 11"#,
        &[
            "target_groups[0].health_check.unhealthy_threshold: expected a whole number from 1 to 10, found the number 11",
        ],
    ),
    // Targets.
    bad(
        "a target named by another field",
        r#""id": "fc00::1""#,
        r#""address": "fc00::1""#,
        &[
            "target_groups[2].targets[0].address: unknown field; the fields here are id, weight, zone, quic_server_id",
            r#"target_groups[2].targets[0].id: missing; expected an IP address such as "10.0.0.1" or "fc00::1""#,
        ],
    ),
    bad(
        "a target's weight beyond 1000",
        r#""weight": 7"#,
        r#""weight": 1001"#,
        &[
            "target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number 1001",
        ],
    ),
    bad(
        "a target's empty zone",
        r#""zone": "b""#,
        r#""zone": """#,
        &[
            r#"target_groups[0].targets[0].zone: expected a name of 1 to 64 characters, without control characters and outer spaces, found the string """#,
        ],
    ),
    bad(
        "a target on the loopback",
        r#""fc00::1""#,
        r#""::1""#,
        &[
            "target_groups[2].targets[0].id: ::1 is a loopback address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "a target twice in its group",
        r#""10.0.0.2""#,
        r#""10.0.0.1""#,
        &[
            "target_groups[0].targets[1].id: 10.0.0.1 is target_groups[0].targets[0] already; list it once, with a weight",
        ],
    ),
    bad(
        "a target that is a VIP",
        r#""fc00::1""#,
        r#""10.200.1.2""#,
        &[
            "target_groups[2].targets[0].id: 10.200.1.2 is a VIP (load_balancers[1].vips[0]), packets would go round in a loop; expected the server's own address",
        ],
    ),
];
