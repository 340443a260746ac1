//! Stray ACKs of random flows, as an attacker sends them through the nodes: each is handed on once and reset once, and
//! nothing grows, while connections on both targets of the chain go on.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use fastrand::Rng;
use lab::crowd::{Crowd, Patience};
use lab::scenario::cluster::{Agents, Cluster, Standing};
use lab::topology::{Target, VIP4};
use lab::{echo, wait};
use lb_common::bench::FLOOD_SOURCES;
use lb_common::encapsulation::GUE_PORT;
use serde_json::Value;

use crate::{CONNECTIONS, alone};

/// Different flows.
const FLOWS: usize = 30_000;
/// So long, at so many packets a second, if the machine can.
const TIME: Duration = Duration::from_secs(5);
const RATE: u32 = 100_000;
/// What is sent without a look at the clock.
const BURST: u32 = 500;
/// After so many looks in a row at the same counters, so far apart, a target has nothing more to do.
const EQUAL_LOOKS: u32 = 3;
const STILL: Duration = Duration::from_millis(300);
/// By how much an agent's memory may differ: what its allocator keeps of a status report.
const FEW_PAGES: u64 = 2 << 20;
/// How long a socket may be there that comes and goes.
const FEW_SOCKETS_WITHIN: Duration = Duration::from_secs(30);

/// What there is on a target.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Bytes of the agent's process in memory.
    resident: u64,
    /// Bytes that the kernel accounts for its maps and programs.
    locked: u64,
    /// TCP sockets of the host.
    sockets: u64,
    /// Resets that it has sent.
    resets: u64,
    decapsulated: u64,
    unclaimed: u64,
    handed_on: u64,
    not_tunnelled: u64,
}

impl Size {
    fn of(target: &Target) -> Result<Size> {
        let agent = target.agent.as_ref().context("the target's agent runs")?.id();
        let status: Value = serde_json::from_str(&target.agent_status()?)?;
        let packets = |reason: &str| status["packets"][reason].as_u64().unwrap_or(0);
        Ok(Size {
            resident: number_after(&fs::read_to_string(format!("/proc/{agent}/status"))?, "VmRSS:")? << 10,
            locked: locked(agent)?,
            sockets: number_after(&target.host.run("cat", &["/proc/net/sockstat"])?, "TCP: inuse")?,
            resets: tcp_counter(&target.host.run("cat", &["/proc/net/snmp"])?, "OutRsts")?,
            decapsulated: packets("decapsulated"),
            unclaimed: packets("unclaimed"),
            handed_on: packets("handed_on"),
            not_tunnelled: packets("not_tunnelled"),
        })
    }

    /// What may not grow.
    fn is_no_larger_than(&self, before: &Size) -> Result<()> {
        ensure!(self.locked == before.locked, "maps: {self:?} after {before:?}");
        ensure!(self.resident < before.resident + FEW_PAGES, "memory: {self:?} after {before:?}");
        Ok(())
    }
}

/// Waits until the target has no more sockets than before, but for few: those of health checks and of agents' reports
/// come and go.
fn until_few_sockets(target: &Target, before: &Size) -> Result<()> {
    wait::until("the end of further sockets", FEW_SOCKETS_WITHIN, || {
        let now = Size::of(target)?;
        ensure!(now.sockets <= before.sockets + 2, "sockets: {now:?} after {before:?}");
        Ok(())
    })
}

/// The number behind a word.
fn number_after(text: &str, word: &str) -> Result<u64> {
    let (_, rest) = text.split_once(word).with_context(|| format!("no {word} in {text}"))?;
    let number = rest.split_whitespace().next().with_context(|| format!("nothing after {word}"))?;
    Ok(number.parse()?)
}

/// A counter of TCP in /proc/net/snmp: a line of names, then one of numbers.
fn tcp_counter(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, numbers) = lines.next().zip(lines.next()).context("no TCP counters")?;
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    let (_, number) = pairs.find(|(there, _)| *there == name).with_context(|| format!("no {name}"))?;
    Ok(number.parse()?)
}

/// The sum over the process's maps and programs, each once.
fn locked(process: u32) -> Result<u64> {
    let mut sizes = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // A descriptor of a connection may be gone by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        for id in ["map_id:", "prog_id:"] {
            if let (Ok(number), Ok(size)) = (number_after(&text, id), number_after(&text, "memlock:")) {
                sizes.insert((id, number), size);
            }
        }
    }
    ensure!(!sizes.is_empty(), "process {process} has no maps");
    Ok(sizes.values().sum())
}

/// An ACK of a flow that nobody has, with a chain of one more target, behind UDP.
fn stray(next: Ipv4Addr, random: &mut Rng) -> Vec<u8> {
    let client = Ipv4Addr::from_bits(FLOOD_SOURCES | random.u32(..1 << 17));
    let mut packet = vec![3, 4, 0, 0, 1, 0, 1, 0];
    packet.extend(next.octets());
    packet.extend([0; 4]);
    PacketBuilder::ipv4(client.octets(), VIP4.octets(), 63)
        .tcp(random.u16(1024..), echo::PORT, random.u32(..), 512)
        .ack(random.u32(..))
        .write(&mut packet, b"stray")
        .expect("a short packet has room for its lengths");
    packet
}

