//! `sluice node` and `sluice zone`: operators' orders to the controller on this host, over its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

use super::routes::{Answer, Order, PATH};
use crate::status::client;
use crate::status::render::{Colour, Style, render_routers};
use crate::status::report::Report;
use crate::{membership, output};

/// Nodes: list those that share the state; take this one out of its routers' tables, and put it back
#[derive(Debug, Clone, clap::Args)]
pub struct NodeOptions {
    #[command(subcommand)]
    action: NodeAction,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum NodeAction {
    /// List the nodes that share the state, with how far each has followed
    Ls(membership::command::Options),
    /// Have routers send packets elsewhere, and wait until none come any more
    ///
    /// VIPs are announced as a way of last resort first, and withdrawn after a while. The order stays in force, also
    /// over restarts, until `sluice node undrain`. Where nodes share their state, a node that knows that no other
    /// announces one of its VIPs refuses.
    Drain {
        /// When VIPs are withdrawn: 30s, 2m; the configuration's drain_seconds without this
        #[arg(long, value_name = "TIME", value_parser = time)]
        after: Option<Duration>,
        /// Drain although no other node announces a VIP
        #[arg(long)]
        force: bool,
        /// Do not wait for packets to cease
        #[arg(long)]
        no_wait: bool,
        /// Wait for so long after the withdrawal
        #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m", conflicts_with = "no_wait")]
        wait: Duration,
        #[command(flatten)]
        place: Place,
    },
    /// End a drain: VIPs are announced again
    Undrain {
        #[command(flatten)]
        place: Place,
    },
    /// Show which VIPs are announced, why not, and the sessions with routers
    Status {
        /// Print JSON for programs: what `sluice status --json` has of it
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Leave this zone's own VIPs to other zones for a while
#[derive(Debug, Clone, clap::Args)]
pub struct ZoneOptions {
    #[command(subcommand)]
    action: ZoneAction,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum ZoneAction {
    /// Withdraw the zone's own VIPs on this node; ends by itself
    Shift {
        /// The zone, which is this node's
        zone: String,
        /// For how long, at most 72h: 30m, 2h
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Duration,
        /// Shift although no other node announces a VIP of the zone
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// End it now
    Unshift {
        /// The zone, which is this node's
        zone: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the controller is.
#[derive(Debug, Clone, clap::Args)]
struct Place {
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.runtime_directory.join(crate::STATUS_SOCKET)
    }

    async fn order(&self, order: &Order) -> anyhow::Result<()> {
        let Answer { done } = client::post(&self.socket(), PATH, order).await?;
        output::print(&format!("{done}\n"))
    }
}

/// For how long no packet must come before a node counts as drained.
const QUIET: u32 = 3;

/// Between two looks at the packets.
const LOOKS: Duration = Duration::from_secs(1);

/// Does what `sluice node` asks for.
///
/// # Errors
/// If no controller answers, it refuses, or packets go on coming.
pub async fn node(options: NodeOptions) -> anyhow::Result<()> {
    match options.action {
        NodeAction::Ls(options) => membership::command::list(options).await,
        NodeAction::Drain { after, force, no_wait, wait, place } => {
            let after_seconds = after.map(|after| after.as_secs());
            place.order(&Order::Drain { after_seconds, force }).await?;
            if no_wait { Ok(()) } else { until_drained(&place.socket(), wait).await }
        }
        NodeAction::Undrain { place } => place.order(&Order::Undrain).await,
        NodeAction::Status { json, place } => {
            let report = client::fetch(&place.socket()).await?;
            output::print(&if json { json_of(&report)? } else { text_of(&report) })
        }
    }
}

/// Does what `sluice zone` asks for.
///
/// # Errors
/// If no controller answers, or it refuses.
pub async fn zone(options: ZoneOptions) -> anyhow::Result<()> {
    match options.action {
        ZoneAction::Shift { zone, time, force, place } => {
            place.order(&Order::Shift { zone, for_seconds: time.as_secs(), force }).await
        }
        ZoneAction::Unshift { zone, place } => place.order(&Order::Unshift { zone }).await,
    }
}

fn json_of(report: &Report) -> anyhow::Result<String> {
    let part = serde_json::json!({
        "node": report.node, "zone": report.zone,
        "announcements": report.announcements, "routers": report.routers,
    });
    Ok(serde_json::to_string_pretty(&part).context("writing the report as JSON")? + "\n")
}

fn text_of(report: &Report) -> String {
    render_routers(report, Style { colour: Colour::of_standard_output(), ..Style::default() })
}

/// Follows the packets for VIPs, and prints what changes, until the VIPs are withdrawn and none came for a while.
async fn until_drained(socket: &Path, wait: Duration) -> anyhow::Result<()> {
    let mut before = packets(&client::fetch(socket).await?);
    let (mut quiet, mut withdrawn_at, mut said) = (0, None, String::new());
    loop {
        tokio::time::sleep(LOOKS).await;
        let report = client::fetch(socket).await?;
        let drain = report.routers.as_ref().and_then(|routers| routers.drain.as_ref());
        let Some(drain) = drain else { bail!("the drain was ended by another order") };
        let now = packets(&report);
        let came = now.saturating_sub(before);
        before = now;
        let told = report.announcements.iter().filter(|vip| vip.announced).count();
        if told == 0 {
            withdrawn_at.get_or_insert_with(Instant::now);
        }
        quiet = if came == 0 && told == 0 { quiet + 1 } else { 0 };
        let line = progress(told, came, drain.withdraw_in_seconds);
        if line != said {
            output::print(&format!("{line}\n"))?;
            said = line;
        }
        if quiet >= QUIET {
            return output::print(&format!("drained: no packet came for a VIP in {QUIET} s\n"));
        }
        if withdrawn_at.is_some_and(|at| at.elapsed() >= wait) {
            bail!(
                "packets for VIPs still come {} s after the withdrawal: does a router have another way than to this \
                 node? `sluice node status` shows the sessions; the drain stays in force",
                wait.as_secs()
            );
        }
    }
}

fn progress(told: usize, came: u64, withdraw_in_seconds: f64) -> String {
    match told {
        0 => format!("VIPs withdrawn; {came} packets came for them in the last second"),
        _ => format!(
            "{told} VIPs draining, withdrawn in {:.0} s; {came} packets came for them in the last second",
            withdraw_in_seconds.ceil()
        ),
    }
}

/// Packets that were forwarded for VIPs.
fn packets(report: &Report) -> u64 {
    let listeners = report.load_balancers.values().flat_map(|balancer| &balancer.listeners);
    listeners.map(|listener| listener.packets).sum()
}

/// A time as people write it: `90`, `90s`, `5m`, `2h`, `3d`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: a whole number and s, m, h or d, as in 30s or 2h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = ["90", "90s", "5m", "2h", "3d"].map(|text| time(text).unwrap().as_secs());
        assert_eq!(read, [90, 90, 300, 7200, 259_200]);
        for wrong in ["", "s", "-1s", "+1s", "1.5h", "2 h", "2w", "18446744073709551615d"] {
            assert!(time(wrong).unwrap_err().contains("as in 30s or 2h"), "{wrong}");
        }
    }

    #[test]
    fn progress_says_what_is_waited_for() {
        assert_eq!(
            progress(2, 345, 12.3),
            "2 VIPs draining, withdrawn in 13 s; 345 packets came for them in the last second"
        );
        assert_eq!(progress(0, 7, 0.0), "VIPs withdrawn; 7 packets came for them in the last second");
    }
}
