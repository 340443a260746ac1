//! What a balancer that was built with `trace` says of every packet that it does not forward, into the log.
//!
//! For finding a fault on a quiet node, never for production: each record is a ring buffer event (17 ns) and
//! a line.

use std::time::Duration;

use anyhow::Context;
use aya::Ebpf;
use aya_log::EbpfLogger;

/// How often the ring buffer is emptied.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Logs the program's records until the runtime ends.
///
/// # Errors
/// If the loaded program was built without `trace`.
pub(super) fn follow(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let mut logger = EbpfLogger::init(ebpf).context(
        "this sluice was built with `trace`, its programs without: `cargo xtask build --trace` builds both",
    )?;
    let mut pause = tokio::time::interval(READ_EVERY);
    tokio::spawn(async move {
        loop {
            pause.tick().await;
            logger.flush();
        }
    });
    Ok(())
}
