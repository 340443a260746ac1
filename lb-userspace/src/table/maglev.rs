//! The base of a table: Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4) with weights.
//!
//! Every member has a preference list, a permutation of all slots that follows from its identity alone. The
//! members take turns; in a turn a member takes the first slot of its list that is still free. So a member
//! that goes frees its own slots, and few others change hands. A member with twice the weight has two turns
//! where another has one: turn k of a member of weight w is at the time (2k + 1) / 2w, whoever else there is.
//!
//! A slot's owner says nothing on its neighbour's: preference lists are arithmetic progressions with a step
//! that has no divisor in common with the number of slots, so that any number of slots will do.

use super::member::{Member, MemberIndex, gcd};
use super::{mix, scale};

/// The owner of every slot: a pure function of the set of members, whatever their order.
///
/// Each member owns its exact share of the slots, rounded up or down. Every slot has an owner, unless no
/// member has a weight: then none has. `slots` is 1 to 2^31.
pub fn build(members: &[Member], slots: usize) -> Vec<Option<MemberIndex>> {
    let mut table = vec![None; slots];
    let ranked = ranked(members);
    let mut preferences: Vec<Preferences> =
        ranked.iter().map(|&index| Preferences::new(members[index.at()].identity, slots)).collect();
    for rank in turns(members, &ranked, slots) {
        let preferences = &mut preferences[rank];
        while table[preferences.slot].is_some() {
            preferences.advance(slots);
        }
        table[preferences.slot] = Some(ranked[rank]);
    }
    table
}

/// The members that have a weight, by identity.
fn ranked(members: &[Member]) -> Vec<MemberIndex> {
    let mut ranked: Vec<MemberIndex> =
        (0..members.len()).filter(|&at| members[at].weight > 0).map(MemberIndex::new).collect();
    ranked.sort_unstable_by_key(|index| members[index.at()].identity);
    ranked
}

/// Whose turn it is, as places in `ranked`: one turn a slot.
fn turns(members: &[Member], ranked: &[MemberIndex], slots: usize) -> impl Iterator<Item = usize> {
    let weights: Vec<u64> = ranked.iter().map(|index| members[index.at()].weight).collect();
    let quotas = quotas(&weights, slots);
    let mut turns: Vec<u128> = Vec::with_capacity(slots);
    for (rank, (&weight, &quota)) in weights.iter().zip(&quotas).enumerate() {
        // At most 2^79 × 2^32 = 2^111; with the rank in the lowest 16 bits it is 2^127.
        let half_step = (1_u128 << 79) / u128::from(weight);
        turns.extend((0..quota as u128).map(|turn| ((2 * turn + 1) * half_step) << 16 | rank as u128));
    }
    turns.sort_unstable();
    turns.into_iter().map(|turn| turn as usize & 0xffff)
}

/// How many slots each member owns: its exact share rounded down, and one more for the largest remainders
/// until all slots are given; among equal remainders the first ones have it.
fn quotas(weights: &[u64], slots: usize) -> Vec<usize> {
    let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let share = |weight: u64| u128::from(weight) * slots as u128;
    let mut quotas: Vec<usize> = weights.iter().map(|&weight| (share(weight) / total) as usize).collect();
    let given: usize = quotas.iter().sum();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&rank| std::cmp::Reverse(share(weights[rank]) % total));
    for &rank in by_remainder.iter().take(slots - given) {
        quotas[rank] += 1;
    }
    quotas
}

/// A member's walk through its preference list.
struct Preferences {
    slot: usize,
    step: usize,
}

impl Preferences {
    fn new(identity: u64, slots: usize) -> Preferences {
        let (first, second) = (mix(identity), mix(!identity));
        let mut step = 1 + scale(second, slots.saturating_sub(1).max(1));
        while gcd(step as u64, slots as u64) != 1 {
            step += 1;
        }
        Preferences { slot: scale(first, slots), step }
    }

