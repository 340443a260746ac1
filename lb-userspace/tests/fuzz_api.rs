//! The API's fuzz targets without a fuzzer: their corpus, and mutations of it.

#![allow(missing_docs, reason = "a test binary has no users")]

#[path = "../../fuzz/src/answers.rs"]
#[allow(unreachable_pub, reason = "the package of the fuzz targets exports it")]
mod answers;
#[path = "../../fuzz/src/configuration.rs"]
#[allow(unreachable_pub, reason = "the package of the fuzz targets exports it")]
mod configuration;
#[path = "../../fuzz/src/requests.rs"]
#[allow(unreachable_pub, reason = "the package of the fuzz targets exports it")]
mod requests;
#[path = "../../fuzz/src/signature.rs"]
#[allow(unreachable_pub, reason = "the package of the fuzz targets exports it")]
mod signature;

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;

/// How many mutated inputs are tried.
const CASES: u32 = 2000;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = entries.map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "only {} inputs in {}", inputs.len(), directory.display());
    inputs
}

fn play(target: &str, run: fn(&[u8])) {
    for (file, input) in corpus(target) {
        println!("{}", file.display());
        run(&input);
    }
}

#[test]
fn requests_of_the_corpus_are_answered() {
    play("requests", requests::requests);
}

#[test]
fn signatures_of_the_corpus_are_checked() {
    play("signature", signature::signature);
}

#[test]
fn configurations_of_the_corpus_are_read() {
    play("configuration", configuration::configuration);
}

#[test]
fn endpoints_answers_of_the_corpus_are_read() {
    play("answers", answers::answers);
}

/// One thing done to an input.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
    Splice(Index, Index, Index),
}

const WORDS: [&str; 24] = [
    "&",
    "=",
    ".",
    ".member.1",
    ".member.2",
    "%00",
    "%ff",
    "%",
    "+",
    "\n",
    "{lb}",
    "{tg}",
    "{listener}",
    "{rule}",
    "-1",
    "0",
    "18446744073709551616",
    "true",
    ":",
    ";",
    "X-Amz-Signature=",
    "authorization:",
    "Credential=",
    "\n\n",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (at(), proptest::sample::select(&WORDS[..])).prop_map(|(at, word)| Mutation::Insert(at, word)),
        (at(), 1..20_usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (at(), 1..40_usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        (at(), at(), at()).prop_map(|(at, input, from)| Mutation::Splice(at, input, from)),
    ]
}

fn mutate(input: &mut Vec<u8>, mutation: &Mutation, corpus: &[(PathBuf, Vec<u8>)]) {
    let position = |at: &Index| at.index(input.len() + 1);
    match mutation {
        Mutation::Replace(at, byte) => {
            let at = position(at);
            input.splice(at..input.len().min(at + 1), [*byte]);
        }
        Mutation::Insert(at, word) => {
            let at = position(at);
            input.splice(at..at, word.bytes());
        }
        Mutation::Remove(at, count) => {
            let at = position(at);
            input.drain(at..input.len().min(at + count));
        }
        Mutation::Repeat(at, count) => {
            let at = position(at);
            let part = input[at..input.len().min(at + count)].to_vec();
            input.splice(at..at, part);
        }
        Mutation::Splice(at, other, from) => {
            let at = position(at);
            let other = &corpus[other.index(corpus.len())].1;
            input.truncate(at);
            input.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
    }
}

fn mutated(target: &'static str, run: fn(&[u8])) {
    let inputs = corpus(target);
    let plan = (any::<Index>(), prop::collection::vec(mutation(), 1..6));
    let mut config = ProptestConfig::default();
    // PROPTEST_CASES says more.
    config.cases = config.cases.max(CASES);
    proptest!(config, |((first, mutations) in plan)| {
        let mut input = inputs[first.index(inputs.len())].1.clone();
        for one in &mutations {
            mutate(&mut input, one, &inputs);
        }
        run(&input);
    });
}

#[test]
fn mutated_requests_are_answered() {
    mutated("requests", requests::requests);
}

#[test]
fn mutated_signatures_are_checked() {
    mutated("signature", signature::signature);
}

#[test]
fn mutated_configurations_are_read() {
    mutated("configuration", configuration::configuration);
}

#[test]
fn mutated_answers_of_endpoints_are_read() {
    mutated("answers", answers::answers);
}
