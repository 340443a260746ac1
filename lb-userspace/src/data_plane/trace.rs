//! What a balancer that was built with `trace` says of every packet that it does not forward, into the log.
//!
//! For finding a fault on a quiet node, never for production: each record is a ring buffer event (17 ns) and
//! a line.

use anyhow::Context;
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Logs the program's records until the runtime ends.
///
/// # Errors
/// If the loaded program was built without `trace`.
pub(super) fn follow(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let logger = EbpfLogger::init(ebpf)
        .context("this sluice was built with `trace`, its programs without: `cargo xtask build --trace` builds both")?;
    let mut logger = AsyncFd::with_interest(logger, Interest::READABLE).context("waiting for the program's records")?;
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
