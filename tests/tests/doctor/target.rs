//! What only a target can tell: whom it answers ARP, and what its reverse-path filter does.

use anyhow::Result;
use lab::topology::CLIENT4;
use lab::{Lab, VIP4};

use crate::{alone, expect_on_node, expect_on_target, expect_sound, lab, play, run};

#[test]
fn settings_that_somebody_changed_behind_the_agent_are_named() {
    let Some(_alone) = alone() else { return };
    play(lab(), |lab| {
        expect_sound(lab)?;
        arp_is_answered(lab)?;
        vip_is_on_the_link(lab)?;
        reverse_path_filter_is_strict(lab)?;
        expect_sound(lab)
    });
}

fn arp_is_answered(lab: &mut Lab) -> Result<()> {
    let host = &lab.targets[0].host;
    for (setting, wanted) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        for interface in ["all", "eth0"] {
            host.set_sysctl(&format!("net/ipv4/conf/{interface}/{setting}"), "0")?;
        }
        let mend = expect_on_target(lab, &["arp-answered"])?.mend("arp-answered")?;
        assert_eq!(mend, format!("sysctl -w net.ipv4.conf.all.{setting}={wanted}"));
        host.set_sysctl(&format!("net/ipv4/conf/all/{setting}"), wanted)?;
        expect_on_target(lab, &[])?;
    }
    Ok(())
}

fn vip_is_on_the_link(lab: &mut Lab) -> Result<()> {
    let host = &lab.targets[0].host;
    host.ip(&format!("address delete {VIP4}/32 dev lo"))?;
    host.ip(&format!("address add {VIP4}/32 dev eth0"))?;
    let mend = expect_on_target(lab, &["arp-answered"])?.mend("arp-answered")?;
    run(host, &mend)?;
    expect_on_target(lab, &[]).map(drop)
}

/// Strict is a warning while the way back is the way in, and a failure when packets are dropped.
fn reverse_path_filter_is_strict(lab: &mut Lab) -> Result<()> {
    let host = &lab.targets[0].host;
    host.set_sysctl("net/ipv4/conf/eth0/rp_filter", "1")?;
    let mend = expect_on_target(lab, &["rp-filter-strict"])?.mend("rp-filter-strict")?;
    assert_eq!(mend, "sysctl -w net.ipv4.conf.eth0.rp_filter=2");
    expect_on_node(lab, &[])?;
    host.ip("link add back type veth peer name forth")?;
    for end in ["back", "forth"] {
        host.ip(&format!("link set dev {end} up"))?;
    }
    host.ip(&format!("route add {CLIENT4}/32 dev back"))?;
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| expect_on_target(lab, &["rp-filter"]));
        while !looking.is_finished() {
            // Some flows go to the other target, and have an answer.
            let _ = lab.get(VIP4.into());
        }
        looking.join().expect("no panic")
    })?;
    host.ip("link delete back")?;
    host.set_sysctl("net/ipv4/conf/eth0/rp_filter", "0")?;
    expect_on_target(lab, &[]).map(drop)
}
