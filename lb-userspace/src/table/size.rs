//! How many slots a table has.
//!
//! Always a power of two: a flow's slot is the top bits of its 64-bit hash, so slot `s` of a table is slots
//! `2s` and `2s + 1` of one that is twice as large. A slot costs 4 bytes in the data plane.

/// A table's number of slots: 2^8 to 2^17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableSize(u8);

impl TableSize {
    /// 256 slots.
    pub const SMALLEST: TableSize = TableSize(8);
    /// 131072 slots.
    pub const LARGEST: TableSize = TableSize(17);
    /// The sizes that are chosen: 256, 4,096, 32,768, 65,536 and 131,072 slots. They are far apart because two sizes
    /// of a table have hardly an owner in common: a target group that grows should seldom come to another size.
    const CHOSEN: [TableSize; 5] =
        [TableSize::SMALLEST, TableSize(12), TableSize(15), TableSize::LARGEST_FOR_FEW, TableSize::LARGEST];

    /// So few members are content with the smallest size, 1 KiB: the tables of a thousand listeners of theirs stay in
    /// a processor's second-level cache. At 256 slots one of four that goes moves 3 % of the others' slots on
    /// average, and 10 % at worst. At 512 it would be 1.5 % and 5 %, and each packet of those thousand listeners
    /// would cost 13 to 19 ns more.
    const VERY_FEW: usize = 4;
    /// With this many slots for each of more members, one that goes moves at most 3 % of the others' slots ...
    const SLOTS_PER_MEMBER: u128 = 128;
    /// ... and with this many whatever their number, as a member of many holds little that could be moved.
    const SLOTS_FOR_ANY_NUMBER: u128 = 1 << 16;

    /// With this many slots for the lightest member, rounding to whole slots costs at most one part in 64.
    const SLOTS_OF_THE_LIGHTEST: u128 = 64;
    /// The largest size for up to [`TableSize::MANY_MEMBERS`] members. More than that gain precision only:
    /// what a change moves is the same for 1,000 members at 2^16 and at 2^17.
    const LARGEST_FOR_FEW: TableSize = TableSize(16);
    const MANY_MEMBERS: usize = 512;

    /// The size with 2^`log2` slots, if there is such a one.
    pub const fn from_log2(log2: u8) -> Option<TableSize> {
        let size = TableSize(log2);
        if log2 < TableSize::SMALLEST.0 || log2 > TableSize::LARGEST.0 { None } else { Some(size) }
    }

    /// The size with exactly `slots` slots, if there is such a one.
    pub const fn from_slots(slots: usize) -> Option<TableSize> {
        if slots.is_power_of_two() { TableSize::from_log2(slots.trailing_zeros() as u8) } else { None }
    }

    /// The logarithm of the number of slots, 8 to 17.
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// The number of slots.
    pub const fn slots(self) -> usize {
        1 << self.0
    }

    /// The smallest of the chosen sizes at which members of these weights have their shares within 2 %, and a change
    /// of the membership of more than four moves at most 3 % of the others' slots. Of equal members these are: up
    /// to four 256 slots, up to 32 4,096, up to 256 32,768, up to 1,024 65,536, beyond 131,072.
    ///
    /// Depends on nothing but the weights, so it is the same on every node.
    pub fn for_weights(weights: impl IntoIterator<Item = u64>) -> TableSize {
        let (mut members, mut total, mut lightest) = (0_usize, 0_u128, u64::MAX);
        for weight in weights.into_iter().filter(|&weight| weight > 0) {
            members += 1;
            total += u128::from(weight);
            lightest = lightest.min(weight);
        }
        let for_the_lightest = (total * TableSize::SLOTS_OF_THE_LIGHTEST).div_ceil(u128::from(lightest));
        let for_the_members = match members {
            0..=TableSize::VERY_FEW => 0,
            _ => (members as u128 * TableSize::SLOTS_PER_MEMBER).min(TableSize::SLOTS_FOR_ANY_NUMBER),
        };
        let wanted = for_the_lightest.max(for_the_members);
        let cap =
            if members > TableSize::MANY_MEMBERS { TableSize::LARGEST } else { TableSize::LARGEST_FOR_FEW };
        TableSize::at_least(wanted).min(cap)
    }

