//! Carries out operations: one after the other, each as a whole, kept before it is answered.

use tracing::error;

use super::arn::{Identity, ResourceId};
use super::context::{Context, HealthSource, NoHealthChecks, Quotas};
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
    inventory: Inventory,
    quotas: Quotas,
    health: Box<dyn HealthSource>,
    fresh_id: Box<dyn Fn() -> ResourceId + Send>,
}

impl Engine {
    /// An engine whose state is gone with it.
    pub fn ephemeral(identity: Identity, inventory: Inventory) -> Engine {
        Engine {
            state: State::default(),
            store: Box::new(Ephemeral),
            identity,
            inventory,
            quotas: Quotas::default(),
            health: Box::new(NoHealthChecks),
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
        Ok(Engine { state: store.load()?, store, ..Engine::ephemeral(identity, inventory) })
    }

    /// With other limits.
    pub fn with_quotas(self, quotas: Quotas) -> Engine {
        Engine { quotas, ..self }
    }

    /// With somebody who knows the targets' health.
    pub fn with_health(self, health: Box<dyn HealthSource>) -> Engine {
        Engine { health, ..self }
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
        Ok(())
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
            keep(&mut *self.store, &transaction)?;
        }
        Ok((outcome, transaction.commit()))
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
