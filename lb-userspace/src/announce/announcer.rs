//! What tells routers, running: a task that starts, reconfigures and stops it, so that nobody waits for sockets.
//!
//! What can't be started (the node's address is not there yet, say) is tried again for as long as it takes; what can
//! be is not kept waiting for it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use super::bgp::{self, SessionStatus, Sessions, Speaker};
use super::kernel_table::{self, Ending, Survivor, Table};
use super::{By, Wanted, bfd};
use crate::privileges::Network;

/// After a failed start, the time until the next try.
const RETRY: Duration = Duration::from_secs(2);

/// What it means that nobody outlives the process.
const UNSURVIVED: &str = "routes of VIPs will stay if this controller is killed";

/// What tells routers. Dropping it ends sessions without a word, as a crash would; routes in a kernel table stay if the
/// data plane does.
#[derive(Debug)]
pub struct Announcer {
    wanted: watch::Sender<Arc<Wanted>>,
    orders: mpsc::UnboundedSender<Order>,
    seen: Seen,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Order {
    Apply(Option<By>),
    Stop { text: String, ending: Ending, done: oneshot::Sender<()> },
}

/// What others see of it.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<View>>);

#[derive(Debug, Default)]
struct View {
    sessions: Vec<watch::Receiver<Arc<SessionStatus>>>,
    table: Option<watch::Receiver<Arc<kernel_table::Status>>>,
    problem: Option<String>,
}

impl Announcer {
    /// One that tells nobody yet. An earlier controller's routes in a kernel table stay for `hold` at first, until it is
    /// known what is wanted. If that is no time, the data plane ends with each controller, and routes must, too: then a
    /// process withdraws them that outlives this one, `survivor`. Where there is a helper, it is who writes into the
    /// kernel's table. Must be called within a tokio runtime.
    pub(crate) fn start(hold: Duration, helper: Option<Network>, survivor: Option<Survivor>) -> Announcer {
        let (wanted, watched) = watch::channel(Arc::default());
        let (orders, ordered) = mpsc::unbounded_channel();
        let seen = Seen::default();
        let runner = Runner {
            wanted: watched,
            orders: ordered,
            hold,
            helper,
            seen: seen.clone(),
            configured: None,
            running: Running::Nothing,
            bfd: None,
            survivor,
            retry: None,
        };
        Announcer { wanted, orders, seen, task: tokio::spawn(runner.run()) }
    }

    /// From now on routers are told by this; what is configured as before goes on undisturbed.
    pub fn apply(&self, by: Option<By>) {
        // The task ends when this is dropped, or stopped.
        let _ = self.orders.send(Order::Apply(by));
    }

    /// Tells routers this.
    pub fn tell(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|told| {
            let is_new = **told != wanted;
            if is_new {
                *told = Arc::new(wanted);
            }
            is_new
        });
    }

    /// What routers are told.
    pub fn told(&self) -> Arc<Wanted> {
        self.wanted.borrow().clone()
    }

    /// The sessions of the node's own speaker.
    pub fn sessions(&self) -> Vec<Arc<SessionStatus>> {
        self.seen.with(|view| view.sessions.iter().map(|session| session.borrow().clone()).collect())
    }

    /// What became of the VIPs in the kernel's routing table, where that is how routers are told.
    pub fn table(&self) -> Option<Arc<kernel_table::Status>> {
        self.seen.with(|view| view.table.as_ref().map(|table| table.borrow().clone()))
    }

    /// Why routers, or some of them, can't be told at present, if that is so; a session that does not come up says so
    /// itself.
    pub fn problem(&self) -> Option<String> {
        self.seen.with(|view| view.problem.clone())
    }

