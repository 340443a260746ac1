//! The scenario of targets that flap at a size for every day.

use lab::scenario::{Options, play};

#[test]
fn every_flap_of_many_targets_becomes_a_table() {
    if !lab::require_root() {
        return;
    }
    play("flapping", &Options { flapping: Some(100), seconds: Some(20), ..Options::default() }).unwrap();
}
