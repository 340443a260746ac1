//! The state as entries: each load balancer, each target group and each pool's last VIP is kept by itself, under a key
//! that can be read, as JSON. What every store writes is made of these.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::api::domain::{Changes, State};

/// What kinds of entries there are, by the first part of their keys.
const LOAD_BALANCER: &str = "load-balancer";
const TARGET_GROUP: &str = "target-group";
const LAST_VIP: &str = "last-vip";

/// Entries by key: `load-balancer/NAME`, `target-group/NAME`, `last-vip/SUBNET/FAMILY`.
pub(super) type Entries = BTreeMap<String, Value>;

/// A change of entries: what each is now, none if it is gone.
pub(super) type Edits = BTreeMap<String, Option<Value>>;

/// An entry that is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {why}")]
pub(super) struct Unreadable {
    /// Its key.
    pub(super) key: String,
    /// What is wrong with it.
    pub(super) why: String,
}

/// All of a state.
pub(super) fn entries_of(state: &State) -> Entries {
    let State { generation: _, load_balancers, target_groups, last_vips } = state;
    let load_balancers = load_balancers.iter().map(|(name, it)| (key(LOAD_BALANCER, name), json(&**it)));
    let target_groups = target_groups.iter().map(|(name, it)| (key(TARGET_GROUP, name), json(&**it)));
    let last_vips = last_vips.iter().map(|(pool, vip)| (key(LAST_VIP, pool), json(vip)));
    load_balancers.chain(target_groups).chain(last_vips).collect()
}

/// What `changes` made of a state.
pub(super) fn edits_of(state: &State, changes: &Changes) -> Edits {
    let mut edits = Edits::new();
    for name in changes.load_balancers.keys() {
        edits.insert(key(LOAD_BALANCER, name), state.load_balancers.get(name).map(|it| json(&**it)));
    }
    for name in changes.target_groups.keys() {
        edits.insert(key(TARGET_GROUP, name), state.target_groups.get(name).map(|it| json(&**it)));
    }
    for pool in changes.last_vips.keys() {
        edits.insert(key(LAST_VIP, pool), state.last_vips.get(pool).map(json));
    }
    edits
}

/// The state that `entries` are.
pub(super) fn state_of(generation: u64, entries: Entries) -> Result<State, Unreadable> {
    let mut state = State { generation, ..State::default() };
    for (key, value) in entries {
        put(&mut state, &key, value)?;
    }
    Ok(state)
}

/// Puts one entry into a state.
pub(super) fn put(state: &mut State, key: &str, value: Value) -> Result<(), Unreadable> {
    match key.split_once('/') {
        Some((LOAD_BALANCER, name)) => {
            state.load_balancers.insert(name.to_owned(), Arc::new(read(key, value)?));
        }
        Some((TARGET_GROUP, name)) => {
            state.target_groups.insert(name.to_owned(), Arc::new(read(key, value)?));
        }
        Some((LAST_VIP, pool)) => {
            state.last_vips.insert(pool.to_owned(), read(key, value)?);
        }
        _ => return Err(Unreadable { key: key.to_owned(), why: "is no key of this version's".to_owned() }),
    }
    Ok(())
}

/// Removes one entry from a state.
#[cfg(feature = "etcd")]
pub(super) fn remove(state: &mut State, key: &str) {
    match key.split_once('/') {
        Some((LOAD_BALANCER, name)) => drop(state.load_balancers.remove(name)),
        Some((TARGET_GROUP, name)) => drop(state.target_groups.remove(name)),
        Some((LAST_VIP, pool)) => drop(state.last_vips.remove(pool)),
        _ => {}
    }
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

fn json(record: &impl Serialize) -> Value {
    serde_json::to_value(record).expect("records have string keys and no failing serializer")
}

fn read<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, Unreadable> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| Unreadable { key: key.to_owned(), why: error.to_string() })
}
