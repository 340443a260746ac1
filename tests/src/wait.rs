//! Waiting for something by looking at it until a deadline, never by sleeping for a guessed time.

use std::time::{Duration, Instant};

use anyhow::Result;

/// How often is looked.
const PERIOD: Duration = Duration::from_millis(50);

/// Looks until `look` succeeds, and returns what it found.
///
/// # Errors
/// The last look's error after `limit`, with the name of what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

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
