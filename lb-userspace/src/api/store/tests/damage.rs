//! Files are cut off and bits flip: the newest state is found, or none and a way back is told, but never less of it.

use std::fs;
use std::path::Path;

use fastrand::Rng;

use super::Scratch;
use super::story::Story;
use crate::api::domain::State;
use crate::api::store::inspect::usable;
use crate::api::store::tables::salvage;
use crate::api::store::{embedded::Embedded, open};

const PAGE: usize = 4096;
const CHANGES: u64 = 45;

/// The file of a store that was closed, and of one whose process was killed.
fn files() -> [(Vec<u8>, State); 2] {
    let scratch = Scratch::new();
    let file = scratch.path.join("state.redb");
    let story = Story::on(open(&scratch.path).unwrap());
    let state = story.at(CHANGES);
    let killed = fs::read(&file).unwrap();
    drop(story);
    [(killed, state.clone()), (fs::read(&file).unwrap(), state)]
}

/// Whether it is used; if so, it is as it was.
fn is_used(bytes: &[u8], state: &State, what: &str) -> bool {
    match usable(bytes, CHANGES) {
        Ok(found) => {
            assert!(found == *state, "{what}: generation {} with other content", found.generation);
            true
        }
        Err(_) => false,
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused_or_whole() {
    let mut chance = Rng::with_seed(3);
    for (bytes, state) in files() {
        let boundaries = (0..bytes.len()).step_by(PAGE);
        let others: Vec<_> = (0..200).map(|_| chance.usize(..bytes.len())).collect();
        for length in boundaries.chain(others) {
            is_used(&bytes[..length], &state, &format!("the first {length} bytes"));
        }
        assert!(!is_used(&bytes[..bytes.len() / 4], &state, "a quarter"));
    }
}

#[test]
fn a_flipped_bit_is_harmless_or_noticed() {
    let mut chance = Rng::with_seed(4);
    for (bytes, state) in files() {
        let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let head = (0..320).flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let anywhere: Vec<_> = (0..1000)
            .map(|number| {
                let at = if number % 2 == 0 {
                    written[chance.usize(..written.len())]
                } else {
                    chance.usize(..bytes.len())
                };
                (at, chance.u8(..8))
            })
            .collect();
        let mut refused = 0;
        for (at, bit) in head.chain(anywhere) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            refused += usize::from(!is_used(&flipped, &state, &format!("bit {bit} of byte {at}")));
        }
        assert!(refused > 300, "only {refused} were noticed");
    }
}

#[test]
fn rubbish_over_a_page_is_harmless_or_noticed() {
    let mut chance = Rng::with_seed(5);
    for (bytes, state) in files() {
        for at in (0..bytes.len()).step_by(PAGE) {
            for fill in [Some(0), Some(0xff), None] {
                let mut spoiled = bytes.clone();
                spoiled[at..][..PAGE].fill_with(|| fill.unwrap_or_else(|| chance.u8(..)));
                is_used(&spoiled, &state, &format!("rubbish at {at}"));
            }
        }
    }
}

/// Damages the file so that it is not used: overwrites the root of everything.
fn spoil(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[64..320].fill(0x55);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_store_is_refused_with_a_way_back_and_left_as_it_is() {
    let scratch = Scratch::new();
    let file = scratch.path.join("state.redb");
    Story::on(open(&scratch.path).unwrap()).at(CHANGES);
    spoil(&file);
    let before = fs::read(&file).unwrap();
    let error = format!("{:#}", Embedded::open(&scratch.path).err().unwrap());
    for part in ["sluice state check", "sluice state export", "sluice state import --replace"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(fs::read(&file).unwrap() == before, "a damaged file was changed");
}

#[test]
fn what_a_damaged_file_still_has_is_found() {
    for (mut bytes, state) in files() {
        bytes[..PAGE].fill(0);
        let found = salvage(&bytes);
        assert_eq!((found.contents.generation, found.expected.is_some()), (CHANGES, true));
        let all = crate::api::store::entry::entries_of(&state);
        assert!(all.iter().all(|(key, value)| found.contents.entries.get(key) == Some(value)));
    }
}
