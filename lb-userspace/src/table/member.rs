//! Who takes part in a forward action's table, and with what weight.
//!
//! Owns the stable identity of a target and the arithmetic that joins a target's weight in its group with its
//! group's weight in the action. Knows nothing of health: a member that is unavailable is still a member.

use std::hash::Hasher;
use std::net::IpAddr;
use std::num::NonZeroU16;

use siphasher::sip::SipHasher24;

/// One target in a forward action's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Names the target on every node and in every run, see [`identity`]. No two members of a table share
    /// one.
    pub identity: u64,
    /// Its share of the table relative to the others'; 0 is no share.
    pub weight: u64,
    /// Which target group of the action it is in: an index into the action's target groups.
    pub group: u16,
}

/// A member's place in the list that the table was built from, 0 to 65534: one more, so that none is no bigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(NonZeroU16);

impl MemberIndex {
    /// The index as one of a slice.
    pub const fn at(self) -> usize {
        self.0.get() as usize - 1
    }

    /// The index of the member at `at`.
    ///
    /// # Panics
    ///
    /// If `at` is above 65534: target ids have 16 bits, so no table has that many members.
    pub fn new(at: usize) -> MemberIndex {
        let number = u16::try_from(at + 1).ok().and_then(NonZeroU16::new);
        MemberIndex(number.expect("a table has at most 65535 members"))
    }
}

/// The identity of a target: a hash of its target group's name and its address.
///
/// SipHash-2-4 with a fixed key, so that it is the same on every machine and in every version. The key is no
/// secret: whoever chooses targets' addresses is an operator.
pub fn identity(target_group: &str, address: IpAddr) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0x536c_7569_6365_3a74, 0x6172_6765_742d_6964);
    hasher.write(&(target_group.len() as u64).to_le_bytes());
    hasher.write(target_group.as_bytes());
    match address {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish()
}

/// One target group's part in a forward action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupShare {
    /// The target group's weight in the action, 0 to 999.
    pub weight: u16,
    /// The group's targets: identity, and weight in the group (0 to 1000).
    pub targets: Vec<(u64, u16)>,
}

/// The members of a forward action, group by group in the order given.
///
/// The members of a group have in sum a share of the action's flows that is proportional to the group's
/// weight, and inside the group each a share that is proportional to its own. A group without a target, or
/// with weights of 0 only, has no share: the others have the whole. The result is exact while the least
/// common multiple of the groups' sums of weights is below 2^40 (always so for one group), and else right to
/// one part in 2^21.
pub fn members_of(groups: &[GroupShare]) -> Vec<Member> {
    let scale = Scale::of(groups);
    let mut members = Vec::with_capacity(groups.iter().map(|group| group.targets.len()).sum());
    for (index, group) in groups.iter().enumerate() {
        let index = u16::try_from(index).expect("an action has fewer target groups than a node has targets");
        let total = total(group);
        members.extend(group.targets.iter().map(|&(identity, weight)| Member {
            identity,
            weight: scale.apply(u64::from(group.weight) * u64::from(weight), total),
            group: index,
        }));
    }
    members
}

/// What `action weight × target weight ÷ sum of the group's weights` is multiplied with to be an integer.
enum Scale {
    /// A common multiple of all sums: the quotient has no remainder. Below 2^40.
    Exact(u64),
    /// 2^47: the quotient loses its fraction.
    FixedPoint,
}

impl Scale {
    const EXACT_BELOW: u64 = 1 << 40;

    fn of(groups: &[GroupShare]) -> Scale {
        let mut multiple = 1;
        for total in groups.iter().map(total).filter(|&total| total > 0) {
            multiple = multiple / gcd(multiple, total) * total;
            if multiple >= Scale::EXACT_BELOW {
                return Scale::FixedPoint;
            }
        }
        Scale::Exact(multiple)
    }

    /// `product` is below 2^20 and `total` below 2^26, so that nothing overflows 64 bits.
    fn apply(&self, product: u64, total: u64) -> u64 {
        if product == 0 {
            return 0;
        }
        match self {
            Scale::Exact(multiple) => product * (multiple / total),
            Scale::FixedPoint => ((u128::from(product) << 47) / u128::from(total)) as u64,
        }
    }
}

fn total(group: &GroupShare) -> u64 {
    group.targets.iter().map(|&(_, weight)| u64::from(weight)).sum()
}

/// The greatest common divisor; that of a number and 0 is the number.
pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(weight: u16, targets: &[u16]) -> GroupShare {
        let identities = (0..).map(|at| u64::from(weight) * 1000 + at);
        GroupShare { weight, targets: identities.zip(targets.iter().copied()).collect() }
    }

    fn weights(groups: &[GroupShare]) -> Vec<u64> {
        members_of(groups).iter().map(|member| member.weight).collect()
    }

    #[test]
    fn an_identity_never_changes() {
        assert_eq!(identity("web", "10.0.0.1".parse().unwrap()), IDENTITY_WEB_1);
        assert_ne!(identity("web", "10.0.0.2".parse().unwrap()), IDENTITY_WEB_1);
        assert_ne!(identity("api", "10.0.0.1".parse().unwrap()), IDENTITY_WEB_1);
        assert_ne!(identity("web", "::ffff:10.0.0.1".parse().unwrap()), IDENTITY_WEB_1);
    }

    /// Tables of nodes with different versions agree only while this holds.
    const IDENTITY_WEB_1: u64 = 0xb52c_fcfd_7182_6470;

    #[test]
    fn weights_of_one_group_keep_their_proportions() {
        let weights = weights(&[group(7, &[1, 2, 0, 1000])]);
        assert_eq!(weights, [7, 14, 0, 7000]);
    }

    #[test]
    fn groups_share_by_action_weight_whatever_their_targets_weigh() {
        let weights = weights(&[group(9, &[1, 1, 1]), group(1, &[1000, 500])]);
        let (first, second) = (weights[..3].iter().sum::<u64>(), weights[3..].iter().sum::<u64>());
        assert_eq!(first, 9 * second);
        assert_eq!(weights[3], 2 * weights[4]);
    }

    #[test]
    fn a_group_without_weight_leaves_its_share_to_the_others() {
        assert_eq!(
            weights(&[group(1, &[1, 1]), group(5, &[]), group(3, &[0, 0]), group(0, &[4])]),
            [2, 2, 0, 0, 0]
        );
        assert!(members_of(&[]).is_empty());
    }

    #[test]
    fn sums_without_a_small_common_multiple_are_right_to_one_part_in_two_million() {
        let groups = [
            group(999, &[1; 997]),
            group(1, &[1; 991]),
            group(500, &[1000; 983]),
            group(2, &[999, 1, 13]),
            group(3, &[7; 977]),
        ];
        let totals: Vec<u64> = (0..5)
            .map(|at| members_of(&groups).iter().filter(|member| member.group == at).map(|m| m.weight).sum())
            .collect();
        for (group, total) in groups.iter().zip(totals) {
            let exact = u64::from(group.weight) << 47;
            assert!(exact - total <= exact >> 21, "{total} of {exact}");
        }
    }

    #[test]
    fn members_know_their_group() {
        let groups: Vec<u16> =
            members_of(&[group(1, &[1, 1]), group(2, &[1])]).iter().map(|member| member.group).collect();
        assert_eq!(groups, [0, 0, 1]);
    }
}
