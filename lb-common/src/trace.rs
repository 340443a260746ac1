//! What the stages saw of one packet, for `sluice explain` and `sluice capture`.
//!
//! The live program keeps no such record: [`Trace`] is written by the programs that are compiled from the same
//! stages for these two commands. A stage notes what it found before it uses it, so the record of a packet that
//! went no further ends where the packet did.

use crate::encapsulation::Way;
use crate::flow::{Addresses, FlowHash};
use crate::flow_table::{FlowEntry, Tick};
use crate::listener::{Forward, Listener};
use crate::packet::{Datagram, Fragment, Segment, Transport, Version};
use crate::policy::Allowance;
use crate::reason::Reason;
use crate::slot::{ChainWord, Slot};
use crate::target_id::TargetId;

/// The record of one packet. All zero is a packet of which nothing is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Source address, bytes as on the wire; IPv4 is mapped into IPv6.
    pub source: [u32; 4],
    /// Destination address, likewise.
    pub destination: [u32; 4],
    /// The flow's hash.
    pub hash: u64,
    /// [`Listener::word`].
    pub listener: u64,
    /// The word of `FORWARDS`.
    pub forward: u64,
    /// The flow's entry before this packet; zero if the flow table was not asked or did not know the flow.
    pub entry: u64,
    /// How the target is reached.
    pub way: u64,
    /// What in the allow-list allows the source: an [`Allowance`]; zero if nothing does, or if there is none.
    pub allowance: u64,
    /// The steps that were noted: bits of [`Step`].
    pub steps: u32,
    /// Source port, then destination port, bytes as on the wire.
    pub ports: u32,
    /// The slot's number in its table.
    pub slot: u32,
    /// The slot.
    pub slot_word: u32,
    /// Bytes of the packet from its IP header on.
    pub length: u16,
    /// Where the IP header begins, from the frame's start.
    pub offset: u16,
    /// The target's id.
    pub target: u16,
    /// The tick at which the flow table was asked.
    pub now: u16,
    /// The transport protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
    /// [`Segment`] as a number.
    pub segment: u8,
    /// The number of the reason why the packet was not forwarded.
    pub reason: u8,
    /// The interface that the packet came in by.
    pub interface: u32,
    /// The identification of a fragment's datagram.
    pub identification: u32,
    /// How many bytes of the datagram are before the fragment.
    pub fragment_offset: u16,
    /// 1 if more fragments follow.
    pub more_fragments: u16,
    /// The slot's [`ChainWord`].
    pub chain: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

/// What a [`Trace`] can hold; each is a bit of [`Trace::steps`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An IP header was read: addresses, protocol, length.
    Datagram = 1,
    /// A TCP or UDP header was read: ports, segment.
    Flow = 2,
    /// A listener was found; the flow was hashed.
    Listener = 4,
    /// The table's slot was read.
    Slot = 8,
    /// The flow table was asked.
    FlowTable = 16,
    /// The flow table knew the flow.
    Known = 32,
    /// The packet is an exception of its slot, which is marked for it.
    Exception = 64,
    /// A target was chosen and its entry was read.
    Target = 128,
    /// The packet was not forwarded, for a reason.
    Reason = 256,
    /// A QUIC connection id named the target, so that no slot was asked.
    ServerId = 512,
    /// The packet is a fragment.
    Fragment = 1024,
    /// The source was looked for in an allow-list.
    AllowList = 1 << 11,
    /// The packet begins a flow that counts against a limit.
    Limits = 1 << 12,
    /// The slot's chain was read, so the flow table was not asked.
    Chain = 1 << 13,
}

impl Trace {
    /// Whether the packet got as far as this.
    #[inline(always)]
    pub const fn has(&self, step: Step) -> bool {
        self.steps & step as u32 != 0
    }

    #[inline(always)]
    fn reached(&mut self, step: Step) {
        self.steps |= step as u32;
    }

    /// The IP header.
    #[inline(always)]
    pub fn datagram<V: Version>(&mut self, datagram: &Datagram<V::Addresses>) {
        self.source = datagram.addresses.source();
        self.destination = datagram.addresses.destination();
        self.protocol = datagram.protocol;
        self.version = if V::PROTOCOL == 4 { 4 } else { 6 };
        self.length = datagram.length;
        self.offset = datagram.offset as u16;
        self.reached(Step::Datagram);
    }

