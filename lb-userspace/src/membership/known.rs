//! What is known of all nodes: the records that were read last, and what is not in them any more. Pure but for the lock.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::agreement::{Agreement, Difference, HASH_KEY_REMEDY};
use super::combination::{GRACE, OtherView};
use super::company::{Companions, Grade};
use super::record::Record;
use crate::announce::fitness::Company;
use crate::api::calendar::Timestamp;
use crate::status::report::{MemberReport, RoomReport};

/// A node that was not seen for so long is not spoken of any more: it was taken away.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// For how long it counts what was read last: three rounds, of which one may fail.
pub const FRESH: Duration = Duration::from_secs(6);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What its node wrote.
    pub record: Record,
    /// The session whose lease lives, if one does.
    pub present: Option<String>,
}

/// What changed, to be told to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node came.
    Came(String),
    /// A node's lease ended.
    Went(String),
    /// A node differs from this one.
    Differs(String, Difference),
    /// It does so no more, or it can't be said of it any more: its generation is another one, or it has gone.
    Agrees(String, Difference),
    /// Another node has this one's name.
    Namesake(String),
}

/// What is known of all nodes.
#[derive(Debug, Default)]
pub struct Membership {
    known: Mutex<Known>,
    /// Grows when something was read that this node must act on.
    news: watch::Sender<u64>,
    /// Told when the others should hear of this node before the next round.
    hurry: Notify,
}

#[derive(Debug, Default)]
struct Known {
    members: BTreeMap<String, Member>,
    companions: Companions,
    agreement: Agreement,
    differing: BTreeMap<String, Difference>,
    has_namesake: bool,
    /// When all this was read.
    read: Option<Instant>,
    /// Why it is not read now.
    problem: Option<String>,
}

#[derive(Debug)]
struct Member {
    record: Record,
    is_present: bool,
    last_seen: Timestamp,
    /// When it was last present; none if it never was since this controller started.
    last_present: Option<Instant>,
}

impl Membership {
    /// Takes in everything that there is, this node's own record as well, which is `own` now; what is new of it.
    pub fn take(&self, own: &Record, found: Vec<Found>, now: Instant, wall: Timestamp) -> Vec<Change> {
        let mut known = self.lock();
        let (is_first, before) = (known.read.is_none(), known.companions.clone());
        let mut changes = known.meet(own, found, now, wall);
        changes.retain(|change| !(is_first && matches!(change, Change::Came(_))));
        changes.extend(known.compare(own, now));
        (known.read, known.problem) = (Some(now), None);
        // Views may have changed, too, and what they say is looked at as a whole.
        let has_views = known.members.values().any(|member| member.record.health.is_some());
        if known.companions != before || has_views {
            self.news.send_modify(|news| *news += 1);
        }
        changes
    }

    /// This node's record is about to be written.
    pub fn declare(&self, own: &Record) {
        self.lock().companions.declare(own);
    }

    /// What company this node has at a VIP that it serves so, and announces or not.
    pub fn company(&self, vip: IpAddr, grade: Grade, is_announced: bool, now: Instant) -> Company {
        let known = self.lock();
        match known.is_fresh(now) && !known.has_namesake {
            true => known.companions.of(vip, grade, is_announced),
            false => Company::Unknown,
        }
    }

    /// Those of the VIPs that no other node announces, or none that stays.
    ///
    /// # Errors
    /// Why that is not known, if it is not.
    pub fn announced_by_none(
        &self,
        vips: impl Iterator<Item = IpAddr>,
        now: Instant,
    ) -> Result<Vec<IpAddr>, String> {
        let known = self.lock();
        if known.has_namesake {
            return Err("another node has this one's name".to_owned());
        }
        if !known.is_fresh(now) {
            let why = known.problem.clone();
            return Err(why.unwrap_or_else(|| "the other nodes have not been read lately".to_owned()));
        }
        Ok(vips.filter(|vip| !known.companions.has_announcer(*vip)).collect())
    }

