//! When a host's routes change, and whether one was gone meanwhile, by its kernel's own word (`ip monitor`).

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
pub struct RouteChanges {
    heard: Arc<Mutex<Heard>>,
    monitor: Child,
}

/// Of the routes to one address each.
type Heard = BTreeMap<IpAddr, Changes>;

#[derive(Debug, Clone, Copy)]
struct Changes {
    /// When the last one was heard.
    last: Instant,
    /// How many of them took the route away.
    gone: u64,
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
    pub fn of(host: &Host) -> Result<RouteChanges> {
        let mut command = Command::new("ip");
        command.args(["-o", "monitor", "route"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut monitor = host.enter(|| command.spawn()).context("starting `ip monitor`")?;
        let words = monitor.stdout.take().context("its output is a pipe")?;
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                hear(&mut hearing.lock().unwrap_or_else(PoisonError::into_inner), &line);
            }
        });
        let changes = RouteChanges { heard, monitor };
        changes.catch_up(host)?;
        Ok(changes)
    }

    /// Waits until all is heard that has changed so far on the host that is listened to.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn catch_up(&self, host: &Host) -> Result<()> {
        let (begun, call) = (Instant::now(), CALL.parse().context("it is an address")?);
        wait::until("the monitor of routes", LISTENS, || {
            host.ip(&format!("route replace blackhole {CALL} table 99"))?;
            host.ip(&format!("route del blackhole {CALL} table 99"))?;
            ensure!(self.last(call).is_some_and(|last| last >= begun), "it hears nothing");
            Ok(())
        })
    }

    /// When the route to an address, and to it alone, changed last.
    pub fn last(&self, address: IpAddr) -> Option<Instant> {
        self.heard().get(&address).map(|changes| changes.last)
    }

    /// Whether the routes to these addresses were replaced whenever they changed: a packet that comes between the end of
    /// the old one and the beginning of the new one has no way.
    ///
    /// # Errors
    /// If the kernel said of one that it was taken away.
    pub fn were_never_gone(&self, addresses: &[IpAddr]) -> Result<()> {
        let heard = self.heard();
        for address in addresses {
            let gone = heard.get(address).map_or(0, |changes| changes.gone);
            ensure!(gone == 0, "there was no route to {address} for a moment, {gone} times");
        }
        Ok(())
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RouteChanges {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

/// Takes note of a line, if it is about the route to one address.
fn hear(heard: &mut Heard, line: &str) {
    let is_gone = line.starts_with("Deleted");
    let mut words = line.split_whitespace().skip_while(|word| ["Deleted", "blackhole"].contains(word));
    let Some(address) = words.next().and_then(|word| word.parse().ok()) else { return };
    let changes = heard.entry(address).or_insert(Changes { last: Instant::now(), gone: 0 });
    *changes = Changes { last: Instant::now(), gone: changes.gone + u64::from(is_gone) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_wherever_the_line_has_them() {
        for (line, expected, gone) in [
            (
                r"10.200.1.1 nhid 15 proto bgp metric 20 \    nexthop via 10.202.0.11 dev nodes weight 1",
                "10.200.1.1",
                0,
            ),
            ("Deleted fc00:1::1 nhid 18 proto bgp metric 20 pref medium", "fc00:1::1", 1),
            ("Deleted blackhole 10.200.1.1 table 214 proto 214 metric 100", "10.200.1.1", 1),
        ] {
            let mut heard = Heard::new();
            hear(&mut heard, line);
            let found: Vec<_> = heard.iter().map(|(address, changes)| (*address, changes.gone)).collect();
            assert_eq!(found, [(expected.parse::<IpAddr>().unwrap(), gone)], "{line}");
        }
        let mut heard = Heard::new();
        hear(&mut heard, "default via 10.0.0.1 dev eth0");
        hear(&mut heard, "10.0.0.0/8 dev lo");
        assert!(heard.is_empty());
    }

    #[test]
    fn a_route_that_is_replaced_was_never_gone() {
        if !crate::require_root() {
            return;
        }
        let host = Host::new(&crate::Lease::take().unwrap(), "router").unwrap();
        host.ip("link set dev lo up").unwrap();
        let changes = RouteChanges::of(&host).unwrap();
        let of = |address: &str| [address.parse::<IpAddr>().unwrap()];
        for (address, verb) in [("192.0.2.1", "add"), ("192.0.2.1", "replace"), ("2001:db8::1", "add")] {
            host.ip(&format!("route {verb} {address} dev lo metric 20")).unwrap();
        }
        host.ip("route del 2001:db8::1 dev lo metric 20").unwrap();
        wait::until("the deleted route", LISTENS, || {
            ensure!(changes.were_never_gone(&of("2001:db8::1")).is_err(), "it was not heard");
            Ok(())
        })
        .unwrap();
        changes.were_never_gone(&of("192.0.2.1")).unwrap();
    }
}
