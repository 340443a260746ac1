use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::known::{FRESH, Found, Membership};
use super::super::record::UnfitVip;
use super::super::record::tests::record;
use super::*;
use crate::announce::fitness::{Fitness, Look, Rules};
use crate::api::calendar::Timestamp;

fn vip() -> IpAddr {
    IpAddr::from([10, 200, 1, 1])
}

/// A node as far as one VIP is concerned: what it knows and announces, and how far its round has come.
struct Node {
    name: String,
    membership: Membership,
    fitness: Fitness,
    grade: Grade,
    /// What it last found of the others.
    company: Company,
    asked: Option<Record>,
    written: Option<Record>,
}

impl Node {
    fn new(number: usize) -> Node {
        let rules = Rules { hold_down: Duration::ZERO, ..Rules::default() };
        Node {
            name: format!("lb{number}"),
            membership: Membership::default(),
            fitness: Fitness::new(rules),
            grade: Grade::Fit,
            company: Company::Unknown,
            asked: None,
            written: None,
        }
    }

    fn is_announced(&self) -> bool {
        self.fitness.is_announced(vip())
    }

    /// What the controller does after every event.
    fn look(&mut self, now: Instant) {
        self.company = self.membership.company(vip(), self.grade, self.is_announced(), now);
        let unfit = (self.grade != Grade::Fit).then(|| "too few".to_owned());
        let look = Look { unfit, company: self.company, ..Look::default() };
        self.fitness.look(&BTreeMap::from([(vip(), look)]), now);
    }

    fn record(&self) -> Record {
        let leaves = self.grade != Grade::Fit && self.company == Company::Untold;
        let declared = UnfitVip { vip: vip(), grade: self.grade, leaves };
        let is_told = self.is_announced() && (self.grade != Grade::Fit || leaves);
        Record {
            vips: if self.is_announced() { vec![vip()] } else { Vec::new() },
            unfit: if is_told { vec![declared] } else { Vec::new() },
            ..record(&self.name, "a", 7, "x")
        }
    }
}

/// Nodes and the store that they share.
struct World {
    nodes: Vec<Node>,
    store: BTreeMap<String, Record>,
    now: Instant,
}

/// What may happen to a node next, in any order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Becomes(Grade),
    Looks,
    Asks,
    Writes,
    /// It has written, and the answer is lost.
    WritesUnheard,
    Reads,
}

impl World {
    fn of(nodes: usize) -> World {
        let nodes = (0..nodes).map(Node::new).collect();
        let mut world = World { nodes, store: BTreeMap::new(), now: Instant::now() };
        world.nodes.iter_mut().for_each(|node| node.look(world.now));
        world.rounds(2);
        world
    }

    fn step(&mut self, at: usize, step: Step) {
        let node = &mut self.nodes[at];
        match step {
            Step::Becomes(grade) => node.grade = grade,
            Step::Looks => node.look(self.now),
            Step::Asks => {
                let record = node.record();
                node.membership.declare(&record);
                (node.asked, node.written) = (Some(record), None);
            }
            Step::Writes | Step::WritesUnheard => {
                if let Some(record) = node.asked.take() {
                    self.store.insert(node.name.clone(), record.clone());
                    node.written = matches!(step, Step::Writes).then_some(record);
                }
            }
            Step::Reads => {
                if let Some(own) = node.written.take() {
                    let found = |record: &Record| Found {
                        present: Some(record.session.clone()),
                        record: record.clone(),
                    };
                    let found = self.store.values().map(found).collect();
                    node.membership.take(&own, found, self.now, Timestamp(3_000_000));
                }
            }
        }
    }

    /// All nodes go through whole rounds, one after the other.
    fn rounds(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for at in 0..self.nodes.len() {
                [Step::Looks, Step::Asks, Step::Writes, Step::Reads, Step::Looks]
                    .into_iter()
                    .for_each(|step| self.step(at, step));
            }
        }
    }

    fn announcers(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].is_announced()).collect()
    }

    fn becomes(&mut self, grades: &[Grade]) {
        for (at, grade) in grades.iter().enumerate() {
            self.step(at, Step::Becomes(*grade));
        }
    }
}

use Grade::{Fit, Useless, Weak};

#[test]
fn unfit_nodes_go_while_a_better_one_is_there_and_all_stay_while_none_is() {
    for (grades, expected) in [
        (&[Fit, Fit, Fit][..], &[0, 1, 2][..]),
        (&[Weak, Fit, Fit], &[1, 2]),
        (&[Weak, Useless, Fit], &[2]),
        (&[Weak, Weak, Weak], &[0, 1, 2]),
        (&[Useless, Useless, Useless], &[0, 1, 2]),
        (&[Useless, Weak, Useless], &[1]),
    ] {
        let mut world = World::of(3);
        world.becomes(grades);
        world.rounds(6);
        assert_eq!(world.announcers(), expected, "{grades:?}");
    }
}

