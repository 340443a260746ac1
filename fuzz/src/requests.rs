//! Forms, the parameters' tree, the shapes and the operations: requests on a small state.
//!
//! An input is a line a request. `{lb}`, `{tg}`, `{listener}` and `{rule}` stand for the state's ARNs, which are other
//! ones in each process. What holds: a request that reads or is refused changes nothing, a refusal is the sender's
//! fault, and every answer is XML.

use std::sync::LazyLock;

use axum::http::{HeaderMap, Method};
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::domain::arn::Identity;
use lb_userspace::api::domain::{Access, Changes, Engine, Operation, State, Store, Unkept};
use lb_userspace::api::inventory::Inventory;
use lb_userspace::api::protocol::{Node, form};
use lb_userspace::api::service::{Answer, Request, Service};
use lb_userspace::api::signature::Guard;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// Requests of an input that are played; more only make it slow.
const MOST: usize = 16;

/// What there is before the first request: what is asked, the element of the answer that has an ARN, and the name
/// that stands for it.
const STORY: [(&str, &str, &str); 5] = [
    (
        "CreateLoadBalancer&Name=one&Type=network&Subnets.member.1=subnet-a&SecurityGroups.member.1=sg-web",
        "LoadBalancerArn",
        "{lb}",
    ),
    ("CreateTargetGroup&Name=web&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip", "TargetGroupArn", "{tg}"),
    (
        "CreateListener&LoadBalancerArn={lb}&Protocol=TCP&Port=80&DefaultActions.member.1.Type=forward\
         &DefaultActions.member.1.TargetGroupArn={tg}",
        "ListenerArn",
        "{listener}",
    ),
    ("DescribeRules&ListenerArn={listener}", "RuleArn", "{rule}"),
    ("RegisterTargets&TargetGroupArn={tg}&Targets.member.1.Id=10.0.1.1", "RequestId", "{id}"),
];

/// A state, and what stands for the ARNs in it.
struct World {
    state: State,
    arns: Vec<(&'static str, String)>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::tell);

/// Plays requests, one a line.
///
/// # Panics
/// When an answer or the state is not as it should be.
pub fn requests(input: &[u8]) {
    let service = service(WORLD.state.clone());
    for line in input.split(|byte| *byte == b'\n').take(MOST) {
        let body = WORLD.named(line);
        let before = service.state();
        let answer = ask(&service, &body);
        check_answer(&answer);
        if answer.status != 200 || !changes(&body) {
            assert!(service.state() == before, "{} changed the state", String::from_utf8_lossy(&body));
        }
    }
}

impl World {
    fn tell() -> World {
        let service = service(State::default());
        let mut world = World { state: State::default(), arns: Vec::new() };
        for (request, element, name) in STORY {
            let body = world.named(format!("Version=2015-12-01&Action={request}").as_bytes());
            let answer = ask(&service, &body).body;
            let found = answer.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once('<'));
            let (arn, _) = found.unwrap_or_else(|| panic!("{request} has no {element}: {answer}"));
            world.arns.push((name, arn.to_owned()));
        }
        world.state = service.state();
        world
    }

    /// The bytes with the ARNs in place of what stands for them.
    fn named(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut named, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
        while let Some((first, after)) = rest.split_first() {
            if let Some((name, arn)) = self.arns.iter().find(|(name, _)| rest.starts_with(name.as_bytes())) {
                named.extend_from_slice(arn.as_bytes());
                rest = &rest[name.len()..];
            } else {
                named.push(*first);
                rest = after;
            }
        }
        named
    }
}

fn service(state: State) -> Service {
    let engine = Engine::kept_in(Box::new(Given(state)), Identity::default(), Inventory::sample());
    Service::ephemeral(engine.expect("the store begins with a state"), Guard::Open)
}

fn ask(service: &Service, body: &[u8]) -> Answer {
    let request = Request {
        method: Method::POST,
        uri: "/".parse().expect("a path"),
        headers: HeaderMap::new(),
        body: body.to_vec(),
        connection: 0,
        peer: None,
    };
    service.answer(&request, NOW)
}

/// Whether the request names an operation that may change the state.
fn changes(body: &[u8]) -> bool {
    let tree = form::parse(body).ok().and_then(|pairs| Node::from_pairs(pairs).ok());
    let action = tree.as_ref().and_then(|tree| tree.child("Action")).and_then(Node::text);
    action.and_then(Operation::named).is_some_and(|operation| operation.access != Access::Reads)
}

fn check_answer(answer: &Answer) {
    assert!(answer.status < 500, "{}", answer.body);
    let mut open = Vec::new();
    let mut pieces = answer.body.split('<');
    assert_eq!(pieces.next(), Some(""), "{}", answer.body);
    for piece in pieces {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("no end of a tag: {}", answer.body));
        let is_text = text.chars().all(|character| {
            !character.is_control() || matches!(character, '\n' | '\t' | '\u{7f}'..='\u{9f}')
        });
        assert!(is_text && !text.contains('>'), "{}", answer.body);
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{}", answer.body),
            None => open.push(tag.split(' ').next().unwrap_or(tag)),
        }
    }
    assert!(open.is_empty(), "{}", answer.body);
}

/// Begins with a state, and keeps nothing.
struct Given(State);

impl Store for Given {
    fn load(&mut self) -> anyhow::Result<State> {
        Ok(self.0.clone())
    }

    fn keep(&mut self, _: u64, _: &State, _: &Changes) -> Result<(), Unkept> {
        Ok(())
    }
}
