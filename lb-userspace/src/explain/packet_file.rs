//! Packets out of a capture file: pcap (both byte orders, micro- and nanoseconds) and pcapng.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::question::{Bytes, Packet};

const LINKTYPE_ETHERNET: u32 = 1;
const LINKTYPE_RAW: u32 = 101;
const LINKTYPE_LINUX_SLL: u32 = 113;
const LINKTYPE_IPV4: u32 = 228;
const LINKTYPE_IPV6: u32 = 229;
const LINKTYPE_LINUX_SLL2: u32 = 276;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// All packets of the file, in its order.
///
/// # Errors
/// If it can't be read, is no capture file, or was not captured from Ethernet or IP.
pub fn read(path: &Path) -> Result<Vec<Packet>> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: can't be read", path.display()))?;
    parse(&bytes).with_context(|| format!("{}: is no good capture file", path.display()))
}

/// As [`read`], of a file's content.
///
/// # Errors
/// If it is no capture file, ends inside a packet, or was not captured from Ethernet or IP.
pub fn parse(bytes: &[u8]) -> Result<Vec<Packet>> {
    let magic: [u8; 4] = bytes.get(..4).context("it is shorter than any header")?.try_into()?;
    match u32::from_le_bytes(magic) {
        SECTION_HEADER => parse_pcapng(bytes),
        0xa1b2_c3d4 | 0xa1b2_3c4d => parse_pcap(bytes, Order::Little),
        0xd4c3_b2a1 | 0x4d3c_b2a1 => parse_pcap(bytes, Order::Big),
        _ => bail!("it begins neither as pcap nor as pcapng; `tcpdump -w` writes one that does"),
    }
}

/// The byte order in which a file's numbers are.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> Result<u32> {
        let word: [u8; 4] = bytes.get(at..at + 4).context("it ends inside a header")?.try_into()?;
        Ok(match self {
            Order::Little => u32::from_le_bytes(word),
            Order::Big => u32::from_be_bytes(word),
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Result<u16> {
        let word: [u8; 2] = bytes.get(at..at + 2).context("it ends inside a header")?.try_into()?;
        Ok(match self {
            Order::Little => u16::from_le_bytes(word),
            Order::Big => u16::from_be_bytes(word),
        })
    }
}

fn parse_pcap(bytes: &[u8], order: Order) -> Result<Vec<Packet>> {
    // The upper bits say something of frame check sequences.
    let link = order.u32(bytes, 20)? & 0xffff;
    let mut packets = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let captured = order.u32(bytes, at + 8)? as usize;
        let whole = order.u32(bytes, at + 12)? as usize;
        let data = slice(bytes, at + 16, captured)?;
        packets.push(packet(link, data, whole).with_context(|| format!("packet {}", packets.len() + 1))?);
        at += 16 + captured;
    }
    Ok(packets)
}

fn parse_pcapng(bytes: &[u8]) -> Result<Vec<Packet>> {
    let mut order = Order::Little;
    let mut links = Vec::new();
    let mut packets = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // A section header's type is the same in both orders.
        let kind = order.u32(bytes, at)?;
        if kind == SECTION_HEADER {
            order = byte_order(bytes, at)?;
            links.clear();
        }
        let length = order.u32(bytes, at + 4)? as usize;
        ensure!(
            length >= 12 && length.is_multiple_of(4),
            "a block is {length} bytes long, which none can be"
        );
        let block = slice(bytes, at, length)?;
        match kind {
            INTERFACE_DESCRIPTION => links.push(u32::from(order.u16(block, 8)?)),
            ENHANCED_PACKET => {
                let link = *links
                    .get(order.u32(block, 8)? as usize)
                    .context("a packet names an interface that is not described")?;
                let captured = order.u32(block, 20)? as usize;
                let whole = order.u32(block, 24)? as usize;
                let data = slice(block, 28, captured)?;
                packets.push(
                    packet(link, data, whole).with_context(|| format!("packet {}", packets.len() + 1))?,
                );
            }
            SIMPLE_PACKET => {
                let link = *links.first().context("a packet comes before its interface")?;
                let whole = order.u32(block, 8)? as usize;
                let data = slice(block, 12, whole.min(length - 16))?;
                packets.push(
                    packet(link, data, whole).with_context(|| format!("packet {}", packets.len() + 1))?,
                );
            }
            _ => {}
        }
        at += length;
    }
    Ok(packets)
}

