//! Datagrams in many flows, all the time: how many are not answered, and when they were sent.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::echo;
use crate::topology::Lab;

/// How many flows there are.
pub const FLOWS: usize = 32;

/// Between two datagrams, of one flow after another.
const PAUSE: Duration = Duration::from_millis(1);

/// A datagram is lost when one has an answer that its flow sent so much later: a machine that stands still loses none.
const OVERTAKEN: Duration = Duration::from_secs(2);

/// How long answers are waited for in the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of the datagrams.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many were sent.
    pub sent: u64,
    /// Those that had no answer: for which VIP, and when each was sent.
    pub lost: Vec<(IpAddr, Instant)>,
}

impl Seen {
    /// When the last one without an answer was sent.
    pub fn last_lost(&self) -> Option<Instant> {
        self.lost.iter().map(|(_, at)| *at).max()
    }

    /// What became of both.
    pub fn with(mut self, other: Seen) -> Seen {
        self.sent += other.sent;
        self.lost.extend(other.lost);
        self
    }

    /// Whether each was answered.
    ///
    /// # Errors
    /// If not, with what was lost.
    pub fn is_whole(&self) -> Result<()> {
        let Some(last) = self.last_lost() else { return Ok(()) };
        let mut by_vip = BTreeMap::<IpAddr, u64>::new();
        self.lost.iter().for_each(|(vip, _)| *by_vip.entry(*vip).or_default() += 1);
        let by_vip: Vec<String> = by_vip.iter().map(|(vip, count)| format!("{count} to {vip}")).collect();
        let (lost, ago) = (by_vip.join(", "), last.elapsed());
        bail!("lost of {} datagrams: {lost}; the last one was sent {ago:.1?} ago", self.sent)
    }
}

/// The flows; they end with this.
#[derive(Debug)]
pub struct Probe {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

struct Flow {
    to: IpAddr,
    socket: UdpSocket,
    /// Datagrams that may still be answered, by their numbers, and when they were sent.
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
    let end = Instant::now() + PATIENCE;
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
        echo::make_room(&socket).expect("root may have large buffers");
        socket.connect(to).expect("the VIPs have a route");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        Flow { to: to.ip(), socket, waiting: BTreeMap::new(), seen: Seen::default() }
    }

    /// What can't be sent, as there is no route for a moment, is lost like everything else.
    fn send(&mut self, number: u64) {
        self.seen.sent += 1;
        self.waiting.insert(number, Instant::now());
        let _ = self.socket.send(number.to_string().as_bytes());
    }

    /// Takes the answers that are there.
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

    /// Answers may overtake each other where a flow changes its way.
    fn answered(&mut self, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let number = text.lines().last().and_then(|line| line.parse().ok());
        let Some(answered) = number.and_then(|number: u64| self.waiting.remove(&number)) else { return };
        let lost = self.waiting.extract_if(.., |_, sent| answered.duration_since(*sent) > OVERTAKEN);
        self.seen.lost.extend(lost.map(|(_, sent)| (self.to, sent)));
    }

    fn finish(mut self) -> Seen {
        self.seen.lost.extend(self.waiting.into_values().map(|sent| (self.to, sent)));
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_by_vips() {
        let sent = |count| Seen { sent: count, lost: Vec::new() };
        sent(5).is_whole().unwrap();
        let (vip4, vip6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let first = Instant::now();
        let last = first + Duration::from_millis(1);
        let seen = sent(5).with(Seen { sent: 4, lost: vec![(vip6, last), (vip4, first), (vip6, first)] });
        assert_eq!(seen.last_lost(), Some(last));
        let error = seen.is_whole().unwrap_err().to_string();
        assert!(error.starts_with("lost of 9 datagrams: 1 to 192.0.2.1, 2 to 2001:db8::1;"), "{error}");
    }
}
