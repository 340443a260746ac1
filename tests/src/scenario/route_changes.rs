//! When a host's routes change, by its kernel's own word (`ip monitor`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::wait;

/// What is heard; it ends with this.
#[derive(Debug)]
pub(super) struct RouteChanges {
    last: Arc<Mutex<BTreeMap<IpAddr, Instant>>>,
    monitor: Child,
}

/// A route that nobody uses, by which it is seen that the monitor listens.
const CALL: &str = "10.200.255.255";

/// How long the monitor may take until it listens.
const LISTENS: Duration = Duration::from_secs(10);

impl RouteChanges {
    /// Begins to listen on a host.
    ///
    /// # Errors
    /// If `ip` can't be started there, or hears nothing.
    pub(super) fn of(host: &Host) -> Result<RouteChanges> {
        let mut command = Command::new("ip");
        command.args(["-o", "monitor", "route"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut monitor = host.enter(|| command.spawn()).context("starting `ip monitor`")?;
        let words = monitor.stdout.take().context("its output is a pipe")?;
        let last: Arc<Mutex<BTreeMap<IpAddr, Instant>>> = Arc::default();
        let heard = Arc::clone(&last);
        std::thread::spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                if let Some(address) = destination(&line) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).insert(address, Instant::now());
                }
            }
        });
        let changes = RouteChanges { last, monitor };
        let call = CALL.parse().context("it is an address")?;
        wait::until("the monitor of routes", LISTENS, || {
            host.ip(&format!("route replace blackhole {CALL} table 99"))?;
            host.ip(&format!("route del blackhole {CALL} table 99"))?;
            ensure!(changes.last(call).is_some(), "it hears nothing");
            Ok(())
        })?;
        Ok(changes)
    }

    /// When the route to an address, and to it alone, changed last.
    pub(super) fn last(&self, address: IpAddr) -> Option<Instant> {
        self.heard().get(&address).copied()
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RouteChanges {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

/// The destination of the route that a line is about, if that is one address.
fn destination(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip_while(|word| ["Deleted", "blackhole"].contains(word));
    words.next()?.parse().ok()
}

#[test]
fn destinations_are_read_wherever_the_line_has_them() {
    let address = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
    for (line, expected) in [
        (
            r"10.200.1.1 nhid 15 proto bgp metric 20 \    nexthop via 10.202.0.11 dev nodes weight 1",
            "10.200.1.1",
        ),
        ("Deleted fc00:1::1 nhid 18 proto bgp metric 20 pref medium", "fc00:1::1"),
        ("Deleted blackhole 10.200.1.1 table 214 proto 214 metric 100", "10.200.1.1"),
    ] {
        assert_eq!(destination(line), address(expected), "{line}");
    }
    assert_eq!(destination("default via 10.0.0.1 dev eth0"), None);
    assert_eq!(destination("10.0.0.0/8 dev lo"), None);
}
