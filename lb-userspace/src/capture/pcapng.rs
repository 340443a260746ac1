//! pcapng (draft-ietf-opsawg-pcapng), as much of it as a capture needs: sections, interfaces, packets with
//! comments, and the interface's statistics at the end. Little-endian.

use std::collections::BTreeMap;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const OPTION_COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const STATISTICS_DROPPED: u16 = 5;

/// Which way a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came.
    In = 1,
    /// It left.
    Out = 2,
}

/// One packet of a capture.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The index of the interface.
    pub interface: u32,
    /// Which way it went.
    pub direction: Direction,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The bytes that were kept.
    pub bytes: &'a [u8],
    /// How many bytes it had.
    pub length: u32,
    /// What is said of it.
    pub comment: &'a str,
}

/// Writes blocks; interfaces are described before their first packet.
#[derive(Debug, Default)]
pub struct Writer {
    interfaces: BTreeMap<u32, u32>,
}

impl Writer {
    /// The begin of a file.
    pub fn header(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend(1u16.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, SECTION_APPLICATION, concat!("sluice ", env!("CARGO_PKG_VERSION")).as_bytes());
        end_of_options(&mut body);
        block(SECTION_HEADER, &body)
    }

    /// A packet, behind the description of its interface if that is new; `name` tells an interface's name.
    pub fn packet(&mut self, packet: &Packet<'_>, name: impl Fn(u32) -> String) -> Vec<u8> {
        let mut blocks = Vec::new();
        let next = self.interfaces.len() as u32;
        let number = *self.interfaces.entry(packet.interface).or_insert_with(|| {
            blocks = interface(&name(packet.interface));
            next
        });
        let mut body = Vec::with_capacity(packet.bytes.len() + 256);
        body.extend(number.to_le_bytes());
        body.extend(((packet.time >> 32) as u32).to_le_bytes());
        body.extend((packet.time as u32).to_le_bytes());
        body.extend((packet.bytes.len() as u32).to_le_bytes());
        body.extend(packet.length.to_le_bytes());
        body.extend(packet.bytes);
        pad(&mut body);
        option(&mut body, PACKET_FLAGS, &(packet.direction as u32).to_le_bytes());
        option(&mut body, OPTION_COMMENT, packet.comment.as_bytes());
        end_of_options(&mut body);
        blocks.extend(block(ENHANCED_PACKET, &body));
        blocks
    }

    /// The end of a capture: how many packets were lost. A file without any interface has none to say it of.
    pub fn statistics(&self, time: u64, lost: u64) -> Vec<u8> {
        if self.interfaces.is_empty() {
            return Vec::new();
        }
        let mut body = Vec::new();
        body.extend(0u32.to_le_bytes());
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        option(&mut body, STATISTICS_DROPPED, &lost.to_le_bytes());
        end_of_options(&mut body);
        block(INTERFACE_STATISTICS, &body)
    }
}

fn interface(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    // LINKTYPE_ETHERNET, and no limit of its own.
    body.extend(1u16.to_le_bytes());
    body.extend([0; 2]);
    body.extend([0; 4]);
    option(&mut body, INTERFACE_NAME, name.as_bytes());
    option(&mut body, INTERFACE_RESOLUTION, &[9]);
    end_of_options(&mut body);
    block(INTERFACE_DESCRIPTION, &body)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

/// The direction that a block says, if it is a packet's.
pub(super) fn direction(block: &[u8]) -> Option<Direction> {
    let kind = u32::from_le_bytes(block.get(..4)?.try_into().ok()?);
    if kind != ENHANCED_PACKET {
        return None;
    }
    let captured = u32::from_le_bytes(block.get(20..24)?.try_into().ok()?) as usize;
    let at = 28 + captured.next_multiple_of(4) + 4;
    match block.get(at)? {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    }
}

/// The packets lost, if the block is an interface's statistics.
pub(super) fn lost(block: &[u8]) -> Option<u64> {
    let kind = u32::from_le_bytes(block.get(..4)?.try_into().ok()?);
    let count = u64::from_le_bytes(block.get(24..32)?.try_into().ok()?);
    (kind == INTERFACE_STATISTICS).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::packet_file;
    use crate::explain::question::{Bytes, Packet as Read};

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = Writer::default();
        let mut file = writer.header();
        for (interface, bytes) in [(7, &b"abcde"[..]), (9, b"fghi"), (7, b"")] {
            let packet = Packet {
                interface,
                direction: Direction::Out,
                time: 1 << 60 | 5,
                bytes,
                length: bytes.len() as u32 + 1,
                comment: "forwarded to 10.0.0.3",
            };
            let blocks = writer.packet(&packet, |index| format!("eth{index}"));
            file.extend(&blocks);
            assert_eq!(blocks.len() % 4, 0);
        }
        let end = writer.statistics(3, 42);
        assert_eq!(lost(&end), Some(42));
        file.extend(end);
        let frame = |bytes: &[u8]| Read::Frame(Bytes(bytes.to_vec()));
        assert_eq!(packet_file::parse(&file).unwrap(), [frame(b"abcde\0"), frame(b"fghi\0"), frame(b"\0")]);
    }

    #[test]
    fn a_packets_block_says_its_direction() {
        let packet =
            Packet { interface: 0, direction: Direction::In, time: 0, bytes: b"abc", length: 3, comment: "" };
        let mut writer = Writer::default();
        writer.packet(&packet, |_| String::new());
        let block = writer.packet(&packet, |_| String::new());
        assert_eq!(direction(&block), Some(Direction::In));
        assert_eq!(lost(&block), None);
    }
}
