//! Carries out operations: one after the other, each as a whole, kept before it is answered.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, warn};

use super::administration::{self, Order};
use super::arn::{Identity, ResourceId};
use super::context::{Context, HealthSource, NoHealthChecks, Quotas};
use super::expiry;
use super::feasibility::{Anything, Feasibility};
use super::operations::{Operation, Outcome};
use super::store::{Ephemeral, Sharing, Store, Unkept};
use super::transaction::{Batch, Changes, State, Transaction};
use crate::api::calendar::Timestamp;
use crate::api::chronicle;
use crate::api::inventory::Inventory;
use crate::api::protocol::{ApiError, Code, Node};
use crate::events::Journal;

/// A request to carry out an operation.
pub struct Call {
    /// What is to be done.
    pub operation: &'static Operation,
    /// With what.
    pub parameters: Node,
    /// When it was asked for.
    pub now: Timestamp,
}

/// What an operation answers and what it changed, or why it is refused.
pub type Answer = Result<(Outcome, Changes), ApiError>;

/// The state and its surroundings.
pub struct Engine {
    state: State,
    store: Box<dyn Store>,
    identity: Identity,
    inventory: Arc<Inventory>,
    quotas: Quotas,
    health: Box<dyn HealthSource>,
    feasibility: Box<dyn Feasibility>,
    /// When the next deregistered target has drained.
    next_expiry: Option<Timestamp>,
    /// How long the store took for the last calls.
    keeping: Duration,
    fresh_id: Box<dyn Fn() -> ResourceId + Send>,
    /// Where others' changes are noted.
    journal: Option<Arc<Journal>>,
    /// Why the data plane can't carry the state, if it can't: others made it, who may have more room.
    unfit: Option<String>,
}

impl Engine {
    /// An engine whose state is gone with it.
    pub fn ephemeral(identity: Identity, inventory: Inventory) -> Engine {
        Engine {
            state: State::default(),
            store: Box::new(Ephemeral),
            identity,
            inventory: Arc::new(inventory),
            quotas: Quotas::default(),
            health: Box::new(NoHealthChecks),
            feasibility: Box::new(Anything),
            next_expiry: None,
            keeping: Duration::ZERO,
            fresh_id: Box::new(random_id),
            journal: None,
            unfit: None,
        }
    }

