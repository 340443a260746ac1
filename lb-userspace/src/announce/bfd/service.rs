//! All BFD sessions on a thread of their own, with their sockets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::watch;

use super::machine::Machine;
use super::socket::{Receiver, Sender};
use super::{Down, Packet, Status, Timers};

/// The thread; dropping it switches all sessions off, which takes about 0.2 s.
#[derive(Debug)]
pub struct Service {
    orders: Orders,
    thread: Option<JoinHandle<()>>,
}

/// A session with one router, switched off at first; dropping it switches it off for good.
#[derive(Debug)]
pub struct Session {
    discriminator: u32,
    orders: Orders,
    status: watch::Receiver<Status>,
    /// How many downs its owner knows of.
    downs: u64,
}

/// The way to the thread: a channel, and an eventfd that wakes it.
#[derive(Debug, Clone)]
struct Orders {
    sender: mpsc::Sender<Order>,
    wake: Arc<OwnedFd>,
}

enum Order {
    Watch { router: IpAddr, source: IpAddr, timers: Timers, answer: mpsc::Sender<Result<Watched>> },
    SwitchOn(u32),
    SwitchOff(u32),
    Unwatch(u32),
    Stop,
}

type Watched = (u32, watch::Receiver<Status>);

impl Orders {
    fn send(&self, order: Order) {
        // A thread that has ended has no sessions; and an eventfd takes a number always.
        let _ = self.sender.send(order);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Service {
    /// Starts the thread; its sockets are of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start() -> Result<Service> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags).context("opening an eventfd for BFD")?);
        let (sender, orders) = mpsc::channel();
        let runner = Runner { orders, wake: wake.clone(), receivers: Vec::new(), sessions: BTreeMap::new() };
        let thread = thread::Builder::new().name("bfd".to_owned()).spawn(|| runner.run());
        let thread = Some(thread.context("starting the thread for BFD")?);
        Ok(Service { orders: Orders { sender, wake }, thread })
    }

    /// Opens a session with `router` from `source`, an address of this node. It is to be [switched
    /// on](Session::switch_on).
    ///
    /// # Errors
    /// When the timers are out of their ranges, `source` is no address of this node, or its port 3784 is taken.
    pub fn watch(&self, router: IpAddr, source: IpAddr, timers: Timers) -> Result<Session> {
        timers.validate().map_err(anyhow::Error::msg)?;
        ensure!(router.is_ipv4() == source.is_ipv4(), "{router} and {source} must be of one family");
        let (sender, answer) = mpsc::channel();
        self.orders.send(Order::Watch { router, source, timers, answer: sender });
        let (discriminator, status) = answer.recv().context("the thread for BFD has ended")??;
        Ok(Session { discriminator, orders: self.orders.clone(), status, downs: 0 })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Session {
    /// Begins to look for the router.
    pub fn switch_on(&self) {
        self.orders.send(Order::SwitchOn(self.discriminator));
    }

    /// Tells the router that this says nothing of the way any more, and is silent then.
    pub fn switch_off(&self) {
        self.orders.send(Order::SwitchOff(self.discriminator));
    }

    /// What is known.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The state and its changes, for others who want to know.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits for a change of the status; for ever, if the service has stopped.
    pub async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// For how long nothing had come when the router was last taken for gone, if it was since this was last asked.
    pub fn take_silence(&mut self) -> Option<Duration> {
        let status = self.status.borrow();
        let is_new = status.downs != std::mem::replace(&mut self.downs, status.downs);
        is_new.then_some(match status.last_down {
            Some(Down::Silence(time)) => time,
            _ => status.detection,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.orders.send(Order::Unwatch(self.discriminator));
    }
}

/// The thread's own.
struct Runner {
    orders: mpsc::Receiver<Order>,
    wake: Arc<OwnedFd>,
    /// One for each of the node's addresses that sessions come from.
    receivers: Vec<Receiver>,
    /// By their discriminators.
    sessions: BTreeMap<u32, Running>,
}

struct Running {
    machine: Machine,
    router: IpAddr,
    source: IpAddr,
    sender: Sender,
    status: watch::Sender<Status>,
    /// Nobody wants it any more: it goes when it has said so.
    is_ending: bool,
}

impl Runner {
    fn run(mut self) {
        let mut is_stopping = false;
        while !(is_stopping && self.sessions.is_empty()) {
            self.wait();
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Watch { router, source, timers, answer } => {
                        // Who asked may be gone; then the session's end is ordered already.
                        let _ = answer.send(self.watch(router, source, timers));
                    }
                    Order::SwitchOn(name) => {
                        self.with(name, |session| session.machine.switch_on(Instant::now()))
                    }
                    Order::SwitchOff(name) => {
                        self.with(name, |session| session.machine.switch_off(Instant::now()))
                    }
                    Order::Unwatch(name) => self.with(name, Running::end),
                    Order::Stop => {
                        is_stopping = true;
                        self.sessions.values_mut().for_each(Running::end);
                    }
                }
            }
            // What came is looked at before the time: after a stall the packets are there. Not all that comes, or who
            // sends faster than it is read keeps this from sending.
            self.receive();
            self.tick();
        }
    }

    /// Until a packet, an order, or the next deadline.
    fn wait(&self) {
        let now = Instant::now();
        let deadlines = self.sessions.values().filter_map(|session| session.machine.deadline(now));
        let timeout = deadlines.min().map(|deadline| timespec(deadline.saturating_duration_since(now)));
        let mut descriptors = vec![PollFd::new(&self.wake, PollFlags::IN)];
        descriptors.extend(self.receivers.iter().map(|receiver| PollFd::new(receiver, PollFlags::IN)));
        // An interrupted wait is a short one.
        let _ = poll(&mut descriptors, timeout.as_ref());
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
    }

    fn watch(&mut self, router: IpAddr, source: IpAddr, timers: Timers) -> Result<Watched> {
        let mut living = self.sessions.values().filter(|session| !session.is_ending);
        let is_known = living.any(|session| session.router == router && session.source == source);
        ensure!(!is_known, "there is a BFD session with {router} from {source} already");
        let sender = Sender::open(source, router)?;
        if !self.receivers.iter().any(|receiver| receiver.address == source) {
            self.receivers.push(Receiver::open(source)?);
        }
        let discriminator = self.free_discriminator();
        let machine = Machine::new(timers, discriminator, Instant::now(), fastrand::u64(..));
        let (status, watched) = watch::channel(machine.status());
        self.sessions
            .insert(discriminator, Running { machine, router, source, sender, status, is_ending: false });
        Ok((discriminator, watched))
    }

    fn free_discriminator(&self) -> u32 {
        loop {
            let discriminator = fastrand::u32(1..);
            if !self.sessions.contains_key(&discriminator) {
                return discriminator;
            }
        }
    }

    fn with(&mut self, name: u32, order: impl FnOnce(&mut Running)) {
        if let Some(session) = self.sessions.get_mut(&name) {
            order(session);
        }
    }

    fn receive(&mut self) {
        for receiver in &self.receivers {
            for (from, packet) in receiver.waiting() {
                if let Some(session) = find(&mut self.sessions, from, receiver.address, &packet) {
                    let answer = session.machine.receive(Instant::now(), &packet);
                    if let Some(answer) = answer {
                        session.sender.send(&answer);
                    }
                }
            }
        }
    }

    fn tick(&mut self) {
        for session in self.sessions.values_mut() {
            if let Some(packet) = session.machine.tick(Instant::now()) {
                session.sender.send(&packet);
            }
            session.publish();
        }
        self.sessions.retain(|_, session| !(session.is_ending && session.machine.is_silent()));
        let Runner { receivers, sessions, .. } = self;
        receivers.retain(|receiver| sessions.values().any(|session| session.source == receiver.address));
    }
}

/// The session that a packet is for (RFC 5881 §3): by its name, or before the router knows that, by the addresses.
fn find<'a>(
    sessions: &'a mut BTreeMap<u32, Running>,
    from: IpAddr,
    to: IpAddr,
    packet: &Packet,
) -> Option<&'a mut Running> {
    let is_between = |session: &Running| session.router == from && session.source == to && !session.is_ending;
    if packet.your_discriminator != 0 {
        return sessions.get_mut(&packet.your_discriminator).filter(|session| is_between(session));
    }
    sessions.values_mut().find(|session| is_between(session))
}

impl Running {
    fn end(&mut self) {
        self.machine.switch_off(Instant::now());
        self.is_ending = true;
    }

    fn publish(&self) {
        let status = self.machine.status();
        self.status.send_if_modified(|published| {
            let is_new = *published != status;
            if is_new {
                *published = status;
            }
            is_new
        });
    }
}

fn timespec(time: Duration) -> Timespec {
    // A wait that is rounded down would spin until the deadline.
    let time = time + Duration::from_micros(10);
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}
