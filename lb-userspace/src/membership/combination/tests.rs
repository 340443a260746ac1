use proptest::prelude::*;

use super::*;
use crate::table::member;

const SECOND: Duration = Duration::from_secs(1);

fn key(number: u8) -> TargetKey {
    TargetKey { target_group: "web".to_owned(), address: [10, 0, 1, number].into() }
}

fn identity(number: u8) -> u64 {
    member::identity("web", key(number).address)
}

fn unhealthy() -> HealthStatus {
    HealthStatus::described(HealthState::Unhealthy, Reason::Timeout, "Request timed out")
}

fn status(is_unhealthy: bool) -> HealthStatus {
    if is_unhealthy { unhealthy() } else { HealthStatus::healthy() }
}

/// A node that sees these targets so, and all others healthy.
fn other(seen: &[(u8, Seen)]) -> OtherView {
    let view = View::of(seen.iter().map(|(number, seen)| (identity(*number), *seen)));
    OtherView { zone: "a".to_owned(), generation: 7, view: view.unwrap() }
}

fn grounds(policy: HealthView, others: Option<&[OtherView]>, number: u8) -> Grounds<'_> {
    Grounds { policy, others, generation: 7, identity: identity(number), zone: None }
}

use HealthView::{Majority, Own};
use Seen::{Healthy, Unhealthy, Unknown};

#[test]
fn the_policy_the_own_view_and_the_others_decide() {
    // (policy, unhealthy here, others, unhealthy in force)
    let cases: [(HealthView, bool, &[Seen], bool); 16] = [
        (Own, true, &[Healthy, Healthy], true),
        (Own, false, &[Unhealthy, Unhealthy], false),
        (Majority, true, &[Healthy, Healthy], false),
        (Majority, false, &[Unhealthy, Unhealthy], true),
        (Majority, true, &[Unhealthy, Healthy], true),
        (Majority, false, &[Unhealthy, Healthy], false),
        // A tie is for each node to decide, and so is what nobody else sees.
        (Majority, true, &[Healthy], true),
        (Majority, false, &[Unhealthy], false),
        (Majority, true, &[Unhealthy, Healthy, Healthy], true),
        (Majority, false, &[Unhealthy, Unhealthy, Healthy], false),
        (Majority, true, &[], true),
        (Majority, false, &[], false),
        (Majority, true, &[Unknown, Unknown], true),
        // Who does not know has no say.
        (Majority, true, &[Healthy, Unknown, Healthy], false),
        (Majority, true, &[Healthy, Unknown], true),
        (Majority, false, &[Unhealthy, Unknown, Unhealthy], true),
    ];
    for (policy, is_unhealthy_here, others, expected) in cases {
        let others: Vec<OtherView> = others.iter().map(|seen| other(&[(1, *seen)])).collect();
        let mut combination = Combination::default();
        let in_force =
            combination.take(&key(1), status(is_unhealthy_here), &grounds(policy, Some(&others), 1));
        let case = format!("{policy:?}, unhealthy here: {is_unhealthy_here}, others {others:?}");
        assert_eq!(in_force.state == HealthState::Unhealthy, expected, "{case}");
        assert_eq!(in_force.reason.is_some(), expected, "{case}");
    }
}

#[test]
fn while_nobody_can_be_heard_only_own_checks_change_anything() {
    let sound = [other(&[]), other(&[])];
    let mut combination = Combination::default();
    let with = |others| grounds(Majority, others, 1);
    assert_eq!(combination.take(&key(1), unhealthy(), &with(Some(&sound))), HealthStatus::healthy());
    assert_eq!(combination.look(&key(1), &with(None)), None);
    // The same once more is nothing new.
    assert_eq!(combination.take(&key(1), unhealthy(), &with(None)), HealthStatus::healthy());
    assert_eq!(combination.take(&key(1), HealthStatus::healthy(), &with(None)), HealthStatus::healthy());
    assert_eq!(combination.take(&key(1), unhealthy(), &with(None)), unhealthy());
    assert_eq!(combination.look(&key(1), &with(Some(&sound))), Some(HealthStatus::healthy()));
    assert_eq!(combination.look(&key(1), &with(Some(&sound))), None);
    assert_eq!(combination.look(&key(1), &with(Some(&[]))), Some(unhealthy()), "it is the last node");
}

