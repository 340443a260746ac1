//! FRR: zebra, bfdd and bgpd, without its service manager, so that each host can have its own.

use std::fmt::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Configuration, Neighbour, READY_WITHIN, directory, write};
use crate::host::Host;
use crate::process::{Process, output_of};
use crate::wait;

/// Where Debian's package has the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// A running FRR.
#[derive(Debug)]
pub struct Frr {
    directory: PathBuf,
    namespace: String,
    /// bgpd, bfdd and zebra: dropped in this order.
    processes: Vec<Process>,
}

impl Frr {
    /// Starts the daemons on `host` and gives them their configuration.
    pub fn start(host: &Host, configuration: &Configuration) -> Result<Frr> {
        Frr::configured(host, &text(configuration))
    }

    /// Starts the daemons on `host` and gives them a whole configuration file.
    pub fn configured(host: &Host, configuration: &str) -> Result<Frr> {
        let directory = directory(host, "frr")?;
        chown_to_frr(&directory)?;
        let mut frr = Frr { directory, namespace: host.name().to_owned(), processes: Vec::new() };
        let zebra_socket = frr.file("zserv.api");
        for daemon in ["zebra", "bfdd", "bgpd"] {
            frr.start_daemon(host, daemon, &zebra_socket)?;
        }
        let file = write(&frr.directory, "frr.conf", configuration)?;
        frr.vtysh_with(&["-f", &file]).context("configuring FRR")?;
        Ok(frr)
    }

    /// Each is ready when it answers; the next one needs zebra's socket.
    fn start_daemon(&mut self, host: &Host, daemon: &str, zebra_socket: &str) -> Result<()> {
        let program = Path::new(DAEMONS).join(daemon);
        ensure!(
            program.exists(),
            "{} is missing: `cargo xtask test` installs Debian's frr",
            program.display()
        );
        let mut command = Command::new(program);
        command.args(["-u", "frr", "-g", "frr", "-P", "0", "-f", "/dev/null", "--log", "stdout"]);
        command.args(["-i", &self.file(&format!("{daemon}.pid"))]);
        command.args(["-z", zebra_socket, "--vty_socket", &self.file("")]);
        if daemon == "zebra" {
            // Else it deletes an IPv6 route before it adds the next one, and what comes between is lost.
            command.arg("--v6-rr-semantics");
        }
        if daemon == "bfdd" {
            command.args(["--bfdctl", &self.file("bfdd.sock")]);
        }
        let mut process = host.spawn(&mut command, &format!("{daemon}-{}.log", host.name()))?;
        let socket = self.directory.join(format!("{daemon}.vty"));
        wait::until(&format!("{daemon} on {}", host.name()), READY_WITHIN, || {
            process.check_running()?;
            ensure!(socket.exists(), "there is no {}; its log:\n{}", socket.display(), process.log());
            Ok(())
        })?;
        self.processes.insert(0, process);
        Ok(())
    }

    /// What FRR answers to a command of its shell: `show bgp summary`.
    pub fn vtysh(&self, command: &str) -> Result<String> {
        self.vtysh_with(&["-c", command])
    }

    /// What it answers to a command that ends in `json`.
    pub fn json(&self, command: &str) -> Result<serde_json::Value> {
        let text = self.vtysh(command)?;
        serde_json::from_str(&text).with_context(|| format!("reading FRR's answer to {command}: {text}"))
    }

    /// A daemon's process: `bgpd`.
    pub fn process(&mut self, daemon: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.command().contains(daemon))
    }

    /// What a daemon wrote to its log.
    pub fn log(&self, daemon: &str) -> String {
        let process = self.processes.iter().find(|process| process.command().contains(daemon));
        process.map(Process::log).unwrap_or_default()
    }

    /// The configured neighbours and all that is known of them, for failures.
    pub fn evidence(&self) -> String {
        let asked =
            ["show bgp summary", "show bgp neighbors", "show bfd peers", "show bgp ipv4", "show bgp ipv6"];
        let answers = asked.map(|command| match self.vtysh(command) {
            Ok(answer) => format!("{} {command}:\n{answer}\n", self.namespace),
            Err(error) => format!("{} {command}: {error:#}\n", self.namespace),
        });
        answers.concat()
    }

    fn vtysh_with(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("vtysh");
        command.args(["--vty_socket", &self.file("")]).args(arguments);
        output_of(&mut command)
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// The daemons give up root, and make their sockets and pid files there.
fn chown_to_frr(directory: &Path) -> Result<()> {
    let id = |flag: &str| -> Result<u32> {
        let text = output_of(Command::new("id").args([flag, "frr"])).context("FRR's user (Debian's frr)")?;
        text.trim().parse().with_context(|| format!("reading the id {text}"))
    };
    chown(directory, Some(id("-u")?), Some(id("-g")?))
        .with_context(|| format!("giving {} to frr", directory.display()))
}

/// The whole configuration.
fn text(configuration: &Configuration) -> String {
    let mut text = String::from(POLICY);
    let fast = configuration.neighbours.iter().filter_map(|neighbour| neighbour.bfd);
    let intervals: std::collections::BTreeSet<u32> = fast.collect();
    text += "bfd\n";
    for interval in intervals {
        let _ = write!(
            text,
            " profile every{interval}\n  receive-interval {interval}\n  transmit-interval {interval}\n  \
             detect-multiplier 3\n exit\n"
        );
    }
    let _ = write!(
        text,
        "exit\nrouter bgp {}\n bgp router-id {}\n bgp bestpath as-path multipath-relax\n \
         bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n",
        configuration.local_as, configuration.router_id
    );
    for neighbour in &configuration.neighbours {
        text += &session(neighbour);
    }
    for family in ["ipv4", "ipv6"] {
        let _ =
            writeln!(text, " address-family {family} unicast\n  maximum-paths 64\n  maximum-paths ibgp 64");
        for Neighbour { address, .. } in &configuration.neighbours {
            let _ = writeln!(
                text,
                "  neighbor {address} activate\n  neighbor {address} route-map FROM-NODES in\n  \
                 neighbor {address} maximum-prefix 10000"
            );
        }
        text += " exit-address-family\n";
    }
    text + "exit\n"
}

/// Routes to single addresses alone, and those that drain only when there is no other (RFC 8326).
const POLICY: &str = "\
ip prefix-list VIPS seq 5 permit 0.0.0.0/0 ge 32
ipv6 prefix-list VIPS6 seq 5 permit ::/0 ge 128
bgp community-list standard GSHUT seq 5 permit graceful-shutdown
route-map FROM-NODES permit 5
 match community GSHUT
 set local-preference 0
 on-match next
exit
route-map FROM-NODES permit 10
 match ip address prefix-list VIPS
exit
route-map FROM-NODES permit 20
 match ipv6 address prefix-list VIPS6
exit
";

fn session(neighbour: &Neighbour) -> String {
    let Neighbour { address, remote_as, hold_time, .. } = neighbour;
    let mut text = format!(
        " neighbor {address} remote-as {remote_as}\n neighbor {address} timers {} {hold_time}\n \
         neighbor {address} timers connect 1\n",
        hold_time / 3
    );
    let mut set = |what: String| {
        let _ = writeln!(text, " neighbor {address} {what}");
    };
    if let Some(password) = &neighbour.password {
        set(format!("password {password}"));
    }
    if neighbour.ttl_security {
        set("ttl-security hops 1".to_owned());
    }
    if neighbour.extended_next_hop {
        set("capability extended-nexthop".to_owned());
    }
    if let Some(interval) = neighbour.bfd {
        set(format!("bfd profile every{interval}"));
    }
    text
}
