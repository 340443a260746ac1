//! From documents to states and back, by the API's own operations.

mod random;
mod rehearsals;
mod words;

use std::sync::Arc;

use proptest::prelude::*;

use super::difference::Unnamed;
use super::document::Document;
use super::work::{Made, Refused, Wish, work};
use super::{current, read};
use crate::api::calendar::Timestamp;
use crate::api::configuration::Configuration;
use crate::api::domain::arn::Identity;
use crate::api::domain::{Engine, Purpose, State};
use crate::api::inventory::Inventory;
use crate::api::process::Api;
use crate::api::room::Room;
use crate::data_plane::Capacity;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn engine() -> Engine {
    let engine = Engine::ephemeral(Identity::default(), Inventory::sample());
    let ground = Api::no_ground(&Configuration::sample());
    let room = Room::new(ground, Arc::clone(engine.inventory()), Capacity::default());
    engine.with_feasibility(Box::new(room))
}

fn wish(text: &str, unnamed: Unnamed) -> Wish {
    let document = read("web.json", text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    Wish { document, file: "web.json".to_owned(), unnamed }
}

fn plan(engine: &mut Engine, text: &str, unnamed: Unnamed) -> Result<Made, Refused> {
    work(engine, &wish(text, unnamed), Purpose::Try, NOW)
}

fn apply(engine: &mut Engine, text: &str, unnamed: Unnamed) -> Result<Made, Refused> {
    let base = engine.state().generation;
    work(engine, &wish(text, unnamed), Purpose::Keep { base }, NOW)
}

/// What a plan says, a line a difference.
fn words(made: &Made) -> Vec<String> {
    let line = |one: &super::report::Difference| {
        let details =
            if one.details.is_empty() { String::new() } else { format!(": {}", one.details.join("; ")) };
        format!("{:?} {:?} {}{details}", one.action, one.resource, one.name)
    };
    made.differences.iter().map(line).collect()
}

fn text(document: &Document) -> String {
    serde_json::to_string_pretty(document).unwrap()
}

/// Applies a random document, and checks that nothing is left to do.
fn becomes(engine: &mut Engine, document: &Document, from: &State) {
    let text = text(document);
    apply(engine, &text, Unnamed::Goes)
        .unwrap_or_else(|problem| panic!("{problem}\n{text}\nfrom {}", self::text(&current(from))));
    let again = plan(engine, &text, Unnamed::Goes).unwrap();
    assert_eq!(words(&again), [""; 0], "{text}");
    assert!(again.outlook.changes.is_empty());
    let present = self::text(&current(engine.state()));
    let again = plan(engine, &present, Unnamed::Goes).unwrap();
    assert_eq!(words(&again), [""; 0], "{present}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_state_becomes_what_any_document_says(seeds in prop::collection::vec(any::<u64>(), 2..5)) {
        let mut engine = engine();
        for seed in seeds {
            let before = engine.state().clone();
            becomes(&mut engine, &random::document(seed), &before);
        }
    }

    #[test]
    fn the_present_state_as_a_document_makes_the_same_state_elsewhere(seed in any::<u64>()) {
        let mut first = engine();
        apply(&mut first, &text(&random::document(seed)), Unnamed::Goes).unwrap();
        let present = text(&current(first.state()));
        let mut second = engine();
        apply(&mut second, &present, Unnamed::Stays).unwrap();
        prop_assert_eq!(text(&current(second.state())), present);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        _ = read("web.json", &text);
    }
}

#[test]
fn a_plan_for_another_version_is_not_applied() {
    let mut engine = engine();
    let text =
        r#"{ "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "vpc_id": "vpc-1" } ] }"#;
    let base = engine.state().generation;
    apply(&mut engine, text, Unnamed::Stays).unwrap();
    let kept = engine.state().clone();
    let other = text.replace("\"web\"", "\"other\"");
    let refused = work(&mut engine, &wish(&other, Unnamed::Stays), Purpose::Keep { base }, NOW).unwrap_err();
    assert!(refused.to_string().contains("changed since the plan was made"), "{refused}");
    assert_eq!(*engine.state(), kept);
}

#[test]
fn a_plan_changes_nothing_and_gives_the_same_vips_as_its_application() {
    let mut engine = engine();
    let text = r#"{ "load_balancers": [ { "name": "web", "subnets": ["subnet-a", "subnet-b"] } ] }"#;
    let planned = plan(&mut engine, text, Unnamed::Stays).unwrap();
    assert_eq!(*engine.state(), State::default());
    let applied = apply(&mut engine, text, Unnamed::Stays).unwrap();
    let vips = |made: &Made| made.outlook.after.load_balancers["web"].zones.clone();
    assert_eq!(vips(&planned), vips(&applied));
}
