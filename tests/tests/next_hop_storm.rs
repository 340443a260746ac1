//! The scenario of many route changes at a size for every day.

use lab::scenario::{Options, play};

#[test]
fn next_hops_are_fresh_in_a_storm_of_route_changes_while_neighbours_flap() {
    if !lab::require_root() {
        return;
    }
    let (changes, neighbours, rounds) = (Some(4_000), Some(200), Some(4));
    play("route-storm", &Options { changes, neighbours, rounds, ..Options::default() }).unwrap();
}
