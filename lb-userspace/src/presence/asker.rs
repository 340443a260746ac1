//! Asks agents for their connections: a few at once, none too often, each within a deadline.
//!
//! An answer may be long: which slots it means is found out on a thread of its own, so that nobody waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lb_common::hash::HashKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::debug;

use super::connections::{self, ANSWER_HEAD, Connection, Listener, MOST_LISTENERS, PORT, Status};
use super::slots::{ActionListener, UsedSlots};

/// Between two questions to one agent.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Agents that are asked at the same time.
const AT_ONCE: usize = 4;

/// The listeners behind which the tables are that an agent is asked for, those of one table together.
pub type Tables = Vec<Vec<ActionListener>>;

/// What an agent told.
#[derive(Debug)]
pub struct Told {
    /// The target.
    pub address: IpAddr,
    /// When it was asked: what began later it did not tell.
    pub asked: Instant,
    /// Behind which listeners it has connections in which slots, if it answered.
    pub used: anyhow::Result<Vec<(Vec<ActionListener>, UsedSlots)>>,
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

    /// Asks those of `questions` whose turn it is; `key` chooses slots. Must be called within a tokio runtime.
    pub fn ask(&mut self, questions: BTreeMap<IpAddr, Tables>, key: HashKey, now: Instant) {
        self.asked.retain(|_, at| now.saturating_duration_since(*at) < INTERVAL);
        for (address, mut tables) in questions {
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
                let listeners = asked_for(&mut tables);
                let used = match ask_within(TIMEOUT, address, &listeners).await {
                    Ok(connections) => used_slots(connections, tables, key).await,
                    Err(problem) => Err(problem),
                };
                // Without a receiver the controller is about to stop.
                let _ = answers.send(Told { address, asked: now, used });
            });
        }
    }

    /// Takes note that an answer came, or that there will be none.
    pub fn answered(&mut self, told: &Told) {
        self.pending = self.pending.saturating_sub(1);
        if let Err(problem) = &told.used {
            debug!("target {}: its agent does not list its connections: {problem:#}", told.address);
        }
    }
}

/// The listeners of a question. Tables that would make it too long are left out: of these nothing is known then.
fn asked_for(tables: &mut Tables) -> Vec<Listener> {
    let mut listeners = BTreeSet::new();
    tables.retain(|behind| {
        let asked = behind.iter().flat_map(ActionListener::asked);
        let new: BTreeSet<Listener> = asked.filter(|one| !listeners.contains(one)).collect();
        let has_room = listeners.len() + new.len() <= MOST_LISTENERS;
        if has_room {
            listeners.extend(new);
        }
        has_room
    });
    listeners.into_iter().collect()
}

async fn used_slots(
    connections: Vec<Connection>,
    tables: Tables,
    key: HashKey,
) -> anyhow::Result<Vec<(Vec<ActionListener>, UsedSlots)>> {
    let hashed = tokio::task::spawn_blocking(move || {
        let used = |behind: &Vec<ActionListener>| UsedSlots::of(&connections, behind, key);
        tables.into_iter().map(|behind| (behind.clone(), used(&behind))).collect()
    });
    hashed.await.context("finding the slots of connections")
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

#[cfg(test)]
mod tests {
    use super::super::slots::Affinity;
    use super::*;

    fn table(ports: std::ops::Range<u16>) -> Vec<ActionListener> {
        let vips = vec!["10.200.1.1".parse().unwrap()];
        let listener = |port| ActionListener {
            vips: vips.clone(),
            port: Some(port),
            target_port: Some(port),
            affinity: Affinity::Flow,
        };
        ports.map(listener).collect()
    }

    #[test]
    fn nothing_is_told_of_tables_that_a_question_has_no_room_for() {
        let most = MOST_LISTENERS as u16;
        let mut tables =
            vec![table(0..10), table(0..most + 1), table(10..most), table(most..most + 1), vec![]];
        assert_eq!(asked_for(&mut tables).len(), MOST_LISTENERS);
        assert_eq!(tables, [table(0..10), table(10..most), vec![]]);
    }

    #[tokio::test]
    async fn half_a_million_connections_do_not_hold_up_the_caller() {
        let client = |number: u32| SocketAddr::new(std::net::Ipv4Addr::from_bits(number << 3).into(), 7);
        let local = "10.200.1.1:80".parse().unwrap();
        let connections = (0..connections::MOST_CONNECTIONS as u32)
            .map(|number| Connection { client: client(number), local })
            .collect();
        // The test's runtime has one thread: what blocks it, blocks this count, too.
        let counting = tokio::spawn(async {
            let mut turns = 0_u64;
            loop {
                turns += 1;
                tokio::task::yield_now().await;
                if turns == 1000 {
                    return Instant::now();
                }
            }
        });
        let key = HashKey { k0: 1, k1: 2 };
        let used = used_slots(connections, vec![table(80..81)], key).await.unwrap();
        let told = Instant::now();
        assert!(counting.await.unwrap() < told, "others had no turn before it was done");
        assert!((0..256).all(|slot| used[0].1.contain(slot, 8)));
    }
}
