//! QUIC: the server id that a packet's destination connection id names (draft-ietf-quic-load-balancers,
//! plaintext configuration).
//!
//! ```text
//!   long header    | 1 type … | version (4) | length (1) | destination connection id (length) | …
//!   short header   | 0 …      | destination connection id | …
//!
//!   connection id  | rotation (3 bits) length (5 bits) | server id (8) | nonce … |
//! ```
//!
//! Only what no version of QUIC may change (RFC 8999) is relied on: the first bit, and where the destination
//! connection id is; so versions that nobody knows yet are routed too. The "fixed bit" is not looked at, because
//! endpoints may agree to vary it (RFC 9287). The types of versions 1 and 2 tell which packets still carry an id
//! that the client made up.

use super::{Datagram, Segment};
use crate::flow::Addresses;
use crate::listener::Listener;
use crate::memory::Frame;
use crate::target_id::TargetId;

const LONG_HEADER: u8 = 0x80;
/// RFC 9000.
const VERSION_1: u32 = 1;
/// RFC 9369.
const VERSION_2: u32 = 0x6b33_43cf;
/// The first three bits of a connection id that its server wants routed by addresses and ports.
const UNROUTABLE: u8 = 0b1110_0000;
/// Bytes of a connection id up to the end of the server id.
const ROUTABLE: usize = 9;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// The eight bytes by which a target is named in the connection ids that it gives out, as they are on the wire.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId(pub u64);

impl ServerId {
    /// From the bytes in the order of the wire.
    pub const fn new(bytes: [u8; 8]) -> ServerId {
        ServerId(u64::from_ne_bytes(bytes))
    }
}

/// Whose connection id a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An Initial packet: the client's first have an id that it made up, those after the server's first answer
    /// have the server's.
    Initial,
    /// A 0-RTT packet: its id is the client's invention, as that of the Initial packet that it follows.
    EarlyData,
    /// Any other, of which the server has chosen the id; and what is no QUIC at all.
    Other,
}

/// What the choice of a target needs of a QUIC packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quic {
    /// Whose id it carries.
    pub phase: Phase,
    /// The server id at its place, if the connection id is long enough and not marked as unroutable. Random
    /// bytes (of clients, or of what is no QUIC) are taken for one too: they name no target.
    pub server_id: Option<ServerId>,
}

/// How a packet's target is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is named.
    Target(TargetId),
    /// By the table and, in changed slots, the flow table, as a packet of this kind.
    Table(Segment),
}

/// Reads the QUIC packet at the start of the UDP payload of `datagram`, of which the headers are known to be
/// whole. What is no QUIC packet is one of [`Phase::Other`] without a server id.
#[inline(always)]
pub fn quic<A: Addresses>(frame: Frame<'_>, datagram: &Datagram<A>) -> Quic {
    let start = datagram.payload + UDP_HEADER;
    let length = (datagram.length as usize).saturating_sub(start - datagram.offset);
    read(frame, start, length).unwrap_or(Quic { phase: Phase::Other, server_id: None })
}

#[inline(always)]
fn read(frame: Frame<'_>, start: usize, length: usize) -> Option<Quic> {
    if length < 1 + ROUTABLE {
        return None;
    }
    let short = frame.view::<{ 1 + ROUTABLE }>(start)?;
    if short.u8::<0>() & LONG_HEADER == 0 {
        let server_id = server_id(short.u8::<1>(), short.raw64::<2>());
        return Some(Quic { phase: Phase::Other, server_id });
    }
    if length < 6 + ROUTABLE {
        return None;
    }
    let long = frame.view::<{ 6 + ROUTABLE }>(start)?;
    let id_length = long.u8::<5>() as usize;
    let is_routable = id_length >= ROUTABLE && 6 + id_length <= length;
    let server_id = if is_routable { server_id(long.u8::<6>(), long.raw64::<7>()) } else { None };
    Some(Quic { phase: phase(long.u8::<0>(), u32::from_be(long.raw32::<1>())), server_id })
}

#[inline(always)]
fn server_id(first: u8, id: u64) -> Option<ServerId> {
    if first & UNROUTABLE == UNROUTABLE { None } else { Some(ServerId(id)) }
}

/// The types of long headers: RFC 9000, 17.2, and RFC 9369, 3.2.
#[inline(always)]
fn phase(first: u8, version: u32) -> Phase {
    match (version, first >> 4 & 3) {
        (VERSION_1, 0) | (VERSION_2, 1) => Phase::Initial,
        (VERSION_1, 1) | (VERSION_2, 2) => Phase::EarlyData,
        _ => Phase::Other,
    }
}

