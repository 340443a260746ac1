//! The protocol by which a node asks an agent for its connections: one question and one answer over TCP to port 6080
//! of the target. GUE's UDP port has the same number.
//!
//! ```text
//!   question   "SLC1" │ count (2) │ count × { VIP (16), port (2) }
//!   answer     "SLC1" │ status (1) │ 0 0 0 │ count (4) │ count × { client (16), port (2), VIP (16), port (2) }
//! ```
//!
//! Numbers are big-endian; IPv4 addresses are mapped into IPv6; a port is the target's own, and zero in a question is
//! every port of the VIP. A connection is one that a packet from its client could belong to: established or closing,
//! or half open. The agent answers its nodes only. What becomes of the connections is the node's business: the key by
//! which flows choose slots stays there.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The port, on the target's own address.
pub const PORT: u16 = lb_common::encapsulation::GUE_PORT;
/// Listeners that a question can have.
pub const MOST_LISTENERS: usize = 4096;
/// Connections that an answer can have: of 36 bytes each, so 18 MiB.
pub const MOST_CONNECTIONS: usize = 1 << 19;
/// Bytes of a question before its listeners.
pub const QUESTION_HEAD: usize = 6;
/// Bytes of a listener in a question.
pub const LISTENER: usize = 18;
/// Bytes of an answer before its connections.
pub const ANSWER_HEAD: usize = 12;
/// Bytes of a connection in an answer.
pub const CONNECTION: usize = 36;

const MAGIC: &[u8; 4] = b"SLC1";

/// A listener of whose connections a node wants to know: a VIP and a target's port, zero for any.
pub type Listener = (IpAddr, u16);

/// A connection as its host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The client.
    pub client: SocketAddr,
    /// The VIP and the target's port.
    pub local: SocketAddr,
}

/// How an agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With all that there are.
    Complete,
    /// There are more than [`MOST_CONNECTIONS`]; the answer has none.
    TooMany,
    /// The kernel did not tell; the answer has none.
    Failed,
}

/// Why bytes are no question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They begin otherwise.
    #[error("not a message of Sluice's agents")]
    Foreign,
    /// They are of a number that is not allowed.
    #[error("{0} entries are more than a message may have")]
    TooMany(usize),
    /// They have another length than they say.
    #[error("the message is cut short")]
    Length,
    /// Of an agent of another version.
    #[error("status {0} is unknown to this node")]
    Status(u8),
}

/// A question's bytes; it has the first [`MOST_LISTENERS`] of the listeners.
pub fn question(listeners: &[Listener]) -> Vec<u8> {
    let listeners = &listeners[..listeners.len().min(MOST_LISTENERS)];
    let mut bytes = MAGIC.to_vec();
    bytes.extend((listeners.len() as u16).to_be_bytes());
    for (vip, port) in listeners {
        bytes.extend(mapped(*vip));
        bytes.extend(port.to_be_bytes());
    }
    bytes
}

/// How many bytes of listeners follow a question's head.
///
/// # Errors
/// If it is none.
pub fn listeners_length(head: &[u8; QUESTION_HEAD]) -> Result<usize, Malformed> {
    if !head.starts_with(MAGIC) {
        return Err(Malformed::Foreign);
    }
    let count = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if count > MOST_LISTENERS { Err(Malformed::TooMany(count)) } else { Ok(count * LISTENER) }
}

/// The listeners of a question, from the bytes after its head.
pub fn listeners(bytes: &[u8]) -> Vec<Listener> {
    bytes.chunks_exact(LISTENER).map(|bytes| (address(&bytes[..16]), number(&bytes[16..]))).collect()
}

/// An answer's bytes.
pub fn answer(status: Status, connections: &[Connection]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([status as u8, 0, 0, 0]);
    bytes.extend((connections.len() as u32).to_be_bytes());
    for end in connections.iter().flat_map(|connection| [connection.client, connection.local]) {
        bytes.extend(mapped(end.ip()));
        bytes.extend(end.port().to_be_bytes());
    }
    bytes
}

/// The status of an answer, and how many bytes of connections follow its head.
///
/// # Errors
/// If it is none.
pub fn connections_length(head: &[u8; ANSWER_HEAD]) -> Result<(Status, usize), Malformed> {
    if !head.starts_with(MAGIC) {
        return Err(Malformed::Foreign);
    }
    let status = match head[4] {
        0 => Status::Complete,
        1 => Status::TooMany,
        2 => Status::Failed,
        other => return Err(Malformed::Status(other)),
    };
    let count = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    if count > MOST_CONNECTIONS { Err(Malformed::TooMany(count)) } else { Ok((status, count * CONNECTION)) }
}

/// The connections of an answer, from the bytes after its head.
pub fn connections(bytes: &[u8]) -> Vec<Connection> {
    let end = |bytes: &[u8]| SocketAddr::new(address(&bytes[..16]), number(&bytes[16..18]));
    bytes
        .chunks_exact(CONNECTION)
        .map(|bytes| Connection { client: end(&bytes[..18]), local: end(&bytes[18..]) })
        .collect()
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn address(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 16] = bytes.try_into().expect("the caller cut 16 bytes");
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_has_the_bytes_of_the_document() {
        let bytes = question(&[("192.0.2.7".parse().unwrap(), 80)]);
        let vip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
        assert_eq!(bytes, [&b"SLC1\0\x01"[..], &vip, &[0, 80]].concat());
        assert_eq!(listeners_length(bytes[..QUESTION_HEAD].try_into().unwrap()), Ok(LISTENER));
    }

    #[test]
    fn foreign_and_oversized_heads_are_refused() {
        assert_eq!(listeners_length(b"GET / "), Err(Malformed::Foreign));
        assert_eq!(listeners_length(b"SLC1\xff\xff"), Err(Malformed::TooMany(65535)));
        assert_eq!(connections_length(b"SLC1\0\0\0\0\x7f\0\0\0"), Err(Malformed::TooMany(0x7f00_0000)));
        assert_eq!(connections_length(b"SLC1\x09\0\0\0\0\0\0\0"), Err(Malformed::Status(9)));
        assert_eq!(connections_length(b"HTTP/1.1 200"), Err(Malformed::Foreign));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            ends in prop::collection::vec((any::<IpAddr>(), any::<u16>(), any::<IpAddr>(), any::<u16>()), 0..50),
        ) {
            let all: Vec<Connection> = ends
                .iter()
                .map(|(client, port, vip, local)| Connection {
                    client: SocketAddr::new(client.to_canonical(), *port),
                    local: SocketAddr::new(vip.to_canonical(), *local),
                })
                .collect();
            let bytes = answer(Status::Complete, &all);
            let head = connections_length(bytes[..ANSWER_HEAD].try_into().unwrap());
            prop_assert_eq!(head, Ok((Status::Complete, bytes.len() - ANSWER_HEAD)));
            prop_assert_eq!(connections(&bytes[ANSWER_HEAD..]), all.clone());
            let asked: Vec<Listener> = all.iter().map(|one| (one.local.ip(), one.local.port())).collect();
            prop_assert_eq!(listeners(&question(&asked)[QUESTION_HEAD..]), asked);
        }
    }
}
