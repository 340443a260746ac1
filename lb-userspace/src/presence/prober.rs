//! Asks all wanted targets whether they have an agent, by one socket for each version of IP, and tells what changes.
//!
//! The source address is the one that the kernel chooses towards the target, which is a tunnel's too: one that the
//! agent knows as a node's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lb_common::encapsulation::GUE_PORT;
use lb_common::gue::probe::{MESSAGE, Question};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{debug, info};

use super::state::{AgentState, Presence};

/// What is known of a target's agent has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentEvent {
    /// The target.
    pub address: IpAddr,
    /// What is known from now on.
    pub state: AgentState,
}

/// The questions to all targets; dropping it ends them.
#[derive(Debug)]
pub struct AgentProber {
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    task: AbortHandle,
}

impl AgentProber {
    /// A prober of no target yet, and where its events come out. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no UDP socket can be opened.
    pub fn start() -> anyhow::Result<(AgentProber, UnboundedReceiver<AgentEvent>)> {
        let (wanted, watch) = watch::channel(BTreeSet::new());
        let (events, receiver) = unbounded_channel();
        let sockets = Sockets::open().context("opening the sockets of the agents' probe")?;
        let task = tokio::spawn(run(sockets, watch, events)).abort_handle();
        Ok((AgentProber { wanted, task }, receiver))
    }

    /// Makes the targets be `wanted`.
    pub fn reconcile(&self, wanted: BTreeSet<IpAddr>) {
        self.wanted.send_if_modified(|present| {
            let is_other = *present != wanted;
            *present = wanted;
            is_other
        });
    }
}

impl Drop for AgentProber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    sockets: Sockets,
    mut wanted: watch::Receiver<BTreeSet<IpAddr>>,
    events: UnboundedSender<AgentEvent>,
) {
    let mut presence = Presence::default();
    let mut answer = [0; MESSAGE + 1];
    loop {
        let next = presence.next().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                presence.follow(&wanted.borrow_and_update(), Instant::now());
            }
            (from, length) = sockets.receive(&mut answer) => {
                if let Some(state) = presence.heard(from, &answer[..length], Instant::now()) {
                    tell(&events, from, state);
                }
            }
            () = tokio::time::sleep_until(next.into()) => {
                let due = presence.due(Instant::now(), || fastrand::u64(..));
                for (address, question) in due.questions {
                    sockets.ask(address, question).await;
                }
                due.changes.into_iter().for_each(|(address, state)| tell(&events, address, state));
            }
        }
    }
}

fn tell(events: &UnboundedSender<AgentEvent>, address: IpAddr, state: AgentState) {
    match state {
        AgentState::Present(agent) => {
            info!("target {address}: its agent answers, version {}", agent.version())
        }
        _ => info!("target {address}: no agent answers"),
    }
    // Without a receiver the controller is about to stop, and this task with it.
    let _ = events.send(AgentEvent { address, state });
}

/// A socket for each version of IP; a host may lack IPv6.
struct Sockets {
    ipv4: Arc<UdpSocket>,
    ipv6: Option<Arc<UdpSocket>>,
}

impl Sockets {
    fn open() -> anyhow::Result<Sockets> {
        let ipv4 = bind(IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
        Ok(Sockets { ipv4, ipv6: bind(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).ok() })
    }

    async fn ask(&self, target: IpAddr, question: Question) {
        let socket = if target.is_ipv4() { Some(&self.ipv4) } else { self.ipv6.as_ref() };
        let Some(socket) = socket else { return };
        // What can't be sent is not answered, and that is what counts.
        if let Err(problem) = socket.send_to(&question.encode(), SocketAddr::new(target, GUE_PORT)).await {
            debug!("target {target}: its agent can't be asked: {problem}");
        }
    }

    /// The next message from any target's port of the probe. An error (an ICMP message about an earlier question) is
    /// no message.
    async fn receive(&self, buffer: &mut [u8]) -> (IpAddr, usize) {
        loop {
            let (socket, other) = (&self.ipv4, self.ipv6.as_ref());
            tokio::select! {
                _ = socket.readable() => {}
                () = readable(other) => {}
            }
            for socket in std::iter::once(socket).chain(other) {
                if let Ok((length, from)) = socket.try_recv_from(buffer)
                    && from.port() == GUE_PORT
                {
                    return (from.ip().to_canonical(), length);
                }
            }
        }
    }
}

async fn readable(socket: Option<&Arc<UdpSocket>>) {
    match socket {
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    }
}

fn bind(address: IpAddr) -> anyhow::Result<Arc<UdpSocket>> {
    let socket = std::net::UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(Arc::new(UdpSocket::from_std(socket)?))
}
