//! Datagrams in many flows, all the time: how many are not answered, and for how long a flow has no answer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::echo;
use crate::topology::Lab;

/// How many flows there are.
pub const FLOWS: usize = 32;

/// Between two datagrams, of one flow after another.
const PAUSE: Duration = Duration::from_millis(1);

/// How long an answer may take: what comes later is lost.
const ANSWER: Duration = Duration::from_secs(2);

/// What became of the datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// How many were sent.
    pub sent: u64,
    /// How many of them had no answer.
    pub lost: u64,
    /// The longest time from a datagram without an answer to the flow's next one with an answer.
    pub longest_silence: Duration,
    /// When the last one without an answer was sent.
    pub last_lost: Option<Instant>,
}

impl Seen {
    /// Those that were sent at these moments had no answer.
    fn lose(&mut self, sent: impl IntoIterator<Item = Instant>) {
        for at in sent {
            self.lost += 1;
            self.longest_silence = self.longest_silence.max(at.elapsed());
            self.last_lost = self.last_lost.max(Some(at));
        }
    }

    /// What became of both.
    pub fn with(self, other: Seen) -> Seen {
        Seen {
            sent: self.sent + other.sent,
            lost: self.lost + other.lost,
            longest_silence: self.longest_silence.max(other.longest_silence),
            last_lost: self.last_lost.max(other.last_lost),
        }
    }
}

/// The flows; they end with this.
#[derive(Debug)]
pub struct Probe {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

struct Flow {
    socket: UdpSocket,
    /// Datagrams without an answer so far, by their numbers.
    waiting: BTreeMap<u64, Instant>,
    seen: Seen,
}

impl Probe {
    /// Begins to ask `vip`, from the lab's client.
    ///
    /// # Errors
    /// If the client can't be entered, or has no thread left.
    pub fn start(lab: &Lab, vip: IpAddr) -> Result<Probe> {
        let entrance = lab.client.entrance()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let work = move || {
            entrance.move_this_thread_in();
            ask(SocketAddr::new(vip, echo::PORT), &over)
        };
        let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(work);
        Ok(Probe { is_over, thread: Some(thread.context("starting the probe's thread")?) })
    }

    /// Ends it, and says what became of the datagrams.
    ///
    /// # Errors
    /// If its thread has panicked.
    pub fn finish(mut self) -> Result<Seen> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().ok().context("the probe's thread has panicked")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn ask(to: SocketAddr, over: &AtomicBool) -> Seen {
    let mut flows: Vec<Flow> = (0..FLOWS).map(|_| Flow::open(to)).collect();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let at = number as usize % FLOWS;
        flows[at].send(number);
        flows.iter_mut().for_each(Flow::receive);
        number += 1;
        std::thread::sleep(PAUSE);
    }
    let end = Instant::now() + ANSWER;
    while Instant::now() < end && flows.iter().any(|flow| !flow.waiting.is_empty()) {
        flows.iter_mut().for_each(Flow::receive);
        std::thread::sleep(PAUSE);
    }
    flows.into_iter().map(Flow::finish).fold(Seen::default(), Seen::with)
}

impl Flow {
    fn open(to: SocketAddr) -> Flow {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("a client has ports");
        socket.connect(to).expect("the VIPs have a route");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        Flow { socket, waiting: BTreeMap::new(), seen: Seen::default() }
    }

    /// What can't be sent, as there is no route for a moment, is lost like everything else.
    fn send(&mut self, number: u64) {
        self.seen.sent += 1;
        self.waiting.insert(number, Instant::now());
        let _ = self.socket.send(number.to_string().as_bytes());
    }

    fn receive(&mut self) {
        let mut answer = [0; 200];
        loop {
            match self.socket.recv(&mut answer) {
                Ok(length) => self.answered(&answer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier datagram, which is lost.
                Err(_) => {}
            }
        }
    }

    /// Answers come in order: what was sent before and has none is lost.
    fn answered(&mut self, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let Some(number) = text.lines().last().and_then(|line| line.parse::<u64>().ok()) else { return };
        let later = self.waiting.split_off(&(number + 1));
        let earlier = std::mem::replace(&mut self.waiting, later);
        self.seen.lose(earlier.into_iter().filter(|(other, _)| *other != number).map(|(_, at)| at));
    }

    fn finish(mut self) -> Seen {
        self.seen.lose(self.waiting.into_values());
        self.seen
    }
}
