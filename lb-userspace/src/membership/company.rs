//! Who announces a VIP beside this node, and whether it is safe to leave it to them. Pure.
//!
//! A node that is unfit for a VIP goes when another one serves it better. Two that go at once because each relies on the
//! other must not happen, so a node says first that it goes, and nobody relies on one that said so:
//!
//! ```text
//!   unfit, and another is better ─► its record says "leaves" ─► written ─► all records read ─► is another better still,
//!   and none of those that leave? ─► withdrawn
//! ```
//!
//! The store has one order for all writes and reads. If each of two nodes went because of the other, each would have
//! read the other's record before the other wrote that it leaves, and after it had written so itself: that can't be.
//! Nodes that serve a VIP equally badly all announce it: nobody's clients are served better by fewer of them. One that
//! went because it fell before the others comes back when they are no better any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::announce::fitness::Company;

/// How well a node serves a VIP: the greater, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Not at all: of some target group no target is healthy, or none can be reached.
    Useless,
    /// By too few healthy targets.
    Weak,
    /// As it should be.
    Fit,
}

/// How a node stands to a VIP that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stance {
    /// How well it serves the VIP.
    pub grade: Grade,
    /// Whether nobody may rely on it: it goes when it knows that others have heard of that, or has yet to find out how
    /// its targets do.
    pub leaves: bool,
}

impl Stance {
    /// Of a node that is fit and stays.
    pub const FIT: Stance = Stance { grade: Grade::Fit, leaves: false };
}

/// What follows from the records that were read last.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Companions {
    /// The best of the others that announce a VIP and stay.
    best: BTreeMap<IpAddr, Grade>,
    /// The VIPs that this node does not announce, or that it leaves, as far as the others know who read now.
    left: BTreeSet<IpAddr>,
}

impl Companions {
    /// `own` is about to be written: from now on others may rely on what it says.
    pub(super) fn declare(&mut self, own: &Record) {
        let stances = own.stances();
        self.left.retain(|vip| stances.get(vip).is_none_or(|stance| stance.leaves));
    }

    /// Takes in what was read after `own` was written; `stored` is this node's record as it was read.
    pub(super) fn take<'r>(
        &mut self,
        own: &Record,
        stored: Option<&Record>,
        others: impl Iterator<Item = &'r Record>,
    ) {
        self.best.clear();
        let staying = others.flat_map(Record::stances).filter(|(_, stance)| !stance.leaves);
        for (vip, stance) in staying {
            let best = self.best.entry(vip).or_insert(stance.grade);
            *best = stance.grade.max(*best);
        }
        let is_known = stored.is_some_and(|stored| stored.declares_as(own));
        let stances = own.stances();
        let is_left = |vip: &IpAddr| stances.get(vip).is_none_or(|stance| stance.leaves);
        self.left = self.best.keys().filter(|vip| is_known && is_left(vip)).copied().collect();
    }

    /// Whether another node announces a VIP, well or badly, and stays.
    pub(super) fn has_announcer(&self, vip: IpAddr) -> bool {
        self.best.contains_key(&vip)
    }

    /// What a node that serves a VIP so, and announces it or not, has for company.
    pub(super) fn of(&self, vip: IpAddr, grade: Grade, is_announced: bool) -> Company {
        let Some(best) = self.best.get(&vip) else { return Company::Alone };
        match is_announced {
            false if *best > grade => Company::Others,
            true if *best > grade && self.left.contains(&vip) => Company::Others,
            true if *best > grade => Company::Untold,
            _ => Company::Alone,
        }
    }
}

#[cfg(test)]
mod tests;
