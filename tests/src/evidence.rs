//! Everything that tells why something in a lab went wrong, as one text.

use std::fmt::Write as _;
use std::process::Command;

use crate::host::Host;
use crate::process::{Process, output_of};
use crate::topology::Lab;

/// The last lines of a log are what matters.
const LOG_LINES: usize = 40;

/// What every evidence begins with.
pub const TITLE: &str = "what the lab looks like:";

impl Lab {
    /// An error that says first what is wrong, then what the lab looks like.
    pub fn with_evidence(&self, error: anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!("{error:#}\n{}", self.evidence())
    }

    /// Status and logs of the controllers, logs of agents and servers, counters, routes and neighbours.
    pub fn evidence(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for node in &self.nodes {
            section(&mut text, &format!("status of {}", node.name), &or_error(node.status_json()));
            log(&mut text, &node.name, node.controller.as_ref());
            network(&mut text, &node.host);
            let neighbours = or_error(node.host.ip("neighbour show"));
            section(&mut text, &format!("neighbours of {}", node.name), &neighbours);
        }
        for target in &self.targets {
            log(&mut text, &format!("agent of {}", target.name), target.agent.as_ref());
            section(
                &mut text,
                &format!("status of the agent of {}", target.name),
                &or_error(target.agent_status()),
            );
            log(&mut text, &format!("server of {}", target.name), target.server.as_ref());
            network(&mut text, &target.host);
        }
        network(&mut text, &self.client);
        network(&mut text, &self.router);
        section(&mut text, "routes of the router", &routes(&self.router));
        text
    }
}

fn log(text: &mut String, name: &str, process: Option<&Process>) {
    let Some(process) = process else {
        section(text, &format!("log of {name}"), "(not running)");
        return;
    };
    let log = process.log();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    section(text, &format!("log of {name} ({})", process.command()), &last);
}

/// Interfaces with their counters and XDP programs, and what the stack dropped.
fn network(text: &mut String, host: &Host) {
    section(text, &format!("ip -s link, {}", host.name()), &or_error(host.ip("-s link show")));
    let counters = host.enter(|| output_of(Command::new("nstat").args(["-a", "-s"])));
    let telling = |line: &&str| {
        ["Drop", "Err", "Discard", "NoRoutes", "Rst", "InCsum", "RPFilter"]
            .iter()
            .any(|word| line.contains(word))
    };
    let counters = counters.map(|all| all.lines().filter(telling).collect::<Vec<_>>().join("\n"));
    section(text, &format!("telling counters, {}", host.name()), &or_error(counters));
}

fn routes(host: &Host) -> String {
    format!("{}\n{}", or_error(host.ip("-4 route show")), or_error(host.ip("-6 route show")))
}

fn section(text: &mut String, title: &str, content: &str) {
    let content = content.replace('\n', "\n    ");
    writeln!(text, "  {title}:\n    {content}").expect("writing to a String never fails");
}

fn or_error(result: anyhow::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("({error:#})"))
}
