//! The bench's synthetic packets: what its wrapper program writes and its user space must foretell.
//!
//! Packet number n of a workload belongs to flow `n × odd number mod flows`: every flow comes once in each
//! `flows` packets (the worst order for a cache), and neighbours in time are not neighbours in any table.

use crate::packet::MacAddress;

/// The MAC address that the frames are for.
pub const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// The MAC address that the frames come from.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// The port of every listener.
pub const LISTENER_PORT: u16 = 80;

/// Where each part of a flow's number is spread by: odd, so that no two flows become one.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the wrapper makes packets of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The number of the next packet; the wrapper counts it up.
    pub next: u64,
    /// The number of flows, a power of two, less one.
    pub flow_mask: u64,
    /// Bytes of a frame as it comes in.
    pub frame_length: u32,
    /// Over how many VIPs the flows are spread.
    pub vips: u32,
    /// The frames' EtherType.
    pub ethertype: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

impl Workload {
    /// The flow of the packet with this number.
    #[inline(always)]
    pub fn flow(&self, number: u64) -> SyntheticFlow {
        let number = number.wrapping_mul(STRIDE) & self.flow_mask;
        let spread = number.wrapping_mul(STRIDE) >> 32;
        SyntheticFlow { number, vip: ((spread * self.vips as u64) >> 32) as u32 }
    }
}

/// A flow of a workload: a client's address and port and the VIP that it talks to are made of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticFlow {
    /// Its number, less than the number of flows (and than 2^40).
    pub number: u64,
    /// The number of its VIP.
    pub vip: u32,
}

impl SyntheticFlow {
    /// The client's IPv4 address: in 10.0.0.0/8.
    #[inline(always)]
    pub fn ipv4_source(self) -> u32 {
        0x0a00_0000 | ((self.number >> 16) as u32 & 0xff_ffff)
    }

    /// The client's IPv6 address: in fd10::/64.
    #[inline(always)]
    pub fn ipv6_source(self) -> [u64; 2] {
        [0xfd10 << 48, self.number >> 16]
    }

    /// The client's port.
    #[inline(always)]
    pub fn source_port(self) -> u16 {
        self.number as u16
    }

    /// The VIP of an IPv4 flow: in 172.16.0.0/12, so that no client has its address.
    #[inline(always)]
    pub fn ipv4_vip(self) -> u32 {
        0xac10_0000 + self.vip
    }

    /// The VIP of an IPv6 flow.
    #[inline(always)]
    pub fn ipv6_vip(self) -> [u64; 2] {
        [0xfc00 << 48, self.vip as u64]
    }
}

/// The first twelve bytes of every frame: a word of eight and one of four, as they are in memory.
#[inline(always)]
pub fn link_addresses() -> (u64, u32) {
    let (to, from) = (MacAddress::new(NODE_MAC).to_bits(), MacAddress::new(ROUTER_MAC).to_bits());
    ((to | (from << 48)).to_le(), ((from >> 16) as u32).to_le())
}

/// Bytes that a frame has at least which the wrapper `wrapper_frame` restores: the longest headers of a tunnel with a
/// chain, and TCP's.
pub const RESTORED: usize = 3 * 56;

/// A frame as `wrapper_frame` makes it anew for each run. What is behind its first [`RESTORED`] bytes stays.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredFrame {
    /// Bytes of the whole frame: at least [`RESTORED`], less than 2048.
    pub length: u64,
    /// Its first bytes, as they are in memory.
    pub parts: [[u64; 7]; 3],
}

impl RestoredFrame {
    /// The frame with these bytes; none if they are too few or too many.
    pub fn new(frame: &[u8]) -> Option<RestoredFrame> {
        let (words, _) = frame.get(..RESTORED).filter(|_| frame.len() < 2048)?.as_chunks::<8>();
        let part = |part: usize| core::array::from_fn(|at| u64::from_ne_bytes(words[7 * part + at]));
        Some(RestoredFrame { length: frame.len() as u64, parts: [part(0), part(1), part(2)] })
    }
}

/// The sources of a flood: 198.18.0.0/15, which is kept for benchmarks (RFC 2544, C.2.2).
pub const FLOOD_SOURCES: u32 = 0xc612_0000;
/// The bits of [`FLOOD_SOURCES`] that tell.
pub const FLOOD_MASK: u32 = 0xfffe_0000;

