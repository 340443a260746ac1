//! The verbs that only look.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{found, tables};
use crate::output;
use crate::status::client;
use crate::status::report::Report;

/// What all of these have in common.
#[derive(Debug, Clone, clap::Args)]
pub struct Asking {
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    pub runtime_directory: PathBuf,
}

/// What to do with load balancers
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(missing_docs, reason = "a flattened field has the help of its own fields")]
pub enum LoadBalancerVerb {
    /// List them
    Ls {
        #[command(flatten)]
        asking: Asking,
    },
    /// Show one with its listeners
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// What to do with listeners
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(missing_docs, reason = "a flattened field has the help of its own fields")]
pub enum ListenerVerb {
    /// List them
    Ls {
        /// Only those of this load balancer
        load_balancer: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show all that is known of one
    Show {
        /// Its load balancer's name
        load_balancer: String,
        /// Its port, with the protocol where there are two: 80, 53/udp, any/tcp
        listener: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// What to do with target groups
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(missing_docs, reason = "a flattened field has the help of its own fields")]
pub enum TargetGroupVerb {
    /// List them
    Ls {
        #[command(flatten)]
        asking: Asking,
    },
    /// Show one with its targets
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// `sluice lb`.
///
/// # Errors
/// If no controller answers, or there is nothing of that name.
pub async fn load_balancers(verb: LoadBalancerVerb) -> Result<()> {
    let width = terminal_width();
    match verb {
        LoadBalancerVerb::Ls { asking } => {
            let report = asking.report().await?;
            let (found, groups) = (found::load_balancers(&report), found::target_groups(&report));
            asking.tell(&found, |found| tables::load_balancers(found, &groups, width))
        }
        LoadBalancerVerb::Show { name, asking } => {
            let report = asking.report().await?;
            asking.tell(&found::load_balancer(&report, &name)?, |at| tables::load_balancer(*at, width))
        }
    }
}

/// `sluice listener`.
///
/// # Errors
/// If no controller answers, or there is nothing of that name.
pub async fn listeners(verb: ListenerVerb) -> Result<()> {
    match verb {
        ListenerVerb::Ls { load_balancer, asking } => {
            let report = asking.report().await?;
            let found = found::listeners(&report, load_balancer.as_deref())?;
            asking.tell(&found, |found| tables::listeners(found, terminal_width()))
        }
        ListenerVerb::Show { load_balancer, listener, asking } => {
            let report = asking.report().await?;
            asking.tell(&found::listener(&report, &load_balancer, &listener)?, |at| tables::listener(*at))
        }
    }
}

/// `sluice target-group`.
///
/// # Errors
/// If no controller answers, or there is nothing of that name.
pub async fn target_groups(verb: TargetGroupVerb) -> Result<()> {
    let width = terminal_width();
    match verb {
        TargetGroupVerb::Ls { asking } => {
            let report = asking.report().await?;
            asking.tell(&found::target_groups(&report), |found| tables::target_groups(found, width))
        }
        TargetGroupVerb::Show { name, asking } => {
            let report = asking.report().await?;
            asking.tell(&found::target_group(&report, &name)?, |at| tables::target_group(*at, width))
        }
    }
}

/// `sluice target ls`, of all target groups or of one.
///
/// # Errors
/// If no controller answers, or there is no such target group.
pub async fn targets(target_group: Option<String>, asking: Asking) -> Result<()> {
    let report = asking.report().await?;
    let found = found::targets(&report, target_group.as_deref())?;
    asking.tell(&found, |found| tables::targets(found, terminal_width()))
}

/// `sluice target show`.
///
/// # Errors
/// If no controller answers, or there is no such target.
pub async fn show_target(target_group: &str, address: &str, asking: Asking) -> Result<()> {
    let report = asking.report().await?;
    asking.tell(&found::target(&report, target_group, address)?, |at| tables::target(*at))
}

impl Asking {
    async fn report(&self) -> Result<Report> {
        client::fetch(&self.runtime_directory.join(crate::STATUS_SOCKET)).await
    }

    /// Prints `found` as JSON, or as `text` has it.
    pub(crate) fn tell<T: Serialize>(&self, found: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(found).context("writing the answer as JSON")? + "\n"
        } else {
            text(found)
        };
        output::print(&text)
    }
}

/// The terminal's width in characters; none where the output goes elsewhere, so that nothing is lost to `grep`.
fn terminal_width() -> Option<usize> {
    let size = stdout().is_terminal().then(ratatui::crossterm::terminal::size)?;
    size.ok().map(|(columns, _)| usize::from(columns))
}
