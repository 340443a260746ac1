//! An epoch through the model and the program, and the first step after which they are not in the same state.

use anyhow::Result;
use lb_common::Slot;
use lb_common::SlotState;
use rustix::time::{ClockId, clock_gettime};

use super::epoch::{Change, Epoch, Step};
use super::finding::Finding;
use super::subject::{ROOM, Subject};
use crate::model::flow_table::Tick;
use crate::model::{Action, Counters, Node, Outcome, Table};

/// When counters and marks are compared: they cost system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Totals {
    AtTheEnd,
    EveryStep,
}

/// How an epoch ended.
pub(super) enum End {
    /// All is the same; what was counted.
    Agreed(Counters),
    /// It is not.
    Differs(Box<Finding>),
}

/// Plays the epoch.
///
/// # Errors
/// If the kernel refuses something.
pub(super) fn play(subject: &mut Subject, epoch: &Epoch, totals: Totals) -> Result<End> {
    let mut node = epoch.node.clone();
    let mut room = vec![0; ROOM];
    subject.install(&node)?;
    for (at, step) in epoch.steps.iter().enumerate() {
        let difference = match step {
            Step::Frame(frame) => frame_differs(subject, &mut node, frame, &mut room)?,
            Step::Change(change) => {
                subject.change(change)?;
                apply(&mut node, change);
                None
            }
        };
        let difference = match difference {
            None if totals == Totals::EveryStep || at + 1 == epoch.steps.len() => {
                subject.totals_differ(&node)?
            }
            difference => difference,
        };
        if let Some(what) = difference {
            return Ok(End::Differs(Box::new(Finding { step: at, what, node, epoch: epoch.clone() })));
        }
    }
    Ok(End::Agreed(node.counters))
}

/// A frame through both. The program reads the clock somewhere between our two readings.
fn frame_differs(
    subject: &mut Subject,
    node: &mut Node,
    frame: &[u8],
    room: &mut [u8],
) -> Result<Option<String>> {
    let before = tick();
    let (action, length) = subject.run(frame, room)?;
    let (after, out) = (tick(), &room[..length]);
    let earlier = (before != after).then(|| node.clone());
    let difference = differs_at(subject, node, frame, before, (action, out));
    let (Some(earlier), Some(_)) = (earlier, &difference) else { return Ok(difference) };
    *node = earlier;
    Ok(differs_at(subject, node, frame, after, (action, out)))
}

fn differs_at(
    subject: &Subject,
    node: &mut Node,
    frame: &[u8],
    now: Tick,
    (action, out): (Action, &[u8]),
) -> Option<String> {
    let expected = node.process(frame, now);
    let is_same = expected.action == action && (action == Action::Drop || expected.frame == out);
    if is_same {
        subject.flows_differ(&node.flows).or_else(|| subject.fragments_differ(&node.fragments))
    } else {
        Some(outcomes(&expected, action, out))
    }
}

fn outcomes(expected: &Outcome, action: Action, out: &[u8]) -> String {
    let reason = expected.reason.map_or("forwarded", |reason| reason.name());
    format!(
        "outcome:\n  model   {:?} ({reason}), {} bytes\n          {}\n  program {action:?}, {} bytes\n          {}",
        expected.action,
        expected.frame.len(),
        super::finding::hex(&expected.frame),
        out.len(),
        super::finding::hex(out),
    )
}

/// What a change makes of the model. A published table takes over the marks of the old one, except where a slot
/// is stable: it has no exceptions.
fn apply(node: &mut Node, change: &Change) {
    match change {
        Change::Table(forward, slots, chains) => {
            let marks = match node.tables.remove(forward) {
                Some(old) => old.marks,
                None => vec![0; slots.len()],
            };
            let carried = |(mark, slot): (Tick, &Slot)| match slot.state() {
                SlotState::Stable => 0,
                SlotState::Changing | SlotState::Exceptions => mark,
            };
            let marks = marks.into_iter().zip(slots).map(carried).collect();
            node.tables.insert(*forward, Table { slots: slots.clone(), chains: chains.clone(), marks });
        }
        Change::Policy(counter, policy) => drop(node.policies.insert(*counter, policy.clone())),
        Change::QuicServer(forward, id, Some(target)) => {
            node.quic_servers.insert((*forward, *id), *target);
        }
        Change::QuicServer(forward, id, None) => drop(node.quic_servers.remove(&(*forward, *id))),
        Change::Target(id, target) => drop(node.targets.insert(*id, target.clone())),
    }
}

/// The flow table's time: units of 2^30 nanoseconds of the kernel's coarse monotonic clock.
fn tick() -> Tick {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    ((now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64) >> 30) as Tick
}
