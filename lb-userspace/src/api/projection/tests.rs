use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method};

use super::{Ground, Projector};
use crate::api::calendar::Timestamp;
use crate::api::domain::Engine;
use crate::api::domain::arn::Identity;
use crate::api::inventory::Inventory;
use crate::api::service::{Request, Service};
use crate::api::signature::Guard;
use crate::model::{
    CheckPort, Desired, Encapsulation, HealthView, ListenerPort, LogPlace, Node, Oversized, Probe, Protocol,
    RulePorts, RuleProtocol, StatusCodes, Stickiness, TargetGroup, Threshold, UnhealthyFlows,
};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// A node in zone a, and the API that it follows.
struct World {
    service: Service,
    projector: Projector,
}

impl World {
    fn new() -> World {
        let node = Node {
            name: "lb1".to_owned(),
            zone: "a".to_owned(),
            interfaces: vec!["eth0".to_owned()],
            oversized: Oversized::Drop,
            health_view: HealthView::Own,
            flow_log: None,
        };
        let ground = Ground { node, metrics_address: None, encapsulation: Encapsulation::Gue };
        let service =
            Service::ephemeral(Engine::ephemeral(Identity::default(), Inventory::sample()), Guard::Open);
        let projector = Projector::new(ground, service.snapshot().1);
        World { service, projector }
    }

    /// Asks; the first element of that name in the answer.
    fn ask(&self, request: &str, element: &str) -> String {
        let request = Request {
            method: Method::POST,
            uri: "/".parse().unwrap(),
            headers: HeaderMap::new(),
            body: format!("Version=2015-12-01&Action={request}").into_bytes(),
            connection: 0,
            peer: None,
        };
        let answer = self.service.answer(&request, NOW);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let rest = answer.body.split_once(&format!("<{element}>")).map_or("", |(_, rest)| rest);
        rest.split('<').next().unwrap().to_owned()
    }

    fn load_balancer(&self, settings: &str) -> String {
        self.ask(&format!("CreateLoadBalancer&Type=network&{settings}"), "LoadBalancerArn")
    }

    fn group(&self, settings: &str) -> String {
        self.ask(&format!("CreateTargetGroup&VpcId=vpc-1&{settings}"), "TargetGroupArn")
    }

    fn listen(&self, load_balancer: &str, settings: &str, group: &str) {
        let forward =
            format!("DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={group}");
        self.ask(&format!("CreateListener&LoadBalancerArn={load_balancer}&{settings}&{forward}"), "x");
    }

    fn register(&self, group: &str, targets: &str) {
        self.ask(&format!("RegisterTargets&TargetGroupArn={group}&{targets}"), "x");
    }

    fn set(&self, group: &str, key: &str, value: &str) {
        let pair = format!("Attributes.member.1.Key={key}&Attributes.member.1.Value={value}");
        self.ask(&format!("ModifyTargetGroupAttributes&TargetGroupArn={group}&{pair}"), "x");
    }

    fn desired(&mut self) -> Desired {
        let (state, inventory) = self.service.snapshot();
        self.projector.project(&state, &inventory)
    }

    fn targets(&mut self, group: &str) -> Vec<(String, String)> {
        let desired = self.desired();
        let targets = &desired.target_groups[group].targets;
        targets.iter().map(|(address, target)| (address.to_string(), target.zone.clone())).collect()
    }
}

/// A load balancer in zones a and b with a TCP listener on port 80 that forwards to the group `web` of addresses.
fn web(world: &World) -> (String, String) {
    let load_balancer = world.load_balancer("Name=web&Subnets.member.1=subnet-a&Subnets.member.2=subnet-b");
    let group = world.group("Name=web&Protocol=TCP&Port=80&TargetType=ip");
    world.listen(&load_balancer, "Protocol=TCP&Port=80", &group);
    (load_balancer, group)
}

