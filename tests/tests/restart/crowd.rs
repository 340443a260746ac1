//! The scenario of a controller that is killed beneath connections, at a size for every day.

use lab::scenario::{Options, play};

use crate::{alone, number};

#[test]
fn no_connection_breaks_while_the_controller_is_killed_amid_changes_and_started_again() {
    let Some(_alone) = alone() else { return };
    let rounds = Some(number("SLUICE_TEST_KILLS", 15));
    play("controller-restarts", &Options { connections: Some(400), rounds, ..Options::default() }).unwrap();
}
