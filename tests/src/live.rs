//! The lab to look at: what the controller says, every second, until Ctrl-C.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use lab::process::Process;
use lab::sluice::PEERS;
use lab::topology::Node;
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
pub(crate) async fn run(nodes: u8, targets: u8) -> Result<()> {
    let most = if nodes == 1 { String::new() } else { format!(" to lb{nodes}") };
    eprintln!("making the lab: client, router, balancer node lb1{most}, {targets} targets");
    let mut lab = Lab::builder().nodes(nodes).targets(targets).handing_on().build()?;
    let mut end = Signals::new()?;
    let mut configuration = lab.configuration();
    // So that targets give second chances.
    configuration["target_groups"][0]["encapsulation"] = "gue".into();
    lab.start_servers()?;
    lab.start_agents_with(&PEERS)?;
    lab.start_nodes(&configuration)?;
    let traffic = Traffic::start(&lab, PAUSE)?;
    let outcome = watch(&mut lab, &traffic, &mut end).await;
    eprintln!("\nremoving the lab");
    drop(traffic);
    for node in &mut lab.nodes {
        node.stop_controller().with_context(|| format!("stopping the controller of {}", node.name))?;
    }
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
    lab.nodes.iter_mut().filter_map(|node| node.controller.as_mut()).try_for_each(Process::check_running)?;
    let reports: Vec<Result<Report>> = lab.nodes.iter().map(report_of).collect();
    let text = picture(lab, &reports, tally, rates);
    let mut out = std::io::stdout().lock();
    let written = if is_terminal {
        let text = format!("{text}\n{}", commands_to_try(lab)).replace('\n', LINE_END);
        write!(out, "{HOME}{text}{REST}")
    } else {
        writeln!(out, "{text}")
    };
    written.and_then(|()| out.flush()).context("writing to standard output")
}

fn report_of(node: &Node) -> Result<Report> {
    ensure!(node.controller.is_some(), "killed; the router leaves it out");
    node.status().context("no status")
}

/// The same table for a terminal and for a file.
fn picture(lab: &Lab, reports: &[Result<Report>], tally: &Tally, rates: &mut Rates) -> String {
    let mut text = format!("Sluice in lab {}\n", lab.lease.number());
    for (node, report) in lab.nodes.iter().zip(reports) {
        let words = report.as_ref().map_or_else(|error| format!("{error:#}"), node_line);
        let _ = writeln!(text, "node {}: {words}", node.name);
    }
    let _ =
        write!(text, "the client asks {} all the time; since the last look: {tally}\n\n", join(&lab.vips));
    let living: Vec<&Report> = reports.iter().flatten().collect();
    let _ = writeln!(text, "{}", target_table(lab, &living, rates));
    for (reason, verdict) in reasons(&living) {
        let packets: u64 = living.iter().map(|report| reason_packets(report, reason)).sum();
        let _ = writeln!(text, "{packets} {verdict}: {reason}");
    }
    text
}

fn node_line(report: &Report) -> String {
    let mut text = format!("up {:.0} s", report.uptime_seconds);
    for interface in &report.interfaces {
        let _ = write!(text, ", {} ({} XDP)", interface.name, interface.mode);
    }
    for (name, group) in &report.target_groups {
        let _ = write!(text, ", flows of {name} kept by {}", group.flows_kept_by.replace('_', " "));
    }
    if let Some(rejected) = &report.configuration.rejected {
        let _ = write!(text, "\nits configuration file was refused: {rejected}");
    }
    text
}

/// What the first living node says of the targets, with the packets of all of them.
fn target_table(lab: &Lab, living: &[&Report], rates: &mut Rates) -> Table {
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
    let Some(first) = living.first() else { return table };
    for (group, reported) in &first.target_groups {
        for target in &reported.targets {
            let packets = living.iter().map(|report| packets_to(report, group, target.id)).sum();
            let rate = rates.update(group, target.id, packets, now);
            table.add_row(row(lab, target, packets, rate));
        }
    }
    table
}

fn packets_to(report: &Report, group: &str, target: IpAddr) -> u64 {
    let targets = report.target_groups.get(group).map_or(&[][..], |group| &group.targets);
    targets.iter().filter(|one| one.id == target).map(|one| one.packets).sum()
}

/// Those that some packet had, with their verdicts.
fn reasons<'a>(living: &[&'a Report]) -> BTreeSet<(&'a str, &'a str)> {
    let counted = living.iter().flat_map(|report| &report.reasons).filter(|reason| reason.packets > 0);
    counted.map(|reason| (reason.reason.as_str(), reason.verdict.as_str())).collect()
}

fn reason_packets(report: &Report, reason: &str) -> u64 {
    report.reasons.iter().filter(|one| one.reason == reason).map(|one| one.packets).sum()
}

fn row(lab: &Lab, target: &TargetReport, packets: u64, rate: f64) -> [String; 8] {
    let machine = lab.targets.iter().find(|machine| machine.own(target.id) == target.id);
    let name = machine.map_or("", |machine| machine.name.as_str());
    let reason = target.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    [
        format!("{name} {}", target.id),
        format!("{}{reason}", target.state),
        target.weight.to_string(),
        target.slots.to_string(),
        format!("{:.1} %", target.share * 100.0),
        packets.to_string(),
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
    fn update(&mut self, group: &str, target: IpAddr, packets: u64, now: Instant) -> f64 {
        let key = (group.to_string(), target);
        let Some((then, before)) = self.before.insert(key, (now, packets)) else { return 0.0 };
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        packets.saturating_sub(before) as f64 / seconds
    }
}

/// Commands that work as they stand, in another terminal, as root.
fn commands_to_try(lab: &Lab) -> String {
    let client = format!("nsenter --net=/run/netns/{}", lab.client.name());
    let second = lab.targets.get(1).or(lab.targets.first()).map_or("t1", |target| target.name.as_str());
    let last = lab.nodes.last().map_or("lb1", |node| node.name.as_str());
    let files = if lab.nodes.len() == 1 { "lb1.json" } else { "lb*.json" };
    let of_each = if lab.nodes.len() == 1 { "" } else { "; other nodes: lab status lb2" };
    let mut text = format!(
        "Try in another terminal, as root:\n\
         \x20 {client} curl http://{VIP4}/          # which target answers, and whom it sees\n\
         \x20 {client} curl 'http://[{VIP6}]/'\n\
         \x20 cargo xtask lab stop {second}           # its server stops: it is withdrawn within seconds\n\
         \x20 cargo xtask lab start {second}          # and comes back\n\
         \x20 cargo xtask lab status                  # all that the controller knows, as JSON{of_each}\n\
         \x20 $EDITOR {}   # weights, targets: applied when saved\n",
        lab.lease.directory().join(files).display()
    );
    if lab.nodes.len() > 1 {
        let _ = write!(
            text,
            "\x20 cargo xtask lab kill {last}             # the node dies; the router shares its packets out to the others\n\
             \x20 cargo xtask lab revive {last}           # it comes back, learns who has connections, and is used again\n"
        );
    }
    text + "Ctrl-C ends the lab and removes it.\n"
}
