//! Hundreds of targets that pass one check and fail the next, for minutes: what it costs the controller, and whether
//! its decisions come later for it.
//!
//! All of the targets are one machine, which has a whole network's addresses for its own. Half of them are healthy at
//! any time, so that the group never fails open.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_userspace::status::report::PublicationReport;
use serde_json::json;

use super::{Options, Scenario, Telling};
use crate::configuration::{target_group, web};
use crate::host::Host;
use crate::process::output_of;
use crate::topology::Lab;

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "flapping",
    about: "500 targets flap at every check for five minutes: the controller takes less than a tenth of a core",
    run,
};

const TARGETS: u32 = 500;
/// How long all of them flap.
const SECONDS: u32 = 300;
/// Between two checks of a target.
const INTERVAL: u32 = 5;
/// How long one of them flaps alone before, for comparison.
const ALONE: Duration = Duration::from_secs(4 * INTERVAL as u64);
/// How often the status is asked for: more often than a metrics server would.
const LOOK: Duration = Duration::from_secs(2);
/// The targets' network, and the port that is checked.
const NETWORK: &str = "10.64.0.0/16";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 0);
const CHECKED: u16 = 8081;
const PATIENCE: Duration = Duration::from_secs(60);
/// The share of a core that the controller may take. A debug build of it takes many times of what is shipped.
const CORE: f64 = 0.1;
/// How much later than alone a decision may come in the mean: what one table's publication may take.
const LATER: f64 = 0.050;
/// The same of a debug build, on whatever machine: it waits for others, but not without end.
const LATER_IN_DEBUG: f64 = 1.0;

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let targets = options.flapping.unwrap_or(TARGETS);
    let seconds = options.seconds.unwrap_or(SECONDS);
    let mut lab = Lab::builder().targets(1).build()?;
    let machine = &lab.targets[0];
    machine.host.ip(&format!("route add local {NETWORK} dev lo"))?;
    lab.router.ip(&format!("route add {NETWORK} via {}", machine.v4))?;
    let server = Server::start(&machine.host)?;
    let addresses: Vec<IpAddr> =
        (0..targets).map(|n| Ipv4Addr::from_bits(FIRST.to_bits() + n).into()).collect();
    let mut configuration = web(&lab.nodes[0], &lab.vips, &[]);
    configuration["target_groups"][0] = target_group("web", "TCP", 80, &addresses);
    configuration["target_groups"][0]["health_check"] = json!({
        "protocol": "HTTP", "port": CHECKED, "path": "/", "interval_seconds": INTERVAL, "timeout_seconds": 2,
        "healthy_threshold": 1, "unhealthy_threshold": 1
    });
    lab.start_controller(0, &configuration)?;
    lab.wait_for_all(0, "healthy", PATIENCE)?;
    telling.step(format!("{targets} targets are healthy"));

    server.flap(1);
    let alone = Watched::during(&lab, ALONE)?;
    telling.step(format!("one flaps: {}", alone.words()));
    server.flap(targets as usize);
    let all = Watched::during(&lab, Duration::from_secs(seconds.into()))?;
    telling.step(format!("all flap: {}", all.words()));
    tell(&alone, &all, targets, seconds, telling);
    Ok(())
}

fn tell(alone: &Watched, all: &Watched, targets: u32, seconds: u32, telling: &mut Telling) {
    telling.number("targets that flapped", targets);
    telling.number("changes of health that were published", all.decisions);
    telling.number("tables published", all.tables);
    telling.number("share of a core, one flapping", format!("{:.1} %", alone.core * 100.0));
    telling.number("share of a core, all flapping", format!("{:.1} %", all.core * 100.0));
    telling.number("decision to table, one flapping", milliseconds(alone.mean()));
    telling.number("decision to table, all flapping", milliseconds(all.mean()));
    let flapped = || {
        // A check's time wanders a little, and the last ones are not over.
        let expected = u64::from(targets) * u64::from(seconds / INTERVAL) / 2;
        ensure!(all.decisions >= expected, "{} changes of health, not {expected}", all.decisions);
        Ok(())
    };
    telling.claim("every target flapped at its checks", flapped());
    let cheap = || {
        ensure!(all.core <= CORE, "it took {:.1} % of one", all.core * 100.0);
        Ok(())
    };
    let later = if cfg!(debug_assertions) { LATER_IN_DEBUG } else { LATER };
    let timely = || {
        let (alone, all) = alone.mean().zip(all.mean()).context("no decision was seen")?;
        ensure!(all <= alone + later, "{:.1} ms later", (all - alone) * 1e3);
        Ok(())
    };
    let later =
        format!("in the mean, tables follow at most {} later than when one flaps", milliseconds(Some(later)));
    telling.claim(&later, timely());
    if cfg!(debug_assertions) {
        return telling.number("cost", "not claimed of a debug build: play it with --release");
    }
    telling.claim("the controller took at most a tenth of a core", cheap());
}

