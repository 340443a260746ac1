//! What a session tells of itself, for the status and the metrics.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::announce::bfd;

/// A session's state (RFC 4271 §8.2.2; `Active`, which is waiting for the other side's connection, is none here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Between two attempts.
    Idle,
    /// A connection is being made.
    Connect,
    /// Connected; the router's OPEN is awaited.
    OpenSent,
    /// The router's KEEPALIVE is awaited.
    OpenConfirm,
    /// The router is told all that is wanted.
    Established,
    /// Ended for good.
    Stopped,
}

impl SessionState {
    /// Its name, as routers call it.
    pub fn name(self) -> &'static str {
        match self {
            SessionState::Idle => "Idle",
            SessionState::Connect => "Connect",
            SessionState::OpenSent => "OpenSent",
            SessionState::OpenConfirm => "OpenConfirm",
            SessionState::Established => "Established",
            SessionState::Stopped => "Stopped",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A session's state and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// The router.
    pub peer: IpAddr,
    /// The state.
    pub state: SessionState,
    /// Since when it is in that state.
    pub since: Instant,
    /// Why it last left `Established`, or did not reach it, and when.
    pub last_error: Option<(Instant, String)>,
    /// The hold time that both sides agreed on, while established; zero is for ever.
    pub hold_time: Option<Duration>,
    /// VIPs that the router has been told and that are announced as usual.
    pub announced: usize,
    /// VIPs that the router has been told and that are draining.
    pub draining: usize,
    /// VIPs that are wanted but that this router can't be told, with the reason, while established.
    pub withheld: Option<(usize, String)>,
    /// BFD's view of the router, if it is asked.
    pub bfd: Option<bfd::Status>,
    /// What was counted since the start.
    pub counters: Counters,
}

/// What a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Times that it became established.
    pub established: u64,
    /// UPDATE messages that were sent.
    pub updates_sent: u64,
    /// UPDATE messages that came, all of them ignored.
    pub updates_received: u64,
    /// Those of them that were malformed (RFC 7606).
    pub updates_malformed: u64,
    /// Requests of the router to be told all routes again.
    pub route_refreshes: u64,
}
