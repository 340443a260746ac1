//! The bytes of an entry in a file: they say themselves what they are and whether they are whole, so that they are found
//! and trusted even where nothing around them can be.
//!
//! ```text
//!   ┌──────────────┬────────────┬──────────────────┬────────────────────────────────────────────┐
//!   │ "SLUICE\0\1" │ length u32 │ checksum 16 byte │ {"key":…,"generation":…,"value":…}         │
//!   └──────────────┴────────────┴──────────────────┴────────────────────────────────────────────┘
//!     8 bytes        of the JSON, little-endian; the checksum is SHA-256's first half over length and JSON
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

const MAGIC: [u8; 8] = *b"SLUICE\0\x01";
const CHECKSUM: usize = 16;
const HEADER: usize = MAGIC.len() + 4 + CHECKSUM;

/// An entry with the generation that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frame {
    /// The entry's key.
    pub(super) key: String,
    /// The generation of the state that it was written with.
    pub(super) generation: u64,
    /// The entry.
    pub(super) value: Value,
}

/// Bytes that are no whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Damaged {
    /// There are fewer or more of them than the frame has.
    #[error("it is cut off")]
    Length,
    /// They are not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// They are what was written, but that is not understood.
    #[error("it is not understood")]
    Content,
}

impl Frame {
    /// The frame's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("values have string keys and no failing serializer");
        let length = u32::try_from(json.len()).expect("an entry is far smaller than 4 GiB").to_le_bytes();
        [&MAGIC[..], &length, &checksum(length, &json), &json].concat()
    }

    /// The frame that `bytes` are, all of them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Frame, Damaged> {
        let (frame, length) = Frame::decode_first(bytes)?;
        if length == bytes.len() { Ok(frame) } else { Err(Damaged::Length) }
    }

    /// The frame that `bytes` begin with, and its length.
    fn decode_first(bytes: &[u8]) -> Result<(Frame, usize), Damaged> {
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(Damaged::Length)?;
        let (magic, header) = header.split_at(MAGIC.len());
        let (length, sum) = header.split_at(4);
        if magic != MAGIC {
            return Err(Damaged::Checksum);
        }
        let length: [u8; 4] = length.try_into().expect("split at 4");
        let bytes = usize::try_from(u32::from_le_bytes(length)).map_err(|_| Damaged::Length)?;
        let json = rest.get(..bytes).ok_or(Damaged::Length)?;
        if sum != checksum(length, json) {
            return Err(Damaged::Checksum);
        }
        let frame = serde_json::from_slice(json).map_err(|_| Damaged::Content)?;
        Ok((frame, HEADER + bytes))
    }

    /// All whole frames within `bytes`, whatever is between them.
    pub(super) fn scan(bytes: &[u8]) -> impl Iterator<Item = Frame> {
        let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&MAGIC));
        starts.filter_map(|at| Frame::decode_first(&bytes[at..]).ok().map(|(frame, _)| frame))
    }
}

fn checksum(length: [u8; 4], json: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(length).chain_update(json).finalize();
    hash[..CHECKSUM].try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(key: &str) -> Frame {
        Frame { key: key.to_owned(), generation: 7, value: serde_json::json!({ "port": 80, "name": "ü" }) }
    }

    #[test]
    fn frames_come_back() {
        assert_eq!(Frame::decode(&frame("a").encode()), Ok(frame("a")));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_seen() {
        let bytes = frame("a").encode();
        for end in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..end]).is_err(), "{end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&flipped).is_err(), "{bit}");
        }
        assert_eq!(Frame::decode(&[&bytes[..], b"x"].concat()), Err(Damaged::Length));
    }

    #[test]
    fn whole_frames_are_found_among_rubbish() {
        let (a, b) = (frame("a").encode(), frame("b").encode());
        let bytes = [b"SLUICE\0", &a[..], &a[..40], b"\0\0\0", &b[..], b"SLUICE\0\x01"].concat();
        assert_eq!(Frame::scan(&bytes).collect::<Vec<_>>(), [frame("a"), frame("b")]);
    }
}
