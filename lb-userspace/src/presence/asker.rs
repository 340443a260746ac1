//! Asks agents for their connections: a few at once, none too often, each within a deadline.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::debug;

use super::connections::{self, ANSWER_HEAD, Connection, Listener, PORT, Status};

/// Between two questions to one agent.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Agents that are asked at the same time.
const AT_ONCE: usize = 4;

/// What an agent told.
#[derive(Debug)]
pub struct Told {
    /// The target.
    pub address: IpAddr,
    /// When it was asked: what began later it did not tell.
    pub asked: Instant,
    /// The listeners that it was asked for.
    pub listeners: Vec<Listener>,
    /// Its connections, if it answered.
    pub connections: anyhow::Result<Vec<Connection>>,
}

/// Who is being asked, and who was when.
#[derive(Debug)]
pub struct Asker {
    answers: UnboundedSender<Told>,
    asked: BTreeMap<IpAddr, Instant>,
    pending: usize,
}

impl Asker {
    /// One that has asked nobody, and where the answers come out.
    pub fn new() -> (Asker, UnboundedReceiver<Told>) {
        let (answers, receiver) = unbounded_channel();
        (Asker { answers, asked: BTreeMap::new(), pending: 0 }, receiver)
    }

    /// Asks those of `questions` whose turn it is. Must be called within a tokio runtime.
    pub fn ask(&mut self, questions: BTreeMap<IpAddr, Vec<Listener>>, now: Instant) {
        self.asked.retain(|_, at| now.saturating_duration_since(*at) < INTERVAL);
        for (address, listeners) in questions {
            if self.pending >= AT_ONCE {
                return;
            }
            if self.asked.contains_key(&address) {
                continue;
            }
            self.asked.insert(address, now);
            self.pending += 1;
            let answers = self.answers.clone();
            tokio::spawn(async move {
                let connections = ask_within(TIMEOUT, address, &listeners).await;
                // Without a receiver the controller is about to stop.
                let _ = answers.send(Told { address, asked: now, listeners, connections });
            });
        }
    }

    /// Takes note that an answer came, or that there will be none.
    pub fn answered(&mut self, told: &Told) {
        self.pending = self.pending.saturating_sub(1);
        if let Err(problem) = &told.connections {
            debug!("target {}: its agent does not list its connections: {problem:#}", told.address);
        }
    }
}

async fn ask_within(
    time: Duration,
    address: IpAddr,
    listeners: &[Listener],
) -> anyhow::Result<Vec<Connection>> {
    let answer = tokio::time::timeout(time, ask(SocketAddr::new(address, PORT), listeners)).await;
    answer.with_context(|| format!("no answer from {address}, TCP port {PORT}, within {time:?}"))?
}

/// The connections of an agent's host to these listeners.
///
/// # Errors
/// If the agent can't be reached, or can't tell.
pub async fn ask(agent: SocketAddr, listeners: &[Listener]) -> anyhow::Result<Vec<Connection>> {
    let mut stream = TcpStream::connect(agent).await.with_context(|| format!("connecting to {agent}"))?;
    stream.write_all(&connections::question(listeners)).await.context("sending the question")?;
    let mut head = [0; ANSWER_HEAD];
    stream
        .read_exact(&mut head)
        .await
        .context("reading the answer: is this node one of the agent's nodes?")?;
    let (status, length) = connections::connections_length(&head)?;
    match status {
        Status::Complete => {}
        Status::TooMany => bail!("more than {} connections", connections::MOST_CONNECTIONS),
        Status::Failed => bail!("its kernel did not tell"),
    }
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await.context("reading the connections")?;
    ensure!(bytes.len() == length, "the answer is cut short");
    Ok(connections::connections(&bytes))
}
