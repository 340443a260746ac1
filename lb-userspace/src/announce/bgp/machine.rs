//! A session's states (RFC 4271 §8), given the time and what happened; what is to be done comes back.
//!
//! ```text
//!            back-off over        connected            OPEN               KEEPALIVE
//!    Idle ───────────────► Connect ───────► OpenSent ───────► OpenConfirm ─────────► Established
//!     ▲                       │                │                  │                       │
//!     └───────────────────────┴────────────────┴──────────────────┴───────────────────────┘
//!           no connection, closed, NOTIFICATION, an error, hold time over, BFD down
//! ```
//!
//! Only this side connects, so two connections never meet. A lost session is tried again after 0.1 s, then after
//! twice as long each time, up to 3 s.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::received::Context;
use super::message::{self, Capabilities, ErrorCode, Message, Notification, Open, Received, Violation};
use super::routes::{Export, Told};
use super::status::{Counters, SessionState, SessionStatus};
use super::{Family, Peer, Speaker};
use crate::announce::{Announcement, Wanted};

/// The first wait before a new attempt.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// The longest one.
const BACK_OFF_LONGEST: Duration = Duration::from_secs(3);
/// A session that was established for so long was a good one: the next attempt comes soon.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How long a router that took the connection may take for its OPEN. RFC 4271 suggests four minutes; a daemon that
/// hangs is rather tried anew.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing but that time passed.
    Tick,
    /// The connection that was asked for is there.
    Connected,
    /// It could not be made, or it was lost; with the reason.
    Disconnected(&'a str),
    /// Bytes came.
    Bytes(&'a [u8]),
    /// Something else is wanted now.
    Wanted(Arc<Wanted>),
    /// Routes are to carry what is configured here, of a peer that [shares the session](Peer::shares_session).
    Peer(&'a Peer),
    /// BFD saw the router go; with the reason.
    BfdDown(&'a str),
    /// The session is to end for good, with words for the people at the router.
    Stop(&'a str),
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a connection.
    Connect,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection (or stop making one) once all is sent.
    Close,
}

/// One session.
#[derive(Debug)]
pub struct Machine {
    speaker: Arc<Speaker>,
    peer: Peer,
    wanted: Arc<Wanted>,
    phase: Phase,
    since: Instant,
    /// Received and not yet a whole message.
    pending: Vec<u8>,
    back_off: Duration,
    last_error: Option<(Instant, String)>,
    counters: Counters,
    random: fastrand::Rng,
}

#[derive(Debug)]
enum Phase {
    Idle { retry_at: Instant },
    Connect,
    OpenSent { give_up_at: Instant },
    OpenConfirm(Box<Agreed>),
    Established(Box<Agreed>),
    Stopped,
}

/// What holds once both OPENs are known.
#[derive(Debug)]
struct Agreed {
    /// What the router can do.
    router: Capabilities,
    export: Export,
    context: Context,
    told: Told,
    withheld: Option<(usize, String)>,
    timers: Option<Timers>,
}

/// None of them runs with a hold time of zero.
#[derive(Debug)]
struct Timers {
    hold: Duration,
    hold_at: Instant,
    keepalive: Duration,
    keepalive_at: Instant,
}

impl Machine {
    /// A session that begins at once. `seed` decides how far its timers are from those of other sessions.
    pub fn new(speaker: Arc<Speaker>, peer: Peer, wanted: Arc<Wanted>, now: Instant, seed: u64) -> Machine {
        Machine {
            speaker,
            peer,
            wanted,
            phase: Phase::Idle { retry_at: now },
            since: now,
            pending: Vec::new(),
            back_off: BACK_OFF_FIRST,
            last_error: None,
            counters: Counters::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle { retry_at } => Some(*retry_at),
            Phase::OpenSent { give_up_at } => Some(*give_up_at),
            Phase::OpenConfirm(agreed) | Phase::Established(agreed) => {
                agreed.timers.as_ref().map(|timers| timers.hold_at.min(timers.keepalive_at))
            }
            Phase::Connect | Phase::Stopped => None,
        }
    }

    /// Takes what happened, and says what is to be done.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {}
            Event::Connected => self.connected(now, &mut actions),
            Event::Disconnected(reason) => self.disconnected(now, reason),
            Event::Bytes(bytes) => self.bytes(now, bytes, &mut actions),
            Event::Wanted(wanted) => {
                self.wanted = wanted;
                self.tell(&mut actions);
            }
            Event::Peer(peer) => self.relabel(peer, &mut actions),
            Event::BfdDown(reason) => self.bfd_down(now, reason, &mut actions),
            Event::Stop(text) => self.stop(now, text, &mut actions),
        }
        self.tick(now, &mut actions);
        actions
    }

    /// The state.
    pub fn state(&self) -> SessionState {
        match self.phase {
            Phase::Idle { .. } => SessionState::Idle,
            Phase::Connect => SessionState::Connect,
            Phase::OpenSent { .. } => SessionState::OpenSent,
            Phase::OpenConfirm(_) => SessionState::OpenConfirm,
            Phase::Established(_) => SessionState::Established,
            Phase::Stopped => SessionState::Stopped,
        }
    }

    /// The state and the history, without BFD's view.
    pub fn status(&self) -> SessionStatus {
        let agreed = match &self.phase {
            Phase::Established(agreed) => Some(agreed),
            _ => None,
        };
        let count = |announcement| agreed.map_or(0, |agreed| agreed.told.count(announcement));
        SessionStatus {
            peer: self.peer.address,
            state: self.state(),
            since: self.since,
            last_error: self.last_error.clone(),
            hold_time: agreed
                .map(|agreed| agreed.timers.as_ref().map_or(Duration::ZERO, |timers| timers.hold)),
            announced: count(Announcement::Announced),
            draining: count(Announcement::Draining),
            withheld: agreed.and_then(|agreed| agreed.withheld.clone()),
            bfd: None,
            counters: self.counters,
        }
    }

    fn enter(&mut self, now: Instant, phase: Phase) -> Phase {
        self.since = now;
        mem::replace(&mut self.phase, phase)
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Idle { retry_at } if *retry_at <= now => {
                self.enter(now, Phase::Connect);
                actions.push(Action::Connect);
            }
            Phase::OpenSent { give_up_at } if *give_up_at <= now => {
                let hint =
                    if self.peer.ttl_security { ": has it ttl_security for this node, too?" } else { "" };
                let detail = format!("the router sent no OPEN within {} s{hint}", OPEN_WITHIN.as_secs());
                self.violated(now, &Violation::new(ErrorCode::HOLD_TIMER, detail), actions);
            }
            Phase::OpenConfirm(agreed) | Phase::Established(agreed) => {
                let Some(timers) = &mut agreed.timers else { return };
                if timers.hold_at <= now {
                    let detail = format!("nothing came for {} s", timers.hold.as_secs());
                    self.violated(now, &Violation::new(ErrorCode::HOLD_TIMER, detail), actions);
                } else if timers.keepalive_at <= now {
                    timers.keepalive_at = now + jittered(timers.keepalive, &mut self.random);
                    actions.push(Action::Send(message::keepalive()));
                }
            }
            _ => {}
        }
    }

    fn connected(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Connect) {
            return;
        }
        self.pending.clear();
        self.enter(now, Phase::OpenSent { give_up_at: now + OPEN_WITHIN });
        let open = Open {
            autonomous_system: self.speaker.local_as,
            hold_time: u16::try_from(self.peer.hold_time.as_secs()).unwrap_or(u16::MAX),
            router_id: self.speaker.router_id,
            capabilities: Capabilities {
                families: self.peer.families,
                route_refresh: true,
                four_octet_as: true,
                extended_next_hop: self.peer.extended_next_hop,
            },
        };
        actions.push(Action::Send(message::open(&open)));
    }

    /// Back to the begin, with the next attempt after the back-off.
    fn disconnected(&mut self, now: Instant, reason: &str) {
        if matches!(self.phase, Phase::Idle { .. } | Phase::Stopped) {
            return;
        }
        if matches!(self.phase, Phase::Established(_)) && now.duration_since(self.since) >= GOOD_AFTER {
            self.back_off = BACK_OFF_FIRST;
        }
        self.last_error = Some((now, reason.to_owned()));
        let retry_at = now + jittered(self.back_off, &mut self.random);
        self.back_off = (self.back_off * 2).min(BACK_OFF_LONGEST);
        self.enter(now, Phase::Idle { retry_at });
    }

    fn violated(&mut self, now: Instant, violation: &Violation, actions: &mut Vec<Action>) {
        self.end(now, &violation.notification, &violation.to_string(), actions);
    }

    /// Tells the router why the session ends, and ends it.
    fn end(&mut self, now: Instant, notification: &Notification, reason: &str, actions: &mut Vec<Action>) {
        actions.push(Action::Send(message::notification(notification)));
        actions.push(Action::Close);
        self.disconnected(now, reason);
    }

    fn bfd_down(&mut self, now: Instant, reason: &str, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::OpenSent { .. } | Phase::OpenConfirm(_) | Phase::Established(_)) {
            let violation = Violation::new(ErrorCode::BFD_DOWN, reason);
            self.violated(now, &violation, actions);
        }
    }

    fn stop(&mut self, now: Instant, text: &str, actions: &mut Vec<Action>) {
        self.wanted = Arc::default();
        self.tell(actions);
        match self.enter(now, Phase::Stopped) {
            Phase::OpenSent { .. } | Phase::OpenConfirm(_) | Phase::Established(_) => {
                actions.push(Action::Send(message::notification(&Notification::shutdown(text))));
                actions.push(Action::Close);
            }
            Phase::Connect => actions.push(Action::Close),
            Phase::Idle { .. } | Phase::Stopped => {}
        }
    }

    fn bytes(&mut self, now: Instant, bytes: &[u8], actions: &mut Vec<Action>) {
        let mut pending = mem::take(&mut self.pending);
        pending.extend(bytes);
        let mut rest = &pending[..];
        while self.is_connected() {
            match message::frame(rest) {
                Ok(Some(length)) => {
                    let (whole, behind) = rest.split_at(length);
                    rest = behind;
                    if let Err(violation) = self.message(now, whole, actions) {
                        self.violated(now, &violation, actions);
                    }
                }
                Ok(None) => break,
                Err(violation) => self.violated(now, &violation, actions),
            }
        }
        if self.is_connected() {
            self.pending = rest.to_vec();
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::OpenSent { .. } | Phase::OpenConfirm(_) | Phase::Established(_))
    }

    fn message(&mut self, now: Instant, whole: &[u8], actions: &mut Vec<Action>) -> Result<(), Violation> {
        let message = message::read(whole)?;
        if let Message::Notification(notification) = &message {
            actions.push(Action::Close);
            self.disconnected(now, &format!("the router ended the session: {notification}"));
            return Ok(());
        }
        self.revive(now);
        match (&self.phase, message) {
            (Phase::OpenSent { .. }, Message::Open(open)) => self.opened(now, &open, actions),
            (Phase::OpenConfirm(_), Message::Keepalive) => {
                self.established(now, actions);
                Ok(())
            }
            (Phase::Established(_), Message::Keepalive) => Ok(()),
            (Phase::Established(agreed), Message::Update(body)) => {
                let received = message::check(body, agreed.context)?;
                self.count(now, &received);
                Ok(())
            }
            (Phase::Established(_), Message::RouteRefresh(refresh)) => {
                if let Some(refresh) = refresh {
                    self.refresh(refresh.family, actions);
                }
                Ok(())
            }
            (phase, message) => Err(unexpected(phase, &message)),
        }
    }

    /// Any message shows that the router lives.
    fn revive(&mut self, now: Instant) {
        if let Phase::OpenConfirm(agreed) | Phase::Established(agreed) = &mut self.phase
            && let Some(timers) = &mut agreed.timers
        {
            timers.hold_at = now + timers.hold;
        }
    }

    fn opened(&mut self, now: Instant, open: &Open, actions: &mut Vec<Action>) -> Result<(), Violation> {
        if open.autonomous_system != self.peer.remote_as {
            let (theirs, ours) = (open.autonomous_system, self.peer.remote_as);
            let detail = format!("the router is of AS {theirs}, but its remote_as is {ours} here");
            return Err(Violation::new(ErrorCode::BAD_PEER_AS, detail));
        }
        let is_internal = self.speaker.local_as == self.peer.remote_as;
        if is_internal && open.router_id == self.speaker.router_id {
            let detail = format!("the router and this node both have the identifier {}", open.router_id);
            return Err(Violation::new(ErrorCode::BAD_IDENTIFIER, detail));
        }
        let agreed = Agreed {
            router: open.capabilities,
            export: Export::new(&self.speaker, &self.peer, open.capabilities),
            context: Context { four_octet_as: open.capabilities.four_octet_as, is_internal },
            told: Told::default(),
            withheld: None,
            timers: self.timers(now, open),
        };
        self.enter(now, Phase::OpenConfirm(Box::new(agreed)));
        actions.push(Action::Send(message::keepalive()));
        Ok(())
    }

    /// The smaller hold time of both sides' counts; a keepalive is sent three times in it, or oftener.
    fn timers(&mut self, now: Instant, open: &Open) -> Option<Timers> {
        let hold = self.peer.hold_time.min(Duration::from_secs(open.hold_time.into()));
        if hold.is_zero() {
            return None;
        }
        let keepalive = self.peer.keepalive.unwrap_or(hold / 3).min(hold / 3);
        let keepalive_at = now + jittered(keepalive, &mut self.random);
        Some(Timers { hold, hold_at: now + hold, keepalive, keepalive_at })
    }

    fn established(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if let Phase::OpenConfirm(agreed) = self.enter(now, Phase::Connect) {
            self.phase = Phase::Established(agreed);
        }
        self.counters.established += 1;
        self.tell(actions);
        if let Phase::Established(agreed) = &self.phase {
            let ends = agreed.export.families().iter().map(message::end_of_rib);
            actions.extend(ends.map(Action::Send));
        }
    }

    /// Makes what the router has been told what is wanted.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        let Phase::Established(agreed) = &mut self.phase else { return };
        let messages = agreed.told.become_wanted(&self.wanted, &agreed.export);
        agreed.withheld = agreed.export.withheld(&self.wanted);
        self.counters.updates_sent += messages.len() as u64;
        actions.extend(messages.into_iter().map(Action::Send));
    }

    /// Tells again, in the same session, what is to carry something else now.
    fn relabel(&mut self, peer: &Peer, actions: &mut Vec<Action>) {
        self.peer = peer.clone();
        let (Phase::OpenConfirm(agreed) | Phase::Established(agreed)) = &mut self.phase else { return };
        let export = Export::new(&self.speaker, &self.peer, agreed.router);
        let withdrawals = agreed.told.change_export(&agreed.export, &export);
        agreed.export = export;
        self.counters.updates_sent += withdrawals.len() as u64;
        actions.extend(withdrawals.into_iter().map(Action::Send));
        self.tell(actions);
    }

    fn refresh(&mut self, family: Family, actions: &mut Vec<Action>) {
        self.counters.route_refreshes += 1;
        if let Phase::Established(agreed) = &mut self.phase {
            agreed.told.forget(family);
        }
        self.tell(actions);
    }

    fn count(&mut self, now: Instant, received: &Received) {
        self.counters.updates_received += 1;
        if let Received::AttributeDiscarded(fault) | Received::TreatedAsWithdraw(fault) = received {
            self.counters.updates_malformed += 1;
            self.last_error =
                Some((now, format!("the router sent a malformed UPDATE, which is ignored: {fault}")));
        }
    }
}

/// The answer to a message that has no place in a state (RFC 6608).
fn unexpected(phase: &Phase, message: &Message<'_>) -> Violation {
    let error = match phase {
        Phase::OpenSent { .. } => ErrorCode::IN_OPEN_SENT,
        Phase::OpenConfirm(_) => ErrorCode::IN_OPEN_CONFIRM,
        Phase::Established(_) => ErrorCode::IN_ESTABLISHED,
        Phase::Idle { .. } | Phase::Connect | Phase::Stopped => ErrorCode::STATE_MACHINE,
    };
    let name = match message {
        Message::Open(_) => "an OPEN",
        Message::Update(_) => "an UPDATE",
        Message::Notification(_) => "a NOTIFICATION",
        Message::Keepalive => "a KEEPALIVE",
        Message::RouteRefresh(_) => "a ROUTE-REFRESH",
    };
    Violation::new(error, format!("the router sent {name} at the wrong moment"))
}

/// 75 to 100 % of `time`, so that many sessions' timers spread (RFC 4271 §10).
fn jittered(time: Duration, random: &mut fastrand::Rng) -> Duration {
    time.mul_f64(0.75 + 0.25 * random.f64())
}

#[cfg(test)]
mod tests;
