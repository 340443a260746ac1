//! Target groups that are deleted, or emptied, once no listener forwards to them any more: flows that they still have are
//! kept for as long as those of any target that leaves.

use super::*;

/// What becomes of a group that no listener forwards to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spare {
    Kept,
    Emptied,
    Deleted,
}

/// Listeners and groups, of which those that no listener names may be emptied or deleted.
#[derive(Debug, Clone)]
struct Plan {
    weights: [[u16; 3]; 2],
    spare: [Spare; 3],
    terminates: bool,
}

impl Plan {
    fn new(weights: [[u16; 3]; 2], terminates: bool) -> Plan {
        Plan { weights, spare: [Spare::Kept; 3], terminates }
    }

    /// Blue alone is used; then green alone; then blue becomes what is said.
    fn of_blue(spare: Spare, terminates: bool) -> [Plan; 3] {
        let blue = Plan::new([[1, 0, 0]; 2], terminates);
        let green = Plan { weights: [[0, 1, 0]; 2], ..blue.clone() };
        let without = Plan { spare: [spare, Spare::Kept, Spare::Kept], ..green.clone() };
        [blue, green, without]
    }

    fn is_used(&self, group: usize) -> bool {
        self.weights.iter().any(|weights| weights[group] > 0)
    }

    fn desired(&self) -> Desired {
        let is_there = |at: usize| self.is_used(at) || self.spare[at] != Spare::Deleted;
        let named = GROUPS.into_iter().enumerate().filter(|(at, _)| is_there(*at));
        let parts = |weights: [u16; 3]| -> Vec<(&str, u16)> {
            // Those of weight 0 that are left out are no part of the action.
            named.clone().filter(|(at, _)| self.is_used(*at)).map(|(at, name)| (name, weights[at])).collect()
        };
        let parts = self.weights.map(parts);
        let mut desired = forwarding(&[&parts[0], &parts[1]]);
        for (at, name) in GROUPS.into_iter().enumerate() {
            if !is_there(at) {
                desired.target_groups.remove(name);
            } else {
                let group = Arc::make_mut(desired.target_groups.get_mut(name).expect("it is there"));
                group.terminates_on_deregistration = self.terminates;
                if !self.is_used(at) && self.spare[at] == Spare::Emptied {
                    group.targets.clear();
                }
            }
        }
        desired
    }
}

impl World {
    /// Takes over a plan; targets that come are healthy.
    fn follow(&mut self, plan: &Plan) {
        let reconciler = &mut self.bench.reconciler;
        reconciler.apply(plan.desired(), self.bench.now).expect("it fits");
        let known: Vec<TargetKey> = reconciler.registry().iter().map(|(key, _)| key.clone()).collect();
        for key in known {
            reconciler.observe(&key, HealthStatus::healthy(), self.bench.now);
        }
        reconciler.settle(self.bench.now);
        self.contents = reconciler.contents();
        self.release();
    }

    fn wait(&mut self, time: Duration) {
        self.pass(time);
        self.release();
    }

    /// The data plane forgets the ids that are nobody's any more.
    fn release(&mut self) {
        let leaving = self.bench.reconciler.leaving().clone();
        let slots = self.contents.tables.values().flat_map(|table| table.slots.iter());
        let mut named = slots.flat_map(|slot| [slot.current(), slot.previous()]);
        assert!(named.all(|target| !leaving.contains(&target)), "a slot names a target that has gone");
        assert!(leaving.iter().all(|id| !self.contents.targets.contains_key(id)));
        self.entries.retain(|_, (target, _)| !leaving.contains(target));
        self.bench.reconciler.released(&leaving);
    }

    fn knows(&self, id: TargetId) -> bool {
        self.bench.reconciler.registry().by_id(id).is_some()
    }

    fn targets_of(&self, group: &str) -> Vec<TargetId> {
        self.bench.reconciler.registry().group(group).map(|(_, record)| record.id).collect()
    }
}

#[test]
fn a_group_that_is_deleted_after_its_listener_left_it_drains_and_is_then_named_by_no_slot() {
    for spare in [Spare::Deleted, Spare::Emptied] {
        let [blue, green, without] = Plan::of_blue(spare, true);
        let mut world = World::new(blue.desired());
        world.begin_many(80, 1);
        for plan in [green, without] {
            world.follow(&plan);
            assert_eq!(world.strays(), 0, "{spare:?}");
        }
        for _ in 0..4 {
            world.wait(DRAINING / 5);
            assert_eq!(world.strays(), 0, "{spare:?}");
        }
        world.wait(DRAINING / 5);
        assert_eq!((world.strays(), world.targets_of("blue")), (world.flows.len(), Vec::new()));
        world.wait(IDLE);
        world.wait(IDLE);
        assert_eq!(world.bench.reconciler.next_deadline(), None, "all is forgotten");
        assert!(!world.bench.reconciler.actions().serve("blue"));
    }
}

