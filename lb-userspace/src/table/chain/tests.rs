//! Each rule by itself, and any sequence of changes: whoever began on a living owner finds it.

use proptest::prelude::*;

use super::*;

const A: TargetId = TargetId(1);
const B: TargetId = TargetId(2);
const C: TargetId = TargetId(3);
const D: TargetId = TargetId(4);
const IDLE: Duration = Duration::from_secs(60);
const NOW: Moment = Moment(1000);

fn stays(_: TargetId) -> Fate {
    Fate::Stays { window: IDLE }
}

fn leaves(_: TargetId) -> Fate {
    Fate::Leaves { window: IDLE }
}

fn dead(target: TargetId) -> impl Fn(TargetId) -> Fate {
    move |asked| if asked == target { Fate::Dead } else { stays(asked) }
}

/// The chain of a slot after changes of its owner, each at `NOW`.
fn chain_of(owners: &[TargetId]) -> Chain {
    let mut chain = Chain::of(owners[0]);
    owners[1..].iter().for_each(|&owner| chain.reassign(owner, NOW, &stays));
    chain
}

/// Current and former owners, newest first.
fn owners(chain: &Chain) -> Vec<TargetId> {
    std::iter::once(chain.current).chain(chain.former_owners().map(|former| former.target)).collect()
}

#[test]
fn owners_are_kept_in_the_order_of_time() {
    assert_eq!(owners(&chain_of(&[A])), [A]);
    assert_eq!(owners(&chain_of(&[A, B])), [B, A]);
    assert_eq!(owners(&chain_of(&[A, B, C])), [C, B, A]);
}

#[test]
fn the_data_plane_is_told_all_three() {
    assert_eq!(chain_of(&[A]).encoded(), (Slot::stable(A), ChainWord::NONE));
    assert_eq!(chain_of(&[A, B]).encoded(), (Slot::changing(B, A), ChainWord::ends(B)));
    assert_eq!(chain_of(&[A, B, C]).encoded(), (Slot::changing(C, B), ChainWord::before(A)));
}

#[test]
fn an_owner_that_returns_is_in_the_chain_once() {
    assert_eq!(owners(&chain_of(&[A, B, A])), [A, B]);
    assert_eq!(owners(&chain_of(&[A, B, C, A])), [A, C, B]);
    assert_eq!(owners(&chain_of(&[A, B, C, B])), [B, C, A]);
}

#[test]
fn a_change_waits_while_the_chain_is_full() {
    let mut chain = chain_of(&[A, B, C, D]);
    assert_eq!(owners(&chain), [C, B, A]);
    assert!(chain.is_deferred());
    assert_eq!(chain.deadline(), Some(Moment(1600)));
    chain.tick(Moment(1599), &stays);
    assert_eq!(owners(&chain), [C, B, A]);
    chain.tick(Moment(1600), &stays);
    assert_eq!((owners(&chain), chain.is_deferred()), (vec![D, C, B], false));
}

#[test]
fn a_change_that_waits_is_forgotten_when_it_is_not_wanted_any_more() {
    let mut chain = chain_of(&[A, B, C, D]);
    chain.reassign(C, NOW, &stays);
    assert!(!chain.is_deferred());
    assert_eq!((owners(&chain), chain.deadline()), (vec![C, B, A], None));
}

#[test]
fn a_node_that_starts_learns_former_owners_that_have_connections() {
    let mut chain = Chain::of(A);
    [A, B, B, C].into_iter().for_each(|target| chain.learn(target, NOW, &stays));
    assert_eq!((owners(&chain), chain.is_deferred()), (vec![A, B, C], false));
    chain.told(C, false, Moment(1300));
    assert_eq!(owners(&chain), [A, B], "they leave as others do");
    chain.learn(C, NOW, &dead(C));
    assert_eq!(owners(&chain), [A, B]);
}

#[test]
fn the_third_that_has_connections_takes_the_place_of_one_that_can_have_none() {
    let mut chain = Chain::of(D);
    [A, B, C].into_iter().for_each(|target| chain.learn(target, NOW, &stays));
    assert_eq!((owners(&chain), chain.deferred()), (vec![C, A, B], Some(D)));
    chain.told(A, false, Moment(1300));
    chain.tick(Moment(1300), &stays);
    assert_eq!((owners(&chain), chain.is_deferred()), (vec![D, C, B], false));
}

#[test]
fn an_owner_without_connections_does_not_keep_a_slot_for_which_another_waits() {
    let mut chain = chain_of(&[A, B, C, D]);
    for former in [A, B] {
        chain.told(former, true, Moment(1300));
        chain.seat(former, Moment(1300), &stays);
    }
    assert_eq!((owners(&chain), chain.deferred()), (vec![A, C, B], Some(D)), "the first that told stays");
    chain.told(C, false, Moment(1300).after(SETTLE));
    chain.tick(Moment(1500), &stays);
    assert_eq!((owners(&chain), chain.is_deferred()), (vec![D, A, B], false));
}

