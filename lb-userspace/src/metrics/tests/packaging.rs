//! The dashboard and the alert rules that come with Sluice: what they ask for is what is served.

use std::collections::BTreeSet;
use std::path::PathBuf;

use regex::Regex;
use serde_json::Value;

use super::*;
use crate::announce::report::TableReport;
use crate::status::sample;

fn packaging(directory: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(directory)
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(packaging("grafana").join("sluice.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every panel's queries, with Grafana's variables filled in.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$__rate_interval", "1m")).collect()
}

/// The names of all samples that a node and an agent serve; a node tells routers by BGP or by a kernel table.
fn served() -> BTreeSet<String> {
    let reads = [sample::report(), by_kernel_table()].map(|report| Read::of(&render(scrape(report))));
    let keys = reads.iter().flat_map(|read| read.samples.keys());
    let names = keys.map(|key| key.split(' ').next().unwrap().to_owned());
    names.chain(crate::agent::METRICS.iter().map(|name| (*name).to_owned())).collect()
}

fn by_kernel_table() -> Report {
    let mut report = sample::report();
    let routers = report.routers.as_mut().unwrap();
    (routers.by, routers.table) = ("kernel_table".into(), Some(TableReport::default()));
    routers.sessions.clear();
    report
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\bsluice_[a-z0-9_]+").unwrap();
    name.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn promtool_finds_nothing_to_mend_in_the_metrics() {
    // It reads the older text format, in which a counter's family has the ending.
    let text = render(scrape(sample::report())).replace("# EOF\n", "");
    let text: String = text.lines().map(|line| older(line) + "\n").collect();
    promtool::run(&["check", "metrics"], &packaging("prometheus"), &text);
}

fn older(line: &str) -> String {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    let ["#", word, family, rest] = words[..] else { return line.to_owned() };
    let named = |name: &&str| *name == format!("{family}_total") || *name == format!("{family}_info");
    let name = metrics().map(|metric| metric.name).find(named).unwrap_or(family);
    let rest = if word == "TYPE" && rest == "info" { "gauge" } else { rest };
    format!("# {word} {name} {rest}")
}

#[test]
fn rules_and_dashboard_name_metrics_that_are_served() {
    let rules = std::fs::read_to_string(packaging("prometheus").join("sluice.rules.yml")).unwrap();
    let queries = queries(&dashboard()).join("\n");
    let served = served();
    let unknown: Vec<String> =
        named(&(rules + &queries)).into_iter().filter(|name| !served.contains(name)).collect();
    assert_eq!(unknown, Vec::<String>::new(), "no such metrics are served");
}

#[test]
fn every_alert_is_raised_in_a_test_and_names_a_command() {
    let directory = packaging("prometheus");
    let rules = std::fs::read_to_string(directory.join("sluice.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(directory.join("sluice.rules.test.yml")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 15, "{}", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname: {name}\n        eval_time")), "{name} has no test");
        let description = alert.split("description:").nth(1).unwrap_or_default();
        assert!(
            description.contains('`') && alert.contains("summary: "),
            "{name} names no command to look with"
        );
    }
    promtool::run(&["check", "rules", "sluice.rules.yml"], &directory, "");
    promtool::run(&["test", "rules", "sluice.rules.test.yml"], &directory, "");
}

#[test]
fn prometheus_understands_every_query_of_the_dashboard() {
    let queries = queries(&dashboard());
    assert!(queries.len() > 25, "{}", queries.len());
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(number, query)| serde_json::json!({ "record": format!("panel:{number}"), "expr": query }))
        .collect();
    // JSON is YAML.
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let path = std::env::temp_dir().join(format!("sluice-dashboard-{}.yml", std::process::id()));
    std::fs::write(&path, file.to_string()).unwrap();
    promtool::run(&["check", "rules", path.to_str().unwrap()], &std::env::temp_dir(), "");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn panels_have_titles_and_places_of_their_own() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(!panel["title"].as_str().unwrap().is_empty() && ids.insert(panel["id"].as_u64()), "{panel}");
        let number = |name: &str| place[name].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24 && number("h") > 0, "{panel}");
        for (x, y) in (number("x")..number("x") + number("w"))
            .flat_map(|x| (number("y")..number("y") + number("h")).map(move |y| (x, y)))
        {
            assert!(places.insert((x, y)), "{} lies over another panel", panel["title"]);
        }
    }
}