#[test]
fn every_seat_has_its_vips_and_their_zone() {
    let mut world = World::new();
    world.load_balancer(
        "Name=both&IpAddressType=dualstack&Subnets.member.1=subnet-a&Subnets.member.2=subnet-b",
    );
    let desired = world.desired();
    let load_balancer = &desired.load_balancers["both"];
    assert_eq!(load_balancer.vips.len(), 4);
    for vip in &load_balancer.vips {
        let zone = if vip.to_string().starts_with("10.200.1.") || vip.to_string().starts_with("fd00:200:1:") {
            "a"
        } else {
            "b"
        };
        assert_eq!(load_balancer.vip_zones[vip], zone);
    }
    assert!(load_balancer.allow.is_none() && load_balancer.listeners.is_empty());
}

#[test]
fn listeners_have_their_port_weights_and_idle_time_out() {
    let mut world = World::new();
    let (load_balancer, group) = web(&world);
    let second = world.group("Name=second&Protocol=UDP&Port=53&TargetType=ip");
    world.listen(&load_balancer, "Protocol=UDP&Port=53", &second);
    let listener = world.ask(&format!("DescribeListeners&LoadBalancerArn={load_balancer}"), "ListenerArn");
    let desired = world.desired();
    let by_protocol = |protocol| {
        let mut listeners = desired.load_balancers["web"].listeners.iter();
        listeners.find(|listener| listener.protocol == protocol).unwrap()
    };
    let (tcp, udp) = (by_protocol(Protocol::Tcp), by_protocol(Protocol::Udp));
    assert_eq!((tcp.port, udp.port), (ListenerPort::Port(80), ListenerPort::Port(53)));
    assert_eq!((tcp.idle_timeout, udp.idle_timeout), (Some(Duration::from_secs(350)), None));
    let parts: Vec<_> = tcp.forward.0.iter().map(|part| (part.target_group.as_str(), part.weight)).collect();
    assert_eq!(parts, [("web", 1)]);
    assert!(!listener.is_empty() && !group.is_empty());
}

#[test]
fn security_groups_are_the_allow_list() {
    let mut world = World::new();
    let load_balancer = world.load_balancer(
        "Name=web&Subnets.member.1=subnet-a&SecurityGroups.member.1=sg-web&SecurityGroups.member.2=sg-inside",
    );
    let group = world.group("Name=web&Protocol=TCP&Port=80&TargetType=ip");
    world.listen(&load_balancer, "Protocol=TCP&Port=80", &group);
    let desired = world.desired();
    let rules = &desired.load_balancers["web"].allow.as_ref().unwrap().0;
    let told: Vec<_> =
        rules.iter().map(|rule| (rule.sources[0].to_string(), rule.protocol, &rule.ports)).collect();
    assert_eq!(
        told,
        [
            ("10.0.0.0/8".to_owned(), RuleProtocol::Any, &RulePorts::Any),
            ("0.0.0.0/0".to_owned(), RuleProtocol::Tcp, &RulePorts::Ranges(vec![(80, 443)])),
        ]
    );
}

#[test]
fn a_security_group_that_says_nothing_of_a_listener_lets_nobody_in() {
    let mut world = World::new();
    let load_balancer =
        world.load_balancer("Name=web&Subnets.member.1=subnet-a&SecurityGroups.member.1=sg-web");
    let group = world.group("Name=dns&Protocol=UDP&Port=53&TargetType=ip");
    world.listen(&load_balancer, "Protocol=UDP&Port=53", &group);
    assert_eq!(world.desired().load_balancers["web"].allow.as_ref().unwrap().0, []);
}

#[test]
fn targets_are_those_that_are_registered_in_enabled_zones() {
    let mut world = World::new();
    let (_, group) = web(&world);
    world.register(
        &group,
        "Targets.member.1.Id=10.0.1.1&Targets.member.2.Id=10.0.2.1&Targets.member.3.Id=10.0.3.1\
         &Targets.member.4.Id=10.0.99.1&Targets.member.5.Id=192.168.0.1&Targets.member.5.AvailabilityZone=all",
    );
    let known = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(address, zone)| ((*address).to_owned(), (*zone).to_owned())).collect()
    };
    // Zone c is not enabled; nobody knows where 10.0.99.1 is.
    assert_eq!(
        world.targets("web"),
        known(&[("10.0.1.1", "a"), ("10.0.2.1", "b"), ("10.0.99.1", "a"), ("192.168.0.1", "a")])
    );
    world.ask(&format!("DeregisterTargets&TargetGroupArn={group}&Targets.member.1.Id=10.0.2.1"), "x");
    assert_eq!(world.targets("web").len(), 3, "a draining target is the registry's");
}

