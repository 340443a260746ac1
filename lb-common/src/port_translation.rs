//! A listener's port and the different port that a target serves it on: there and back, without state.
//!
//! ```text
//!   client ──► VIP:80  ── decapsulated ──► VIP:8080, where the server listens
//!   client ◄── VIP:80  ◄── leaves (tc) ─── VIP:8080
//! ```
//!
//! The two ports of a VIP and protocol name each other, so a packet's own port is all that is needed. What an ICMP
//! error quotes is translated as the packet that it speaks of was.

use crate::checksum;
use crate::flow::{TCP, UDP};
use crate::memory::{Frame, View};

/// `HASH<PortKey, u32>`: the other port of a pair, two bytes as on the wire in a number of 16 bits.
pub const PORTS: &str = "PORTS";

/// Which of the two ports is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The listener's, in what comes in.
    Listener = 0,
    /// The target's, in what leaves.
    Target = 1,
}

/// The key of [`PORTS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortKey {
    /// The VIP, IPv4 mapped into IPv6.
    pub vip: [u32; 4],
    /// The port, two bytes as on the wire.
    pub port: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Which port it is: [`Known`].
    known: u8,
}

impl PortKey {
    /// The key of a port (bytes as on the wire).
    #[inline(always)]
    pub const fn new(vip: [u32; 4], protocol: u8, port: u16, known: Known) -> PortKey {
        PortKey { vip, port, protocol, known: known as u8 }
    }
}

/// One port of a packet that becomes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Where the port is, from the frame's start.
    pub port: usize,
    /// Where the checksum that it counts in is.
    pub checksum: usize,
    /// The port that is there, bytes as on the wire.
    pub from: u16,
    /// The port that is to be there, bytes as on the wire.
    pub to: u16,
    /// Whether a checksum of zero is none and stays.
    pub may_have_no_checksum: bool,
}

impl Translation {
    /// The checksum afterwards.
    #[inline(always)]
    pub const fn checksum(&self, before: u16) -> u16 {
        if before == 0 && self.may_have_no_checksum {
            return 0;
        }
        checksum::update(before, u16::from_be(self.from), u16::from_be(self.to))
    }
}

/// Which end of a packet has the VIP and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The source, in what leaves.
    Source,
    /// The destination, in what comes in.
    Destination,
}

/// A port of TCP or UDP in a packet, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where the transport header begins, from the frame's start.
    transport: usize,
    /// TCP or UDP.
    protocol: u8,
    /// Bytes of the transport header before the port: 0 or 2.
    before: usize,
    /// Its value, bytes as on the wire.
    pub value: u16,
}

/// The port at one end of a packet whose transport header begins at `transport`, if it is one of TCP or UDP.
#[inline(always)]
pub fn port(frame: Frame<'_>, protocol: u8, transport: usize, end: End) -> Option<Port> {
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let ports: View<'_, 4> = frame.view(transport)?;
    let (before, value) = match end {
        End::Source => (0, ports.raw16::<0>()),
        End::Destination => (2, ports.raw16::<2>()),
    };
    Some(Port { transport, protocol, before, value })
}

impl Port {
    /// The key of this port of `vip`.
    #[inline(always)]
    pub const fn key(&self, vip: [u32; 4], known: Known) -> PortKey {
        PortKey::new(vip, self.protocol, self.value, known)
    }

    /// What makes it the port `to`, bytes as on the wire.
    #[inline(always)]
    pub const fn translation(&self, to: u16) -> Translation {
        Translation {
            port: self.transport + self.before,
            checksum: self.transport + if self.protocol == TCP { 16 } else { 6 },
            from: self.value,
            to,
            may_have_no_checksum: self.protocol == UDP,
        }
    }

    /// What makes it the port `to` where it stands in the quote of an ICMP message whose checksum is at `checksum`.
    /// The quoted checksum is left: it may be cut off, and nobody verifies it.
    #[inline(always)]
    pub const fn quoted_translation(&self, to: u16, checksum: usize) -> Translation {
        let translation = self.translation(to);
        Translation { checksum, may_have_no_checksum: false, ..translation }
    }
}

/// The two keys and values of [`PORTS`] by which a VIP's ports (in host order) name each other.
pub const fn entries(vip: [u32; 4], protocol: u8, listener: u16, target: u16) -> [(PortKey, u32); 2] {
    let (listener, target) = (listener.to_be(), target.to_be());
    [
        (PortKey::new(vip, protocol, listener, Known::Listener), target as u32),
        (PortKey::new(vip, protocol, target, Known::Target), listener as u32),
    ]
}
