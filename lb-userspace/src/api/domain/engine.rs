//! Carries out operations: one after the other, each as a whole, kept before it is answered.

use std::sync::Arc;

use tracing::error;

use super::arn::{Identity, ResourceId};
use super::context::{Context, HealthSource, NoHealthChecks, Quotas};
use super::expiry;
use super::feasibility::{Anything, Feasibility};
use super::operations::{Operation, Outcome};
use super::store::{Ephemeral, Store};
use super::transaction::{Changes, State, Transaction};
use crate::api::calendar::Timestamp;
use crate::api::inventory::Inventory;
use crate::api::protocol::{ApiError, Code, Node};

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
    fresh_id: Box<dyn Fn() -> ResourceId + Send>,
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
            fresh_id: Box::new(random_id),
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
        let next_expiry = expiry::first(state.target_groups.values());
        Ok(Engine { state, store, next_expiry, ..Engine::ephemeral(identity, inventory) })
    }

    /// With other limits.
    pub fn with_quotas(self, quotas: Quotas) -> Engine {
        Engine { quotas, ..self }
    }

    /// With somebody who knows the targets' health.
    pub fn with_health(self, health: Box<dyn HealthSource>) -> Engine {
        Engine { health, ..self }
    }

    /// With somebody who knows what the data plane can't carry.
    pub fn with_feasibility(self, feasibility: Box<dyn Feasibility>) -> Engine {
        Engine { feasibility, ..self }
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
        Ok(())
    }

    /// Whether the data plane can carry the state with another inventory.
    ///
    /// # Errors
    /// Why not.
    pub fn check_inventory(&mut self, inventory: &Arc<Inventory>) -> Result<(), ApiError> {
        self.feasibility.check(&self.state, inventory)
    }

    /// The state as it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who this server is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// When the store can't keep that.
    pub fn reset(&mut self) -> Result<(), ApiError> {
        let mut transaction = Transaction::begin(&mut self.state);
        for name in transaction.load_balancers.keys().cloned().collect::<Vec<_>>() {
            transaction.remove_load_balancer(&name);
        }
        for name in transaction.target_groups.keys().cloned().collect::<Vec<_>>() {
            transaction.remove_target_group(&name);
        }
        keep(&mut *self.store, &transaction)?;
        transaction.commit();
        self.state.last_vips.clear();
        self.next_expiry = None;
        Ok(())
    }

    /// When [`Engine::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// Forgets the deregistered targets that have drained by now: whether there were any.
    ///
    /// # Errors
    /// When the store can't keep that; the next call tries again.
    pub fn expire(&mut self, now: Timestamp) -> Result<bool, ApiError> {
        if self.next_expiry.is_none_or(|end| now < end) {
            return Ok(false);
        }
        let mut transaction = Transaction::begin(&mut self.state);
        expiry::remove(&mut transaction, now);
        let is_any = !transaction.changes().is_empty();
        if is_any {
            keep(&mut *self.store, &transaction)?;
        }
        transaction.commit();
        self.next_expiry = expiry::first(self.state.target_groups.values());
        Ok(is_any)
    }

    /// Carries out an operation: its answer and what it changed.
    ///
    /// # Errors
    /// Why it is refused; then nothing has changed.
    pub fn call(
        &mut self,
        operation: &Operation,
        parameters: &Node,
        now: Timestamp,
    ) -> Result<(Outcome, Changes), ApiError> {
        let context = Context {
            now,
            identity: &self.identity,
            inventory: &self.inventory,
            quotas: &self.quotas,
            health: &*self.health,
            fresh_id: &*self.fresh_id,
        };
        let mut transaction = Transaction::begin(&mut self.state);
        let outcome = (operation.run)(&mut transaction, parameters, &context)?;
        if !transaction.changes().is_empty() {
            self.feasibility.check(&transaction, &self.inventory)?;
            keep(&mut *self.store, &transaction)?;
        }
        let changes = transaction.commit();
        let changed = changes.target_groups.keys().filter_map(|name| self.state.target_groups.get(name));
        self.next_expiry = self.next_expiry.into_iter().chain(expiry::first(changed)).min();
        Ok((outcome, changes))
    }
}

fn keep(store: &mut dyn Store, transaction: &Transaction) -> Result<(), ApiError> {
    store.keep(transaction, transaction.changes()).map_err(|error| {
        error!("a change is refused because it can't be kept: {error:#}");
        Code::ServiceUnavailable.because("The change can't be kept at the moment; it was not made")
    })
}

fn random_id() -> ResourceId {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    ResourceId(u64::from_be_bytes(bytes))
}
