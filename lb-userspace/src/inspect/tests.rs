use serde_json::Value;

use super::{found, tables};
use crate::status::sample;

const TERMINAL: usize = 80;

fn refused<T>(found: anyhow::Result<T>) -> String {
    found.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn lists_fit_80_columns() {
    let mut report = sample::report();
    let long = "a-name-of-thirty-two-characters-".to_owned();
    let mut group = report.target_groups["web"].clone();
    group.targets[0].id = "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
    group.targets[0].state = "unhealthy.draining".to_owned();
    group.targets[0].packets = 9_999_999;
    group.fail_open = true;
    report.target_groups.insert(long.clone(), group);
    let mut balancer = report.load_balancers["web"].clone();
    balancer.listeners[0].forward[0].target_group.clone_from(&long);
    balancer.listeners[0].protocol = "TCP_UDP".to_owned();
    report.load_balancers.insert(long, balancer);
    let groups = found::target_groups(&report);
    let width = Some(TERMINAL);
    let lists = [
        tables::load_balancers(&found::load_balancers(&report), &groups, width),
        tables::listeners(&found::listeners(&report, None).unwrap(), width),
        tables::target_groups(&groups, width),
        tables::targets(&found::targets(&report, None).unwrap(), width),
    ];
    for line in lists.iter().flat_map(|list| list.lines()) {
        assert!(line.chars().count() <= TERMINAL, "{line}");
    }
}

#[test]
fn targets_are_listed() {
    let report = sample::report();
    let list = tables::targets(&found::targets(&report, Some("web")).unwrap(), None);
    assert_eq!(
        list,
        "\
target group  target    port  zone  weight  state       share    packets
web           10.0.0.1    80  a          1  healthy    66.7 %  1,200,000
web           10.0.0.2    80  a          1  unhealthy   0.0 %     34,567
web           fd00::3     80  b          1  healthy    33.3 %          0
"
    );
}

#[test]
fn load_balancers_are_listed_with_how_many_of_their_targets_are_healthy() {
    let report = sample::report();
    let list = tables::load_balancers(&found::load_balancers(&report), &found::target_groups(&report), None);
    assert_eq!(
        list,
        "\
load balancer  vips                  listeners       healthy    packets    bytes
web            10.200.1.1 fc00:1::1  80/tcp any/udp      2/3  2,469,134  1.98 GB
"
    );
}

#[test]
fn one_target_is_shown_with_everything() {
    let report = sample::report();
    let text = tables::target(found::target(&report, "web", "10.0.0.2").unwrap());
    assert_eq!(
        text,
        "\
target 10.0.0.2 of web
  state       unhealthy: Target.FailedHealthChecks: connecting to 10.0.0.2:80: connection refused
  port        80
  zone        a
  weight      1
  slots       0 (0.0 %)
  checks      0 passed, 3 failed, one every 10s
  agent       not asked for
  next hop    eth0 02:00:00:00:00:01, 1500 bytes fit
  packets     34,567
  bytes       27.7 MB
  exceptions  17
"
    );
}

#[test]
fn wrong_names_are_answered_with_the_nearest() {
    let report = sample::report();
    assert_eq!(
        refused(found::load_balancer(&report, "wbe")),
        "there is no load balancer \"wbe\": did you mean \"web\"?"
    );
    assert_eq!(
        refused(found::target_group(&report, "zzz")),
        "there is no target group \"zzz\": there is web"
    );
    assert_eq!(
        refused(found::target(&report, "web", "10.0.0.4")),
        "there is no target of the target group web \"10.0.0.4\": did you mean \"10.0.0.2\"?"
    );
    assert!(refused(found::target(&report, "web", "nonsense")).contains("there is 10.0.0.1, 10.0.0.2"));
    let empty = sample::empty_report();
    assert!(refused(found::load_balancer(&empty, "web")).ends_with("there is none at all"));
}

#[test]
fn a_listener_is_named_by_its_port_and_protocol() {
    let mut report = sample::report();
    for wanted in ["80", "80/tcp", "80/TCP", "any", "ANY/udp"] {
        assert!(found::listener(&report, "web", wanted).is_ok(), "{wanted}");
    }
    for wanted in ["80/udp", "81", "", "/tcp"] {
        let words = refused(found::listener(&report, "web", wanted));
        assert!(words.contains("no listener of the load balancer web"), "{wanted}: {words}");
    }
    let balancer = report.load_balancers.get_mut("web").unwrap();
    balancer.listeners[1].port = "80".to_owned();
    assert_eq!(
        refused(found::listener(&report, "web", "80")),
        "web has several listeners on port 80: say which, 80/tcp or 80/udp"
    );
}

#[test]
fn json_is_the_report_with_the_name() {
    let report = sample::report();
    let json = serde_json::to_value(found::targets(&report, None).unwrap()).unwrap();
    let Value::Array(targets) = &json else { panic!("{json}") };
    assert_eq!(targets[1]["target_group"], "web");
    assert_eq!((&targets[1]["id"], &targets[1]["state"]), (&"10.0.0.2".into(), &"unhealthy".into()));
    let json = serde_json::to_value(found::listener(&report, "web", "80").unwrap()).unwrap();
    assert_eq!((&json["load_balancer"], &json["vips"][0]), (&"web".into(), &"10.200.1.1".into()));
    assert_eq!((&json["protocol"], &json["slots"]), (&"TCP".into(), &4099.into()));
    let json = serde_json::to_value(found::load_balancer(&report, "web").unwrap()).unwrap();
    assert_eq!((&json["name"], &json["listeners"][1]["port"]), (&"web".into(), &"any".into()));
}
