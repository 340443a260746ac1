mod packaging;
mod promtool;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::calls::Calls;
use super::*;
use crate::announce::report::{RoutersReport, TableReport};
use crate::api::domain::Operation;
use crate::api::protocol::Code;
use crate::status::report::{Report, TargetReport};
use crate::status::sample;

/// A scrape of a node with an API.
fn scrape(report: Report) -> Scrape {
    let calls = Calls::default();
    let create = Operation::named("CreateListener");
    calls.count(create, None, Duration::from_millis(3));
    calls.count(create, Some(Code::DuplicateListener), Duration::from_millis(7));
    let inventory = InventoryScrape { age_seconds: 7.5, good: 3, failed: 1 };
    let mut api = ApiScrape::of(&calls, None, Some(inventory));
    api.audit = Some(crate::api::audit::counts::AuditSnapshot { written: 4, ..Default::default() });
    Scrape { report, api: Some(api) }
}

/// The metrics as a reader of the text format sees them; written for these tests, from the format's
/// specification.
#[derive(Debug, Default)]
struct Read {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, String>,
}

impl Read {
    /// Panics with the line that breaks the format's rules.
    fn of(text: &str) -> Read {
        let mut read = Read::default();
        let body = text.strip_suffix("# EOF\n").expect("the text ends with EOF");
        let mut family = String::new();
        for line in body.lines() {
            match line.split_once(' ').expect(line) {
                ("#", comment) => read.comment(comment, &mut family),
                _ => read.sample(line, &family),
            }
        }
        read
    }

    fn comment(&mut self, comment: &str, family: &mut String) {
        let words: Vec<&str> = comment.splitn(3, ' ').collect();
        match words[..] {
            ["HELP", name, help] => {
                assert!(help.len() > 10 && !help.ends_with("..") && !help.contains('\\'), "{comment}");
                assert!(!self.types.contains_key(name), "{name} is declared twice");
                *family = name.to_owned();
            }
            ["TYPE", name, kind] => {
                assert_eq!(name, family, "the type follows the help");
                self.types.insert(name.to_owned(), kind.to_owned());
            }
            _ => panic!("neither help nor type: {comment}"),
        }
    }

    fn sample(&mut self, line: &str, family: &str) {
        let end = line.find(['{', ' ']).expect(line);
        let (name, rest) = line.split_at(end);
        let endings: &[&str] = match self.types[family].as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        let ending = name.strip_prefix(family).expect(line);
        assert!(endings.contains(&ending), "a sample under another's heading: {line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => read_labels(rest),
            None => (Vec::new(), rest),
        };
        let value = value.strip_prefix(' ').expect(line);
        value.parse::<f64>().expect(line);
        let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label twice: {line}");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = format!("{name} {}", labels.join(" ")).trim_end().to_owned();
        assert_eq!(self.samples.insert(key, value.to_owned()), None, "a sample twice: {line}");
    }

    fn value(&self, key: &str) -> &str {
        self.samples.get(key).unwrap_or_else(|| panic!("no {key} in {:#?}", self.samples.keys()))
    }
}

/// Labels up to the closing brace, and what follows it.
fn read_labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").expect(rest);
        assert!(name.starts_with(|at: char| at.is_ascii_lowercase()), "{name}");
        assert!(name.chars().all(|at| at.is_ascii_lowercase() || at == '_'), "{name}");
        let (mut value, mut chars) = (String::new(), quoted.char_indices());
        let end = loop {
            match chars.next().expect("the quote is closed") {
                (end, '"') => break end,
                (_, '\\') => value.push(match chars.next().expect("an escape is two characters").1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        let after = &quoted[end + 1..];
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, after.strip_prefix('}').expect(after)),
        }
    }
}

#[test]
fn every_metric_of_the_list_is_served_under_its_name() {
    let mut report = sample::report();
    report.routers =
        report.routers.map(|routers| RoutersReport { table: Some(TableReport::default()), ..routers });
    let read = Read::of(&render(scrape(report)));
    for metric in metrics() {
        let is_histogram = metric.name.ends_with("_duration_seconds");
        let name = if is_histogram { format!("{}_count", metric.name) } else { metric.name.to_owned() };
        let found = read.samples.keys().any(|key| key.split(' ').next() == Some(&name));
        assert!(found, "{} has no sample", metric.name);
        assert!(metric.name.starts_with("sluice_") && !metric.help.ends_with('.'), "{}", metric.name);
    }
    assert_eq!(read.types.len(), metrics().count());
}