    /// The size for a table that has `self` now and for which [`TableSize::for_weights`] says `wanted`: it
    /// grows at once, and shrinks to one chosen size more than it needs, so only when a still smaller one would do.
    ///
    /// Membership that goes to and fro over a threshold would else rebuild the table each time, and two sizes
    /// of a table have hardly an owner in common. The price is that the size then follows from the past as
    /// well: nodes that must agree on the table have to agree on its size first.
    pub fn kept_for(self, wanted: TableSize) -> TableSize {
        let roomy = TableSize::CHOSEN.into_iter().find(|size| *size > wanted).unwrap_or(wanted);
        self.clamp(wanted, roomy)
    }

    fn at_least(slots: u128) -> TableSize {
        let enough = |size: &TableSize| size.slots() as u128 >= slots;
        TableSize::CHOSEN.into_iter().find(enough).unwrap_or(TableSize::LARGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots_for(weights: &[u64]) -> usize {
        TableSize::for_weights(weights.iter().copied()).slots()
    }

    #[test]
    fn a_size_is_a_power_of_two_in_range() {
        assert_eq!(TableSize::from_slots(256), Some(TableSize::SMALLEST));
        assert_eq!(TableSize::from_slots(1 << 17), Some(TableSize::LARGEST));
        assert_eq!(TableSize::from_slots(128), None);
        assert_eq!(TableSize::from_slots(1 << 18), None);
        assert_eq!(TableSize::from_slots(65537), None);
        assert_eq!(TableSize::from_slots(0), None);
    }

    #[test]
    fn the_size_grows_with_the_members() {
        assert_eq!(slots_for(&[]), 256);
        assert_eq!(slots_for(&[1; 4]), 256);
        assert_eq!(slots_for(&[1; 5]), 4096);
        assert_eq!(slots_for(&[1; 32]), 4096);
        assert_eq!(slots_for(&[1; 33]), 32768);
        assert_eq!(slots_for(&[1; 256]), 32768);
        assert_eq!(slots_for(&[1; 257]), 65536);
        assert_eq!(slots_for(&[1; 1000]), 65536);
        assert_eq!(slots_for(&[1; 1025]), 131072);
        assert_eq!(slots_for(&[1; 60000]), 131072);
    }

    #[test]
    fn the_lightest_member_has_64_slots_where_the_cap_allows() {
        assert_eq!(slots_for(&[1, 3]), 256);
        assert_eq!(slots_for(&[1, 4]), 4096);
        assert_eq!(slots_for(&[1, 99]), 32768);
        assert_eq!(slots_for(&[1, 1000]), 65536);
        assert_eq!(slots_for(&[1, u64::MAX]), 65536);
        assert_eq!(slots_for(&[0, 5, 5]), 256);
    }

    #[test]
    fn the_scale_of_the_weights_does_not_matter() {
        assert_eq!(slots_for(&[1, 2, 30]), slots_for(&[1 << 40, 2 << 40, 30 << 40]));
    }

    #[test]
    fn a_table_shrinks_only_when_a_still_smaller_size_would_do() {
        let size = |log2| TableSize::from_log2(log2).unwrap();
        assert_eq!(size(12).kept_for(size(15)), size(15));
        assert_eq!(size(12).kept_for(size(12)), size(12));
        assert_eq!(size(12).kept_for(size(8)), size(12));
        assert_eq!(size(15).kept_for(size(8)), size(12));
        assert_eq!(size(17).kept_for(size(16)), size(17));
        assert_eq!(size(17).kept_for(size(17)), size(17));
    }
}