fn byte_order(bytes: &[u8], at: usize) -> Result<Order> {
    match Order::Little.u32(bytes, at + 8)? {
        0x1a2b_3c4d => Ok(Order::Little),
        0x4d3c_2b1a => Ok(Order::Big),
        _ => bail!("a section header has no byte-order mark"),
    }
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    let end = at.checked_add(length).context("a length is beyond all files")?;
    bytes.get(at..end).context("it ends inside a packet")
}

/// A packet as its link type has it. What was cut off when it was captured is filled with zeros: the balancer
/// looks at headers and lengths only.
fn packet(link: u32, data: &[u8], whole: usize) -> Result<Packet> {
    ensure!(whole <= 1 << 16, "it was {whole} bytes long, which no packet is");
    let mut data = data.to_vec();
    data.resize(whole.max(data.len()), 0);
    let mut ip = |header: usize| -> Result<Packet> {
        ensure!(data.len() >= header, "it ends inside its link-layer header");
        Ok(Packet::Ip(Bytes(data.split_off(header))))
    };
    match link {
        LINKTYPE_ETHERNET => Ok(Packet::Frame(Bytes(data))),
        LINKTYPE_RAW | LINKTYPE_IPV4 | LINKTYPE_IPV6 => ip(0),
        LINKTYPE_LINUX_SLL => ip(16),
        LINKTYPE_LINUX_SLL2 => ip(20),
        other => bail!("it was captured from a link of type {other}; Ethernet, raw IP and `any` are known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32], order: Order) -> Vec<u8> {
        let bytes = |word: &u32| match order {
            Order::Little => word.to_le_bytes(),
            Order::Big => word.to_be_bytes(),
        };
        words.iter().flat_map(bytes).collect()
    }

    fn pcap(order: Order, link: u32) -> Vec<u8> {
        let header = words(&[0xa1b2_c3d4, 0x0002_0004, 0, 0, 0xffff, link, 1, 2, 5, 7], order);
        [&header[..], b"abcde"].concat()
    }

    fn pcapng(order: Order) -> Vec<u8> {
        let mut interface = words(&[1, 20, 0, 0, 20], order);
        interface[8..10].copy_from_slice(&match order {
            Order::Little => 101u16.to_le_bytes(),
            Order::Big => 101u16.to_be_bytes(),
        });
        [
            words(&[SECTION_HEADER, 28, 0x1a2b_3c4d, 1, !0, !0, 28], order),
            interface,
            words(&[6, 36, 0, 0, 0, 3, 3], order),
            b"xyz\0".to_vec(),
            words(&[36], order),
            words(&[0x0bad, 12, 12], order),
        ]
        .concat()
    }

    #[test]
    fn packets_come_out_of_both_formats_in_both_byte_orders() {
        for order in [Order::Little, Order::Big] {
            let frame = Packet::Frame(Bytes(b"abcde\0\0".to_vec()));
            assert_eq!(parse(&pcap(order, 1)).unwrap(), [frame]);
            assert_eq!(parse(&pcapng(order)).unwrap(), [Packet::Ip(Bytes(b"xyz".to_vec()))]);
        }
    }

    #[test]
    fn what_is_cut_or_strange_is_an_error_and_never_a_panic() {
        for whole in
            [pcap(Order::Little, 1), pcap(Order::Big, 113), pcapng(Order::Little), pcapng(Order::Big)]
        {
            for length in 0..whole.len() {
                let _ = parse(&whole[..length]);
                for bit in 0..8 {
                    let mut flipped = whole.clone();
                    flipped[length] ^= 1 << bit;
                    let _ = parse(&flipped);
                }
            }
        }
        assert!(parse(b"hello world").unwrap_err().to_string().contains("tcpdump -w"));
        let error = parse(&pcap(Order::Little, 105)).unwrap_err();
        assert!(format!("{error:#}").contains("link of type 105"), "{error:#}");
    }
}
