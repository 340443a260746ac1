//! The datapath's table of cases, run through the loaded balancer under `BPF_PROG_TEST_RUN`.
//!
//! A case is a node's state, a packet in, and what must come of it: verdict, counters, flow table, marks, and the
//! packet out with every byte compared. Packets in and out are made by etherparse and hashes by another implementation,
//! never by the code under test. Needs root; without it the tests say that they are skipped, or fail if
//! `SLUICE_TEST_PRIVILEGED` is `required`.
#![allow(unreachable_pub, missing_docs, reason = "a test binary has no users")]

mod attributes;
mod case;
mod chain;
mod client;
mod difference;
mod echo;
mod exceptions;
mod explained;
mod flow_log;
mod forwarded;
mod fragments;
mod fuzz;
mod icmp_error;
mod jumbo;
mod link;
mod malformed;
mod martian;
mod model;
mod node;
mod not_ours;
mod policy;
mod program;
mod quic;
mod remote;
mod table;
mod too_big;

use node::Node;

/// The node under test, if this process may make one.
fn node() -> Option<Node> {
    lab::require_root().then(Node::new)
}
