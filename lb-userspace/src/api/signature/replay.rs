//! Signatures that were used, as long as they would be accepted by their time, and what was answered.
//!
//! Signatures have a resolution of one second, so an honest client sends the same bytes twice: it tries again on
//! another connection, or really wants the same once more. A recorder of requests sends them, too. Therefore:
//!
//! | a change that was signed before | is |
//! | --- | --- |
//! | while the first is carried out | answered after it, as follows |
//! | at once, on the same connection, on which nobody but its client can send | carried out |
//! | at once, and the first changed nothing (it was refused, say) | carried out |
//! | as long as what the first changed is as it left it | given the first one's answer; nothing is done |
//! | at once, and what the first changed was changed again | `Throttling`: clients wait, sign anew, and are let in |
//! | later, and what the first changed was changed again, or it was refused | `RequestExpired` |
//!
//! So no signed change acts twice but for its own client, and none is said to be in force that is not. A read is
//! carried out at once after the first, for anybody.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::calendar::Timestamp;
use crate::api::domain::{Effect, State};
use crate::api::protocol::{ApiError, Code};
use crate::api::service::Answer;

/// How long "at once" is: signatures have a resolution of one second.
const SAME_SECOND: Duration = Duration::from_secs(2);

/// How many are remembered: more than 1,000 changes a second for as long as signatures are good. About 60 MiB, and
/// 150 bytes more for each change.
const CAPACITY: usize = 1 << 20;

/// How many bytes of answers are remembered, of the newest ones: some 8,000.
const ANSWERS: usize = 8 << 20;

/// How long a repeated change waits for the first one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Used signatures. Half a signature tells it from all others.
#[derive(Debug, Default)]
pub(super) struct Seen {
    first_use: HashMap<u128, First>,
    /// Those that expire with a second, by that second.
    expiring: BTreeMap<u64, Vec<u128>>,
    answers: Arc<Mutex<Answers>>,
}

/// A signature's first use.
#[derive(Debug, Clone)]
struct First {
    at: Use,
    /// Of a change.
    change: Option<Arc<Change>>,
}

/// A signature's use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// When.
    pub(super) time: Timestamp,
    /// On which connection.
    pub(super) connection: u64,
}

/// What may be done with a request.
#[derive(Debug)]
pub enum Turn {
    /// Carry it out; of a change that was signed the ticket is to be told what came of it.
    CarryOut(Option<Ticket>),
    /// It was carried out: this came of it.
    Repeat(Arc<Told>),
}

/// What came of a change.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub answer: Answer,
    /// Why it was refused, if it was.
    pub refusal: Option<ApiError>,
    /// What it changed.
    pub effect: Effect,
}

/// A signed change, and what came of it.
#[derive(Debug, Default)]
struct Change {
    end: Mutex<End>,
    /// Told when it is no longer under way.
    ended: Condvar,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    UnderWay,
    Told(Arc<Told>),
    /// Nothing was done. The refusal is not remembered: whoever may sign could fill the memory with what costs nothing.
    Refused,
    /// Nobody knows any more.
    Unknown,
}

/// The right to carry out a change. Dropped without [`Ticket::tell`], nobody knows what came of it.
#[derive(Debug)]
pub struct Ticket {
    change: Arc<Change>,
    answers: Arc<Mutex<Answers>>,
}

/// The changes whose answers are remembered, oldest first.
#[derive(Debug, Default)]
struct Answers {
    kept: VecDeque<(Arc<Change>, usize)>,
    bytes: usize,
}

impl Ticket {
    /// Says what came of it.
    pub fn tell(self, told: Arc<Told>) {
        if told.refusal.is_some() && told.effect.is_none() {
            *lock(&self.change.end) = End::Refused;
            return;
        }
        let size = told.answer.body.len() + 1024;
        *lock(&self.change.end) = End::Told(told);
        lock(&self.answers).keep(&self.change, size);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut end = lock(&self.change.end);
        if matches!(*end, End::UnderWay) {
            *end = End::Unknown;
        }
        drop(end);
        self.change.ended.notify_all();
    }
}