#[test]
fn instances_are_where_the_inventory_says() {
    let mut world = World::new();
    let load_balancer = world.load_balancer("Name=web&Subnets.member.1=subnet-a&Subnets.member.2=subnet-b");
    let group = world.group("Name=web&Protocol=TCP&Port=80");
    world.listen(&load_balancer, "Protocol=TCP&Port=80", &group);
    world.register(&group, "Targets.member.1.Id=i-1&Targets.member.2.Id=i-2&Targets.member.2.Port=8080");
    let desired = world.desired();
    let targets = &desired.target_groups["web"].targets;
    let of = |address: &str| &targets[&address.parse::<IpAddr>().unwrap()];
    assert_eq!((of("10.0.1.1").zone.as_str(), of("10.0.1.1").port), ("a", 80));
    assert_eq!((of("10.0.2.1").zone.as_str(), of("10.0.2.1").port), ("b", 8080));

    let mut inventory = Inventory::sample();
    inventory.instances.get_mut("i-2").unwrap().is_running = false;
    world.service.reconfigure(Arc::new(inventory), None).unwrap();
    assert_eq!(world.targets("web"), [("10.0.1.1".to_owned(), "a".to_owned())], "a stopped one is out");
}

#[test]
fn attributes_reach_the_data_plane() {
    let mut world = World::new();
    let (load_balancer, group) = web(&world);
    let now = |world: &mut World| -> Arc<TargetGroup> { Arc::clone(&world.desired().target_groups["web"]) };
    let default = now(&mut world);
    assert_eq!(default.encapsulation, Encapsulation::Gue);
    assert_eq!(default.draining, Duration::from_secs(300));
    assert_eq!(default.stickiness, Stickiness::None);
    assert_eq!(default.unhealthy_flows, UnhealthyFlows::Terminate);
    assert!(!default.cross_zone && !default.terminates_on_deregistration);
    assert_eq!(default.minimum_healthy.routing, Threshold { count: 1, percent: None });
    assert_eq!(default.minimum_healthy.failover, Some(Threshold { count: 1, percent: None }));

    let cross = "Attributes.member.1.Key=load_balancing.cross_zone.enabled&Attributes.member.1.Value=true";
    world.ask(&format!("ModifyLoadBalancerAttributes&LoadBalancerArn={load_balancer}&{cross}"), "x");
    assert!(now(&mut world).cross_zone, "as the load balancer says");
    world.set(&group, "load_balancing.cross_zone.enabled", "false");
    assert!(!now(&mut world).cross_zone, "the target group has the last word");

    world.set(&group, "deregistration_delay.timeout_seconds", "5");
    world.set(&group, "deregistration_delay.connection_termination.enabled", "true");
    world.set(&group, "stickiness.enabled", "true");
    world.set(&group, "target_health_state.unhealthy.connection_termination.enabled", "false");
    world.set(&group, "target_health_state.unhealthy.draining_interval_seconds", "60");
    world.set(&group, "target_group_health.dns_failover.minimum_healthy_targets.count", "off");
    world.set(&group, "target_group_health.dns_failover.minimum_healthy_targets.percentage", "50");
    let changed = now(&mut world);
    assert_eq!(changed.draining, Duration::from_secs(5));
    assert!(changed.terminates_on_deregistration);
    assert_eq!(changed.stickiness, Stickiness::SourceIp);
    assert_eq!(changed.unhealthy_flows, UnhealthyFlows::Drain(Duration::from_secs(60)));
    assert_eq!(changed.minimum_healthy.failover, Some(Threshold { count: 1, percent: Some(50) }));
}

