//! Random and mutated frames against the model: verdict and every byte of what comes out.
//!
//! `SLUICE_TEST_FUZZ_PACKETS` is how many frames each test sends, `SLUICE_TEST_FUZZ_SEED` the seed of their
//! choice; a failure prints the seed and the frame.

use std::collections::BTreeSet;
use std::env;

use fastrand::Rng;

use crate::case::Case;
use crate::client::{Family, KEY, NODE_MAC};
use crate::difference::{difference, hex};
use crate::model::{Fate, fate};
use crate::node::{Node, growth};
use crate::program::{Action, Outcome};
use crate::remote::{Outer, Remote, Role};
use crate::{node, table};
use lb_common::Slot;

const PACKETS: u64 = 200_000;
/// All headers of most cases end within so many bytes.
const REACH: usize = 100;

#[test]
fn random_frames_meet_the_models_fate() {
    run(random_frame);
}

#[test]
fn mutated_cases_meet_the_models_fate() {
    let cases: Vec<Vec<u8>> = table::cases().into_iter().map(|case: Case| case.packet).collect();
    run(|random| {
        let mut frame = cases[random.usize(..cases.len())].clone();
        for _ in 0..random.usize(1..=4) {
            mutate(random, &mut frame);
        }
        frame
    });
}

#[test]
fn every_flipped_bit_of_every_case_meets_the_models_fate() {
    let Some(mut node) = node() else { return };
    let targets = targets();
    prepare(&mut node, &targets);
    let packets: BTreeSet<Vec<u8>> = table::cases().into_iter().map(|case| case.packet).collect();
    for packet in packets {
        for bit in 0..packet.len().min(REACH) * 8 {
            let mut frame = packet.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            node.forget_fragments();
            let wrong = wrong(&frame, &fate(&frame, &targets), &node.run(&frame));
            assert!(wrong.is_empty(), "bit {bit} of {}\n{wrong}", hex(&packet));
        }
    }
}

/// Sends random frames and compares each one's fate; at the end each must have been counted once.
fn run(frame: impl Fn(&mut Rng) -> Vec<u8>) {
    let Some(mut node) = node() else { return };
    let (packets, seed) = (setting("PACKETS", PACKETS), setting("SEED", KEY.k0));
    let targets = targets();
    prepare(&mut node, &targets);
    let before = node.counts();
    let mut random = Rng::with_seed(seed);
    let mut sent = 0;
    for at in 0..packets {
        let frame = frame(&mut random);
        // The model has no memory.
        node.forget_fragments();
        let (expected, outcome) = (fate(&frame, &targets), node.run(&frame));
        let wrong = wrong(&frame, &expected, &outcome);
        assert!(
            wrong.is_empty(),
            "packet {at}, SLUICE_TEST_FUZZ_SEED={seed}\n  frame    {}\n{wrong}",
            hex(&frame)
        );
        sent += u64::from(expected != Fate::Passed);
    }
    let grown = growth(&before, &node.counts());
    let counted =
        |what: &str| grown.iter().filter(|(name, _)| name.contains(what)).map(|(_, count)| count).sum();
    let (reasons, forwarded): (u64, u64) = (
        counted("reason"),
        grown.iter().filter(|(name, _)| is_listeners(name)).map(|(_, count)| count).sum(),
    );
    assert_eq!(reasons + forwarded, packets, "each packet is counted once: {grown:?}");
    println!("{packets} frames with seed {seed}, {sent} of them not passed on: {grown:#?}");
}

fn is_listeners(name: &str) -> bool {
    name.starts_with("listener") && name.ends_with("packets")
}

fn setting(name: &str, default: u64) -> u64 {
    let name = format!("SLUICE_TEST_FUZZ_{name}");
    match env::var(&name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")),
        Err(_) => default,
    }
}

/// Targets of all kinds, one of them unreachable and one with an MTU so small that no sender can be told of it.
fn targets() -> Vec<Remote> {
    let mut targets = table::distinct_targets();
    targets[5] = Remote::new(Outer::ALL[1], Role::Unreachable);
    targets[9].mtu = 95;
    targets
}

