//! This node's copy of the shared state, kept up by the changes that etcd tells. Pure.

use std::sync::Arc;

use anyhow::{Context, bail};

use super::keys::Head;
use crate::api::domain::State;
use crate::api::store::entry::{self, Edits, Entries, state_of};
use crate::api::store::format::{self, FORMAT};

/// A copy of the state as etcd had it at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    /// The state.
    pub(super) state: Arc<State>,
    /// What etcd said about it; none if nothing was ever written.
    pub(super) head: Option<Head>,
    /// The revision of etcd at which the head was written; 0 if none was.
    pub(super) head_revision: i64,
    /// The revision of etcd up to which all changes are in it.
    pub(super) revision: i64,
}

/// Everything that etcd has, at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) head: Option<(Head, i64)>,
    pub(super) entries: Entries,
    pub(super) revision: i64,
}

/// Changes that etcd tells, up to a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) head: Option<(Head, i64)>,
    pub(super) edits: Edits,
    pub(super) revision: i64,
}

impl Replica {
    /// The copy of all that etcd has.
    ///
    /// # Errors
    /// If that is no state of this version's or an older one's.
    pub(super) fn of(listed: Listed) -> anyhow::Result<Replica> {
        let Listed { head, mut entries, revision } = listed;
        let Some((head, head_revision)) = head else {
            if !entries.is_empty() {
                bail!(
                    "there are {} entries, but nothing is said about them: the key head is gone",
                    entries.len()
                );
            }
            let state = Arc::new(State::default());
            return Ok(Replica { state, head: None, head_revision: 0, revision });
        };
        check_count(&head, entries.len())?;
        format::migrate(head.format, &mut entries)?;
        let state = Arc::new(state_of(head.generation, entries)?);
        Ok(Replica { state, head: Some(head), head_revision, revision })
    }

    /// Whether its entries are of an older format than this version writes.
    pub(super) fn is_old(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.format < FORMAT)
    }

    /// The copy after changes: none if it has them already.
    ///
    /// # Errors
    /// If they don't fit to it: then everything is to be listed again.
    pub(super) fn after(&self, told: Told) -> anyhow::Result<Option<Replica>> {
        let Told { head, edits, revision } = told;
        if revision <= self.revision {
            return Ok(None);
        }
        let (head, head_revision) = head.context("entries were changed without a word about the state")?;
        if head.format != FORMAT {
            bail!("the state is of format {} now", head.format);
        }
        let lineage = self.head.as_ref().map(|head| &head.lineage);
        if lineage.is_some_and(|lineage| *lineage != head.lineage) {
            bail!("it is another state now");
        }
        if head.generation <= self.state.generation {
            bail!("the state went from generation {} to {}", self.state.generation, head.generation);
        }
        let mut state = State::clone(&self.state);
        for (key, value) in edits {
            match value {
                Some(value) => entry::put(&mut state, &key, value)?,
                None => entry::remove(&mut state, &key),
            }
        }
        state.generation = head.generation;
        check_count(&head, count(&state))?;
        Ok(Some(Replica { state: Arc::new(state), head: Some(head), head_revision, revision }))
    }
}

/// How many entries a state has.
pub(super) fn count(state: &State) -> usize {
    state.load_balancers.len() + state.target_groups.len() + state.last_vips.len()
}

fn check_count(head: &Head, entries: usize) -> anyhow::Result<()> {
    if head.entries != entries {
        bail!("there are {entries} entries, but {} are spoken of", head.entries);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn head(generation: u64, entries: usize) -> Head {
        let (lineage, attempt) = ("a".to_owned(), "b".to_owned());
        Head { format: FORMAT, generation, entries, lineage, attempt }
    }

    fn empty() -> Replica {
        Replica::of(Listed { head: None, entries: Entries::new(), revision: 5 }).unwrap()
    }

    fn told(generation: u64, entries: usize, vips: &[(&str, Option<&str>)]) -> Told {
        let revision = 5 + i64::try_from(generation).unwrap();
        let edits = vips.iter().map(|(pool, vip)| (format!("last-vip/{pool}"), vip.map(|vip| json!(vip))));
        Told { head: Some((head(generation, entries), revision)), edits: edits.collect(), revision }
    }

    #[test]
    fn changes_are_followed_and_none_twice() {
        let one = empty().after(told(1, 1, &[("a/ipv4", Some("10.0.0.1"))])).unwrap().unwrap();
        assert_eq!((one.state.generation, one.state.last_vips.len()), (1, 1));
        let again = told(1, 1, &[("a/ipv4", Some("10.0.0.1"))]);
        assert_eq!(one.after(again).unwrap(), None);
        let gone = one.after(told(3, 0, &[("a/ipv4", None)])).unwrap().unwrap();
        assert_eq!((gone.state.generation, gone.state.last_vips.len()), (3, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let one = empty().after(told(1, 1, &[("a/ipv4", Some("10.0.0.1"))])).unwrap().unwrap();
        for (why, told) in [
            ("spoken of", told(2, 5, &[])),
            ("went from", Told { revision: 9, ..told(1, 1, &[]) }),
            ("without a word", Told { head: None, ..told(2, 1, &[]) }),
            ("last-vip", told(2, 1, &[("a/ipv4", Some("nowhere"))])),
            (
                "another state",
                Told { head: Some((Head { lineage: "c".to_owned(), ..head(2, 1) }, 9)), ..told(2, 1, &[]) },
            ),
            (
                "format",
                Told { head: Some((Head { format: FORMAT + 1, ..head(2, 1) }, 9)), ..told(2, 1, &[]) },
            ),
        ] {
            let error = one.after(told).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn entries_without_a_head_are_no_state() {
        let entries: Entries = [("last-vip/a/ipv4".to_owned(), json!("10.0.0.1"))].into();
        assert!(Replica::of(Listed { head: None, entries, revision: 1 }).is_err());
    }
}
