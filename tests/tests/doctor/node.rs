//! What is found on a node: its ways, its targets, its configuration.

use std::net::IpAddr;

use anyhow::Result;
use lab::{Lab, VIP4};
use serde_json::json;

use crate::{alone, configuration, expect_on_node, expect_on_target, expect_sound, lab, play, run};

#[test]
fn ways_that_are_cut_are_told_from_each_other() {
    let Some(_alone) = alone() else { return };
    play(lab(), |lab| {
        expect_sound(lab)?;
        route_is_lost(lab)?;
        neighbour_is_lost(lab)?;
        way_is_narrow(lab)?;
        link_loses_full_packets(lab)?;
        expect_sound(lab)
    });
}

fn route_is_lost(lab: &mut Lab) -> Result<()> {
    let host = &lab.nodes[0].host;
    let route = host.ip("-4 route show default")?;
    host.ip("-4 route delete default")?;
    let mend = expect_on_node(lab, &["no-route"])?.mend("no-route")?;
    run(host, &mend.replace("ROUTER", "10.202.0.1"))?;
    expect_on_node(lab, &[])?;
    host.ip(&format!("-4 route add {route}"))?;
    host.ip("-4 route delete 10.203.0.11/32").map(drop)
}

/// The far target's plug is pulled.
fn neighbour_is_lost(lab: &mut Lab) -> Result<()> {
    lab.router.ip("link set dev t2 nomaster")?;
    expect_on_node(lab, &["no-neighbour"])?;
    expect_on_target(lab, &[])?;
    lab.router.ip("link set dev t2 master far")?;
    expect_on_node(lab, &[]).map(drop)
}

fn way_is_narrow(lab: &mut Lab) -> Result<()> {
    lab.nodes[0].host.ip("route add 10.203.0.0/24 via 10.202.0.1 mtu 1500")?;
    expect_on_node(lab, &["mtu-small"])?;
    lab.nodes[0].host.ip("route delete 10.203.0.0/24")?;
    expect_on_node(lab, &[]).map(drop)
}

/// The target's link carries 1,500 bytes, and the node does not know.
fn link_loses_full_packets(lab: &mut Lab) -> Result<()> {
    lab.targets[0].host.ip("link set dev eth0 mtu 1500")?;
    expect_on_node(lab, &["path-mtu"])?;
    let mend = expect_on_target(lab, &["mtu-small"])?.mend("mtu-small")?;
    run(&lab.targets[0].host, mend.split(',').next().unwrap_or_default())?;
    expect_sound(lab)
}

#[test]
fn what_the_targets_lack_is_named_by_the_node() {
    let Some(_alone) = alone() else { return };
    play(lab(), |lab| {
        port_is_closed(lab)?;
        vip_is_missing(lab)?;
        agent_is_missing(lab)?;
        node_is_unknown(lab)?;
        check_fails(lab)?;
        expect_sound(lab)
    });
}

fn port_is_closed(lab: &mut Lab) -> Result<()> {
    lab.targets[0].stop_server();
    expect_on_node(lab, &["port-closed"])?;
    expect_on_target(lab, &["port-closed"])?;
    let vips = lab.vips.clone();
    lab.targets[0].start_server(&vips)?;
    expect_sound(lab)
}

fn vip_is_missing(lab: &mut Lab) -> Result<()> {
    let host = &lab.targets[0].host;
    host.ip(&format!("address delete {VIP4}/32 dev lo"))?;
    expect_on_node(lab, &["vip-missing"])?;
    let mend = expect_on_target(lab, &["vip-missing"])?.mend("vip-missing")?;
    run(host, &mend)?;
    expect_sound(lab)
}

fn agent_is_missing(lab: &mut Lab) -> Result<()> {
    lab.targets[0].agent = None;
    expect_on_node(lab, &["agent-missing"])?;
    expect_on_target(lab, &["agent-missing"])?;
    let (nodes, vips) = (lab.tunnel_sources(), lab.vips.clone());
    lab.targets[0].start_agent(&nodes, &vips)?;
    expect_sound(lab)
}

/// The agent knows other addresses of the node than those that it sends from.
fn node_is_unknown(lab: &mut Lab) -> Result<()> {
    let others: [IpAddr; 2] = ["10.202.0.77".parse()?, "fd02::77".parse()?];
    let vips = lab.vips.clone();
    lab.targets[0].agent = None;
    lab.targets[0].start_agent(&others, &vips)?;
    expect_on_node(lab, &["tunnel-silent"])?;
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| expect_on_node(lab, &["tunnel-silent"]));
        expect_on_target(lab, &["source-filtered"])?;
        looking.join().expect("no panic")
    })?;
    for other in others {
        lab::link::address(&lab.nodes[0].host, "eth0", other)?;
    }
    expect_on_node(lab, &["source-filtered"])?;
    lab.targets[0].agent = None;
    let nodes = lab.tunnel_sources();
    lab.targets[0].start_agent(&nodes, &vips)?;
    lab.nodes[0].host.ip(&format!("address delete {}/24 dev eth0", others[0]))?;
    lab.nodes[0].host.ip(&format!("address delete {}/64 dev eth0", others[1]))?;
    expect_sound(lab)
}

/// The servers do not know the page that the health check asks for; packets come through all the same.
fn check_fails(lab: &mut Lab) -> Result<()> {
    let sound = configuration(lab);
    let mut broken = sound.clone();
    broken["target_groups"][0]["health_check"]["path"] = "/nothing".into();
    lab.nodes[0].write_configuration(&broken)?;
    let diagnosis = expect_on_node(lab, &["check-failed"])?;
    let mend = diagnosis.mend("check-failed")?;
    // That of the target whose check has failed first.
    anyhow::ensure!(mend.starts_with("curl -i 'http://10.20") && mend.contains(":80/nothing'"), "{mend}");
    let what = diagnosis.json.to_string();
    anyhow::ensure!(what.contains("HTTP status 404") && what.contains(" s ago"), "{what}");
    lab.nodes[0].write_configuration(&sound)?;
    expect_on_node(lab, &[]).map(drop)
}

#[test]
fn what_the_node_itself_lacks_is_named() {
    let Some(_alone) = alone() else { return };
    play(lab(), |lab| {
        let host = &lab.nodes[0].host;
        host.ip(&format!("address add {VIP4}/32 dev lo"))?;
        let mend = expect_on_node(lab, &["vip-on-node"])?.mend("vip-on-node")?;
        run(host, &mend)?;
        expect_on_node(lab, &[])?;

        let sound = configuration(lab);
        let mut broken = sound.clone();
        broken["target_groups"][0]["targets"] = json!([]);
        lab.nodes[0].write_configuration(&broken)?;
        expect_on_node(lab, &["no-target"])?;
        broken["target_groups"][0]["targets"] = json!(["here"]);
        lab.nodes[0].write_configuration(&broken)?;
        expect_on_node(lab, &["configuration-rejected", "no-target"])?;
        lab.nodes[0].write_configuration(&sound)?;
        expect_on_node(lab, &[])?;

        lab.nodes[0].stop_controller()?;
        expect_on_node(lab, &["controller-silent"])?;
        let mut other_way = sound.clone();
        other_way["target_groups"][1]["encapsulation"] = "ipip".into();
        lab.start_controller(0, &other_way)?;
        expect_sound(lab)
    });
}
