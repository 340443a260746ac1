//! BFD's control packet (RFC 5880 §4.1).
//!
//! ```text
//!    version 3 bits, diagnostic 5 | state 2, P F C A D M | multiplier | length
//!    my discriminator | your discriminator
//!    desired min TX | required min RX | required min echo RX     (microseconds)
//! ```

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// The bytes of a packet without authentication.
pub const LENGTH: usize = 24;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// A session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Switched off.
    AdminDown,
    /// The other side is not heard.
    Down,
    /// It is heard, but does not say that it hears this one.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        }
    }

    fn number(self) -> u8 {
        match self {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        }
    }
}

/// Why a session last left `Up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// None.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Nothing came for the detection time.
    pub const TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// The other side said so.
    pub const NEIGHBOR_DOWN: Diagnostic = Diagnostic(3);
    /// It was switched off.
    pub const ADMIN_DOWN: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "No Diagnostic",
            1 => "Control Detection Time Expired",
            2 => "Echo Function Failed",
            3 => "Neighbor Signaled Session Down",
            4 => "Forwarding Plane Reset",
            5 => "Path Down",
            6 => "Concatenated Path Down",
            7 => "Administratively Down",
            8 => "Reverse Concatenated Path Down",
            _ => "unknown diagnostic",
        };
        write!(f, "{name} ({})", self.0)
    }
}

/// A control packet; times are whole microseconds, up to 71 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last left `Up`; at most 31.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// An answer is due at once.
    pub poll: bool,
    /// This is the answer to a poll.
    pub is_final: bool,
    /// The sender wants no packets while both are up.
    pub demand: bool,
    /// After so many missing packets the sender is gone; not 0.
    pub multiplier: u8,
    /// The sender's name of the session; not 0.
    pub my_discriminator: u32,
    /// The receiver's name of it, or 0 if the sender does not know it.
    pub your_discriminator: u32,
    /// The least time between packets that the sender wants to send.
    pub desired_transmit: Duration,
    /// The least time between packets that the sender bears; zero: it wants none.
    pub required_receive: Duration,
    /// The same for echo packets; zero: it answers none.
    pub required_echo: Duration,
}

/// Why bytes are no packet for this node (RFC 5880 §6.8.6); such are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Fewer bytes than a packet has, or than its length says.
    #[error("it is too short")]
    Short,
    /// Not version 1.
    #[error("it is not of version 1")]
    Version,
    /// A multiplier of zero.
    #[error("its multiplier is 0")]
    Multiplier,
    /// For several receivers.
    #[error("it is multipoint")]
    Multipoint,
    /// Authenticated, which is not agreed on.
    #[error("it is authenticated, but no authentication is configured")]
    Authentication,
    /// A sender without a name, or a state that needs the receiver's name, without that.
    #[error("a discriminator is 0")]
    Discriminator,
}

impl Packet {
    /// Reads a packet.
    ///
    /// # Errors
    /// When it must be dropped.
    pub fn read(bytes: &[u8]) -> Result<Packet, Unusable> {
        let fixed: &[u8; LENGTH] = bytes.first_chunk().ok_or(Unusable::Short)?;
        let [first, flags, multiplier, length, words @ ..] = fixed;
        if first >> 5 != VERSION {
            return Err(Unusable::Version);
        }
        if !(LENGTH..=bytes.len()).contains(&usize::from(*length)) {
            return Err(Unusable::Short);
        }
        let (words, _) = words.as_chunks::<4>();
        let word = |index: usize| u32::from_be_bytes(words[index]);
        let time = |index: usize| Duration::from_micros(word(index).into());
        let packet = Packet {
            diagnostic: Diagnostic(first & 0x1f),
            state: [State::AdminDown, State::Down, State::Init, State::Up][usize::from(flags >> 6)],
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            demand: flags & DEMAND != 0,
            multiplier: *multiplier,
            my_discriminator: word(0),
            your_discriminator: word(1),
            desired_transmit: time(2),
            required_receive: time(3),
            required_echo: time(4),
        };
        packet.validate(*flags).map(|()| packet)
    }

    fn validate(&self, flags: u8) -> Result<(), Unusable> {
        let needs_name = matches!(self.state, State::Init | State::Up);
        if self.multiplier == 0 {
            Err(Unusable::Multiplier)
        } else if flags & MULTIPOINT != 0 {
            Err(Unusable::Multipoint)
        } else if flags & AUTHENTICATION != 0 {
            Err(Unusable::Authentication)
        } else if self.my_discriminator == 0 || (self.your_discriminator == 0 && needs_name) {
            Err(Unusable::Discriminator)
        } else {
            Ok(())
        }
    }

    /// Its bytes.
    pub fn write(&self) -> [u8; LENGTH] {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.poll, POLL) | flag(self.is_final, FINAL) | flag(self.demand, DEMAND);
        let first = VERSION << 5 | self.diagnostic.0 & 0x1f;
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&[first, self.state.number() << 6 | flags, self.multiplier, LENGTH as u8]);
        let times = [self.desired_transmit, self.required_receive, self.required_echo];
        let times = times.map(|time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        let words = [self.my_discriminator, self.your_discriminator].into_iter().chain(times);
        for (place, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}