#[test]
fn samples_carry_the_reports_numbers() {
    let read = Read::of(&render(scrape(sample::report())));
    let target = "target_group=web target=10.0.0.2 zone=a";
    let listener = "load_balancer=web protocol=TCP port=80";
    for (key, value) in [
        ("sluice_build_info version=0.1.0".to_owned(), "1"),
        ("sluice_hash_key_info fingerprint=5eed5eed5eed5eed".to_owned(), "1"),
        ("sluice_uptime_seconds".to_owned(), "7503.5"),
        ("sluice_configuration_generation".to_owned(), "3"),
        ("sluice_configuration_rejected".to_owned(), "0"),
        ("sluice_maps_stale".to_owned(), "0"),
        (format!("sluice_listener_packets_total {listener}"), "1234567"),
        (format!("sluice_listener_slots {listener} state=stable"), "4087"),
        (format!("sluice_listener_slots {listener} state=changing"), "12"),
        (format!("sluice_table_info {listener} digest=00c0ffee00c0ffee"), "1"),
        (format!("sluice_target_healthy {target}"), "0"),
        (format!("sluice_target_state_info {target} state=unhealthy reason=Target.FailedHealthChecks"), "1"),
        (format!("sluice_target_bytes_total {target}"), "27654321"),
        (format!("sluice_target_exception_flows {target}"), "17"),
        (format!("sluice_target_health_checks_total {target} result=failed"), "3"),
        ("sluice_target_next_hop_resolved target_group=web target=fd00::3 zone=b".to_owned(), "0"),
        ("sluice_target_group_fail_open target_group=web".to_owned(), "0"),
        ("sluice_unforwarded_packets_total reason=no_next_hop verdict=dropped".to_owned(), "7"),
        ("sluice_max_health_decision_seconds".to_owned(), "0.0031"),
        ("sluice_health_decision_duration_seconds_bucket le=0.0025".to_owned(), "2"),
        ("sluice_health_decision_duration_seconds_count".to_owned(), "4"),
        ("sluice_vip_announced vip=fc00:1::1".to_owned(), "0"),
        ("sluice_vip_info load_balancer=web vip=10.200.1.1".to_owned(), "1"),
        ("sluice_state_generation_in_force".to_owned(), "8"),
        ("sluice_load_balancer_zone_healthy load_balancer=web zone=a".to_owned(), "1"),
        ("sluice_target_group_targets target_group=web zone=a state=unhealthy".to_owned(), "1"),
        ("sluice_target_group_targets target_group=web zone=b state=unhealthy".to_owned(), "0"),
        ("sluice_target_group_health_check_interval_seconds target_group=web".to_owned(), "10.0"),
        ("sluice_target_group_oldest_health_check_seconds target_group=web".to_owned(), "3.5"),
        (
            "sluice_target_group_health_check_duration_seconds_bucket le=0.25 target_group=web".to_owned(),
            "740",
        ),
        (
            "sluice_target_group_health_check_duration_seconds_bucket le=+Inf target_group=web".to_owned(),
            "750",
        ),
        ("sluice_target_group_health_check_duration_seconds_sum target_group=web".to_owned(), "4.48"),
        ("sluice_api_requests_total operation=CreateListener code=DuplicateListener".to_owned(), "1"),
        ("sluice_api_request_duration_seconds_count operation=CreateListener".to_owned(), "2"),
        ("sluice_api_audit_lines_total".to_owned(), "4"),
        ("sluice_api_inventory_age_seconds".to_owned(), "7.5"),
        ("sluice_api_inventory_refreshes_total result=failed".to_owned(), "1"),
    ] {
        assert_eq!(read.value(&key), value, "{key}");
    }
}

#[test]
fn a_measurement_that_was_not_made_has_no_sample() {
    let read = Read::of(&render(Scrape { report: sample::empty_report(), api: None }));
    assert!(!read.samples.keys().any(|key| key.contains("health_decision_seconds")));
    let read = Read::of(&render(scrape(sample::report())));
    assert!(
        !read
            .samples
            .contains_key("sluice_target_last_health_check_seconds target_group=web target=10.0.0.2 zone=a")
    );
}

#[test]
fn label_values_are_escaped() {
    let mut report = sample::report();
    let hostile = "a\"} 1\nb\\n{,=";
    report.node = hostile.into();
    let read = Read::of(&render(scrape(report)));
    assert_eq!(read.value(&format!("sluice_node_info node={hostile} zone=a")), "1");
}

/// A node with 1,000 target groups of 16 targets, each with a listener.
fn crowd() -> Report {
    let mut report = sample::report();
    let (balancer, group) = (report.load_balancers["web"].clone(), report.target_groups["web"].clone());
    report.load_balancers.clear();
    report.target_groups.clear();
    for number in 0..1000 {
        let name = format!("web-{number}");
        let mut group = group.clone();
        let target = group.targets[0].clone();
        let id = |at: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number * 16 + at).into();
        group.targets = (0..16).map(|at| TargetReport { id: id(at), ..target.clone() }).collect();
        let mut balancer = balancer.clone();
        balancer.listeners.truncate(1);
        balancer.listeners[0].forward[0].target_group.clone_from(&name);
        report.load_balancers.insert(name.clone(), balancer);
        report.target_groups.insert(name, group);
    }
    report
}

#[test]
fn sixteen_thousand_targets_are_rendered_well_within_a_scrape() {
    let (report, begun) = (crowd(), std::time::Instant::now());
    let text = render(Scrape { report, api: None });
    let (took, samples) = (begun.elapsed(), text.lines().filter(|line| !line.starts_with('#')).count());
    println!("{samples} samples, {} MiB, {took:?}", text.len() >> 20);
    assert!((200_000..300_000).contains(&samples), "{samples}");
    // Prometheus waits for 10 s; this is a debug build on a machine with other things to do.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
