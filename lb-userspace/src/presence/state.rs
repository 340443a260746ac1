//! What is known of each target's agent: pure, given the time, answers and silence.
//!
//! ```text
//!   unknown ──── an answer ────► present ◄──── an answer ──── absent
//!      └──── 3 questions, one a second, without one ────────────►┘ ▲
//!                                    └── 3, one every 5 seconds ───┘
//! ```
//!
//! A question counts as missed when the next one is due. Who was present once is asked every second while absent, so
//! that its return is known before its health checks pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::gue::CHAIN_FORMAT;
use lb_common::gue::probe::{Answer, Capabilities, Question};

/// Between two questions to a target whose agent is present, or was never there.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Between two questions while something is about to be decided.
pub const SHORT_INTERVAL: Duration = Duration::from_secs(1);
/// So many questions without an answer make an agent absent.
pub const MISSES: u8 = 3;

/// What is known of a target's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AgentState {
    /// It was not asked often enough yet.
    #[default]
    Unknown,
    /// It answers.
    Present(Agent),
    /// It does not.
    Absent,
}

/// An agent that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// Its version: major, minor, patch.
    pub version: [u8; 3],
    /// What it can do.
    pub capabilities: Capabilities,
    /// The format of chain that it takes.
    pub chain_format: u8,
}

impl Agent {
    /// Whether it hands on what no socket of its host has.
    pub fn hands_on(&self) -> bool {
        self.chain_format == CHAIN_FORMAT && self.capabilities.contain(Capabilities::SECOND_CHANCE)
    }

    /// Its version as people write it.
    pub fn version(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{major}.{minor}.{patch}")
    }
}

impl From<Answer> for Agent {
    fn from(answer: Answer) -> Agent {
        Agent {
            version: answer.version,
            capabilities: answer.capabilities,
            chain_format: answer.chain_format,
        }
    }
}

impl AgentState {
    /// The word for it: `unknown`, `present` or `absent`.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentState::Unknown => "unknown",
            AgentState::Present(_) => "present",
            AgentState::Absent => "absent",
        }
    }
}

/// What a moment brings.
#[derive(Debug, Default)]
pub struct Due {
    /// The questions to send.
    pub questions: Vec<(IpAddr, Question)>,
    /// The targets whose state changed because the question before was not answered, and what it is now.
    pub changes: Vec<(IpAddr, AgentState)>,
}

/// All targets that are asked.
#[derive(Debug, Default)]
pub struct Presence {
    targets: BTreeMap<IpAddr, Asked>,
}

#[derive(Debug)]
struct Asked {
    state: AgentState,
    was_present: bool,
    /// Questions without an answer since the last one with.
    missed: u8,
    /// The last question, if it was not answered.
    pending: Option<Question>,
    next: Instant,
}

impl Presence {
    /// Makes the targets be `wanted`: new ones are unknown and asked at once.
    pub fn follow(&mut self, wanted: &BTreeSet<IpAddr>, now: Instant) {
        self.targets.retain(|address, _| wanted.contains(address));
        for address in wanted {
            self.targets.entry(*address).or_insert(Asked {
                state: AgentState::Unknown,
                was_present: false,
                missed: 0,
                pending: None,
                next: now,
            });
        }
    }

    /// When [`Presence::due`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.targets.values().map(|asked| asked.next).min()
    }

    /// What the time has come for. `nonce` gives numbers that nobody can guess.
    pub fn due(&mut self, now: Instant, mut nonce: impl FnMut() -> u64) -> Due {
        let mut due = Due::default();
        for (address, asked) in self.targets.iter_mut().filter(|(_, asked)| asked.next <= now) {
            if asked.miss() {
                due.changes.push((*address, asked.state));
            }
            let question = Question { nonce: nonce(), listener: None };
            asked.pending = Some(question);
            asked.next = now + asked.interval();
            due.questions.push((*address, question));
        }
        due
    }

    /// Takes in a message from a target; its state if that changed.
    pub fn heard(&mut self, from: IpAddr, message: &[u8], now: Instant) -> Option<AgentState> {
        let asked = self.targets.get_mut(&from)?;
        let answer = asked.pending?.answer(message).ok()?;
        let before = std::mem::replace(&mut asked.state, AgentState::Present(answer.into()));
        (asked.pending, asked.missed, asked.was_present) = (None, 0, true);
        asked.next = now + INTERVAL;
        (asked.state != before).then_some(asked.state)
    }
}

