//! A case of the table: the node's state, a packet in, and all that must come of it.

use std::collections::BTreeMap;

use lb_common::{ChainWord, Reason, Slot, TargetId, Verdict};

use crate::client::Packet;
use crate::difference::difference;
use crate::node::{Counts, Node, SLOTS, growth};
use crate::program::{Action, Outcome};
use crate::remote::{Inner, NODE_INTERFACE, Remote};

/// What happens on the node before the case's packet comes.
#[derive(Debug, Clone)]
pub enum Step {
    /// Every slot of the table becomes this.
    Table(Slot),
    /// A packet of the flow passes, and may be remembered.
    Packet(Packet),
    /// A frame passes.
    Frame(Vec<u8>),
    /// A target's entry is written.
    Target(Remote),
}

/// What must come of the packet.
#[derive(Debug, Clone)]
pub struct Expected {
    pub action: Action,
    /// The packet out; none if it is dropped.
    pub packet: Option<Vec<u8>>,
    /// All counters that grow, and by how much.
    pub counts: Counts,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    /// The table before the first step, in every slot.
    pub slot: Slot,
    /// The chain of every slot.
    pub chain: ChainWord,
    pub steps: Vec<Step>,
    pub packet: Vec<u8>,
    /// How many of the packet's last bytes are behind the end of what its headers announce.
    pub padding: usize,
    pub expected: Expected,
    /// The flow table after the packet: tag and target.
    pub flows: BTreeMap<u32, TargetId>,
    /// The slot whose exceptions are marked after the packet.
    pub mark: Option<u32>,
}

impl Case {
    /// The packet is forwarded to `remote` and counted for `listener`.
    pub fn forwarded(
        name: impl Into<String>,
        slot: Slot,
        packet: &Packet,
        listener: u16,
        to: Remote,
    ) -> Case {
        let frame = packet.frame();
        let inner = Inner {
            family: packet.family,
            traffic_class: packet.traffic_class,
            hash: packet.hash(),
            length: packet.inner_length(),
            bytes: &frame[packet.offset()..],
        };
        Case::encapsulated(name, slot, (frame.clone(), packet.padding), &inner, listener, to)
    }

    /// A frame, with its padding's length, whose inner packet is encapsulated to `to` and counted for `listener`.
    pub fn encapsulated(
        name: impl Into<String>,
        slot: Slot,
        (frame, padding): (Vec<u8>, usize),
        inner: &Inner<'_>,
        listener: u16,
        to: Remote,
    ) -> Case {
        let action = if to.interface() == NODE_INTERFACE { Action::Tx } else { Action::Redirect };
        let (bytes, id) = (inner.length as u64, to.id().0);
        let counts = [
            (format!("listener {listener} packets"), 1),
            (format!("listener {listener} bytes"), bytes),
            (format!("target {id} packets"), 1),
            (format!("target {id} bytes"), bytes),
        ];
        let expected = Expected { action, packet: Some(to.frame(inner)), counts: counts.into() };
        Case::new(name.into(), slot, frame, padding, expected)
    }

    /// The packet goes no further, for a reason; passed on, it is unchanged.
    pub fn refused(name: impl Into<String>, slot: Slot, packet: Vec<u8>, reason: Reason) -> Case {
        let (action, out) = match reason.verdict() {
            Verdict::Passed => (Action::Pass, Some(packet.clone())),
            Verdict::Dropped => (Action::Drop, None),
            Verdict::Answered => panic!("{} has an answer", reason.name()),
        };
        let expected = Expected { action, packet: out, counts: count(reason) };
        Case::new(name.into(), slot, packet, 0, expected)
    }

    /// The packet becomes its answer.
    pub fn answered(name: impl Into<String>, packet: Vec<u8>, padding: usize, answer: Vec<u8>) -> Case {
        let expected =
            Expected { action: Action::Tx, packet: Some(answer), counts: count(Reason::EchoAnswered) };
        Case::new(name.into(), Slot::EMPTY, packet, padding, expected)
    }

