//! Names of load balancers and target groups.

use crate::api::protocol::{ApiError, Code};

/// The longest name, in characters.
const MAX: usize = 32;

/// Checks a name; `what` begins the messages: `Load balancer`.
pub(super) fn check(what: &str, name: &str) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(Code::ValidationError.because(format!("{what} name '{name}' {why}")));
    if name.is_empty() {
        return refuse("must have at least one character");
    }
    if name.chars().count() > MAX {
        return refuse(&format!("cannot be longer than '{MAX}' characters"));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return refuse("can only contain characters that are alphanumeric characters or hyphens(-)");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return refuse("cannot begin or end with a hyphen(-)");
    }
    Ok(())
}
