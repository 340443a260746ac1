//! Who there is: this node's record and lease in etcd, and the records of all, read every few seconds.
//!
//! It has a connection of its own and touches nothing of the state: while it meets with errors the node goes on as it
//! is, and is only missed by others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use etcd_client::{Client, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::client::limited;
use super::configuration::{Access, Etcd};
use super::keys::Keys;
use crate::api::calendar::Timestamp;
use crate::events::{Journal, Kind, Note, Object};
use crate::membership::{Change, Found, Membership, Record, Records};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(2);

/// Between two rounds at least, though there is something to tell.
const PAUSE: Duration = Duration::from_millis(100);

/// A node that was not heard for so long is gone.
const LEASE: Duration = Duration::from_secs(10);

/// Attends until nobody answers for this node any more.
pub(in crate::api::store) async fn attend(
    etcd: &Etcd,
    membership: &Membership,
    journal: &Journal,
    records: &Records,
) {
    let access = match etcd.access() {
        Ok(access) => access,
        Err(problem) => return membership.miss(format!("{problem:#}")),
    };
    let mut attendance = Attendance { access, keys: Keys::under(&etcd.prefix), at: 0, session: None };
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = membership.hurried() => rounds.reset(),
        }
        let Some(own) = asked(records).await else { return };
        membership.declare(&own);
        match attendance.round(&own, membership.has_namesake()).await {
            Ok(found) => {
                let changes = membership.take(&own, found, Instant::now(), Timestamp::now());
                changes.iter().for_each(|change| tell(change, journal));
            }
            Err(problem) => {
                if membership.problem().is_none() {
                    warn!("the other nodes can't be seen, nor see this one: {problem:#}");
                }
                membership.miss(format!("{problem:#}"));
                attendance.leave();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn asked(records: &Records) -> Option<Record> {
    let (sender, answer) = oneshot::channel();
    records.send(sender).await.ok()?;
    answer.await.ok()
}

fn tell(change: &Change, journal: &Journal) {
    let what = change.to_string();
    if change.is_bad() {
        warn!("{what}");
    } else {
        info!("{what}");
    }
    journal.note(Note {
        kind: Kind::Nodes,
        who: "sluice".to_owned(),
        object: Object::node(),
        what,
        why: None,
    });
}

struct Attendance {
    access: Access,
    keys: Keys,
    /// Which of the endpoints is spoken to.
    at: usize,
    session: Option<Session>,
}

/// A connection with a lease.
struct Session {
    client: Client,
    lease: i64,
    keeper: LeaseKeeper,
    kept: LeaseKeepAliveStream,
    /// What was written last.
    written: Option<Record>,
}

impl Attendance {
    async fn round(&mut self, own: &Record, has_namesake: bool) -> anyhow::Result<Vec<Found>> {
        let keys = self.keys.clone();
        let session = self.session().await?;
        session.keep().await?;
        // Of two that have one name the later one is listed, and the earlier one says that there are two.
        if !has_namesake {
            session.write(own, &keys).await?;
        }
        let found = session.read(&keys).await?;
        if !found.iter().any(|found| found.record.name == own.name && found.present.is_some()) {
            session.written = None;
        }
        Ok(found)
    }

    async fn session(&mut self) -> anyhow::Result<&mut Session> {
        if self.session.is_none() {
            let endpoint = &self.access.endpoints[self.at];
            self.session = Some(Session::begin(&self.access, endpoint).await?);
        }
        Ok(self.session.as_mut().expect("it was just begun"))
    }

    /// Leaves the member that is spoken to. Its lease ends by itself.
    fn leave(&mut self) {
        self.session = None;
        self.at = (self.at + 1) % self.access.endpoints.len();
    }
}

impl Session {
    async fn begin(access: &Access, endpoint: &str) -> anyhow::Result<Session> {
        let connecting = Client::connect([endpoint], Some(access.options.clone()));
        let mut client =
            limited(connecting).await.with_context(|| format!("connecting to etcd at {endpoint}"))?;
        let seconds = LEASE.as_secs().try_into().expect("a lease has few seconds");
        let lease = limited(client.lease_grant(seconds, None)).await.context("asking etcd for a lease")?.id();
        let (keeper, kept) =
            limited(client.lease_keep_alive(lease)).await.context("keeping the lease in etcd")?;
        Ok(Session { client, lease, keeper, kept, written: None })
    }

    async fn keep(&mut self) -> anyhow::Result<()> {
        limited(self.keeper.keep_alive()).await.context("keeping the lease in etcd")?;
        let answer = limited(self.kept.message()).await.context("keeping the lease in etcd")?;
        match answer {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            _ => Err(anyhow!("the lease in etcd has ended")),
        }
    }

    /// Writes that this node is there, and what it is, if that is due.
    async fn write(&mut self, own: &Record, keys: &Keys) -> anyhow::Result<()> {
        if self.written.as_ref().is_some_and(|last| !own.is_due_after(last)) {
            return Ok(());
        }
        let text = serde_json::to_vec(own).context("writing the record as JSON")?;
        limited(self.client.put(keys.record(&own.name), text, None)).await.context("writing to etcd")?;
        if self.written.is_none() {
            let under = PutOptions::new().with_lease(self.lease);
            let present = self.client.put(keys.presence(&own.name), own.session.clone(), Some(under));
            limited(present).await.context("writing to etcd")?;
        }
        self.written = Some(own.clone());
        Ok(())
    }

    async fn read(&mut self, keys: &Keys) -> anyhow::Result<Vec<Found>> {
        let all = self.client.get(keys.cluster(), Some(GetOptions::new().with_prefix()));
        let answer = limited(all).await.context("reading the nodes from etcd")?;
        let (record, presence) = (keys.record(""), keys.presence(""));
        let (mut records, mut present) = (Vec::new(), BTreeMap::new());
        for entry in answer.kvs() {
            let (key, value) = (String::from_utf8_lossy(entry.key()), String::from_utf8_lossy(entry.value()));
            if let Some(name) = key.strip_prefix(&presence) {
                present.insert(name.to_owned(), value.into_owned());
            } else if key.starts_with(&record) {
                match serde_json::from_str::<Record>(&value) {
                    Ok(record) => records.push(record),
                    // Another version's, perhaps: the others are to be seen nevertheless.
                    Err(problem) => info!("the key {key} in etcd is not understood: {problem}"),
                }
            }
        }
        let found = |record: Record| Found { present: present.remove(&record.name), record };
        Ok(records.into_iter().map(found).collect())
    }
}
