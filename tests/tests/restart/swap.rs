//! The scenario of programs that are replaced beneath a stream of packets, at a size for every day.

use lab::scenario::{Options, play};

use crate::{alone, number};

#[test]
fn not_a_packet_is_lost_while_programs_are_replaced() {
    let Some(_alone) = alone() else { return };
    let rounds = Some(number("SLUICE_TEST_SWAPS", 4));
    play("program-swaps", &Options { rounds, packets: Some(100_000), ..Options::default() }).unwrap();
}
