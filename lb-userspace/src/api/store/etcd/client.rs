//! What is asked of a member of etcd, each with a time limit.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use etcd_client::{
    Client, Compare, CompareOp, Event, EventType, GetOptions, KeyValue, KvClient, Txn, TxnOp, TxnOpResponse,
    WatchOptions, WatchStream,
};
use tokio::time::timeout;

use super::configuration::Access;
use super::keys::{Head, Keys};
use super::replica::{Listed, Told};
use crate::api::store::entry::Edits;

/// How long one answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How often a silent connection is tried: etcd ends those of clients that do so more than every 5 s.
pub(super) const PING: Duration = Duration::from_secs(6);

/// etcd takes so many operations in a transaction, those of one within it counted with those around it
/// (`--max-txn-ops` is 128). So they are put in packs of this many, at most as many packs.
const PACK: usize = 60;

/// A connection to one member.
pub(super) struct Member {
    client: Client,
    kv: KvClient,
    keys: Keys,
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Committed {
    /// It was done, at this revision.
    Done(i64),
    /// Something else had been written; what is there now, with its revision.
    Lost(Option<(Head, i64)>),
}

impl Member {
    /// Connects.
    pub(super) async fn connect(access: &Access, endpoint: &str, keys: Keys) -> anyhow::Result<Member> {
        let connecting = Client::connect([endpoint], Some(access.options.clone()));
        let client =
            limited(connecting).await.with_context(|| format!("connecting to etcd at {endpoint}"))?;
        // All of a large state comes in one answer.
        let kv = client.kv_client().max_decoding_message_size(usize::MAX);
        Ok(Member { client, kv, keys })
    }

    /// Everything that there is, as the majority has it.
    pub(super) async fn list(&mut self) -> anyhow::Result<Listed> {
        let (first, end) = self.keys.state();
        let options = GetOptions::new().with_range(end);
        let answer =
            limited(self.kv.get(first, Some(options))).await.context("reading the state from etcd")?;
        let revision = answer.header().context("etcd named no revision")?.revision();
        let mut listed = Listed { head: None, entries: Default::default(), revision };
        for entry in answer.kvs() {
            if let Some(key) = self.keys.entry_of(entry.key()) {
                listed.entries.insert(key.to_owned(), json(entry)?);
            } else if entry.key() == self.keys.head().as_bytes() {
                listed.head = Some((json(entry)?, entry.mod_revision()));
            }
        }
        Ok(listed)
    }

    /// What is said about the state now, as the majority has it; or what was at a revision.
    pub(super) async fn head(&mut self, revision: Option<i64>) -> anyhow::Result<Option<(Head, i64)>> {
        let options = revision.map(|revision| GetOptions::new().with_revision(revision));
        let answer =
            limited(self.kv.get(self.keys.head(), options)).await.context("reading the head from etcd")?;
        head_in(answer.kvs())
    }

    /// Writes changes and head, if nothing was written since the head of revision `base` (0: since ever).
    pub(super) async fn commit(
        &mut self,
        base: i64,
        head: &Head,
        edits: &Edits,
    ) -> anyhow::Result<Committed> {
        let operations: Vec<_> =
            edits.iter().map(|(key, value)| self.operation(key, value.as_ref())).collect();
        let packs = operations.chunks(PACK).map(|pack| TxnOp::txn(Txn::new().and_then(pack)));
        let said = TxnOp::put(self.keys.head(), serde_json::to_vec(head)?, None);
        let transaction = Txn::new()
            .when([Compare::mod_revision(self.keys.head(), CompareOp::Equal, base)])
            .and_then(packs.chain([said]).collect::<Vec<_>>())
            .or_else([TxnOp::get(self.keys.head(), None)]);
        let answer = limited(self.kv.txn(transaction)).await.context("writing to etcd")?;
        if answer.succeeded() {
            return Ok(Committed::Done(answer.header().context("etcd named no revision")?.revision()));
        }
        match answer.op_responses().first() {
            Some(TxnOpResponse::Get(there)) => Ok(Committed::Lost(head_in(there.kvs())?)),
            _ => Err(anyhow!("etcd did not say what is there")),
        }
    }

    fn operation(&self, key: &str, value: Option<&serde_json::Value>) -> TxnOp {
        match value {
            Some(value) => TxnOp::put(self.keys.entry(key), value.to_string(), None),
            None => TxnOp::delete(self.keys.entry(key), None),
        }
    }

    /// All changes after a revision, as they come.
    pub(super) async fn watch(&mut self, revision: i64) -> anyhow::Result<Changes> {
        let (first, end) = self.keys.state();
        let options = WatchOptions::new().with_range(end).with_start_revision(revision + 1);
        let mut client = self.client.watch_client();
        let stream = limited(client.watch(first, Some(options))).await.context("watching etcd")?;
        Ok(Changes { stream, keys: self.keys.clone() })
    }
}

/// Changes as they come.
pub(super) struct Changes {
    stream: WatchStream,
    keys: Keys,
}

impl Changes {
    /// The next ones. If this is dropped, none is lost.
    ///
    /// # Errors
    /// When there are no more: everything is to be listed again.
    pub(super) async fn next(&mut self) -> anyhow::Result<Told> {
        loop {
            let message =
                self.stream.message().await.context("watching etcd")?.context("etcd ended the watch")?;
            if message.canceled() || message.compact_revision() > 0 {
                return Err(anyhow!("etcd ended the watch: {}", message.cancel_reason()));
            }
            if !message.events().is_empty() {
                return self.told(message.events());
            }
        }
    }

    fn told(&self, events: &[Event]) -> anyhow::Result<Told> {
        let mut told = Told::default();
        for event in events {
            let Some(entry) = event.kv() else { continue };
            told.revision = told.revision.max(entry.mod_revision());
            let is_put = event.event_type() == EventType::Put;
            if let Some(key) = self.keys.entry_of(entry.key()) {
                told.edits.insert(key.to_owned(), is_put.then(|| json(entry)).transpose()?);
            } else if is_put && entry.key() == self.keys.head().as_bytes() {
                told.head = Some((json(entry)?, entry.mod_revision()));
            }
        }
        Ok(told)
    }
}

fn head_in(found: &[KeyValue]) -> anyhow::Result<Option<(Head, i64)>> {
    found.first().map(|entry| Ok((json(entry)?, entry.mod_revision()))).transpose()
}

fn json<T: serde::de::DeserializeOwned>(entry: &KeyValue) -> anyhow::Result<T> {
    serde_json::from_slice(entry.value())
        .with_context(|| format!("the key {} in etcd", String::from_utf8_lossy(entry.key())))
}

pub(super) async fn limited<T>(
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> anyhow::Result<T> {
    match timeout(PATIENCE, request).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(anyhow!("no answer within {} s", PATIENCE.as_secs())),
    }
}
