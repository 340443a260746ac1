//! How targets are asked whether they are well.

use std::time::Duration;

/// How a target group's targets are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is sent, and what must come back.
    pub probe: Probe,
    /// The port that is checked.
    pub port: CheckPort,
    /// From the start of one check to the start of the next: 1 to 300 s.
    pub interval: Duration,
    /// How long an answer may take: 1 to 120 s, never longer than the interval.
    pub timeout: Duration,
    /// Passed checks in a row that make an unhealthy target healthy: 1 to 10.
    pub healthy_threshold: u8,
    /// Failed checks in a row that make a target unhealthy: 1 to 10.
    pub unhealthy_threshold: u8,
}

/// Which port of a target is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckPort {
    /// The one that the target serves.
    Traffic,
    /// This one of every target, 1 to 65535.
    Port(u16),
}

impl CheckPort {
    /// The port of a target that serves `traffic`.
    pub const fn of(self, traffic: u16) -> u16 {
        match self {
            CheckPort::Traffic => traffic,
            CheckPort::Port(port) => port,
        }
    }
}

impl std::fmt::Display for CheckPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CheckPort::Traffic => f.write_str("traffic-port"),
            CheckPort::Port(port) => write!(f, "{port}"),
        }
    }
}

/// The question that a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection that is established and closed again.
    Tcp,
    /// `GET path` over HTTP/1.1; the answer's status code must be one of `matcher`.
    Http {
        /// Origin-form request target, starts with `/`.
        path: String,
        /// Status codes that pass.
        matcher: StatusCodes,
    },
    /// The same within TLS; whose certificate it is plays no part.
    Https {
        /// Origin-form request target, starts with `/`.
        path: String,
        /// Status codes that pass.
        matcher: StatusCodes,
    },
    /// `grpc.health.v1.Health/Check` over HTTP/2 without TLS; the answer must be SERVING.
    Grpc {
        /// The service that is asked for; empty is the whole server.
        service: String,
    },
    /// A UDP datagram without payload: whatever comes back passes, and so does silence, but not an ICMP error.
    Udp,
}

/// HTTP status codes as inclusive ranges: `200`, `200-399`, `200,202-204`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCodes(pub Vec<(u16, u16)>);

impl StatusCodes {
    /// Whether `code` is in one of the ranges.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

impl std::fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}
