//! Ethernet with up to two VLAN tags (IEEE 802.1Q and 802.1ad).

use super::Parsed;
use crate::memory::{Frame, forget_value};
use crate::reason::Reason;

const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// A MAC address in its byte order on the wire, as the low 48 bits of a little-endian word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(u64);

impl MacAddress {
    /// From the six bytes as they are on the wire.
    pub const fn new(bytes: [u8; 6]) -> MacAddress {
        let [a, b, c, d, e, f] = bytes;
        MacAddress(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// The 48 bits as a number, for a map.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From [`MacAddress::to_bits`]; bits above the 48th are ignored.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> MacAddress {
        MacAddress(bits & 0xffff_ffff_ffff)
    }
}

/// What the link-layer header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Whom the frame is for.
    pub destination: MacAddress,
    /// What follows the last tag.
    pub ethertype: u16,
    /// Where it follows: 14, 18 or 22 bytes from the frame's start.
    pub payload: usize,
}

impl Ethernet {
    /// Reads the header at the frame's start.
    #[inline(always)]
    pub fn parse(frame: Frame<'_>) -> Parsed<Ethernet> {
        let header = frame.view::<14>(0).ok_or(Reason::MalformedEthernet)?;
        let mut parsed = Ethernet {
            destination: MacAddress::from_bits(u64::from_le(header.raw64::<0>())),
            ethertype: header.be16::<12>(),
            payload: 14,
        };
        parsed.skip_tag(frame)?;
        parsed.skip_tag(frame)?;
        parsed.payload = forget_value::<32>(parsed.payload, header.raw16::<0>() as usize);
        Ok(parsed)
    }

    #[inline(always)]
    fn skip_tag(&mut self, frame: Frame<'_>) -> Parsed<()> {
        if self.ethertype == ETHERTYPE_VLAN || self.ethertype == ETHERTYPE_QINQ {
            let tag = frame.view::<4>(self.payload).ok_or(Reason::MalformedEthernet)?;
            self.ethertype = tag.be16::<2>();
            self.payload += 4;
        }
        Ok(())
    }
}
