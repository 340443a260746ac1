//! `sluice doctor`: looks where it is asked to, or where something of Sluice runs, and prints what it found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use super::finding::{Cause, Finding, any_failed};
use super::node::{self, Probing};
use super::probe::Transport;
use super::render;
use super::target::{self, Port};
use crate::output;
use crate::status::client;
use crate::status::render::Colour;

/// Find out why packets are not forwarded, on a node or a target
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// This host is a node (the default where a controller runs)
    #[arg(long)]
    node: bool,
    /// This host is a target (the default where an agent runs)
    #[arg(long)]
    target: bool,
    /// Node: only look, send no probe through the tunnels
    #[arg(long)]
    no_probe: bool,
    /// Target: a port that should be served on the VIPs, as 80 or 53/udp (repeatable)
    #[arg(long = "port", value_name = "PORT[/udp]", value_parser = port)]
    ports: Vec<Port>,
    /// How long counters are looked at; 0 leaves them out
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=3600))]
    seconds: u64,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
    /// The runtime directory that the agent was started with
    #[arg(long, value_name = "DIR", default_value = "/run/sluice-agent")]
    agent_directory: PathBuf,
}

/// Prints the findings; the exit code is a failure's if something does not forward.
///
/// # Errors
/// If there is nothing to look at, or the kernel does not answer.
pub async fn examine(options: Options) -> anyhow::Result<ExitCode> {
    let controller = options.runtime_directory.join(crate::STATUS_SOCKET);
    let agent = options.agent_directory.join(crate::STATUS_SOCKET);
    let (is_node, is_target) = options.places(&controller, &agent)?;
    let watch = Duration::from_secs(options.seconds);
    let mut findings = Vec::new();
    if is_node {
        let probing = if options.no_probe { Probing::Omit } else { Probing::Send };
        findings.extend(examine_node(&controller, watch, probing).await?);
    }
    if is_target {
        findings.extend(target::findings(&target::gather(&agent, watch, options.ports.clone()).await?));
    }
    let text = if options.json {
        render::json(&findings)?
    } else {
        render::text(&findings, Colour::of_standard_output())
    };
    output::print(&text)?;
    Ok(if any_failed(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine_node(socket: &Path, watch: Duration, probing: Probing) -> anyhow::Result<Vec<Finding>> {
    match client::fetch(socket).await {
        Ok(report) => Ok(node::findings(&node::gather(report, socket, watch, probing).await?)),
        Err(error) => {
            let mend = "sluice run --config FILE";
            Ok(vec![Finding::new(Cause::ControllerSilent, "controller", format!("{error:#}"), mend)])
        }
    }
}

impl Options {
    fn places(&self, controller: &Path, agent: &Path) -> anyhow::Result<(bool, bool)> {
        if self.node || self.target {
            return Ok((self.node, self.target));
        }
        let found = (controller.exists(), agent.exists());
        if found == (false, false) {
            bail!(
                "neither a controller ({}) nor an agent ({}) runs here: say --node or --target, or name its directory",
                controller.display(),
                agent.display()
            );
        }
        Ok(found)
    }
}

fn port(text: &str) -> Result<Port, String> {
    let (number, transport) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Transport::Tcp),
        Some((number, "udp")) => (number, Transport::Udp),
        Some((_, other)) => return Err(format!("tcp or udp is expected behind the slash, not {other:?}")),
    };
    match number.parse() {
        Ok(number) if number > 0 => Ok(Port { number, transport }),
        _ => Err(format!("a port from 1 to 65535 is expected, not {number:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_tcp_unless_said_otherwise() {
        let tcp = Port { number: 80, transport: Transport::Tcp };
        assert_eq!((port("80"), port("80/tcp")), (Ok(tcp), Ok(tcp)));
        assert_eq!(port("53/udp"), Ok(Port { number: 53, transport: Transport::Udp }));
        for wrong in ["", "0", "65536", "80/sctp", "http", "/udp"] {
            assert!(port(wrong).is_err(), "{wrong:?}");
        }
    }
}