fn prepare(node: &mut Node, targets: &[Remote]) {
    node.reset(Slot::EMPTY);
    targets.iter().for_each(|target| node.set_target(*target));
    node.publish(targets.iter().map(|target| Slot::stable(target.id())).collect());
}

/// What is wrong with a frame's outcome, in words.
fn wrong(frame: &[u8], expected: &Fate, outcome: &Outcome) -> String {
    let action = match expected {
        Fate::Passed => Action::Pass,
        Fate::Dropped => Action::Drop,
        Fate::Sent(action, _) => *action,
        Fate::Answered(..) => Action::Tx,
    };
    if action != outcome.action {
        return format!("  verdict: expected {action:?}, got {:?}\n", outcome.action);
    }
    match expected {
        Fate::Passed => difference(frame, &outcome.packet),
        Fate::Dropped => String::new(),
        Fate::Sent(_, packet) => difference(packet, &outcome.packet),
        Fate::Answered(packet, checksum) => {
            difference(&with_either_zero(packet, *checksum, outcome), &outcome.packet)
        }
    }
}

/// Zero has two forms in ones' complement; where the sum is zero, the one that came is taken for the other.
fn with_either_zero(packet: &[u8], checksum: usize, outcome: &Outcome) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let zeros = [[0, 0], [0xff, 0xff]];
    let place = checksum..checksum + 2;
    let came = outcome.packet.get(place.clone());
    if zeros.iter().any(|zero| packet[place.clone()] == *zero)
        && let Some(came) = came.filter(|came| zeros.iter().any(|zero| came == zero))
    {
        packet[place].copy_from_slice(came);
    }
    packet
}

/// Random bytes; mostly for the node's MAC address and of an EtherType that it reads, often for a VIP.
fn random_frame(random: &mut Rng) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..random.usize(14..200)).map(|_| random.u8(..)).collect();
    if random.u8(..8) > 0 {
        frame[..6].copy_from_slice(&NODE_MAC);
    }
    let family = if random.bool() { Family::V4 } else { Family::V6 };
    let (ethertype, version, protocol, destination) = match family {
        Family::V4 => ([0x08, 0x00], 0x45, 14 + 9, 14 + 16),
        Family::V6 => ([0x86, 0xdd], 0x60, 14 + 6, 14 + 24),
    };
    let length = (frame.len() - 14) as u16;
    let length = if family == Family::V4 { (16, length) } else { (18, length.saturating_sub(40)) };
    put(random, &mut frame, 12, &ethertype);
    put(random, &mut frame, 14, &[version]);
    put(random, &mut frame, length.0, &length.1.to_be_bytes());
    let (number, vip) = ([1, 6, 6, 17, 17, 58][random.usize(..6)], family.vip(random.u8(1..=2)));
    put(random, &mut frame, protocol, &[number]);
    put(random, &mut frame, destination, &vip);
    if family == Family::V4 {
        put(random, &mut frame, 20, &[0, 0]);
    }
    let port = [80u16, 81, 82, 90][random.usize(..4)];
    put(random, &mut frame, destination + vip.len() + 2, &port.to_be_bytes());
    frame
}

/// Writes `bytes` at `at` if the frame has the room, most times.
fn put(random: &mut Rng, frame: &mut [u8], at: usize, bytes: &[u8]) {
    if random.u8(..16) > 0
        && let Some(place) = frame.get_mut(at..at + bytes.len())
    {
        place.copy_from_slice(bytes);
    }
}

/// One change: a bit, a byte, a cut, an insertion, or more bytes at the end.
fn mutate(random: &mut Rng, frame: &mut Vec<u8>) {
    // The headers are where the decisions are.
    let reach = if random.bool() { REACH } else { frame.len() };
    let at = random.usize(..frame.len().min(reach));
    match random.u8(..10) {
        0..=4 => frame[at] ^= 1 << random.u8(..8),
        5 | 6 => frame[at] = [0, 1, 4, 6, 17, 41, 44, 51, 60, 0x7f, 0x80, 0xff][random.usize(..12)],
        7 => frame.truncate(at.max(14)),
        8 => drop(frame.splice(at..at, (0..random.usize(1..9)).map(|_| 0).collect::<Vec<u8>>())),
        _ => frame.extend((0..random.usize(1..40)).map(|_| 0xa5)),
    }
}
