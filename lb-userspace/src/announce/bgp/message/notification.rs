//! NOTIFICATION: the last message of a session, with the reason (RFC 4271 §4.5), and for the end of a session by
//! an administrator with words for people (RFC 9003).

use std::fmt;

use thiserror::Error;

use super::cursor::Cursor;

/// The longest text that goes with a shutdown, in bytes (RFC 9003).
pub const TEXT_MAX: usize = 255;

/// An error code with its subcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// The kind of error.
    pub code: u8,
    /// Which error of that kind; 0 is none in particular.
    pub subcode: u8,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal / $subcode:literal, $words:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: ErrorCode = ErrorCode { code: $code, subcode: $subcode };)*

            /// The registered name of the code with its subcode, if it has one.
            pub fn name(self) -> Option<&'static str> {
                match (self.code, self.subcode) {
                    $(($code, $subcode) => Some($words),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// The marker is not all ones.
    NOT_SYNCHRONIZED = 1/1, "Connection Not Synchronized";
    /// A length that no message, or not this one, can have.
    BAD_LENGTH = 1/2, "Bad Message Length";
    /// A type that does not exist, or was not offered.
    BAD_TYPE = 1/3, "Bad Message Type";
    /// An OPEN that can't be read.
    OPEN = 2/0, "OPEN Message Error";
    /// Another version than 4.
    VERSION = 2/1, "Unsupported Version Number";
    /// Not the AS that was expected.
    BAD_PEER_AS = 2/2, "Bad Peer AS";
    /// An identifier that can't be a router's.
    BAD_IDENTIFIER = 2/3, "Bad BGP Identifier";
    /// An optional parameter other than capabilities.
    OPTIONAL_PARAMETER = 2/4, "Unsupported Optional Parameter";
    /// A hold time of 1 or 2 seconds.
    HOLD_TIME = 2/6, "Unacceptable Hold Time";
    /// A capability that is needed is missing.
    CAPABILITY = 2/7, "Unsupported Capability";
    /// An OPEN with a role that does not fit (RFC 9234).
    ROLE = 2/11, "Role Mismatch";
    /// Lengths of an UPDATE that do not fit together.
    ATTRIBUTE_LIST = 3/1, "Malformed Attribute List";
    /// A well-known attribute that nobody knows.
    UNKNOWN_WELL_KNOWN = 3/2, "Unrecognized Well-known Attribute";
    /// A mandatory attribute is missing.
    MISSING_WELL_KNOWN = 3/3, "Missing Well-known Attribute";
    /// An attribute's flags contradict its type.
    ATTRIBUTE_FLAGS = 3/4, "Attribute Flags Error";
    /// An attribute's length contradicts its type.
    ATTRIBUTE_LENGTH = 3/5, "Attribute Length Error";
    /// An ORIGIN that does not exist.
    ORIGIN = 3/6, "Invalid ORIGIN Attribute";
    /// A next hop that can't be one.
    NEXT_HOP = 3/8, "Invalid NEXT_HOP Attribute";
    /// An optional attribute with a value that can't be.
    OPTIONAL_ATTRIBUTE = 3/9, "Optional Attribute Error";
    /// Prefixes that can't be read.
    NETWORK_FIELD = 3/10, "Invalid Network Field";
    /// An AS path that can't be read.
    AS_PATH = 3/11, "Malformed AS_PATH";
    /// Nothing came for the hold time.
    HOLD_TIMER = 4/0, "Hold Timer Expired";
    /// A message at the wrong moment.
    STATE_MACHINE = 5/0, "Finite State Machine Error";
    /// A message other than OPEN where OPEN was due.
    IN_OPEN_SENT = 5/1, "Unexpected Message in OpenSent";
    /// A message other than KEEPALIVE where that was due.
    IN_OPEN_CONFIRM = 5/2, "Unexpected Message in OpenConfirm";
    /// A message that has no place in an established session.
    IN_ESTABLISHED = 5/3, "Unexpected Message in Established";
    /// Too many routes.
    MAXIMUM_PREFIXES = 6/1, "Maximum Number of Prefixes Reached";
    /// An administrator ended it, for good.
    SHUTDOWN = 6/2, "Administrative Shutdown";
    /// The neighbour was removed from the configuration.
    PEER_REMOVED = 6/3, "Peer De-configured";
    /// An administrator ended it, to begin anew.
    RESET = 6/4, "Administrative Reset";
    /// The other side does not want this neighbour.
    REJECTED = 6/5, "Connection Rejected";
    /// Something else in the configuration changed.
    CONFIGURATION_CHANGE = 6/6, "Other Configuration Change";
    /// Of two connections between the same routers one goes.
    COLLISION = 6/7, "Connection Collision Resolution";
    /// The other side is out of resources.
    RESOURCES = 6/8, "Out of Resources";
    /// A reset that also ends what Graceful Restart keeps (RFC 8538).
    HARD_RESET = 6/9, "Hard Reset";
    /// BFD says that the way is gone (RFC 9384).
    BFD_DOWN = 6/10, "BFD Down";
    /// A ROUTE-REFRESH that can't be read (RFC 7313).
    ROUTE_REFRESH = 7/1, "ROUTE-REFRESH Invalid Message Length";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let general = ErrorCode { subcode: 0, ..*self };
        let name = self.name().or_else(|| general.name()).unwrap_or(match self.code {
            1 => "Message Header Error",
            3 => "UPDATE Message Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            _ => "unknown error",
        });
        write!(f, "{name} ({}/{})", self.code, self.subcode)
    }
}

