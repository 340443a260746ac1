use super::*;
use crate::status::report::ForwardReport;
use crate::status::sample;

const PAGE: &str = "\
node lb1 · zone a · sluice 0.1.0 · up 2h 5m
configuration /etc/sluice/sluice.json · generation 3
state shared by 2 nodes · generation 8 in force
BEHIND: generation 9 is not in force: The data plane has room for 8, and 9 VIPs would be needed
TABLES DIFFER: node lb2 follows the same generation and has other tables
GONE: node lb3, last seen 3m 4s ago
12 tables published · last write 0.35 ms · from check to swapped table 1.20 ms, at most 3.10 ms

interfaces
  interface  index  mode     program
  eth0           2  native        41
  eth1           3  generic       41
    not native: Operation not supported (os error 95)

load balancer web · 10.200.1.1 fc00:1::1
  listener  forward    packets   bytes  slots  changing  table
  TCP 80    web      1,234,567  988 MB  4,099        12  00c0ffee00c0ffee
  UDP any   web      1,234,567  988 MB  4,099         0  00c0ffee00c0ffee

target group web · TCP 80 · ipip
  target    zone  weight  state       share  next hop                  packets    bytes  exceptions
  10.0.0.1  a          1  healthy    66.7 %  eth0 02:00:00:00:00:01  1,200,000   960 MB           0
  10.0.0.2  a          1  unhealthy   0.0 %  eth0 02:00:00:00:00:01     34,567  27.7 MB          17
    Target.FailedHealthChecks: connecting to 10.0.0.2:80: connection refused
  fd00::3   b          1  healthy    33.3 %  none                            0      0 B           0
    no next hop: no route to fd00::3; add one

VIPs · routers are told by bgp
  zone a is shifted away, ends in 1h 59m; VIPs are withdrawn in 20s
  VIP         state       since
  10.200.1.1  announced  1m 15s
  fc00:1::1   withdrawn  1m 15s
    too few healthy targets

BGP sessions
  router      state        since  announced  draining  BFD
  10.0.0.254  Established  2h 5m          1         0  Up
  fd00::fe    Idle            2s          0         0  -
    last error: connecting: connection refused

packets not forwarded
  reason       verdict  packets
  not_ours     passed     1,204
    No listener has this address, protocol and port.
  no_next_hop  dropped        7
    The target's route or neighbour is unknown.
";

fn coloured(report: &Report) -> String {
    render(report, Style { colour: Colour::Always, ..Style::default() })
}

fn plain(report: &Report) -> String {
    render(report, Style::default())
}

#[test]
fn a_report_is_shown_as_a_page() {
    let page = plain(&sample::report());
    assert!(page == PAGE, "the page is\n{page}");
    let widest = page.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?} columns");
}

#[test]
fn colours_change_no_text() {
    let page = coloured(&sample::report());
    let mut text = String::new();
    for (at, piece) in page.split("\x1b[").enumerate() {
        text.push_str(if at == 0 { piece } else { piece.split_once('m').unwrap().1 });
    }
    assert_eq!(text, PAGE);
    assert!(page.contains("\x1b[1;31m  10.0.0.2 "), "what is unhealthy is red");
    assert!(page.contains("\x1b[32m  10.0.0.1 "), "what is healthy is green");
}

#[test]
fn what_is_zero_everywhere_has_no_column() {
    let mut report = sample::report();
    report.load_balancers.get_mut("web").unwrap().listeners[0].changing_slots = 0;
    report.target_groups.get_mut("web").unwrap().targets[1].exception_flows = 0;
    let page = plain(&report);
    assert!(!page.contains("changing") && !page.contains("exceptions"), "{page}");
    report.load_balancers.get_mut("web").unwrap().listeners[1].exception_slots = 5;
    assert!(plain(&report).contains("slots  exceptions  table"));
}

#[test]
fn a_rejected_file_is_loud() {
    let mut report = sample::report();
    report.configuration.rejected = Some("sluice.json: unknown field\nnearest: port".into());
    let page = plain(&report);
    assert!(page.contains("\nREJECTED: the file's present content is not in force"), "{page}");
    assert!(page.contains("\n  sluice.json: unknown field\n  nearest: port\n"), "{page}");
    assert!(coloured(&report).contains("\x1b[1;31mREJECTED"));
}

#[test]
fn stale_maps_are_loud() {
    let mut report = sample::report();
    report.publications.failure = Some("adding a VIP: Operation not permitted".into());
    let page = plain(&report);
    let told =
        "\nSTALE: the maps are not as they should be, packets go by what was before: adding a VIP: Operation";
    assert!(page.contains(told), "{page}");
    assert!(coloured(&report).contains("\x1b[1;31mSTALE"));
}

#[test]
fn fail_open_is_loud() {
    let mut report = sample::report();
    report.target_groups.get_mut("web").unwrap().fail_open = true;
    assert!(plain(&report).contains("  FAIL OPEN: too few targets are healthy, so all are used\n"));
}

#[test]
fn several_target_groups_are_shown_with_their_weights() {
    let mut report = sample::report();
    let forward = &mut report.load_balancers.get_mut("web").unwrap().listeners[0].forward;
    forward.push(ForwardReport { target_group: "new".into(), weight: 3 });
    assert!(plain(&report).contains("web:1 new:3"));
}

#[test]
fn reasons_without_packets_are_shown_on_demand() {
    let all = render(&sample::report(), Style { reasons: Reasons::All, ..Style::default() });
    assert!(all.contains("  no_target    dropped        0\n"), "{all}");
    assert!(plain(&sample::empty_report()).ends_with("packets not forwarded\n  none\n"));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut report = sample::report();
    let target = &mut report.target_groups.get_mut("web").unwrap().targets[1];
    target.description = Some("answered \x1b]0;owned\x07\r".into());
    target.zone = "a\x1b[2J".into();
    let page = plain(&report);
    assert!(page.chars().all(|at| at == '\n' || !at.is_control()), "{page:?}");
}

#[test]
fn a_report_survives_json() {
    for report in [sample::report(), sample::empty_report()] {
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