/// What the program `flood` makes TCP segments of: those of its flows come in no order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// The number of the next packet; the program counts it up.
    pub next: u64,
    /// The first eight and the next four bytes of every frame, as they are in memory: both MAC addresses.
    pub link: [u64; 2],
    /// The VIP, as on the wire.
    pub vip: u32,
    /// The destination port, as on the wire.
    pub port: u16,
    /// Whether half of the packets are SYNs (1); all others are ACKs.
    pub has_syns: u16,
    /// The number of flows, a power of two up to 2^32, less one.
    pub flow_mask: u32,
    /// Where the program `swap_redirect` sends: an interface's index.
    pub redirect_to: u32,
}

impl Flood {
    /// ACKs of `flows` flows (a power of two up to 2^32) from `source` to `destination`, for a VIP's port.
    pub fn new(destination: [u8; 6], source: [u8; 6], vip: [u8; 4], port: u16, flows: u64) -> Flood {
        let (to, from) = (MacAddress::new(destination).to_bits(), MacAddress::new(source).to_bits());
        Flood {
            next: 0,
            link: [(to | (from << 48)).to_le(), u64::from(((from >> 16) as u32).to_le())],
            vip: u32::from_ne_bytes(vip),
            port: port.to_be(),
            has_syns: 0,
            flow_mask: (flows - 1) as u32,
            redirect_to: 0,
        }
    }

    /// What the packet before the next belongs to.
    #[inline(always)]
    pub fn flow(&self) -> FloodFlow {
        let mixed = self.next.wrapping_mul(STRIDE);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(STRIDE);
        let is_syn = self.has_syns != 0 && mixed & 1 == 1;
        FloodFlow { number: (mixed >> 32) as u32 & self.flow_mask, is_syn }
    }
}

/// A flow of a flood, and whether this packet begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodFlow {
    number: u32,
    /// Whether it is a SYN.
    pub is_syn: bool,
}

impl FloodFlow {
    /// The client's address.
    #[inline(always)]
    pub fn source(self) -> u32 {
        FLOOD_SOURCES | self.number >> 15
    }

    /// The client's port, from 1024 on.
    #[inline(always)]
    pub fn source_port(self) -> u16 {
        (self.number as u16 & 0x7fff) + 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_as_many_flows_as_it_is_told_and_half_of_it_are_syns() {
        let mut flood = Flood { has_syns: 1, ..Flood::new([2; 6], [4; 6], [10, 0, 0, 1], 80, 1 << 10) };
        let (mut flows, mut syns) = (std::collections::BTreeSet::new(), 0);
        for number in 0..100_000 {
            flood.next = number;
            let flow = flood.flow();
            flows.insert((flow.source(), flow.source_port()));
            syns += u32::from(flow.is_syn);
        }
        assert_eq!(flows.len(), 1 << 10);
        assert!((45_000..55_000).contains(&syns), "{syns}");
        assert!(flows.iter().all(|(source, _)| source & FLOOD_MASK == FLOOD_SOURCES));
    }

    #[test]
    fn a_restored_frame_has_its_bytes_in_order() {
        let bytes: Vec<u8> = (0..180).collect();
        let frame = RestoredFrame::new(&bytes).unwrap();
        assert_eq!(frame.length, 180);
        let stored: Vec<u8> = frame.parts.as_flattened().iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(stored, bytes[..RESTORED]);
        assert_eq!(RestoredFrame::new(&bytes[..RESTORED - 1]), None);
        assert_eq!(RestoredFrame::new(&[0; 2048]), None);
    }

    #[test]
    fn each_flow_comes_once_in_as_many_packets_as_there_are_flows() {
        let workload =
            Workload { next: 0, flow_mask: 1023, frame_length: 64, vips: 3, ethertype: 0, reserved: [0; 3] };
        let mut seen = [0; 1024];
        (5000..6024).for_each(|number| seen[workload.flow(number).number as usize] += 1);
        assert!(seen.iter().all(|times| *times == 1));
        assert!((0..1024).all(|number| workload.flow(number).vip < 3));
    }

    #[test]
    fn the_link_addresses_are_those_of_the_two_macs() {
        let (first, second) = link_addresses();
        assert_eq!(
            [&first.to_ne_bytes()[..], &second.to_ne_bytes()[..]].concat(),
            [0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02]
        );
    }
}
