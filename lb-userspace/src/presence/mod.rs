//! Which targets have an agent, and what their agents know of connections.
//!
//! Known, not guessed: every target of a group that could use second chances is asked at intervals by the probe of
//! [`lb_common::gue`], and answered by the agent's attached program. `state` is what follows from answers and
//! silence (pure), `prober` has the sockets. `connections` is the protocol by which an agent lists its connections,
//! `slots` finds the slots that they are in (pure), and `asker` asks.

pub mod asker;
pub mod connections;
pub mod prober;
pub mod slots;
pub mod state;

pub use prober::{AgentEvent, AgentProber};
pub use state::{Agent, AgentState};
