//! What the flow log tells of a flow: which packets it is told of, of which flows, and the record of one.
//!
//! A packet is told of if it begins or ends its flow as far as a balancer sees it, which is the client's half: a SYN, a FIN,
//! a RST, and of UDP whose flows are always tracked the datagram that the flow table did not know. All packets of a flow
//! have one hash, so a sample has the beginning and the end of a flow or neither of them, on every node.

use crate::flow::{Addresses, Flow, FlowHash};
use crate::packet::{Ending, Segment};
use crate::target_id::TargetId;

/// Why a flow is told of.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A SYN: the flow begins.
    Syn = 1,
    /// The client has said its last.
    Fin = 2,
    /// The client has given up.
    Rst = 3,
    /// The flow table did not know the flow, and always does.
    FirstSeen = 4,
}

impl Sign {
    /// All of them.
    pub const ALL: [Sign; 4] = [Sign::Syn, Sign::Fin, Sign::Rst, Sign::FirstSeen];

    /// The number of no sign.
    pub const NONE: u32 = 0;

    /// More than every sign's number: a power of two.
    pub const BOUND: usize = 8;

    /// The number of what a TCP segment shows. How it ends its flow is asked of those only that do not begin it.
    #[inline(always)]
    pub fn of_segment(segment: Segment, ending: impl FnOnce() -> Option<Ending>) -> u32 {
        if segment == Segment::Opening {
            return Sign::Syn as u32;
        }
        match ending() {
            Some(Ending::Finished) => Sign::Fin as u32,
            Some(Ending::Reset) => Sign::Rst as u32,
            None => Sign::NONE,
        }
    }

    /// As the log says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Sign::Syn => "syn",
            Sign::Fin => "fin",
            Sign::Rst => "rst",
            Sign::FirstSeen => "first-seen",
        }
    }
}

/// The share of all flows that are told of, as the programs compare it: of 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// Every flow.
    pub const ALL: Share = Share(u32::MAX);

    /// `sample` of all flows: more than 0, at most 1.
    pub fn new(sample: f64) -> Share {
        // A number that is too big becomes the biggest.
        Share((sample * 4_294_967_296.0) as u32)
    }

    /// Whether the flow with this hash is told of. All bits of the hash have a say, so that a sample is one of every slot
    /// and of every target.
    #[inline(always)]
    pub const fn has(self, hash: FlowHash) -> bool {
        (hash.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 <= self.0
    }
}

/// What is told of one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlowRecord {
    /// When it came: the monotonic clock in nanoseconds.
    pub time: u64,
    /// Source address, bytes as on the wire; IPv4 is mapped into IPv6.
    pub source: [u32; 4],
    /// Destination address, likewise.
    pub destination: [u32; 4],
    /// Source port, then destination port, bytes as on the wire.
    pub ports: u32,
    /// The id of the target that it was sent to.
    pub target: u16,
    /// The transport protocol.
    pub protocol: u8,
    /// The [`Sign`]'s number.
    pub sign: u8,
}

impl FlowRecord {
    /// The record of a packet that went to `target` at `time`.
    #[inline(always)]
    pub fn new<A: Addresses>(time: u64, flow: &Flow<A>, target: TargetId, sign: u32) -> FlowRecord {
        FlowRecord {
            time,
            source: flow.addresses.source(),
            destination: flow.addresses.destination(),
            ports: flow.ports,
            target: target.0,
            protocol: flow.protocol,
            sign: sign as u8,
        }
    }

    /// Why it is told.
    pub fn sign(&self) -> Option<Sign> {
        Sign::ALL.into_iter().find(|sign| *sign as u32 == u32::from(self.sign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_hashes_is_told_of_and_a_bigger_share_has_all_of_a_smaller_one() {
        let hashes = (0..100_000u64).map(|number| FlowHash(number.wrapping_mul(0xd6e8_feb8_6659_fd93)));
        let told = |share: Share| hashes.clone().filter(move |hash| share.has(*hash)).collect::<Vec<_>>();
        assert_eq!(told(Share::new(1.0)).len(), 100_000);
        assert_eq!(Share::new(1.0), Share::ALL);
        let (tenth, hundredth) = (told(Share::new(0.1)), told(Share::new(0.01)));
        assert!((9_700..10_300).contains(&tenth.len()), "{}", tenth.len());
        assert!((900..1_100).contains(&hundredth.len()), "{}", hundredth.len());
        assert!(hundredth.iter().all(|hash| tenth.contains(hash)));
    }

    #[test]
    fn a_sample_is_one_of_every_slot() {
        let of_slot = |slot: u64| (0..10_000u64).map(move |number| FlowHash(slot << 50 | number << 8));
        for slot in 0..16 {
            let told = of_slot(slot).filter(|hash| Share::new(0.25).has(*hash)).count();
            assert!((2_000..3_000).contains(&told), "slot {slot}: {told}");
        }
    }

    #[test]
    fn a_segment_that_begins_or_ends_its_flow_is_a_sign() {
        let sign = |segment, ending| Sign::of_segment(segment, || ending);
        assert_eq!(sign(Segment::Opening, None), Sign::Syn as u32);
        assert_eq!(sign(Segment::Established, None), Sign::NONE);
        assert_eq!(sign(Segment::Established, Some(Ending::Finished)), Sign::Fin as u32);
        assert_eq!(sign(Segment::Established, Some(Ending::Reset)), Sign::Rst as u32);
    }

    #[test]
    fn a_record_knows_its_sign() {
        for sign in Sign::ALL {
            let record = FlowRecord { sign: sign as u8, ..FlowRecord::default() };
            assert_eq!(record.sign(), Some(sign));
            assert!((sign as usize) < Sign::BOUND);
        }
        assert_eq!(FlowRecord::default().sign(), None);
    }
}