impl Quic {
    /// How the packet's target is found, if its server id names the living target `named`, for a listener that
    /// tracks flows by `tracking`.
    ///
    /// Initial and 0-RTT packets go by the table even if they name a target, so that who opens a connection
    /// can't aim at one. An Initial packet that names none is the client's first: like a SYN it goes to a changed
    /// slot's current target, so that a draining one gets no new connections. Where all flows are tracked it is
    /// a datagram like others.
    #[inline(always)]
    pub fn route(self, named: Option<TargetId>, tracking: u32) -> Route {
        match (self.phase, named) {
            (Phase::Other, Some(target)) => Route::Target(target),
            (Phase::Initial, None) if tracking == Listener::TRACK_CHANGED => Route::Table(Segment::Opening),
            _ => Route::Table(Segment::Ageless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Ipv4Addresses;

    const ID: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    const KNOWN: Option<ServerId> = Some(ServerId::new(ID));

    /// A connection id that names [`ID`], with a nonce of `nonce` bytes.
    fn connection_id(first: u8, nonce: usize) -> Vec<u8> {
        [&[first][..], &ID, &vec![0xaa; nonce]].concat()
    }

    fn long(first: u8, version: u32, id: &[u8]) -> Vec<u8> {
        let length = u8::try_from(id.len()).unwrap();
        [&[first][..], &version.to_be_bytes(), &[length], id, &[4, 9, 9, 9, 9], &[0x55; 20]].concat()
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40][..], id, &[0x55; 20]].concat()
    }

    /// Parses a UDP payload behind 42 bytes of headers and before six of padding.
    fn parse(payload: &[u8]) -> Quic {
        let frame = [&[0; 42][..], payload, &ID[..6]].concat();
        let datagram = Datagram {
            addresses: Ipv4Addresses { both: 0 },
            protocol: 17,
            traffic_class: 0,
            length: (28 + payload.len()) as u16,
            offset: 14,
            payload: 34,
        };
        quic(Frame::new(&frame), &datagram)
    }

    #[test]
    fn a_short_headers_id_begins_at_its_second_byte() {
        for nonce in [0, 4, 11] {
            let expected = Quic { phase: Phase::Other, server_id: KNOWN };
            assert_eq!(parse(&short(&connection_id(0x0c, nonce))), expected, "nonce of {nonce}");
        }
    }

    #[test]
    fn a_long_headers_id_is_found_in_every_version() {
        let phases = [
            (VERSION_1, [Phase::Initial, Phase::EarlyData, Phase::Other, Phase::Other]),
            (VERSION_2, [Phase::Other, Phase::Initial, Phase::EarlyData, Phase::Other]),
            (0, [Phase::Other; 4]),
            (0x1a2a_3a4a, [Phase::Other; 4]),
            (0xff00_001d, [Phase::Other; 4]),
        ];
        for (version, phases) in phases {
            for (kind, phase) in (0..4u8).zip(phases) {
                let packet = long(0xc0 | kind << 4, version, &connection_id(0x0c, 4));
                assert_eq!(parse(&packet), Quic { phase, server_id: KNOWN }, "{version:#x} type {kind}");
            }
        }
    }

    #[test]
    fn the_fixed_bit_and_the_lengths_in_the_id_say_nothing() {
        for first in [0x00, 0x20, 0x40, 0x7f] {
            let packet = [&[first][..], &connection_id(0x1f, 4)].concat();
            assert_eq!(parse(&packet).server_id, KNOWN, "{first:#x}");
        }
        assert_eq!(parse(&long(0x80, VERSION_1, &connection_id(0, 11))).server_id, KNOWN);
        assert_eq!(parse(&long(0x80, VERSION_1, &connection_id(0, 11))).phase, Phase::Initial);
    }

    #[test]
    fn every_rotation_but_the_last_is_routable() {
        for rotation in 0..8u8 {
            let id = connection_id(rotation << 5 | 12, 4);
            let expected = if rotation == 7 { None } else { KNOWN };
            assert_eq!(parse(&short(&id)).server_id, expected, "rotation {rotation}");
            assert_eq!(parse(&long(0xe0, VERSION_1, &id)).server_id, expected, "rotation {rotation}");
        }
    }

    #[test]
    fn an_id_that_is_too_short_names_nobody() {
        for length in 0..ROUTABLE {
            let packet = long(0xe0, VERSION_1, &connection_id(0, 0)[..length]);
            assert_eq!(parse(&packet), Quic { phase: Phase::Other, server_id: None }, "{length} bytes");
        }
        assert_eq!(parse(&long(0xc0, VERSION_1, &[7; 8])), Quic { phase: Phase::Initial, server_id: None });
        assert_eq!(parse(&long(0xe0, VERSION_1, &connection_id(0, 0))).server_id, KNOWN);
    }

    #[test]
    fn ids_up_to_255_bytes_are_invariant() {
        let packet = long(0xe0, 0x1a2a_3a4a, &connection_id(0, 246));
        assert_eq!(parse(&packet).server_id, KNOWN);
    }

    #[test]
    fn no_truncation_is_read_beyond_its_end() {
        let (short, long) = (short(&connection_id(0, 4)), long(0xe0, VERSION_1, &connection_id(0, 4)));
        for length in 0..short.len() {
            let expected = if length < 10 { None } else { KNOWN };
            assert_eq!(parse(&short[..length]).server_id, expected, "short, {length} bytes");
        }
        for length in 0..long.len() {
            let expected = if length < 6 + 13 { None } else { KNOWN };
            assert_eq!(parse(&long[..length]).server_id, expected, "long, {length} bytes");
        }
    }

    #[test]
    fn only_packets_with_a_servers_id_go_to_the_target_that_they_name() {
        let target = TargetId(7);
        let route = |phase, named, tracking| Quic { phase, server_id: None }.route(named, tracking);
        let ageless = Route::Table(Segment::Ageless);
        for tracking in [Listener::TRACK_CHANGED, Listener::TRACK_ALWAYS, Listener::TRACK_NEVER] {
            assert_eq!(route(Phase::Other, Some(target), tracking), Route::Target(target));
            assert_eq!(route(Phase::Other, None, tracking), ageless);
            assert_eq!(route(Phase::Initial, Some(target), tracking), ageless);
            assert_eq!(route(Phase::EarlyData, Some(target), tracking), ageless);
            assert_eq!(route(Phase::EarlyData, None, tracking), ageless);
        }
        let opening = Route::Table(Segment::Opening);
        assert_eq!(route(Phase::Initial, None, Listener::TRACK_CHANGED), opening);
        assert_eq!(route(Phase::Initial, None, Listener::TRACK_ALWAYS), ageless);
        assert_eq!(route(Phase::Initial, None, Listener::TRACK_NEVER), ageless);
    }

    proptest::proptest! {
        #[test]
        fn random_payloads_never_crash_the_parser(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse(&payload);
        }
    }
}