    /// An engine with the state that `store` kept.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn kept_in(
        mut store: Box<dyn Store>,
        identity: Identity,
        inventory: Inventory,
    ) -> anyhow::Result<Engine> {
        let state = store.load()?;
        let mut engine = Engine { store, ..Engine::ephemeral(identity, inventory) };
        engine.take(Some(state));
        Ok(engine)
    }

    /// With other limits.
    pub fn with_quotas(self, quotas: Quotas) -> Engine {
        Engine { quotas, ..self }
    }

    /// With somebody who knows the targets' health.
    pub fn with_health(self, health: Box<dyn HealthSource>) -> Engine {
        Engine { health, ..self }
    }

    /// With somebody who knows what the data plane can't carry: perhaps the state that others made before this began.
    pub fn with_feasibility(self, feasibility: Box<dyn Feasibility>) -> Engine {
        let mut engine = Engine { feasibility, ..self };
        engine.weigh();
        if engine.store.sharing().is_none()
            && let Some(why) = engine.unfit.take()
        {
            // A single node has no other state to go on with.
            warn!("this node can't carry the state as it is: {why}");
        }
        engine
    }

    /// From now on what others change is noted there.
    pub fn note_others_in(&mut self, journal: Arc<Journal>) {
        self.journal = Some(journal);
    }

    /// Carries out an operator's order; what it changed.
    ///
    /// # Errors
    /// Why it is refused; then nothing has changed.
    pub fn administer(&mut self, order: &Order) -> Result<Changes, ApiError> {
        self.catch_up();
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::begin(&mut self.state);
            let mut transaction = batch.transaction();
            administration::carry_out(&mut transaction, order, &self.inventory)?;
            check(&mut *self.feasibility, self.unfit.as_deref(), &transaction, &self.inventory)?;
            let changes = transaction.commit();
            batch.add(&changes);
            if changes.is_empty() {
                drop(batch);
                return Ok(changes);
            }
            if keep(&mut *self.store, batch)? {
                self.weigh_again();
                return Ok(changes);
            }
            self.load()?;
        }
        Err(outrun())
    }

    /// The network that the API speaks of.
    pub fn inventory(&self) -> &Arc<Inventory> {
        &self.inventory
    }

    /// Goes on with another inventory.
    ///
    /// # Errors
    /// When the data plane can't carry the state with it; then the present one stays.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) -> Result<(), ApiError> {
        self.check_inventory(&inventory)?;
        self.inventory = inventory;
        self.unfit = None;
        Ok(())
    }

    /// Whether the data plane can carry the state with another inventory.
    ///
    /// # Errors
    /// Why not.
    pub fn check_inventory(&mut self, inventory: &Arc<Inventory>) -> Result<(), ApiError> {
        self.feasibility.weigh(&self.state, inventory)
    }

    /// With other numbers in the ARNs of what it makes.
    pub fn with_ids(self, fresh_id: Box<dyn Fn() -> ResourceId + Send>) -> Engine {
        Engine { fresh_id, ..self }
    }

    /// The state as it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How long the store took to keep what the last calls changed; zero if they changed nothing.
    pub fn keeping(&self) -> Duration {
        self.keeping
    }

    /// Who this server is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Tells the newest generation that others have made: time to [`Engine::catch_up`]. None if there are no others.
    pub fn watch(&self) -> Option<watch::Receiver<u64>> {
        self.store.watch()
    }

    /// Why the data plane can't carry the state, if it can't. That is so only of a state that others made: a change here
    /// is refused then.
    pub fn unfit(&self) -> Option<&str> {
        self.unfit.as_deref()
    }

    /// How the state is shared with other nodes; none if it is not.
    pub fn sharing(&self) -> Option<Arc<dyn Sharing>> {
        self.store.sharing()
    }

    /// Takes in what others have changed, as far as it is known here: whether that was anything. This waits for nothing.
    pub fn catch_up(&mut self) -> bool {
        let news = self.store.news(self.state.generation);
        self.take(news)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// When the store can't keep that.
    pub fn reset(&mut self) -> Result<(), ApiError> {
        self.change(|transaction| transaction.clear())?;
        Ok(())
    }

    /// When [`Engine::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// Forgets the deregistered targets that have drained by now.
    ///
    /// # Errors
    /// When the store can't keep that; the next call tries again.
    pub fn expire(&mut self, now: Timestamp) -> Result<(), ApiError> {
        if self.next_expiry.is_some_and(|end| end <= now) {
            self.change(|transaction| expiry::remove(transaction, now))?;
        }
        Ok(())
    }

    /// Makes a change that is no client's.
    fn change(&mut self, change: impl Fn(&mut Transaction)) -> Result<(), ApiError> {
        self.catch_up();
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::begin(&mut self.state);
            let mut transaction = batch.transaction();
            change(&mut transaction);
            let changes = transaction.commit();
            batch.add(&changes);
            let is_done = if changes.is_empty() {
                drop(batch);
                true
            } else {
                keep(&mut *self.store, batch)?
            };
            if is_done {
                self.weigh_again();
                self.next_expiry = expiry::first(self.state.target_groups.values());
                return Ok(());
            }
            self.load()?;
        }
        Err(outrun())
    }

    /// Carries out an operation: its answer and what it changed.
    ///
    /// # Errors
    /// Why it is refused; then nothing has changed.
    pub fn call(&mut self, call: &Call) -> Answer {
        self.call_all(slice::from_ref(call)).pop().expect("every call is answered")
    }

    /// Carries out operations, one after the other, and keeps what they change together: an answer for each of them, as
    /// if each had been kept by itself. Where others change the same state they may be carried out several times, but
    /// only once does it count.
    pub fn call_all(&mut self, calls: &[Call]) -> Vec<Answer> {
        self.catch_up();
        self.keeping = Duration::ZERO;
        for _ in 0..ATTEMPTS {
            match self.attempt(calls) {
                Ok(Some(answers)) => return answers,
                Ok(None) => {}
                // Those that only read need not suffer, and of the others each is a try.
                Err(Failure::Unkept(_)) if calls.len() > 1 => {
                    return calls.iter().map(|call| self.call(call)).collect();
                }
                Err(Failure::Unkept(error) | Failure::Unknown(error)) => {
                    return vec![Err(error); calls.len()];
                }
            }
        }
        vec![Err(outrun()); calls.len()]
    }

    /// One attempt: none if the state is another one now, because somebody else was faster.
    fn attempt(&mut self, calls: &[Call]) -> Result<Option<Vec<Answer>>, Failure> {
        let mut batch = Batch::begin(&mut self.state);
        let answers: Vec<Answer> = calls
            .iter()
            .map(|call| {
                let context = Context {
                    now: call.now,
                    identity: &self.identity,
                    inventory: &self.inventory,
                    quotas: &self.quotas,
                    health: &*self.health,
                    fresh_id: &*self.fresh_id,
                };
                let mut transaction = batch.transaction();
                let outcome = (call.operation.run)(&mut transaction, &call.parameters, &context)?;
                if !transaction.changes().is_empty() {
                    check(&mut *self.feasibility, self.unfit.as_deref(), &transaction, &self.inventory)?;
                }
                let changes = transaction.commit();
                batch.add(&changes);
                Ok((outcome, changes))
            })
            .collect();
        if !batch.changes().is_empty() {
            let begun = Instant::now();
            let is_kept = keep(&mut *self.store, batch)?;
            self.keeping += begun.elapsed();
            if is_kept {
                self.weigh_again();
                self.expect_expiry(&answers);
                return Ok(Some(answers));
            }
            self.load()?;
            return Ok(None);
        }
        drop(batch);
        // What is not there may have been made elsewhere a moment ago. (What is kept was based on the newest state.)
        let is_refused = answers.iter().any(Result::is_err);
        let news = is_refused.then(|| self.store.certain_news(self.state.generation)).flatten();
        Ok(if self.take(news) { None } else { Some(answers) })
    }

    /// Carries out what `work` wants as one change, or tries it out.
    ///
    /// # Errors
    /// Why it is refused, or `work`'s own; then nothing has changed.
    pub fn together<E: From<ApiError>>(
        &mut self,
        purpose: Purpose,
        now: Timestamp,
        work: impl FnOnce(&mut Together) -> Result<(), E>,
    ) -> Result<Outlook, E> {
        self.catch_up();
        let base = match purpose {
            Purpose::Try => self.state.generation,
            Purpose::Keep { base } => base,
        };
        if self.state.generation != base {
            return Err(outdated().into());
        }
        let before = self.state.clone();
        let (after, changes) = {
            let context = Context {
                now,
                identity: &self.identity,
                inventory: &self.inventory,
                quotas: &self.quotas,
                health: &*self.health,
                fresh_id: &*self.fresh_id,
            };
            let mut batch = Batch::begin(&mut self.state);
            work(&mut Together { batch: &mut batch, context })?;
            let (after, changes) = (batch.state().clone(), batch.changes().clone());
            if !changes.is_empty() {
                check(&mut *self.feasibility, self.unfit.as_deref(), &after, &self.inventory)?;
            }
            let keeps = purpose != Purpose::Try && !changes.is_empty();
            if keeps && !keep(&mut *self.store, batch).map_err(ApiError::from)? {
                self.load().map_err(ApiError::from)?;
                return Err(outdated().into());
            }
            (after, changes)
        };
        if purpose != Purpose::Try {
            self.next_expiry = expiry::first(self.state.target_groups.values());
        }
        Ok(Outlook { before, after, changes })
    }

    fn expect_expiry(&mut self, answers: &[Answer]) {
        let changes = answers.iter().flatten().map(|(_, changes)| changes);
        let names = changes.flat_map(|changes| changes.target_groups.keys());
        let changed = names.filter_map(|name| self.state.target_groups.get(name));
        self.next_expiry = self.next_expiry.into_iter().chain(expiry::first(changed)).min();
    }

    fn load(&mut self) -> Result<(), Failure> {
        let state = self.store.load().map_err(|error| Failure::Unkept(unavailable(&error)))?;
        self.take(Some(state));
        Ok(())
    }

    fn take(&mut self, news: Option<State>) -> bool {
        let is_news = news.is_some();
        if let Some(state) = news {
            self.next_expiry = expiry::first(state.target_groups.values());
            if let Some(journal) = &self.journal {
                chronicle::notes_of_others(&self.state, &state)
                    .into_iter()
                    .for_each(|note| journal.note(note));
            }
            self.state = state;
            self.weigh();
        }
        is_news
    }

    /// Whether the data plane can carry what others made.
    fn weigh(&mut self) {
        let weighed = self.feasibility.weigh(&self.state, &self.inventory);
        self.unfit = weighed.err().map(|refusal| refusal.message);
    }

    /// The same after a change here, which made it better perhaps.
    fn weigh_again(&mut self) {
        if self.unfit.is_some() {
            self.weigh();
        }
    }
}

