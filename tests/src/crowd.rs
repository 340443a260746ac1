//! Many long-lived TCP connections of the lab's client to the echo port of the VIPs, on one thread inside the
//! client's namespace. One that breaks is noted and replaced, so that flows begin at any moment of a change.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::echo;
use crate::topology::{CLIENT4, CLIENT6, Lab};

/// The mean time between two messages of a connection.
const PERIOD: Duration = Duration::from_millis(2000);

/// How long a connection may take to be established and greeted.
const OPEN: Duration = Duration::from_secs(20);

/// Between two tries to replace a connection.
const AGAIN: Duration = Duration::from_millis(200);

/// How many connections are opened at the same time.
const OPENING: usize = 200;

/// Ports that no kernel chooses by itself (Linux has 32768 to 60999 for that).
const FRESH_PORTS: Range<u16> = 1024..32_768;

/// How many failures are kept in words.
const WORDS: usize = 20;

/// A connection that ended without our will.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The target that had greeted.
    pub target: String,
    /// The own end.
    pub client: SocketAddr,
    /// When it was established.
    pub opened: Instant,
    /// When its end was noticed.
    pub at: Instant,
    /// The system's words.
    pub why: String,
}

/// What is borne before a connection is given up.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often a connection is tried that [`Crowd::open`] is asked for.
    pub tries: usize,
    /// How long an echo may take: a lost packet's retransmissions, and a machine that does much else.
    pub echo: Duration,
}

impl Patience {
    /// Where nothing else is going on: no connection is tried twice.
    pub const CALM: Patience = Patience { tries: 1, echo: Duration::from_secs(30) };
}

/// What became of the connections.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Messages that came back as they were sent.
    pub echoes: u64,
    /// Connections that live, by target.
    pub living: BTreeMap<String, usize>,
    /// Connections that broke.
    pub broken: Vec<Broken>,
    /// Echoes and greetings that were another connection's, the first of them.
    pub misdelivered: Vec<String>,
    /// Why connections could not be opened, the first of them.
    pub unopened: Vec<String>,
    /// How often one was tried again that [`Crowd::open`] was asked for.
    pub tried_again: usize,
    /// The longest time from a message to its echo.
    pub longest_pause: Duration,
}

impl Tally {
    fn count_echo(&mut self, pause: Duration) {
        self.echoes += 1;
        self.longest_pause = self.longest_pause.max(pause);
    }
}

/// The connections; they end with this.
pub struct Crowd {
    wishes: Option<mpsc::UnboundedSender<Wish>>,
    shared: Arc<Shared>,
    vips: Vec<IpAddr>,
    opened: usize,
    /// How many were opened from [`FRESH_PORTS`].
    fresh: usize,
    thread: Option<JoinHandle<()>>,
}

/// A connection to be opened, and whom to tell its target.
struct Wish {
    number: usize,
    vip: IpAddr,
    /// How long it stays; without it, until all is over.
    life: Option<Duration>,
    /// Its own port; without it, one that the kernel chooses.
    port: Option<u16>,
    first: mpsc::UnboundedSender<Result<String>>,
}

struct Shared {
    tally: Mutex<Tally>,
    over: watch::Sender<bool>,
    /// Those that replace others must not keep new ones from being opened.
    opening: [Semaphore; 2],
    patience: Patience,
}

impl Crowd {
    /// A crowd of nobody.
    pub fn start(lab: &Lab, patience: Patience) -> Result<Crowd> {
        let entrance = lab.client.entrance()?;
        let shared = Arc::new(Shared {
            tally: Mutex::default(),
            over: watch::Sender::new(false),
            opening: [Semaphore::new(OPENING), Semaphore::new(OPENING)],
            patience,
        });
        let (sender, wishes) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let others = shared.clone();
        let work = move || {
            entrance.move_this_thread_in();
            runtime.block_on(fulfil(wishes, others));
        };
        let thread = std::thread::Builder::new().name("crowd".to_string()).spawn(work)?;
        let vips = lab.vips.clone();
        Ok(Crowd { wishes: Some(sender), shared, vips, opened: 0, fresh: 0, thread: Some(thread) })
    }

