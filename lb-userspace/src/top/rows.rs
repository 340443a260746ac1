//! What is shown of listeners and targets, sorted and filtered.

use std::cmp::Ordering;

use super::rates::{Pair, Rate};
use crate::status::report::{NextHopReport, TargetReport};

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListenerRow {
    pub(super) name: String,
    pub(super) forward: String,
    pub(super) slots: u32,
    pub(super) moving: u32,
    pub(super) rate: Option<Rate>,
}

/// One target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TargetRow {
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) weight: u16,
    pub(super) state: String,
    pub(super) is_cut_off: bool,
    pub(super) share: f64,
    pub(super) slots: u32,
    pub(super) rate: Option<Rate>,
}

/// What rows are sorted by; of rates and shares the greatest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    #[default]
    Name,
    Packets,
    Bytes,
    Slots,
    State,
}

impl Sort {
    /// The next one, round and round.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Name => Sort::Packets,
            Sort::Packets => Sort::Bytes,
            Sort::Bytes => Sort::Slots,
            Sort::Slots => Sort::State,
            Sort::State => Sort::Name,
        }
    }

    /// The column's name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Packets => "packets/s",
            Sort::Bytes => "bytes/s",
            Sort::Slots => "slots",
            Sort::State => "state",
        }
    }
}

/// The order and the choice of rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Choice {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// Rows have it in their name, zone, state or target group, in whatever case.
    pub(super) filter: String,
}

impl Choice {
    fn has(&self, words: &[&str]) -> bool {
        let filter = self.filter.to_lowercase();
        words.iter().any(|word| word.to_lowercase().contains(&filter))
    }

    fn in_order<T>(&self, rows: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
        rows.sort_by(|one, other| if self.is_reversed { order(other, one) } else { order(one, other) });
    }
}

/// The listeners; without a state, they are sorted by their names where targets are by it.
pub(super) fn listeners(pair: &Pair, choice: &Choice) -> Vec<ListenerRow> {
    let all = pair.now.load_balancers.iter().flat_map(|(name, balancer)| {
        balancer.listeners.iter().map(move |listener| ListenerRow {
            name: format!("{name} {}/{}", listener.port, listener.protocol.to_lowercase()),
            forward: listener
                .forward
                .iter()
                .map(|part| part.target_group.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            slots: listener.slots,
            moving: listener.changing_slots + listener.exception_slots,
            rate: pair.listener(name, listener),
        })
    });
    let mut rows: Vec<ListenerRow> = all.filter(|row| choice.has(&[&row.name, &row.forward])).collect();
    choice.in_order(&mut rows, |one, other| match choice.sort {
        Sort::Name | Sort::State => Ordering::Equal,
        Sort::Packets | Sort::Bytes => by_rate(choice.sort, one.rate, other.rate),
        Sort::Slots => other.slots.cmp(&one.slots),
    });
    if choice.is_reversed && matches!(choice.sort, Sort::Name | Sort::State) {
        rows.reverse();
    }
    rows
}

/// The targets.
pub(super) fn targets(pair: &Pair, choice: &Choice) -> Vec<TargetRow> {
    let all = pair
        .now
        .target_groups
        .iter()
        .flat_map(|(name, group)| group.targets.iter().map(move |target| target_row(pair, name, target)));
    let mut rows: Vec<TargetRow> =
        all.filter(|row| choice.has(&[&row.name, &row.zone, &row.state])).collect();
    choice.in_order(&mut rows, |one, other| match choice.sort {
        Sort::Name => Ordering::Equal,
        Sort::Packets | Sort::Bytes => by_rate(choice.sort, one.rate, other.rate),
        Sort::Slots => other.slots.cmp(&one.slots),
        Sort::State => badness(one).cmp(&badness(other)).then_with(|| one.state.cmp(&other.state)),
    });
    if choice.is_reversed && choice.sort == Sort::Name {
        rows.reverse();
    }
    rows
}

fn target_row(pair: &Pair, group: &str, target: &TargetReport) -> TargetRow {
    TargetRow {
        name: format!("{group}/{}", target.id),
        zone: target.zone.clone(),
        weight: target.weight,
        state: target.state.clone(),
        is_cut_off: matches!(target.next_hop, NextHopReport::Unresolved { .. }),
        share: target.share,
        slots: target.slots,
        rate: pair.target(group, target),
    }
}

/// What needs a look comes first.
fn badness(row: &TargetRow) -> u8 {
    match row.state.as_str() {
        "unhealthy" | "unavailable" => 0,
        _ if row.is_cut_off => 0,
        "unhealthy.draining" => 1,
        "healthy" => 3,
        _ => 2,
    }
}

fn by_rate(sort: Sort, one: Option<Rate>, other: Option<Rate>) -> Ordering {
    let number = |rate: Option<Rate>| {
        let rate = rate.unwrap_or_default();
        if sort == Sort::Bytes { rate.bytes } else { rate.packets }
    };
    number(other).total_cmp(&number(one))
}
