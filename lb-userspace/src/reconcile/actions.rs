//! The forward actions that are there, and which of them each entry of `LISTENERS` has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::action::Action;
use super::succession::{self, Entry, Line};
use crate::data_plane::Capacity;
use crate::model::ForwardAction;

/// All forward actions, by their index in `FORWARDS`.
#[derive(Debug, Clone)]
pub struct Actions {
    all: BTreeMap<u32, Action>,
    serving: BTreeMap<Entry, u32>,
    capacity: Capacity,
    /// Whether two of them forward alike.
    has_twins: bool,
}

impl Actions {
    /// None yet.
    pub(super) fn none(capacity: Capacity) -> Actions {
        Actions { all: BTreeMap::new(), serving: BTreeMap::new(), capacity, has_twins: false }
    }

    /// Those that an earlier controller has left, with the entries that have them.
    pub(super) fn adopted(
        all: BTreeMap<u32, Action>,
        serving: impl Iterator<Item = (Entry, u32)>,
        capacity: Capacity,
    ) -> Actions {
        let is_there = |(_, index): &(Entry, u32)| all.contains_key(index);
        Actions { serving: serving.filter(is_there).collect(), all, capacity, has_twins: false }
    }

    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = &Action> + Clone {
        self.all.values()
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Action> {
        self.all.values_mut()
    }

    /// The one with this index in `FORWARDS`.
    pub fn at(&self, index: u32) -> Option<&Action> {
        self.all.get(&index)
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut Action> {
        self.all.get_mut(&index)
    }

    /// The one that has the packets of an entry.
    pub(super) fn of(&self, entry: &Entry) -> Option<&Action> {
        self.all.get(self.serving.get(entry)?)
    }

    /// Whether flows may live that began on targets of the group.
    pub(super) fn serve(&self, target_group: &str) -> bool {
        self.all.values().any(|action| action.serves(target_group))
    }

    /// The target groups of which that is so.
    pub(super) fn served(&self) -> BTreeSet<&str> {
        self.all.values().flat_map(Action::served).collect()
    }

    /// Makes the entries those that are `wanted`, with what they are to forward to; `size` says how many slots a new
    /// table for that has. The indices of the actions that are to be refreshed.
    pub(super) fn follow(
        &mut self,
        wanted: &BTreeMap<Entry, &ForwardAction>,
        size: impl Fn(&ForwardAction) -> usize,
        now: Instant,
    ) -> BTreeSet<u32> {
        let past = |entry| succession::predecessor(entry, &self.serving);
        let mut lines = succession::lines(wanted, past);
        self.find_orphans(&mut lines);
        if succession::have_twins(&lines) && !self.has_room(&lines, size) {
            lines = succession::without_twins(lines, |line| self.stays(line));
        }
        self.has_twins = succession::have_twins(&lines);
        let (fresh, given_back): (Vec<u32>, Vec<u32>) =
            (1..self.capacity.forwards).partition(|index| !self.all.contains_key(index));
        let free = fresh.into_iter().chain(given_back);
        let indices = succession::indices(&lines, |line| self.stays(line), free);
        self.replace(&lines, &indices, now)
    }

    /// Gives lines without a past the actions that forward as they do and that no line has: an earlier controller may
    /// have ended before it wrote their entries.
    fn find_orphans(&self, lines: &mut [Line<'_>]) {
        let claimed: BTreeSet<u32> = lines.iter().filter_map(|line| line.past).collect();
        let orphans = self.all.values().filter(|action| !claimed.contains(&action.index));
        let orphans: BTreeMap<&ForwardAction, u32> =
            orphans.map(|action| (&action.forward, action.index)).collect();
        for line in lines.iter_mut().filter(|line| line.past.is_none()) {
            line.past = orphans.get(line.forward).copied();
        }
    }

    /// Whether a line goes on with what it has.
    fn stays(&self, line: &Line<'_>) -> bool {
        line.past.is_some_and(|index| self.all[&index].forward == *line.forward)
    }

    /// Whether each line can have a table, and the largest be written beside the one that it replaces.
    fn has_room(&self, lines: &[Line<'_>], size: impl Fn(&ForwardAction) -> usize) -> bool {
        let held = |index| self.all[&index].slots().map_or(0, |slots| slots.size().slots());
        let sizes = lines.iter().map(|line| size(line.forward).max(line.past.map_or(0, held)));
        let (sum, largest) = sizes.fold((0, 0), |(sum, largest), size| (sum + size, size.max(largest)));
        lines.len() < self.capacity.forwards as usize && sum + largest <= 1 << self.capacity.slots_log2
    }

    fn replace(&mut self, lines: &[Line<'_>], indices: &[u32], now: Instant) -> BTreeSet<u32> {
        let mut newcomers = BTreeMap::new();
        let mut serving = BTreeMap::new();
        for (line, index) in lines.iter().zip(indices) {
            serving.extend(line.entries.iter().map(|entry| (*entry, *index)));
            if line.past != Some(*index) || !self.stays(line) {
                let action = match line.past {
                    Some(past) => self.all[&past].succeeded(line.forward, *index, now),
                    None => Action::new(*index, line.forward.clone()),
                };
                newcomers.insert(*index, action);
            }
        }
        let changed = newcomers.keys().copied().collect();
        self.all.extend(newcomers);
        self.all.retain(|index, _| indices.contains(index));
        self.serving = serving;
        changed
    }

    /// Lets entries that forward alike share one table again, where all flows of all slots are on the targets that
    /// both say. Whether any do.
    pub(super) fn join_twins(&mut self) -> bool {
        if !self.has_twins {
            return false;
        }
        let joins = self.twins_at_rest();
        for index in self.serving.values_mut() {
            *index = joins.get(index).copied().unwrap_or(*index);
        }
        self.all.retain(|index, _| !joins.contains_key(index));
        let forwards: BTreeSet<&ForwardAction> = self.all.values().map(|action| &action.forward).collect();
        self.has_twins = forwards.len() < self.all.len();
        !joins.is_empty()
    }

    /// The twins that are no longer needed, with those that say the same.
    fn twins_at_rest(&self) -> BTreeMap<u32, u32> {
        let mut first: BTreeMap<&ForwardAction, &Action> = BTreeMap::new();
        let mut joins = BTreeMap::new();
        for action in self.all.values().filter(|action| action.is_at_rest()) {
            let other = first.entry(&action.forward).or_insert(action);
            if other.index != action.index && other.says_the_same(action) {
                joins.insert(action.index, other.index);
            }
        }
        joins
    }
}
