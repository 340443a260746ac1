//! The speaker and BFD against the router daemons that users have.
//!
//! ```text
//!    router (FRR, BIRD or GoBGP) ──── switch ──── node 0, node 1 (the speaker, within this process)
//!    10.205.0.1, fd05::1                          10.205.0.11, fd05::11, …
//! ```
//!
//! The switch matters: with a cable between the two a router would lose its carrier and know at once.

mod bird;
mod by_hand;
mod examples;
mod frr;
mod gobgp;
mod world;
