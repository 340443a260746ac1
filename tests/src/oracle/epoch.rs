//! What one epoch plays: a node, and the steps that follow from a seed.

use std::net::IpAddr;

use fastrand::Rng;
use lb_common::{ChainWord, Slot, TargetId};

use super::fragments::Parts;
use super::{frames, mutation, world};
use crate::model::{Node, Policy, ServerId, Target};

/// Steps of an epoch.
const STEPS: usize = 2048;
/// Epochs with the same listeners.
const EPOCHS_OF_A_REALM: u64 = 64;

/// A node and what happens on it.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    pub(super) node: Node,
    pub(super) steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A frame comes in.
    Frame(Vec<u8>),
    /// The controller changes something.
    Change(Change),
}

/// What the controller changes while packets flow.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A table of as many slots as before is published.
    Table(u32, Vec<Slot>, Vec<ChainWord>),
    /// A target's entry is written.
    Target(TargetId, Target),
    /// The policy of a listener that has one changes.
    Policy(u16, Policy),
    /// A server id names another target behind a forward action, or nobody any more.
    QuicServer(u32, ServerId, Option<TargetId>),
}

/// How much the frames of an epoch are mutated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diet {
    /// One in eight.
    Balanced,
    /// Most of them, some of them again and again.
    Mutated,
}

impl Epoch {
    /// The epoch of that number under a seed.
    pub(super) fn new(seed: u64, number: u64, diet: Diet) -> Epoch {
        let realm = world::realm(&mut generator(seed, number / EPOCHS_OF_A_REALM), world::key(seed));
        let mut random = generator(!seed, number);
        let mut node = world::node(&mut random, &realm);
        let flows = frames::flows(&mut random, &node);
        let sources = frames::sources(&flows);
        node.policies = world::policies(&mut random, &sources);
        let (mut mutants, mut parts) = (Vec::new(), Parts::default());
        let steps = (0..STEPS).map(|_| match random.u8(..) {
            0..=5 => Step::Change(table(&mut random, &node)),
            6 | 7 => Step::Change(target(&mut random)),
            8 if !node.policies.is_empty() => Step::Change(policy(&mut random, &node, &sources)),
            9 => Step::Change(quic_server(&mut random)),
            _ => Step::Frame(frame(&mut random, &node, &flows, diet, (&mut mutants, &mut parts))),
        });
        Epoch { steps: steps.collect(), node }
    }
}

/// Neighbouring seeds of a generator may have similar sequences; a multiplication spreads them.
fn generator(seed: u64, number: u64) -> Rng {
    Rng::with_seed(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A new version of one of the node's tables: a few slots or all of them.
fn table(random: &mut Rng, node: &Node) -> Change {
    let forwards: Vec<u32> = node.tables.keys().copied().collect();
    let forward = forwards[random.usize(..forwards.len())];
    let mut slots = node.tables[&forward].slots.clone();
    slots.iter_mut().for_each(|slot| *slot = world::slot(random));
    let chains = slots.iter().map(|_| world::chain(random)).collect();
    Change::Table(forward, slots, chains)
}

fn policy(random: &mut Rng, node: &Node, sources: &[IpAddr]) -> Change {
    let counters: Vec<u16> = node.policies.keys().copied().collect();
    let counter = counters[random.usize(..counters.len())];
    Change::Policy(counter, world::policy(random, sources))
}

fn quic_server(random: &mut Rng) -> Change {
    let target = (random.u8(..3) > 0).then(|| TargetId(random.u16(1..=world::TARGETS)));
    Change::QuicServer(random.u32(1..=world::FORWARDS), world::server_id(random), target)
}

fn target(random: &mut Rng) -> Change {
    let id = TargetId(random.u16(1..=world::TARGETS));
    Change::Target(id, world::target(random))
}

fn frame(
    random: &mut Rng,
    node: &Node,
    flows: &[frames::Flow],
    diet: Diet,
    (mutants, parts): (&mut Vec<Vec<u8>>, &mut Parts),
) -> Vec<u8> {
    let mut frame = if diet == Diet::Mutated && !mutants.is_empty() && random.u8(..6) == 0 {
        mutants.swap_remove(random.usize(..mutants.len()))
    } else {
        parts.frame(random, |random| frames::frame(random, node, flows))
    };
    let is_mutated = match diet {
        Diet::Balanced => random.u8(..8) == 0,
        Diet::Mutated => random.u8(..8) > 0,
    };
    if is_mutated {
        (0..[1, 1, 2, 3][random.usize(..4)]).for_each(|_| mutation::mutate(random, &mut frame));
        if diet == Diet::Mutated && mutants.len() < 64 {
            mutants.push(frame.clone());
        }
    }
    frame.truncate(frames::LONGEST);
    frame.resize(frame.len().max(frames::SHORTEST), 0);
    frame
}
