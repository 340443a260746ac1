//! What the attributes of all resources share: reading values, refusing keys.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::api::protocol::{ApiError, Code};

/// One attribute of a request, with what it belongs to for messages.
pub(super) struct Given<'a> {
    /// `Load balancer`, `Target group` or `Listener`.
    pub(super) owner: &'static str,
    /// The key.
    pub(super) key: &'a str,
    /// The value.
    pub(super) value: &'a str,
}

impl Given<'_> {
    /// A key that nobody knows. Terraform's provider matches this text, and goes on without the attribute.
    pub(super) fn unknown(&self) -> ApiError {
        Code::ValidationError
            .because(format!("{} attribute key '{}' is not recognized", self.owner, self.key))
    }

    /// A key of another kind of load balancer.
    pub(super) fn elsewhere(&self) -> ApiError {
        Code::InvalidConfigurationRequest.because(format!(
            "{} attribute key '{}' is not supported for network load balancers",
            self.owner, self.key
        ))
    }

    /// A value that the key does not take; `expected` says what it takes.
    pub(super) fn refuse(&self, expected: &str) -> ApiError {
        Code::InvalidConfigurationRequest.because(format!(
            "{} attribute value '{}' is not valid for key '{}'; expected {expected}",
            self.owner, self.value, self.key
        ))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, ApiError> {
        self.value.parse().map_err(|_| self.refuse("true or false"))
    }

    /// A flag that can only be what it is, because `why`.
    pub(super) fn only(&self, right: bool, why: &str) -> Result<(), ApiError> {
        if self.flag()? == right { Ok(()) } else { Err(self.refuse(&format!("{right}: {why}"))) }
    }

    /// A number.
    pub(super) fn number(&self, range: RangeInclusive<u32>) -> Result<u32, ApiError> {
        let number = self.value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| self.refuse(&format!("a number from {} to {}", range.start(), range.end())))
    }

    /// `off` or a number.
    pub(super) fn threshold(&self, range: RangeInclusive<u32>) -> Result<Threshold, ApiError> {
        if self.value == "off" { Ok(Threshold(None)) } else { self.number(range).map(|n| Threshold(Some(n))) }
    }
}

/// A number of targets, or a percentage of them, below which something happens; or nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold(pub Option<u32>);

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("off"),
        }
    }
}
