//! The rules as a table: what is changed of a sound target's facts, and which causes are found then.

use super::*;
use crate::doctor::finding::Level;
use crate::doctor::kernel::Held;
use crate::doctor::listening::Listening;
use crate::doctor::target::{AgentInterface, Port, Settings};

const VIP: &str = "192.0.2.1";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn interface(name: &str, kind: Option<&str>) -> (String, Interface) {
    let interface = Interface {
        index: 2,
        name: name.into(),
        mac: (name != "lo").then_some([2, 0, 0, 0, 0, 1]),
        mtu: 1600,
        up: true,
        kind: kind.map(str::to_owned),
        xdp_program: (name == "eth0").then_some(7),
    };
    (name.to_owned(), interface)
}

fn held(text: &str, interface: &str) -> Held {
    Held { address: address(text), prefix: 32, interface: interface.into() }
}

/// A target on which nothing is wrong.
fn facts() -> Facts {
    let agent = Agent {
        interfaces: vec![AgentInterface { name: "eth0".into(), mode: "native".into(), program_id: 7 }],
        nodes: vec![address("10.0.0.100")],
        vips: vec![address(VIP)],
        packets: Default::default(),
    };
    let safe = Settings { arp_ignore: 1, arp_announce: 2, rp_filter: 0 };
    let listening = |port, transport| Listening { address: address("::"), port, transport };
    Facts {
        agent: Ok(agent),
        interfaces: [interface("eth0", None), interface("lo", None)].into(),
        addresses: vec![held("127.0.0.1", "lo"), held(VIP, "lo"), held("10.0.0.1", "eth0")],
        settings: [("eth0".to_owned(), safe), ("lo".to_owned(), Settings { arp_ignore: 0, ..safe })].into(),
        reverse_path_drops: 0,
        listening: vec![listening(80, Transport::Tcp), listening(53, Transport::Udp)],
        ports: vec![Port { number: 80, transport: Transport::Tcp }],
        packets: Default::default(),
    }
}

fn expect(change: impl FnOnce(&mut Facts), expected: &[&str]) {
    let mut facts = facts();
    change(&mut facts);
    let findings = findings(&facts);
    let wrong = findings.iter().filter(|finding| finding.level != Level::Ok);
    let wrong: Vec<String> =
        wrong.map(|finding| format!("{} {}", finding.cause.name(), finding.object)).collect();
    assert_eq!(wrong, expected, "{findings:#?}");
}

fn settings(facts: &mut Facts) -> &mut Settings {
    facts.settings.get_mut("eth0").unwrap()
}

#[test]
fn on_a_sound_target_nothing_is_wrong_and_every_object_is_named() {
    expect(|_| (), &[]);
    let objects: Vec<String> = findings(&facts()).into_iter().map(|finding| finding.object).collect();
    assert_eq!(objects, ["agent", "interface eth0", "VIP 192.0.2.1"]);
}

#[test]
fn the_agents_absence_is_excused_by_a_tunnel_of_the_kernel() {
    let absent = |facts: &mut Facts| facts.agent = Err("no socket".into());
    expect(absent, &["agent-missing agent"]);
    let with_tunnel = |facts: &mut Facts| {
        absent(facts);
        facts.interfaces.extend([interface("tunl0", Some("ipip"))]);
    };
    expect(with_tunnel, &[]);
    let strict = |facts: &mut Facts| {
        with_tunnel(facts);
        let strict = Settings { rp_filter: 1, ..*settings(facts) };
        facts.settings.insert("tunl0".into(), strict);
    };
    expect(strict, &["rp-filter interface tunl0"]);
}

#[test]
fn the_program_and_its_interface_are_judged() {
    let with = |change: fn(&mut Interface)| {
        move |facts: &mut Facts| change(facts.interfaces.get_mut("eth0").unwrap())
    };
    expect(with(|at| at.xdp_program = None), &["xdp-missing interface eth0"]);
    expect(with(|at| at.up = false), &["interface-down interface eth0"]);
    expect(with(|at| at.mtu = 1519), &["mtu-small interface eth0"]);
    let generic = |facts: &mut Facts| {
        let agent = facts.agent.as_mut().unwrap();
        agent.interfaces[0].mode = "generic".into();
    };
    expect(generic, &["xdp-generic interface eth0"]);
}

#[test]
fn neighbours_must_not_learn_the_targets_address_for_a_vip() {
    expect(|facts| settings(facts).arp_ignore = 0, &["arp-answered interface eth0"]);
    expect(|facts| settings(facts).arp_announce = 0, &["arp-answered interface eth0"]);
    expect(|facts| facts.addresses[1].interface = "eth0".into(), &["arp-answered VIP 192.0.2.1"]);
    let on_dummy = |facts: &mut Facts| {
        facts.interfaces.extend([interface("vips", Some("dummy"))]);
        facts.addresses[1].interface = "vips".into();
    };
    expect(on_dummy, &[]);
    let ipv6_alone = |facts: &mut Facts| {
        facts.agent.as_mut().unwrap().vips = vec![address("2001:db8::1")];
        facts.addresses[1] = held("2001:db8::1", "lo");
        *settings(facts) = Settings { arp_ignore: 0, arp_announce: 0, rp_filter: 1 };
    };
    expect(ipv6_alone, &[]);
}

#[test]
fn a_strict_filter_is_a_failure_when_it_drops() {
    expect(|facts| settings(facts).rp_filter = 1, &["rp-filter-strict interface eth0"]);
    expect(|facts| settings(facts).rp_filter = 2, &[]);
    expect(|facts| facts.reverse_path_drops = 9, &[]);
    let dropping = |facts: &mut Facts| {
        settings(facts).rp_filter = 1;
        facts.reverse_path_drops = 9;
    };
    expect(dropping, &["rp-filter interface eth0"]);
}

#[test]
fn a_vip_is_held_and_served() {
    expect(|facts| facts.addresses.retain(|held| held.interface != "lo"), &["vip-missing VIP 192.0.2.1"]);
    expect(|facts| facts.listening.clear(), &["port-closed VIP 192.0.2.1"]);
    expect(|facts| facts.listening[0].address = address("10.0.0.1"), &["port-closed VIP 192.0.2.1"]);
    let unasked = |facts: &mut Facts| {
        facts.ports.clear();
        facts.listening.remove(0);
    };
    expect(unasked, &[]);
    expect(
        |facts| facts.ports.push(Port { number: 80, transport: Transport::Udp }),
        &["port-closed VIP 192.0.2.1"],
    );
}

#[test]
fn what_the_agent_drops_at_this_moment_is_told_by_its_reason() {
    for (reason, expected) in [
        (Reason::AgentUnknownNode, "source-filtered reason unknown_node"),
        (Reason::AgentUnknownVip, "vip-missing reason unknown_vip"),
        (Reason::AgentNested, "drops-rising reason nested_tunnel"),
    ] {
        expect(|facts| facts.packets.extend([(reason.name().to_owned(), 3)]), &[expected]);
    }
    expect(|facts| facts.packets.extend([("decapsulated".to_owned(), 3)]), &[]);
}