/// Sends strays from a node to `target` for [`TIME`], with `next` in their chains: how many, and how long it took.
fn pour(cluster: &Cluster, target: Ipv4Addr, next: Ipv4Addr) -> Result<(u64, Duration)> {
    let mut random = Rng::with_seed(100_000);
    let strays: Vec<_> = (0..FLOWS).map(|_| stray(next, &mut random)).collect();
    let node = &cluster.lab.nodes[0];
    let socket = node.host.enter(|| UdpSocket::bind((node.v4, 0)))?;
    socket.connect((target, GUE_PORT))?;
    let (begun, mut sent) = (Instant::now(), 0_u32);
    for burst in strays.chunks(BURST as usize).cycle() {
        for stray in burst {
            // A full queue is a packet that is lost, as on any wire.
            sent += u32::from(socket.send(stray).is_ok());
        }
        if begun.elapsed() >= TIME {
            break;
        }
        std::thread::sleep((Duration::from_secs(1) / RATE * sent).saturating_sub(begun.elapsed()));
    }
    Ok((sent.into(), begun.elapsed()))
}

/// Waits until the target has nothing more to do.
fn settled(target: &Target) -> Result<Size> {
    let (mut last, mut equal) = (Size::of(target)?, 1);
    wait::until("the last stray", Duration::from_secs(60), || {
        std::thread::sleep(STILL);
        let now = Size::of(target)?;
        let is_still = now.unclaimed == last.unclaimed && now.resets == last.resets;
        equal = if is_still { equal + 1 } else { 1 };
        last = now;
        ensure!(equal >= EQUAL_LOOKS, "{now:?}");
        Ok(now)
    })
}

fn strays_at_a_chained_target() -> Result<()> {
    let mut cluster = Cluster::start(2, Agents::HandOn, &[Standing::Serving, Standing::Out])?;
    let mut crowd = Crowd::start(&cluster.lab, Patience::CALM)?;
    crowd.open(CONNECTIONS / 2)?;
    // From now on all slots are the second target's, with the first in their chains.
    cluster.change(&[Standing::Out, Standing::Serving])?;
    crowd.open(CONNECTIONS / 2)?;
    let targets = &cluster.lab.targets;
    let (former, current) = (&targets[0], &targets[1]);
    let before = [Size::of(former)?, Size::of(current)?];
    let (sent, time) = pour(&cluster, current.v4, former.v4)?;
    let after = [settled(former)?, settled(current)?];
    until_few_sockets(former, &before[0])?;
    until_few_sockets(current, &before[1])?;
    let tally = crowd.finish();
    println!(
        "{sent} strays, {:.0} a second: handed on {}, delivered {}, reset {}; echoes {}",
        sent as f64 / time.as_secs_f64(),
        after[1].handed_on - before[1].handed_on,
        after[0].unclaimed - before[0].unclaimed,
        after[0].resets - before[0].resets,
        tally.echoes
    );
    let [former, current] = [(before[0], after[0]), (before[1], after[1])];
    let grown = |(before, after): (Size, Size), of: fn(&Size) -> u64| of(&after) - of(&before);
    let delivered = grown(former, |size| size.unclaimed);
    ensure!(delivered > sent / 2, "of {sent} strays {delivered} came to the end of their chains");
    ensure!(delivered <= sent, "of {sent} strays {delivered} came to the end: some twice");
    ensure!(grown(former, |size| size.handed_on) == 0, "the last of the chain hands nothing on");
    ensure!(grown(current, |size| size.unclaimed) == 0, "the first of the chain keeps none");
    // Handed on were the strays and what the first target's connections are sent, each once. The connections go on
    // between a look at one target and one at the other, so not to the last packet.
    let (handed_on, few) = (grown(current, |size| size.handed_on), sent / 100);
    let of_connections = grown(former, |size| size.decapsulated);
    let what = format!("{handed_on} handed on, {delivered} and {of_connections} arrived");
    ensure!(handed_on + few >= delivered + of_connections, "{what}");
    ensure!(handed_on <= sent + of_connections + few, "{what}");
    ensure!(grown(former, |size| size.resets) <= delivered, "more than one reset for a packet");
    ensure!(grown(former, |size| size.resets) > 0, "no stray was reset, so the kernel took none");
    ensure!(grown(current, |size| size.resets) == 0, "the first of the chain resets nothing");
    for one in [former, current] {
        // Health checks and the like; resets would be as many as strays.
        ensure!(grown(one, |size| size.not_tunnelled) < few, "{one:?}");
        one.1.is_no_larger_than(&one.0)?;
    }
    tally.is_whole(CONNECTIONS)
}

#[test]
fn a_flood_of_strays_is_handed_on_once_and_reset_once_and_nothing_grows() {
    let Some(_alone) = alone() else { return };
    strays_at_a_chained_target().unwrap();
}
