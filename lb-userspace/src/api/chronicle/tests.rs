//! Through the service: what a journal is told of whom.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Method};

use crate::api::calendar::Timestamp;
use crate::api::domain::Engine;
use crate::api::domain::administration::{Change, Order};
use crate::api::domain::arn::Identity;
use crate::api::inventory::Inventory;
use crate::api::service::{Request, Service};
use crate::api::signature::Guard;
use crate::events::Journal;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

struct World {
    service: Service,
    journal: Arc<Journal>,
    told: std::cell::Cell<u64>,
}

impl World {
    fn new() -> World {
        let engine = Engine::ephemeral(Identity::default(), Inventory::sample());
        let (service, journal) = (Service::ephemeral(engine, Guard::Open), Arc::new(Journal::begin(NOW)));
        service.note_in(Arc::clone(&journal));
        World { service, journal, told: std::cell::Cell::new(0) }
    }

    fn ask(&self, body: &str) -> String {
        let request = Request {
            method: Method::POST,
            uri: "/".parse().unwrap(),
            headers: HeaderMap::new(),
            body: format!("Version=2015-12-01&Action={body}").into_bytes(),
            connection: 0,
            peer: Some(SocketAddr::from(([192, 0, 2, 7], 4711))),
        };
        self.service.answer(&request, NOW).body
    }

    fn group(&self) -> String {
        let settings = "Name=web&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip";
        let answer = self.ask(&format!("CreateTargetGroup&{settings}"));
        let (_, rest) = answer.split_once("<TargetGroupArn>").unwrap_or_else(|| panic!("{answer}"));
        rest.split_once('<').unwrap().0.to_owned()
    }

    fn order(&self, targets: &[&str], change: Change) -> Result<bool, String> {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let order = Order { target_group: "web".to_owned(), targets, change };
        self.service.administer(&order, 1000, NOW).map_err(|error| error.message)
    }

    /// What is new in the journal, without the time.
    fn news(&self) -> Vec<String> {
        let page = self.journal.after(self.told.replace(self.journal.after(0).last));
        let text = |event: &crate::events::Event| {
            event.to_string().split_once("  ").map(|(_, text)| text.to_owned()).unwrap()
        };
        page.events.iter().map(text).collect()
    }
}

#[test]
fn a_call_is_told_with_who_and_what() {
    let world = World::new();
    let group = world.group();
    let who = "API caller anybody at 192.0.2.7:4711";
    assert_eq!(world.news(), [format!("target group web: created (by {who}: CreateTargetGroup)")]);
    world.ask(&format!("RegisterTargets&TargetGroupArn={group}&Targets.member.1.Id=10.0.1.1"));
    assert_eq!(
        world.news(),
        [format!("target web/10.0.1.1: registered on port 80 (by {who}: RegisterTargets)")]
    );
    world.ask(&format!("RegisterTargets&TargetGroupArn={group}&Targets.member.1.Id=nonsense"));
    world.ask("DescribeTargetGroups");
    assert_eq!(world.news(), Vec::<String>::new(), "what is refused or only reads changes nothing");
    world.ask(&format!("ModifyTargetGroup&TargetGroupArn={group}&HealthCheckIntervalSeconds=10"));
    assert_eq!(
        world.news(),
        [format!("target group web: health check changed (by {who}: ModifyTargetGroup)")]
    );
    world.ask(&format!("DeregisterTargets&TargetGroupArn={group}&Targets.member.1.Id=10.0.1.1"));
    world.ask(&format!("DeleteTargetGroup&TargetGroupArn={group}"));
    assert_eq!(
        world.news(),
        [
            format!("target web/10.0.1.1: deregistered (by {who}: DeregisterTargets)"),
            format!("target group web: deleted (by {who}: DeleteTargetGroup)"),
        ]
    );
}

#[test]
fn an_order_holds_until_the_registration_ends() {
    let world = World::new();
    let group = world.group();
    let register = format!(
        "RegisterTargets&TargetGroupArn={group}&Targets.member.1.Id=10.0.1.1&Targets.member.2.Id=10.0.1.2"
    );
    world.ask(&register);
    world.news();
    assert_eq!(world.order(&["10.0.1.1"], Change::Drain), Ok(true));
    assert_eq!(world.order(&["10.0.1.1"], Change::Drain), Ok(false), "it is drained already");
    assert_eq!(world.order(&["10.0.1.1", "10.0.1.2"], Change::Weight(Some(5))), Ok(true));
    world.ask(&register);
    assert_eq!(
        world.news(),
        [
            "target web/10.0.1.1: drained: it gets no new flows (by operator (uid 1000): sluice target drain)",
            "target web/10.0.1.1: weight 5 (by operator (uid 1000): sluice target weight 5)",
            "target web/10.0.1.2: weight 5 (by operator (uid 1000): sluice target weight 5)",
        ],
        "registering again changes nothing of what was ordered"
    );
    assert_eq!(world.order(&["10.0.1.1"], Change::Enable), Ok(true));
    assert_eq!(
        world.news(),
        [
            "target web/10.0.1.1: enabled: it gets new flows again (by operator (uid 1000): sluice target enable)"
        ]
    );
    world.ask(&format!("DeregisterTargets&TargetGroupArn={group}&Targets.member.1.Id=10.0.1.1"));
    world.ask(&register);
    let state = world.service.state();
    let target = state.target_groups["web"].target("10.0.1.1", 80).unwrap();
    assert!(target.operator.is_none(), "{target:?}");
}

#[test]
fn an_order_for_what_is_not_there_changes_nothing() {
    let world = World::new();
    let group = world.group();
    world.ask(&format!("RegisterTargets&TargetGroupArn={group}&Targets.member.1.Id=10.0.1.1"));
    world.news();
    let refused = world.order(&["10.0.1.1", "10.0.1.7"], Change::Drain).unwrap_err();
    assert_eq!(refused, "There is no registered target '10.0.1.7'; did you mean '10.0.1.1'?");
    assert!(world.order(&["10.0.1.1"], Change::Weight(Some(1001))).is_err());
    let order = Order { target_group: "wbe".to_owned(), targets: vec![], change: Change::Drain };
    let refused = world.service.administer(&order, 0, NOW).unwrap_err();
    assert_eq!(refused.message, "There is no target group 'wbe'; did you mean 'web'?");
    assert_eq!(world.news(), Vec::<String>::new());
}

#[test]
fn what_other_nodes_changed_is_told_too() {
    let world = World::new();
    let before = world.service.state();
    world.group();
    let told = super::notes_of_others(&before, &world.service.state());
    assert_eq!((told.len(), told[0].who.as_str(), told[0].what.as_str()), (1, "another node", "created"));
    assert!(super::notes_of_others(&before, &before).is_empty());
}