    /// Opens that many more connections, VIPs in turn; how many were greeted by each target.
    ///
    /// # Errors
    /// If one of them could not be opened.
    pub fn open(&mut self, count: usize) -> Result<BTreeMap<String, usize>> {
        self.open_each(count, None)
    }

    /// As [`Crowd::open`], but from ports that none of the crowd had before, and each of them is closed with its first
    /// echo after `life`: a long story has more of them than a process may have files.
    ///
    /// Where new connections go says something of the table only if their ports are no choice of the past. Those that
    /// the kernel finds free are: the ports of a target that died are all free, others' are in use, so once a good part
    /// of the ports is in use most new connections are of the dead one's slots.
    ///
    /// # Errors
    /// As [`Crowd::open`]; if no port is left that none had.
    pub fn open_fresh(&mut self, count: usize, life: Duration) -> Result<BTreeMap<String, usize>> {
        self.open_each(count, Some(life))
    }

    fn open_each(&mut self, count: usize, life: Option<Duration>) -> Result<BTreeMap<String, usize>> {
        let (first, mut greeted) = mpsc::unbounded_channel();
        for _ in 0..count {
            let wish = Wish {
                number: self.opened,
                vip: self.vips[self.opened % self.vips.len()],
                life,
                port: life.map(|_| self.fresh_port()).transpose()?,
                first: first.clone(),
            };
            self.opened += 1;
            let wishes = self.wishes.as_ref().context("the crowd is over")?;
            wishes.send(wish).ok().context("the crowd's thread has ended")?;
        }
        drop(first);
        let mut targets = BTreeMap::new();
        while let Some(target) = greeted.blocking_recv() {
            *targets.entry(target?).or_default() += 1;
        }
        Ok(targets)
    }

    /// One after another, each of them once for every VIP.
    fn fresh_port(&mut self) -> Result<u16> {
        let port =
            FRESH_PORTS.clone().nth(self.fresh / self.vips.len()).context("every port was used once")?;
        self.fresh += 1;
        Ok(port)
    }

    /// What became of the connections so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Lets every connection have one more echo, then closes them all.
    pub fn finish(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.shared.over.send_replace(true);
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the crowd's thread does not panic");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.end();
    }
}

async fn fulfil(mut wishes: mpsc::UnboundedReceiver<Wish>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Some(wish) = wishes.recv().await {
        connections.spawn(connect_again_and_again(wish, shared.clone()));
    }
    connections.join_all().await;
}

async fn connect_again_and_again(wish: Wish, shared: Arc<Shared>) {
    let Wish { number, vip, life, port, first } = wish;
    let mut first = Some(first);
    let mut tries = shared.patience.tries;
    while !*shared.over.borrow() {
        let opened = shared.open(vip, number, first.as_ref().and(port), usize::from(first.is_none())).await;
        tries = tries.saturating_sub(1);
        if first.is_some() && opened.is_err() && tries > 0 {
            shared.tally().tried_again += 1;
        } else if let Some(first) = first.take() {
            // Who asked may have given up.
            let _ = first.send(opened.as_ref().map(|it| it.target.clone()).map_err(again));
        }
        match opened {
            Ok(connection) => match shared.hold(connection, life).await {
                Parting::Broke => {}
                Parting::Closed => return,
            },
            Err(error) => {
                note(&mut shared.tally().unopened, format!("{error:#}"));
                sleep(AGAIN).await;
            }
        }
    }
}

