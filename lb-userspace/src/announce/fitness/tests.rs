use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn vip() -> IpAddr {
    "10.200.1.1".parse().unwrap()
}

fn unfit() -> Look {
    Look { unfit: Some("0 of 2 targets are healthy".into()), ..Look::default() }
}

/// One VIP and its clock.
struct Story {
    fitness: Fitness,
    now: Instant,
}

impl Story {
    fn new(rules: Rules) -> Story {
        Story { fitness: Fitness::new(rules), now: Instant::now() }
    }

    fn after(&mut self, time: Duration, look: &Look) -> State {
        self.now += time;
        self.fitness.look(&BTreeMap::from([(vip(), look.clone())]), self.now);
        self.standing().state
    }

    fn standing(&self) -> Standing {
        self.fitness.standings().next().unwrap().1.clone()
    }

    fn leaving(&self, time: Duration) -> Look {
        let leaving = Leaving { why: "drained by an operator".into(), withdraw_at: self.now + time };
        Look { leaving: Some(leaving), ..Look::default() }
    }
}

#[test]
fn a_vip_is_announced_when_the_node_has_learnt_all_and_not_before() {
    let mut story = Story::new(Rules::default());
    let unready = Look { unready: Some("2 targets were not checked yet".into()), ..Look::default() };
    let broken = Look { broken: Some("the balancer is on no interface".into()), ..unready.clone() };
    assert_eq!(story.after(SECOND, &broken), State::Withdrawn);
    assert_eq!(story.standing().why.as_deref(), Some("the balancer is on no interface"));
    assert_eq!(story.after(SECOND, &unready), State::Withdrawn);
    assert_eq!(story.after(SECOND, &unfit()), State::Withdrawn);
    assert!(story.fitness.wanted().is_empty());
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    assert_eq!(story.fitness.wanted(), Wanted::from([(vip(), Announcement::Announced)]));
    // A target that came later and was not checked yet is no reason to leave.
    assert_eq!(story.after(SECOND, &unready), State::Announced);
}

#[test]
fn a_vip_that_fell_is_withdrawn_at_once_and_announced_after_the_hold_down() {
    let mut story = Story::new(Rules::default());
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    assert_eq!(story.after(SECOND, &unfit()), State::Withdrawn);
    assert_eq!(story.after(100 * SECOND, &Look::default()), State::Held);
    assert_eq!(story.fitness.next_deadline(), Some(story.now + 5 * SECOND));
    assert_eq!(story.after(4 * SECOND, &Look::default()), State::Held);
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    assert_eq!(story.standing().why, None);
}

#[test]
fn the_hold_down_doubles_up_to_its_bound_and_is_forgotten_after_a_steady_time() {
    let mut story = Story::new(Rules::default());
    story.after(SECOND, &Look::default());
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(story.after(SECOND, &unfit()), State::Withdrawn);
        assert_eq!(story.after(SECOND, &Look::default()), State::Held);
        assert_eq!(story.after(SECOND * seconds - Duration::from_millis(1), &Look::default()), State::Held);
        assert_eq!(story.after(Duration::from_millis(1), &Look::default()), State::Announced);
    }
    assert_eq!(story.after(300 * SECOND, &unfit()), State::Withdrawn);
    assert_eq!(story.after(SECOND, &Look::default()), State::Held);
    assert_eq!(story.after(5 * SECOND, &Look::default()), State::Announced);
}

#[test]
fn the_last_announcer_stays_and_says_so() {
    let keep = Rules { when_unfit: WhenUnfit::Keep, ..Rules::default() };
    for (rules, company, state) in [
        (Rules::default(), Company::Unknown, State::Withdrawn),
        (Rules::default(), Company::Alone, State::Announced),
        (keep, Company::Unknown, State::Announced),
        (keep, Company::Others, State::Withdrawn),
        (Rules::default(), Company::Untold, State::Announced),
    ] {
        let mut story = Story::new(rules);
        story.after(SECOND, &Look { company, ..Look::default() });
        assert_eq!(story.after(SECOND, &Look { company, ..unfit() }), state, "{rules:?} {company:?}");
        assert!(story.standing().why.unwrap().starts_with("0 of 2 targets are healthy"));
        // What can't forward is of no use to anybody.
        let broken = Look { broken: Some("the maps".into()), company, ..Look::default() };
        assert_eq!(story.after(SECOND, &broken), State::Withdrawn);
    }
}

