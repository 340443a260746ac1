//! A sequence of changes in which each depends on the generation alone: whoever knows a state's generation knows the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, Method};

use crate::api::calendar::Timestamp;
use crate::api::domain::arn::{Identity, ResourceId};
use crate::api::domain::{Engine, Ephemeral, State, Store};
use crate::api::inventory::Inventory;
use crate::api::service::{Answer, Request, Service};
use crate::api::signature::Guard;

const START: Timestamp = Timestamp(1_795_000_000_000);

/// Changes of a chapter; each chapter is about a load balancer of its own.
const STEPS: u64 = 8;

/// How many chapters later a load balancer goes.
const LIFE: u64 = 4;

/// An engine that the story is played on.
pub(super) struct Story {
    service: Service,
    next_id: Arc<AtomicU64>,
}

impl Story {
    /// The story from where `store` left it.
    pub(super) fn on(store: Box<dyn Store>) -> Story {
        let next_id = Arc::new(AtomicU64::new(0));
        let ids = next_id.clone();
        let engine = Engine::kept_in(store, Identity::default(), Inventory::sample()).unwrap();
        let engine = engine.with_ids(Box::new(move || ResourceId(ids.fetch_add(1, Ordering::Relaxed))));
        Story { service: Service::new(engine, Guard::Open), next_id }
    }

    /// The story in memory.
    pub(super) fn imagined() -> Story {
        Story::on(Box::new(Ephemeral))
    }

    /// The state as it is.
    pub(super) fn state(&self) -> State {
        self.service.state()
    }

    /// Makes the next change: the generation that it made.
    pub(super) fn go_on(&self) -> u64 {
        let answer = self.try_to_go_on();
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.state().generation
    }

    /// Tries to make the next change.
    pub(super) fn try_to_go_on(&self) -> Answer {
        let generation = self.state().generation;
        self.next_id.store(first_id(generation), Ordering::Relaxed);
        self.ask(&change(generation))
    }

    /// Asks for something else.
    pub(super) fn ask(&self, action: &str) -> Answer {
        let request = Request {
            method: Method::POST,
            uri: "/".parse().unwrap(),
            headers: HeaderMap::new(),
            body: format!("Version=2015-12-01&Action={action}").into_bytes(),
            connection: 0,
            peer: None,
        };
        self.service.answer(&request, START)
    }

    /// The state of that generation, which must not be before the one that it is in.
    pub(super) fn at(&self, generation: u64) -> State {
        while self.state().generation < generation {
            self.go_on();
        }
        let state = self.state();
        assert_eq!(state.generation, generation);
        state
    }
}

fn first_id(generation: u64) -> u64 {
    generation * 16
}

fn change(generation: u64) -> String {
    let (chapter, step) = (generation / STEPS, generation % STEPS);
    let id = |chapter: u64, step: u64| ResourceId(first_id(chapter * STEPS + step));
    let us = Identity::default();
    let group = |chapter: u64| us.target_group(&format!("group-{chapter}"), id(chapter, 0));
    let load_balancer = |chapter: u64| us.load_balancer(&format!("balancer-{chapter}"), id(chapter, 2));
    let targets = |count: u64| -> String {
        (1..=count).map(|at| format!("&Targets.member.{at}.Id=10.0.1.{at}")).collect()
    };
    let (this_group, this) = (group(chapter), load_balancer(chapter));
    match (step, chapter.checked_sub(LIFE)) {
        (0, _) => {
            format!("CreateTargetGroup&Name=group-{chapter}&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip")
        }
        (1, _) => format!("RegisterTargets&TargetGroupArn={this_group}{}", targets(1 + chapter % 40)),
        (2, _) => {
            format!("CreateLoadBalancer&Type=network&Name=balancer-{chapter}&Subnets.member.1=subnet-a")
        }
        (3, _) => format!(
            "CreateListener&LoadBalancerArn={this}&Protocol=TCP&Port=80&DefaultActions.member.1.Type=forward\
             &DefaultActions.member.1.TargetGroupArn={this_group}"
        ),
        (4, _) => format!("DeregisterTargets&TargetGroupArn={this_group}{}", targets(1)),
        (5, _) => format!(
            "AddTags&ResourceArns.member.1={this}&Tags.member.1.Key=words&Tags.member.1.Value={}",
            "x".repeat(usize::try_from(chapter % 8).unwrap() * 30)
        ),
        (6, Some(old)) => format!("DeleteLoadBalancer&LoadBalancerArn={}", load_balancer(old)),
        (7, Some(old)) => format!("DeleteTargetGroup&TargetGroupArn={}", group(old)),
        (step, _) => {
            format!("AddTags&ResourceArns.member.1={this}&Tags.member.1.Key=step&Tags.member.1.Value={step}")
        }
    }
}

#[test]
fn every_change_of_the_story_makes_one_generation() {
    let (one, other) = (Story::imagined(), Story::imagined());
    for generation in 1..=100 {
        assert_eq!(one.go_on(), generation);
    }
    assert_eq!(one.state(), other.at(100));
    assert_eq!(crate::api::store::audit::findings(&one.state()), [""; 0]);
}
