//! `sluice detach`: the end of a data plane that no controller works with any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::announce::ROUTERS_MOVE;
use crate::announce::By;
use crate::announce::kernel_table::{self, Ending};
use crate::config;
use crate::data_plane::Pins;
use crate::data_plane::pins::Unusable;
use crate::output;

/// The configuration of the packaged unit.
const CONFIGURATION: &str = "/etc/sluice/sluice.json";

/// End the data plane that a controller has left
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    left: Left,
}

/// What a controller has left behind.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Left {
    /// Where the controller was told to pin it
    #[arg(long, value_name = "DIR", default_value = super::DEFAULT_PINS)]
    pins: PathBuf,
    /// The controller's configuration: VIPs that it says are written into a kernel routing table are withdrawn first
    ///
    /// Without this, /etc/sluice/sluice.json if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Takes the balancer off all interfaces, and removes its programs and maps. That there is nothing is no error.
///
/// # Errors
/// If a controller runs, or something can't be removed.
pub async fn run(options: Options) -> anyhow::Result<()> {
    options.left.end().await
}

impl Left {
    /// Ends it, and says so.
    pub(super) async fn end(&self) -> anyhow::Result<()> {
        let directory = self.pins.display();
        let pins = match Pins::take_existing(&self.pins) {
            Ok(pins) => Some(pins),
            Err(Unusable::Absent(_)) => None,
            Err(problem) => return Err(problem.into()),
        };
        if let Some(table) = self.kernel_table()? {
            withdraw(table).await?;
            output::print(&format!("kernel table {}: no VIP has a route\n", table.table))?;
            if pins.is_some() {
                tokio::time::sleep(ROUTERS_MOVE).await;
            }
        }
        let Some(pins) = pins else {
            return output::print(&format!("{directory}: nothing is pinned there\n"));
        };
        pins.remove_all()?;
        output::print(&format!("{directory}: the data plane has ended\n"))
    }

    fn kernel_table(&self) -> anyhow::Result<Option<kernel_table::Configuration>> {
        let default = Path::new(CONFIGURATION);
        let file = self.config.as_deref().or_else(|| default.exists().then_some(default));
        let Some(file) = file else { return Ok(None) };
        let content = config::load_content(file).context(
            "which routes of VIPs are to be withdrawn is in the configuration; if none are, give one that has no section \
             \"announce\" by --config",
        )?;
        Ok(match content.announce.map(|announce| announce.by) {
            Some(By::KernelTable(table)) => Some(table),
            Some(By::Bgp(_)) | None => None,
        })
    }
}

/// Removes what the controller has written into the table.
async fn withdraw(table: kernel_table::Configuration) -> anyhow::Result<()> {
    let (_nothing, wanted) = watch::channel(Arc::default());
    kernel_table::start(&table, &wanted)?.stop(Ending::Withdraw).await
}
