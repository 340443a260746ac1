//! The probe: a node's question whether a target has an agent, and the agent's answer. See the picture in [`super`].

use core::net::IpAddr;

use super::{CHAIN_FORMAT, CONTROL, CONTROL_TYPE, HEADER};
use crate::checksum;
use crate::memory::{View, ViewMut};

/// Bytes of question and answer: GUE header and body.
pub const MESSAGE: usize = HEADER + 40;
/// The format of the probe.
pub const FORMAT: u8 = 1;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const SERVED: u8 = 1;
const NOT_SERVED: u8 = 2;

/// `ARRAY<u32>` with one entry: the agent's [`Capabilities`], which its program puts into answers.
pub const CAPABILITIES: &str = "CAPABILITIES";

/// What an agent can do: bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// It hands on what none of its sockets has, because it knows peers.
    pub const SECOND_CHANCE: Capabilities = Capabilities(1);
    /// It translates ports.
    pub const PORT_TRANSLATION: Capabilities = Capabilities(2);
    /// It takes GUE version 1.
    pub const GUE_VERSION_1: Capabilities = Capabilities(4);

    /// Whether all of `others` are among them.
    pub const fn contain(self, others: Capabilities) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and `others`.
    pub const fn and(self, others: Capabilities) -> Capabilities {
        Capabilities(self.0 | others.0)
    }
}

/// A listener that a question asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its VIP.
    pub vip: IpAddr,
    /// [`crate::flow::TCP`] or [`crate::flow::UDP`].
    pub protocol: u8,
    /// Its port.
    pub port: u16,
}

/// What a node asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// A number that nobody can guess; the answer has it too.
    pub nonce: u64,
    /// The listener that the target is to serve, if the answer shall say something of it.
    pub listener: Option<Listener>,
}

/// What an agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its version: major, minor, patch.
    pub version: [u8; 3],
    /// The format of chain that it takes; equal to [`CHAIN_FORMAT`], or it must get none.
    pub chain_format: u8,
    /// Whether it serves the listener's VIP, and the port that it gives the listener's packets.
    pub served: Option<u16>,
}

/// Why something is no answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It has another length or GUE header, or is no answer of the probe.
    Foreign,
    /// It is of another format than [`FORMAT`].
    UnknownFormat(u8),
    /// It answers another question.
    AnotherQuestion,
}

impl core::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            NoAnswer::Foreign => f.write_str("not an answer of Sluice's agent"),
            NoAnswer::UnknownFormat(format) => {
                write!(f, "an answer of format {format}; this node knows {FORMAT}")
            }
            NoAnswer::AnotherQuestion => f.write_str("an answer to another question"),
        }
    }
}

impl core::error::Error for NoAnswer {}

impl Question {
    /// The UDP payload to send to the target's port [`crate::encapsulation::GUE_PORT`].
    pub fn encode(&self) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        (message[0], message[1]) = (CONTROL, CONTROL_TYPE);
        (message[4], message[5]) = (FORMAT, QUESTION);
        message[12..20].copy_from_slice(&self.nonce.to_be_bytes());
        if let Some(listener) = self.listener {
            message[6] = listener.protocol;
            message[8..10].copy_from_slice(&listener.port.to_be_bytes());
            message[20..36].copy_from_slice(&mapped(listener.vip));
        }
        message
    }

    /// Reads the answer to this question.
    ///
    /// # Errors
    /// If `message` is none.
    pub fn answer(&self, message: &[u8]) -> Result<Answer, NoAnswer> {
        let message: &[u8; MESSAGE] = message.try_into().map_err(|_| NoAnswer::Foreign)?;
        if message[..4] != [CONTROL, CONTROL_TYPE, 0, 0] || message[5] != ANSWER {
            return Err(NoAnswer::Foreign);
        }
        if message[4] != FORMAT {
            return Err(NoAnswer::UnknownFormat(message[4]));
        }
        let asked = self.encode();
        if message[6] != asked[6] || message[8..10] != asked[8..10] || message[12..36] != asked[12..36] {
            return Err(NoAnswer::AnotherQuestion);
        }
        let view = View::new(message);
        Ok(Answer {
            capabilities: Capabilities(u32::from_be(view.raw32::<36>())),
            version: [message[40], message[41], message[42]],
            chain_format: message[43],
            served: (message[7] == SERVED).then_some(view.be16::<10>()),
        })
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// A question as the agent's program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The VIP as a key of the agent's maps.
    pub vip: [u32; 4],
    /// The protocol.
    pub protocol: u8,
    /// The listener's port, bytes as on the wire.
    pub port: u16,
}

/// What the question asks about, unless it is none of [`FORMAT`].
#[inline(always)]
pub fn asked(message: View<'_, MESSAGE>) -> Option<Asked> {
    let is_question = message.u8::<4>() == FORMAT && message.u8::<5>() == QUESTION && message.u8::<7>() == 0;
    let has_room = message.raw16::<10>() == 0 && message.raw64::<36>() == 0;
    (is_question && has_room).then(|| Asked {
        vip: [message.raw32::<20>(), message.raw32::<24>(), message.raw32::<28>(), message.raw32::<32>()],
        protocol: message.u8::<6>(),
        port: message.raw16::<8>(),
    })
}

/// What the agent's program knows of a question's listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The agent's.
    pub capabilities: Capabilities,
    /// The port (bytes as on the wire) that the listener's packets get, if the VIP is served.
    pub served: Option<u16>,
}

/// The version that answers tell.
const VERSION: [u8; 4] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
    CHAIN_FORMAT,
];

const fn number(text: &str) -> u8 {
    match u8::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => u8::MAX,
    }
}

/// Makes a question (one that [`asked`] has read) its answer, and returns `checksum`, UDP's, as it is then; zero
/// stays zero, which is none.
#[inline(always)]
pub fn answer(message: &mut ViewMut<'_, MESSAGE>, reply: Reply, checksum: u16) -> u16 {
    let (state, port) = match reply.served {
        Some(port) => (SERVED, port),
        None => (NOT_SERVED, 0),
    };
    message.set_u8::<5>(ANSWER);
    message.set_u8::<7>(state);
    message.set_raw16::<10>(port);
    message.set_raw32::<36>(reply.capabilities.0.to_be());
    message.set_raw32::<40>(u32::from_ne_bytes(VERSION));
    if checksum == 0 {
        return 0;
    }
    let message = message.read();
    // What was zero is added; of the operation, which was not, the difference.
    let sum = (ANSWER - QUESTION) as u32
        + state as u32
        + message.be16::<10>() as u32
        + message.be16::<36>() as u32
        + message.be16::<38>() as u32
        + message.be16::<40>() as u32
        + message.be16::<42>() as u32;
    checksum::update(checksum, 0, checksum::fold(sum))
}
