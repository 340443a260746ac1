//! The flow log: new and ended flows of the load balancers that want one, as lines of JSON in files.
//!
//! ```text
//!   balancer_… ─► FLOW_LOG (ring buffer) ─► reader, a thread ─► BASE/BUCKET/PREFIX/LOAD-BALANCER/flows-….jsonl
//!       │ full: counted                        ▲
//!       └──────────────────────────────────────┴─ who is who (directory), from the controller's loop
//! ```
//!
//! The controller's loop hands over who is who, and waits for nothing. The ring buffer is the only queue: where files are
//! slower than flows it fills up, the programs count what finds no room, and the log says so. What begins or ends a flow
//! is known from the client's half alone; answers go from targets to clients past this node.

mod directory;
mod files;
mod line;
mod reader;
mod repeats;

pub(crate) use directory::{Directory, Origin, ServedAt, Settings};
pub(crate) use reader::FlowLog;
