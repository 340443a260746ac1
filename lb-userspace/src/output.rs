//! Standard output, for commands whose answer it is.

use std::io::{ErrorKind, Write, stdout};

use anyhow::Context;

/// Writes all of `text`; a reader that has seen enough (`sluice status | head`) is no error.
///
/// # Errors
/// If it can't be written for another reason, such as a full disk.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut output = stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}