#[test]
fn what_is_not_decided_yet_changes_nothing() {
    let undecided = Look { goes: Goes::NotYet, ..unfit() };
    let mut story = Story::new(Rules::default());
    assert_eq!(story.after(SECOND, &undecided), State::Withdrawn, "it is no reason to come");
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    for company in [Company::Unknown, Company::Others, Company::Untold, Company::Alone] {
        assert_eq!(story.after(SECOND, &Look { company, ..undecided.clone() }), State::Announced);
        assert!(story.standing().why.unwrap().ends_with("kept until they are checked"), "{company:?}");
    }
    assert_eq!(story.after(SECOND, &story.leaving(30 * SECOND)), State::Draining);
    assert_eq!(story.after(SECOND, &undecided), State::Announced, "the order was taken back");
    assert_eq!(
        story.after(SECOND, &unfit()),
        State::Withdrawn,
        "by the rules: it was not kept as the last one"
    );
    assert_eq!(story.after(SECOND, &undecided), State::Withdrawn);
}

#[test]
fn what_may_be_wrong_everywhere_is_a_reason_to_go_only_where_others_do_better() {
    for (company, state) in [
        (Company::Unknown, State::Announced),
        (Company::Alone, State::Announced),
        (Company::Untold, State::Announced),
        (Company::Others, State::Withdrawn),
    ] {
        let look = Look { goes: Goes::ForBetter, company, ..unfit() };
        let mut story = Story::new(Rules::default());
        story.after(SECOND, &Look::default());
        assert_eq!(story.after(SECOND, &look), state, "{company:?}");
        // It is no reason to come.
        let unknown = Look { company: Company::Unknown, ..look };
        assert_eq!(story.after(SECOND, &unknown), state, "{company:?}");
    }
}

#[test]
fn what_is_kept_stays_when_nobody_knows_of_the_others_any_more() {
    let mut story = Story::new(Rules::default());
    story.after(SECOND, &Look::default());
    let with = |company| Look { company, ..unfit() };
    assert_eq!(story.after(SECOND, &with(Company::Untold)), State::Announced);
    assert_eq!(story.after(SECOND, &with(Company::Alone)), State::Announced);
    assert_eq!(story.after(SECOND, &with(Company::Unknown)), State::Announced);
    assert_eq!(story.after(SECOND, &with(Company::Others)), State::Withdrawn);
    assert_eq!(story.after(SECOND, &with(Company::Unknown)), State::Withdrawn, "that is no reason to come");
    assert_eq!(story.after(SECOND, &with(Company::Untold)), State::Withdrawn);
    assert_eq!(story.after(SECOND, &with(Company::Alone)), State::Held);
    assert!(story.standing().why.unwrap().contains("no other node announces it, held down for 5 s"));
    assert_eq!(story.after(5 * SECOND, &with(Company::Alone)), State::Announced);
    // One that was never decided to stay goes by the configuration.
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    assert_eq!(story.after(SECOND, &with(Company::Untold)), State::Announced);
    assert_eq!(story.after(SECOND, &with(Company::Unknown)), State::Withdrawn);
}

#[test]
fn an_order_drains_what_is_announced_and_its_end_needs_no_hold_down() {
    let mut story = Story::new(Rules::default());
    story.after(SECOND, &Look::default());
    let leaving = story.leaving(30 * SECOND);
    assert_eq!(story.after(SECOND, &leaving), State::Draining);
    assert_eq!(story.fitness.wanted(), Wanted::from([(vip(), Announcement::Draining)]));
    assert_eq!(story.standing().why.as_deref(), Some("drained by an operator"));
    assert_eq!(story.after(28 * SECOND, &leaving), State::Draining);
    assert_eq!(story.after(SECOND, &leaving), State::Withdrawn);
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    // An order that is taken back before its time is over.
    let leaving = story.leaving(30 * SECOND);
    assert_eq!(story.after(SECOND, &leaving), State::Draining);
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
}

#[test]
fn what_is_not_announced_does_not_drain() {
    let mut story = Story::new(Rules::default());
    let leaving = story.leaving(30 * SECOND);
    assert_eq!(story.after(SECOND, &leaving), State::Withdrawn);
    assert_eq!(story.after(SECOND, &unfit()), State::Withdrawn);
}