#[test]
fn an_owner_that_drains_keeps_a_slot_whose_chain_is_full() {
    let mut chain = chain_of(&[A, B, C]);
    chain.reassign(D, NOW, &leaves);
    assert_eq!(owners(&chain), [C, B, A]);
}

#[test]
fn a_dead_owner_waits_for_nothing() {
    let mut chain = chain_of(&[A, B, C]);
    chain.reassign(D, NOW, &dead(C));
    assert_eq!(owners(&chain), [D, B, A]);
    assert!(!chain.is_deferred());
}

#[test]
fn the_dead_are_taken_out_everywhere() {
    let mut chain = chain_of(&[A, B, C]);
    chain.died(B);
    assert_eq!(owners(&chain), [C, A]);
    let mut chain = chain_of(&[A, B, C, D]);
    chain.reassign(D, NOW, &dead(A));
    assert_eq!(owners(&chain), [D, C, B]);
}

#[test]
fn no_owner_is_a_pause_that_keeps_the_chain() {
    let mut chain = chain_of(&[A, TargetId::NONE]);
    assert_eq!(chain.encoded().0, Slot::changing(TargetId::NONE, A));
    chain.reassign(B, NOW, &stays);
    assert_eq!(owners(&chain), [B, A]);
}

#[test]
fn a_drained_owner_leaves_with_its_window() {
    let mut chain = Chain::of(A);
    chain.reassign(B, NOW, &leaves);
    assert_eq!(chain.deadline(), Some(Moment(1600)));
    chain.tick(Moment(1599), &leaves);
    assert_eq!(owners(&chain), [B, A]);
    chain.tick(Moment(1600), &|_| Fate::Leaves { window: Duration::ZERO });
    assert!(chain.is_stable());
}

#[test]
fn a_drained_owner_that_was_given_back_to_service_stays() {
    let mut chain = Chain::of(A);
    chain.reassign(B, NOW, &leaves);
    chain.tick(Moment(1600), &stays);
    assert_eq!((owners(&chain), chain.deadline()), (vec![B, A], None));
}

#[test]
fn a_drained_owner_that_drains_anew_stays_for_the_new_window() {
    let mut chain = Chain::of(A);
    chain.reassign(B, NOW, &leaves);
    chain.tick(Moment(1600), &leaves);
    assert_eq!((owners(&chain), chain.deadline()), (vec![B, A], Some(Moment(2200))));
}

#[test]
fn an_owner_in_service_stays_until_it_tells_or_its_place_is_needed() {
    let mut chain = chain_of(&[A, B]);
    chain.tick(Moment(90_000), &stays);
    assert_eq!((owners(&chain), chain.deadline()), (vec![B, A], None));
    chain.told(A, false, Moment(90_000));
    assert!(chain.is_stable());
    let mut chain = chain_of(&[A, B, C]);
    chain.reassign(D, Moment(90_000), &stays);
    assert_eq!(owners(&chain), [D, C, B]);
}

#[test]
fn an_owner_with_connections_is_not_displaced_before_it_is_asked_again() {
    let mut chain = chain_of(&[A, B, C]);
    chain.told(A, true, Moment(1600));
    chain.told(B, true, Moment(1600));
    chain.reassign(D, Moment(1700), &stays);
    assert_eq!(owners(&chain), [C, B, A]);
    assert_eq!(chain.deadline(), Some(Moment(1600).after(IN_USE)));
    chain.told(B, false, Moment(1800));
    chain.reassign(D, Moment(1800), &stays);
    assert_eq!(owners(&chain), [D, C, A], "the one without connections made room");
}

#[test]
fn what_is_told_of_a_slot_that_was_just_lost_does_not_count() {
    let mut chain = chain_of(&[A, B]);
    chain.told(A, false, NOW.after(SETTLE / 2));
    assert_eq!(owners(&chain), [B, A]);
    chain.told(A, false, NOW.after(SETTLE));
    assert!(chain.is_stable());
}

#[test]
fn questions_are_for_those_whose_window_ends_or_whose_place_is_needed() {
    let asked = |chain: &Chain, now: Moment| {
        let mut targets = Vec::new();
        chain.questions(now, |target| targets.push(target));
        targets
    };
    let mut chain = chain_of(&[A, B]);
    let notice = Moment(1600).before(NOTICE);
    assert_eq!(chain.next_question(), Some(notice));
    assert_eq!(asked(&chain, notice.before(Duration::from_secs(1))), []);
    assert_eq!(asked(&chain, notice), [A]);
    chain.reassign(C, NOW, &stays);
    chain.reassign(D, NOW, &stays);
    assert_eq!(asked(&chain, NOW), [], "handshakes may be under way");
    assert_eq!(chain.next_question(), Some(NOW.after(SETTLE)));
    assert_eq!(asked(&chain, NOW.after(SETTLE)), [B, A]);
}

