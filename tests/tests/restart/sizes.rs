//! Maps of other sizes, and what is no matter of sizes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData};
use lab::pinned::Pinned;
use lab::scenario::{Options, play};
use lab::{Lab, VIP4, VIP6};
use serde_json::{Value, json};

use crate::{alone, number};

/// More than the smallest number of targets that can be asked for.
const MANY: u8 = 30;
const GROUPS: u8 = 10;

#[test]
fn a_thousand_connections_in_changing_slots_live_on_while_the_maps_change_their_sizes() {
    let Some(_alone) = alone() else { return };
    let rounds = Some(number("SLUICE_TEST_SIZES", 4));
    play("map-sizes", &Options { rounds, ..Options::default() }).unwrap();
}

#[test]
fn what_does_not_fit_or_means_something_else_is_refused_and_nothing_is_touched() {
    let Some(_alone) = alone() else { return };
    let mut pinned = Pinned::new(Lab::builder().targets(2).build().unwrap()).unwrap();
    pinned.lab.start_servers().unwrap();
    pinned.lab.start_agents().unwrap();
    pinned.play(|pinned| {
        let configuration = with_many_targets(pinned);
        pinned.start(&configuration)?;
        pinned.kill()?;
        let before = seen(pinned)?;
        expect_refused(
            pinned,
            &["--max=targets=255"],
            &["above are in use", "--max", "sluice detach --pins"],
        )?;
        expect_refused(pinned, &["--max=targets=255", "--max=flows=2097152"], &["above are in use"])?;
        ensure!(seen(pinned)? == before, "something was touched: {before:?} {:?}", seen(pinned)?);

        let path = pinned.pins().join("maps/TARGET_NAMES");
        let right = MapData::from_pin(&path)?;
        std::fs::remove_file(&path)?;
        let narrow = aya_obj::Map::new_from_params(2, 4, 32, 16_384, 1 << 10);
        MapData::create(narrow, "TARGET_NAMES", None)?.pin(&path)?;
        let words =
            ["TARGET_NAMES is 16384 entries of 32 bytes", "wanted is 16384 entries of 64", "sluice detach"];
        expect_refused(pinned, &[], &words)?;
        expect_refused(pinned, &["--max=flows=2097152"], &words)?;
        std::fs::remove_file(&path)?;
        right.pin(&path)?;
        ensure!(seen(pinned)? == before, "something was touched: {before:?} {:?}", seen(pinned)?);
        pinned.lab.nodes[0].options = vec!["--max=targets=1000".to_owned()];
        pinned.start(&configuration)?;
        both_vips_answer(pinned)?;
        ensure!(pinned.log().contains("the maps have other sizes now"), "it does not say so");
        let map = Map::from_map_data(MapData::from_pin(&path)?)?;
        let Map::Array(names) = map else { anyhow::bail!("TARGET_NAMES is no array") };
        ensure!(names.info()?.max_entries() == 1001, "{:?}", names.info()?);
        Ok(())
    });
}

/// Leaves pins as a start that was killed would have.
type Leave = fn(&Path) -> Result<()>;

#[test]
fn a_start_goes_on_between_whichever_two_steps_another_was_killed() {
    let Some(_alone) = alone() else { return };
    let mut pinned = Pinned::new(Lab::builder().targets(2).build().unwrap()).unwrap();
    pinned.lab.start_servers().unwrap();
    pinned.lab.start_agents().unwrap();
    let killed: [(&str, Leave); 5] = [
        ("some new maps were made", |pins| pin_again(pins, "new-maps", &["FLOWS", "SLOTS"])),
        ("all were, and nobody knew them", |pins| pin_again(pins, "new-maps", &names_in(pins)?)),
        ("they were current, beside the old ones", |pins| pin_again(pins, "maps-1", &names_in(pins)?)),
        ("some of the old ones were gone", |pins| {
            pin_again(pins, "maps-1", &names_in(pins)?)?;
            ["KEEPER", "FLOWS"].iter().try_for_each(|name| Ok(fs::remove_file(pins.join("maps").join(name))?))
        }),
        ("all of the old ones were gone", |pins| Ok(fs::rename(pins.join("maps"), pins.join("maps-1"))?)),
    ];
    pinned.play(|pinned| {
        let configuration = pinned.lab.configuration();
        pinned.start(&configuration)?;
        pinned.healthy()?;
        for (size, (when, leave)) in ["1048576", "2097152", "2097152"].iter().cycle().zip(killed) {
            let before = pinned.contents()?;
            pinned.kill()?;
            leave(&pinned.pins()).context(when)?;
            both_vips_answer(pinned).context(when)?;
            pinned.lab.nodes[0].options = vec![format!("--max=flows={size}")];
            pinned.start(&configuration).context(when)?;
            both_vips_answer(pinned).context(when)?;
            let (names, after) = (pinned.names(), pinned.contents().context(when)?);
            let sets: Vec<&String> = names.iter().filter(|name| name.contains("maps")).collect();
            ensure!(sets == ["maps"], "{when}: {sets:?}");
            let is_setting = |line: &&String| line.starts_with("Settings");
            let differs = before.iter().zip(&after).any(|(one, other)| one != other && !is_setting(&one));
            ensure!(before.len() == after.len() && !differs, "{when}: {before:#?}, then {after:#?}");
        }
        Ok(())
    });
}

/// The names of the maps that are there.
fn names_in(pins: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(pins.join("maps"))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Pins maps in another set, too.
fn pin_again(pins: &Path, set: &str, names: &[impl AsRef<str>]) -> Result<()> {
    fs::create_dir(pins.join(set))?;
    for name in names.iter().map(AsRef::as_ref) {
        MapData::from_pin(pins.join("maps").join(name))?.pin(pins.join(set).join(name))?;
    }
    Ok(())
}

/// The lab's own, and many that are nowhere.
fn with_many_targets(pinned: &Pinned) -> Value {
    let mut configuration = pinned.lab.configuration();
    for group in 0..GROUPS {
        let name = format!("many{group}");
        let targets: Vec<Value> =
            (0..MANY).map(|at| json!({ "id": format!("10.203.{}.{at}", 10 + group) })).collect();
        let mut many = configuration["target_groups"][0].clone();
        (many["name"], many["targets"]) = (json!(name), json!(targets));
        let listener = json!({ "protocol": "TCP", "port": 1000 + u16::from(group),
            "forward": [ { "target_group": name } ] });
        let push = |at: &mut Value, value| at.as_array_mut().expect("it is a list").push(value);
        push(&mut configuration["target_groups"], many);
        push(&mut configuration["load_balancers"][0]["listeners"], listener);
    }
    configuration
}

/// The link, what is pinned, and what packets find.
fn seen(pinned: &Pinned) -> Result<(String, Vec<String>, Vec<String>)> {
    both_vips_answer(pinned)?;
    let mut names = pinned.names();
    names.sort();
    Ok((pinned.link("eth0")?, names, pinned.contents()?))
}

fn both_vips_answer(pinned: &Pinned) -> Result<()> {
    pinned.lab.get(VIP4.into())?;
    pinned.lab.get(VIP6.into()).map(drop)
}

fn expect_refused(pinned: &mut Pinned, options: &[&str], words: &[&str]) -> Result<()> {
    pinned.lab.nodes[0].options = options.iter().map(ToString::to_string).collect();
    let said = pinned.refused(&pinned.pins())?;
    let missing = words.iter().chain(&["Nothing was touched"]).find(|word| !said.contains(**word));
    missing.map_or(Ok(()), |word| Err(anyhow::anyhow!("{word:?} is missing in {said}")))
}