fn again(error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

fn note(words: &mut Vec<String>, what: String) {
    if words.len() < WORDS {
        words.push(what);
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, vip: IpAddr, number: usize, port: Option<u16>, queue: usize) -> Result<Connection> {
        let _permit = self.opening[queue].acquire().await.context("nobody closes the queue")?;
        let to = SocketAddr::new(vip, echo::PORT);
        let opened = timeout(OPEN, Connection::open(to, port, number)).await;
        opened.with_context(|| format!("no greeting from {to} within {OPEN:?}"))?
    }

    /// Exchanges messages until the connection breaks, its life is over or all is.
    async fn hold(&self, mut connection: Connection, life: Option<Duration>) -> Parting {
        *self.tally().living.entry(connection.target.clone()).or_default() += 1;
        let mut over = self.over.subscribe();
        loop {
            let pause = PERIOD.mul_f64(0.5 + fastrand::f64());
            let is_over = tokio::select! {
                () = sleep(pause) => false,
                _ = over.wait_for(|over| *over) => true,
            };
            let sent = Instant::now();
            match connection.exchange(self.patience.echo).await {
                Ok(Echo::Right) => self.tally().count_echo(sent.elapsed()),
                Ok(Echo::Wrong(what)) => note(&mut self.tally().misdelivered, what),
                Err(why) => return self.lose(connection, format!("{why:#}")),
            }
            if is_over {
                return Parting::Closed;
            }
            if life.is_some_and(|life| connection.opened.elapsed() >= life) {
                *self.tally().living.entry(connection.target).or_default() -= 1;
                return Parting::Closed;
            }
        }
    }

    fn lose(&self, connection: Connection, why: String) -> Parting {
        let Connection { target, client, opened, .. } = connection;
        let mut tally = self.tally();
        *tally.living.entry(target.clone()).or_default() -= 1;
        tally.broken.push(Broken { target, client, opened, at: Instant::now(), why });
        Parting::Broke
    }
}

/// One established connection.
struct Connection {
    stream: TcpStream,
    target: String,
    client: SocketAddr,
    number: usize,
    sequence: u64,
    opened: Instant,
}

/// How a connection ended.
enum Parting {
    /// Without our will.
    Broke,
    /// By us.
    Closed,
}

enum Echo {
    Right,
    Wrong(String),
}

impl Connection {
    /// Connects and takes the greeting, which must name this very client.
    async fn open(to: SocketAddr, port: Option<u16>, number: usize) -> Result<Connection> {
        let mut stream = connect(to, port).await.with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true)?;
        let client = stream.local_addr()?;
        let greeting =
            greeting(&mut stream).await.with_context(|| format!("greeting of {client} by {to}"))?;
        let target = greeting.split(' ').next().unwrap_or_default().to_string();
        let right = echo::greeting(&target, SocketAddr::new(own_address(to), client.port()));
        ensure!(greeting == right, "the client {client} was greeted {greeting:?} instead of {right:?}");
        Ok(Connection { stream, target, client, number, sequence: 0, opened: Instant::now() })
    }

    /// Sends a message that no other connection sends, and compares the echo byte by byte.
    async fn exchange(&mut self, patience: Duration) -> Result<Echo> {
        self.sequence += 1;
        let message = format!("{:08} {:08} {:016x}\n", self.number, self.sequence, fastrand::u64(..));
        let mut answer = vec![0; message.len()];
        let round = async {
            self.stream.write_all(message.as_bytes()).await.context("sending")?;
            self.stream.read_exact(&mut answer).await.context("waiting for the echo")?;
            anyhow::Ok(())
        };
        timeout(patience, round).await.with_context(|| format!("no echo within {patience:?}"))??;
        // Of a byte too many the first is enough to know.
        let is_duplicated = matches!(self.stream.try_read(&mut [0]), Ok(length) if length > 0);
        if answer == message.as_bytes() && !is_duplicated {
            return Ok(Echo::Right);
        }
        let answer = String::from_utf8_lossy(&answer);
        Ok(Echo::Wrong(format!("{} on {} sent {message:?}, got {answer:?}", self.client, self.target)))
    }
}

/// The client's address that `to` sees.
fn own_address(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { CLIENT4.into() } else { CLIENT6.into() }
}

async fn connect(to: SocketAddr, port: Option<u16>) -> std::io::Result<TcpStream> {
    let Some(port) = port else { return TcpStream::connect(to).await };
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // One that is tried again has the same port.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(own_address(to), port))?;
    socket.connect(to).await
}

/// One line, not a byte more.
async fn greeting(stream: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await?);
        if line.len() > 100 {
            bail!("it is longer than 100 bytes");
        }
    }
    Ok(String::from_utf8(line)?)
}
