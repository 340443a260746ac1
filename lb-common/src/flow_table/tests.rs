use super::*;

const IDLE: u16 = 350;

fn empty() -> FlowSet {
    FlowSet(core::array::from_fn(|_| Shared::<u64>::new(0)))
}

fn sighting(tag: u32, now: u16) -> Sighting {
    Sighting { hash: FlowHash(tag as u64), now: Tick(now), idle: IDLE }
}

fn find(set: &FlowSet, tag: u32, now: u16) -> Option<TargetId> {
    set.find(sighting(tag, now), |_| true)
}

#[test]
fn a_remembered_flow_is_found_until_it_was_idle_too_long() {
    let set = empty();
    set.remember(sighting(7, 100), TargetId(3));
    assert_eq!(find(&set, 7, 100 + IDLE), Some(TargetId(3)));
    assert_eq!(find(&set, 7, 100 + 2 * IDLE), Some(TargetId(3)), "the packet before refreshed it");
    assert_eq!(find(&set, 7, 101 + 3 * IDLE), None);
    assert_eq!(find(&set, 8, 100), None);
}

#[test]
fn the_tick_wraps_without_losing_a_flow() {
    let set = empty();
    set.remember(sighting(7, u16::MAX - 1), TargetId(3));
    assert_eq!(find(&set, 7, 5), Some(TargetId(3)));
}

#[test]
fn a_flow_of_a_target_that_is_not_worth_keeping_is_unknown() {
    let set = empty();
    set.remember(sighting(7, 0), TargetId(3));
    assert_eq!(set.find(sighting(7, 0), |target| target != TargetId(3)), None);
}

#[test]
fn remembering_again_replaces_the_entry() {
    let set = empty();
    set.remember(sighting(7, 0), TargetId(3));
    find(&set, 7, 1);
    set.remember(sighting(7, 2), TargetId(4));
    assert_eq!(find(&set, 7, 3), Some(TargetId(4)));
    let entries = set.0.iter().filter(|entry| entry.load() != 0).count();
    assert_eq!(entries, 1);
}

#[test]
fn a_forgotten_flow_is_gone() {
    let set = empty();
    set.remember(sighting(7, 0), TargetId(3));
    set.forget(FlowHash(7));
    assert_eq!(find(&set, 7, 0), None);
}

#[test]
fn a_flood_never_evicts_flows_of_which_two_packets_were_seen() {
    let set = empty();
    for tag in 1..=5 {
        set.remember(sighting(tag, 0), TargetId(tag as u16));
        assert!(find(&set, tag, 0).is_some());
    }
    for flood in 1000..100_000u32 {
        set.remember(sighting(flood, 1), TargetId(99));
    }
    for tag in 1..=5 {
        assert_eq!(find(&set, tag, 2), Some(TargetId(tag as u16)));
    }
}

#[test]
fn a_flood_of_repeated_sources_evicts_no_living_flow_either() {
    let set = empty();
    for tag in 1..=5 {
        set.remember(sighting(tag, 0), TargetId(tag as u16));
        assert!(find(&set, tag, 0).is_some());
    }
    for flood in 1000..2000u32 {
        set.remember(sighting(flood, 1), TargetId(99));
        find(&set, flood, 1);
    }
    assert!((1..=5).all(|tag| find(&set, tag, 2) == Some(TargetId(tag as u16))));
}

#[test]
fn the_oldest_of_three_new_flows_makes_room_in_the_same_tick_too() {
    let set = empty();
    for tag in 1..=4 {
        set.remember(sighting(tag, 0), TargetId(tag as u16));
    }
    assert_eq!(find(&set, 1, 0), None);
    assert!((2..=4).all(|tag| find(&set, tag, 0) == Some(TargetId(tag as u16))));
}

#[test]
fn a_flow_that_was_confirmed_or_begins_again_leaves_its_way_to_the_next() {
    let set = empty();
    for tag in 1..=3 {
        set.remember(sighting(tag, 0), TargetId(tag as u16));
    }
    assert!(find(&set, 2, 0).is_some());
    set.remember(sighting(4, 0), TargetId(4));
    set.remember(sighting(3, 0), TargetId(5));
    let known = [1, 2, 3, 4].map(|tag| set.peek(sighting(tag, 0)).map(|entry| entry.target().0));
    assert_eq!(known, [Some(1), Some(2), Some(5), Some(4)]);
}

/// No moment of it loses a flow that moves: another processor that looks from the first way on finds it.
#[test]
fn a_new_flow_enters_by_the_first_of_its_ways() {
    let set = empty();
    for tag in 1..=4 {
        set.remember(sighting(tag, 0), TargetId(tag as u16));
        assert_eq!(set.entry(YOUNGEST).tag(), tag);
    }
    assert_eq!([5, 6, 7].map(|way| set.entry(way).tag()), [4, 3, 2]);
}

