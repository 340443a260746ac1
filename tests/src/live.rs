//! The lab to look at: what the controller says, every second, until Ctrl-C.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use lab::traffic::{Tally, Traffic};
use lab::{Lab, VIP4, VIP6};
use lb_userspace::status::report::{Report, TargetReport};
use tokio::net::UnixStream;
use tokio::net::unix::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::control;

/// Between two looks on a terminal.
const ON_TERMINAL: Duration = Duration::from_secs(1);

/// Between two tables in a file or pipe.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Between two requests of the client: about twenty a second.
const PAUSE: Duration = Duration::from_millis(45);

/// Moves to the upper left corner; [`REST`] clears what an earlier, longer picture left.
const HOME: &str = "\x1b[H";
const LINE_END: &str = "\x1b[K\n";
const REST: &str = "\x1b[J";
const CLEAR: &str = "\x1b[2J";

/// Makes the lab and shows it until Ctrl-C (or SIGTERM, or a closed terminal).
pub(crate) async fn run(targets: u8) -> Result<()> {
    eprintln!("making the lab: client, router, balancer node lb1, {targets} targets");
    let mut lab = Lab::builder().targets(targets).build()?;
    let mut end = Signals::new()?;
    let configuration = lab.configuration();
    lab.start(&configuration)?;
    let traffic = Traffic::start(&lab, PAUSE)?;
    let outcome = watch(&mut lab, &traffic, &mut end).await;
    eprintln!("\nremoving the lab");
    drop(traffic);
    lab.nodes[0].stop_controller().context("stopping the controller")?;
    outcome
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        let watch = |kind| signal(kind).context("watching for signals");
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn watch(lab: &mut Lab, traffic: &Traffic, end: &mut Signals) -> Result<()> {
    let requests = control::open(lab)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(if is_terminal { ON_TERMINAL } else { ELSEWHERE });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rates = Rates::default();
    if is_terminal {
        print!("{CLEAR}");
    } else {
        println!("{}", commands_to_try(lab));
    }
    loop {
        tokio::select! {
            () = end.any() => return Ok(()),
            _ = ticks.tick() => look(lab, &traffic.take(), &mut rates, is_terminal)?,
            accepted = requests.accept() => answer(accepted, lab).await?,
        }
    }
}

async fn answer(accepted: std::io::Result<(UnixStream, SocketAddr)>, lab: &mut Lab) -> Result<()> {
    let (connection, _) = accepted.context("accepting a request to the lab")?;
    // A request that failed half-way concerns only the one who asked.
    if let Err(error) = control::serve(connection, lab).await {
        eprintln!("{error:#}");
    }
    Ok(())
}

fn look(lab: &mut Lab, tally: &Tally, rates: &mut Rates, is_terminal: bool) -> Result<()> {
    let controller = lab.nodes[0].controller.as_mut().context("the controller was not started")?;
    controller.check_running()?;
    let text = match lab.nodes[0].status() {
        Ok(report) => picture(lab, &report, tally, rates),
        Err(error) => format!("no status: {error:#}\n"),
    };
    let mut out = std::io::stdout().lock();
    let written = if is_terminal {
        let text = format!("{text}\n{}", commands_to_try(lab)).replace('\n', LINE_END);
        write!(out, "{HOME}{text}{REST}")
    } else {
        writeln!(out, "{text}")
    };
    written.and_then(|()| out.flush()).context("writing to standard output")
}

/// The same table for a terminal and for a file.
fn picture(lab: &Lab, report: &Report, tally: &Tally, rates: &mut Rates) -> String {
    let mut text = format!(
        "Sluice in lab {}: node {}, up {:.0} s",
        lab.lease.number(),
        report.node,
        report.uptime_seconds
    );
    for interface in &report.interfaces {
        let _ = write!(text, ", {} ({} XDP)", interface.name, interface.mode);
    }
    if let Some(rejected) = &report.configuration.rejected {
        let _ = write!(text, "\nthe configuration file was refused: {rejected}");
    }
    let _ =
        write!(text, "\nthe client asks {} all the time; since the last look: {tally}\n\n", join(&lab.vips));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "target",
        "state",
        "weight",
        "slots",
        "share",
        "packets",
        "packets/s",
        "flows in exception",
    ]);
    let now = Instant::now();
    for (group, reported) in &report.target_groups {
        for target in &reported.targets {
            table.add_row(row(lab, target, rates.update(group, target, now)));
        }
    }
    let _ = writeln!(text, "{table}");
    for reason in report.reasons.iter().filter(|reason| reason.packets > 0) {
        let _ = writeln!(text, "{} {}: {}", reason.packets, reason.verdict, reason.reason);
    }
    text
}

fn row(lab: &Lab, target: &TargetReport, rate: f64) -> [String; 8] {
    let machine = lab.targets.iter().find(|machine| machine.own(target.id) == target.id);
    let name = machine.map_or("", |machine| machine.name.as_str());
    let reason = target.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    [
        format!("{name} {}", target.id),
        format!("{}{reason}", target.state),
        target.weight.to_string(),
        target.slots.to_string(),
        format!("{:.1} %", target.share * 100.0),
        target.packets.to_string(),
        format!("{rate:.0}"),
        target.exception_flows.to_string(),
    ]
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ")
}

/// Packets a second, from what was counted at the look before.
#[derive(Default)]
struct Rates {
    before: HashMap<(String, IpAddr), (Instant, u64)>,
}

impl Rates {
    fn update(&mut self, group: &str, target: &TargetReport, now: Instant) -> f64 {
        let key = (group.to_string(), target.id);
        let Some((then, packets)) = self.before.insert(key, (now, target.packets)) else { return 0.0 };
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        target.packets.saturating_sub(packets) as f64 / seconds
    }
}

/// Commands that work as they stand, in another terminal, as root.
fn commands_to_try(lab: &Lab) -> String {
    let client = format!("nsenter --net=/run/netns/{}", lab.client.name());
    let second = lab.targets.get(1).or(lab.targets.first()).map_or("t1", |target| target.name.as_str());
    let node = &lab.nodes[0];
    format!(
        "Try in another terminal, as root:\n\
         \x20 {client} curl http://{VIP4}/          # which target answers, and whom it sees\n\
         \x20 {client} curl 'http://[{VIP6}]/'\n\
         \x20 cargo xtask lab stop {second}           # its server stops: it is withdrawn within seconds\n\
         \x20 cargo xtask lab start {second}          # and comes back\n\
         \x20 cargo xtask lab status                  # all that the controller knows, as JSON\n\
         \x20 $EDITOR {}   # weights, targets: applied when saved\n\
         Ctrl-C ends the lab and removes it.\n",
        node.configuration_file().display()
    )
}
