//! What a node tells the others of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::company::{Grade, Stance};
use super::view::View;
use crate::api::calendar::Timestamp;

/// How often a record is written at most if nothing but its tables, its targets' health or what its maps hold has
/// changed: each write is a revision that the store keeps until it is compacted, and any number of targets may flap.
const PACE: Duration = Duration::from_secs(5);

/// How old a record becomes though nothing changes, so that it says when its node was seen last, roughly.
const OLDEST: Duration = Duration::from_secs(3600);

/// A node as it tells the others of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name, which no other has.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Version of its `sluice`.
    pub version: String,
    /// Drawn when its controller started.
    pub session: String,
    /// When its controller started, by its own clock.
    pub started: Timestamp,
    /// When this was written, by its own clock.
    pub written: Timestamp,
    /// Generation of the state that its tables are made from.
    pub generation: u64,
    /// What its tables are.
    pub digests: Digests,
    /// Fingerprint of the key by which it places flows in its tables, 16 hex digits; none if it is of a version that does
    /// not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<String>,
    /// How full its maps are.
    pub room: Vec<Room>,
    /// The interfaces with the balancer.
    pub interfaces: Vec<String>,
    /// The VIPs that it announces to routers, and that one of them hears of.
    pub vips: Vec<IpAddr>,
    /// Those of them that it is unfit for or leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<UnfitVip>,
    /// Its view of its targets' health; none if there is too much to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<View>,
}

/// A VIP that a node announces, and that others may have to do without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfitVip {
    /// The VIP.
    pub vip: IpAddr,
    /// How well the node serves it.
    pub grade: Grade,
    /// Whether nobody may rely on it, as it goes perhaps.
    pub leaves: bool,
}

/// Digests of a node's tables, each 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digests {
    /// Of all tables: equal on nodes of one zone.
    pub all: String,
    /// Of those whose target groups are used across zones: equal on all nodes.
    pub across_zones: String,
}

/// How full a map is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// What is in it: `targets`.
    pub what: String,
    /// How many there are.
    pub held: u64,
    /// How many there may be.
    pub room: u64,
}

impl Record {
    /// Whether it has other tables than it should, if `other`'s are right. Nodes that follow different generations have
    /// no reason to be equal.
    pub fn differs_from(&self, other: &Record) -> bool {
        if self.generation != other.generation {
            return false;
        }
        let (ours, theirs) = (&self.digests, &other.digests);
        let is_same_zone = self.zone == other.zone;
        ours.across_zones != theirs.across_zones || (is_same_zone && ours.all != theirs.all)
    }

    /// Whether it places flows by another key: then a flow goes to another target there, though tables are equal. Of a
    /// node that does not tell it is not known.
    pub fn has_other_key(&self, other: &Record) -> bool {
        self.hash_key.as_ref().zip(other.hash_key.as_ref()).is_some_and(|(ours, theirs)| ours != theirs)
    }

    /// How it stands to each VIP that it announces.
    pub fn stances(&self) -> BTreeMap<IpAddr, Stance> {
        let mut stances: BTreeMap<IpAddr, Stance> = self.vips.iter().map(|vip| (*vip, Stance::FIT)).collect();
        for UnfitVip { vip, grade, leaves } in &self.unfit {
            stances.entry(*vip).and_modify(|stance| *stance = Stance { grade: *grade, leaves: *leaves });
        }
        stances
    }

    /// Whether it says the same of VIPs, and is of the same run of the controller.
    pub fn declares_as(&self, other: &Record) -> bool {
        self.session == other.session && self.vips == other.vips && self.unfit == other.unfit
    }

    /// Whether it is to be written, when `last` was.
    pub fn is_due_after(&self, last: &Record) -> bool {
        let age = self.written.distance(last.written);
        let as_then = Record { written: last.written, ..self.clone() };
        if as_then == *last {
            return age >= OLDEST;
        }
        let slow = Record {
            digests: last.digests.clone(),
            room: last.room.clone(),
            health: last.health.clone(),
            ..as_then
        };
        slow != *last || age >= PACE
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(name: &str, zone: &str, generation: u64, all: &str) -> Record {
        Record {
            name: name.to_owned(),
            zone: zone.to_owned(),
            version: "0.1.0".to_owned(),
            session: format!("session of {name}"),
            started: Timestamp(1_000_000),
            written: Timestamp(2_000_000),
            generation,
            digests: Digests { all: all.to_owned(), across_zones: "c".to_owned() },
            hash_key: Some("5eed".to_owned()),
            room: vec![Room { what: "targets".to_owned(), held: 3, room: 16383 }],
            interfaces: vec!["eth0".to_owned()],
            vips: vec![IpAddr::from([10, 200, 1, 1])],
            unfit: Vec::new(),
            health: None,
        }
    }

    #[test]
    fn tables_are_compared_within_a_zone_and_those_of_all_zones_everywhere() {
        let one = record("lb1", "a", 7, "x");
        assert!(!one.differs_from(&record("lb2", "a", 7, "x")));
        assert!(one.differs_from(&record("lb2", "a", 7, "y")));
        assert!(!one.differs_from(&record("lb2", "b", 7, "y")), "of its own zone each has its own targets");
        assert!(!one.differs_from(&record("lb2", "a", 8, "y")), "one of them is still to follow");
        let mut other = record("lb2", "b", 7, "y");
        other.digests.across_zones = "d".to_owned();
        assert!(one.differs_from(&other));
    }

    #[test]
    fn keys_are_compared_everywhere_and_who_does_not_tell_has_no_other() {
        let with =
            |key: Option<&str>| Record { hash_key: key.map(str::to_owned), ..record("lb2", "b", 8, "y") };
        let one = record("lb1", "a", 7, "x");
        assert!(!one.has_other_key(&with(Some("5eed"))));
        assert!(one.has_other_key(&with(Some("f00d"))), "in another zone, of another generation");
        assert!(!one.has_other_key(&with(None)) && !with(None).has_other_key(&one));
        let told = serde_json::to_value(&one).unwrap();
        let mut older = told.clone();
        older.as_object_mut().unwrap().remove("hash_key");
        assert_eq!(told["hash_key"], "5eed");
        assert_eq!(serde_json::from_value::<Record>(older).unwrap(), Record { hash_key: None, ..one });
    }

    #[test]
    fn what_matters_is_written_at_once_and_the_rest_at_its_pace() {
        let last = record("lb1", "a", 7, "x");
        let later = |seconds: u64, record: Record| Record {
            written: last.written.after(Duration::from_secs(seconds)),
            ..record
        };
        for (seconds, now, is_due) in [
            (60, last.clone(), false),
            (3600, last.clone(), true),
            (0, record("lb1", "a", 8, "x"), true),
            (1, record("lb1", "a", 7, "y"), false),
            (5, record("lb1", "a", 7, "y"), true),
            (1, Record { vips: Vec::new(), ..last.clone() }, true),
            (4, Record { health: Some(View::default()), ..last.clone() }, false),
            (5, Record { health: Some(View::default()), ..last.clone() }, true),
        ] {
            assert_eq!(later(seconds, now.clone()).is_due_after(&last), is_due, "{seconds} s: {now:?}");
        }
    }
}
