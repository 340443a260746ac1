//! The configuration file: both owners' readers.
//!
//! What holds: whatever the text is, it is read or refused with words that name the file, and what is read twice is
//! the same.

use lb_userspace::api::configuration::Configuration;
use lb_userspace::config;

const FILE: &str = "fuzzed.json";

/// Reads a configuration file as each owner does.
///
/// # Panics
/// When a refusal says nothing, or two readings differ.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::parse(FILE, text) {
        Ok(desired) => assert!(config::parse(FILE, text).is_ok_and(|again| again == desired)),
        Err(error) => assert!(error.to_string().starts_with(FILE), "{error}"),
    }
    match Configuration::parse(text) {
        Ok(configuration) => {
            let again = Configuration::parse(text).expect("it was read a moment ago");
            assert!(again.inventory == configuration.inventory);
            let _ = configuration.check_exposure();
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
}
