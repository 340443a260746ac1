//! Health is an overlay: who owns a slot while its member in the base is unavailable.
//!
//! Each slot has a fixed order of spares, which depends on the slot and the base alone:
//!
//! 1. its owner in the base,
//! 2. the owners of `PROBES` other slots of the base, drawn at random, as far as they are of the owner's
//!    group (members own slots in proportion to their weights, so this draws them by weight),
//! 3. all members of the group by weighted rendezvous,
//! 4. the same of 2 and 3 with the members of all groups.
//!
//! The first one that is available has the slot. As the order is fixed, a member that turns unavailable moves
//! its own slots only, and one that comes back takes only slots in whose order it is before the present
//! owner. Step 2 makes it cheap: weighted rendezvous alone would look at every member for every slot.
//!
//! Spares are drawn anew when the table has another size, and mostly kept when the base changes a little.

use super::member::{Member, MemberIndex};
use super::{mix, scale};

/// How many slots of the base are drawn before every candidate is compared: enough when at least one slot in
/// ten is an available member's of the group (then it fails for one slot in thirty).
const PROBES: u64 = 32;

/// The owner of every slot of `base`, which was built from `members`: the base's where it is available, else
/// a spare of the same target group, else one of another group, else none.
///
/// `available` says of each member whether it may get new flows. That a group uses all its members when none
/// is healthy (fail open) is the caller's to put into it. A member without weight is never a spare.
pub fn assign(
    base: &[Option<MemberIndex>],
    members: &[Member],
    available: &[bool],
) -> Vec<Option<MemberIndex>> {
    assert_eq!(members.len(), available.len(), "every member is available or not");
    let overlay = Overlay::new(base, members, available);
    let owner = |(slot, owner): (usize, &Option<MemberIndex>)| match *owner {
        Some(owner) if !available[owner.at()] => overlay.spare(slot, members[owner.at()].group),
        owner => owner,
    };
    base.iter().enumerate().map(owner).collect()
}

struct Overlay<'a> {
    base: &'a [Option<MemberIndex>],
    members: &'a [Member],
    available: &'a [bool],
    /// Those that may be spares, by target group.
    candidates: Vec<Vec<MemberIndex>>,
}

impl<'a> Overlay<'a> {
    fn new(base: &'a [Option<MemberIndex>], members: &'a [Member], available: &'a [bool]) -> Self {
        let groups = members.iter().map(|member| usize::from(member.group) + 1).max().unwrap_or(0);
        let mut candidates = vec![Vec::new(); groups];
        for (at, member) in members.iter().enumerate() {
            if available[at] && member.weight > 0 {
                candidates[usize::from(member.group)].push(MemberIndex::new(at));
            }
        }
        Overlay { base, members, available, candidates }
    }

    fn spare(&self, slot: usize, group: u16) -> Option<MemberIndex> {
        let own = &self.candidates[usize::from(group)];
        if own.is_empty() {
            return self
                .drawn(slot, |_| true)
                .or_else(|| self.preferred(slot, self.candidates.iter().flatten()));
        }
        self.drawn(slot, |member| member.group == group).or_else(|| self.preferred(slot, own))
    }

    /// The first available one of the owners of slots drawn at random.
    fn drawn(&self, slot: usize, eligible: impl Fn(&Member) -> bool) -> Option<MemberIndex> {
        (0..PROBES)
            .filter_map(|probe| self.base[scale(mix((slot as u64) << 8 | probe), self.base.len())])
            .find(|owner| self.available[owner.at()] && eligible(&self.members[owner.at()]))
    }

    /// Weighted rendezvous: the one with the least `-log2(random) / weight`. Equal ones go by identity.
    fn preferred<'c>(
        &self,
        slot: usize,
        candidates: impl IntoIterator<Item = &'c MemberIndex>,
    ) -> Option<MemberIndex> {
        let seed = mix(!(slot as u64));
        let waits = candidates.into_iter().map(|&index| {
            let member = &self.members[index.at()];
            (u128::from(negative_log2(mix(seed ^ member.identity))), member, index)
        });
        let least = waits.min_by(|(wait, member, _), (other_wait, other, _)| {
            let (left, right) = (wait * u128::from(other.weight), other_wait * u128::from(member.weight));
            left.cmp(&right).then(member.identity.cmp(&other.identity))
        });
        least.map(|(_, _, index)| index)
    }
}

