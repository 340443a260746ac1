//! BIRD 2.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Configuration, Neighbour, READY_WITHIN, directory, write};
use crate::host::Host;
use crate::process::{Process, output_of};
use crate::wait;

/// Where Debian's package has it.
const BIRD: &str = "/usr/sbin/bird";
const BIRDC: &str = "/usr/sbin/birdc";

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    socket: String,
    /// The daemon.
    pub process: Process,
}

impl Bird {
    /// Starts it on `host`.
    pub fn start(host: &Host, configuration: &Configuration) -> Result<Bird> {
        Bird::configured(host, &text(configuration))
    }

    /// Starts it on `host` with a whole configuration file of its own.
    pub fn configured(host: &Host, configuration: &str) -> Result<Bird> {
        ensure!(Path::new(BIRD).exists(), "{BIRD} is missing: `cargo xtask test` installs Debian's bird2");
        let directory = directory(host, "bird")?;
        let file = write(&directory, "bird.conf", configuration)?;
        let socket = directory.join("bird.ctl").display().to_string();
        let mut command = Command::new(BIRD);
        command.args(["-f", "-c", &file, "-s", &socket]);
        let process = host.spawn(&mut command, &format!("bird-{}.log", host.name()))?;
        let mut bird = Bird { socket, process };
        wait::until(&format!("BIRD on {}", host.name()), READY_WITHIN, || {
            bird.process.check_running()?;
            bird.ask("show status")
        })?;
        Ok(bird)
    }

    /// What it answers to a command: `show route all`.
    pub fn ask(&self, command: &str) -> Result<String> {
        output_of(Command::new(BIRDC).args(["-r", "-s", &self.socket]).args(command.split_whitespace()))
    }

    /// As [`Bird::ask`], for commands that change something: `reload in all`.
    pub fn order(&self, command: &str) -> Result<String> {
        output_of(Command::new(BIRDC).args(["-s", &self.socket]).args(command.split_whitespace()))
    }

    /// All that is known, for failures.
    pub fn evidence(&self) -> String {
        let answers = ["show protocols all", "show route all", "show bfd sessions"]
            .map(|command| self.ask(command).unwrap_or_else(|error| format!("{error:#}")));
        format!("{}\n{}", answers.join("\n"), self.process.log())
    }
}

/// The sessions are named `node0`, `node1`, …, as the neighbours are listed.
fn text(configuration: &Configuration) -> String {
    let mut text = format!("log stderr all;\nrouter id {};\n", configuration.router_id);
    text += "protocol device { scan time 10; }\nprotocol direct { ipv4; ipv6; }\n";
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(
            text,
            "protocol kernel {{ merge paths on; {family} {{ import none; export where source = RTS_BGP; }}; }}"
        );
    }
    if configuration.neighbours.iter().any(|neighbour| neighbour.bfd.is_some()) {
        text += "protocol bfd { }\n";
    }
    for (number, neighbour) in configuration.neighbours.iter().enumerate() {
        text += &session(number, neighbour, configuration.local_as);
    }
    text
}

fn session(number: usize, neighbour: &Neighbour, local_as: u32) -> String {
    let Neighbour { address, local, remote_as, hold_time, .. } = neighbour;
    let mut text = format!(
        "protocol bgp node{number} {{ local {local} as {local_as}; neighbor {address} as {remote_as}; direct; \
         hold time {hold_time}; keepalive time {}; connect retry time 2; error wait time 1, 5;\n",
        hold_time / 3
    );
    if let Some(password) = &neighbour.password {
        let _ = writeln!(text, " password \"{password}\";");
    }
    if neighbour.ttl_security {
        text += " ttl security on;\n";
    }
    if let Some(interval) = neighbour.bfd {
        let _ = writeln!(text, " bfd {{ interval {interval} ms; multiplier 3; }};");
    }
    for family in ["ipv4", "ipv6"] {
        let extended =
            if neighbour.extended_next_hop && family == "ipv4" { "extended next hop on; " } else { "" };
        let _ = writeln!(text, " {family} {{ {extended}import {DRAINING_LAST} export none; }};");
    }
    text + "}\n"
}

/// RFC 8326, as its §4 has it.
const DRAINING_LAST: &str = "filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; };";