    /// Ends it: sessions withdraw all VIPs, and tell their routers `text`; what becomes of routes in a kernel table is
    /// for `ending` to say. Takes some seconds at most.
    pub async fn stop(&mut self, text: &str, ending: Ending) {
        let (done, ended) = oneshot::channel();
        let _ = self.orders.send(Order::Stop { text: text.to_owned(), ending, done });
        // An error means that the task has ended already.
        let _ = ended.await;
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn with<T>(&self, look: impl FnOnce(&mut View) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The task.
struct Runner {
    wanted: watch::Receiver<Arc<Wanted>>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// For how long an earlier controller's routes stay.
    hold: Duration,
    /// Who writes into the kernel's table, if that is not this process.
    helper: Option<Network>,
    seen: Seen,
    configured: Option<By>,
    running: Running,
    /// Started with the first peer that needs it.
    bfd: Option<bfd::Service>,
    /// Withdraws routes that this process leaves without a data plane.
    survivor: Option<Survivor>,
    retry: Option<Instant>,
}

enum Running {
    Nothing,
    Bgp(Sessions),
    KernelTable(Table),
}

impl Runner {
    async fn run(mut self) {
        loop {
            let retry = self.retry;
            let order = tokio::select! {
                order = self.orders.recv() => order,
                () = due(retry) => Some(Order::Apply(self.configured.clone())),
                () = Survivor::ended(&mut self.survivor) => {
                    self.survivor = None;
                    warn!("{UNSURVIVED}: the process that outlives this one has ended");
                    continue;
                }
            };
            match order {
                None => return,
                Some(Order::Apply(by)) => {
                    self.configured = by;
                    self.apply().await;
                }
                Some(Order::Stop { text, ending, done }) => {
                    if let Err(problem) = self.end(&text, ending).await {
                        error!("{problem:#}");
                    }
                    self.publish(None);
                    // Who waits may be gone.
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn apply(&mut self) {
        let problem = self.try_apply().await.err().map(|problem| format!("{problem:#}"));
        self.retry = problem.is_some().then(|| Instant::now() + RETRY);
        let before = self.seen.with(|view| view.problem.clone());
        if let Some(problem) = problem.as_ref().filter(|problem| before.as_ref() != Some(problem)) {
            error!("routers can't be told, and will be tried again: {problem}");
        }
        self.publish(problem);
    }

    async fn try_apply(&mut self) -> Result<()> {
        match self.configured.clone() {
            None => self.end("this node announces nothing any more", Ending::Withdraw).await,
            Some(By::Bgp(speaker)) => self.speak(&speaker).await,
            Some(By::KernelTable(configuration)) => self.write(&configuration).await,
        }
    }

    async fn write(&mut self, configuration: &kernel_table::Configuration) -> Result<()> {
        let configuration = kernel_table::Configuration { hold: self.hold, ..*configuration };
        if self.hold.is_zero()
            && let Err(problem) = self.be_outlived(&configuration)
        {
            warn!("{UNSURVIVED}: {problem:#}");
        }
        if let Running::KernelTable(table) = &mut self.running {
            return Ok(table.apply(&configuration)?);
        }
        // The new way comes first, so that routers are never without one.
        let table = kernel_table::start_through(&configuration, &self.wanted, self.helper.clone())?;
        self.end("this node's VIPs are told by a routing daemon from now on", Ending::Withdraw).await?;
        self.running = Running::KernelTable(table);
        Ok(())
    }

    /// Before there is a route, somebody knows who withdraws it when this process can't.
    fn be_outlived(&mut self, configuration: &kernel_table::Configuration) -> Result<()> {
        let survivor = self.survivor.as_mut();
        survivor.context("no process outlives this one, which can start none any more")?.tell(configuration)
    }

    async fn speak(&mut self, speaker: &Speaker) -> Result<()> {
        // Without it there are the sessions that need none.
        let bfd = self.start_bfd(speaker);
        if let Running::Bgp(sessions) = &mut self.running {
            sessions.apply(speaker, self.bfd.as_ref()).await?;
            return bfd.and(whole(sessions));
        }
        let sessions = bgp::start(speaker, &self.wanted, self.bfd.as_ref())?;
        let problem = bfd.and(whole(&sessions));
        // The old way stays as long as there is no new one.
        if problem.is_err() && !sessions.has_any() && matches!(self.running, Running::KernelTable(_)) {
            return problem;
        }
        self.end("this node speaks BGP itself from now on", Ending::Withdraw).await?;
        self.running = Running::Bgp(sessions);
        problem
    }

    fn start_bfd(&mut self, speaker: &Speaker) -> Result<()> {
        if self.bfd.is_none() && speaker.peers.iter().any(|peer| peer.bfd.is_some()) {
            self.bfd = Some(bfd::Service::start()?);
        }
        Ok(())
    }

    async fn end(&mut self, text: &str, ending: Ending) -> Result<()> {
        match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Nothing => Ok(()),
            Running::Bgp(sessions) => {
                sessions.stop(text).await;
                Ok(())
            }
            Running::KernelTable(table) => {
                table.stop(ending).await?;
                if let (Some(survivor), Ending::Withdraw) = (&mut self.survivor, ending) {
                    survivor.forget();
                }
                Ok(())
            }
        }
    }

    fn publish(&self, problem: Option<String>) {
        let peers: Vec<IpAddr> = match (&self.running, &self.configured) {
            (Running::Bgp(_), Some(By::Bgp(speaker))) => {
                speaker.peers.iter().map(|peer| peer.address).collect()
            }
            _ => Vec::new(),
        };
        let sessions = match &self.running {
            Running::Nothing | Running::KernelTable(_) => Vec::new(),
            Running::Bgp(sessions) => peers.into_iter().filter_map(|peer| sessions.watch(peer)).collect(),
        };
        let table = match &self.running {
            Running::KernelTable(table) => Some(table.watch()),
            Running::Nothing | Running::Bgp(_) => None,
        };
        self.seen.with(|view| *view = View { sessions, table, problem });
    }
}

/// An error that says of every router that has no session why.
fn whole(sessions: &Sessions) -> Result<()> {
    let problems: Vec<&str> = sessions.problems().collect();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
