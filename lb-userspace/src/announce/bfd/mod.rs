//! BFD (RFC 5880) to directly connected routers (RFC 5881): whether a router is there is known within a second,
//! and routers know the same of this node.
//!
//! `packet` is the codec and `machine` a session's states; they are pure. `service` has the sockets and runs all
//! sessions on one thread of their own: a busy runtime that misses its turn for a few hundred milliseconds would
//! take the node out of its routers' tables.

pub mod machine;
pub mod packet;
pub mod service;
mod socket;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use packet::{Diagnostic, Packet, State};
pub use service::{Service, Session};

/// How often packets are sent, and how many may be missing.
///
/// The router is gone when nothing came for its multiplier times the larger one of `receive` and its own transmit
/// interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timers {
    /// The least time between two packets to the router: 10 ms to 60 s. Default 300 ms.
    pub transmit: Duration,
    /// The least time between two packets from the router that this node bears: 10 ms to 60 s. Default 300 ms.
    pub receive: Duration,
    /// After how many missing packets the router takes this node for gone: 2 to 255. Default 3.
    pub multiplier: u8,
}

impl Default for Timers {
    fn default() -> Timers {
        let interval = Duration::from_millis(300);
        Timers { transmit: interval, receive: interval, multiplier: 3 }
    }
}

impl Timers {
    /// Checks the ranges.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn validate(&self) -> Result<(), &'static str> {
        let range = Duration::from_millis(10)..=Duration::from_secs(60);
        if !range.contains(&self.transmit) || !range.contains(&self.receive) {
            return Err("bfd: transmit and receive must be 10 ms to 60 s");
        }
        if self.multiplier < 2 { Err("bfd: multiplier must be 2 to 255") } else { Ok(()) }
    }
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// The interval at which packets are sent at present.
    pub transmit: Duration,
    /// After how long a silence the router counts as gone; zero before it was heard.
    pub detection: Duration,
    /// How often the session went up.
    pub ups: u64,
    /// How often it went down because the router fell silent.
    pub downs: u64,
    /// Why it last went down.
    pub last_down: Option<Down>,
}

/// Why a session went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Nothing came for the detection time.
    Silence(Duration),
    /// The router says that its session is down, with its reason. It acts on that itself; and FRR says so, too, when
    /// it begins its session anew because BGP came up.
    RouterSaysDown(Diagnostic),
    /// Somebody switched BFD off at the router, which says nothing of the way (RFC 5882 §3.2).
    RouterAdminDown,
}

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Down::Silence(time) => write!(f, "nothing came from the router for {} ms", time.as_millis()),
            Down::RouterSaysDown(diagnostic) => {
                write!(f, "the router says that the session is down: {diagnostic}")
            }
            Down::RouterAdminDown => f.write_str("BFD was switched off at the router"),
        }
    }
}