impl Answers {
    fn keep(&mut self, change: &Arc<Change>, size: usize) {
        self.kept.push_back((Arc::clone(change), size));
        self.bytes += size;
        while self.bytes > ANSWERS {
            let Some((oldest, size)) = self.kept.pop_front() else { break };
            self.bytes -= size;
            let mut end = lock(&oldest.end);
            if matches!(*end, End::Told(_)) {
                *end = End::Unknown;
            }
        }
    }
}

/// A request with a signature that was verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    /// All of it.
    pub(super) bytes: [u8; 32],
    /// The last moment at which it is good.
    pub(super) good_until: Timestamp,
    /// Whether the request is to change something.
    pub(super) changes: bool,
}

/// What is known of a signature.
pub(super) enum Found {
    /// Nothing: it is its first use.
    New(Turn),
    /// It was used.
    Used(Earlier),
}

/// The earlier use of a signature.
pub(super) struct Earlier {
    first: First,
    answers: Arc<Mutex<Answers>>,
}

impl Seen {
    /// Notes the first use of a signature, and keeps it in mind while it is good.
    ///
    /// # Errors
    /// `Throttling` when no more can be remembered.
    pub(super) fn find(&mut self, signature: Signature, at: Use) -> Result<Found, ApiError> {
        self.forget(at.time);
        let half: [u8; 16] = signature.bytes[..16].try_into().expect("a signature has 32 bytes");
        let key = u128::from_be_bytes(half);
        if let Some(first) = self.first_use.get(&key) {
            return Ok(Found::Used(Earlier { first: first.clone(), answers: Arc::clone(&self.answers) }));
        }
        if self.first_use.len() >= CAPACITY {
            return Err(Code::Throttling.because("Too many requests: no more signatures can be remembered"));
        }
        let change = signature.changes.then(Arc::<Change>::default);
        let ticket = change.clone().map(|change| Ticket { change, answers: Arc::clone(&self.answers) });
        self.first_use.insert(key, First { at, change });
        self.expiring.entry(signature.good_until.0 / 1000 + 1).or_default().push(key);
        Ok(Found::New(Turn::CarryOut(ticket)))
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(entry) = self.expiring.first_entry().filter(|entry| *entry.key() < now.0 / 1000) {
            for key in entry.remove() {
                self.first_use.remove(&key);
            }
        }
    }
}

impl Earlier {
    /// What may be done with the same once more. This waits while the first is carried out.
    ///
    /// # Errors
    /// `Throttling` or `RequestExpired` where it must neither be carried out nor given the first one's answer.
    pub(super) fn again(self, at: Use, state: impl Fn() -> State) -> Result<Turn, ApiError> {
        let Earlier { first, answers } = self;
        let is_at_once = first.at.time.distance(at.time) <= SAME_SECOND;
        let Some(change) = first.change else {
            return if is_at_once { Ok(Turn::CarryOut(None)) } else { Err(refused(is_at_once)) };
        };
        let mut end = change.end_of();
        let is_own = first.at.connection == at.connection;
        let changed_nothing = match &*end {
            End::Told(told) => told.effect.is_none(),
            End::Refused => true,
            End::UnderWay | End::Unknown => false,
        };
        match &*end {
            _ if is_at_once && (is_own || changed_nothing) => {
                *end = End::UnderWay;
                drop(end);
                Ok(Turn::CarryOut(Some(Ticket { change, answers })))
            }
            End::Told(told) if told.effect.stands_in(&state()) => Ok(Turn::Repeat(Arc::clone(told))),
            _ => Err(refused(is_at_once)),
        }
    }
}

