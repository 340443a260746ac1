//! VIPs in a routing table, and the routing daemons that announce them from there: with the configurations that
//! `packaging/examples` shows.
//!
//! ```text
//!    router (FRR or BIRD) ──── switch ──── node 0, node 1: the table is written within this process,
//!    10.0.1.1, fd00:1::1                   and a BIRD or FRR of the node reads it
//!                                          10.0.1.11, fd00:1::11, …
//! ```

mod daemons;
mod kernel;
mod killed;
mod world;