/// What several operations together are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see what they would come to.
    Try,
    /// To be kept, if the state is the one of this generation.
    Keep {
        /// The generation.
        base: u64,
    },
}

/// What operations come to together.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// The state before them.
    pub before: State,
    /// The state after them.
    pub after: State,
    /// What they change.
    pub changes: Changes,
}

/// Several operations that are carried out together.
pub struct Together<'t, 's> {
    batch: &'t mut Batch<'s>,
    context: Context<'t>,
}

impl Together<'_, '_> {
    /// The state so far.
    pub fn state(&self) -> &State {
        self.batch.state()
    }

    /// What they know beside the state.
    pub fn context(&self) -> &Context<'_> {
        &self.context
    }

    /// Carries out one of them.
    ///
    /// # Errors
    /// Why it is refused; then it has changed nothing, and another one can be tried.
    pub fn carry_out(&mut self, operation: &Operation, parameters: &Node) -> Result<(), ApiError> {
        let mut transaction = self.batch.transaction();
        (operation.run)(&mut transaction, parameters, &self.context)?;
        let changes = transaction.commit();
        self.batch.add(&changes);
        Ok(())
    }
}

fn outdated() -> ApiError {
    Code::ServiceUnavailable.because(
        "The state was changed since the plan was made; nothing was done: look at a new plan and apply that",
    )
}