    /// Whether what was read last still counts.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.lock().is_fresh(now)
    }

    /// What the other nodes see, if that can be read; of a node that went what it saw last, for a while.
    pub fn views(&self, now: Instant) -> Option<Vec<OtherView>> {
        let known = self.lock();
        let read = known.read.filter(|_| known.is_fresh(now))?;
        let is_recent = |member: &&Member| {
            member.last_present.is_some_and(|at| read.saturating_duration_since(at) <= GRACE)
        };
        let view = |member: &Member| {
            let record = &member.record;
            let view = record.health.clone()?;
            Some(OtherView { zone: record.zone.clone(), generation: record.generation, view })
        };
        Some(known.members.values().filter(is_recent).filter_map(view).collect())
    }

    /// Tells when something was read that this node must act on.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The others should hear of this node now.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Waits until they should.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Nothing can be read.
    pub fn miss(&self, problem: String) {
        self.lock().problem = Some(problem);
    }

    /// Whether another node has this one's name.
    pub fn has_namesake(&self) -> bool {
        self.lock().has_namesake
    }

    /// How long ago all was read, in seconds; none if it never was.
    pub fn age(&self, now: Instant) -> Option<f64> {
        self.lock().read.map(|read| now.saturating_duration_since(read).as_secs_f64())
    }

    /// Why nothing can be read now.
    pub fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    /// All nodes in the order of their names, with this one as it is now.
    pub fn report(&self, own: &Record, wall: Timestamp) -> Vec<MemberReport> {
        let known = self.lock();
        let others = known.members.values().filter(|member| member.record.name != own.name);
        let state = |member: &Member| if member.is_present { "present" } else { "gone" };
        let mut all: Vec<MemberReport> = others
            .map(|member| {
                let difference = known.differing.get(&member.record.name);
                MemberReport {
                    last_seen_seconds: since(member.last_seen, wall),
                    tables_differ: difference.is_some(),
                    hash_key_differs: difference == Some(&Difference::HashKey),
                    ..shown(&member.record, state(member), wall)
                }
            })
            .collect();
        all.push(shown(own, "this", wall));
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        self.read.is_some_and(|read| now.saturating_duration_since(read) <= FRESH)
    }

    fn meet(&mut self, own: &Record, found: Vec<Found>, now: Instant, wall: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.members);
        // Nodes could not be seen for a time, and what they see counts as if they had been there.
        if self.read.is_some() && !self.is_fresh(now) {
            let present = before.values_mut().filter(|member| member.is_present);
            present.for_each(|member| member.last_present = Some(now));
        }
        let had_namesake = std::mem::take(&mut self.has_namesake);
        let mut stored = None;
        for found in found {
            if found.record.name == own.name {
                self.has_namesake = found.present.is_some_and(|session| session != own.session);
                stored = Some(found.record);
            } else {
                let was = before.remove(&found.record.name);
                changes.extend(self.meet_other(found, was, now, wall));
            }
        }
        changes.extend(self.keep_lost(before, now));
        let present = self.members.values().filter(|member| member.is_present);
        self.companions.take(own, stored.as_ref(), present.map(|member| &member.record));
        if self.has_namesake && !had_namesake {
            changes.push(Change::Namesake(own.name.clone()));
        }
        changes
    }

    /// Another node; what it `was` before, if it was known.
    fn meet_other(
        &mut self,
        found: Found,
        was: Option<Member>,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Change> {
        let Found { record, present } = found;
        let (name, is_present) = (record.name.clone(), present.is_some());
        let was_present = was.as_ref().is_some_and(|was| was.is_present);
        let last_seen = match &was {
            _ if is_present => wall,
            Some(was) => was.last_seen.max(record.written),
            None => record.written,
        };
        let last_present = if is_present { Some(now) } else { was.and_then(|was| was.last_present) };
        if is_present || since(last_seen, wall) <= FORGOTTEN.as_secs_f64() {
            self.members.insert(name.clone(), Member { record, is_present, last_seen, last_present });
        }
        match (was_present, is_present) {
            (false, true) => Some(Change::Came(name)),
            (true, false) => Some(Change::Went(name)),
            _ => None,
        }
    }

    /// Keeps nodes for a while that the store has forgotten: it was emptied perhaps, and they will come back.
    fn keep_lost(&mut self, before: BTreeMap<String, Member>, now: Instant) -> Vec<Change> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) <= GRACE;
        let lost = before.into_iter().filter(|(_, member)| member.last_present.is_some_and(is_recent));
        let mut changes = Vec::new();
        for (name, member) in lost {
            if member.is_present {
                changes.push(Change::Went(name.clone()));
            }
            self.members.insert(name, Member { is_present: false, ..member });
        }
        changes
    }

    fn compare(&mut self, own: &Record, now: Instant) -> Vec<Change> {
        let present = self.members.values().filter(|member| member.is_present);
        let differing = self.agreement.look(own, present.map(|member| &member.record), now);
        let before = std::mem::replace(&mut self.differing, differing);
        let news = missing(&before, &self.differing).map(|(name, how)| Change::Differs(name.clone(), *how));
        let over = missing(&self.differing, &before).map(|(name, how)| Change::Agrees(name.clone(), *how));
        news.chain(over).collect()
    }
}

