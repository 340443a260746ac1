use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::status::sample;

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
        let ending = match self.types[family].as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert_eq!(name, format!("{family}{ending}"), "a sample under another's heading");
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
    let read = Read::of(&render(&sample::report()));
    for metric in METRICS {
        let found = read.samples.keys().any(|key| key.split(' ').next() == Some(metric.name));
        assert!(found, "{} has no sample", metric.name);
        assert!(metric.name.starts_with("sluice_") && !metric.help.ends_with('.'), "{}", metric.name);
    }
    assert_eq!(read.types.len(), METRICS.len());
}

#[test]
fn samples_carry_the_reports_numbers() {
    let read = Read::of(&render(&sample::report()));
    let target = "target_group=web target=10.0.0.2 zone=a";
    let listener = "load_balancer=web protocol=TCP port=80";
    for (key, value) in [
        ("sluice_build_info version=0.1.0".to_owned(), "1"),
        ("sluice_uptime_seconds".to_owned(), "7503.5"),
        ("sluice_configuration_generation".to_owned(), "3"),
        ("sluice_configuration_rejected".to_owned(), "0"),
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
    ] {
        assert_eq!(read.value(&key), value, "{key}");
    }
}

#[test]
fn a_measurement_that_was_not_made_has_no_sample() {
    let read = Read::of(&render(&sample::empty_report()));
    assert!(!read.samples.keys().any(|key| key.contains("health_decision_seconds")));
    let read = Read::of(&render(&sample::report()));
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
    let read = Read::of(&render(&report));
    assert_eq!(read.value(&format!("sluice_node_info node={hostile} zone=a")), "1");
}

#[test]
fn promtool_finds_nothing_to_mend() {
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        return println!("promtool is not installed; the reader in this file has judged the same text");
    };
    // It reads the older text format, in which a counter's family has the ending.
    let text = render(&sample::report()).replace("# EOF\n", "");
    let text: String = text.lines().map(|line| older(line) + "\n").collect();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

fn older(line: &str) -> String {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    let ["#", word, family, rest] = words[..] else { return line.to_owned() };
    let named = |name: &&&str| **name == format!("{family}_total") || **name == format!("{family}_info");
    let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let name = names.iter().find(named).unwrap_or(&family);
    let rest = if word == "TYPE" && rest == "info" { "gauge" } else { rest };
    format!("# {word} {name} {rest}")
}