/// How often an operation is carried out again because somebody else was faster. Of several nodes that write at once,
/// one gets through each time.
const ATTEMPTS: usize = 100;

/// Whether the data plane can carry what an operation makes. What records name is there after operations if it was
/// before, so that it is looked for only where it was not.
fn check(
    feasibility: &mut dyn Feasibility,
    unfit: Option<&str>,
    state: &State,
    inventory: &Arc<Inventory>,
) -> Result<(), ApiError> {
    match unfit {
        None => feasibility.check(state, inventory),
        Some(_) => feasibility.weigh(state, inventory),
    }
}

/// Why a batch has no answers.
enum Failure {
    /// Nothing of it is kept.
    Unkept(ApiError),
    /// All of it may be kept: it must not be carried out again.
    Unknown(ApiError),
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> ApiError {
        match failure {
            Failure::Unkept(error) | Failure::Unknown(error) => error,
        }
    }
}

/// Whether a batch was kept: it is not if somebody else was faster.
fn keep(store: &mut dyn Store, batch: Batch) -> Result<bool, Failure> {
    match store.keep(batch.base(), batch.state(), batch.changes()) {
        Ok(()) => {
            batch.commit();
            Ok(true)
        }
        Err(Unkept::Conflict) => Ok(false),
        Err(Unkept::Unavailable(error)) => Err(Failure::Unkept(unavailable(&error))),
        Err(Unkept::Unknown(error)) => {
            error!("whether a change was kept is not known: {error:#}");
            Err(Failure::Unknown(
                Code::ServiceUnavailable
                    .because("Whether the change was made is not known; look before you try again"),
            ))
        }
    }
}

fn unavailable(error: &anyhow::Error) -> ApiError {
    error!("a change is refused because it can't be kept: {error:#}");
    Code::ServiceUnavailable.because("The change can't be kept at the moment; it was not made")
}

fn outrun() -> ApiError {
    Code::ServiceUnavailable.because("Others change the same state all the time; try again")
}

fn random_id() -> ResourceId {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    ResourceId(u64::from_be_bytes(bytes))
}
