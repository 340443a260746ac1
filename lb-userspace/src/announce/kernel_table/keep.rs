//! The task that keeps the routes as they are wanted.
//!
//! Everything is read and compared again after each change of the table, at most every ten milliseconds: a table has as
//! many routes as there are VIPs, and reading a thousand takes a millisecond.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rtnetlink::MulticastGroup;
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::Order;
use super::configuration::{Configuration, Mark};
use super::pace::Pace;
use super::plan::{Change, Plan, Unwanted, plan};
use super::requests::Requests;
use super::status::{State, Status};
use crate::announce::Wanted;
use crate::netlink::{Heard, Listener, Message, RequestError, messages};
use crate::privileges::Network;

/// The task.
pub(super) struct Keeper {
    configuration: Configuration,
    /// What routes of ours are known by, those of former configurations included until they are gone.
    marks: BTreeSet<Mark>,
    wanted: watch::Receiver<Arc<Wanted>>,
    orders: mpsc::UnboundedReceiver<Order>,
    status: watch::Sender<Arc<Status>>,
    pace: Pace,
    /// Until then routes of an earlier run may stay.
    held_until: Instant,
    /// When to read everything again.
    due: Option<Instant>,
    repaired: u64,
    /// Who writes routes, if that is not this process.
    helper: Option<Network>,
}

/// Why the routes are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Something else is wanted than before.
    Wish,
    /// The kernel's routes may have changed.
    Doubt,
}

/// What ends the following of one pair of sockets.
enum End {
    /// Nobody wants anything any more; the routes stay.
    Dropped,
    /// All is to be withdrawn.
    Withdraw(oneshot::Sender<anyhow::Result<()>>),
}

struct Kernel {
    listener: Listener,
    requests: Requests,
}

impl Kernel {
    fn connect() -> anyhow::Result<Kernel> {
        // Listening comes first: what changes between the two is then told twice, not never.
        let listener = Listener::open(&[MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route])?;
        Ok(Kernel { listener, requests: Requests::open()? })
    }
}

