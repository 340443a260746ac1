//! Good and bad files, and SIGHUP.

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, configuration};
use lb_userspace::status::report::Report;
use rustix::process::Signal;
use serde_json::json;

use crate::held::Held;
use crate::{PATIENCE, alone, healthy, listener, play};

#[test]
fn a_bad_file_is_refused_as_a_whole_and_a_corrected_one_is_taken() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(2), |lab| {
        let before = lab.nodes[0].status()?;
        let mut held = Held::open(lab, 20)?;
        let file = lab.nodes[0].configuration_file();

        // One target is taken out, which is fine, and there is a misspelt name, which is not.
        let second = lab.targets[1].v4.into();
        let mut bad = lab.configuration();
        configuration::remove_target(&mut bad, second)?;
        configuration::targets_of(&mut bad, 0)?[0]["wieght"] = json!(3);
        lab.nodes[0].write_configuration(&bad)?;
        let words = wait_for_refusal(lab)?;
        let place = format!("{}: target_groups[0].targets[0]", file.display());
        ensure!(words.contains(&place) && words.contains("did you mean \"weight\""), "{words}");
        expect_unchanged(lab, &before)?;

        std::fs::write(&file, "{ \"node\": ")?;
        lab.wait_for(0, "the refusal of half a file", PATIENCE, |report| {
            let words = report.configuration.rejected.clone().unwrap_or_default();
            ensure!(words.contains("line 1"), "the refusal is {words:?}");
            Ok(())
        })?;
        expect_unchanged(lab, &before)?;
        held.expect_alive()?;
        let log = lab.nodes[0].controller.as_ref().context("the controller runs")?.log();
        ensure!(log.contains("the configuration is refused, the running one stays"), "{log}");
        ensure!(!log.contains('\x1b'), "there are colours in a log that is no terminal");

        let mut good = lab.configuration();
        configuration::remove_target(&mut good, second)?;
        lab.nodes[0].write_configuration(&good)?;
        wait_for_generation(lab, 2)?;
        held.expect_alive()
    });
}

fn wait_for_refusal(lab: &Lab) -> Result<String> {
    let report = lab.wait_for(0, "the refusal", PATIENCE, |report| {
        report.configuration.rejected.as_ref().map(drop).context("nothing is refused")
    })?;
    report.configuration.rejected.context("it was refused")
}

fn wait_for_generation(lab: &Lab, generation: u64) -> Result<Report> {
    lab.wait_for(0, "the applied configuration", PATIENCE, |report| {
        if let Some(words) = &report.configuration.rejected {
            bail!("it is refused: {words}");
        }
        let found = report.configuration.generation;
        ensure!(found == generation, "the generation is {found}");
        Ok(())
    })
}

fn expect_unchanged(lab: &Lab, before: &Report) -> Result<()> {
    let now = lab.nodes[0].status()?;
    ensure!(now.configuration.generation == before.configuration.generation, "a generation was applied");
    ensure!(listener(&now)?.table_digest == listener(before)?.table_digest, "the table changed");
    let states = |report: &Report| -> Vec<_> {
        let targets = report.target_groups.values().flat_map(|group| &group.targets);
        targets.map(|target| (target.id, target.weight, target.state.clone())).collect()
    };
    ensure!(states(&now) == states(before), "the targets were {:?}, are {:?}", states(before), states(&now));
    Ok(())
}

#[test]
fn sighup_reads_the_file_again_when_what_it_lacked_has_come() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(1), |lab| {
        let configuration = lab.configuration();
        lab.nodes[0].interfaces.push("late0".to_string());
        lab.nodes[0].write_configuration(&configuration)?;
        let words = wait_for_refusal(lab)?;
        ensure!(words.contains("late0"), "{words}");

        lab.nodes[0].host.ip("link add name late0 type veth peer name late1")?;
        lab.nodes[0].controller.as_ref().context("the controller runs")?.signal(Signal::HUP);
        let report = wait_for_generation(lab, 2)?;
        let names: Vec<&str> = report.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        ensure!(names == ["eth0", "late0"], "the balancer is on {names:?}");

        lab.nodes[0].interfaces.pop();
        lab.nodes[0].write_configuration(&configuration)?;
        wait_for_generation(lab, 3)?;
        let link = lab.nodes[0].host.ip("link show dev late0")?;
        ensure!(!link.contains("xdp"), "the balancer is still on late0: {link}");
        Ok(())
    });
}
