//! The messages of BGP-4: their bytes and their meaning, without any state.
//!
//! ```text
//!    16 bytes of ones | length (2) | type (1) | body
//! ```
//!
//! Whatever bytes come, reading ends with a message or with the [`Violation`] that names what is wrong.

mod cursor;
pub mod notification;
pub mod open;
pub mod received;
pub mod route_refresh;
#[cfg(test)]
mod tests;
pub mod update;

pub use notification::{ErrorCode, Notification, Violation};
pub use open::{Capabilities, Open};
pub use received::{Received, check};
pub use route_refresh::RouteRefresh;
pub use update::{Attributes, announce, end_of_rib, withdraw};

/// The longest message, in bytes (RFC 4271; longer ones, RFC 8654, are not offered).
pub const LENGTH_MAX: usize = 4096;

/// The bytes before a message's body.
pub const HEADER: usize = 19;

const MARKER: [u8; 16] = [0xff; 16];

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Who the other side is and what it can do.
    Open(Open),
    /// Routes: the body, which [`check`] looks at, for that depends on the session.
    Update(&'a [u8]),
    /// The end of the session.
    Notification(Notification),
    /// A sign of life.
    Keepalive,
    /// A request to be told all routes again; none where it is for a family that is not known here.
    RouteRefresh(Option<RouteRefresh>),
}

/// The length of the message at the begin of `bytes`, once all of it is there; none while more must come.
///
/// # Errors
/// As soon as its header can't be a message's.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, Violation> {
    let marker = &bytes[..bytes.len().min(MARKER.len())];
    if marker.iter().any(|byte| *byte != 0xff) {
        return Err(Violation::new(ErrorCode::NOT_SYNCHRONIZED, "the marker is not all ones"));
    }
    let Some(&[high, low, kind]) = bytes.get(MARKER.len()..HEADER) else { return Ok(None) };
    let length = u16::from_be_bytes([high, low]);
    let Some(shortest) = shortest(kind) else {
        let detail = format!("there is no message type {kind}");
        return Err(Violation::with_data(ErrorCode::BAD_TYPE, vec![kind], detail));
    };
    let longest = if kind == KEEPALIVE { HEADER } else { LENGTH_MAX };
    if !(shortest..=longest).contains(&usize::from(length)) {
        let detail = format!("a message of type {kind} with {length} bytes");
        return Err(Violation::with_data(ErrorCode::BAD_LENGTH, vec![high, low], detail));
    }
    let length = usize::from(length);
    Ok((bytes.len() >= length).then_some(length))
}

/// The length of the shortest message of a type (RFC 4271 §6.1).
fn shortest(kind: u8) -> Option<usize> {
    let body = match kind {
        OPEN => 10,
        UPDATE => 4,
        NOTIFICATION => 2,
        KEEPALIVE => 0,
        // A shorter one has an error of its own (RFC 7313).
        ROUTE_REFRESH => 0,
        _ => return None,
    };
    Some(HEADER + body)
}

/// Reads one whole message, as [`frame`] measured it.
///
/// # Errors
/// When it can't be read, with what is answered.
pub fn read(message: &[u8]) -> Result<Message<'_>, Violation> {
    let is_whole = frame(message)? == Some(message.len());
    let (Some(kind), Some(body), true) = (message.get(HEADER - 1), message.get(HEADER..), is_whole) else {
        return Err(Violation::new(ErrorCode::BAD_LENGTH, "the message is not whole"));
    };
    match *kind {
        OPEN => Open::read(body).map(Message::Open),
        UPDATE => Ok(Message::Update(body)),
        NOTIFICATION => {
            let short = || Violation::new(ErrorCode::BAD_LENGTH, "a NOTIFICATION without a code");
            Notification::read(body).map(Message::Notification).ok_or_else(short)
        }
        KEEPALIVE => Ok(Message::Keepalive),
        _ => RouteRefresh::read(body).map(Message::RouteRefresh),
    }
}

/// The bytes of an OPEN.
pub fn open(open: &Open) -> Vec<u8> {
    message(OPEN, |body| open.write(body))
}

/// The bytes of a NOTIFICATION; data that has no room is cut.
pub fn notification(notification: &Notification) -> Vec<u8> {
    message(NOTIFICATION, |body| {
        notification.write(body);
        body.truncate(LENGTH_MAX);
    })
}

/// The bytes of a KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, |_| ())
}

/// The bytes of a ROUTE-REFRESH.
pub fn route_refresh(refresh: &RouteRefresh) -> Vec<u8> {
    message(ROUTE_REFRESH, |body| refresh.write(body))
}

fn message(kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = MARKER.to_vec();
    message.extend([0, 0, kind]);
    write(&mut message);
    let length = u16::try_from(message.len()).expect("writers keep to 4096 bytes");
    message[16..18].copy_from_slice(&length.to_be_bytes());
    message
}

/// The AFI of a family (RFC 4760).
fn afi(family: super::Family) -> u16 {
    match family {
        super::Family::Ipv4 => 1,
        super::Family::Ipv6 => 2,
    }
}

/// The SAFI of unicast routes.
const UNICAST: u8 = 1;

/// The family that an AFI and a SAFI name, if it is one that is known here.
fn family(afi: u16, safi: u8) -> Option<super::Family> {
    super::Family::ALL.into_iter().find(|family| safi == UNICAST && self::afi(*family) == afi)
}