/// What is in `there` and not, or otherwise, in `here`.
fn missing<'m>(
    here: &'m BTreeMap<String, Difference>,
    there: &'m BTreeMap<String, Difference>,
) -> impl Iterator<Item = (&'m String, &'m Difference)> {
    there.iter().filter(|(name, how)| here.get(*name) != Some(*how))
}

impl Change {
    /// Whether something is wrong.
    pub fn is_bad(&self) -> bool {
        !matches!(self, Change::Came(_) | Change::Agrees(..))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Came(name) => write!(f, "node {name} is present"),
            Change::Went(name) => write!(f, "node {name} is gone: its lease ended"),
            Change::Differs(name, Difference::HashKey) => write!(
                f,
                "node {name} has another hash key, so that flows that routers move between it and this node go to other \
                 targets: {HASH_KEY_REMEDY}"
            ),
            Change::Differs(name, Difference::Tables) => write!(
                f,
                "node {name} has other tables though it follows the same generation: compare the targets' health in \
                 `sluice status` of both, their versions and their inventories"
            ),
            Change::Agrees(name, Difference::HashKey) => {
                write!(f, "node {name} no longer has another hash key")
            }
            Change::Agrees(name, Difference::Tables) => {
                write!(f, "node {name} no longer has other tables of the same generation")
            }
            Change::Namesake(name) => {
                write!(
                    f,
                    "another node is called {name}, too: give each its own node.name; this one is not listed"
                )
            }
        }
    }
}

fn shown(record: &Record, state: &str, wall: Timestamp) -> MemberReport {
    let room = record.room.iter();
    MemberReport {
        name: record.name.clone(),
        zone: record.zone.clone(),
        version: record.version.clone(),
        state: state.to_owned(),
        last_seen_seconds: 0.0,
        up_seconds: since(record.started, wall),
        generation: record.generation,
        table_digest: record.digests.all.clone(),
        tables_differ: false,
        hash_key: record.hash_key.clone(),
        hash_key_differs: false,
        room: room.map(|at| RoomReport { what: at.what.clone(), held: at.held, room: at.room }).collect(),
        interfaces: record.interfaces.clone(),
        vips: record.vips.clone(),
        unhealthy: record.health.as_ref().map(|view| view.unhealthy() as u64),
    }
}

