//! One mistake a row: what is changed in a good file, and all that is then said.

mod addresses;
mod fields;
mod health_checks;
mod listeners;
mod node;
mod target_groups;
mod targets;

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
    for rows in [
        fields::ROWS,
        node::ROWS,
        addresses::ROWS,
        listeners::ROWS,
        target_groups::ROWS,
        health_checks::ROWS,
        targets::ROWS,
    ] {
        let wrong = wrong_answers(GOOD, rows);
        assert!(wrong.is_empty(), "{wrong}");
    }
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
        "bad.json: expected an object with node, metrics_address, load_balancers, target_groups, announce, api, inventory, store, found a list"
    );
    assert_eq!(
        said_about("{}"),
        "bad.json: node: missing; expected an object with name, zone, interfaces, oversized, health_view, flow_log\n\
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
