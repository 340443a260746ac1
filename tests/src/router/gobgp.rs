//! GoBGP, which keeps its routes to itself.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Configuration, Neighbour, READY_WITHIN, directory, write};
use crate::host::Host;
use crate::process::{Process, output_of};
use crate::wait;

/// Where Debian's package has it.
const GOBGPD: &str = "/usr/bin/gobgpd";

/// A running GoBGP.
#[derive(Debug)]
pub struct GoBgp<'a> {
    host: &'a Host,
    /// The daemon.
    pub process: Process,
}

impl GoBgp<'_> {
    /// Starts it on `host`.
    pub fn start<'a>(host: &'a Host, configuration: &Configuration) -> Result<GoBgp<'a>> {
        ensure!(
            Path::new(GOBGPD).exists(),
            "{GOBGPD} is missing: `cargo xtask test` installs Debian's gobgpd"
        );
        let directory = directory(host, "gobgp")?;
        let file = write(&directory, "gobgpd.toml", &text(configuration))?;
        let mut command = Command::new(GOBGPD);
        command.args(["-t", "toml", "-f", &file, "--api-hosts", "127.0.0.1:50051", "--pprof-disable"]);
        let process = host.spawn(&mut command, &format!("gobgp-{}.log", host.name()))?;
        let mut gobgp = GoBgp { host, process };
        wait::until(&format!("GoBGP on {}", host.name()), READY_WITHIN, || {
            gobgp.process.check_running()?;
            gobgp.ask("neighbor")
        })?;
        Ok(gobgp)
    }

    /// What it answers to a command: `global rib -a ipv6`.
    pub fn ask(&self, command: &str) -> Result<String> {
        let arguments = ["-u", "127.0.0.1", "-p", "50051"].into_iter().chain(command.split_whitespace());
        self.host.enter(|| output_of(Command::new("gobgp").args(arguments)))
    }

    /// The same as JSON.
    pub fn json(&self, command: &str) -> Result<serde_json::Value> {
        let text = self.ask(&format!("-j {command}"))?;
        serde_json::from_str(&text).with_context(|| format!("reading GoBGP's answer to {command}: {text}"))
    }

    /// All that is known, for failures.
    pub fn evidence(&self) -> String {
        let answers = ["neighbor", "global rib -a ipv4", "global rib -a ipv6"]
            .map(|command| self.ask(command).unwrap_or_else(|error| format!("{error:#}")));
        format!("{}\n{}", answers.join("\n"), self.process.log())
    }
}

fn text(configuration: &Configuration) -> String {
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\nport = 179\nlocal-address-list = [\"0.0.0.0\", \"::\"]\n",
        configuration.local_as, configuration.router_id
    );
    for neighbour in &configuration.neighbours {
        text += &session(neighbour);
    }
    text
}

fn session(neighbour: &Neighbour) -> String {
    let Neighbour { address, remote_as, hold_time, .. } = neighbour;
    let mut text = format!(
        "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {remote_as}\n"
    );
    if let Some(password) = &neighbour.password {
        let _ = writeln!(text, "auth-password = \"{password}\"");
    }
    let _ = write!(
        text,
        "[neighbors.transport.config]\npassive-mode = true\n[neighbors.timers.config]\nhold-time = {hold_time}\n\
         keepalive-interval = {}\n",
        hold_time / 3
    );
    if neighbour.ttl_security {
        text += "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
    }
    for family in ["ipv4-unicast", "ipv6-unicast"] {
        let _ = writeln!(
            text,
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\""
        );
    }
    text
}