/// Clocks of nodes differ: what seems to come is now.
fn since(then: Timestamp, now: Timestamp) -> f64 {
    let passed = if then < now { now.distance(then) } else { Duration::ZERO };
    passed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::record::UnfitVip;
    use super::super::record::tests::record;
    use super::super::view::View;
    use super::*;

    fn found(record: Record) -> Found {
        Found { present: Some(record.session.clone()), record }
    }

    fn gone(record: Record) -> Found {
        Found { record, present: None }
    }

    struct Story {
        membership: Membership,
        own: Record,
        begin: Instant,
    }

    impl Story {
        fn begin() -> Story {
            let (membership, own) = (Membership::default(), record("lb1", "a", 7, "x"));
            Story { membership, own, begin: Instant::now() }
        }

        fn take(&self, seconds: u64, found: Vec<Found>) -> Vec<Change> {
            let later = Duration::from_secs(seconds);
            self.membership.take(&self.own, found, self.begin + later, Timestamp(3_000_000).after(later))
        }

        fn report(&self, seconds: u64) -> Vec<MemberReport> {
            self.membership.report(&self.own, Timestamp(3_000_000).after(Duration::from_secs(seconds)))
        }
    }

    #[test]
    fn a_node_whose_lease_ended_is_shown_with_when_it_was_last_seen() {
        let story = Story::begin();
        let other = || record("lb2", "a", 7, "x");
        assert_eq!(story.take(0, vec![found(story.own.clone()), found(other())]), []);
        assert_eq!(story.take(2, vec![gone(other())]), [Change::Went("lb2".to_owned())]);
        let report = story.report(32);
        assert_eq!(report.iter().map(|member| &*member.state).collect::<Vec<_>>(), ["this", "gone"]);
        assert_eq!(report[1].last_seen_seconds, 32.0);
        assert_eq!(story.take(40, vec![found(other())]), [Change::Came("lb2".to_owned())]);
        assert_eq!(story.report(40)[1].state, "present");
    }

    #[test]
    fn who_starts_later_knows_when_a_record_was_written() {
        let story = Story::begin();
        story.take(0, vec![gone(record("lb2", "a", 7, "x"))]);
        assert_eq!(story.report(0)[1].last_seen_seconds, 1000.0);
    }

    #[test]
    fn a_node_that_was_taken_away_is_forgotten_after_a_day() {
        let story = Story::begin();
        story.take(0, vec![found(record("lb2", "a", 7, "x"))]);
        for (hours, listed) in [(1, 2), (23, 2), (25, 1)] {
            story.take(hours * 3600, vec![gone(record("lb2", "a", 7, "x"))]);
            assert_eq!(story.report(hours * 3600).len(), listed, "after {hours} h");
        }
    }

    #[test]
    fn what_was_known_stays_known_while_nothing_can_be_read() {
        let story = Story::begin();
        story.take(0, vec![found(record("lb2", "a", 7, "x"))]);
        story.membership.miss("no answer within 2 s".to_owned());
        assert_eq!(story.report(60)[1].state, "present");
        assert_eq!(story.membership.problem().as_deref(), Some("no answer within 2 s"));
        assert_eq!(story.membership.age(story.begin + Duration::from_secs(60)), Some(60.0));
        story.take(61, vec![]);
        assert_eq!(story.membership.problem(), None);
    }

    #[test]
    fn lasting_differences_are_told_once_and_their_end_too() {
        let story = Story::begin();
        let other = |all| vec![found(record("lb2", "a", 7, all))];
        let name = || "lb2".to_owned();
        assert_eq!(story.take(0, other("y")), []);
        assert_eq!(story.take(20, other("y")), [Change::Differs(name(), Difference::Tables)]);
        assert_eq!(story.take(22, other("y")), []);
        assert!(story.report(22)[1].tables_differ);
        assert_eq!(story.take(24, other("x")), [Change::Agrees(name(), Difference::Tables)]);
        assert!(!story.report(24)[1].tables_differ);
    }

    #[test]
    fn another_hash_key_counts_as_other_tables_and_is_told_with_what_to_do() {
        let story = Story::begin();
        let with =
            |key: &str| vec![found(Record { hash_key: Some(key.to_owned()), ..record("lb2", "a", 7, "x") })];
        let told = story.take(0, with("f00d"));
        assert_eq!(told, [Change::Differs("lb2".to_owned(), Difference::HashKey)]);
        let words = told[0].to_string();
        assert!(told[0].is_bad() && words.starts_with("node lb2 has another hash key"), "{words}");
        assert!(words.contains("copy /run/sluice/hash.key") && words.contains("`sluice detach`"), "{words}");
        assert_eq!(story.take(2, with("f00d")), []);
        let lb2 = &story.report(2)[1];
        assert!(lb2.tables_differ && lb2.hash_key_differs && lb2.hash_key.as_deref() == Some("f00d"));
        let told = story.take(4, with("5eed"));
        assert_eq!(told, [Change::Agrees("lb2".to_owned(), Difference::HashKey)]);
        assert!(!told[0].is_bad() && !story.report(4)[1].tables_differ);
        // One of an older version does not tell: nothing is said of it.
        assert_eq!(story.take(6, vec![found(Record { hash_key: None, ..record("lb2", "a", 7, "x") })]), []);
        assert!(!story.report(6)[1].hash_key_differs && story.report(6)[1].hash_key.is_none());
    }

    #[test]
    fn a_vip_has_another_announcer_while_one_is_present_and_stays() {
        let vip = IpAddr::from([10, 200, 1, 1]);
        let story = Story::begin();
        let nobody = |seconds: u64| {
            story.membership.announced_by_none([vip].into_iter(), story.begin + Duration::from_secs(seconds))
        };
        assert_eq!(nobody(0), Err("the other nodes have not been read lately".to_owned()));
        let other = || record("lb2", "a", 7, "x");
        let unfit = |grade, leaves| Record { unfit: vec![UnfitVip { vip, grade, leaves }], ..other() };
        for (seconds, found, expected) in [
            (0, vec![found(other())], vec![]),
            (2, vec![found(unfit(Grade::Weak, false))], vec![]),
            (4, vec![found(unfit(Grade::Fit, true))], vec![vip]),
            (6, vec![found(Record { vips: Vec::new(), ..other() })], vec![vip]),
            (8, vec![gone(other())], vec![vip]),
            (10, vec![found(story.own.clone())], vec![vip]),
        ] {
            story.take(seconds, found);
            assert_eq!(nobody(seconds), Ok(expected), "after {seconds} s");
        }
        story.membership.miss("no answer within 2 s".to_owned());
        assert_eq!(nobody(17), Err("no answer within 2 s".to_owned()));
        story.take(18, vec![Found { present: Some("another".to_owned()), record: story.own.clone() }]);
        assert!(nobody(18).unwrap_err().contains("this one's name"));
    }

    #[test]
    fn what_a_node_saw_last_counts_for_a_while_and_as_long_as_nobody_could_be_seen() {
        let story = Story::begin();
        let other = || Record { health: Some(View::default()), ..record("lb2", "a", 7, "x") };
        let views = |seconds| {
            let now = story.begin + Duration::from_secs(seconds);
            story.membership.views(now).map(|views| views.len())
        };
        assert_eq!(views(0), None, "nobody was seen yet");
        story.take(0, vec![found(other())]);
        assert_eq!((views(0), views(6), views(7)), (Some(1), Some(1), None));
        // A minute in which nothing could be read, and then the leases have ended, or all is gone.
        for lost in [vec![gone(other())], vec![]] {
            story.take(60, vec![found(other())]);
            assert_eq!(views(60), Some(1));
            story.take(120, lost.clone());
            assert_eq!(views(120), Some(1));
            for (seconds, expected) in [(125, 1), (130, 1), (135, 1), (140, 1), (145, 1), (150, 1), (155, 0)]
            {
                story.take(seconds, lost.clone());
                assert_eq!(views(seconds), Some(expected), "after {seconds} s");
            }
        }
    }

    #[test]
    fn a_namesake_is_noticed_by_its_session() {
        let story = Story::begin();
        let twin = || Found { present: Some("another".to_owned()), record: story.own.clone() };
        assert_eq!(story.take(0, vec![twin()]), [Change::Namesake("lb1".to_owned())]);
        assert_eq!(story.take(2, vec![twin()]), []);
        assert!(story.membership.has_namesake());
        assert_eq!(story.take(4, vec![found(story.own.clone())]), []);
        assert!(!story.membership.has_namesake());
    }
}