#[test]
fn the_last_announcer_stays_until_another_one_does_better_and_equals_come_back() {
    let mut world = World::of(3);
    for (grades, expected) in [
        ([Useless, Fit, Fit], &[1, 2][..]),
        ([Useless, Useless, Fit], &[2]),
        ([Useless, Useless, Useless], &[0, 1, 2]),
        ([Useless, Fit, Useless], &[1]),
        ([Weak, Useless, Useless], &[0]),
        ([Weak, Useless, Weak], &[0, 2]),
        ([Fit, Fit, Fit], &[0, 1, 2]),
    ] {
        world.becomes(&grades);
        world.rounds(6);
        assert_eq!(world.announcers(), expected, "{grades:?}");
    }
}

#[test]
fn two_that_fall_in_the_same_moment_do_not_rely_on_each_other() {
    let mut world = World::of(2);
    world.becomes(&[Weak, Weak]);
    for step in [Step::Looks, Step::Asks, Step::Writes, Step::Reads, Step::Looks, Step::Asks, Step::Writes] {
        (0..2).for_each(|at| world.step(at, step));
        assert_eq!(world.announcers(), [0, 1], "{step:?}");
    }
    world.rounds(3);
    assert_eq!(world.announcers(), [0, 1]);
}

#[test]
fn what_was_read_long_ago_says_nothing_and_a_namesake_hides_everything() {
    let mut world = World::of(2);
    let node = &world.nodes[0];
    let company = |later| node.membership.company(vip(), Useless, true, world.now + later);
    assert_eq!(company(Duration::ZERO), Company::Untold);
    assert_eq!(company(FRESH), Company::Untold);
    assert_eq!(company(FRESH + Duration::from_millis(1)), Company::Unknown);
    let twin = Record { session: "another".to_owned(), ..node.record() };
    let found = Found { present: Some(twin.session.clone()), record: twin };
    node.membership.take(&node.record(), vec![found], world.now, Timestamp(3_000_000));
    assert_eq!(node.membership.company(vip(), Useless, true, world.now), Company::Unknown);
    world.rounds(1);
    assert_eq!(world.nodes[0].membership.company(vip(), Useless, true, world.now), Company::Untold);
}

#[test]
fn one_that_is_drained_is_no_company() {
    let (own, mut other) = (record("lb1", "a", 7, "x"), record("lb2", "a", 7, "x"));
    other.unfit = vec![UnfitVip { vip: vip(), grade: Fit, leaves: true }];
    let mut companions = Companions::default();
    companions.take(&own, Some(&own), [&other].into_iter());
    assert_eq!(companions.of(vip(), Useless, true), Company::Alone);
    assert_eq!(companions.of(vip(), Useless, false), Company::Alone);
}

#[test]
fn a_record_of_an_older_version_is_of_a_node_that_is_fit() {
    let mut json = serde_json::to_value(record("lb2", "a", 7, "x")).unwrap();
    json.as_object_mut().unwrap().remove("unfit");
    let other: Record = serde_json::from_value(json).unwrap();
    assert_eq!(other.stances(), BTreeMap::from([(vip(), Stance::FIT)]));
}

fn steps() -> impl Strategy<Value = (usize, Step)> {
    let grade = prop_oneof![Just(Useless), Just(Weak), Just(Fit)];
    let step = prop_oneof![
        1 => grade.prop_map(Step::Becomes),
        4 => Just(Step::Looks),
        3 => Just(Step::Asks),
        3 => Just(Step::Writes),
        1 => Just(Step::WritesUnheard),
        3 => Just(Step::Reads),
    ];
    (0..4_usize, step)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_whatever_order_things_happen_somebody_announces(
        nodes in 2..5_usize,
        steps in proptest::collection::vec(steps(), 1..300),
    ) {
        let mut world = World::of(nodes);
        for (at, step) in steps {
            world.step(at % nodes, step);
            prop_assert!(!world.announcers().is_empty());
        }
    }

    #[test]
    fn when_all_is_quiet_the_best_announce(
        steps in proptest::collection::vec(steps(), 1..200),
    ) {
        let mut world = World::of(3);
        for (at, step) in steps {
            world.step(at % 3, step);
        }
        world.rounds(8);
        let best = world.nodes.iter().map(|node| node.grade).max();
        let all = (0..3).filter(|at| Some(world.nodes[*at].grade) == best).collect::<Vec<_>>();
        prop_assert_eq!(world.announcers(), all);
    }
}
