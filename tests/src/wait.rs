//! Waiting for something by looking at it until a deadline, never by sleeping for a guessed time.

use std::time::{Duration, Instant};

use anyhow::Result;

/// How often is looked.
const PERIOD: Duration = Duration::from_millis(50);

/// The variable that says how many times slower than usual this machine is, as an emulated one: 10.
const SLOWNESS: &str = "SLUICE_LAB_SLOWNESS";

/// Looks until `look` succeeds, and returns what it found. On a slow machine every limit is longer.
///
/// # Errors
/// The last look's error after `limit`, with the name of what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let limit = limit * slowness(std::env::var(SLOWNESS).ok().as_deref());
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {limit:?} in vain for: {what}")));
            }
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}

fn slowness(variable: Option<&str>) -> u32 {
    variable.and_then(|times| times.parse().ok()).unwrap_or(1).clamp(1, 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn limits_are_never_shorter_than_asked_for() {
        assert_eq!([None, Some("10"), Some("0"), Some("x")].map(slowness), [1, 10, 1, 1]);
    }

    #[test]
    fn the_last_reason_is_in_the_error() {
        let error =
            until("rain", Duration::from_millis(1), || -> Result<()> { bail!("blue sky") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 1ms in vain for: rain: blue sky");
    }

    #[test]
    fn it_looks_again() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { bail!("not yet") }
        });
        assert_eq!(found.unwrap(), 3);
    }
}
