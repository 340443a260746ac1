//! What a call left behind: whether it is still so. Of the records only names and marks are held, not what is in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::records::{LoadBalancer, TargetGroup};
use super::transaction::{Changes, State};

/// The records that a call changed, as it left them; one that it removed has a mark of nothing.
#[derive(Debug, Default)]
pub struct Effect {
    load_balancers: BTreeMap<String, Weak<LoadBalancer>>,
    target_groups: BTreeMap<String, Weak<TargetGroup>>,
    /// Of a change of everything: the generation that it made.
    generation: Option<u64>,
}

impl Effect {
    /// What `changes` left in `state`.
    pub fn of(changes: &Changes, state: &State) -> Effect {
        Effect {
            load_balancers: marks(changes.load_balancers.keys(), &state.load_balancers),
            target_groups: marks(changes.target_groups.keys(), &state.target_groups),
            generation: None,
        }
    }

    /// A change of everything, which made this generation.
    pub fn of_everything(generation: u64) -> Effect {
        Effect { generation: Some(generation), ..Effect::default() }
    }

    /// Whether nothing was changed.
    pub fn is_none(&self) -> bool {
        self.load_balancers.is_empty() && self.target_groups.is_empty() && self.generation.is_none()
    }

    /// Whether nobody has changed since what it changed.
    pub fn stands_in(&self, state: &State) -> bool {
        stand(&self.load_balancers, &state.load_balancers)
            && stand(&self.target_groups, &state.target_groups)
            && self.generation.is_none_or(|generation| generation == state.generation)
    }
}

fn marks<'n, T>(
    names: impl Iterator<Item = &'n String>,
    records: &BTreeMap<String, Arc<T>>,
) -> BTreeMap<String, Weak<T>> {
    names.map(|name| (name.clone(), records.get(name).map(Arc::downgrade).unwrap_or_default())).collect()
}

/// A record that changes is another one: its mark, which is held, can't be the other's.
fn stand<T>(marks: &BTreeMap<String, Weak<T>>, records: &BTreeMap<String, Arc<T>>) -> bool {
    marks.iter().all(|(name, mark)| {
        let present = records.get(name).map(Arc::downgrade).unwrap_or_default();
        present.ptr_eq(mark)
    })
}
