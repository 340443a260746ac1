//! Between flow table and chains no flow is lost, and nothing waits for ever.

use lb_common::SlotState;

use super::*;

const A: TargetId = TargetId(1);
const B: TargetId = TargetId(2);
const C: TargetId = TargetId(3);
const D: TargetId = TargetId(4);
const IDLE: Duration = Duration::from_secs(60);

fn stays(_: TargetId) -> Fate {
    Fate::Stays { window: IDLE }
}

fn at(tenths: u32) -> Now {
    Now { reached: Moment(tenths), not_before: Moment(tenths) }
}

fn tick(life: &mut SlotLife, regime: Regime, now: u32) -> (Slot, ChainWord) {
    life.tick(regime, at(now), IDLE, || None, &stays);
    life.encoded()
}

#[test]
fn a_stable_slot_changes_sides_at_once() {
    let mut life = SlotLife::stable(A, Regime::FlowTable);
    life.enter(Regime::SecondChance);
    life.reassign(B, Regime::SecondChance, at(0), &stays);
    assert_eq!(life.encoded(), (Slot::changing(B, A), ChainWord::ends(B)));
    let mut life = SlotLife::stable(A, Regime::SecondChance);
    life.enter(Regime::FlowTable);
    life.reassign(B, Regime::FlowTable, at(0), &stays);
    assert_eq!(life.encoded(), (Slot::changing(B, A), ChainWord::NONE));
}

#[test]
fn what_the_flow_table_knows_is_honoured_until_the_slot_is_stable() {
    let mut life = SlotLife::stable(A, Regime::FlowTable);
    life.reassign(B, Regime::FlowTable, at(0), &stays);
    life.enter(Regime::SecondChance);
    assert_eq!(life.encoded(), (Slot::changing(B, A), ChainWord::NONE));
    assert_eq!(tick(&mut life, Regime::SecondChance, 600).0.state(), SlotState::Exceptions);
    life.reassign(C, Regime::SecondChance, at(700), &stays);
    assert_eq!(life.encoded(), (Slot::changing(C, B), ChainWord::NONE), "some flows are still on A");
    tick(&mut life, Regime::SecondChance, 1300);
    assert_eq!(tick(&mut life, Regime::SecondChance, 1900).0, Slot::stable(C));
    life.reassign(A, Regime::SecondChance, at(2000), &stays);
    assert_eq!(life.encoded(), (Slot::changing(A, C), ChainWord::ends(A)));
}

#[test]
fn a_chain_ends_before_the_flow_table_takes_over() {
    let mut life = SlotLife::stable(A, Regime::SecondChance);
    life.reassign(B, Regime::SecondChance, at(0), &stays);
    life.enter(Regime::FlowTable);
    life.reassign(C, Regime::FlowTable, at(100), &stays);
    assert_eq!(life.encoded(), (Slot::changing(B, A), ChainWord::ends(B)), "C waits, and A is still named");
    assert_eq!(life.deadline(Regime::FlowTable, IDLE), Some(Moment(600)));
    assert_eq!(tick(&mut life, Regime::FlowTable, 600), (Slot::changing(C, B), ChainWord::NONE));
}

#[test]
fn a_slot_of_a_dead_owner_goes_back_to_the_former_one() {
    let mut life = SlotLife::stable(A, Regime::SecondChance);
    life.reassign(B, Regime::SecondChance, at(0), &stays);
    life.reassign(C, Regime::SecondChance, at(0), &stays);
    life.enter(Regime::FlowTable);
    let fate = |dead: TargetId| move |target| if target == dead { Fate::Dead } else { stays(target) };
    life.reassign(D, Regime::FlowTable, at(100), &fate(C));
    assert_eq!(life.encoded(), (Slot::changing(B, A), ChainWord::ends(B)), "what is on A would be lost on D");
    life.reassign(D, Regime::FlowTable, at(100), &fate(B));
    assert_eq!(life.encoded(), (Slot::changing(D, A), ChainWord::NONE));
}

#[test]
fn a_regime_that_returns_soon_finds_its_chain() {
    let mut life = SlotLife::stable(A, Regime::SecondChance);
    life.reassign(B, Regime::SecondChance, at(0), &stays);
    life.enter(Regime::FlowTable);
    life.enter(Regime::SecondChance);
    assert_eq!(life.encoded(), (Slot::changing(B, A), ChainWord::ends(B)));
    life.reassign(C, Regime::SecondChance, at(10), &stays);
    assert_eq!(life.encoded(), (Slot::changing(C, B), ChainWord::before(A)));
}
