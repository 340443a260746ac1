//! `sluice state`.

use std::fs;
use std::path::Path;

use super::Scratch;
use super::story::Story;
use crate::api::store::command::{Consent, SOUND, UNSOUND, check, export, import};
use crate::api::store::open;

const SAFE: Consent = Consent { replace: false, incomplete: false };
const REPLACE: Consent = Consent { replace: true, incomplete: false };

fn story(path: &Path, generation: u64) {
    Story::on(open(path).unwrap()).at(generation);
}

fn refusal<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("a refusal"))
}

#[test]
fn an_export_makes_the_same_state_again() {
    let (from, to) = (Scratch::new(), Scratch::new());
    story(&from.path, 30);
    assert_eq!(check(&from.path).unwrap().code, SOUND);
    let exported = export(&from.path).unwrap();
    assert_eq!(exported.code, SOUND);
    let file = to.path.join("state.json");
    fs::write(&file, &exported.text).unwrap();
    let directory = to.path.join("state");
    assert_eq!(import(&directory, &file, SAFE).unwrap().code, SOUND);
    let state = Story::on(open(&directory).unwrap()).state();
    assert_eq!(state.generation, 31, "an import is a change");
    assert_eq!(crate::api::domain::State { generation: 30, ..state }, Story::imagined().at(30));
}

#[test]
fn an_import_takes_the_place_of_nothing_by_mistake() {
    let scratch = Scratch::new();
    story(&scratch.path, 10);
    let file = scratch.path.join("state.json");
    fs::write(&file, export(&scratch.path).unwrap().text).unwrap();
    assert!(refusal(import(&scratch.path, &file, SAFE)).contains("--replace"));
    story(&scratch.path, 20);
    assert_eq!(import(&scratch.path, &file, REPLACE).unwrap().code, SOUND);
    assert_eq!(Story::on(open(&scratch.path).unwrap()).state().generation, 21, "newer than all before");
    let names = fs::read_dir(&scratch.path).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = names.filter(|name| name.to_string_lossy().starts_with("state.redb.before-import-")).count();
    assert_eq!(kept, 1);
}

#[test]
fn a_damaged_store_is_told_saved_and_made_new() {
    let scratch = Scratch::new();
    story(&scratch.path, 40);
    let state = scratch.path.join("state.redb");
    let mut bytes = fs::read(&state).unwrap();
    bytes[64..320].fill(0x55);
    fs::write(&state, bytes).unwrap();
    let report = check(&scratch.path).unwrap();
    assert_eq!(report.code, UNSOUND);
    assert!(report.text.contains("damaged"), "{}", report.text);
    let exported = export(&scratch.path).unwrap();
    assert_eq!(exported.code, UNSOUND);
    assert!(exported.complaint.starts_with("missing: "), "{}", exported.complaint);
    let file = scratch.path.join("state.json");
    fs::write(&file, exported.text).unwrap();
    assert!(refusal(import(&scratch.path, &file, REPLACE)).contains("--incomplete"));
    let all = Consent { replace: true, incomplete: true };
    match import(&scratch.path, &file, all) {
        Ok(_) => assert!(Story::on(open(&scratch.path).unwrap()).state().generation > 40),
        // Of what had been removed something may be there again that nothing leads to.
        Err(error) => assert!(format!("{error:#}").contains("mend it"), "{error:#}"),
    }
}

#[test]
fn a_store_in_use_and_a_missing_one_are_told() {
    let scratch = Scratch::new();
    assert!(refusal(check(&scratch.path)).contains("there is no state in"));
    assert!(refusal(check(&scratch.path.join("none"))).contains("--state-directory"));
    let held = open(&scratch.path).unwrap();
    assert!(refusal(export(&scratch.path)).contains("in use by process"));
    drop(held);
}

#[test]
fn a_document_that_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    story(&scratch.path, 12);
    let text = export(&scratch.path).unwrap().text;
    let file = scratch.path.join("state.json");
    for (from, to, why) in [
        ("\"target_group\": \"group-0\"", "\"target_group\": \"nobody\"", "which is not there"),
        ("\"port\": 80", "\"port\": 800000", "group-0"),
        ("\"format\": 1", "\"format\": 2", "a newer Sluice wrote this state"),
        ("\"last_vips\"", "\"vips\"", "vips"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        fs::write(&file, changed).unwrap();
        let error = refusal(import(&scratch.path, &file, REPLACE));
        assert!(error.contains(why), "{error}");
    }
}
