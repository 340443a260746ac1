//! The state as one JSON document, to be saved, looked at, mended by hand, and made a store of again.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Entries, entries_of, state_of};
use super::format::{self, FORMAT};
use super::tables::{Contents, Salvage};
use crate::api::domain::State;

/// A state in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// The version of the records.
    format: u32,
    /// The generation of the state.
    pub(super) generation: u64,
    /// Load balancers by name.
    load_balancers: BTreeMap<String, Value>,
    /// Target groups by name.
    target_groups: BTreeMap<String, Value>,
    /// The VIP that each pool gave out last.
    last_vips: BTreeMap<String, Value>,
    /// What of the state is not in here, or may not be right.
    #[serde(default)]
    pub(super) missing: Vec<String>,
}

impl Document {
    /// The document of a whole state.
    pub(super) fn of(state: &State) -> Document {
        let contents = Contents { format: FORMAT, generation: state.generation, entries: entries_of(state) };
        Document::of_contents(contents, Vec::new())
    }

    /// The document of what could be found of a state.
    pub(super) fn of_salvage(salvage: Salvage) -> Document {
        let missing = match (salvage.contents.entries.len(), salvage.expected) {
            (found, Some(expected)) if found < expected => {
                format!("{} of {expected} entries were not found", expected - found)
            }
            (found, Some(expected)) if found > expected => {
                format!("{} of the entries had been removed; which ones is not known", found - expected)
            }
            (_, Some(_)) => "all entries were found, but some may be older than the last change".to_owned(),
            (_, None) => "how many entries there should be is not known".to_owned(),
        };
        Document::of_contents(salvage.contents, vec![missing])
    }

    fn of_contents(contents: Contents, missing: Vec<String>) -> Document {
        let Contents { format, generation, entries } = contents;
        let mut kinds = BTreeMap::<String, BTreeMap<String, Value>>::new();
        for (key, value) in entries {
            let (kind, name) = key.split_once('/').unwrap_or((&key, ""));
            kinds.entry(kind.to_owned()).or_default().insert(name.to_owned(), value);
        }
        let mut of = |kind: &str| kinds.remove(kind).unwrap_or_default();
        Document {
            format,
            generation,
            load_balancers: of("load-balancer"),
            target_groups: of("target-group"),
            last_vips: of("last-vip"),
            missing,
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// With the path inside it where it is not as it should be.
    pub(super) fn parse(text: &str) -> anyhow::Result<Document> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
            .context("this is no export of a state")
    }

    /// The document's text.
    pub(super) fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("values have string keys");
        text + "\n"
    }

    /// The state, brought to this version.
    ///
    /// # Errors
    /// If a record is not one; all of those are told.
    pub(super) fn state(self) -> anyhow::Result<State> {
        let Document { format, generation, load_balancers, target_groups, last_vips, missing: _ } = self;
        let kinds =
            [("load-balancer", load_balancers), ("target-group", target_groups), ("last-vip", last_vips)];
        let mut entries: Entries = kinds
            .into_iter()
            .flat_map(|(kind, all)| all.into_iter().map(move |(name, it)| (format!("{kind}/{name}"), it)))
            .collect();
        format::migrate(format, &mut entries)?;
        let bad: Vec<_> = entries
            .iter()
            .filter_map(|(key, value)| state_of(0, [(key.clone(), value.clone())].into()).err())
            .map(|unreadable| format!("\n  {unreadable}"))
            .collect();
        if !bad.is_empty() {
            bail!("these entries are not what they should be:{}", bad.concat());
        }
        Ok(state_of(generation, entries)?)
    }
}
