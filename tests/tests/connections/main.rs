//! Real connections through the whole system, while its targets change: none that was established on a living
//! target breaks, and new ones go where the table says.
//!
//! The random changes follow from a seed, which is printed; `SLUICE_TEST_SEED` plays them again, as far as the
//! moments at which draining ends fall alike. `SLUICE_TEST_CHANGES` is how many are made of the crowd of ten thousand
//! (`cargo xtask test --long`: 100); with them a flood lasts for all of the story, not for its first part only.

mod bound;
mod fleet;
mod story;
mod udp;

use std::time::Duration;

use fleet::{Family, Layout};
use lab::alone;
use lab::topology::Lab;
use story::{Beside, Story};

/// Changes of the crowd of ten thousand.
const CHANGES: usize = 16;
/// How long the flood lasts beside them.
const FLOOD: Duration = Duration::from_secs(20);

#[test]
fn ten_thousand_connections_live_on_in_a_flood_while_targets_come_drain_change_weight_die_and_go() {
    let Some(_alone) = alone() else { return };
    let layout = Layout { encapsulation: "ipip", family: Family::V4 };
    let (changes, flood) = match std::env::var("SLUICE_TEST_CHANGES") {
        Ok(changes) => (changes.parse().expect("SLUICE_TEST_CHANGES is a number"), None),
        Err(_) => (CHANGES, Some(FLOOD)),
    };
    let story = Story { connections: 10_000, changes, probes: 300, layout, beside: Beside::Flood(flood) };
    story.play(&Lab::builder().targets(5).sieved()).unwrap();
}

#[test]
fn connections_in_gue_over_ipv6_live_on_while_targets_change() {
    let Some(_alone) = alone() else { return };
    let layout = Layout { encapsulation: "gue", family: Family::V6 };
    let story = Story { connections: 1500, changes: 8, probes: 300, layout, beside: Beside::Nothing };
    story.play(&Lab::builder().targets(4)).unwrap();
}

#[test]
fn connections_to_targets_on_another_interface_live_on_while_targets_change() {
    let Some(_alone) = alone() else { return };
    let layout = Layout { encapsulation: "ipip", family: Family::V6 };
    let story = Story { connections: 1500, changes: 8, probes: 300, layout, beside: Beside::Nothing };
    // Three near ones at first, so that flows move between the two interfaces.
    story.play(&Lab::builder().targets(2).far_targets(3)).unwrap();
}
