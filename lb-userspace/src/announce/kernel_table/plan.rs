//! What must change in the kernel so that its routes are those that are wanted. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, Mark};
use super::status::State;
use crate::announce::{Announcement, Wanted};

/// A route as far as it is told from others here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(super) place: Place,
    pub(super) protocol: u8,
    /// The kernel's number of its type.
    pub(super) kind: u8,
}

/// A route's place: the kernel has one route in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(super) table: u32,
    pub(super) destination: IpAddr,
    /// Bits of the prefix.
    pub(super) length: u8,
    pub(super) tos: u8,
    pub(super) metric: u32,
}

impl Route {
    /// The route to a VIP.
    ///
    /// It is a blackhole: no device can take it away, and where it comes to the main table (FRR puts there what it takes
    /// from another one), packets that are no listener's end there; with a device they would be sent to and fro between
    /// this host and its router. Local addresses come first in any case.
    pub(super) fn to(vip: IpAddr, announcement: Announcement, configuration: &Configuration) -> Route {
        let (protocol, metric) = match announcement {
            Announcement::Announced => (configuration.protocol, configuration.metric),
            Announcement::Draining => (configuration.draining_protocol, configuration.draining_metric),
        };
        let length = if vip.is_ipv4() { 32 } else { 128 };
        let place = Place { table: configuration.table, destination: vip, length, tos: 0, metric };
        Route { place, protocol, kind: BLACKHOLE }
    }

    fn mark(&self) -> Mark {
        Mark { table: self.place.table, protocol: self.protocol }
    }

    fn is_to_a_host(&self) -> bool {
        self.place.length == if self.place.destination.is_ipv4() { 32 } else { 128 }
    }
}

/// One request of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// There is no such route of ours; where another's is in its place, it must stay.
    Create(Route),
    /// A route of ours is in its place.
    Replace(Route),
    /// It is there, and should not be.
    Remove(Route),
}

impl Change {
    /// The VIP that it is about.
    pub(super) fn vip(&self) -> IpAddr {
        let (Change::Create(route) | Change::Replace(route) | Change::Remove(route)) = self;
        route.place.destination
    }

    /// Whether a configuration can lead to it: the very route of a VIP, or one of its own that goes.
    pub(crate) fn is_of(&self, configuration: &Configuration) -> bool {
        let is_a_vips = |route: &Route| {
            [Announcement::Announced, Announcement::Draining]
                .iter()
                .any(|at| *route == Route::to(route.place.destination, *at, configuration))
        };
        match self {
            Change::Create(route) | Change::Replace(route) => is_a_vips(route),
            Change::Remove(route) => configuration.marks().contains(&route.mark()),
        }
    }
}

/// What is to be done, and what is then true of each VIP.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) states: BTreeMap<IpAddr, State>,
}

/// Whether routes that are not wanted may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwanted {
    Remove,
    Hold,
}

/// Makes the routes among `present` that have one of the `marks` those that are wanted.
pub(super) fn plan(
    present: &[Route],
    wanted: &Wanted,
    configuration: &Configuration,
    marks: &BTreeSet<Mark>,
    unwanted: Unwanted,
) -> Plan {
    let mut ours: BTreeMap<IpAddr, Vec<Route>> = BTreeMap::new();
    let mut plan = Plan::default();
    for route in present.iter().filter(|route| marks.contains(&route.mark())) {
        if route.is_to_a_host() {
            ours.entry(route.place.destination).or_default().push(*route);
        } else {
            plan.changes.push(Change::Remove(*route));
        }
    }
    for (vip, announcement) in wanted {
        let route = Route::to(*vip, *announcement, configuration);
        plan.changes.extend(changes(route, &ours.remove(vip).unwrap_or_default(), configuration));
        plan.states.insert(*vip, State::of(*announcement));
    }
    for (vip, routes) in ours {
        match unwanted {
            Unwanted::Hold => _ = plan.states.insert(vip, State::Held),
            Unwanted::Remove => plan.changes.extend(routes.into_iter().map(Change::Remove)),
        }
    }
    plan
}

/// Makes `route` the only one of those that a VIP has.
///
/// Where announced and draining differ in metric, they are two places in the kernel. The old route then goes before the
/// new one comes, and a bent one goes, too, instead of being replaced: of a VIP with two routes FRR (8.4) takes the way
/// for gone as soon as one of them is, and does not take a route again that was replaced. With one metric for both, a
/// route is replaced in one step.
fn changes(route: Route, present: &[Route], configuration: &Configuration) -> Vec<Change> {
    let (here, elsewhere): (Vec<Route>, Vec<Route>) =
        present.iter().partition(|other| other.place.table == configuration.table);
    let is_there = here == [route];
    let in_place = configuration.metric == configuration.draining_metric
        && here.iter().any(|other| other.place == route.place);
    let stays = |other: &Route| is_there || in_place && other.place == route.place;
    let mut changes: Vec<Change> =
        here.iter().filter(|other| !stays(other)).copied().map(Change::Remove).collect();
    match (is_there, in_place) {
        (true, _) => {}
        (false, true) => changes.push(Change::Replace(route)),
        (false, false) => changes.push(Change::Create(route)),
    }
    changes.extend(elsewhere.into_iter().map(Change::Remove));
    changes
}

