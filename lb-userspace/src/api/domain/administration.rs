//! What an operator orders of registered targets: no operation of the API, and kept with its state.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::records::TargetGroup;
use super::targets::address_of;
use super::transaction::Transaction;
use crate::api::inventory::Inventory;
use crate::api::protocol::{ApiError, Code};
use crate::config::nearest;

/// The greatest weight of a target.
pub const MAX_WEIGHT: u16 = 1000;

/// An order for some targets of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The target group's name.
    pub target_group: String,
    /// Its targets, by their addresses or their instances' ids.
    pub targets: Vec<String>,
    /// What becomes of them.
    pub change: Change,
}

/// What an operator may order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// They keep their flows and get no new ones.
    Drain,
    /// They get new flows again, with the weight that they had.
    Enable,
    /// They have this weight, 0 to 1000, where others have 1; none is that of others.
    Weight(Option<u16>),
}

impl fmt::Display for Change {
    /// As the command line has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Drain => f.write_str("drain"),
            Change::Enable => f.write_str("enable"),
            Change::Weight(Some(weight)) => write!(f, "weight {weight}"),
            Change::Weight(None) => f.write_str("weight default"),
        }
    }
}

/// Carries out an order, of all its targets or of none.
///
/// # Errors
/// If there is no such target group or target, or such a weight.
pub(super) fn carry_out(
    state: &mut Transaction,
    order: &Order,
    inventory: &Inventory,
) -> Result<(), ApiError> {
    if let Change::Weight(Some(weight)) = order.change
        && weight > MAX_WEIGHT
    {
        return Err(Code::ValidationError.because(format!("A weight is 0 to {MAX_WEIGHT}, not {weight}")));
    }
    let Some(group) = state.target_groups.get(&order.target_group) else {
        return Err(Code::TargetGroupNotFound.because(unknown(
            "target group",
            &order.target_group,
            state.target_groups.keys().map(String::as_str),
        )));
    };
    let mut changed = TargetGroup::clone(group);
    for wanted in &order.targets {
        let at = place(group, wanted, inventory)?;
        let operator = &mut changed.targets[at].operator;
        match order.change {
            Change::Drain => operator.is_drained = true,
            Change::Enable => operator.is_drained = false,
            Change::Weight(weight) => operator.weight = weight,
        }
    }
    if changed != **group
        && let Some(record) = state.target_group_mut(&order.target_group)
    {
        *record = changed;
    }
    Ok(())
}

/// Where the registered target is that people call `wanted`.
fn place(group: &TargetGroup, wanted: &str, inventory: &Inventory) -> Result<usize, ApiError> {
    let address = wanted.parse().ok();
    let is_meant = |at: &usize| {
        let target = &group.targets[*at];
        let known = address_of(target, group, inventory);
        target.drains_until.is_none() && (target.id == wanted || address.is_some() && known == address)
    };
    let found = (0..group.targets.len()).find(is_meant);
    found.ok_or_else(|| {
        let registered = group.targets.iter().filter(|target| target.drains_until.is_none());
        let names = registered.map(|target| target.id.as_str());
        Code::InvalidTarget.because(unknown("registered target", wanted, names))
    })
}

fn unknown<'k>(what: &str, wanted: &str, known: impl Iterator<Item = &'k str>) -> String {
    let near = nearest(wanted, known).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
    format!("There is no {what} '{wanted}'{near}")
}
