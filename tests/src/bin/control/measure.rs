//! The rows: each median beside what is aimed at.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Arguments;
use crate::client::Client;
use crate::kernel::Tables;
use crate::world::{World, target};

/// How long a target may take to its slots.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks into the kernel.
const PERIOD: Duration = Duration::from_micros(500);
/// How often every group gets its last target back.
const PASSES: usize = 5;

const TO_SLOTS_AIM: Duration = Duration::from_millis(50);
const DESCRIBE_AIM: Duration = Duration::from_millis(5);
const RATE_AIM: f64 = 1000.0;
const MEMORY_AIM: f64 = 200.0;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Measures and prints all rows.
///
/// # Errors
/// If the API refuses something, or the kernel does not follow.
pub(crate) fn all(world: &World, arguments: &Arguments) -> Result<()> {
    let Arguments { groups, targets, rounds, .. } = arguments;
    let state = if arguments.state_directory.is_some() { "a durable state" } else { "its state in memory" };
    println!(
        "The API with {groups} target groups of {targets} targets and {state}, median of {rounds} (slowest)"
    );
    println!("  {:<52} {:>14} {:>14}  aim", "", "median", "slowest");
    memory("resident memory, MiB (the process's own)", world)?;
    for (name, action, parameters) in describes(world) {
        times(&name, describe(world, *rounds, action, &parameters)?, DESCRIBE_AIM);
    }
    times("from RegisterTargets' answer to slots in the kernel", to_slots(world, arguments)?, TO_SLOTS_AIM);
    rate(world, arguments)?;
    memory("resident memory afterwards, MiB (its own)", world)
}

fn times(name: &str, mut times: Vec<Duration>, aim: Duration) {
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "  {name:<52} {:>11.2} ms {:>11.2} ms  ≤ {} ms: {}",
        milliseconds(median),
        milliseconds(slowest),
        aim.as_millis(),
        verdict(median <= aim)
    );
}

fn memory(name: &str, world: &World) -> Result<()> {
    let (all, own) = world.resident()?;
    let (all, own) = (all as f64 / MEBIBYTE, own as f64 / MEBIBYTE);
    let is_met = verdict(all <= MEMORY_AIM);
    println!("  {name:<52} {all:>14.1} {:>14}  ≤ {MEMORY_AIM}: {is_met}", format!("({own:.1})"));
    Ok(())
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

type Call<'a> = (String, &'static str, Vec<(&'static str, &'a str)>);

/// What is asked for, by its row's name.
fn describes(world: &World) -> Vec<Call<'_>> {
    let group = world.groups[world.groups.len() / 2].as_str();
    let load_balancer = world.load_balancers[0].as_str();
    let calls = [
        ("DescribeTargetHealth, one group", "DescribeTargetHealth", vec![("TargetGroupArn", group)]),
        (
            "DescribeTargetGroups, one group",
            "DescribeTargetGroups",
            vec![("TargetGroupArns.member.1", group)],
        ),
        ("DescribeTargetGroups, a page of 400", "DescribeTargetGroups", vec![]),
        ("DescribeLoadBalancers, all", "DescribeLoadBalancers", vec![]),
        (
            "DescribeListeners, of one load balancer",
            "DescribeListeners",
            vec![("LoadBalancerArn", load_balancer)],
        ),
    ];
    calls.into_iter().map(|(name, action, parameters)| (name.to_owned(), action, parameters)).collect()
}

