//! Programs are replaced again and again beneath a stream of packets, and each packet is forwarded.
//!
//! A controller that starts gives each interface its own generation of programs, which are other programs for the
//! kernel, with continuations of their own, as another build's would be. Every other one is killed before, so that its
//! programs are there without it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::controller_restarts::expect_none_dropped;
use super::{Options, Scenario, Telling};
use crate::pinned::{PATIENCE, Pinned};
use crate::stream::Stream;
use crate::topology::Lab;
use crate::{http, wait};

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "program-swaps",
    about: "programs are replaced 100 times under at least 4 million packets: not one is lost",
    run,
};

const SWAPS: u32 = 100;
const PACKETS: u32 = 4_000_000;

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let (swaps, packets) = (options.rounds.unwrap_or(SWAPS), options.packets.unwrap_or(PACKETS));
    let lab = Lab::builder().targets(2).sieved().build()?;
    Pinned::new(lab)?.tell(|pinned| play(pinned, swaps, packets.into(), telling))
}

fn play(pinned: &mut Pinned, swaps: u32, packets: u64, telling: &mut Telling) -> Result<()> {
    pinned.lab.start_servers()?;
    pinned.lab.start_agents()?;
    let mut configuration = pinned.lab.configuration();
    // So that each packet goes through three programs of a generation.
    configuration["load_balancers"][0]["allow"] = json!([ { "sources": ["0.0.0.0/0", "::/0"] } ]);
    let mut program = pinned.start(&configuration)?.interfaces[0].program_id;
    pinned.healthy()?;
    let stream = Stream::start(&pinned.lab, 0, http::PORT)?;
    for swap in 1..=swaps {
        let next = replace(pinned, &configuration, swap)?;
        ensure!(next != program, "the program {program} was not replaced");
        program = next;
        if swap.is_multiple_of(swaps.div_ceil(10)) {
            telling.step(format!("replaced {swap} times; {} packets", stream.sent()));
        }
    }
    wait::until("the rest of the packets", PATIENCE, || {
        ensure!(stream.sent() >= packets, "{} were sent", stream.sent());
        Ok(())
    })?;
    let flowed = stream.stop(&pinned.lab.nodes[0])?;
    flowed.tell(telling);
    telling.number("generations of programs", swaps + 1);
    let report = pinned.lab.nodes[0].status()?;
    let counted = report.load_balancers["web"].listeners[0].packets;
    telling.claim("not a packet was lost, and each was counted once", flowed.is_whole(counted));
    telling.claim("the balancer dropped none", expect_none_dropped(&report));
    Ok(())
}

/// Ends the controller, one way or the other, and starts the next; the kernel's id of its program.
fn replace(pinned: &mut Pinned, configuration: &Value, swap: u32) -> Result<u32> {
    if swap.is_multiple_of(2) {
        pinned.kill()?;
    } else {
        pinned.terminate()?;
    }
    let report = pinned.start(configuration)?;
    Ok(report.interfaces.first().context("the balancer is on no interface")?.program_id)
}
