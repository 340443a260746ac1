//! How many new flows each source began lately: a table of bounded size that forgets no limit.
//!
//! Each set is one cache line of eight cells. A cell is a limit's whole state ([`crate::rate_limit`]), the moment
//! until which a source has used up its rate, and a tag that tells the source from others of its set:
//!
//! ```text
//!   bit 63        41 40 39                              0
//!      +------------+--+--------------------------------+
//!      | tag        | 1| used up until, in units of 64 ns |
//!      +------------+--+--------------------------------+
//! ```
//!
//! A cell whose moment has passed says what an empty one says, so nothing is lost when another source takes it. In
//! a set whose eight cells all still count, a newcomer takes over the cell that has used up least *with* what it has
//! used up, as in the space-saving algorithm (Metwally et al., 2005): no source ever gets more than its limit,
//! whatever a flood of other sources does, and only newcomers of full sets may get less. Sets are chosen by a keyed
//! hash, so nobody can aim at one.

use crate::rate_limit::RateLimit;
use crate::shared::Shared;

/// Sets in `SOURCE_LIMITS`: 131,072 sources that began a flow within the last second, in 1 MiB.
pub const SOURCE_SETS: u32 = 1 << 14;
/// Cells of a set.
const WAYS: usize = 8;
/// Nanoseconds of a unit, as a power of two.
const UNIT: u32 = 6;
/// The bits of the moment: it comes again after 19.5 hours, and a cell that was left alone for so long counts as
/// fresh for the second that a limit looks back.
const MOMENT: u64 = (1 << 40) - 1;
/// In each cell that was ever used.
const USED: u64 = 1 << 40;

/// The cells of one set. Every access is one aligned 8-byte load or compare-and-swap.
#[repr(C, align(64))]
pub struct SourceSet(pub [Shared<u64>; WAYS]);

/// How often a cell is tried that other processors change at the same moment.
const TRIES: usize = 2;

impl SourceSet {
    /// The set of the source with this hash, an index in `SOURCE_LIMITS`.
    #[inline(always)]
    pub const fn of(hash: u64) -> u32 {
        hash as u32 & (SOURCE_SETS - 1)
    }

    /// What the source with this hash has left of its limit at `now` (monotonic, in nanoseconds).
    #[inline(always)]
    pub fn source(&self, hash: u64, limit: RateLimit, now: u64) -> Source<'_> {
        let rate = Rate::new(limit, now);
        Source { cell: &self.0[self.way(hash, rate)], tag: tag(hash) | USED, rate }
    }

    /// The source's cell, or else the one that has used up least. Without branches, which the verifier would follow
    /// for each cell both ways.
    #[inline(always)]
    fn way(&self, hash: u64, rate: Rate) -> usize {
        let mut best = u64::MAX >> 1;
        for way in 0..WAYS {
            let cell = self.0[way].load();
            let is_other = (((cell ^ (tag(hash) | USED)) >> 40) + 0xff_ffff) >> 24 & 1;
            best = least(best, is_other << 62 | rate.used_up(cell) << 3 | way as u64);
        }
        best as usize & (WAYS - 1)
    }
}

/// A source's cell.
pub struct Source<'a> {
    cell: &'a Shared<u64>,
    tag: u64,
    rate: Rate,
}

impl Source<'_> {
    /// Whether it may begin a flow. Nothing is written.
    #[inline(always)]
    pub fn would_admit(&self) -> bool {
        self.rate.used_up(self.cell.load()) <= self.rate.ahead
    }

    /// The same, and counts the flow if so.
    #[inline(always)]
    pub fn admit(&self) -> bool {
        for _ in 0..TRIES {
            let old = self.cell.load();
            let used_up = self.rate.used_up(old);
            if used_up > self.rate.ahead {
                return false;
            }
            let until = self.rate.now + used_up + self.rate.interval;
            if self.cell.replace_if(old, self.tag | until & MOMENT) {
                return true;
            }
        }
        false
    }
}

/// What tells the source from others of its set: the hash's high bits; the low ones choose the set.
#[inline(always)]
fn tag(hash: u64) -> u64 {
    hash & !(MOMENT | USED)
}

/// A limit and a moment, in units.
#[derive(Clone, Copy)]
struct Rate {
    interval: u64,
    ahead: u64,
    now: u64,
}

impl Rate {
    #[inline(always)]
    fn new(limit: RateLimit, now: u64) -> Rate {
        let unit = |nanoseconds: u64| nanoseconds >> UNIT;
        Rate { interval: unit(limit.interval()), ahead: unit(limit.ahead()), now: unit(now) & MOMENT }
    }

