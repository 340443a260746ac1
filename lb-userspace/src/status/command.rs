//! `sluice status`: asks the running controller and prints its answer.

use std::path::PathBuf;

use anyhow::Context;

use super::client;
use super::render::{Colour, Reasons, Style, render};
use crate::output;

/// Show what a running controller does
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Also show the reasons that no packet had yet
    #[arg(long)]
    all: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

/// Prints the status.
///
/// # Errors
/// If no controller answers.
pub async fn show(options: Options) -> anyhow::Result<()> {
    let report = client::fetch(&options.runtime_directory.join(crate::STATUS_SOCKET)).await?;
    let text = if options.json {
        serde_json::to_string_pretty(&report).context("writing the report as JSON")? + "\n"
    } else {
        render(&report, options.style())
    };
    output::print(&text)
}

impl Options {
    fn style(&self) -> Style {
        Style {
            colour: Colour::of_standard_output(),
            reasons: if self.all { Reasons::All } else { Reasons::Counted },
        }
    }
}
