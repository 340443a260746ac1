//! Standard output, for commands whose answer it is.

use std::io::{ErrorKind, Write, stdout};

use anyhow::Context;

/// Whether somebody still reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// As far as is known.
    Reads,
    /// It has seen enough: `sluice events --follow | head`.
    Gone,
}

/// Writes all of `text`; a reader that has seen enough (`sluice status | head`) is no error.
///
/// # Errors
/// If it can't be written for another reason, such as a full disk.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_on(text).map(drop)
}

/// The same for those who go on writing: whether that still makes sense.
///
/// # Errors
/// As [`print`].
pub fn print_on(text: &str) -> anyhow::Result<Reader> {
    let mut output = stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("writing to standard output"),
    }
}
