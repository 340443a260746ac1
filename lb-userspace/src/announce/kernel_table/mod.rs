//! VIPs as routes in a routing table of their own, for BIRD, FRR and whatever reads one: whose protocol number and
//! metric tell whether a VIP is announced or draining.
//!
//! ```text
//!   Wanted (watch) ──► keep ──► plan ──► routes of our protocols in our table ──► BIRD, FRR ──► routers
//!                       ▲                           │
//!                       └── notifications, every 10 s
//! ```
//!
//! No rule leads to the table, so its routes change no packet's way; a routing daemon is told to read it. `plan` is the
//! whole decision and is pure; `keep` is the task that makes the kernel's routes those that are wanted, also when
//! somebody else takes one away; `requests` holds the socket. Routes of other protocols are never touched.
//!
//! Unlike a session, routes outlive the process: what is written stays until it is withdrawn. After a restart what is
//! still wanted is not touched. Where the data plane does not outlive the process, a `survivor` withdraws them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Wanted;
use crate::privileges::Network;

mod configuration;
mod keep;
mod pace;
mod plan;
mod requests;
mod status;
mod survivor;

pub use configuration::{Configuration, InvalidConfiguration};
pub(crate) use plan::Change;
pub(crate) use requests::Requests;
pub use status::{State, Status};
pub(crate) use survivor::Survivor;
pub use survivor::{COMMAND as OUTLIVE_CONTROLLER, survive};

/// The routes of a configuration, kept as they are wanted until this is dropped; then they stay as they are.
#[derive(Debug)]
pub struct Table {
    configuration: Configuration,
    orders: mpsc::UnboundedSender<Order>,
    status: watch::Receiver<Arc<Status>>,
    /// Ends with this.
    _task: JoinSet<()>,
}

/// What becomes of the routes at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// They are removed: routers lead nobody here any more.
    Withdraw,
    /// They stay, as the data plane does.
    Keep,
}

/// What the task is told.
#[derive(Debug)]
enum Order {
    Apply(Configuration),
    Withdraw(oneshot::Sender<anyhow::Result<()>>),
}

/// Writes a route for each VIP that is wanted, and follows its changes. Routes of an earlier run that are wanted stay
/// untouched, others are removed: at once, or after [`Configuration::hold`].
///
/// The sockets are opened in the network namespace of the calling thread, or of the runtime's if it has several. Needs
/// a tokio runtime with I/O and time, and CAP_NET_ADMIN.
///
/// # Errors
/// When the configuration is invalid. What the kernel refuses is in the status.
pub fn start(
    configuration: &Configuration,
    wanted: &watch::Receiver<Arc<Wanted>>,
) -> Result<Table, InvalidConfiguration> {
    start_through(configuration, wanted, None)
}

/// The same; where there is a helper, it writes the routes, and this process needs no capability.
///
/// # Errors
/// As [`start`].
pub fn start_through(
    configuration: &Configuration,
    wanted: &watch::Receiver<Arc<Wanted>>,
    helper: Option<Network>,
) -> Result<Table, InvalidConfiguration> {
    configuration.validate()?;
    let (orders, ordered) = mpsc::unbounded_channel();
    let (status_sender, status) = watch::channel(Arc::default());
    let mut task = JoinSet::new();
    task.spawn(keep::Keeper::new(*configuration, wanted.clone(), ordered, status_sender, helper).run());
    Ok(Table { configuration: *configuration, orders, status, _task: task })
}

impl Table {
    /// What became of each VIP.
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// The same, to be watched; changes only when its content does.
    pub fn watch(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Takes another configuration: routes that differ are written anew before those of the former one go.
    ///
    /// # Errors
    /// When it is invalid; then nothing changes.
    pub fn apply(&mut self, configuration: &Configuration) -> Result<(), InvalidConfiguration> {
        configuration.validate()?;
        if self.configuration != *configuration {
            self.configuration = *configuration;
            // A task that has ended says so in the status.
            let _ = self.orders.send(Order::Apply(*configuration));
        }
        Ok(())
    }

    /// Ends it. Takes at most some seconds.
    ///
    /// # Errors
    /// If routes can't be removed.
    pub async fn stop(self, ending: Ending) -> anyhow::Result<()> {
        if ending == Ending::Keep {
            return Ok(());
        }
        let Configuration { table, protocol, draining_protocol, .. } = self.configuration;
        let withdrawn = async {
            let (answer, answered) = oneshot::channel();
            self.orders.send(Order::Withdraw(answer)).context("nobody keeps the table any more")?;
            answered.await.context("nobody keeps the table any more")?
        };
        let result = timeout(WITHDRAWN_WITHIN, withdrawn).await.context("the kernel did not answer in time");
        result.and_then(|withdrawn| withdrawn).with_context(|| {
            format!(
                "withdrawing the routes of VIPs: remove them by hand (`ip route flush table {table} proto {protocol}`, \
                 the same with {draining_protocol}, and with `ip -6`)"
            )
        })
    }
}

const WITHDRAWN_WITHIN: Duration = Duration::from_secs(5);
