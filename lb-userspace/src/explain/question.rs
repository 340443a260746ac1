//! What is asked: packets as JSON.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Packets to explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// The name of the interface that they come in by; the node's first one if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The packets, at most [`MOST_PACKETS`].
    pub packets: Vec<Packet>,
}

/// Packets of one question: so many keep the controller for less than 10 ms.
pub const MOST_PACKETS: usize = 128;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packet {
    /// A frame from its Ethernet header on.
    Frame(Bytes),
    /// A packet from its IP header on; it gets an Ethernet header for the interface.
    Ip(Bytes),
}

/// Bytes, in JSON as two hexadecimal digits each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        hexadecimal(&bytes.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Bytes, String> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(Bytes(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
            }
            _ => Err("a packet is written as two hexadecimal digits a byte".to_owned()),
        }
    }
}

/// Two digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_survive_their_journey_as_json() {
        let asked = Packets {
            interface: Some("eth0".to_owned()),
            packets: vec![Packet::Frame(Bytes(vec![0, 0xff, 0x1a])), Packet::Ip(Bytes(Vec::new()))],
        };
        let json = serde_json::to_string(&asked).unwrap();
        assert!(json.contains(r#"{"frame":"00ff1a"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Packets>(&json).unwrap(), asked);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for text in ["abc", "zz", "ä0", "+1"] {
            let json = format!(r#"{{"packets":[{{"ip":"{text}"}}]}}"#);
            assert!(serde_json::from_str::<Packets>(&json).is_err(), "{json}");
        }
    }
}
