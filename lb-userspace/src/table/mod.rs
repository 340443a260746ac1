//! Which target a flow's slot belongs to: the tables of the forward actions.
//!
//! ```text
//!   members (target groups, weights)      maglev        the base: a pure function of who is registered
//!                                           │
//!   availability (health, draining)       overlay       the owners: only unavailable members' slots move
//!                                           │
//!   what became of the losers             slots         the life of each slot, so that no flow breaks
//! ```
//!
//! Everything here is pure: no clock, socket or map. All nodes that are given the same members and the same
//! availability compute the same owners; so there is no float and no hash whose result could differ between
//! two machines or two versions.

mod chain;
mod life;
mod lives;
pub mod maglev;
mod marks;
pub mod member;
mod once;
pub mod overlay;
mod regime;
#[cfg(test)]
mod simulation;
pub mod size;
pub mod slots;

pub use member::{GroupShare, Member, MemberIndex};
pub use once::OncePerTarget;
pub use regime::Regime;
pub use size::TableSize;
pub use slots::{Fate, SlotTable};

/// A bijective mix of 64 bits (the finalizer of splitmix64): every input bit changes every output bit with a
/// probability near one half.
const fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Maps 64 random bits evenly to `0..range`; `range` is at least 1.
const fn scale(random: u64, range: usize) -> usize {
    ((random as u128 * range as u128) >> 64) as usize
}
