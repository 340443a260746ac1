//! Random QUIC packets: most of them name a target, or would but for one thing.

use fastrand::Rng;

use super::world;
use crate::model::ServerId;

/// Version negotiation (RFC 8999, 6), 1 (RFC 9000), 2 (RFC 9369), and nobody's.
const VERSIONS: [u32; 8] = [0, 1, 1, 1, 0x6b33_43cf, 0x6b33_43cf, 0x6b33_43ce, 0x1a2a_3a4a];

/// A UDP payload.
pub(super) fn payload(random: &mut Rng) -> Vec<u8> {
    let id = connection_id(random);
    let mut packet = if random.bool() { short(random, &id) } else { long(random, &id) };
    // Now and then more than a first buffer holds.
    let more = if random.u8(..24) == 0 { random.usize(..8000) } else { random.usize(..40) };
    packet.extend(std::iter::repeat_n(random.u8(..), more));
    if random.u8(..8) == 0 {
        packet.truncate(random.usize(..packet.len().min(30)));
    }
    packet
}

fn short(random: &mut Rng, id: &[u8]) -> Vec<u8> {
    [&[random.u8(..0x80)][..], id].concat()
}

fn long(random: &mut Rng, id: &[u8]) -> Vec<u8> {
    let version = VERSIONS[random.usize(..VERSIONS.len())].to_be_bytes();
    let length = match random.u8(..12) {
        0 => random.u8(..),
        1 => random.u8(7..=11),
        _ => id.len() as u8,
    };
    [&[random.u8(0x80..)][..], &version, &[length], id].concat()
}

/// First byte, server id and nonce; now and then another length, as clients choose it.
fn connection_id(random: &mut Rng) -> Vec<u8> {
    let rotation = if random.u8(..8) == 0 { 7 } else { random.u8(..7) };
    let mut id = vec![rotation << 5 | random.u8(..0x20)];
    id.extend(server_id(random));
    id.extend(std::iter::repeat_with(|| random.u8(..)).take(11));
    id.truncate(if random.u8(..6) == 0 { random.usize(..9) } else { random.usize(9..=20) });
    id
}

/// One that may name a target, the same but for a bit, or any.
fn server_id(random: &mut Rng) -> ServerId {
    let mut id = world::server_id(random);
    match random.u8(..12) {
        0 => id[random.usize(..8)] ^= 1 << random.u8(..8),
        1 => id = random.u64(..).to_be_bytes(),
        _ => {}
    }
    id
}
