//! Programs are replaced beneath a stream of packets, and each packet is forwarded. The same object loaded again is
//! another generation, with continuations of its own, as another build's would be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::flood::{Generator, interface_of};
use lab::process::Process;
use lab::topology::Lab;
use lab::{VIP4, http};
use lb_common::bench::Flood as Order;
use lb_userspace::status::report::Report;
use serde_json::{Value, json};

use crate::pinned::Pinned;
use crate::{PATIENCE, alone, number};

/// Packets that are on the wire at once: fewer than its queue holds.
const BATCH: u32 = 32;

#[test]
fn not_a_packet_is_lost_while_programs_are_replaced() {
    let Some(_alone) = alone() else { return };
    let lab = Lab::builder().targets(2).sieved().build().unwrap();
    Pinned::new(lab).unwrap().play(|pinned| {
        pinned.lab.start_servers()?;
        pinned.lab.start_agents()?;
        let mut configuration = pinned.lab.configuration();
        // So that each packet goes through three programs of a generation.
        configuration["load_balancers"][0]["allow"] = json!([ { "sources": ["0.0.0.0/0", "::/0"] } ]);
        let mut program = pinned.start(&configuration)?.interfaces[0].program_id;
        pinned.healthy()?;
        for swap in 0..number("SLUICE_TEST_SWAPS", 4) {
            let controller = pinned.lab.nodes[0].controller.take().context("the controller runs")?;
            let (controller, sent, report) =
                replace(&pinned.lab, &configuration, controller, swap.is_multiple_of(2))?;
            pinned.lab.nodes[0].controller = Some(controller);
            let now = report.interfaces[0].program_id;
            ensure!(now != program, "the program {program} was not replaced");
            program = now;
            eprintln!("swap {swap}: {sent} packets, all of them forwarded");
        }
        Ok(())
    });
}

/// Ends a controller and starts the next, while packets flow; how many these were.
fn replace(
    lab: &Lab,
    configuration: &Value,
    mut controller: Process,
    is_killed: bool,
) -> Result<(Process, u64, Report)> {
    let over = AtomicBool::new(false);
    let stream = Stream::begin(lab)?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| stream.flow(&over));
        let replaced = (|| {
            if is_killed {
                controller.kill()
            } else {
                controller.stop().map(drop)?
            }
            let next = lab.nodes[0].spawn_controller(configuration)?;
            let report = lab.wait_for(0, "the balancer on its interface", PATIENCE, |report| {
                ensure!(!report.interfaces.is_empty(), "it is not there");
                Ok(())
            })?;
            anyhow::Ok((next, report))
        })();
        over.store(true, Ordering::Relaxed);
        let sent = sending.join().expect("the stream does not panic")?;
        let (next, report) = replaced?;
        Ok((next, sent, report))
    })
}

/// Packets for the VIP, the next ones when those before have come through.
struct Stream<'a> {
    lab: &'a Lab,
    interface: u32,
    order: Order,
}

impl Stream<'_> {
    fn begin(lab: &Lab) -> Result<Stream<'_>> {
        let node = &lab.nodes[0];
        let cable = interface_of(&lab.router, &node.name)?;
        let mac = |host, name| interface_of(host, name)?.mac.context("a veth and a bridge are Ethernet");
        let (to, from) = (mac(&node.host, "eth0")?, mac(&lab.router, "nodes")?);
        let order = Order { has_syns: 1, ..Order::new(to, from, VIP4.octets(), http::PORT, 1 << 32) };
        Ok(Stream { lab, interface: cable.index, order })
    }

    /// Sends until it is over; how many packets came through, which is all.
    fn flow(&self, over: &AtomicBool) -> Result<u64> {
        let entrance = self.lab.router.entrance()?;
        entrance.move_this_thread_in();
        let mut generator = Generator::new(self.order, self.interface)?;
        let begun = self.lab.nodes[0].sieved()?;
        while !over.load(Ordering::Relaxed) {
            generator.send(BATCH)?;
            let sent = generator.sent()?;
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                let through = self.lab.nodes[0].sieved()? - begun;
                if through == sent {
                    break;
                }
                ensure!(Instant::now() < deadline, "of {sent} packets {through} were forwarded");
                std::thread::yield_now();
            }
        }
        generator.sent()
    }
}