#[test]
fn seconds_are_covered_by_ticks() {
    assert_eq!(Tick::covering_seconds(0), 0);
    assert_eq!(Tick::covering_seconds(350), 326);
    assert_eq!(Tick::covering_seconds(1_000_000), u16::MAX);
    assert_eq!(Tick::from_nanoseconds(3 << 30), Tick(3));
}

/// Sets of the default flow table.
const SETS: usize = 1 << 17;

/// Numbers that a run repeats (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

fn sets(count: usize) -> Vec<FlowSet> {
    (0..count).map(|_| empty()).collect()
}

fn seen(hash: u64) -> Sighting {
    Sighting { hash: FlowHash(hash), now: Tick(0), idle: IDLE }
}

fn set_of(sets: &[FlowSet], hash: u64) -> &FlowSet {
    &sets[FlowHash(hash).set() as usize % sets.len()]
}

/// The chances of 0, 1, 2, ... arrivals at a set that has `mean` of them on average.
fn poisson(mean: f64) -> impl Iterator<Item = f64> {
    (1..100).scan((-mean).exp(), move |chance, arrivals| {
        let now = *chance;
        *chance *= mean / f64::from(arrivals);
        Some(now)
    })
}

/// The part of new flows that is lost where `others` enter the table before a flow's second packet.
fn lost(ways: usize, others: usize) -> f64 {
    1.0 - poisson(others as f64 / SETS as f64).take(ways).sum::<f64>()
}

/// The part of `flows` that finds no free way among `ways` of each set.
fn crowded_out(ways: usize, flows: f64) -> f64 {
    let mean = flows / SETS as f64;
    let over = poisson(mean).enumerate().skip(ways).map(|(flows, chance)| chance * (flows - ways) as f64);
    over.sum::<f64>() / mean
}

/// A round trip of 50 ms in a flood of 0.8 million packets a second.
const ROUND_TRIP: usize = 40_000;

#[test]
fn the_documented_numbers_are_those_of_the_calculation() {
    let rounded = |part: f64, digits: i32| (part * 100.0 * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    assert_eq!([2, 3, 4].map(|ways| rounded(lost(ways, ROUND_TRIP), 2)), [3.81, 0.38, 0.03]);
    let crowded = |ways| [1.0, 2.0, 4.0].map(|mean| rounded(crowded_out(ways, mean * SETS as f64), 2));
    assert_eq!(crowded(6), [0.01, 0.3, 4.89]);
    assert_eq!(crowded(5), [0.07, 1.12, 10.26]);
    assert_eq!(crowded(4), [0.43, 3.76, 19.54]);
}

/// Every packet of the flood enters; after every 20th a connection begins, whose second packet comes a round trip
/// later.
#[test]
fn in_a_flood_as_many_connections_are_lost_in_the_handshake_as_is_calculated() {
    const PACKETS: usize = 2_000_000;
    const EACH: usize = 20;
    let (sets, mut random) = (sets(SETS), Random(1));
    let mut begun = std::collections::VecDeque::new();
    let (mut answered, mut unknown) = (0_usize, 0_usize);
    for packet in 0..PACKETS {
        let hash = random.next();
        set_of(&sets, hash).remember(seen(hash), TargetId(1));
        if packet % EACH == 0 {
            let hash = random.next();
            set_of(&sets, hash).remember(seen(hash), TargetId(2));
            begun.push_back(hash);
        }
        if begun.len() > ROUND_TRIP / EACH {
            let hash = begun.pop_front().expect("it is longer than a round trip");
            let known = set_of(&sets, hash).find(seen(hash), |_| true);
            answered += 1;
            unknown += usize::from(known != Some(TargetId(2)));
        }
    }
    let expected = lost(WAYS - YOUNGEST, ROUND_TRIP + ROUND_TRIP / EACH) * answered as f64;
    let off = (unknown as f64 - expected).abs();
    assert!(off < 6.0 * expected.sqrt(), "{unknown} of {answered} are lost instead of {expected:.0}");
}

#[test]
fn as_many_flows_are_confirmed_as_is_calculated() {
    let mut random = Random(2);
    for mean in [1, 2, 4] {
        let (sets, flows) = (sets(SETS), mean * SETS);
        for _ in 0..flows {
            let hash = random.next();
            set_of(&sets, hash).remember(seen(hash), TargetId(1));
            set_of(&sets, hash).find(seen(hash), |_| true);
        }
        let confirmed = |set: &FlowSet| (0..YOUNGEST).filter(|way| set.entry(*way) != FlowEntry(0)).count();
        let confirmed: usize = sets.iter().map(confirmed).sum();
        let expected = crowded_out(YOUNGEST, flows as f64) * flows as f64;
        let crowded = (flows - confirmed) as f64;
        assert!((crowded - expected).abs() < 0.1 * expected, "{mean}: {crowded} instead of {expected:.0}");
    }
}
