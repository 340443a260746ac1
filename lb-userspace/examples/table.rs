//! Measures the tables: how even they are, what a change moves, and how long they take to make.
//!
//!     cargo run --release -p lb-userspace --example table

use std::collections::HashSet;
use std::time::{Duration, Instant};

use lb_common::TargetId;
use lb_userspace::table::{Fate, Member, MemberIndex, SlotTable, TableSize, maglev, member, overlay};

type Table = Vec<Option<MemberIndex>>;

const IDLE: Duration = Duration::from_secs(350);

fn main() {
    println!(
        "disruption: slots of the other members that change hands, mean and worst of 20 members or more\n"
    );
    println!("{:>8} {:>7} {:>9} {:>20} {:>20}", "members", "slots", "max/mean", "one removed", "one added");
    for count in [2, 3, 4, 5, 10, 32, 33, 100, 256, 257, 500, 1000, 2000] {
        let slots = TableSize::for_weights(vec![1; count]).slots();
        evenness_and_disruption(count, slots);
    }
    [512, 1024, 4096].into_iter().for_each(|slots| evenness_and_disruption(4, slots));
    [16384, 65536, 65537].into_iter().for_each(|slots| evenness_and_disruption(100, slots));
    doubling();
    println!("\ntime, median of 15\n");
    building();
    unavailable_members();
    slot_tables();
    flapping();
}

fn members(weights: &[u64]) -> Vec<Member> {
    members_in(0, weights)
}

/// Members with addresses in a network of their own.
fn members_in(network: u8, weights: &[u64]) -> Vec<Member> {
    let address = |at: usize| [10, network, (at >> 8) as u8, at as u8].into();
    let member = |(at, &weight)| Member { identity: member::identity("web", address(at)), weight, group: 0 };
    weights.iter().enumerate().map(member).collect()
}

/// Of few members there are several sets.
fn evenness_and_disruption(count: usize, slots: usize) {
    let (mut removed, mut added, mut most) = (Vec::new(), Vec::new(), 0);
    for network in 0..20_usize.div_ceil(count) as u8 {
        let all = members_in(network, &vec![1; count]);
        let table = maglev::build(&all, slots);
        let mut held = vec![0_usize; count];
        table.iter().flatten().for_each(|owner| held[owner.at()] += 1);
        most = most.max(*held.iter().max().expect("there are members"));
        let gone: HashSet<usize> = (0..20).map(|trial| trial * count / 20).collect();
        for gone in gone {
            let moved = moved_by_removal(&all, &table, gone) as f64;
            removed.push(moved / (slots - held[gone]) as f64);
            added.push(moved / slots as f64);
        }
    }
    let evenness = (most * count) as f64 / slots as f64;
    println!("{count:>8} {slots:>7} {evenness:>9.4} {:>20} {:>20}", summary(&removed), summary(&added));
}

fn moved_by_removal(all: &[Member], table: &Table, gone: usize) -> usize {
    let mut fewer = all.to_vec();
    fewer[gone].weight = 0;
    let without = maglev::build(&fewer, table.len());
    let not_its_own =
        table.iter().zip(&without).filter(|(owner, _)| owner.map(MemberIndex::at) != Some(gone));
    not_its_own.filter(|(with, without)| with != without).count()
}

fn summary(parts: &[f64]) -> String {
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    let worst = parts.iter().copied().fold(0.0, f64::max);
    format!("{:.2} %, {:.2} %", mean * 100.0, worst * 100.0)
}

fn doubling() {
    let members = members(&[1; 100]);
    let (small, large) = (maglev::build(&members, 4096), maglev::build(&members, 32768));
    let moved = large.iter().enumerate().filter(|(slot, owner)| small[slot / 8] != **owner).count();
    println!(
        "\nanother size (4096 to 32768 slots, 100 members): {:.1} % change hands",
        moved as f64 / 327.68
    );
}

fn building() {
    let skewed: Vec<u64> = (0..1000).map(|at| if at == 0 { 1000 } else { 1 }).collect();
    let mixed: Vec<u64> = (0..1000).map(|at| 1 + at * 7 % 1000).collect();
    for (name, weights) in [("equal", vec![1; 1000]), ("one heavy", skewed), ("1 to 1000", mixed)] {
        for slots in [65536, 65537, 131072] {
            let members = members(&weights);
            let time = median(|| maglev::build(&members, slots));
            println!("base of {slots} slots, 1000 members, weights {name}: {time:?}");
        }
    }
}

fn unavailable_members() {
    let members = members(&[1; 1000]);
    let base = maglev::build(&members, 65536);
    for down in [1, 500, 900, 970, 999] {
        let available: Vec<bool> = (0..1000).map(|at| at >= down).collect();
        let time = median(|| overlay::assign(&base, &members, &available));
        println!("overlay of 65536 slots, {down} of 1000 members down: {time:?}");
    }
}

fn slot_tables() {
    let owners = |table: &Table| -> Vec<TargetId> {
        table
            .iter()
            .map(|owner| owner.map_or(TargetId::NONE, |owner| TargetId(owner.at() as u16 + 1)))
            .collect()
    };
    let (before, after): (Table, Table) =
        (maglev::build(&members(&[1; 1000]), 131072), maglev::build(&members(&[1; 999]), 131072));
    let (before, after, start) = (owners(&before), owners(&after), Instant::now());
    let table = SlotTable::new(&before, start);
    let mut changed = table.clone();
    let fate = |_: TargetId| Fate::Stays { window: IDLE };
    println!("copy of 131072 slots' lives: {:?}", median(|| table.clone()));
    let reassign = || {
        let mut table = table.clone();
        table.reassign(&after, start, &fate);
        table
    };
    println!("copy and reassignment: {:?}", median(reassign));
    changed.reassign(&after, start, &fate);
    let tick = || {
        let mut table = changed.clone();
        table.tick(start + IDLE, &|_| None, IDLE, &fate);
        table
    };
    println!("copy and tick: {:?}", median(tick));
    println!("digest: {:?}", median(|| table.digest(|target| target.0.into())));
}

/// Members that flap: a fiftieth of them between two tables, so that in the end nearly all slots are changing.
fn flapping() {
    const MEMBERS: usize = 500;
    let members = members(&[1; MEMBERS]);
    let base = maglev::build(&members, 65536);
    let mut available: Vec<bool> = (0..MEMBERS).map(|at| at % 2 == 0).collect();
    let owners = |available: &[bool]| -> Vec<TargetId> {
        let id = |owner: MemberIndex| TargetId(owner.at() as u16 + 1);
        let owners = overlay::assign(&base, &members, available).into_iter();
        owners.map(|owner| owner.map_or(TargetId::NONE, id)).collect()
    };
    let (start, fate) = (Instant::now(), |_: TargetId| Fate::Stays { window: IDLE });
    let mut table = SlotTable::new(&owners(&available), start);
    let mut times: Vec<Duration> = (0..200_u32)
        .map(|round| {
            for at in (round as usize % 50..MEMBERS).step_by(50) {
                available[at] = !available[at];
            }
            let begun = Instant::now();
            table.reassign(&owners(&available), start + round * Duration::from_millis(100), &fate);
            begun.elapsed()
        })
        .collect();
    times[100..].sort_unstable();
    println!("a fiftieth of 500 members flaps, 65536 slots: {:?}", times[150]);
}

fn median<T>(make: impl Fn() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(make());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
