//! Random packets and random maps through the loaded balancer and its model: actions, bytes, flow tables, counters
//! and marks must be the same.
//!
//! `SLUICE_TEST_MODEL_PACKETS` is how many packets each test sends (`cargo xtask test --long` sets 10 million),
//! `SLUICE_TEST_MODEL_SEED` the seed that all of them follow from; a failure prints seed and epoch.

use std::{env, thread};

use lab::oracle::{Campaign, Diet, KernelLog, Tally};
use lb_common::Reason;

const PACKETS: u64 = 250_000;
const SEED: u64 = 0x5106_1ce0;

#[test]
fn random_packets_on_random_nodes_meet_the_models_fate() {
    let Some(tally) = play(Diet::Balanced) else { return };
    assert!(tally.forwarded > tally.packets / 3, "many of them are forwarded: {tally:?}");
    let reachable = Reason::ALL.iter().filter(|reason| is_reachable(**reason)).map(|reason| reason.name());
    let unseen: Vec<&str> = reachable.filter(|name| !tally.reasons.contains_key(name)).collect();
    assert!(unseen.is_empty(), "no packet met {unseen:?}");
}

#[test]
fn mutated_packets_on_random_nodes_meet_the_models_fate() {
    play(Diet::Mutated);
}

/// A test run always leaves room before the packet, the oracle lifts the limit of answers, and limits of new flows are
/// never reached.
fn is_reachable(reason: Reason) -> bool {
    let unreached = [Reason::NoHeadroom, Reason::TooBigLimited, Reason::ListenerLimit, Reason::SourceLimit];
    reason.is_on_node() && !unreached.contains(&reason)
}

fn play(diet: Diet) -> Option<Tally> {
    if !lab::require_root() {
        return None;
    }
    let campaign = Campaign {
        seed: setting("SEED", SEED),
        first_epoch: 0,
        packets: setting("PACKETS", PACKETS),
        time: None,
        threads: thread::available_parallelism().map_or(1, usize::from),
        diet,
    };
    let mut log = KernelLog::from_now();
    let tally = campaign.run(&|_| {}).unwrap_or_else(|error| panic!("{error:#}"));
    let complaints = log.complaints();
    assert!(complaints.is_empty(), "the kernel complained:\n{}", complaints.join("\n"));
    println!("{tally:#?}");
    Some(tally)
}

fn setting(name: &str, default: u64) -> u64 {
    let name = format!("SLUICE_TEST_MODEL_{name}");
    match env::var(&name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")),
        Err(_) => default,
    }
}