/// `-log2(random / 2^64)` in units of 2^-32, right to one part in 10^5 of a unit of the logarithm: from a
/// table of 257 integers, as the last bit of a float's logarithm differs between machines.
fn negative_log2(random: u64) -> u64 {
    let random = random | 1;
    let shift = random.leading_zeros();
    let mantissa = random << shift << 1;
    let (at, rest) = ((mantissa >> 56) as usize, mantissa << 8 >> 32);
    let (low, high) = (LOG2[at], LOG2[at + 1]);
    let fraction = low + (((high - low) * rest) >> 32);
    (u64::from(shift + 1) << 32) - fraction
}

/// `log2(1 + i/256)` in units of 2^-32.
const LOG2: [u64; 257] = {
    let mut table = [0; 257];
    let mut at = 0;
    while at < 256 {
        table[at] = fraction_of_log2(256 + at as u128);
        at += 1;
    }
    table[256] = 1 << 32;
    table
};

/// The binary logarithm of `number / 256`, 1 to under 2, by squaring: each time that the square reaches 2,
/// the next bit is 1.
const fn fraction_of_log2(number: u128) -> u64 {
    let mut square = number << 52;
    let (mut fraction, mut bit) = (0, 0);
    while bit < 32 {
        square = (square * square) >> 60;
        fraction <<= 1;
        if square >> 61 != 0 {
            square >>= 1;
            fraction |= 1;
        }
        bit += 1;
    }
    fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::maglev;
    use super::*;

    /// Members with these weights in these groups, and their base.
    fn table(weights: &[(u16, u64)], slots: usize) -> (Vec<Member>, Vec<Option<MemberIndex>>) {
        let member = |(at, &(group, weight))| Member { identity: mix(at as u64), weight, group };
        let members: Vec<Member> = weights.iter().enumerate().map(member).collect();
        let base = maglev::build(&members, slots);
        (members, base)
    }

    fn all_but(down: &[usize], members: usize) -> Vec<bool> {
        (0..members).map(|at| !down.contains(&at)).collect()
    }

    fn held(owners: &[Option<MemberIndex>], members: usize) -> Vec<usize> {
        let mut held = vec![0; members];
        owners.iter().flatten().for_each(|owner| held[owner.at()] += 1);
        held
    }

    #[test]
    fn a_member_that_turns_unavailable_moves_none_but_its_own_slots() {
        let (members, base) = table(&[(0, 1); 100], 16384);
        assert_eq!(assign(&base, &members, &[true; 100]), base);
        let owners = assign(&base, &members, &all_but(&[42], 100));
        for (owner, was) in owners.iter().zip(&base) {
            let own = was.unwrap().at() == 42;
            assert!(if own { owner.unwrap().at() != 42 } else { owner == was });
        }
    }

    #[test]
    fn a_dead_members_slots_go_evenly_to_the_others() {
        let (members, base) = table(&[(0, 1); 100], 65536);
        let before = held(&base, 100);
        let after = held(&assign(&base, &members, &all_but(&[7], 100)), 100);
        for at in (0..100).filter(|&at| at != 7) {
            // 655 slots over 99 members: 6.6 each, and by chance no more than 20.
            assert!(after[at] - before[at] <= 20, "{} to {at}", after[at] - before[at]);
            assert!(after[at] as f64 <= 1.03 * 65536.0 / 99.0);
        }
    }

    #[test]
    fn spares_are_drawn_by_weight() {
        let weights: Vec<(u16, u64)> = (0..20).map(|at| (0, 1 + at % 2 * 3)).collect();
        let (members, base) = table(&weights, 65536);
        let before = held(&base, 20);
        let after = held(&assign(&base, &members, &all_but(&[0, 1, 2, 3, 4, 5], 20)), 20);
        let gained = |odd: usize| -> usize {
            (6..20).filter(|at| at % 2 == odd).map(|at| after[at] - before[at]).sum()
        };
        let ratio = gained(1) as f64 / gained(0) as f64;
        assert!((3.8..4.2).contains(&ratio), "{ratio} times as much for four times the weight");
    }

    #[test]
    fn rendezvous_alone_respects_weights_too() {
        let weights: Vec<(u16, u64)> = (0..1000).map(|at| (0, 1 + at % 5)).collect();
        let (members, base) = table(&weights, 65536);
        // Two of a thousand are left, with weights 1 and 4: few slots find one by drawing.
        let down: Vec<usize> = (0..1000).filter(|&at| at != 500 && at != 503).collect();
        let held = held(&assign(&base, &members, &all_but(&down, 1000)), 1000);
        assert_eq!(held[500] + held[503], 65536);
        let share = held[503] as f64 / 65536.0;
        assert!((0.78..0.82).contains(&share), "{share} instead of 0.8");
    }

    #[test]
    fn spares_are_of_the_same_group_while_it_has_one() {
        let weights: Vec<(u16, u64)> = (0..40).map(|at| (u16::from(at >= 4), 1)).collect();
        let (members, base) = table(&weights, 4096);
        let owners = assign(&base, &members, &all_but(&[0, 1, 2], 40));
        assert_eq!(held(&owners, 40)[3], held(&base, 40)[..4].iter().sum::<usize>());
    }

    #[test]
    fn a_group_without_an_available_member_gives_its_slots_to_the_others() {
        let (members, base) = table(&[(0, 3), (1, 3), (2, 1), (2, 0)], 4096);
        let owners = assign(&base, &members, &all_but(&[2], 4));
        let held = held(&owners, 4);
        assert_eq!((held[2], held[3], held[0] + held[1]), (0, 0, 4096));
        assert!(held[0].abs_diff(held[1]) < 200);
    }

    #[test]
    fn without_any_available_member_nobody_has_the_slots() {
        let (members, base) = table(&[(0, 1), (1, 1), (1, 0)], 256);
        assert!(assign(&base, &members, &[false, false, true]).iter().all(Option::is_none));
        let (members, base) = table(&[], 256);
        assert!(assign(&base, &members, &[]).iter().all(Option::is_none));
    }

    #[test]
    fn spares_are_mostly_kept_when_the_base_changes_a_little() {
        let (members, base) = table(&[(0, 1); 100], 16384);
        let mut fewer = members.clone();
        fewer[60].weight = 0;
        let smaller = maglev::build(&fewer, 16384);
        let available = all_but(&[1, 2, 3], 100);
        let before = assign(&base, &members, &available);
        let after = assign(&smaller, &fewer, &available);
        let moved =
            before.iter().zip(&after).filter(|(was, is)| was != is && was.unwrap().at() != 60).count();
        assert!(moved < 16384 * 3 / 100, "{moved}");
    }

    #[test]
    fn the_logarithm_is_right_to_one_part_in_a_hundred_thousand() {
        for random in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) + (1 << bit) / 3, u64::MAX >> bit]) {
            let exact = 64.0 - ((random | 1) as f64).log2();
            let ours = negative_log2(random) as f64 / (1_u64 << 32) as f64;
            assert!((exact - ours).abs() < 1e-5, "{random:x}: {ours} instead of {exact}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn one_that_returns_takes_only_what_it_is_preferred_for_and_gets_all_of_its_own(
            weights in prop::collection::vec((0..3_u16, 0..5_u64), 2..30),
            down in prop::collection::vec(any::<bool>(), 30),
            returning in 0..30_usize,
        ) {
            let (members, base) = table(&weights, 256);
            let returning = returning % members.len();
            let mut available: Vec<bool> = down[..members.len()].to_vec();
            available[returning] = false;
            let before = assign(&base, &members, &available);
            available[returning] = true;
            let after = assign(&base, &members, &available);
            for ((was, is), base) in before.iter().zip(&after).zip(&base) {
                prop_assert!(was == is || is.is_some_and(|is| is.at() == returning));
                if base.is_some_and(|base| base.at() == returning) {
                    prop_assert_eq!(is, base);
                }
            }
            available[returning] = false;
            prop_assert_eq!(assign(&base, &members, &available), before);
        }
    }
}
