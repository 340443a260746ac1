//! A flood ([`crate::flood`]) of which each packet is accounted for: what was sent is what the balancer forwarded, or
//! what full queues of the lab's wire dropped, which its two ends count; anything else was lost by the data plane.
//!
//! ```text
//!   flood ──► queue of eth0 ──► balancer ──► queue of the cable ──► sieve
//!                 full: rx dropped                full: tx dropped
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::flood::Flood;
use crate::topology::{Lab, Node};

/// After so many looks in a row at the same meters nothing is under way any more.
const EQUAL_LOOKS: u32 = 3;

/// A stream that goes on until it is stopped.
#[derive(Debug)]
pub struct Stream {
    flood: Flood,
    before: Meters,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Flowed {
    /// Packets sent.
    pub sent: u64,
    /// Those that the queue before the balancer had no room for.
    pub dropped_before: u64,
    /// Packets that came through.
    pub through: u64,
    /// Packets that the queue behind the balancer had no room for, others' included.
    pub dropped_behind: u64,
    /// How long it took.
    pub time: Duration,
}

impl Flowed {
    /// Packets that came to the balancer.
    pub fn arrived(&self) -> u64 {
        self.sent - self.dropped_before
    }

    /// Those a second.
    pub fn rate(&self) -> f64 {
        self.arrived() as f64 / self.time.as_secs_f64()
    }

    /// Whether nothing was lost but by full queues. `counted` is how many packets the balancer says that it forwarded.
    ///
    /// # Errors
    /// If something was, with how much.
    pub fn is_whole(&self, counted: u64) -> Result<()> {
        let arrived = self.arrived();
        ensure!(arrived > 0 && counted == arrived, "{counted} of {arrived} were forwarded: {self:?}");
        let gone = counted.saturating_sub(self.through);
        ensure!(gone <= self.dropped_behind, "{gone} were lost behind the balancer: {self:?}");
        Ok(())
    }
}

impl Stream {
    /// Begins to send SYNs and ACKs, each of another flow, for the IPv4 VIP's `port` through a node of a lab that was
    /// built with a sieve.
    ///
    /// # Errors
    /// If the kernel refuses to make packets.
    pub fn start(lab: &Lab, node: usize, port: u16) -> Result<Stream> {
        let before = Meters::read(&lab.nodes[node])?;
        Ok(Stream { flood: Flood::start(lab, node, port, None)?, before })
    }

    /// How many packets were sent.
    pub fn sent(&self) -> u64 {
        self.flood.sent()
    }

    /// Ends it; what became of the packets that it sent through `node`.
    ///
    /// # Errors
    /// If the kernel refused to send or to count them.
    pub fn stop(self, node: &Node) -> Result<Flowed> {
        let (sent, time) = self.flood.stop()?;
        let after = Meters::settled(node)?;
        Ok(Flowed {
            sent,
            dropped_before: after.rx_dropped - self.before.rx_dropped,
            through: after.sieved - self.before.sieved,
            dropped_behind: after.tx_dropped - self.before.tx_dropped,
            time,
        })
    }
}

/// What the wire's two ends have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meters {
    /// XDP's frames for which there was no room in the queue of the node's eth0.
    rx_dropped: u64,
    /// Those for which there was none in the queue of the cable's far end.
    tx_dropped: u64,
    sieved: u64,
}

impl Meters {
    fn read(node: &Node) -> Result<Meters> {
        let text = node.host.ip("-s -j link show dev eth0")?;
        let links: Value = serde_json::from_str(&text).context("reading what ip says of eth0")?;
        let dropped = |way: &str| links[0]["stats64"][way]["dropped"].as_u64();
        let (rx, tx) = dropped("rx").zip(dropped("tx")).context("ip says nothing of dropped packets")?;
        Ok(Meters { rx_dropped: rx, tx_dropped: tx, sieved: node.sieved()? })
    }

    /// When they stand still: a queue may outlast the call that fills it, and a busy machine may pause with it.
    fn settled(node: &Node) -> Result<Meters> {
        let (mut last, mut equal) = (Meters::read(node)?, 1);
        while equal < EQUAL_LOOKS {
            std::thread::sleep(Duration::from_millis(300));
            let now = Meters::read(node)?;
            equal = if now == last { equal + 1 } else { 1 };
            last = now;
        }
        Ok(last)
    }
}