impl Change {
    /// Its end; [`End::UnderWay`] only if that takes too long.
    fn end_of(&self) -> MutexGuard<'_, End> {
        let is_under_way = |end: &mut End| matches!(end, End::UnderWay);
        let waited = self.ended.wait_timeout_while(lock(&self.end), PATIENCE, is_under_way);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn refused(is_at_once: bool) -> ApiError {
    let code = if is_at_once { Code::Throttling } else { Code::RequestExpired };
    code.because(
        "This signed request was received before, and what it was about has changed since; sign it anew (signatures \
         have a resolution of one second)",
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::domain::arn::Identity;
    use crate::api::domain::records::TargetGroup;
    use crate::api::domain::{Call, Changes, Engine, Operation};
    use crate::api::inventory::Inventory;
    use crate::api::protocol::{Node, form};
    use crate::api::signature::SKEW;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    #[derive(Default)]
    struct World {
        seen: Seen,
        state: State,
    }

    impl World {
        fn use_of(&mut self, number: u8, changes: bool, seconds: u64, connection: u64) -> Result<Turn, Code> {
            let signature = Signature { bytes: [number; 32], good_until: START.after(SKEW), changes };
            let at = Use { time: START.after(Duration::from_secs(seconds)), connection };
            let found = self.seen.find(signature, at).map_err(|error| error.code)?;
            match found {
                Found::New(turn) => Ok(turn),
                Found::Used(earlier) => earlier.again(at, || self.state.clone()).map_err(|error| error.code),
            }
        }

        fn change(&mut self, seconds: u64, connection: u64) -> Result<Turn, Code> {
            self.use_of(1, true, seconds, connection)
        }

        /// A change of the target group; its effect.
        fn touch(&mut self) -> Effect {
            let record = match self.state.target_groups.get("web") {
                Some(record) => TargetGroup::clone(record),
                None => record(),
            };
            self.state.target_groups.insert("web".to_owned(), Arc::new(record));
            self.effect()
        }

        fn effect(&self) -> Effect {
            let target_groups = [("web".to_owned(), None)].into();
            Effect::of(&Changes { target_groups, ..Changes::default() }, &self.state)
        }
    }

    fn record() -> TargetGroup {
        let mut engine = Engine::ephemeral(Identity::default(), Inventory::sample());
        let operation = Operation::named("CreateTargetGroup").unwrap();
        let pairs = form::parse(b"Name=web&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip").unwrap();
        engine.call(&Call { operation, parameters: Node::from_pairs(pairs).unwrap(), now: START }).unwrap();
        TargetGroup::clone(&engine.state().target_groups["web"])
    }

    fn told(body: &str, effect: Effect) -> Arc<Told> {
        let answer = Answer { status: 200, request_id: "id".to_owned(), body: body.to_owned() };
        Arc::new(Told { answer, refusal: None, effect })
    }

    fn ticket(turn: Result<Turn, Code>) -> Ticket {
        match turn {
            Ok(Turn::CarryOut(Some(ticket))) => ticket,
            other => panic!("not carried out: {other:?}"),
        }
    }

    fn repeated(turn: Result<Turn, Code>) -> String {
        match turn {
            Ok(Turn::Repeat(told)) => told.answer.body.clone(),
            other => panic!("not repeated: {other:?}"),
        }
    }

    #[test]
    fn a_change_is_made_once_and_its_answer_given_again() {
        let mut world = World::default();
        let first = ticket(world.change(0, 1));
        let effect = world.touch();
        first.tell(told("made", effect));
        for seconds in [0, 1, 299, 300] {
            assert_eq!(repeated(world.change(seconds, 2)), "made");
        }
        assert!(matches!(world.use_of(2, true, 0, 1), Ok(Turn::CarryOut(Some(_)))));
    }

    #[test]
    fn an_answer_that_holds_no_more_is_not_given() {
        let mut world = World::default();
        let first = ticket(world.change(0, 1));
        let effect = world.touch();
        first.tell(told("made", effect));
        world.touch();
        assert_eq!(world.change(1, 2).unwrap_err(), Code::Throttling);
        assert_eq!(world.change(100, 2).unwrap_err(), Code::RequestExpired);
    }

    #[test]
    fn what_was_removed_and_is_there_again_holds_no_more() {
        let mut world = World::default();
        let first = ticket(world.change(0, 1));
        let effect = world.effect();
        first.tell(told("removed", effect));
        assert_eq!(repeated(world.change(9, 2)), "removed");
        world.touch();
        assert_eq!(world.change(9, 2).unwrap_err(), Code::RequestExpired);
    }

    #[test]
    fn a_client_may_say_the_same_twice_in_a_second() {
        let mut world = World::default();
        for seconds in [0, 2] {
            let effect = world.touch();
            ticket(world.change(seconds, 1)).tell(told("made", effect));
        }
        assert_eq!(repeated(world.change(3, 1)), "made");
    }

    #[test]
    fn what_changed_nothing_may_be_tried_again_at_once() {
        let mut world = World::default();
        for connection in [1, 2] {
            ticket(world.change(connection, connection)).tell(told("nothing new", Effect::default()));
        }
        assert_eq!(repeated(world.change(4, 3)), "nothing new");
    }

    #[test]
    fn what_was_refused_may_be_tried_again_at_once_and_never_later() {
        let mut world = World::default();
        for connection in [1, 2] {
            let answer = Answer { status: 400, request_id: "id".to_owned(), body: String::new() };
            let refusal = Some(Code::ValidationError.because("no"));
            let told = Told { answer, refusal, effect: Effect::default() };
            ticket(world.change(connection, connection)).tell(Arc::new(told));
        }
        assert!(world.seen.answers.lock().unwrap().kept.is_empty());
        assert_eq!(world.change(4, 3).unwrap_err(), Code::RequestExpired);
    }

    #[test]
    fn a_repeat_waits_for_the_first() {
        let mut world = World::default();
        let first = ticket(world.change(0, 1));
        let effect = world.touch();
        let waiting = std::thread::spawn(move || repeated(world.change(0, 2)));
        std::thread::sleep(Duration::from_millis(20));
        first.tell(told("made", effect));
        assert_eq!(waiting.join().unwrap(), "made");
    }

    #[test]
    fn what_came_of_a_change_may_be_unknown() {
        let mut world = World::default();
        drop(ticket(world.change(0, 1)));
        assert_eq!(world.change(1, 2).unwrap_err(), Code::Throttling);
        assert_eq!(world.change(3, 1).unwrap_err(), Code::RequestExpired);
    }

    #[test]
    fn answers_are_remembered_within_bounds() {
        let mut world = World::default();
        for number in 0..3 {
            let effect = world.touch();
            let large = "x".repeat(ANSWERS / 2);
            ticket(world.use_of(number, true, 0, 1)).tell(told(&large, effect));
        }
        assert!(world.seen.answers.lock().unwrap().bytes <= ANSWERS);
        assert_eq!(world.use_of(0, true, 0, 2).unwrap_err(), Code::Throttling);
        assert_eq!(repeated(world.use_of(2, true, 0, 2)).len(), ANSWERS / 2);
    }

    #[test]
    fn a_read_is_repeated_for_seconds_only() {
        let mut world = World::default();
        for (seconds, connection) in [(0, 1), (2, 2)] {
            assert!(matches!(world.use_of(1, false, seconds, connection), Ok(Turn::CarryOut(None))));
        }
        assert_eq!(world.use_of(1, false, 3, 2).unwrap_err(), Code::RequestExpired);
    }

    #[test]
    fn what_has_expired_is_forgotten() {
        let mut world = World::default();
        for number in 0..100 {
            drop(world.use_of(number, true, 0, 1));
        }
        let late = START.after(Duration::from_secs(400));
        let signature = Signature { bytes: [200; 32], good_until: late, changes: true };
        world.seen.find(signature, Use { time: late, connection: 1 }).map(drop).unwrap();
        assert_eq!((world.seen.first_use.len(), world.seen.expiring.len()), (1, 1));
    }
}