#[test]
fn flows_on_a_deleted_group_live_on_after_its_draining_time_if_it_did_not_say_that_they_are_cut() {
    let [blue, green, without] = Plan::of_blue(Spare::Deleted, false);
    let mut world = World::new(blue.desired());
    world.begin_many(80, 1);
    world.follow(&green);
    world.follow(&without);
    for _ in 0..20 {
        world.wait(IDLE / 2);
        assert_eq!(world.strays(), 0);
    }
    world.flows.clear();
    for _ in 0..5 {
        world.wait(IDLE);
    }
    assert_eq!((world.targets_of("blue"), world.bench.reconciler.next_deadline()), (Vec::new(), None));
}

#[test]
fn a_group_that_comes_again_while_its_targets_drain_has_their_flows() {
    let [blue, green, without] = Plan::of_blue(Spare::Deleted, true);
    let mut world = World::new(blue.desired());
    world.begin_many(80, 1);
    let ids = world.targets_of("blue");
    for plan in [&green, &without] {
        world.follow(plan);
    }
    world.wait(DRAINING / 2);
    assert_eq!(world.strays(), 0);
    world.follow(&blue);
    assert_eq!(world.targets_of("blue"), ids);
    for _ in 0..8 {
        assert_eq!(world.strays(), 0);
        world.wait(DRAINING / 4);
    }
}

#[test]
fn targets_that_had_no_flows_or_whose_listener_is_gone_go_at_once() {
    let [blue, green, without] = Plan::of_blue(Spare::Deleted, true);
    let mut never_used = World::new(green.desired());
    never_used.follow(&without);
    assert_eq!(never_used.targets_of("blue"), []);

    let [mut silent, mut listenerless] = [0, 1].map(|_| World::new(blue.desired()));
    silent.follow(&green);
    (0..3).for_each(|_| silent.wait(IDLE));
    silent.follow(&without);
    assert_eq!(silent.targets_of("blue"), []);

    listenerless.follow(&green);
    listenerless.follow(&without);
    assert_eq!(listenerless.targets_of("blue").len(), 3);
    let mut desired = without.desired();
    desired.load_balancers.clear();
    listenerless.apply(desired);
    assert_eq!(listenerless.targets_of("blue"), []);
    listenerless.release();
}

#[test]
fn one_change_may_take_a_listener_to_another_group_and_delete_its_own() {
    let [blue, _, without] = Plan::of_blue(Spare::Deleted, true);
    let mut world = World::new(blue.desired());
    world.begin_many(80, 1);
    world.follow(&without);
    world.wait(DRAINING / 2);
    assert_eq!(world.strays(), 0);
}

/// Another plan: a listener forwards elsewhere, and what nobody uses any more is kept, emptied or deleted.
fn next(plan: &Plan, random: &mut fastrand::Rng) -> Plan {
    let mut next = plan.clone();
    let one = random.usize(0..2);
    next.weights[one] = match random.u8(0..4) {
        0 => plan.weights[1 - one],
        1 => plan.weights[one],
        _ => [0; 3].map(|_: u16| random.u16(0..6).saturating_sub(2)),
    };
    if next.weights[one].iter().sum::<u16>() == 0 {
        next.weights[one] = plan.weights[one];
    }
    for spare in &mut next.spare {
        *spare = match random.u8(0..4) {
            0 => Spare::Kept,
            1 => Spare::Emptied,
            2 => Spare::Deleted,
            _ => *spare,
        };
    }
    next
}

#[test]
fn no_flow_leaves_its_target_before_it_has_drained_however_often_listeners_change_and_groups_are_deleted() {
    for (seed, terminates) in (0..10).map(|seed| (seed, seed % 2 == 0)) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut plan = Plan::new([[1, 0, 0], [0, 1, 0]], terminates);
        let mut world = World::new(plan.desired());
        let mut left: HashMap<TargetId, Instant> = HashMap::new();
        for step in 0..60 {
            plan = next(&plan, &mut random);
            world.follow(&plan);
            for (_, record) in world.bench.reconciler.registry().iter() {
                if record.is_draining() {
                    left.entry(record.id).or_insert(world.bench.now);
                } else {
                    left.remove(&record.id);
                }
            }
            assert_eq!(world.strays(), 0, "seed {seed}, step {step}: {plan:?}");
            world.begin_many(80 + random.u16(0..2), seed << 32 | step);
            if world.flows.len() > 3000 {
                world.flows.drain(..1000);
            }
            world.wait(IDLE * random.u32(1..9) / 10);
            let (gone, living): (Vec<_>, Vec<_>) =
                world.flows.iter().copied().partition(|(_, target)| !world.knows(*target));
            let has_drained = |target: &TargetId| {
                terminates && left.get(target).is_some_and(|at| *at + DRAINING <= world.bench.now)
            };
            assert!(gone.iter().all(|(_, target)| has_drained(target)), "seed {seed}, step {step}: cut");
            world.flows = living;
            assert_eq!(world.strays(), 0, "seed {seed}, step {step}, after a while: {plan:?}");
            left.retain(|id, _| world.knows(*id));
        }
    }
}
