//! `control`: what `cargo xtask bench --control` becomes. Measures the way from the API to the kernel: `sluice run` in
//! a lab of network namespaces, with 1,000 target groups of 16 targets that were made by signed requests.

mod client;
mod kernel;
mod measure;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::world::World;

/// What a change by the API costs until it is in the kernel
#[derive(Parser)]
#[command(name = "control", about)]
struct Arguments {
    /// Target groups, each with a listener
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    groups: usize,
    /// Targets of each
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    targets: usize,
    /// How often each row is measured; the median is taken
    #[arg(long, default_value_t = 41, value_parser = at_least_one)]
    rounds: usize,
    /// Connections that register at the same time
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    connections: usize,
    /// Keep the API's state here, durably, instead of in memory
    #[arg(long)]
    state_directory: Option<PathBuf>,
}

fn at_least_one(text: &str) -> Result<usize> {
    let number = text.parse()?;
    ensure!(number > 0, "it is at least 1");
    Ok(number)
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    eprintln!("making {} target groups of {} targets by the API", arguments.groups, arguments.targets);
    let world = World::make(arguments)?;
    world.wait_for_health()?;
    let measured = measure::all(&world, arguments);
    measured.map_err(|error| world.lab.with_evidence(error))
}
