//! What goes wrong with a frame: bits, bytes, cuts, insertions, lengths that lie.

use fastrand::Rng;

/// All headers of most frames end within so many bytes.
const REACH: usize = 100;
/// Bytes of an Ethernet header without tags.
const ETHERNET: usize = 14;
/// Bytes that mean something in some header.
const BYTES: [u8; 16] = [0, 1, 4, 5, 6, 8, 17, 41, 43, 44, 51, 58, 60, 0x7f, 0x80, 0xff];

/// One change.
pub(super) fn mutate(random: &mut Rng, frame: &mut Vec<u8>) {
    let at = place(random, frame.len());
    match random.u8(..16) {
        0..=3 => frame[at] ^= 1 << random.u8(..8),
        4 | 5 => frame[at] = BYTES[random.usize(..BYTES.len())],
        6 => frame[at] = random.u8(..),
        7 | 8 => frame.truncate(at.max(super::frames::SHORTEST)),
        9 => frame.extend((0..random.usize(1..40)).map(|_| 0xa5)),
        10 => insert(random, frame, at),
        11 => drop(frame.drain(at..(at + random.usize(1..=8)).min(frame.len()))),
        12 => swap(random, frame, at),
        13 => mutate_header_length(random, frame),
        _ => mutate_length(random, frame),
    }
    frame.resize(frame.len().max(super::frames::SHORTEST), 0);
}

/// Where: mostly in the headers, which is where the decisions are, and seldom in Ethernet's, where they are few.
fn place(random: &mut Rng, length: usize) -> usize {
    let from = if random.u8(..8) > 0 { ETHERNET.min(length - 1) } else { 0 };
    let to = if random.u8(..4) > 0 { REACH.min(length) } else { length };
    random.usize(from..to)
}

fn insert(random: &mut Rng, frame: &mut Vec<u8>, at: usize) {
    let length = [1, 4, 4, 8, 8][random.usize(..5)];
    let byte = BYTES[random.usize(..BYTES.len())];
    frame.splice(at..at, std::iter::repeat_n(byte, length));
}

/// Two stretches of the frame change places, as source and destination do in an answer.
fn swap(random: &mut Rng, frame: &mut [u8], at: usize) {
    let length = [1, 2, 4, 6, 16][random.usize(..5)];
    if let Some(both) = frame.get_mut(at..at + 2 * length) {
        both.rotate_left(length);
    }
}

/// Where the IP header is, if the frame has no tag, and its version.
fn ip_at(frame: &[u8]) -> (usize, u8) {
    let at = match frame.get(12..14) {
        Some([0x81, 0x00] | [0x88, 0xa8]) => 18,
        _ => 14,
    };
    (at, frame.get(at).map_or(0, |byte| byte >> 4))
}

/// The IP packet announces a few bytes more or less than it has, or another number.
fn mutate_length(random: &mut Rng, frame: &mut [u8]) {
    let (at, version) = ip_at(frame);
    let field = if version == 4 { at + 2 } else { at + 4 };
    let Some(length) = frame.get_mut(field..field + 2) else { return };
    let old = u16::from_be_bytes([length[0], length[1]]);
    let new = match random.u8(..4) {
        0 => random.u16(..100),
        1 => [0, 7, 8, 19, 20, 21, 27, 28, 39, 40, 41, 0x7fff, 0xffd7, 0xffd8, 0xffff][random.usize(..15)],
        _ => old.wrapping_add(random.u16(..64)).wrapping_sub(32),
    };
    length.copy_from_slice(&new.to_be_bytes());
}

/// The IPv4 header's length, or the first IPv6 extension's.
fn mutate_header_length(random: &mut Rng, frame: &mut [u8]) {
    let (at, version) = ip_at(frame);
    if version == 4 {
        frame[at] = 0x40 | random.u8(..16);
    } else if let Some(units) = frame.get_mut(at + 41) {
        *units = random.u8(..);
    }
}