impl Asked {
    /// Counts the question that was not answered, if there is one; whether that changed the state.
    fn miss(&mut self) -> bool {
        if self.pending.take().is_some() {
            self.missed = self.missed.saturating_add(1);
        }
        let is_gone = self.missed >= MISSES && self.state != AgentState::Absent;
        if is_gone {
            self.state = AgentState::Absent;
        }
        is_gone
    }

    fn interval(&self) -> Duration {
        match self.state {
            AgentState::Unknown => SHORT_INTERVAL,
            AgentState::Absent if self.was_present => SHORT_INTERVAL,
            AgentState::Present(_) | AgentState::Absent => INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::gue::probe::{Reply, answer};
    use lb_common::memory::ViewMut;

    use super::*;

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    fn presence(now: Instant) -> Presence {
        let mut presence = Presence::default();
        presence.follow(&BTreeSet::from([TARGET]), now);
        presence
    }

    fn answer_to(question: Question) -> Vec<u8> {
        let mut message = question.encode();
        let reply = Reply { capabilities: Capabilities::SECOND_CHANCE, served: None };
        answer(&mut ViewMut::new(&mut message), reply, 0);
        message.to_vec()
    }

    /// Asks at each due moment without an answer until the state changes: when, and to what.
    fn silence(presence: &mut Presence) -> (Instant, AgentState) {
        for _ in 0..20 {
            let now = presence.next().unwrap();
            let due = presence.due(now, || 7);
            if let Some((_, state)) = due.changes.first() {
                return (now, *state);
            }
        }
        panic!("no change in 20 questions");
    }

    #[test]
    fn one_answer_makes_an_agent_present() {
        let now = Instant::now();
        let mut presence = presence(now);
        let questions = presence.due(now, || 7).questions;
        let message = answer_to(questions[0].1);
        let Some(AgentState::Present(agent)) = presence.heard(TARGET, &message, now) else {
            panic!("absent")
        };
        assert!(agent.hands_on());
        assert_eq!(presence.heard(TARGET, &message, now), None, "an answer counts once");
        assert_eq!(presence.next(), Some(now + INTERVAL));
    }

    #[test]
    fn three_missed_questions_make_an_agent_absent() {
        let start = Instant::now();
        let mut presence = presence(start);
        assert_eq!(silence(&mut presence), (start + 3 * SHORT_INTERVAL, AgentState::Absent));
        let now = presence.next().unwrap();
        let questions = presence.due(now, || 8).questions;
        presence.heard(TARGET, &answer_to(questions[0].1), now);
        assert_eq!(silence(&mut presence), (now + 4 * INTERVAL, AgentState::Absent));
        let gone = presence.next().unwrap();
        presence.due(gone, || 9);
        assert_eq!(presence.next(), Some(gone + SHORT_INTERVAL), "one that was there is awaited");
    }

    #[test]
    fn answers_to_other_questions_and_of_others_do_not_count() {
        let now = Instant::now();
        let mut presence = presence(now);
        let questions = presence.due(now, || 7).questions;
        let foreign = answer_to(Question { nonce: 8, listener: None });
        assert_eq!(presence.heard(TARGET, &foreign, now), None);
        assert_eq!(presence.heard("10.0.0.4".parse().unwrap(), &answer_to(questions[0].1), now), None);
        assert_eq!(presence.heard(TARGET, &questions[0].1.encode(), now), None);
        presence.follow(&BTreeSet::new(), now);
        assert_eq!(presence.next(), None);
    }
}
