//! Controllers that announce, and a router that listens: what it knows of whom while targets, operators and the
//! controllers themselves come and go.

#![allow(missing_docs, reason = "a test binary has no users")]

mod fitness;
mod orders;
mod world;

use lab::alone;

mod scenarios {
    use lab::scenario::{Options, play};

    use crate::alone;

    fn small() -> Options {
        Options { connections: Some(300), rounds: Some(1), ..Options::default() }
    }

    #[test]
    fn no_connection_breaks_when_a_node_falls_silent() {
        let Some(_alone) = alone() else { return };
        play("silent-node", &small()).unwrap();
    }

    #[test]
    fn nothing_is_lost_when_all_nodes_are_upgraded_in_turn() {
        let Some(_alone) = alone() else { return };
        play("rolling-restart", &small()).unwrap();
    }

    #[test]
    fn nothing_is_lost_when_daemons_announce_what_is_in_a_kernel_table() {
        let Some(_alone) = alone() else { return };
        play("kernel-table", &small()).unwrap();
    }
}
