//! A BGP-4 speaker (RFC 4271) that only announces: it opens connections and takes none, tells routers its VIPs,
//! and ignores (but checks) what they tell.
//!
//! `message` is the codec, `routes` what a router has been told, `machine` a session's states; they are pure.
//! `session` has the sockets, one task for each peer. `speaker` is the configuration.

pub mod community;
mod connection;
pub mod machine;
pub mod message;
pub mod routes;
pub mod session;
pub mod speaker;
pub mod status;

pub use community::{Community, LargeCommunity};
pub use session::{Sessions, start};
pub use speaker::{Families, Family, Peer, Speaker};
pub use status::{SessionState, SessionStatus};