fn describe(
    world: &World,
    rounds: usize,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<Vec<Duration>> {
    let mut client = world.client()?;
    (0..rounds).map(|_| Ok(client.call(action, parameters)?.took)).collect()
}

/// A target more, which passes its first check, until it has slots; then it goes again.
fn to_slots(world: &World, arguments: &Arguments) -> Result<Vec<Duration>> {
    let (mut client, tables) = (world.client()?, Tables::of_program(world.program()?)?);
    let number = world.groups.len() / 3;
    let group = world.groups[number].as_str();
    let attributes = [
        ("TargetGroupArn", group),
        ("Attributes.member.1.Key", "deregistration_delay.timeout_seconds"),
        ("Attributes.member.1.Value", "0"),
    ];
    client.call("ModifyTargetGroupAttributes", &attributes)?;
    let address = target(number, arguments.targets);
    let parameters = [("TargetGroupArn", group), ("Targets.member.1.Id", address.as_str())];
    let forward = forward_of(&mut client, &tables, &parameters)?;
    let mut times = Vec::new();
    for _ in 0..arguments.rounds {
        settle(&tables, forward, arguments.targets)?;
        let answered = client.call("RegisterTargets", &parameters)?.at;
        wait_for(&tables, forward, arguments.targets + 1)?;
        times.push(answered.elapsed());
        client.call("DeregisterTargets", &parameters)?;
    }
    Ok(times)
}

/// The index of the group's forward action: that whose table is another one when a target came and went.
fn forward_of(client: &mut Client, tables: &Tables, parameters: &[(&str, &str)]) -> Result<u32> {
    let before = tables.places()?;
    client.call("RegisterTargets", parameters)?;
    let deadline = Instant::now() + PATIENCE;
    let moved = loop {
        let places = tables.places()?;
        let moved = before.iter().zip(&places).position(|(before, now)| before != now);
        if let Some(moved) = moved {
            break moved;
        }
        ensure!(Instant::now() < deadline, "no table changed");
        std::thread::sleep(PERIOD);
    };
    client.call("DeregisterTargets", parameters)?;
    u32::try_from(moved).context("an index of FORWARDS")
}

fn settle(tables: &Tables, forward: u32, targets: usize) -> Result<()> {
    wait_for(tables, forward, targets)?;
    // What the change brought about in other tasks (next hops, the state's change count) is done by then.
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

fn wait_for(tables: &Tables, forward: u32, targets: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while tables.targets(forward)?.len() != targets {
        ensure!(Instant::now() < deadline, "the table does not have {targets} targets");
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

/// All groups lose a target, which drains; then it is registered again, a call for each, by several connections.
fn rate(world: &World, arguments: &Arguments) -> Result<()> {
    let (mut took, mut calls, mut times) = (Duration::ZERO, 0, Vec::new());
    for _ in 0..PASSES {
        for_all_groups(world, arguments, "DeregisterTargets")?;
        let begun = Instant::now();
        let passed = for_all_groups(world, arguments, "RegisterTargets")?;
        took += begun.elapsed();
        calls += passed.len();
        times.extend(passed);
    }
    let rate = calls as f64 / took.as_secs_f64();
    times.sort_unstable();
    let name = format!("RegisterTargets a second, {} connections", arguments.connections);
    let is_met = verdict(rate >= RATE_AIM);
    println!("  {name:<52} {rate:>14.0} {:>14}  ≥ {RATE_AIM}: {is_met}", "");
    println!(
        "  {:<52} {:>11.2} ms {:>11.2} ms",
        "a call of these",
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() - 1])
    );
    Ok(())
}

/// One call for each group, shared out to the connections; how long each took.
fn for_all_groups(world: &World, arguments: &Arguments, action: &str) -> Result<Vec<Duration>> {
    let connections = arguments.connections;
    let clients: Vec<Client> = (0..connections).map(|_| world.client()).collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(first, mut client)| {
                scope.spawn(move || -> Result<Vec<Duration>> {
                    let mine = world.groups.iter().enumerate().skip(first).step_by(connections);
                    mine.map(|(number, group)| {
                        let address = target(number, arguments.targets - 1);
                        let parameters =
                            [("TargetGroupArn", group.as_str()), ("Targets.member.1.Id", address.as_str())];
                        Ok(client.call(action, &parameters)?.took)
                    })
                    .collect()
                })
            })
            .collect();
        let passed = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Ok(passed.collect::<Result<Vec<_>>>()?.concat())
    })
}
