//! What clients may take.

use std::time::Duration;

/// Limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time; when one more comes, the one goes that has asked nothing for the longest time.
    pub connections: usize,
    /// Header fields of a request.
    pub header_fields: usize,
    /// Bytes of a request's line and header fields; at least 8192.
    pub header_bytes: usize,
    /// Bytes of a body; the largest valid request, 1,000 targets, has some 150 KiB.
    pub body_bytes: usize,
    /// How long a connection may be silent before a request, and its header fields may take.
    pub headers: Duration,
    /// How long a body may take.
    pub body: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may live.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 512,
            header_fields: 64,
            header_bytes: 16 << 10,
            body_bytes: 1 << 20,
            headers: Duration::from_secs(20),
            body: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            connection: Duration::from_secs(300),
        }
    }
}
