//! The beginning and the end of pins: who may work with them, what is refused, and that nothing is left.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lab::process::binary;
use lab::{Lab, VIP4, VIP6, wait};

use crate::{PATIENCE, alone};
use lab::pinned::Pinned;

fn lab(far_targets: u8) -> Pinned {
    let mut pinned =
        Pinned::new(Lab::builder().targets(2).far_targets(far_targets).build().unwrap()).unwrap();
    pinned.lab.start_servers().unwrap();
    pinned.lab.start_agents().unwrap();
    pinned
}

fn both_vips_answer(pinned: &Pinned) -> Result<()> {
    pinned.lab.get(VIP4.into())?;
    pinned.lab.get(VIP6.into()).map(drop)
}

#[test]
fn the_data_plane_forwards_without_a_controller_until_it_is_detached() {
    let Some(_alone) = alone() else { return };
    lab(0).play(|pinned| {
        let configuration = pinned.lab.configuration();
        pinned.start(&configuration)?;
        pinned.healthy()?;
        let refused = pinned.sluice(&["detach"]).unwrap_err();
        ensure!(format!("{refused:#}").contains("another controller works with the pins"), "{refused:#}");
        let runtime = pinned.lab.nodes[0].runtime_directory()?;
        let words = pinned.sluice(&["stop", "--runtime-directory", &runtime.to_string_lossy()])?;
        ensure!(words.contains("has ended"), "{words}");
        wait::until("the controller's end", PATIENCE, || {
            let controller = pinned.lab.nodes[0].controller.as_mut().context("it was started")?;
            ensure!(controller.check_running().is_err(), "it runs");
            Ok(())
        })?;
        pinned.lab.nodes[0].controller = None;
        ensure!(pinned.log().contains("the data plane goes on forwarding"), "it does not say so");
        both_vips_answer(pinned)?;
        let link = pinned.link("eth0")?;
        ensure!(link.contains("xdp"), "{link}");
        for again in ["has ended", "nothing is pinned there"] {
            let words = pinned.sluice(&["detach"])?;
            ensure!(words.contains(again), "{words}");
            let link = pinned.link("eth0")?;
            ensure!(!link.contains("xdp") && !pinned.pins().exists(), "{link}: {:?}", pinned.names());
        }
        let words =
            pinned.sluice(&["stop", "--withdraw", "--runtime-directory", &runtime.to_string_lossy()])?;
        ensure!(words.contains("no controller serves") && words.contains("nothing is pinned"), "{words}");
        Ok(())
    });
}

#[test]
fn what_is_no_place_for_pins_or_taken_or_of_another_layout_is_refused_and_nothing_is_touched() {
    let Some(_alone) = alone() else { return };
    lab(0).play(|pinned| {
        let configuration = pinned.lab.configuration();
        pinned.start(&configuration)?;
        pinned.healthy()?;
        let words = pinned.refused(&pinned.pins())?;
        ensure!(words.contains("another controller works with the pins in"), "{words}");
        let words = pinned.refused(Path::new("/run/sluice-pins"))?;
        ensure!(words.contains("mount -t bpf bpf /sys/fs/bpf") && words.contains("--unpinned"), "{words}");
        pinned.kill()?;

        let (link, names) = (pinned.link("eth0")?, pinned.names());
        set_layout(pinned, 77)?;
        let words = pinned.refused(&pinned.pins())?;
        ensure!(words.contains("their layout is number 77, this build's 1"), "{words}");
        ensure!(words.contains("Nothing was touched") && words.contains("sluice detach --pins"), "{words}");
        ensure!(pinned.link("eth0")? == link && pinned.names() == names, "something was touched");
        both_vips_answer(pinned)?;
        set_layout(pinned, 1)?;

        let key = pinned.lab.nodes[0].runtime_directory()?.join("hash.key");
        let text = std::fs::read_to_string(&key).context("reading the key")?;
        std::fs::write(&key, format!("{}\n", "0".repeat(32)))?;
        let words = pinned.refused(&pinned.pins())?;
        ensure!(words.contains("the data plane works with another key"), "{words}");
        ensure!(pinned.link("eth0")? == link && pinned.names() == names, "something was touched");
        std::fs::remove_file(&key)?;
        pinned.start(&configuration)?;
        ensure!(std::fs::read_to_string(&key)? == text, "the key was not restored");
        both_vips_answer(pinned)
    });
}

