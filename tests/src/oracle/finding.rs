//! A difference between model and program: where, what, and the shortest way there.

use std::fmt;

use anyhow::Result;
use etherparse::SlicedPacket;

use super::contest::{self, End, Totals};
use super::epoch::{Epoch, Step};
use super::subject::Subject;
use crate::model::Node;

/// At most so many epochs are played to shorten a finding.
const ATTEMPTS: usize = 400;
/// Steps that are printed.
const SHOWN: usize = 24;

/// Where model and program parted.
pub(super) struct Finding {
    /// The step after which they differed.
    pub(super) step: usize,
    /// What differed, in words.
    pub(super) what: String,
    /// The model's node after that step.
    pub(super) node: Node,
    /// The epoch that was played.
    pub(super) epoch: Epoch,
}

impl Finding {
    /// The finding with as few steps as leaving some out in turn gets to.
    ///
    /// # Errors
    /// If the kernel refuses something.
    pub(super) fn minimised(self, subject: &mut Subject) -> Result<Finding> {
        let mut best = self;
        best.epoch.steps.truncate(best.step + 1);
        let (mut size, mut attempts) = (best.epoch.steps.len() / 2, 0);
        while size > 0 {
            let mut from = 0;
            while from + size < best.epoch.steps.len() && attempts < ATTEMPTS {
                let mut epoch = best.epoch.clone();
                epoch.steps.drain(from..from + size);
                attempts += 1;
                match contest::play(subject, &epoch, Totals::EveryStep)? {
                    End::Differs(mut shorter) => {
                        shorter.epoch.steps.truncate(shorter.step + 1);
                        best = *shorter;
                    }
                    End::Agreed(_) => from += size,
                }
            }
            size /= 2;
        }
        Ok(best)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        let steps = &self.epoch.steps;
        let from = steps.len().saturating_sub(SHOWN);
        writeln!(f, "the last {} of {} steps:", steps.len() - from, steps.len())?;
        for (at, step) in steps.iter().enumerate().skip(from) {
            match step {
                Step::Frame(frame) => {
                    writeln!(f, "  {at}: frame of {} bytes {}", frame.len(), hex(frame))?;
                    writeln!(f, "     {}", decoded(frame))?;
                }
                Step::Change(change) => writeln!(f, "  {at}: {change:?}")?,
            }
        }
        let node = &self.node;
        writeln!(f, "the model's node afterwards: key {:x?}, MAC {:x?}", node.key, node.mac)?;
        node.listeners.iter().try_for_each(|(key, listener)| writeln!(f, "  {key:?} {listener:?}"))?;
        node.policies.iter().try_for_each(|(counter, policy)| writeln!(f, "  {counter}: {policy:?}"))?;
        node.tables.iter().try_for_each(|(forward, table)| writeln!(f, "  table {forward}: {table:?}"))?;
        node.quic_servers.iter().try_for_each(|(key, id)| writeln!(f, "  {key:x?}: {id:?}"))?;
        node.targets.iter().try_for_each(|(id, target)| writeln!(f, "  {id:?}: {target:?}"))
    }
}

fn decoded(frame: &[u8]) -> String {
    match SlicedPacket::from_ethernet(frame) {
        Ok(packet) => format!("{:?} {:?} {:?}", packet.link_exts, packet.net, packet.transport),
        Err(error) => format!("etherparse: {error}"),
    }
}

/// Bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
