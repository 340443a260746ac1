//! The inventory as the endpoint tells it: refreshed in the background, the last good one in force.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::super::read::InventoryError;
use super::super::{Inventory, RawInventory};
use super::cache::Cache;
use super::configuration::Configuration;
use super::discovery::{Discovered, discover};
use super::joined::{Used, joined, keep_used, refuse_none};
use crate::api::calendar::Timestamp;
use crate::api::service::Service;

/// After a failure the next try is soon, and later with each more, up to the usual time.
const RETRY: Duration = Duration::from_secs(5);

/// How long a refresh may take as a whole.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known from the endpoint.
#[derive(Debug)]
pub struct Feed {
    known: Mutex<Known>,
    cache: Cache,
    /// Told when the configuration is another one.
    wake: Notify,
}

#[derive(Debug)]
struct Known {
    configuration: Configuration,
    /// The last good answer, with what is kept beyond it.
    network: RawInventory,
    at: Timestamp,
    remarks: Vec<String>,
    problem: Option<String>,
    good: u64,
    failed: u64,
}

/// What is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedReport {
    /// Where the inventory comes from.
    pub endpoint: String,
    /// When the answer in force was given.
    pub at: Timestamp,
    /// Why there is no newer one, if there should be.
    pub problem: Option<String>,
    /// What of it can't be used, or is kept although the endpoint no longer has it.
    pub remarks: Vec<String>,
    /// Refreshes since the start that came to an answer, and those that did not.
    pub refreshes: (u64, u64),
}

impl Feed {
    /// Begins with the last answer of the endpoint, from the disk, or from itself where there is none; and with the
    /// inventory that it makes.
    ///
    /// # Errors
    /// When there is neither, or it does not fit the configuration.
    pub async fn open(
        configuration: &Configuration,
        directory: Option<&Path>,
    ) -> anyhow::Result<(Feed, Inventory)> {
        let cache = Cache::inside(directory);
        let (found, at) = match cache.load(configuration) {
            Some((network, at)) => {
                info!("the inventory is that of {at} until {} is asked", configuration.endpoint);
                (Discovered { network, remarks: Vec::new() }, at)
            }
            None => {
                let found = asked(configuration, BTreeSet::new()).await.context(
                    "inventory.ec2: the network is not known yet, and the endpoint does not tell it; remedy: make it \
                     reachable once, after that a start does without",
                )?;
                (found, Timestamp::now())
            }
        };
        let inventory = joined(&found.network, configuration)?;
        cache.keep(configuration, &found.network, at);
        let known = Known {
            configuration: configuration.clone(),
            network: found.network,
            at,
            remarks: found.remarks,
            problem: None,
            good: 0,
            failed: 0,
        };
        Ok((Feed { known: Mutex::new(known), cache, wake: Notify::new() }, inventory))
    }

    /// What is known with another configuration.
    ///
    /// # Errors
    /// When that is no good inventory.
    pub fn rejoined(&self, configuration: &Configuration) -> Result<Inventory, InventoryError> {
        joined(&self.known().network, configuration)
    }

    /// Goes on with another configuration, and asks at once.
    pub fn reconfigure(&self, configuration: &Configuration) {
        self.known().configuration.clone_from(configuration);
        self.wake.notify_one();
    }

    /// What is told of it.
    pub fn report(&self) -> FeedReport {
        let known = self.known();
        FeedReport {
            endpoint: known.configuration.endpoint.to_string(),
            at: known.at,
            problem: known.problem.clone(),
            remarks: known.remarks.clone(),
            refreshes: (known.good, known.failed),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once; what comes of it is in force if it is good.
    async fn refresh(&self, service: &Arc<Service>) -> anyhow::Result<()> {
        let (configuration, vpcs) = {
            let known = self.known();
            let vpcs = known.network.vpcs.iter().map(|vpc| vpc.id.clone()).collect();
            (known.configuration.clone(), vpcs)
        };
        let found = asked(&configuration, vpcs).await?;
        let taking = Arc::clone(service);
        // A change of the inventory waits for calls that are carried out.
        let taken = spawn_blocking(move || take(&taking, found, &configuration));
        taken.await.context("taking over the inventory")?
    }

    /// Says why there is no newer answer.
    fn fail(&self, problem: &anyhow::Error) {
        let words = format!("{problem:#}");
        let mut known = self.known();
        known.failed += 1;
        if known.problem.as_ref() != Some(&words) {
            warn!("the inventory stays that of {}: {words}", known.at);
            known.problem = Some(words);
        }
    }

    fn succeed(&self, found: Discovered, at: Timestamp) {
        let mut known = self.known();
        known.good += 1;
        if known.problem.take().is_some() {
            info!("the inventory comes from {} again", known.configuration.endpoint);
        }
        for remark in found.remarks.iter().filter(|remark| !known.remarks.contains(remark)) {
            warn!("the inventory: {remark}");
        }
        (known.network, known.remarks, known.at) = (found.network, found.remarks, at);
    }
}

async fn asked(configuration: &Configuration, vpcs: BTreeSet<String>) -> anyhow::Result<Discovered> {
    let asking = timeout(PATIENCE, discover(configuration, vpcs)).await;
    asking.unwrap_or_else(|_| Err(anyhow::anyhow!("the refresh took longer than {} s", PATIENCE.as_secs())))
}

/// Puts what was found in force, whole or not at all.
fn take(service: &Service, mut found: Discovered, configuration: &Configuration) -> anyhow::Result<()> {
    let Some(feed) = service.feed() else { return Ok(()) };
    let (state, present) = service.snapshot();
    let before = feed.known().network.clone();
    let used = Used::of(&state);
    refuse_none(&found, &used).with_context(|| format!("the answer of {}", configuration.endpoint))?;
    keep_used(&mut found, Some(&before), &used, configuration);
    let inventory = joined(&found.network, configuration).context("what the endpoint tells is no good")?;
    if feed.known().configuration != *configuration {
        // Asked anew at once.
        return Ok(());
    }
    if inventory != *present {
        service.take_inventory(Arc::new(inventory)).context("what the endpoint tells can't be carried")?;
        info!("the inventory has changed");
    }
    let at = Timestamp::now();
    feed.cache.keep(configuration, &found.network, at);
    feed.succeed(found, at);
    Ok(())
}

/// Refreshes the inventory for ever, if it comes from an endpoint.
pub async fn follow(service: &Arc<Service>) {
    let Some(feed) = service.feed().cloned() else { return };
    let mut failures = 0;
    loop {
        match feed.refresh(service).await {
            Ok(()) => failures = 0,
            Err(problem) => {
                failures += 1;
                feed.fail(&problem);
            }
        }
        service.tell_of_inventory();
        let usual = feed.known().configuration.refresh;
        let pause = if failures == 0 { usual } else { usual.min(RETRY * failures) };
        tokio::select! {
            () = feed.wake.notified() => {}
            () = sleep(pause) => {}
        }
    }
}
