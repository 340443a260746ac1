//! Targets that fail their checks while they serve, so that every connection that reaches them is seen.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Lab, VIP4, VIP6, http, wait};
use lb_userspace::status::report::Report;
use serde_json::json;

use crate::{PATIENCE, alone, listener, play};

/// The checked port, on which nothing else is.
const CHECKED: u16 = 8080;

/// Connections to each target that are enough to see it.
const SEEN: usize = 100;

/// Between two connections, so that others have the processor, too.
const PAUSE: Duration = Duration::from_millis(1);

#[test]
fn an_unhealthy_target_gets_no_new_connection_and_gets_exactly_its_slots_back() {
    let Some(_alone) = alone() else { return };
    let mut beacons = Vec::new();
    play(&mut with_beacons(3, &mut beacons), |lab| {
        let before = lab.nodes[0].status()?;
        let (name, address) = (lab.targets[1].name.clone(), IpAddr::from(lab.targets[1].v4));
        let visitors = Visitors::start(lab)?;
        visitors.wait_for(&name, Instant::now())?;

        beacons[1] = None;
        let report = lab.wait_for_target(0, address, "unhealthy", PATIENCE)?;
        let told = Instant::now();
        ensure!(slots(&report, address) == 0, "it is unhealthy and has slots");
        ensure!(digest(&report)? != digest(&before)?, "the table is as before");
        for other in ["t1", "t3"] {
            visitors.wait_for(other, told)?;
        }
        let late = visitors.count(&name, told);
        ensure!(
            late == 0,
            "{late} new connections reached {name} after the status said that it is unhealthy"
        );
        let took = report.publications.last_decision_seconds;
        ensure!(took.is_some_and(|seconds| seconds < PATIENCE.as_secs_f64()), "the decision took {took:?} s");

        beacons[1] = Some(beacon(lab, 1));
        let report = lab.wait_for_target(0, address, "healthy", PATIENCE)?;
        ensure!(digest(&report)? == digest(&before)?, "another table than before");
        ensure!(slots(&report, address) == slots(&before, address), "another number of slots than before");
        visitors.wait_for(&name, Instant::now())?;
        visitors.stop()
    });
}

#[test]
fn when_all_targets_are_unhealthy_all_are_used() {
    let Some(_alone) = alone() else { return };
    let mut beacons = Vec::new();
    play(&mut with_beacons(2, &mut beacons), |lab| {
        let before = lab.nodes[0].status()?;
        ensure!(!before.target_groups["web"].fail_open, "it fails open while all are healthy");
        beacons.clear();
        let report = lab.wait_for_all(0, "unhealthy", PATIENCE)?;
        ensure!(report.target_groups["web"].fail_open, "the status does not say that it fails open");
        ensure!(digest(&report)? == digest(&before)?, "not all have their slots");
        let visitors = Visitors::start(lab)?;
        for name in ["t1", "t2"] {
            visitors.wait_for(name, Instant::now())?;
        }
        visitors.stop()?;

        // The servers too: packets still reach the targets, which refuse by themselves.
        lab.targets.iter_mut().for_each(lab::topology::Target::stop_server);
        for vip in [VIP4.into(), VIP6.into()] {
            let error = format!("{:#}", lab.get(vip).expect_err("nothing serves"));
            ensure!(error.contains("refused"), "{vip}: {error}");
        }

        beacons.extend((0..2).map(|number| Some(beacon(lab, number))));
        let report = lab.wait_for_all(0, "healthy", PATIENCE)?;
        ensure!(!report.target_groups["web"].fail_open, "it still fails open");
        Ok(())
    });
}

/// A lab whose targets are checked on a port of their own, where `beacons` listen.
fn with_beacons(targets: u8, beacons: &mut Vec<Option<TcpListener>>) -> Lab {
    let mut lab = Lab::builder().targets(targets).build().unwrap();
    beacons.extend((0..usize::from(targets)).map(|number| Some(beacon(&lab, number))));
    let mut configuration = lab.configuration();
    configuration["target_groups"][0]["health_check"] = json!({
        "protocol": "TCP", "port": CHECKED, "interval_seconds": 1, "timeout_seconds": 1,
        "healthy_threshold": 2, "unhealthy_threshold": 2
    });
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

/// What makes a target healthy. Connections wait in its backlog, of which there are few in a test's time.
fn beacon(lab: &Lab, number: usize) -> TcpListener {
    lab.targets[number].host.enter(|| TcpListener::bind(("::", CHECKED)).unwrap())
}

fn digest(report: &Report) -> Result<&str> {
    Ok(&listener(report)?.table_digest)
}

fn slots(report: &Report, address: IpAddr) -> u32 {
    lab::sluice::targets_of(report, address).iter().map(|target| target.slots).sum()
}

/// When a connection began, and the target that it reached or why it reached none.
type Visit = (Instant, Result<String, String>);

/// New connections without end.
struct Visitors {
    seen: Arc<Mutex<Vec<Visit>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Visitors {
    fn start(lab: &Lab) -> Result<Visitors> {
        let entrance = lab.client.entrance()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (noted, over) = (seen.clone(), is_over.clone());
        let work = move || {
            entrance.move_this_thread_in();
            let vips: [IpAddr; 2] = [VIP4.into(), VIP6.into()];
            for vip in vips.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                let begun = Instant::now();
                let answer = http::get_patiently(SocketAddr::new(*vip, http::PORT));
                let target = answer.map(|answer| answer.target).map_err(|error| format!("{error:#}"));
                noted.lock().unwrap_or_else(PoisonError::into_inner).push((begun, target));
                std::thread::sleep(PAUSE);
            }
        };
        let thread = std::thread::Builder::new().name("visitors".to_string()).spawn(work)?;
        Ok(Visitors { seen, is_over, thread: Some(thread) })
    }

    /// How many began after `since` and reached `target`.
    fn count(&self, target: &str, since: Instant) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(begun, reached)| *begun > since && reached.as_deref() == Ok(target)).count()
    }

    fn wait_for(&self, target: &str, since: Instant) -> Result<()> {
        wait::until(&format!("{SEEN} new connections to {target}"), PATIENCE, || {
            let count = self.count(target, since);
            ensure!(count >= SEEN, "there were {count}");
            Ok(())
        })
    }

    /// Ends it; none of the connections may have failed, as all targets serve all the time.
    fn stop(mut self) -> Result<()> {
        self.end();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let failed: Vec<&String> = seen.iter().filter_map(|(_, reached)| reached.as_ref().err()).collect();
        ensure!(failed.is_empty(), "{} of {} connections failed: {:?}", failed.len(), seen.len(), failed[0]);
        Ok(())
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the visitors' thread does not panic");
        }
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.end();
    }
}
