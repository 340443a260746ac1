//! Why a configuration file is refused.

use std::fmt;

use thiserror::Error;

use super::json::SyntaxError;

/// Problems that are printed one by one; a file with more gets a count of the rest.
const MAX_PRINTED: usize = 100;

/// A configuration file that is refused as a whole. Printed, it is one problem a line, each after the file's
/// name.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is no content.
    #[error("{file}: can't be read: {cause}; expected a JSON file that this user may read")]
    Unreadable {
        /// The file's name as the caller gave it.
        file: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The content is not JSON.
    #[error("{file}: {error}")]
    Syntax {
        /// The file's name as the caller gave it.
        file: String,
        /// Where and why.
        error: SyntaxError,
    },
    /// The content is JSON but no configuration.
    #[error("{}", Lines { file, problems })]
    Invalid {
        /// The file's name as the caller gave it.
        file: String,
        /// All that is wrong; at least one.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, like `load_balancers[0].listeners[1].port`; empty for the file's outermost value.
    pub path: String,
    /// What was found and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.path, self.message)
    }
}

struct Lines<'a> {
    file: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().take(MAX_PRINTED).enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {problem}", self.file)?;
        }
        match self.problems.len().saturating_sub(MAX_PRINTED) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more problems", self.file),
        }
    }
}
