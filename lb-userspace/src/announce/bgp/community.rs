//! Communities (RFC 1997) and large communities (RFC 8092): the labels that routers' policies look at.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A community, written `65000:120`: two numbers of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Community(pub u32);

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326): routers that honour it prefer any other way.
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl FromStr for Community {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Community, NotACommunity> {
        let wrong = || NotACommunity::Standard(text.to_owned());
        let (high, low) = text.split_once(':').ok_or_else(wrong)?;
        let [high, low] = [high, low].map(number::<u16>);
        Ok(Community(u32::from(high.ok_or_else(wrong)?) << 16 | u32::from(low.ok_or_else(wrong)?)))
    }
}

/// A large community, written `65000:1:2`: three numbers of 32 bits, the first one an AS number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LargeCommunity(pub [u32; 3]);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [administrator, first, second] = self.0;
        write!(f, "{administrator}:{first}:{second}")
    }
}

impl FromStr for LargeCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<LargeCommunity, NotACommunity> {
        let numbers: Option<Vec<u32>> = text.split(':').map(number).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        numbers.map(LargeCommunity).ok_or_else(|| NotACommunity::Large(text.to_owned()))
    }
}

/// Digits alone: Rust's own parsing takes a sign, too.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Why a text is no community.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotACommunity {
    /// It is not of the form that [`Community`] has.
    #[error("{0:?} is not a community: two numbers from 0 to 65535, as in 65000:120")]
    Standard(String),
    /// It is not of the form that [`LargeCommunity`] has.
    #[error("{0:?} is not a large community: three numbers from 0 to 4294967295, as in 65000:1:2")]
    Large(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_written_as_they_are_read() {
        for text in ["0:0", "65000:120", "65535:65535"] {
            assert_eq!(text.parse::<Community>().unwrap().to_string(), text);
        }
        for text in ["0:0:0", "4200000000:1:4294967295"] {
            assert_eq!(text.parse::<LargeCommunity>().unwrap().to_string(), text);
        }
        assert_eq!(Community::GRACEFUL_SHUTDOWN.to_string(), "65535:0");
    }

    #[test]
    fn what_is_no_community_is_refused_with_an_example() {
        for text in ["", "1", "1:", ":1", "65536:0", "0:65536", "-1:0", "+1:0", "1:2:3", " 1:2"] {
            let error = text.parse::<Community>().unwrap_err().to_string();
            assert!(error.contains("65000:120"), "{error}");
        }
        for text in ["", "1:2", "1:2:3:4", "1:2:4294967296", "1:2:+3", "1::2"] {
            let error = text.parse::<LargeCommunity>().unwrap_err().to_string();
            assert!(error.contains("65000:1:2"), "{error}");
        }
    }
}
