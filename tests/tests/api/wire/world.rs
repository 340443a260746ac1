//! What there is in every case, made by requests:
//!
//! | name | what |
//! | --- | --- |
//! | `{lb}` | `web`: internet-facing, in zones a and b |
//! | `{inside}` | `inside`: internal, dualstack, in zone a, with the security group `sg-web` |
//! | `{tg}` | `web`: TCP 80, addresses; the listener `{listener}` of `{lb}` forwards to it; 10.0.1.1 is registered |
//! | `{spare}`, `{udp}`, `{both}`, `{quic}`, `{v6}`, `{named}` | target groups that nothing forwards to: TCP 80, UDP 53, TCP_UDP 53, QUIC 443, IPv6 TCP 80, instances TCP 80 |
//! | `{rule}` | the default rule of `{listener}` |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, Method};
use lb_userspace::api::configuration::Configuration;
use lb_userspace::api::domain::Engine;
use lb_userspace::api::domain::arn::Identity;
use lb_userspace::api::inventory::Inventory;
use lb_userspace::api::process::Api;
use lb_userspace::api::room::Room;
use lb_userspace::api::service::{Answer, Request, Service};
use lb_userspace::api::signature::Guard;
use lb_userspace::data_plane::Capacity;

use super::case::{NOW, between};

/// A service with things in it.
pub(crate) struct World {
    pub(crate) service: Service,
    names: BTreeMap<&'static str, String>,
}

impl World {
    pub(crate) fn new() -> World {
        let engine = Engine::ephemeral(Identity::default(), Inventory::sample());
        let ground = Api::no_ground(&Configuration::sample());
        let room = Room::new(ground, Arc::clone(engine.inventory()), Capacity::default());
        let engine = engine.with_feasibility(Box::new(room));
        let mut world = World { service: Service::ephemeral(engine, Guard::Open), names: BTreeMap::new() };
        world.make("lb", "LoadBalancerArn", "Action=CreateLoadBalancer&Name=web&Type=network&Subnets.member.1=subnet-a&Subnets.member.2=subnet-b");
        world.make("inside", "LoadBalancerArn", "Action=CreateLoadBalancer&Name=inside&Type=network&Scheme=internal&IpAddressType=dualstack&Subnets.member.1=subnet-a&SecurityGroups.member.1=sg-web");
        for (name, settings) in [
            ("tg", "Name=web&Protocol=TCP&Port=80&TargetType=ip"),
            ("spare", "Name=spare&Protocol=TCP&Port=80&TargetType=ip"),
            ("udp", "Name=udp&Protocol=UDP&Port=53&TargetType=ip"),
            ("both", "Name=both&Protocol=TCP_UDP&Port=53&TargetType=ip"),
            ("quic", "Name=quic&Protocol=QUIC&Port=443&TargetType=ip"),
            ("v6", "Name=v6&Protocol=TCP&Port=80&TargetType=ip&IpAddressType=ipv6"),
            ("named", "Name=named&Protocol=TCP&Port=80"),
        ] {
            world.make(name, "TargetGroupArn", &format!("Action=CreateTargetGroup&VpcId=vpc-1&{settings}"));
        }
        world.make("listener", "ListenerArn", "Action=CreateListener&LoadBalancerArn={lb}&Protocol=TCP&Port=80&DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={tg}");
        world.make("rule", "RuleArn", "Action=DescribeRules&ListenerArn={listener}");
        world.ask("Action=RegisterTargets&TargetGroupArn={tg}&Targets.member.1.Id=10.0.1.1");
        world
    }

    fn make(&mut self, name: &'static str, element: &str, request: &str) {
        let answer = self.ask(request);
        let arn = between(&answer.body, &format!("<{element}>"), &format!("</{element}>"));
        let arn = arn.unwrap_or_else(|| panic!("{request}: {}", answer.body)).to_owned();
        self.names.insert(name, arn);
    }

    /// A text with the names in braces filled in.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, arn)| text.replace(&format!("{{{name}}}"), arn))
    }

    /// Asks by POST, or as the request says. A version that is not given is the API's.
    pub(crate) fn ask(&mut self, request: &str) -> Answer {
        let request = self.fill(request);
        let (method, uri, body) = match request.split_once(' ') {
            Some((method, rest)) => {
                let (uri, body) = rest.split_once(' ').unwrap_or((rest, ""));
                (method, uri, body.to_owned())
            }
            None if format!("&{request}").contains("&Version=") => ("POST", "/", request),
            None => ("POST", "/", format!("{request}&Version=2015-12-01")),
        };
        let request = Request {
            method: Method::try_from(method).unwrap(),
            uri: uri.parse().unwrap(),
            headers: HeaderMap::new(),
            body: body.into_bytes(),
            connection: 0,
            peer: None,
        };
        self.service.answer(&request, NOW)
    }
}
