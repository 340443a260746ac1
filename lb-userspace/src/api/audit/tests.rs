//! The log through the service: what is told of whom.

use std::fs;
use std::path::PathBuf;

use axum::http::{HeaderMap, Method};
use serde_json::Value;

use super::configuration::SyncPolicy;
use super::*;
use crate::api::domain::Engine;
use crate::api::domain::arn::Identity;
use crate::api::inventory::Inventory;
use crate::api::service::{Answer, Request, Service};
use crate::api::signature::{Credentials, Guard};

/// A directory that goes with the test.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("sluice-audit-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn configuration(&self) -> AuditConfiguration {
        AuditConfiguration::in_file(self.0.join("audit.log"))
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    pub(super) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn lines(&self) -> Vec<Value> {
        self.read("audit.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn service(scratch: &Scratch, sync: SyncPolicy, guard: Guard) -> Service {
    let engine = Engine::ephemeral(Identity::default(), Inventory::sample());
    let log = AuditLog::open(&AuditConfiguration { sync, ..scratch.configuration() }).unwrap();
    Service::ephemeral(engine, guard).with_audit(Some(log))
}

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn ask(service: &Service, request: &str) -> Answer {
    let request = Request {
        method: Method::POST,
        uri: "/".parse().unwrap(),
        headers: HeaderMap::new(),
        body: format!("Version=2015-12-01&{request}").into_bytes(),
        connection: 0,
        peer: Some("192.0.2.7:4711".parse().unwrap()),
    };
    service.answer(&request, NOW)
}

const CREATE: &str = "Action=CreateTargetGroup&Name=web&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip";

#[test]
fn changes_have_a_line_with_what_they_changed_and_reads_have_none() {
    let scratch = Scratch::new("changes");
    let service = service(&scratch, SyncPolicy::Second, Guard::Open);
    let created = ask(&service, CREATE);
    assert_eq!(created.status, 200, "{}", created.body);
    let arn = created.body.split("<TargetGroupArn>").nth(1).unwrap().split('<').next().unwrap();
    ask(&service, "Action=DescribeTargetGroups");
    ask(&service, &format!("Action=ModifyTargetGroup&TargetGroupArn={arn}&HealthCheckIntervalSeconds=17"));
    ask(&service, &format!("Action=DeleteTargetGroup&TargetGroupArn={arn}"));
    drop(service);
    let [create, modify, delete] = &scratch.lines()[..] else { panic!("{:?}", scratch.lines()) };
    for (name, value) in [
        ("time", "2023-11-14T22:13:20.000Z"),
        ("event", "answered"),
        ("request_id", &created.request_id),
        ("peer", "192.0.2.7:4711"),
        ("role", "admin"),
        ("operation", "CreateTargetGroup"),
        ("result", "done"),
    ] {
        assert_eq!(create[name], value, "{create}");
    }
    assert_eq!((&create["access_key"], create.get("before")), (&Value::Null, None));
    assert_eq!(create["parameters"]["Name"], "web");
    assert!(create["after"]["target_groups"]["web"].is_object(), "{create}");
    let (before, after) = (modify["before"].to_string(), modify["after"].to_string());
    assert!(after.contains("17") && before != after && before.len() < 200, "{modify}");
    assert!(
        delete.get("after").is_none() && delete["before"]["target_groups"]["web"].is_object(),
        "{delete}"
    );
}

#[test]
fn refused_calls_have_a_line_with_the_error() {
    let scratch = Scratch::new("refused");
    let service = service(&scratch, SyncPolicy::Never, Guard::Open);
    ask(&service, "Action=DeleteTargetGroup&TargetGroupArn=nonsense");
    ask(&service, "Action=MakeCoffee");
    drop(service);
    let [delete, coffee] = &scratch.lines()[..] else { panic!("{:?}", scratch.lines()) };
    assert_eq!((&delete["result"], &delete["code"]), (&"refused".into(), &"ValidationError".into()));
    assert!(delete["message"].as_str().unwrap().contains("nonsense"), "{delete}");
    assert_eq!((&coffee["operation"], &coffee["code"]), (&"MakeCoffee".into(), &"InvalidAction".into()));
}

#[test]
fn requests_that_were_not_read_are_told_and_counted() {
    let scratch = Scratch::new("unread");
    let service = service(&scratch, SyncPolicy::Never, Guard::Open);
    let request = Request {
        method: Method::POST,
        uri: "/".parse().unwrap(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        connection: 0,
        peer: Some("192.0.2.7:4711".parse().unwrap()),
    };
    let error = Code::RequestEntityTooLarge.because("The body is longer than 7 bytes");
    assert_eq!(service.refuse_unread(&request, &error, NOW).status, 413);
    let scrape = service.scrape();
    drop(service);
    let [line] = &scratch.lines()[..] else { panic!("{:?}", scratch.lines()) };
    assert_eq!((&line["code"], &line["peer"]), (&"RequestEntityTooLarge".into(), &"192.0.2.7:4711".into()));
    let [none] = &scrape.operations[..] else { panic!("{scrape:?}") };
    assert_eq!((none.operation, &none.ends[1]), ("none", &("RequestEntityTooLarge", 1)));
}

#[test]
fn strangers_have_lines_but_not_without_end() {
    let scratch = Scratch::new("strangers");
    let credentials = r#"{ "credentials": [
        { "access_key_id": "ADMIN", "secret_access_key": "0123456789abcdef", "role": "admin" } ] }"#;
    let guard = Guard::signed(Credentials::parse(credentials).unwrap());
    let service = service(&scratch, SyncPolicy::Second, guard);
    for _ in 0..100 {
        assert_eq!(ask(&service, CREATE).status, 403);
    }
    let audit = service.scrape().audit.unwrap();
    drop(service);
    let lines = scratch.lines();
    assert_eq!(lines.len() as u64 + audit.strangers_unlogged, 100);
    assert!((10..30).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines[0]["code"], "MissingAuthenticationToken");
    assert_eq!((&lines[0]["operation"], lines[0].get("parameters")), (&"CreateTargetGroup".into(), None));
}

#[test]
fn with_sync_always_a_change_is_told_of_before_it_is_made() {
    let scratch = Scratch::new("always");
    let service = service(&scratch, SyncPolicy::Always, Guard::Open);
    let answer = ask(&service, CREATE);
    // The lines are there when the answer is, not only at the end.
    let [asked, answered] = &scratch.lines()[..] else { panic!("{:?}", scratch.lines()) };
    assert_eq!((&asked["event"], &answered["event"]), (&"asked".into(), &"answered".into()));
    assert_eq!(asked["request_id"], answer.request_id.as_str());
    assert!(asked.get("result").is_none() && asked["parameters"]["Name"] == "web", "{asked}");
}

#[test]
fn calls_are_in_the_metrics() {
    let scratch = Scratch::new("metrics");
    let service = service(&scratch, SyncPolicy::Always, Guard::Open);
    ask(&service, CREATE);
    ask(&service, CREATE.replace("web", "w_b").as_str());
    ask(&service, "Action=DescribeTargetGroups");
    let scrape = service.scrape();
    let [create, describe] = &scrape.operations[..] else { panic!("{scrape:?}") };
    assert_eq!(create.ends, [("OK", 1), ("ValidationError", 1)]);
    assert_eq!((describe.operation, describe.took.count()), ("DescribeTargetGroups", 1));
    assert_eq!(scrape.changes, 1);
    assert!(scrape.audit.unwrap().written >= 3, "{scrape:?}");
}
