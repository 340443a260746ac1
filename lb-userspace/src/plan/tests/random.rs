//! Documents that the API takes: made of a number, so that a failure can be repeated.

use crate::api::domain::records::{Protocol, Scheme, TargetType};
use crate::plan::document::{
    Document, Forward, HealthCheck, Listener, LoadBalancer, Subnet, Target, TargetGroup, Texts,
};

/// A generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// A document with up to three load balancers and six target groups.
pub(super) fn document(seed: u64) -> Document {
    let mut random = Random(seed);
    let mut target_groups: Vec<TargetGroup> = (0..6)
        .filter(|_| random.below(4) > 0)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|at| group(&mut random, at))
        .collect();
    let mut load_balancers = Vec::new();
    let users: Vec<usize> = target_groups.iter().map(|_| random.below(4)).collect();
    for number in 0..3 {
        if random.below(4) > 0 {
            let owned: Vec<&TargetGroup> = target_groups
                .iter()
                .zip(&users)
                .filter(|(_, user)| **user == number)
                .map(|(one, _)| one)
                .collect();
            load_balancers.push(load_balancer(&mut random, number, &owned));
        }
    }
    target_groups.reverse();
    Document { load_balancers, target_groups }
}

fn texts(random: &mut Random, keys: &[(&str, &[&str])]) -> Texts {
    let mut texts = Texts::new();
    for (key, values) in keys {
        if random.flag() {
            texts.insert((*key).to_owned(), random.one(values).to_owned());
        }
    }
    texts
}

fn tags(random: &mut Random) -> Texts {
    texts(random, &[("team", &["a", "b", ""]), ("stage", &["test", "live"])])
}

fn group(random: &mut Random, number: usize) -> TargetGroup {
    let protocol = random.one(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp]);
    let is_ipv6 = random.below(4) == 0;
    let attributes: &[(&str, &[&str])] = &[
        ("deregistration_delay.timeout_seconds", &["0", "60", "3600"]),
        ("load_balancing.cross_zone.enabled", &["true", "false"]),
        ("target_group_health.dns_failover.minimum_healthy_targets.count", &["2", "off"]),
    ];
    let checks = [
        HealthCheck::default(),
        HealthCheck {
            protocol: Some("HTTP".to_owned()),
            path: Some("/up".to_owned()),
            ..HealthCheck::default()
        },
        HealthCheck { interval_seconds: Some(10), port: Some("81".to_owned()), ..HealthCheck::default() },
    ];
    TargetGroup {
        place: String::new(),
        name: format!("group-{number}"),
        protocol,
        port: random.one(&[80, 8080]),
        vpc: Some("vpc-1".to_owned()),
        target_type: TargetType::Ip,
        is_ipv6,
        health_check: random.one(&checks),
        attributes: texts(random, attributes),
        tags: tags(random),
        targets: (random.below(5) > 0).then(|| targets(random, is_ipv6)),
    }
}

fn targets(random: &mut Random, is_ipv6: bool) -> Vec<Target> {
    let all = (1..9).filter(|_| random.flag()).collect::<Vec<_>>();
    let target = |number: u16| Target {
        id: if is_ipv6 { format!("fd00:1::{number}") } else { format!("10.0.1.{number}") },
        port: (number == 3).then_some(9000),
        zone: random.flag().then(|| "b".to_owned()).or(is_ipv6.then(|| "a".to_owned())),
        quic_server_id: None,
    };
    all.into_iter().map(target).collect()
}

fn load_balancer(random: &mut Random, number: usize, groups: &[&TargetGroup]) -> LoadBalancer {
    let scheme = if random.flag() { Scheme::Internal } else { Scheme::InternetFacing };
    let is_dualstack = random.flag() || groups.iter().any(|group| group.is_ipv6);
    let mut subnets: Vec<Subnet> = ["subnet-a", "subnet-b"].map(plain).into_iter().collect();
    if random.flag() {
        subnets.truncate(1);
    }
    if scheme == Scheme::Internal && random.flag() {
        subnets[0].ipv4 = Some(format!("10.200.1.{}", 100 + number));
    }
    let attributes: &[(&str, &[&str])] = &[
        ("load_balancing.cross_zone.enabled", &["true"]),
        ("dns_record.client_routing_policy", &["availability_zone_affinity"]),
    ];
    let guards = random.one(&[vec![], vec!["sg-web"], vec!["sg-inside", "sg-web"]]);
    LoadBalancer {
        place: String::new(),
        name: format!("lb-{number}"),
        scheme,
        is_dualstack,
        subnets,
        guards_private_link: guards.is_empty() || random.flag(),
        security_groups: guards.into_iter().map(str::to_owned).collect(),
        attributes: texts(random, attributes),
        tags: tags(random),
        listeners: listeners(random, groups),
    }
}

fn plain(id: &str) -> Subnet {
    Subnet { id: id.to_owned(), allocation: None, ipv4: None, ipv6: None }
}

/// Listeners that forward to one or two groups of their protocol.
fn listeners(random: &mut Random, groups: &[&TargetGroup]) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for port in [80, 443, 8443] {
        if groups.is_empty() || random.flag() {
            continue;
        }
        let first = random.one(groups);
        let second = random.one(groups);
        let mut forward = vec![part(random, first)];
        if second.name != first.name && second.protocol == first.protocol {
            forward.push(part(random, second));
        }
        let protocol = match first.protocol {
            Protocol::TcpUdp => random.one(&[Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp]),
            other => other,
        };
        let attributes: &[(&str, &[&str])] = &[("tcp.idle_timeout.seconds", &["60", "6000"])];
        listeners.push(Listener {
            place: String::new(),
            protocol,
            port,
            forward,
            order: random.flag().then_some(1),
            attributes: if protocol == Protocol::Tcp { texts(random, attributes) } else { Texts::new() },
            tags: tags(random),
        });
    }
    listeners
}

fn part(random: &mut Random, group: &TargetGroup) -> Forward {
    Forward { target_group: group.name.clone(), weight: random.one(&[1, 20, 80]) }
}
