//! What `sluice capture` wants of the program, and what it gets: filter and event.

use crate::listener::Listener;
use crate::trace::{Step, Trace};

/// Bytes of a packet that are kept, in and out each: a whole packet of an Ethernet with its encapsulation.
pub const SNAP: usize = 2048;

/// Which packets are captured. All zero is none, because no verdict is wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CaptureFilter {
    /// Bit n: packets that were not forwarded for the reason with number n; bit 63: forwarded ones.
    pub verdicts: u64,
    /// The bits of source or destination that are compared, bytes as on the wire; IPv4 is mapped into IPv6.
    pub address_mask: [u32; 4],
    /// What they must be.
    pub address: [u32; 4],
    /// One of so many packets is captured, at random; 0 and 1 are all.
    pub sample: u32,
    /// Source or destination port, bytes as on the wire; zero is any.
    pub port: u16,
    /// The listener's counter; zero is any.
    pub listener: u16,
    /// The target's id; zero is any.
    pub target: u16,
    /// The transport protocol; zero is any.
    pub protocol: u16,
    /// Zero.
    pub reserved: u32,
}

/// The bit of [`CaptureFilter::verdicts`] for packets that were forwarded.
pub const FORWARDED: u64 = 1 << 63;

impl CaptureFilter {
    /// Whether a packet is wanted of which the stages saw this.
    #[inline(always)]
    pub fn admits(&self, trace: &Trace) -> bool {
        let verdict = if trace.has(Step::Reason) { 1 << (trace.reason & 63) } else { FORWARDED };
        self.verdicts & verdict != 0
            && (self.protocol == 0 || self.protocol == trace.protocol as u16)
            && (self.target == 0 || self.target == trace.target)
            && (self.listener == 0 || self.listener == Listener::from_word(trace.listener).counter)
            && self.admits_port(trace.ports)
            && (self.admits_address(&trace.source) || self.admits_address(&trace.destination))
    }

    #[inline(always)]
    fn admits_port(&self, ports: u32) -> bool {
        self.port == 0 || self.port == ports as u16 || self.port == (ports >> 16) as u16
    }

    #[inline(always)]
    fn admits_address(&self, address: &[u32; 4]) -> bool {
        let differs = |at: usize| address[at] & self.address_mask[at] ^ self.address[at];
        differs(0) | differs(1) | differs(2) | differs(3) == 0
    }
}

/// What is told of one packet; the bytes in, then the bytes out, follow it without a gap.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CaptureHeader {
    /// What the stages saw.
    pub trace: Trace,
    /// When the packet came: the monotonic clock in nanoseconds.
    pub time: u64,
    /// The XDP action.
    pub action: u32,
    /// Bytes of the frame as it came.
    pub length_in: u32,
    /// Bytes of the frame as it left; zero if it did not leave.
    pub length_out: u32,
    /// Bytes of the frame that are kept, in and out.
    pub captured: [u16; 2],
}

/// One packet's scratch memory.
#[repr(C)]
pub struct CaptureEvent {
    /// What is told of it.
    pub header: CaptureHeader,
    /// Its bytes.
    pub bytes: [u8; 2 * SNAP],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn trace() -> Trace {
        let listener = Listener { counter: 3, ..Listener::from_word(0) }.word();
        Trace {
            source: [0, 0, 1, 9],
            destination: [0, 0, 1, 7],
            ports: 80 << 16 | 4000,
            target: 5,
            protocol: 6,
            listener,
            ..Trace::default()
        }
    }

    #[test]
    fn each_condition_must_hold() {
        let all = CaptureFilter { verdicts: !0, ..CaptureFilter::default() };
        let admits = |filter: CaptureFilter| filter.admits(&trace());
        assert!(admits(all));
        assert!(admits(CaptureFilter { port: 80, target: 5, listener: 3, protocol: 6, ..all }));
        assert!(admits(CaptureFilter { port: 4000, address: [0, 0, 1, 7], address_mask: [!0; 4], ..all }));
        assert!(!admits(CaptureFilter { port: 81, ..all }));
        assert!(!admits(CaptureFilter { target: 6, ..all }));
        assert!(!admits(CaptureFilter { listener: 4, ..all }));
        assert!(!admits(CaptureFilter { protocol: 17, ..all }));
        assert!(!admits(CaptureFilter { address: [0, 0, 1, 8], address_mask: [!0; 4], ..all }));
        assert!(!admits(CaptureFilter::default()));
    }

    #[test]
    fn verdicts_are_told_apart() {
        let mut dropped = trace();
        dropped.ends(Reason::TooBig as u8);
        let forwarded = CaptureFilter { verdicts: FORWARDED, ..CaptureFilter::default() };
        let too_big = CaptureFilter { verdicts: 1 << Reason::TooBig as u8, ..CaptureFilter::default() };
        assert!(forwarded.admits(&trace()) && !forwarded.admits(&dropped));
        assert!(too_big.admits(&dropped) && !too_big.admits(&trace()));
    }
}