/// A NOTIFICATION message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The reason.
    pub error: ErrorCode,
    /// What goes with it; its meaning depends on the reason.
    pub data: Vec<u8>,
}

impl Notification {
    /// One without data.
    pub fn new(error: ErrorCode) -> Notification {
        Notification { error, data: Vec::new() }
    }

    /// A shutdown with words for the people at the other end; longer ones than 255 bytes are cut.
    pub fn shutdown(text: &str) -> Notification {
        let text = &text[..text.floor_char_boundary(TEXT_MAX)];
        let length = u8::try_from(text.len()).expect("it was cut to 255 bytes");
        let data = std::iter::once(length).chain(text.bytes()).collect();
        Notification { error: ErrorCode::SHUTDOWN, data }
    }

    /// The words that came with a shutdown or a reset, without control characters.
    pub fn text(&self) -> Option<String> {
        if ![ErrorCode::SHUTDOWN, ErrorCode::RESET].contains(&self.error) {
            return None;
        }
        let (length, rest) = self.data.split_first()?;
        let text = String::from_utf8_lossy(rest.get(..usize::from(*length))?);
        let text: String = text.chars().filter(|character| !character.is_control()).collect();
        (!text.is_empty()).then_some(text)
    }

    /// Reads a message's body; none if it is too short to be one.
    pub(super) fn read(body: &[u8]) -> Option<Notification> {
        let mut cursor = Cursor(body);
        let error = ErrorCode { code: cursor.u8()?, subcode: cursor.u8()? };
        Some(Notification { error, data: cursor.0.to_vec() })
    }

    pub(super) fn write(&self, body: &mut Vec<u8>) {
        body.extend([self.error.code, self.error.subcode]);
        body.extend(&self.data);
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        self.text().map_or(Ok(()), |text| write!(f, ": {text:?}"))
    }
}

/// What the other side sent that ends the session: the NOTIFICATION that tells it so, and words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{notification}: {detail}")]
pub struct Violation {
    /// What is answered.
    pub notification: Notification,
    /// What was wrong.
    pub detail: String,
}

impl Violation {
    /// A violation that is answered without data.
    pub fn new(error: ErrorCode, detail: impl Into<String>) -> Violation {
        Violation { notification: Notification::new(error), detail: detail.into() }
    }

    /// A violation that is answered with data.
    pub fn with_data(error: ErrorCode, data: Vec<u8>, detail: impl Into<String>) -> Violation {
        Violation { notification: Notification { error, data }, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_carries_its_text() {
        let notification = Notification::shutdown("maintenance until 14:00 ✓");
        assert_eq!(notification.text().unwrap(), "maintenance until 14:00 ✓");
        let words = "Administrative Shutdown (6/2): \"maintenance until 14:00 ✓\"";
        assert_eq!(notification.to_string(), words);
        assert_eq!(Notification::shutdown("").text(), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let notification = Notification::shutdown(&"é".repeat(200));
        assert_eq!(notification.text().unwrap(), "é".repeat(127));
        assert_eq!(notification.data.len(), 255);
    }

    #[test]
    fn a_hostile_text_is_harmless() {
        for data in [vec![], vec![3, b'a', b'b'], vec![255], vec![0, 1, 2]] {
            assert_eq!(Notification { error: ErrorCode::SHUTDOWN, data }.text(), None);
        }
        let data = vec![4, 0x1b, b'[', 0xff, b'm'];
        let text = Notification { error: ErrorCode::RESET, data }.text().unwrap();
        assert_eq!(text, "[\u{fffd}m");
    }

    #[test]
    fn every_error_names_its_code() {
        for (code, subcode, words) in [
            (2, 2, "Bad Peer AS (2/2)"),
            (2, 99, "OPEN Message Error (2/99)"),
            (4, 7, "Hold Timer Expired (4/7)"),
            (6, 10, "BFD Down (6/10)"),
            (6, 99, "Cease (6/99)"),
            (77, 1, "unknown error (77/1)"),
        ] {
            assert_eq!(ErrorCode { code, subcode }.to_string(), words);
        }
    }
}
