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
    /// The smallest size that is chosen: at 4096 slots (16 KiB) a target that goes moves at most 3 % of the
    /// others' slots for up to 64 equal targets; at 256 slots it is a tenth for 25 of them.
    const SMALLEST_CHOSEN: TableSize = TableSize(12);
    /// With this many slots a member it stays under 3 % for more members too ...
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

    /// The smallest size at which members of these weights have their shares within 2 %, and a change of the
    /// membership moves at most 3 % of the others' slots: 2^12 to 2^16, or 2^17 for more than 512 members.
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
        let for_the_members =
            (members as u128 * TableSize::SLOTS_PER_MEMBER).min(TableSize::SLOTS_FOR_ANY_NUMBER);
        let wanted = for_the_lightest.max(for_the_members);
        let cap =
            if members > TableSize::MANY_MEMBERS { TableSize::LARGEST } else { TableSize::LARGEST_FOR_FEW };
        TableSize::at_least(wanted).min(cap)
    }

    /// The size for a table that has `self` now and for which [`TableSize::for_weights`] says `wanted`: it
    /// grows at once and shrinks, by half, only when a quarter would do.
    ///
    /// Membership that goes to and fro over a threshold would else rebuild the table each time, and two sizes
    /// of a table have hardly an owner in common. The price is that the size then follows from the past as
    /// well: nodes that must agree on the table have to agree on its size first.
    pub fn kept_for(self, wanted: TableSize) -> TableSize {
        match self.0.checked_sub(wanted.0) {
            None | Some(0) => wanted,
            Some(1) => self,
            Some(_) => TableSize(wanted.0 + 1),
        }
    }

    fn at_least(slots: u128) -> TableSize {
        (TableSize::SMALLEST_CHOSEN.0..TableSize::LARGEST.0)
            .map(TableSize)
            .find(|size| size.slots() as u128 >= slots)
            .unwrap_or(TableSize::LARGEST)
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
        assert_eq!(slots_for(&[]), 4096);
        assert_eq!(slots_for(&[1; 32]), 4096);
        assert_eq!(slots_for(&[1; 33]), 8192);
        assert_eq!(slots_for(&[1; 100]), 16384);
        assert_eq!(slots_for(&[1; 512]), 65536);
        assert_eq!(slots_for(&[1; 1000]), 65536);
        assert_eq!(slots_for(&[1; 1025]), 131072);
        assert_eq!(slots_for(&[1; 60000]), 131072);
    }

    #[test]
    fn the_lightest_member_has_64_slots_where_the_cap_allows() {
        assert_eq!(slots_for(&[1, 99]), 8192);
        assert_eq!(slots_for(&[1, 1000]), 65536);
        assert_eq!(slots_for(&[1, u64::MAX]), 65536);
        assert_eq!(slots_for(&[0, 5, 5]), 4096);
    }

    #[test]
    fn the_scale_of_the_weights_does_not_matter() {
        assert_eq!(slots_for(&[1, 2, 30]), slots_for(&[1 << 40, 2 << 40, 30 << 40]));
    }

    #[test]
    fn a_table_shrinks_only_when_a_quarter_would_do() {
        let size = |log2| TableSize::from_log2(log2).unwrap();
        assert_eq!(size(10).kept_for(size(12)), size(12));
        assert_eq!(size(12).kept_for(size(12)), size(12));
        assert_eq!(size(12).kept_for(size(11)), size(12));
        assert_eq!(size(12).kept_for(size(10)), size(11));
        assert_eq!(size(12).kept_for(size(8)), size(9));
    }
}