impl Keeper {
    pub(super) fn new(
        configuration: Configuration,
        wanted: watch::Receiver<Arc<Wanted>>,
        orders: mpsc::UnboundedReceiver<Order>,
        status: watch::Sender<Arc<Status>>,
        helper: Option<Network>,
    ) -> Keeper {
        let now = Instant::now();
        Keeper {
            configuration,
            marks: configuration.marks(),
            wanted,
            orders,
            status,
            pace: Pace::new(now.into_std()),
            held_until: now + configuration.hold,
            due: None,
            repaired: 0,
            helper,
        }
    }

    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            match self.follow().await {
                Ok(End::Dropped) => return,
                Ok(End::Withdraw(answer)) => return self.withdraw(answer).await,
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!("the routes of VIPs are not kept for a moment, what is written stays: {error}");
                    self.publish(|status| status.error = Some(error));
                }
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&mut self) -> anyhow::Result<End> {
        let mut kernel = Kernel::connect()?;
        self.settle(&kernel.requests, Cause::Wish).await?;
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.reset();
        loop {
            let due = self.due.unwrap_or_else(|| Instant::now() + REFRESH);
            let cause = tokio::select! {
                heard = kernel.listener.next() => {
                    self.doubt(&heard.context("reading netlink notifications")?);
                    continue;
                }
                changed = self.wanted.changed() => match changed {
                    Ok(()) => Cause::Wish,
                    Err(_) => return Ok(End::Dropped),
                },
                order = self.orders.recv() => match order {
                    None => return Ok(End::Dropped),
                    Some(Order::Withdraw(answer)) => return Ok(End::Withdraw(answer)),
                    Some(Order::Apply(configuration)) => {
                        self.marks.append(&mut configuration.marks());
                        self.configuration = configuration;
                        Cause::Wish
                    }
                },
                _ = refresh.tick() => Cause::Doubt,
                () = sleep_until(due) => Cause::Doubt,
                () = sleep_until(self.held_until), if self.is_holding() => Cause::Wish,
            };
            self.settle(&kernel.requests, cause).await?;
        }
    }

    fn is_holding(&self) -> bool {
        self.status.borrow().vips.values().any(|state| *state == State::Held)
    }

    /// Changes come in bursts: the first one sets the time, later ones don't postpone it.
    fn doubt(&mut self, heard: &Heard<'_>) {
        let concerned = match heard {
            Heard::Lost => true,
            Heard::Messages(datagram) => messages(datagram).any(|message| self.concerns(&message)),
        };
        if concerned {
            self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
        }
    }

    /// Whether a message may be about a route in one of our tables. Nothing else is decoded: a host may have a million
    /// routes that come and go.
    fn concerns(&self, message: &Message<'_>) -> bool {
        let Message::Whole { payload, .. } = message else { return true };
        let Some(table) = payload.get(RTM_TABLE) else { return true };
        self.marks.iter().any(|mark| u8::try_from(mark.table).unwrap_or(RT_TABLE_COMPAT) == *table)
    }

    /// Reads the routes, and makes them those that are wanted.
    async fn settle(&mut self, requests: &Requests, cause: Cause) -> anyhow::Result<()> {
        self.due = None;
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        let plan = self.plan(requests, &wanted, self.unwanted()).await?;
        if cause == Cause::Doubt
            && !plan.changes.is_empty()
            && let Err(again) = self.pace.permit(Instant::now().into_std())
        {
            self.due = Some(again.into());
            self.complain(&plan);
            return Ok(());
        }
        let (states, applied) = self.apply(requests, plan).await?;
        if cause == Cause::Doubt && applied > 0 {
            info!("somebody else changed the routes of VIPs: {applied} were put right");
            self.repaired += applied as u64;
        }
        if !states.values().any(|state| matches!(state, State::Failed(_) | State::Held)) {
            self.marks = self.configuration.marks();
        }
        let repaired = self.repaired;
        self.publish(|status| *status = Status { vips: states, error: None, repaired });
        Ok(())
    }

    fn unwanted(&self) -> Unwanted {
        if Instant::now() < self.held_until { Unwanted::Hold } else { Unwanted::Remove }
    }

    async fn plan(&self, requests: &Requests, wanted: &Wanted, unwanted: Unwanted) -> anyhow::Result<Plan> {
        let tables = self.marks.iter().map(|mark| mark.table).collect();
        let present = requests.routes(&tables).await.context("listing routes (RTM_GETROUTE)")?;
        Ok(plan(&present, wanted, &self.configuration, &self.marks, unwanted))
    }

    /// Does what is planned, and tells what became of the VIPs and how many changes were made.
    async fn apply(
        &self,
        requests: &Requests,
        mut plan: Plan,
    ) -> anyhow::Result<(BTreeMap<IpAddr, State>, usize)> {
        let mut applied = 0;
        for change in &plan.changes {
            debug!("routes of VIPs: {change:?}");
            let changed = match &self.helper {
                Some(helper) => helper.change_route(*change).await,
                None => requests.apply(*change).await,
            };
            match changed {
                Ok(()) => applied += 1,
                Err(RequestError::Kernel(error)) => {
                    let (vip, state) = (change.vip(), State::Failed(self.words(change, error)));
                    if self.status.borrow().vips.get(&vip) != Some(&state) {
                        warn!("VIP {vip}: {}", self.words(change, error));
                    }
                    plan.states.insert(vip, state);
                }
                Err(error) => return Err(error).context("writing a route (RTM_NEWROUTE, RTM_DELROUTE)"),
            }
        }
        Ok((plan.states, applied))
    }

    fn words(&self, change: &Change, error: Errno) -> String {
        let error = match error {
            Errno::EXIST => "another program's route with this metric is there".to_owned(),
            Errno::PERM | Errno::ACCESS => format!("{error}; run with CAP_NET_ADMIN"),
            error => error.to_string(),
        };
        let (vip, table) = (change.vip(), self.configuration.table);
        format!("the kernel refuses its route: {error}; compare `ip route show table {table} {vip}`")
    }

    /// What is wrong has to wait: somebody undoes it again and again.
    fn complain(&self, plan: &Plan) {
        let mut states = plan.states.clone();
        for change in &plan.changes {
            states.insert(change.vip(), State::Failed(FOUGHT_OVER.to_owned()));
        }
        self.publish(|status| status.vips = states);
    }

    async fn withdraw(self, answer: oneshot::Sender<anyhow::Result<()>>) {
        let withdrawn = async {
            let requests = Requests::open()?;
            let plan = self.plan(&requests, &Wanted::new(), Unwanted::Remove).await?;
            let (states, _) = self.apply(&requests, plan).await?;
            let failed = states.into_iter().find_map(|(vip, state)| match state {
                State::Failed(words) => Some(anyhow::anyhow!("VIP {vip}: {words}")),
                _ => None,
            });
            failed.map_or(Ok(()), Err)
        };
        // Who asked may have given up.
        let _ = answer.send(withdrawn.await);
    }

    fn publish(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|current| {
            let mut new = Status::clone(current);
            change(&mut new);
            let differs = **current != new;
            if differs {
                *current = Arc::new(new);
            }
            differs
        });
    }
}

const FOUGHT_OVER: &str = "another program removes or changes the route again and again; it is put right once a second: \
                           see `ip monitor route` for who it is";

/// Where a route message has its table's number (struct rtmsg of linux/rtnetlink.h); one that does not fit is
/// [`RT_TABLE_COMPAT`] there.
const RTM_TABLE: usize = 4;
const RT_TABLE_COMPAT: u8 = 252;

const DEBOUNCE: Duration = Duration::from_millis(10);

/// For what no notification tells: routes of IPv4 that go with an interface.
const REFRESH: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