#[test]
fn a_vip_of_another_zone_is_not_announced_here() {
    let mut story = Story::new(Rules::default());
    let other = Look { other_zone: Some("b".into()), ..Look::default() };
    assert_eq!(story.after(SECOND, &other), State::OtherZone);
    assert!(story.fitness.wanted().is_empty());
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced);
    assert_eq!(story.after(SECOND, &other), State::OtherZone);
    assert_eq!(story.after(SECOND, &Look::default()), State::Announced, "that is no fault");
}

#[test]
fn a_vip_that_is_no_more_is_forgotten() {
    let mut story = Story::new(Rules::default());
    story.after(SECOND, &Look::default());
    assert!(story.fitness.look(&BTreeMap::new(), story.now));
    assert!(story.fitness.wanted().is_empty() && !story.fitness.is_ready(vip()));
}

fn looks() -> impl Strategy<Value = Look> {
    let some = |chance: f64| proptest::option::weighted(chance, Just("a reason".to_owned()));
    let company = prop_oneof![
        Just(Company::Unknown),
        Just(Company::Alone),
        Just(Company::Others),
        Just(Company::Untold)
    ];
    let goes =
        prop_oneof![3 => Just(Goes::AsConfigured), 1 => Just(Goes::ForBetter), 1 => Just(Goes::NotYet)];
    (some(0.1), some(0.1), some(0.2), some(0.4), goes, company).prop_map(
        |(other_zone, broken, unready, unfit, goes, company)| Look {
            other_zone,
            broken,
            unready,
            unfit,
            goes,
            leaving: None,
            company,
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_announced_while_it_is_unfit(
        steps in proptest::collection::vec((looks(), 0_u64..120_000, any::<bool>()), 1..100),
        keeps in any::<bool>(),
    ) {
        let when_unfit = if keeps { WhenUnfit::Keep } else { WhenUnfit::Withdraw };
        let mut story = Story::new(Rules { when_unfit, ..Rules::default() });
        let (mut was_ready, mut was_announced) = (false, false);
        for (mut look, milliseconds, is_leaving) in steps {
            if is_leaving {
                look.leaving = story.leaving(30 * SECOND).leaving;
            }
            was_ready |= look.other_zone.is_none() && look.broken.is_none() && look.unready.is_none();
            story.after(Duration::from_millis(milliseconds), &look);
            let stays = match look.company {
                _ if look.goes == Goes::NotYet && was_announced => true,
                Company::Alone => true,
                Company::Others => false,
                Company::Untold | Company::Unknown => was_announced || keeps,
            };
            was_announced = !story.fitness.wanted().is_empty();
            let is_unfit = look.broken.is_some()
                || look.other_zone.is_some()
                || !was_ready
                || (look.unfit.is_some() && !stays);
            if is_unfit {
                prop_assert!(story.fitness.wanted().is_empty());
            }
            if is_leaving {
                prop_assert_ne!(story.standing().state, State::Announced);
            }
        }
    }

    #[test]
    fn whatever_was_a_vip_that_is_fit_for_the_bound_is_announced(
        steps in proptest::collection::vec((looks(), 0_u64..120_000), 0..100),
    ) {
        let mut story = Story::new(Rules::default());
        for (look, milliseconds) in steps {
            story.after(Duration::from_millis(milliseconds), &look);
        }
        story.after(SECOND, &Look::default());
        prop_assert_eq!(story.after(300 * SECOND, &Look::default()), State::Announced);
    }

    #[test]
    fn a_vip_that_falls_is_not_back_within_the_hold_down(
        steps in proptest::collection::vec((looks(), 0_u64..4_000), 0..200),
    ) {
        let mut story = Story::new(Rules::default());
        let mut fell: Option<Instant> = None;
        for (look, milliseconds) in steps {
            let before = story.fitness.wanted();
            let state = story.after(Duration::from_millis(milliseconds), &look);
            if !before.is_empty() && state == State::Withdrawn {
                fell = Some(story.now);
            } else if state == State::OtherZone {
                fell = None;
            } else if state == State::Announced && before.is_empty() && let Some(fell) = fell {
                prop_assert!(story.now - fell >= 5 * SECOND);
            }
        }
    }
}
