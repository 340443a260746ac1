//! Two frames side by side: which bytes differ, and which fields they are.

use std::fmt::Write;

/// One line for each field that differs, and both frames in hex; empty if they are equal.
pub fn difference(expected: &[u8], actual: &[u8]) -> String {
    if expected == actual {
        return String::new();
    }
    let mut text = String::new();
    if expected.len() != actual.len() {
        line(&mut text, format_args!("{} bytes expected, got {}", expected.len(), actual.len()));
    }
    for (start, length, name) in fields(expected) {
        let (one, other) = (part(expected, start, length), part(actual, start, length));
        if one != other {
            line(&mut text, format_args!("{start:>4} {name}: expected {}, got {}", hex(one), hex(other)));
        }
    }
    line(&mut text, format_args!("expected {}", hex(expected)));
    line(&mut text, format_args!("got      {}", hex(actual)));
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "  {words}").expect("a string takes every line");
}

fn part(bytes: &[u8], start: usize, length: usize) -> &[u8] {
    &bytes[start.min(bytes.len())..(start + length).min(bytes.len())]
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Field = (usize, usize, String);
type Layout = &'static [(usize, &'static str)];

const ETHERNET: Layout = &[(6, "destination MAC"), (6, "source MAC"), (2, "EtherType")];
const IPV4: Layout = &[
    (1, "IPv4 version and header length"),
    (1, "IPv4 type of service"),
    (2, "IPv4 total length"),
    (2, "IPv4 identification"),
    (2, "IPv4 flags and fragment offset"),
    (1, "IPv4 time to live"),
    (1, "IPv4 protocol"),
    (2, "IPv4 header checksum"),
    (4, "IPv4 source"),
    (4, "IPv4 destination"),
];
const IPV6: Layout = &[
    (4, "IPv6 version, traffic class and flow label"),
    (2, "IPv6 payload length"),
    (1, "IPv6 next header"),
    (1, "IPv6 hop limit"),
    (16, "IPv6 source"),
    (16, "IPv6 destination"),
];
const UDP: Layout =
    &[(2, "UDP source port"), (2, "UDP destination port"), (2, "UDP length"), (2, "UDP checksum")];
const GUE: Layout = &[(1, "GUE version"), (1, "GUE protocol"), (2, "GUE flags")];

/// Start, length and name of each field, as far as the headers are known; the rest is one field.
fn fields(frame: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut at = take(&mut fields, 0, ETHERNET);
    let ethertype = part(frame, 12, 2);
    let mut next = match ethertype {
        [0x08, 0x00] => 4,
        [0x86, 0xdd] => 41,
        _ => 0,
    };
    while at < frame.len() {
        let protocol_at = if next == 4 { at + 9 } else { at + 6 };
        let protocol = frame.get(protocol_at).copied().unwrap_or(0);
        next = match next {
            4 => {
                at = take(&mut fields, at, IPV4);
                protocol
            }
            41 => {
                at = take(&mut fields, at, IPV6);
                protocol
            }
            17 if part(frame, at + 2, 2) == 6080u16.to_be_bytes() => {
                at = take(&mut fields, at, UDP);
                // The first half byte is the inner version of IP in GUE's version 1.
                match part(frame, at, 2) {
                    [first, _] if first >> 4 == 4 => 4,
                    [first, _] if first >> 4 == 6 => 41,
                    [words, protocol] => {
                        let private = 4 * usize::from(words & 0x1f);
                        at = take(&mut fields, at, GUE) + private;
                        fields.push((at - private, private, "GUE private data".into()));
                        *protocol
                    }
                    _ => 0,
                }
            }
            _ => {
                fields.push((at, frame.len() - at, "the rest".into()));
                return fields;
            }
        };
    }
    fields
}

fn take(fields: &mut Vec<Field>, mut at: usize, layout: Layout) -> usize {
    for (length, name) in layout {
        fields.push((at, *length, (*name).into()));
        at += length;
    }
    at
}
