//! The inventory from an EC2-compatible endpoint: DescribeSubnets, DescribeVpcs, DescribeSecurityGroups and
//! DescribeInstances, by signed requests.
//!
//! ```text
//!   client ─► answers: XML to records ─► discovery: those of the VPCs that are used ─┐
//!   configuration: nodes, pools, allocations of the subnets ─────────────────────────┴► joined: an inventory
//!                                                  feed: the last good one, here and on the disk
//! ```
//!
//! What EC2 can't say (which nodes serve a subnet, which addresses of it are for VIPs, which VIPs have names) is in the
//! file. What the endpoint tells is refreshed in the background and takes effect as a whole or not at all. When it
//! fails, or tells nonsense, the last good answer stays in force, over restarts too, and the status, the log and a
//! metric tell of it. Only `client`, `cache` and `feed` know sockets, files and clocks.

mod answers;
mod cache;
mod client;
mod configuration;
mod discovery;
mod feed;
mod joined;
mod permissions;
#[cfg(test)]
mod tests;

pub use configuration::{Configuration, Endpoint, Written};
pub use feed::{Feed, FeedReport, follow};
pub use joined::Used;

/// Plays bytes as an endpoint's answer: whatever they are, they are read or refused.
pub fn play_answer(bytes: &[u8]) {
    answers::play(bytes);
}