    /// For how long from now on the cell's source has used up its rate; zero for a cell that means nothing any more.
    #[inline(always)]
    fn used_up(self, cell: u64) -> u64 {
        let used_up = cell.wrapping_sub(self.now) & MOMENT;
        // No cell that counts is further ahead than this.
        let has_passed = negative((self.ahead + self.interval).wrapping_sub(used_up));
        let was_used = 0u64.wrapping_sub(cell >> 40 & 1);
        used_up & !has_passed & was_used
    }
}

/// All ones if the number, taken as signed, is less than zero.
#[inline(always)]
fn negative(number: u64) -> u64 {
    (number as i64 >> 63) as u64
}

/// The lesser of two numbers below 2^63.
#[inline(always)]
fn least(one: u64, other: u64) -> u64 {
    let difference = one.wrapping_sub(other);
    other.wrapping_add(difference & negative(difference))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// A moment shortly before that of the cells comes again.
    const LATE: u64 = (MOMENT << UNIT) - SECOND;

    fn set() -> SourceSet {
        SourceSet(std::array::from_fn(|_| Shared::<u64>::new(0)))
    }

    fn hash(source: u64) -> u64 {
        source << 41
    }

    fn admit(set: &SourceSet, source: u64, limit: RateLimit, now: u64) -> bool {
        set.source(hash(source), limit, now).admit()
    }

    fn admitted(set: &SourceSet, source: u64, limit: RateLimit, now: u64, flows: usize) -> usize {
        (0..flows).filter(|_| admit(set, source, limit, now)).count()
    }

    #[test]
    fn each_source_has_its_burst_and_then_its_rate() {
        let (set, limit) = (set(), RateLimit::new(100, 100));
        for source in 1..=8 {
            assert_eq!(admitted(&set, source, limit, SECOND, 1000), 100, "source {source}");
        }
        for source in 1..=8 {
            assert_eq!(admitted(&set, source, limit, SECOND + SECOND / 2, 1000), 50, "source {source}");
        }
    }

    #[test]
    fn what_would_be_admitted_is_admitted_and_asking_changes_nothing() {
        let (set, limit) = (set(), RateLimit::new(3, 3));
        for flow in 0..5 {
            let would = || set.source(hash(7), limit, SECOND).would_admit();
            assert_eq!((would(), would(), admit(&set, 7, limit, SECOND)), (flow < 3, flow < 3, flow < 3));
        }
    }

    #[test]
    fn the_moment_may_begin_again() {
        let (set, limit) = (set(), RateLimit::new(10, 10));
        for second in 0..4 {
            let flows = admitted(&set, 1, limit, LATE + second * SECOND, 100);
            assert_eq!(flows, 10, "second {second}");
        }
    }

    #[test]
    fn an_empty_cell_never_counts() {
        let limit = RateLimit::new(1, 1);
        for step in 0..100 {
            assert!(set().source(hash(1), limit, LATE + step * SECOND / 10).would_admit());
        }
    }

    #[test]
    fn a_newcomer_of_a_full_set_takes_over_what_the_least_used_cell_has_used_up() {
        let (set, limit) = (set(), RateLimit::new(10, 10));
        for source in 1..=8 {
            assert_eq!(admitted(&set, source, limit, SECOND, source as usize + 1), source as usize + 1);
        }
        assert_eq!(admitted(&set, 99, limit, SECOND, 100), 8, "source 1 has begun two");
        assert_eq!(admitted(&set, 1, limit, SECOND, 100), 7, "which comes back for source 2's cell");
    }

    proptest! {
        /// At any moment, within any second, no source begins more than twice its rate: what a token bucket with a
        /// burst of one second promises, whatever others do.
        #[test]
        fn no_source_gets_more_than_its_limit(steps in proptest::collection::vec((0u64..30, 0u64..SECOND / 20), 1..600), start in 0u64..1 << 48) {
            let (set, limit) = (set(), RateLimit::new(5, 5));
            let mut now = start;
            let mut begun: Vec<(u64, u64)> = Vec::new();
            for (source, pause) in steps {
                now += pause;
                if admit(&set, source, limit, now) {
                    begun.push((source, now));
                    let lately = begun.iter().filter(|(other, at)| *other == source && now - at < SECOND);
                    prop_assert!(lately.count() <= 10);
                }
            }
        }
    }
}