    /// The packet is a fragment.
    #[inline(always)]
    pub fn fragment(&mut self, fragment: Fragment) {
        self.identification = fragment.identification;
        self.fragment_offset = fragment.offset();
        self.more_fragments = fragment.has_more() as u16;
        self.reached(Step::Fragment);
    }

    /// The transport header.
    #[inline(always)]
    pub fn flow<A: Addresses>(&mut self, transport: &Transport<A>) {
        self.ports = transport.flow.ports;
        self.segment = transport.segment as u8;
        self.reached(Step::Flow);
    }

    /// The listener, and the hash that it gives the flow.
    #[inline(always)]
    pub fn listener(&mut self, listener: &Listener, hash: FlowHash) {
        self.listener = listener.word();
        self.hash = hash.0;
        self.reached(Step::Listener);
    }

    /// The slot with this number in the table.
    #[inline(always)]
    pub fn slot(&mut self, forward: Forward, number: u32, slot: Slot) {
        self.forward = forward.0;
        self.slot = number;
        self.slot_word = slot.0;
        self.reached(Step::Slot);
    }

    /// Who had the slot before its previous target.
    #[inline(always)]
    pub fn chain(&mut self, chain: ChainWord) {
        self.chain = chain.0;
        self.reached(Step::Chain);
    }

    /// A QUIC packet's connection id names its target.
    #[inline(always)]
    pub fn server_id(&mut self) {
        self.reached(Step::ServerId);
    }

    /// What an allow-list says of the source.
    #[inline(always)]
    pub fn allow_list(&mut self, allowance: Allowance) {
        self.allowance = allowance.0;
        self.reached(Step::AllowList);
    }

    /// The flow that begins is to be counted.
    #[inline(always)]
    pub fn limits(&mut self) {
        self.reached(Step::Limits);
    }

    /// What the flow table knew.
    #[inline(always)]
    pub fn flow_table(&mut self, now: Tick, entry: Option<FlowEntry>) {
        self.now = now.0;
        self.reached(Step::FlowTable);
        if let Some(entry) = entry {
            self.entry = entry.0;
            self.reached(Step::Known);
        }
    }

    /// The packet goes elsewhere than its slot says.
    #[inline(always)]
    pub fn exception(&mut self) {
        self.reached(Step::Exception);
    }

    /// The chosen target.
    #[inline(always)]
    pub fn target(&mut self, id: TargetId, way: Way) {
        self.target = id.0;
        self.way = way.0;
        self.reached(Step::Target);
    }

    /// Why the packet goes no further: a reason's number.
    #[inline(always)]
    pub fn ends(&mut self, reason: u8) {
        self.reason = reason;
        self.reached(Step::Reason);
    }

    /// The reason, if the packet was not forwarded.
    pub fn reason(&self) -> Option<Reason> {
        let known = Reason::ALL.get(self.reason as usize).copied();
        if self.has(Step::Reason) { known } else { None }
    }

    /// The segment, if a transport header was read.
    pub fn segment(&self) -> Option<Segment> {
        let segments = [Segment::Opening, Segment::Established, Segment::Ageless];
        let found = segments.into_iter().find(|segment| *segment as u8 == self.segment);
        if self.has(Step::Flow) { found } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_how_far_the_packet_came() {
        let mut trace = Trace::default();
        assert_eq!((trace.reason(), trace.segment()), (None, None));
        trace.target(TargetId(7), Way(9));
        trace.ends(Reason::TooBig as u8);
        assert!(trace.has(Step::Target) && !trace.has(Step::Slot));
        assert_eq!((trace.target, trace.way, trace.reason()), (7, 9, Some(Reason::TooBig)));
    }

    #[test]
    fn what_the_flow_table_knew_is_told_apart_from_nothing() {
        let (mut unknown, mut known) = (Trace::default(), Trace::default());
        unknown.flow_table(Tick(3), None);
        known.flow_table(Tick(3), Some(FlowEntry::new(1, TargetId(2), Tick(1))));
        assert!(unknown.has(Step::FlowTable) && !unknown.has(Step::Known));
        assert!(known.has(Step::Known) && FlowEntry(known.entry).target() == TargetId(2));
    }
}