/// `RTN_BLACKHOLE` of linux/rtnetlink.h.
const BLACKHOLE: u8 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const C: Configuration = Configuration {
        table: 214,
        protocol: 214,
        draining_protocol: 215,
        metric: 100,
        draining_metric: 200,
        hold: std::time::Duration::ZERO,
    };

    fn vip(number: u8) -> IpAddr {
        if number.is_multiple_of(2) {
            [10, 200, 0, number].into()
        } else {
            [0xfc00, 0, 0, 0, 0, 0, 0, u16::from(number)].into()
        }
    }

    fn wanted(vips: impl IntoIterator<Item = (u8, Announcement)>) -> Wanted {
        vips.into_iter().map(|(number, announcement)| (vip(number), announcement)).collect()
    }

    #[test]
    fn what_is_planned_is_of_its_configuration_and_another_place_is_not() {
        let route = Route::to(vip(2), Announcement::Announced, &C);
        let main = Route { place: Place { table: 254, ..route.place }, ..route };
        let prefix = Route { place: Place { length: 8, ..route.place }, ..route };
        let unicast = Route { kind: 1, ..route };
        let foreign = Route { protocol: 186, ..route };
        for bent in [main, prefix, unicast, foreign] {
            assert!(!Change::Create(bent).is_of(&C) && !Change::Replace(bent).is_of(&C), "{bent:?}");
        }
        for others in [main, foreign] {
            assert!(!Change::Remove(others).is_of(&C), "{others:?}");
        }
        assert!(Change::Create(route).is_of(&C) && Change::Remove(prefix).is_of(&C));
    }

    fn planned(present: &[Route], wanted: &Wanted, configuration: &Configuration) -> Vec<Change> {
        plan(present, wanted, configuration, &configuration.marks(), Unwanted::Remove).changes
    }

    fn announced(number: u8) -> Route {
        Route::to(vip(number), Announcement::Announced, &C)
    }

    fn draining(number: u8) -> Route {
        Route::to(vip(number), Announcement::Draining, &C)
    }

    #[test]
    fn what_is_as_wanted_is_not_touched() {
        let wanted = wanted([(0, Announcement::Announced), (1, Announcement::Draining)]);
        let plan = plan(&[announced(0), draining(1)], &wanted, &C, &C.marks(), Unwanted::Remove);
        assert_eq!(plan.changes, []);
        assert_eq!(plan.states, [(vip(0), State::Announced), (vip(1), State::Draining)].into());
    }

    #[test]
    fn what_is_missing_is_created_and_what_nobody_wants_removed() {
        let wanted = wanted([(0, Announcement::Announced)]);
        let changes = planned(&[announced(1)], &wanted, &C);
        assert_eq!(changes, [Change::Create(announced(0)), Change::Remove(announced(1))]);
    }

    #[test]
    fn with_two_metrics_announced_goes_right_before_draining_comes() {
        let wanted = wanted([(0, Announcement::Draining), (2, Announcement::Draining)]);
        let changes = planned(&[announced(0), announced(2), draining(2)], &wanted, &C);
        let expected = [
            Change::Remove(announced(0)),
            Change::Create(draining(0)),
            Change::Remove(announced(2)),
            Change::Remove(draining(2)),
            Change::Create(draining(2)),
        ];
        assert_eq!(changes, expected);
    }

    #[test]
    fn with_one_metric_draining_takes_the_place_of_announced() {
        let one = Configuration { draining_metric: 100, ..C };
        let to = |announcement| Route::to(vip(0), announcement, &one);
        let wanted = wanted([(0, Announcement::Draining)]);
        let changes = planned(&[to(Announcement::Announced)], &wanted, &one);
        assert_eq!(changes, [Change::Replace(to(Announcement::Draining))]);
    }

    #[test]
    fn a_route_of_ours_that_somebody_bent_is_made_anew() {
        const UNICAST: u8 = 1;
        let bent = Route { kind: UNICAST, ..announced(0) };
        let wanted = wanted([(0, Announcement::Announced)]);
        assert_eq!(planned(&[bent], &wanted, &C), [Change::Remove(bent), Change::Create(announced(0))]);
        let one = Configuration { draining_metric: 100, ..C };
        assert_eq!(planned(&[bent], &wanted, &one), [Change::Replace(announced(0))]);
    }

    #[test]
    fn other_programs_routes_are_not_touched() {
        let others = [Route { protocol: 3, ..announced(0) }, Route { protocol: 186, ..announced(1) }];
        assert_eq!(planned(&others, &Wanted::new(), &C), []);
        let wanted = wanted([(0, Announcement::Announced)]);
        assert_eq!(planned(&others, &wanted, &C), [Change::Create(announced(0))]);
    }

    #[test]
    fn routes_of_an_earlier_run_are_held_until_somebody_decides_about_their_vip() {
        let network = Route { place: Place { length: 24, ..announced(4).place }, ..announced(4) };
        let present = [announced(0), draining(1), announced(2), network];
        let wanted = wanted([(2, Announcement::Draining)]);
        let plan = plan(&present, &wanted, &C, &C.marks(), Unwanted::Hold);
        let decided = [Change::Remove(network), Change::Remove(announced(2)), Change::Create(draining(2))];
        assert_eq!(plan.changes, decided);
        let held = [(vip(0), State::Held), (vip(1), State::Held), (vip(2), State::Draining)];
        assert_eq!(plan.states, held.into());
    }

    #[test]
    fn another_configuration_moves_the_routes_new_ones_first() {
        let new = Configuration { table: 300, ..C };
        let marks = &C.marks() | &new.marks();
        let wanted = wanted([(0, Announcement::Announced)]);
        let plan = plan(&[announced(0)], &wanted, &new, &marks, Unwanted::Remove);
        let moved = Route::to(vip(0), Announcement::Announced, &new);
        assert_eq!(plan.changes, [Change::Create(moved), Change::Remove(announced(0))]);
    }

    /// The kernel, as far as it matters: a route in each place.
    fn apply(present: &[Route], changes: &[Change]) -> Vec<Route> {
        let mut routes: BTreeMap<Place, Route> = present.iter().map(|route| (route.place, *route)).collect();
        for change in changes {
            match change {
                Change::Create(route) => {
                    routes.entry(route.place).or_insert(*route);
                }
                Change::Replace(route) => {
                    assert!(routes.insert(route.place, *route).is_some(), "nothing to replace");
                }
                Change::Remove(route) => {
                    assert_eq!(routes.remove(&route.place), Some(*route), "only what is there is removed");
                }
            }
        }
        routes.into_values().collect()
    }

    fn any_route() -> impl Strategy<Value = Route> {
        let place =
            (0u8..6, prop_oneof![Just(100u32), Just(101), Just(300)], prop_oneof![Just(214u32), Just(7)]);
        (place, prop_oneof![Just(214u8), Just(215), Just(3)], prop_oneof![Just(1u8), Just(6)]).prop_map(
            |((number, metric, table), protocol, kind)| {
                let place = Place { metric, table, ..announced(number).place };
                Route { place, protocol, kind }
            },
        )
    }

    fn any_wanted() -> impl Strategy<Value = Wanted> {
        let announcement = prop_oneof![Just(Announcement::Announced), Just(Announcement::Draining)];
        prop::collection::btree_map((0u8..6).prop_map(vip), announcement, 0..6)
    }

    proptest! {
        #[test]
        fn after_a_plan_all_is_as_wanted_but_where_others_are(
            present in prop::collection::vec(any_route(), 0..12), wanted in any_wanted(), metric in 100u32..=101
        ) {
            let configuration = Configuration { draining_metric: metric, ..C };
            let present = apply(&[], &present.into_iter().map(Change::Create).collect::<Vec<_>>());
            let after = apply(&present, &planned(&present, &wanted, &configuration));
            let is_ours = |route: &&Route| C.marks().contains(&route.mark());
            let others = |routes: &[Route]| routes.iter().filter(|r| !is_ours(r)).copied().collect::<Vec<_>>();
            prop_assert_eq!(others(&after), others(&present));
            let taken: BTreeSet<Place> = others(&present).iter().map(|route| route.place).collect();
            let expected = wanted.iter().map(|(vip, announcement)| Route::to(*vip, *announcement, &configuration));
            let expected: BTreeSet<Route> = expected.filter(|route| !taken.contains(&route.place)).collect();
            prop_assert_eq!(after.iter().filter(is_ours).copied().collect::<BTreeSet<_>>(), expected);
            let again: Vec<Change> = planned(&after, &wanted, &configuration);
            prop_assert!(again.iter().all(|change| matches!(change, Change::Create(route) if taken.contains(&route.place))));
        }
    }
}
