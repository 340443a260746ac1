//! What the README says of things that the code defines.

use lb_common::Reason;
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
