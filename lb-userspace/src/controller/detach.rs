//! `sluice detach`: the end of a data plane that no controller works with any more.

use std::path::{Path, PathBuf};

use crate::data_plane::Pins;
use crate::data_plane::pins::Unusable;
use crate::output;

/// End the data plane that a controller has left
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where the controller was told to pin it
    #[arg(long, value_name = "DIR", default_value = super::DEFAULT_PINS)]
    pins: PathBuf,
}

/// Takes the balancer off all interfaces, and removes its programs and maps. That there is nothing is no error.
///
/// # Errors
/// If a controller runs, or something can't be removed.
pub fn run(options: Options) -> anyhow::Result<()> {
    output::print(&format!("{}\n", end(&options.pins)?))
}

/// Ends the data plane in `directory`; what to say of it.
pub(super) fn end(directory: &Path) -> anyhow::Result<String> {
    match Pins::take_existing(directory) {
        Ok(pins) => {
            pins.remove_all()?;
            Ok(format!("{}: the data plane has ended", directory.display()))
        }
        Err(Unusable::Absent(_)) => Ok(format!("{}: nothing is pinned there", directory.display())),
        Err(problem) => Err(problem.into()),
    }
}
