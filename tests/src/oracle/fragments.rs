//! Frames cut into fragments, which then come in order, or not, or not all.

use fastrand::Rng;

/// IPv6's fragment header.
const HEADER: u8 = 44;

/// Fragments that are still to come.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<Vec<u8>>);

impl Parts {
    /// The next frame: one that `make` makes, or a fragment of such a one.
    pub(super) fn frame(&mut self, random: &mut Rng, make: impl FnOnce(&mut Rng) -> Vec<u8>) -> Vec<u8> {
        match random.u8(..16) {
            0 => {
                // Now and then as another one's datagram.
                let identification = if random.bool() { random.u32(..) } else { random.u32(..4) };
                let frame = make(random);
                let mut parts = cut(random, &frame, identification);
                let first = parts.remove(0);
                self.0.extend(parts);
                // And now and then without its beginning.
                if random.u8(..8) > 0 || self.0.is_empty() { first } else { self.next(random) }
            }
            1 | 2 if !self.0.is_empty() => self.next(random),
            _ => make(random),
        }
    }

    fn next(&mut self, random: &mut Rng) -> Vec<u8> {
        let at = if random.u8(..4) == 0 { random.usize(..self.0.len()) } else { 0 };
        let part = self.0.remove(at);
        if random.u8(..16) == 0 {
            self.0.push(part.clone());
        }
        part
    }
}

/// The fragments of a frame's packet in their order: one or more.
fn cut(random: &mut Rng, frame: &[u8], identification: u32) -> Vec<Vec<u8>> {
    let mut link = 14;
    while link <= 22 && matches!(frame.get(link - 2..link), Some([0x81, 0x00] | [0x88, 0xa8])) {
        link += 4;
    }
    match frame.get(link - 2..link) {
        Some([0x08, 0x00]) => ipv4(random, frame, link, identification as u16),
        Some([0x86, 0xdd]) => ipv6(random, frame, link, identification),
        _ => None,
    }
    .filter(|parts| !parts.is_empty())
    .unwrap_or_else(|| vec![frame.to_vec()])
}

fn ipv4(random: &mut Rng, frame: &[u8], link: usize, identification: u16) -> Option<Vec<Vec<u8>>> {
    let length = usize::from(u16::from_be_bytes([*frame.get(link + 2)?, *frame.get(link + 3)?]));
    let header = usize::from(frame.get(link)? & 15) * 4;
    let (link, packet) = (&frame[..link], frame.get(link..link + length)?);
    let (header, payload) = packet.split_at_checked(header)?;
    let dont_fragment = if random.u8(..4) == 0 { 0x4000 } else { 0 };
    let part = |(offset, bytes, more): (usize, &[u8], bool)| {
        let mut header = header.to_vec();
        let word = (offset / 8) as u16 | u16::from(more) << 13 | dont_fragment;
        let length = (header.len() + bytes.len()) as u16;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[6..8].copy_from_slice(&word.to_be_bytes());
        [link, &header, bytes].concat()
    };
    Some(pieces(random, payload).into_iter().map(part).collect())
}

fn ipv6(random: &mut Rng, frame: &[u8], link: usize, identification: u32) -> Option<Vec<Vec<u8>>> {
    let length = 40 + usize::from(u16::from_be_bytes([*frame.get(link + 4)?, *frame.get(link + 5)?]));
    let (link, packet) = (&frame[..link], frame.get(link..link + length)?);
    let (header, payload) = packet.split_at_checked(40)?;
    let part = |(offset, bytes, more): (usize, &[u8], bool)| {
        let mut header = header.to_vec();
        header[4..6].copy_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
        let mut fragment = vec![std::mem::replace(&mut header[6], HEADER), 0];
        fragment.extend((offset as u16 | u16::from(more)).to_be_bytes());
        fragment.extend(identification.to_be_bytes());
        [link, &header, &fragment, bytes].concat()
    };
    Some(pieces(random, payload).into_iter().map(part).collect())
}

/// Two to four pieces of a payload, all but the last a multiple of 8 bytes: offset, bytes, whether more follow.
fn pieces<'a>(random: &mut Rng, payload: &'a [u8]) -> Vec<(usize, &'a [u8], bool)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for _ in 0..random.usize(1..=3) {
        let rest = (payload.len() - at) / 8;
        let units = if at == 0 { [1, 2, 3, 4, 5, 9][random.usize(..6)] } else { random.usize(1..=9) };
        if rest <= units {
            break;
        }
        pieces.push((at, &payload[at..at + units * 8], true));
        at += units * 8;
    }
    pieces.push((at, &payload[at..], false));
    pieces
}
