//! The hash's promises, each with its number. All randomness is SipHash of a counter, so that a run repeats.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::*;

const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

proptest::proptest! {
    #[test]
    fn with_the_length_as_its_last_word_it_is_siphash_1_3(words: [u64; 4]) {
        let mut oracle = SipHasher13::new_with_keys(KEY.k0, KEY.k1);
        words.iter().for_each(|word| oracle.write(&word.to_le_bytes()));
        let message = [&words[..], &[(8 * words.len() as u64) << 56]].concat();
        let mut state = SipHash13::new(KEY);
        message.into_iter().for_each(|word| state.word(word));
        proptest::prop_assert_eq!(state.finish(), oracle.finish());
    }

    /// So no two words have the same hash, and as many words have each value of any of its bits.
    #[test]
    fn the_hash_of_one_word_can_be_undone(word: u64, purpose: [u32; 3]) {
        let state = HashState::derive(KEY, purpose.map(u64::from));
        proptest::prop_assert_eq!(undone(&state, state.of_word(word)), word);
    }

    #[test]
    fn a_state_is_odd_and_another_one_for_each_purpose(purpose: [u32; 3], other: [u32; 3]) {
        let [state, other_state] = [purpose, other].map(|words| HashState::derive(KEY, words.map(u64::from)));
        proptest::prop_assert!(state.0.iter().all(|word| word % 2 == 1));
        proptest::prop_assert_eq!(HashSet::from(state.0).len(), 4);
        let same = state.0.iter().filter(|word| other_state.0.contains(word)).count();
        proptest::prop_assert_eq!(same, if purpose == other { 4 } else { 0 });
    }
}

fn undone(state: &HashState, hash: u64) -> u64 {
    let [first, second, third, _] = state.0;
    let unshifted = |word: u64| word ^ word >> 32;
    let divided = |word: u64, by: u64| {
        // Newton's iteration: `by` is its own inverse modulo 8, and each step doubles the number of right bits.
        let inverse =
            (0..5).fold(by, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(by.wrapping_mul(inverse))));
        word.wrapping_mul(inverse)
    };
    unshifted(divided(unshifted(divided(unshifted(hash), third)), second)) ^ first
}

/// How many standard deviations a number may be from what chance would give.
const DEVIATIONS: f64 = 6.0;

/// Over 4,096 random keys and flows a count of flips has a standard deviation of 32.
#[test]
fn each_bit_of_a_flow_flips_each_bit_of_its_hash_in_half_of_the_cases() {
    const CASES: u64 = 4096;
    for bit in 0..64 {
        is_balanced(CASES, &format!("bit {bit} of one word"), |state, [word, ..]| {
            state.of_word(word) ^ state.of_word(word ^ 1 << bit)
        });
    }
    for bit in 0..160 {
        is_balanced(CASES, &format!("bit {bit} of the words"), |state, words| {
            let hash =
                |[first, second, ports]: [u64; 3]| state.of_words([first, second], ports & 0xffff_ffff);
            let mut other = words;
            other[bit / 64] ^= 1 << (bit % 64);
            hash(words) ^ hash(other)
        });
    }
}

fn is_balanced(cases: u64, what: &str, flips: impl Fn(HashState, [u64; 3]) -> u64) {
    let mut counts = [0_u64; 64];
    for case in 0..cases {
        let random = Random(case);
        let flipped = flips(random.state(), [random.word(0), random.word(1), random.word(2)]);
        (0..64).for_each(|bit| counts[bit] += flipped >> bit & 1);
    }
    for (bit, count) in counts.into_iter().enumerate() {
        let off = (count as f64 - cases as f64 / 2.0).abs();
        assert!(
            off <= DEVIATIONS * (cases as f64).sqrt() / 2.0,
            "{what} flips bit {bit} {count} of {cases} times"
        );
    }
}

