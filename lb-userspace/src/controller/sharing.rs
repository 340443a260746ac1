//! The controller's part of sharing the API's state with other nodes: what it tells them of itself, and what people are
//! told of them.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Instant;

use siphasher::sip::SipHasher24;
use tokio::sync::oneshot;

use super::hash_key;
use super::node::Node;
use super::report::Identities;
use crate::api::calendar::Timestamp;
use crate::api::domain::Sharing;
use crate::membership::{Digests, Membership, Record, Room};
use crate::model::Desired;
use crate::reconcile::{Action, rooms};
use crate::status::report::SharedStateReport;

/// What the controller knows of the shared state.
pub(super) struct Shared {
    /// All nodes.
    pub(super) membership: Arc<Membership>,
    store: Arc<dyn Sharing>,
    /// Drawn when the controller started.
    session: String,
    started: Timestamp,
    in_force: u64,
    /// Why the newest generation is not in force, if it can't be.
    refused: Option<String>,
    /// What was digested last: to do it again takes milliseconds where there are thousands of tables.
    digested: Option<(Digested, Digests)>,
}

/// What the digests depend on: tables, and what they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digested {
    tables: u64,
    generation: u64,
}

impl Shared {
    /// Begins with the generation that the data plane follows.
    pub(super) fn of(store: Arc<dyn Sharing>, in_force: u64) -> Shared {
        Shared {
            membership: Arc::default(),
            store,
            session: drawn(),
            started: Timestamp::now(),
            in_force,
            refused: None,
            digested: None,
        }
    }

    /// The data plane follows that generation; `refused` is why it follows no newer one. Whether that is another reason
    /// than before.
    pub(super) fn follow(&mut self, in_force: u64, refused: Option<String>) -> bool {
        let is_other = self.refused != refused;
        (self.in_force, self.refused) = (in_force, refused);
        is_other
    }

    /// The generation that the data plane follows.
    pub(super) fn in_force(&self) -> u64 {
        self.in_force
    }

    /// Why the other nodes, or this one, are not seen.
    fn problem(&self, name: &str) -> Option<String> {
        let namesake = || format!("another node is called {name}, too: give each its own node.name");
        self.membership.problem().or_else(|| self.membership.has_namesake().then(namesake))
    }
}

fn drawn() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    format!("{:016x}", u64::from_be_bytes(bytes))
}

impl Node {
    /// Answers who tells the other nodes of this one.
    pub(super) fn tell_of_itself(&mut self, answer: oneshot::Sender<Record>) {
        self.forget_unheard();
        let Some(shared) = &self.sharing else { return };
        let now = Digested { tables: self.publications.tables, generation: shared.in_force };
        if shared.digested.as_ref().is_none_or(|(then, _)| *then != now) {
            let digests = self.digests();
            self.sharing.as_mut().expect("it was just there").digested = Some((now, digests));
        }
        if let Some(record) = self.record() {
            // Who asked may have gone.
            drop(answer.send(record));
        }
    }

    /// What is known of the shared state; none where there is none.
    pub(super) fn shared_state(&self) -> Option<SharedStateReport> {
        let shared = self.sharing.as_ref()?;
        let problem = shared.store.problem();
        let members = self.record().map(|own| shared.membership.report(&own, Timestamp::now()));
        Some(SharedStateReport {
            generation: shared.store.generation().max(shared.in_force),
            generation_in_force: shared.in_force,
            store_reachable: problem.is_none(),
            store_problem: problem,
            refused: shared.refused.clone(),
            members: members.unwrap_or_default(),
            members_age_seconds: shared.membership.age(Instant::now()),
            members_problem: shared.problem(&self.desired().node.name),
        })
    }

    /// The node as it is now, with the digests that it has told.
    fn record(&self) -> Option<Record> {
        let shared = self.sharing.as_ref()?;
        let node = &self.desired().node;
        let (vips, unfit) = self.declared();
        Some(Record {
            name: node.name.clone(),
            zone: node.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: shared.session.clone(),
            started: shared.started,
            written: Timestamp::now(),
            generation: shared.in_force,
            digests: shared.digested.as_ref().map(|(_, digests)| digests.clone()).unwrap_or_default(),
            hash_key: Some(self.key_fingerprint()),
            room: self.room(),
            interfaces: self.attachments.keys().cloned().collect(),
            vips,
            unfit,
            health: self.own_view(),
        })
    }

    /// What may be known of the key by which the data plane places flows.
    pub(super) fn key_fingerprint(&self) -> String {
        hash_key::fingerprint(self.data_plane.maps.hash_key())
    }

    fn room(&self) -> Vec<Room> {
        let capacity = self.data_plane.maps.capacity();
        let slots = self.reconciler.actions().iter().filter_map(Action::slots);
        let slots: usize = slots.map(|slots| slots.size().slots()).sum();
        let room = |what: &str, held: usize, room: usize| Room {
            what: what.to_owned(),
            held: held as u64,
            room: room as u64,
        };
        let targets = self.reconciler.registry().iter().count();
        let mut all = vec![
            room("targets", targets, capacity.targets as usize - 1),
            room("slots of tables", slots, 1 << capacity.slots_log2),
        ];
        let maps = rooms(self.desired(), capacity).into_iter();
        all.extend(maps.map(|(what, held, most)| room(&what.to_string(), held, most)));
        all
    }

    /// Digests over all listeners, in the order of their load balancers' names.
    fn digests(&self) -> Digests {
        let desired = self.desired();
        let identities = Identities::in_registry(self.reconciler.registry());
        let mut all = SipHasher24::new_with_keys(0, 0);
        let mut across_zones = all;
        for (name, load_balancer) in &desired.load_balancers {
            for listener in &load_balancer.listeners {
                let actions = self.reconciler.actions_of(&load_balancer.vips, listener);
                let slots = actions.into_iter().filter_map(Action::slots);
                let tables: Vec<String> = slots.map(|slots| slots.digest(|id| identities.of(id))).collect();
                let (protocol, port) = (listener.protocol, listener.port);
                let text = format!("{name} {protocol} {port} {}\n", tables.join(" "));
                all.write(text.as_bytes());
                let groups = listener.forward.0.iter().map(|part| part.target_group.as_str());
                if groups.into_iter().all(|group| is_across_zones(desired, group)) {
                    across_zones.write(text.as_bytes());
                }
            }
        }
        let digits = |hasher: SipHasher24| format!("{:016x}", hasher.finish());
        Digests { all: digits(all), across_zones: digits(across_zones) }
    }
}

fn is_across_zones(desired: &Desired, group: &str) -> bool {
    desired.target_groups.get(group).is_some_and(|group| group.cross_zone)
}