#[test]
fn a_node_has_no_say_of_targets_that_came_after_its_generation_or_are_of_other_zones() {
    let (old, elsewhere) =
        (OtherView { generation: 6, ..other(&[]) }, OtherView { zone: "b".to_owned(), ..other(&[]) });
    let mut combination = Combination::default();
    let others = [old.clone(), old, elsewhere.clone(), elsewhere];
    let of_zone = Grounds { zone: Some("a"), ..grounds(Majority, Some(&others), 1) };
    assert_eq!(combination.take(&key(1), unhealthy(), &of_zone), unhealthy());
    let of_all = grounds(Majority, Some(&others), 1);
    assert_eq!(combination.look(&key(1), &of_all), Some(HealthStatus::healthy()));
    assert_eq!(combination.of(&key(1)).unwrap().votes, Votes { healthy: 2, unhealthy: 0 });
    // One that is a change behind has a say of what was there before.
    let older = Grounds { generation: 9, ..of_all };
    assert_eq!(combination.look(&key(1), &older), None);
}

#[test]
fn what_is_not_decided_here_is_not_combined() {
    let all = [other(&[(1, Unhealthy)]), other(&[(1, Unhealthy)])];
    let initial = HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking);
    let mut combination = Combination::default();
    let majority = grounds(Majority, Some(&all), 1);
    assert_eq!(combination.take(&key(1), initial.clone(), &majority), initial);
    assert_eq!((combination.look(&key(1), &majority), combination.seen(&key(1))), (None, Unknown));
    combination.take(&key(1), HealthStatus::healthy(), &majority);
    assert_eq!(combination.seen(&key(1)), Healthy, "others are told of this node's own checks alone");
    combination.retain(|_| false);
    assert_eq!(combination.seen(&key(1)), Unknown);
}

#[test]
fn what_a_node_sees_alone_is_said() {
    let sound = [other(&[]), other(&[])];
    for (policy, is_unhealthy, others, words) in [
        (Own, true, sound.to_vec(), "Request timed out; unhealthy here alone, healthy at 2 other nodes"),
        (
            Majority,
            true,
            sound.to_vec(),
            "unhealthy here alone (Request timed out); in service, as 2 of 3 nodes see it healthy",
        ),
        (
            Majority,
            true,
            [&sound[..], &[other(&[]), other(&[(1, Unhealthy)])]].concat(),
            "unhealthy here (Request timed out); in service, as 3 of 5 nodes see it healthy",
        ),
        (
            Majority,
            false,
            vec![other(&[(1, Unhealthy)]); 2],
            "Health checks failed at 2 of 3 nodes; they pass here",
        ),
        (Own, false, vec![other(&[(1, Unhealthy)])], "healthy here alone, unhealthy at 1 other nodes"),
        (Own, true, vec![other(&[(1, Unhealthy)]), other(&[])], "Request timed out"),
    ] {
        let mut combination = Combination::default();
        let in_force = combination.take(&key(1), status(is_unhealthy), &grounds(policy, Some(&others), 1));
        let told = combination.of(&key(1)).unwrap().explain(in_force);
        assert_eq!(told.description.as_deref(), Some(words), "{policy:?} {others:?}");
    }
}

#[test]
fn only_a_lasting_contradiction_is_told_once_and_its_end_too() {
    let (sound, ill) = ([other(&[])], [other(&[(1, Unhealthy)])]);
    let (mut combination, begin) = (Combination::default(), Instant::now());
    combination.take(&key(1), unhealthy(), &grounds(Own, Some(&sound), 1));
    for (seconds, others, expected) in [
        (0, &sound, None),
        (19, &sound, None),
        (20, &sound, Some(Told::Contradicted)),
        (22, &sound, None),
        (24, &ill, Some(Told::Agreed)),
        (26, &sound, None),
        (40, &ill, None),
        (50, &sound, None),
    ] {
        combination.look(&key(1), &grounds(Own, Some(others), 1));
        assert_eq!(combination.tell(&key(1), begin + seconds * SECOND), expected, "after {seconds} s");
    }
}

proptest! {
    #[test]
    fn nodes_that_hear_each_other_see_the_same_by_majority_but_for_ties(
        views in proptest::collection::vec(any::<bool>(), 1..12),
    ) {
        let unhealthy = views.iter().filter(|is_unhealthy| **is_unhealthy).count();
        let is_tie = 2 * unhealthy == views.len();
        for (at, own) in views.iter().enumerate() {
            let others = views.iter().enumerate().filter(|(other, _)| *other != at);
            let others: Vec<OtherView> = others
                .map(|(_, is_unhealthy)| other(&[(1, if *is_unhealthy { Unhealthy } else { Healthy })]))
                .collect();
            let mut combination = Combination::default();
            let in_force = combination.take(&key(1), status(*own), &grounds(Majority, Some(&others), 1));
            let expected = if is_tie { *own } else { 2 * unhealthy > views.len() };
            prop_assert_eq!(in_force.state == HealthState::Unhealthy, expected);
        }
    }
}