    fn advance(&mut self, slots: usize) {
        self.slot += self.step;
        if self.slot >= slots {
            self.slot -= slots;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::TableSize;
    use super::super::member::identity;
    use super::*;

    fn members(weights: &[u64]) -> Vec<Member> {
        let address = |at: usize| [10, 0, (at >> 8) as u8, at as u8].into();
        let member = |(at, &weight)| Member { identity: identity("web", address(at)), weight, group: 0 };
        weights.iter().enumerate().map(member).collect()
    }

    fn held(table: &[Option<MemberIndex>], members: usize) -> Vec<usize> {
        let mut held = vec![0; members];
        table.iter().for_each(|owner| held[owner.expect("every slot has an owner").at()] += 1);
        held
    }

    /// The part of the other members' slots that change hands when the member at `gone` goes.
    fn moved_by_removal(weights: &[u64], gone: usize, slots: usize) -> f64 {
        let mut fewer = weights.to_vec();
        fewer[gone] = 0;
        let (before, after) = (build(&members(weights), slots), build(&members(&fewer), slots));
        let others = before.iter().zip(&after).filter(|(was, _)| was.is_some_and(|was| was.at() != gone));
        let (kept, moved): (Vec<_>, Vec<_>) = others.partition(|(was, is)| was == is);
        moved.len() as f64 / (kept.len() + moved.len()) as f64
    }

    #[test]
    fn none_of_100_equal_members_holds_more_than_1_02_times_the_mean() {
        for slots in [8192, 16384, 65536, 65537] {
            let most = held(&build(&members(&[1; 100]), slots), 100).into_iter().max().unwrap();
            assert!(most as f64 <= 1.02 * slots as f64 / 100.0, "{most} of {slots}");
        }
    }

    #[test]
    fn removing_one_of_100_moves_at_most_3_percent_of_the_others_slots() {
        for slots in [8192, 16384, 65536, 65537] {
            for gone in [0, 50, 83] {
                let moved = moved_by_removal(&[1; 100], gone, slots);
                assert!(moved <= 0.03, "{moved} at {slots} slots without {gone}");
            }
        }
    }

    #[test]
    fn removing_one_moves_at_most_3_percent_at_the_sizes_that_are_chosen() {
        for count in [2, 5, 20, 32, 33, 64, 65, 128] {
            let weights = vec![1; count];
            let slots = TableSize::for_weights(weights.iter().copied()).slots();
            for gone in [0, count / 2] {
                let moved = moved_by_removal(&weights, gone, slots);
                assert!(moved <= 0.03, "{moved} of {slots} slots, {count} members without {gone}");
            }
        }
    }

    #[test]
    fn weights_are_met_within_2_percent_at_the_sizes_that_are_chosen() {
        let mixed: Vec<u64> = (0..100).map(|at| 1 + at * 37 % 10).collect();
        for weights in [vec![1, 2, 3], vec![1, 1000], vec![5; 7], mixed] {
            let slots = TableSize::for_weights(weights.iter().copied()).slots();
            let total: u64 = weights.iter().sum();
            for (held, weight) in held(&build(&members(&weights), slots), weights.len()).iter().zip(&weights)
            {
                let exact = slots as f64 * *weight as f64 / total as f64;
                assert!((*held as f64 / exact - 1.0).abs() <= 0.02, "{held} slots instead of {exact}");
            }
        }
    }

    #[test]
    fn changing_one_weight_moves_few_slots_of_the_others() {
        let mut weights = vec![10; 100];
        let before = build(&members(&weights), 16384);
        weights[40] = 20;
        let after = build(&members(&weights), 16384);
        let to_others = before.iter().zip(&after).filter(|(was, is)| was != is && is.unwrap().at() != 40);
        assert!(to_others.count() < 16384 * 3 / 100);
    }

    #[test]
    fn members_without_weight_have_nothing_and_nobody_may_have_all() {
        let table = build(&members(&[0, 3, 0]), 257);
        assert!(table.iter().all(|owner| *owner == Some(MemberIndex::new(1))));
        assert_eq!(build(&members(&[0, 0]), 4), [None; 4]);
        assert_eq!(build(&[], 1), [None]);
    }

    /// Nodes of different versions forward alike only while this holds.
    #[test]
    fn a_table_never_changes_between_versions() {
        let owners: String = build(&members(&[1, 2, 3, 1]), 32)
            .iter()
            .map(|owner| char::from(b'a' + owner.unwrap().at() as u8))
            .collect();
        assert_eq!(owners, "abdcbccbbdaccdccbccbaabcccddbcbc");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_member_has_its_exact_share_rounded(
            weights in prop::collection::vec(prop_oneof![0..4_u64, 0..1000_u64, any::<u64>()], 1..60),
            slots in prop_oneof![1..2000_usize, Just(256), Just(4096)],
        ) {
            let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
            prop_assume!(total > 0);
            let table = build(&members(&weights), slots);
            prop_assert_eq!(table.len(), slots);
            for (held, &weight) in held(&table, weights.len()).into_iter().zip(&weights) {
                let exact = u128::from(weight) * slots as u128;
                prop_assert!(held as u128 >= exact / total && held as u128 <= exact.div_ceil(total));
            }
        }

        #[test]
        fn the_order_of_the_members_does_not_matter(
            weights in prop::collection::vec(0..50_u64, 2..40),
            slots in 1..600_usize,
            by in 0..40_usize,
        ) {
            let members = members(&weights);
            let mut rotated = members.clone();
            rotated.rotate_left(by % members.len());
            rotated.swap(0, 1);
            let identities = |of: &[Member]| -> Vec<Option<u64>> {
                build(of, slots).iter().map(|owner| owner.map(|owner| of[owner.at()].identity)).collect()
            };
            prop_assert_eq!(identities(&members), identities(&rotated));
        }
    }
}
