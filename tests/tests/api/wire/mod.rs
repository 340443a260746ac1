//! The table of the wire: requests as they come, and status, code, message and shape of the answers.
//!
//! Every case has a world of its own, made by requests too (see `world`), whose names stand in braces in the case's
//! request: `{lb}` is a load balancer's ARN. A refused request must leave the state as it was.

mod attributes;
mod case;
mod listeners;
mod load_balancers;
mod protocol;
mod refused;
mod tags;
mod target_groups;
mod targets;
mod world;

use case::Case;

fn table() -> Vec<Case> {
    [
        protocol::cases(),
        load_balancers::cases(),
        target_groups::cases(),
        targets::cases(),
        listeners::cases(),
        attributes::cases(),
        tags::cases(),
        refused::cases(),
    ]
    .concat()
}

#[test]
fn every_case_is_answered_as_the_table_says() {
    let failures: Vec<String> = table().iter().filter_map(|case| case.run().err()).collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn the_table_has_at_least_300_cases() {
    assert!(table().len() >= 300, "only {}", table().len());
}

#[test]
fn every_modelled_error_that_can_occur_is_in_the_table() {
    let table = table();
    let missing: Vec<_> = lb_userspace::api::protocol::Code::ALL
        .iter()
        .filter(|code| !case::NOT_HERE.contains(code) && !table.iter().any(|case| case.code == Some(**code)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
