//! What the README says of things that the code defines.

use std::collections::BTreeSet;
use std::path::Path;

use lab::scenario::SCENARIOS;
use lb_common::Reason;
use lb_userspace::config::{self, Owner};
use lb_userspace::doctor::finding::{Cause, Level};

const README: &str = include_str!("../../README.md");

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    expect("reasons: tested against lb-common/src/reason.rs", "end of reasons", &reasons());
}

#[test]
fn the_table_of_the_doctors_causes_is_that_of_the_code() {
    expect("causes: tested against lb-userspace/src/doctor/finding.rs", "end of causes", &causes());
}

#[test]
fn every_link_leads_to_a_heading_or_a_file() {
    let headings: Vec<String> = prose().filter_map(anchor).collect();
    let anchors: BTreeSet<&str> = headings.iter().map(String::as_str).collect();
    assert_eq!(anchors.len(), headings.len(), "two headings have one name: {headings:?}");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut links = 0;
    for line in prose() {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let leads = match link.strip_prefix('#') {
                Some(anchor) => anchors.contains(anchor),
                None => link.starts_with("https://") || workspace.join(link).exists(),
            };
            assert!(leads, "{link:?} leads nowhere: {line}");
            links += 1;
        }
    }
    assert!(links > headings.len(), "{links} links");
}

#[test]
fn the_contents_name_every_section_in_its_order() {
    let (_, rest) = README.split_once("## Contents\n\n").expect("there are contents");
    let (contents, rest) = rest.split_once("\n\n").expect("something follows them");
    let listed: Vec<&str> =
        contents.split("](#").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).collect();
    let is_named = |line: &&str| line.starts_with("## ") || line.starts_with("### ");
    let sections: Vec<String> = outside_code(rest).filter(is_named).filter_map(anchor).collect();
    assert_eq!(listed, sections);
}

#[test]
fn whole_configurations_are_accepted() {
    let blocks = README.split("```json\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let whole: Vec<&str> =
        blocks.map(|(block, _)| block).filter(|block| block.starts_with("{ \"node\"")).collect();
    assert!(whole.len() > 1, "{whole:?}");
    for text in whole {
        let file = std::env::temp_dir().join(format!("sluice-readme-{}.json", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let content = config::load_content(&file).unwrap_or_else(|error| panic!("{error}\n{text}"));
        if let Owner::Api(text) = content.owner {
            lb_userspace::api::check(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        }
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn the_table_of_scenarios_has_them_all_in_the_order_of_the_list_with_tests_that_there_are() {
    let (_, rest) = README.split_once("| scenario | what is asserted |").expect("the table's beginning");
    let (table, _) = rest.split_once("\n\n").expect("the table's end");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let named = |column: usize| rows.iter().map(move |row| row[column].trim_matches('`'));
    assert_eq!(named(0).collect::<Vec<_>>(), SCENARIOS.iter().map(|at| at.name).collect::<Vec<_>>());
    let mut sources = String::new();
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut sources);
    for test in named(2) {
        assert!(sources.contains(&format!("fn {test}() {{")), "there is no test {test}");
    }
}

/// All Rust files of a folder and those within it.
fn read_all(folder: &Path, text: &mut String) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(path).unwrap();
        }
    }
}

/// The README's lines but those of code.
fn prose() -> impl Iterator<Item = &'static str> {
    outside_code(README)
}

fn outside_code(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("\n```").step_by(2);
    parts.flat_map(str::lines)
}

/// What a heading's link is: its words in lower case, joined by hyphens, without punctuation.
fn anchor(line: &str) -> Option<String> {
    let words = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

fn expect(begin: &str, end: &str, expected: &str) {
    let (_, rest) =
        README.split_once(&format!("<!-- {begin} -->\n")).expect("the README has the table's beginning");
    let (table, _) = rest.split_once(&format!("<!-- {end} -->")).expect("the README has the table's end");
    assert!(table == expected, "the README's table should be:\n{expected}");
}

fn causes() -> String {
    let rows = Cause::ALL.iter().filter(|cause| **cause != Cause::Sound).map(|cause| {
        let level = if cause.level() == Level::Fail { "FAIL" } else { "warn" };
        format!("| `{}` | {} | {level} | {} |\n", cause.name(), cause.place().as_str(), cause.description())
    });
    std::iter::once("| cause | on | | meaning |\n| --- | --- | --- | --- |\n".to_owned())
        .chain(rows)
        .collect()
}

fn reasons() -> String {
    let rows = Reason::ALL.iter().map(|reason| {
        let star = if reason.is_on_node() { "" } else { " *" };
        let (number, verdict) = (*reason as u8, reason.verdict().as_str());
        format!("| {number} | `{}`{star} | {verdict} | {} |\n", reason.name(), reason.description())
    });
    std::iter::once("| | reason | verdict | meaning |\n| --- | --- | --- | --- |\n".to_owned())
        .chain(rows)
        .collect()
}