#[test]
fn chains_merge_where_a_packet_can_name_all() {
    let (one, two, other) = (chain_of(&[A, C]), chain_of(&[B, C]), chain_of(&[D, B, C]));
    assert_eq!(owners(&one.merged(two).unwrap()), [C, A, B]);
    assert_eq!(owners(&Chain::of(C).merged(other).unwrap()), [C, B, D]);
    assert_eq!(one.merged(one), Some(one));
    assert_eq!(one.merged(other), None);
    assert_eq!(Chain::of(A).merged(Chain::of(B)), None);
    let mut waits = other;
    waits.defer(A);
    assert_eq!(waits.merged(other), None);
}

/// What happens to a slot.
#[derive(Debug, Clone)]
enum Event {
    Owner(u16),
    Drains(u16),
    Dies(u16),
    Passes(u32),
    /// A target tells which connections it has.
    Tells(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..8_u16).prop_map(Event::Owner),
        1 => (1..8_u16).prop_map(Event::Drains),
        1 => (1..8_u16).prop_map(Event::Dies),
        3 => (1..400_u32).prop_map(Event::Passes),
        2 => (1..8_u16).prop_map(Event::Tells),
    ]
}

/// A slot under changes, with a connection that begins after each of them and lives until its target dies.
struct World {
    chain: Chain,
    now: Moment,
    draining: std::collections::BTreeMap<TargetId, Moment>,
    /// Target and moment of the last word that it has connections, or of when it lost the slot.
    connections: std::collections::BTreeSet<TargetId>,
    /// Since when each former owner is guaranteed nothing any more.
    guaranteed: std::collections::BTreeMap<TargetId, Moment>,
}

impl World {
    fn fate(&self) -> impl Fn(TargetId) -> Fate + use<> {
        let (draining, now) = (self.draining.clone(), self.now);
        move |target| match draining.get(&target) {
            None => Fate::Stays { window: IDLE },
            Some(until) if *until <= now => Fate::Dead,
            Some(until) => Fate::Leaves { window: Duration::from_millis(u64::from(until.0 - now.0) * 100) },
        }
    }

    fn take(&mut self, event: &Event) {
        let before = self.chain.current;
        match event {
            Event::Owner(owner) => self.assign(TargetId(*owner)),
            Event::Drains(target) => {
                self.draining.entry(TargetId(*target)).or_insert(self.now.after(2 * IDLE));
                self.assign(self.another(TargetId(*target)));
            }
            Event::Dies(target) => {
                self.draining.insert(TargetId(*target), self.now);
                self.assign(self.another(TargetId(*target)));
            }
            Event::Passes(tenths) => {
                self.now = Moment(self.now.0 + tenths);
                let fate = self.fate();
                self.chain.tick(self.now, &fate);
                if fate(self.chain.current) == Fate::Dead {
                    self.assign(self.another(self.chain.current));
                }
                self.chain.forget_dead(&fate);
            }
            Event::Tells(target) => {
                let target = TargetId(*target);
                let has = self.connections.contains(&target);
                self.chain.told(target, has, self.now);
                if has {
                    self.chain.seat(target, self.now, &self.fate());
                }
                if has && self.chain.had(target) {
                    self.guaranteed.insert(target, self.now.after(IN_USE));
                }
            }
        }
        if before != self.chain.current {
            let window = match self.fate()(before) {
                Fate::Stays { window } | Fate::Leaves { window } => window,
                Fate::Dead => Duration::ZERO,
            };
            self.guaranteed.insert(before, self.now.after(window));
        }
        self.connections.insert(self.chain.current);
        let fate = self.fate();
        self.connections.retain(|target| fate(*target) != Fate::Dead);
    }

    fn assign(&mut self, owner: TargetId) {
        let fate = self.fate();
        if matches!(fate(owner), Fate::Stays { .. }) {
            self.chain.reassign(owner, self.now, &fate);
        }
    }

    /// Anybody else who serves; target 9 always does.
    fn another(&self, target: TargetId) -> TargetId {
        if self.chain.current == target { TargetId(9) } else { self.chain.current }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_flow_finds_its_living_target_in_the_chain(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World {
            chain: Chain::of(A),
            now: NOW,
            draining: Default::default(),
            connections: [A].into(),
            guaranteed: Default::default(),
        };
        for event in &events {
            world.take(event);
            let found = owners(&world.chain);
            prop_assert!(found.len() <= 3 && world.fate()(found[0]) != Fate::Dead);
            for target in &world.connections {
                let is_guaranteed = world.guaranteed.get(target).is_none_or(|until| *until > world.now);
                prop_assert!(found.contains(target) || !is_guaranteed, "{target:?} is not in {found:?}");
            }
        }
    }
}