#[test]
fn checks_are_those_of_the_target_group() {
    let mut world = World::new();
    world.group(
        "Name=web&Protocol=TCP&Port=80&TargetType=ip&HealthCheckProtocol=HTTPS&HealthCheckPath=/up\
         &HealthCheckPort=8443&Matcher.HttpCode=200,202-204&HealthCheckIntervalSeconds=5&HealthCheckTimeoutSeconds=2",
    );
    let check = Arc::clone(&world.desired().target_groups["web"].health_check);
    let matcher = StatusCodes(vec![(200, 200), (202, 204)]);
    assert_eq!(check.probe, Probe::Https { path: "/up".to_owned(), matcher });
    assert_eq!(check.port, CheckPort::Port(8443));
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
}

#[test]
fn a_group_that_is_not_used_says_how_long_the_flows_are_kept_that_it_had_when_it_was() {
    let mut world = World::new();
    world.group("Name=spare&Protocol=TCP&Port=80&TargetType=ip");
    assert_eq!(world.desired().target_groups["spare"].draining, Duration::from_secs(300));
}

#[test]
fn what_did_not_change_keeps_its_pointer() {
    let mut world = World::new();
    let (_, group) = web(&world);
    world.group("Name=spare&Protocol=TCP&Port=80&TargetType=ip");
    let before = world.desired();
    world.register(&group, "Targets.member.1.Id=10.0.1.1");
    let after = world.desired();
    let is_same = |name: &str| Arc::ptr_eq(&before.target_groups[name], &after.target_groups[name]);
    assert!(is_same("spare") && !is_same("web"));
    assert!(Arc::ptr_eq(&before.load_balancers["web"], &after.load_balancers["web"]));
    // A record that changed without meaning: tags, say.
    world.ask(
        &format!("AddTags&ResourceArns.member.1={group}&Tags.member.1.Key=k&Tags.member.1.Value=v"),
        "x",
    );
    assert!(Arc::ptr_eq(&after.target_groups["web"], &world.desired().target_groups["web"]));
}

#[test]
fn a_group_without_targets_stands_in_for_one_that_is_not_there() {
    let mut world = World::new();
    let (_, group) = web(&world);
    world.register(&group, "Targets.member.1.Id=10.0.1.1");
    let whole = world.desired();
    let (state, inventory) = world.service.snapshot();
    let mut without = state.clone();
    without.target_groups.clear();
    let desired = world.projector.project(&without, &inventory);
    assert_eq!(desired.load_balancers, whole.load_balancers);
    let (there, absent) = (&whole.target_groups["web"], &desired.target_groups["web"]);
    assert_eq!((absent.protocol, absent.targets.len()), (there.protocol, 0));
    assert_eq!(world.projector.project(&without, &inventory), desired);
    assert_eq!(world.projector.project(&state, &inventory), whole, "it is back");
    without.load_balancers.clear();
    assert!(world.projector.project(&without, &inventory).target_groups.is_empty());
}

#[test]
fn flows_are_logged_where_the_attributes_say() {
    let mut world = World::new();
    let load_balancer = world.load_balancer("Name=web&Subnets.member.1=subnet-a");
    let set = |world: &World, key: &str, value: &str| {
        let pair = format!("Attributes.member.1.Key=access_logs.s3.{key}&Attributes.member.1.Value={value}");
        world.ask(&format!("ModifyLoadBalancerAttributes&LoadBalancerArn={load_balancer}&{pair}"), "x");
    };
    set(&world, "bucket", "my-flows");
    set(&world, "prefix", "2026/a");
    assert_eq!(world.desired().load_balancers["web"].flow_log, None);
    set(&world, "enabled", "true");
    let place = LogPlace::new("my-flows", "2026/a").unwrap();
    assert_eq!(world.desired().load_balancers["web"].flow_log, Some(place));
    set(&world, "enabled", "false");
    assert_eq!(world.desired().load_balancers["web"].flow_log, None);
}
