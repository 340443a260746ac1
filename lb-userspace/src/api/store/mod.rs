//! Stores that outlive the process, and what looks after them.
//!
//! ```text
//!   State ─► entry: one key a record ─► frame: bytes with a checksum ─► tables: a transaction of redb ─► disk
//!                                                                          └─ embedded: in a directory (lock, …)
//!   sluice state: command ─► inspect ─► document: everything as one JSON file
//! ```
//!
//! Nothing here knows what an operation is.

mod audit;
mod command;
mod directory;
mod document;
mod embedded;
mod entry;
#[cfg(feature = "etcd")]
mod etcd;
mod format;
mod frame;
mod inspect;
mod last_good;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use command::{Options, run};
#[cfg(feature = "etcd")]
pub use etcd::Etcd;
pub use last_good::LastGood;
use serde::Deserialize;

use super::domain::Store;
use super::process::indispensable;
use crate::events::Journal;
use crate::membership::{Membership, Records};

/// Where the state is kept if nothing else is said.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/sluice";

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The directory of this node's own copy.
    pub directory: PathBuf,
    /// What is shared with other nodes.
    pub shared: Option<Shared>,
}

/// The section `store` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The etcd that nodes share.
    pub etcd: Etcd,
}

/// Where etcd is, as far as a Sluice without it cares.
#[cfg(not(feature = "etcd"))]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Etcd(serde_json::Value);

#[cfg(not(feature = "etcd"))]
impl Etcd {
    /// Refuses it.
    ///
    /// # Errors
    /// Always.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::bail!("store.etcd: this Sluice was built without the feature etcd ({})", self.0)
    }
}

/// Opens the store that the configuration names.
///
/// # Errors
/// If it can't be used; what to do is in the message.
pub fn open_configured(configuration: &Configuration) -> anyhow::Result<Box<dyn Store>> {
    match &configuration.shared {
        None => open(&configuration.directory),
        Some(shared) => {
            shared.etcd.check()?;
            open_shared(&shared.etcd, &configuration.directory)
        }
    }
}

#[cfg(feature = "etcd")]
fn open_shared(etcd: &Etcd, directory: &Path) -> anyhow::Result<Box<dyn Store>> {
    etcd::open(etcd, directory)
}

#[cfg(not(feature = "etcd"))]
fn open_shared(etcd: &Etcd, _: &Path) -> anyhow::Result<Box<dyn Store>> {
    etcd.check()?;
    unreachable!("without the feature etcd no section of it is right")
}

/// Tells the other nodes of this one, and `membership` of all, for ever; `records` asks for what is told. Without a
/// shared state it returns at once.
pub async fn attend(
    configuration: &Configuration,
    membership: &Membership,
    journal: &Journal,
    records: &Records,
) {
    if let Some(shared) = &configuration.shared {
        let attending = attend_shared(&shared.etcd, membership, journal, records);
        indispensable("what tells other nodes of this one", attending).await;
    }
}

#[cfg(feature = "etcd")]
async fn attend_shared(etcd: &Etcd, membership: &Membership, journal: &Journal, records: &Records) {
    etcd::attend(etcd, membership, journal, records).await;
}

#[cfg(not(feature = "etcd"))]
async fn attend_shared(_: &Etcd, _: &Membership, _: &Journal, _: &Records) {}

/// Opens the store of a single node, in a directory that it makes if need be.
///
/// # Errors
/// If another process has it, or it is damaged; what to do is in the message.
pub fn open(directory: &Path) -> anyhow::Result<Box<dyn Store>> {
    Ok(Box::new(embedded::Embedded::open(directory)?))
}