/// 16 flows a place on average, in every part of the hash that something is chosen by, and in two such parts at once.
#[test]
fn flows_in_a_row_are_spread_as_if_by_chance() {
    const PARTS: [Part; 5] = [
        ("slot", |hash| hash >> 52),
        ("set", |hash| hash >> 32 & 0xfff),
        ("outer port", |hash| hash & 0xfff),
        ("tag's top", |hash| hash >> 20 & 0xfff),
        ("slot and outer port", |hash| hash >> 58 << 6 | hash & 0x3f),
    ];
    for (number, (what, flows)) in rows().into_iter().enumerate() {
        for key in 0..4 {
            let state = Random(1000 + 10 * number as u64 + key).state();
            for (part, place) in PARTS {
                let deviations = chi_square_deviations(flows.iter().map(|flow| place(flow(&state))));
                assert!(
                    deviations <= DEVIATIONS,
                    "{what}, key {key}: {part} is {deviations:.1} deviations off"
                );
            }
        }
    }
}

/// Twelve bits of a hash, and what they are for.
type Part = (&'static str, fn(u64) -> u64);
/// A flow's hash under a state.
type HashOf = Box<dyn Fn(&HashState) -> u64>;

/// 65,536 flows each, that have as little to do with chance as real ones can.
fn rows() -> Vec<(String, Vec<HashOf>)> {
    let row =
        |what: &str, flow: &dyn Fn(u64) -> HashOf| (what.to_string(), (0..0x1_0000).map(flow).collect());
    let port = |number: u64| u64::from((number as u16).swap_bytes());
    let address = |number: u64| u64::from((0x0a00_0000 + number as u32).swap_bytes());
    let mut rows: Vec<(String, Vec<HashOf>)> = vec![
        row("IPv4 ports", &|n| ipv4(address(1), port(n))),
        row("IPv4 ports of /24", &|n| ipv4(address(n >> 8), port(40_000 + n % 256))),
        row("IPv4 addresses", &|n| ipv4(address(n), port(40_000))),
        row("IPv4 addresses in steps of 256", &|n| ipv4(address(n << 8), port(40_000))),
        row("IPv6 ports", &|n| ipv6(1, 1, port(n))),
        row("IPv6 hosts", &|n| ipv6(0xb80d_0120, n.swap_bytes(), port(40_000))),
        row("IPv6 networks", &|n| {
            ipv6(0xb80d_0120 | (n as u16).swap_bytes() as u64 >> 16, n << 48, port(40_000))
        }),
        row("IPv6 networks of one host", &|n| {
            ipv6((0x2001_0db8_0000_0000 + n).swap_bytes(), 1 << 56, port(9))
        }),
    ];
    rows.extend((0..=48).step_by(4).map(|step| {
        row(&format!("words in steps of 2^{step}"), &|n| Box::new(move |state| state.of_word(n << step)))
    }));
    rows.extend((0..=48).step_by(4).flat_map(|step| {
        [
            row(&format!("first words in steps of 2^{step}"), &|n| ipv6(n << step, 0, 0)),
            row(&format!("second words in steps of 2^{step}"), &|n| ipv6(0, n << step, 0)),
            row(&format!("both words in steps of 2^{step}"), &|n| {
                ipv6((n & 0xff) << step, (n >> 8) << step, 0)
            }),
        ]
    }));
    rows
}

fn ipv4(address: u64, ports: u64) -> HashOf {
    Box::new(move |state| state.of_word(address | (ports | 0x5000_0000) << 32))
}

fn ipv6(high: u64, low: u64, ports: u64) -> HashOf {
    Box::new(move |state| state.of_words([high, low], ports | 0x5000_0000))
}

/// Pearson's statistic over 4,096 places, as standard deviations above its mean.
fn chi_square_deviations(places: impl Iterator<Item = u64>) -> f64 {
    const PLACES: usize = 4096;
    let mut counts = vec![0_u32; PLACES];
    places.for_each(|place| counts[place as usize] += 1);
    let expected = counts.iter().sum::<u32>() as f64 / PLACES as f64;
    let statistic: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    (statistic - (PLACES - 1) as f64) / (2.0 * (PLACES - 1) as f64).sqrt()
}

/// What one client opens one after another: its ports are in a row, or every second one, as Linux chooses them.
#[test]
fn a_few_ports_in_a_row_meet_four_targets_as_if_by_chance_under_every_key() {
    let row = |port: u64| u64::from((port as u16).swap_bytes());
    let of_ipv4 = |port| ipv4(0x0201_000a, row(port));
    let of_ipv6 = |port| ipv6(0xb80d_0120, 2 << 56, row(port));
    let families: [(&str, &dyn Fn(u64) -> HashOf); 2] = [("IPv4", &of_ipv4), ("IPv6", &of_ipv6)];
    for (family, flow) in families {
        for (flows, step) in [(150, 1), (150, 2), (300, 1), (300, 2)] {
            let statistics = (0..FEW_KEYS).map(|key| {
                let (state, first) = (Random(key).state(), 32_768 + Random(key).word(7) % 27_000);
                let counts = (0..flows).fold([0_u32; 4], |mut counts, number| {
                    counts[target_of_slot(flow(first + step * number)(&state) >> 52)] += 1;
                    counts
                });
                let expected = flows as f64 / 4.0;
                counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum::<f64>()
            });
            is_chi_square_of_three(
                &format!("{family}, {flows} ports in steps of {step}"),
                &statistics.collect::<Vec<f64>>(),
            );
        }
    }
}

const FEW_KEYS: u64 = 4000;

/// The owner of one of 4,096 slots, of which four targets have a quarter each in no order.
fn target_of_slot(slot: u64) -> usize {
    (slot.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as usize
}

/// Mean, variance (whose own is the fourth central moment, 252, less its square) and tail of the chi-square distribution
/// with three degrees of freedom, which the counts of four places have.
fn is_chi_square_of_three(what: &str, statistics: &[f64]) {
    let number = statistics.len() as f64;
    let mean = statistics.iter().sum::<f64>() / number;
    let variance = statistics.iter().map(|value| (value - 3.0).powi(2)).sum::<f64>() / number;
    let is_near = |value: f64, expected: f64, deviation: f64| {
        assert!((value - expected).abs() <= DEVIATIONS * deviation, "{what}: {value} instead of {expected}");
    };
    is_near(mean, 3.0, (6.0 / number).sqrt());
    is_near(variance, 6.0, (216.0 / number).sqrt());
    // One in a hundred is over 11.345, one in a million over 30.66.
    let tail = statistics.iter().filter(|value| **value > 11.345).count() as f64;
    is_near(tail, number / 100.0, (number / 100.0).sqrt());
    assert!(statistics.iter().all(|value| *value < 40.0), "{what}: one key spreads them badly");
}

/// Among 2^39 pairs a perfect hash has one with a chance of 2^-25.
#[test]
fn a_million_structured_ipv6_flows_have_a_million_hashes() {
    for key in 0..4 {
        let state = Random(key).state();
        let mut seen: HashMap<u64, [u64; 3]> = HashMap::new();
        for number in 0..1_u64 << 20 {
            // Every combination of 128 networks, 128 hosts (each 64 in a row and 64 apart by powers of two) and 64
            // ports.
            let bits = |part: u64| if part < 64 { part.swap_bytes() } else { 1 << (part - 64) };
            let flow = [bits(number >> 13), bits(number >> 6 & 127), (number & 63).swap_bytes() >> 48];
            let [high, low, ports] = flow;
            let other = seen.insert(state.of_words([high, low], ports), flow);
            assert!(other.is_none_or(|other| other == flow), "{flow:?} and {other:?}");
        }
    }
}

/// Two words that differ in their top bits only are what a sum of products would not tell apart.
#[test]
fn differences_in_top_bits_do_not_cancel() {
    let tops = [0, 1 << 63, 1 << 31, 1 << 63 | 1 << 31, 3 << 62, 0xff << 56, u64::MAX << 32];
    for case in 0..10_000 {
        let random = Random(case);
        let (state, words) = (random.state(), [random.word(0), random.word(1)]);
        let differences = tops.iter().flat_map(|first| tops.iter().map(move |second| [first, second]));
        let hashes: HashSet<u64> = differences
            .map(|[first, second]| state.of_words([words[0] ^ first, words[1] ^ second], 0))
            .collect();
        assert_eq!(hashes.len(), tops.len() * tops.len());
    }
}

struct Random(u64);

impl Random {
    fn word(&self, number: u64) -> u64 {
        let mut hasher = SipHasher13::new();
        [self.0, number].iter().for_each(|word| hasher.write(&word.to_le_bytes()));
        hasher.finish()
    }

    fn state(&self) -> HashState {
        HashState::derive(HashKey { k0: self.word(100), k1: self.word(101) }, [1, 2, 6])
    }
}