    /// The packet becomes its answer for this reason.
    pub fn answered_for(reason: Reason, name: String, packet: Vec<u8>, answer: Vec<u8>) -> Case {
        let expected = Expected { action: Action::Tx, packet: Some(answer), counts: count(reason) };
        Case::new(name, Slot::EMPTY, packet, 0, expected)
    }

    /// With this in every slot of the table.
    pub fn on(mut self, slot: Slot) -> Case {
        self.slot = slot;
        self
    }

    fn new(name: String, slot: Slot, packet: Vec<u8>, padding: usize, expected: Expected) -> Case {
        let (steps, flows, mark) = (Vec::new(), BTreeMap::new(), None);
        let chain = ChainWord::NONE;
        Case { name, slot, chain, steps, packet, padding, expected, flows, mark }
    }

    /// With this chain in every slot of the table.
    pub fn with_chain(mut self, chain: ChainWord) -> Case {
        self.chain = chain;
        self
    }

    /// The packet leaves as this frame.
    pub fn leaves_as(mut self, frame: Vec<u8>) -> Case {
        self.expected.packet = Some(frame);
        self
    }

    /// After these steps.
    pub fn after(mut self, steps: impl IntoIterator<Item = Step>) -> Case {
        self.steps.extend(steps);
        self
    }

    /// The packet's flow is remembered on `remote` afterwards.
    pub fn remembers(mut self, packet: &Packet, remote: Remote) -> Case {
        self.flows.insert(packet.hash() as u32, remote.id());
        self
    }

    /// The slot of the packet's flow is marked afterwards.
    pub fn marks(mut self, packet: &Packet) -> Case {
        self.mark = Some((packet.place() >> (u64::BITS - SLOTS.ilog2())) as u32);
        self
    }

    /// Brings the node into the case's state.
    pub fn prepare(&self, node: &mut Node) {
        node.reset_with(self.slot, self.chain);
        for step in &self.steps {
            match step {
                Step::Table(slot) => node.publish(vec![*slot; SLOTS]),
                Step::Packet(packet) => drop(node.run(&packet.frame())),
                Step::Frame(frame) => drop(node.run(frame)),
                Step::Target(remote) => node.set_target(*remote),
            }
        }
    }

    /// Plays the case; all that is not as expected, in words.
    ///
    /// # Errors
    /// If anything is not as expected.
    pub fn play(&self, node: &mut Node) -> Result<(), String> {
        self.prepare(node);
        let before = node.counts();
        let outcome = node.run(&self.packet);
        let mut wrong = self.wrong_in(&outcome, 0);
        unless_equal(&mut wrong, "counters", &self.expected.counts, &growth(&before, &node.counts()));
        unless_equal(&mut wrong, "flow table", &self.flows, &node.flows());
        let marks: Vec<u32> = self.mark.into_iter().collect();
        unless_equal(&mut wrong, "marked slots", &marks, &node.marked_slots());
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}:\n{wrong}", self.name)) }
    }

    /// What is wrong with the outcome if the packet came without its last `cut` bytes of padding.
    pub fn wrong_in(&self, outcome: &Outcome, cut: usize) -> String {
        let mut wrong = String::new();
        unless_equal(&mut wrong, "verdict", &self.expected.action, &outcome.action);
        if let Some(packet) = &self.expected.packet {
            wrong.push_str(&difference(&packet[..packet.len() - cut], &outcome.packet));
        }
        wrong
    }
}

fn count(reason: Reason) -> Counts {
    Counts::from([(format!("reason {}", reason.name()), 1)])
}

fn unless_equal<T: PartialEq + std::fmt::Debug>(wrong: &mut String, what: &str, expected: &T, actual: &T) {
    if expected != actual {
        wrong.push_str(&format!("  {what}: expected {expected:?}, got {actual:?}\n"));
    }
}