fn milliseconds(seconds: Option<f64>) -> String {
    seconds.map_or("never seen".to_owned(), |seconds| format!("{:.1} ms", seconds * 1e3))
}

/// A node's controller over some time.
#[derive(Debug)]
struct Watched {
    /// The share of one core that it took.
    core: f64,
    /// What it published.
    decisions: u64,
    tables: u64,
    /// From decisions to tables, in seconds, all together.
    latency: f64,
}

impl Watched {
    fn during(lab: &Lab, time: Duration) -> Result<Watched> {
        let publications = || -> Result<PublicationReport> { Ok(lab.nodes[0].status()?.publications) };
        let controller = lab.nodes[0].controller.as_ref().context("the controller was not started")?;
        let (before, begun, ticks) = (publications()?, Instant::now(), ticks(controller.id())?);
        let mut after = before.clone();
        while begun.elapsed() < time {
            std::thread::sleep(LOOK.min(time));
            after = publications()?;
        }
        let seconds = (self::ticks(controller.id())? - ticks) as f64 / ticks_per_second()?;
        Ok(Watched {
            core: seconds / begun.elapsed().as_secs_f64(),
            decisions: after.decisions.count() - before.decisions.count(),
            tables: after.tables - before.tables,
            latency: after.decisions.sum - before.decisions.sum,
        })
    }

    /// From a decision to its table, in seconds.
    fn mean(&self) -> Option<f64> {
        (self.decisions > 0).then(|| self.latency / self.decisions as f64)
    }

    fn words(&self) -> String {
        let Watched { core, decisions, tables, .. } = self;
        let mean = milliseconds(self.mean());
        format!("{:.1} % of a core, {decisions} changes in {tables} tables, {mean} each", core * 100.0)
    }
}

/// The time that a process has had on processors, in the kernel's ticks.
fn ticks(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    spent(&text).with_context(|| format!("{path} has no times: {text}"))
}

/// The user's and the system's time; the name before them may hold anything, but is in brackets.
fn spent(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut number = || fields.next()?.parse::<u64>().ok();
    Some(number()? + number()?)
}

fn ticks_per_second() -> Result<f64> {
    let text = output_of(Command::new("getconf").arg("CLK_TCK"))?;
    text.trim().parse().with_context(|| format!("reading {text:?} of getconf"))
}

/// All targets' server: who asks gets 200, or 200 and 503 in turn.
struct Server {
    /// So many targets flap; more than all ends it.
    flapping: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

const END: usize = usize::MAX;

impl Server {
    fn start(host: &Host) -> Result<Server> {
        let listener =
            host.enter(|| TcpListener::bind(("0.0.0.0", CHECKED))).context("opening the checked port")?;
        listener.set_nonblocking(true).context("a socket that doesn't block")?;
        let flapping = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&flapping);
        let thread = std::thread::spawn(move || serve(&listener, &shared));
        Ok(Server { flapping, thread: Some(thread) })
    }

    fn flap(&self, targets: usize) {
        self.flapping.store(targets, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.flap(END);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, flapping: &AtomicUsize) {
    let mut asked: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        let flapping = flapping.load(Ordering::Relaxed);
        if flapping == END {
            return;
        }
        match listener.accept() {
            // Who went away meanwhile is the controller's affair.
            Ok((connection, _)) => drop(answer(connection, &mut asked, flapping)),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn answer(
    mut connection: TcpStream,
    asked: &mut HashMap<IpAddr, usize>,
    flapping: usize,
) -> std::io::Result<()> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let address = connection.local_addr()?.ip();
    let mut request = [0; 1024];
    let _ = connection.read(&mut request)?;
    let times = asked.entry(address).or_default();
    *times += 1;
    let status = if is_well(address, *times, flapping) { "200 OK" } else { "503 Service Unavailable" };
    write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// Every other one of those that flap is well at its even checks.
fn is_well(address: IpAddr, times: usize, flapping: usize) -> bool {
    let IpAddr::V4(address) = address else { return true };
    let number = address.to_bits().saturating_sub(FIRST.to_bits()) as usize;
    number >= flapping || (times + number).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_times_are_read_after_whatever_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0 5 0 99";
        assert_eq!(spent(stat), Some(42));
        assert_eq!(spent("7 (a) S"), None);
    }

    #[test]
    fn half_of_those_that_flap_are_well_at_any_time() {
        let address = |n| IpAddr::from(Ipv4Addr::from_bits(FIRST.to_bits() + n));
        for times in 0..4 {
            assert_eq!((0..10).filter(|n| is_well(address(*n), times, 10)).count(), 5);
        }
        assert_ne!(is_well(address(3), 1, 10), is_well(address(3), 2, 10));
        assert!(is_well(address(3), 1, 3) && is_well(address(3), 2, 3));
    }
}