/// Writes another layout's number into the pinned map that has it.
fn set_layout(pinned: &Pinned, number: u64) -> Result<()> {
    let map = Map::from_map_data(MapData::from_pin(pinned.pins().join("maps/KEEPER"))?)?;
    let mut keeper: Array<_, [u64; 3]> = Array::try_from(map)?;
    let [_, k0, k1] = keeper.get(&0, 0)?;
    keeper.set(0, [number, k0, k1], 0).context("writing the layout's number")
}

#[test]
fn links_follow_the_interfaces_that_are_configured_and_there() {
    let Some(_alone) = alone() else { return };
    lab(1).play(|pinned| {
        let configuration = pinned.lab.configuration();
        pinned.start(&configuration)?;
        ensure!(pinned.link("eth1")?.contains("xdp"), "the balancer is not on eth1");
        pinned.kill()?;
        ensure!(pinned.link("eth1")?.contains("xdp"), "the balancer went with its controller");
        pinned.lab.nodes[0].interfaces = vec!["eth0".into()];
        let report = pinned.start(&configuration)?;
        ensure!(!pinned.link("eth1")?.contains("xdp"), "the balancer is still on eth1");
        let id = report.interfaces[0].program_id;
        ensure!(pinned.link("eth0")?.contains(&format!("id {id}")), "another program is on eth0");
        both_vips_answer(pinned)?;
        // An interface that was deleted and made anew has another index, and no link.
        pinned.kill()?;
        pinned.lab.nodes[0].host.ip("link delete dev eth1")?;
        pinned.lab.nodes[0].host.ip("link add eth1 type veth peer name eth2")?;
        pinned.lab.nodes[0].interfaces = vec!["eth0".into(), "eth1".into()];
        pinned.start(&configuration)?;
        ensure!(pinned.link("eth1")?.contains("xdp"), "the balancer is not on the new eth1");
        pinned.kill()?;
        pinned.lab.nodes[0].host.ip("link delete dev eth1")?;
        pinned.lab.nodes[0].interfaces = vec!["eth0".into()];
        pinned.start(&configuration)?;
        let links = pinned.names().iter().filter(|name| name.starts_with("native-")).count();
        ensure!(links == 1, "{:?}", pinned.names());
        both_vips_answer(pinned)
    });
}

#[test]
fn a_capture_that_its_controller_did_not_survive_is_over_with_the_next_one() {
    let Some(_alone) = alone() else { return };
    lab(0).play(|pinned| {
        let configuration = pinned.lab.configuration();
        let before = pinned.start(&configuration)?.interfaces[0].program_id;
        pinned.healthy()?;
        let mut command = Command::new(binary("sluice")?);
        command.args(["capture", "-w", "/dev/null", "--runtime-directory"]);
        command.arg(pinned.lab.nodes[0].runtime_directory()?);
        let _capture = pinned.lab.nodes[0].host.spawn(&mut command, "capture.log")?;
        wait::until("the capture", PATIENCE, || {
            let link = pinned.link("eth0")?;
            ensure!(!link.contains(&format!("id {before} ")), "{link}");
            Ok(())
        })?;
        pinned.kill()?;
        both_vips_answer(pinned)?;
        let report = pinned.start(&configuration)?;
        let (link, id) = (pinned.link("eth0")?, report.interfaces[0].program_id);
        ensure!(link.contains(&format!("id {id} ")), "not the live program {id}: {link}");
        let generations = pinned.names().iter().filter(|name| name.starts_with("programs-")).count();
        ensure!(generations == 1, "{:?}", pinned.names());
        both_vips_answer(pinned)
    });
}
