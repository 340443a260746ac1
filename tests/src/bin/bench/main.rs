//! `bench`: what `cargo xtask bench` becomes. Measures the balancer under BPF_PROG_TEST_RUN, a packet of
//! another flow each time, beside two floors; a target's agent; then over a wire; and what of user space and memory is
//! promised.

mod agent;
mod frame;
mod harness;
mod measure;
mod memory;
mod node;
mod publication;
mod report;
mod scenario;
mod target;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::harness::Harness;
use crate::measure::{Effort, measure};
use crate::report::Report;
use crate::scenario::{Scenario, sections};

/// What a packet costs in the balancer
#[derive(Parser)]
#[command(name = "bench", about)]
struct Arguments {
    /// Rounds of each row; the median is taken over them
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1001))]
    rounds: u16,
    /// Packets a program and round
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    packets: u32,
    /// Measure 1 Mi flows too, in the main table
    #[arg(long)]
    million: bool,
    /// Measure only rows whose name contains this; `target`, `wire`, `publication` and `memory` are tables of their own
    #[arg(long, default_value = "")]
    only: String,
    /// The processor to measure on
    #[arg(long, default_value_t = 0)]
    cpu: u16,
    /// Where the bench's eBPF object is
    #[arg(long)]
    programs: Option<PathBuf>,
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
    pin(arguments.cpu)?;
    let mut harness = Harness::load(&programs(arguments)?)?;
    let effort = Effort { rounds: arguments.rounds.into(), packets: arguments.packets };
    let mut report = Report::new(effort);
    for section in sections(if arguments.million { 1 << 20 } else { 1 << 19 }) {
        let is_wanted = |row: &&Scenario| !is_table(&arguments.only) && row.name.contains(&arguments.only);
        let rows: Vec<_> = section.rows.iter().filter(is_wanted).collect();
        if rows.is_empty() {
            continue;
        }
        report.section(section.title);
        for row in rows {
            report.row(row, measure(&mut harness, row, effort)?);
        }
    }
    report.end();
    if "target".contains(&arguments.only) {
        target::report(&mut harness, effort)?;
    }
    if "wire".contains(&arguments.only) {
        wire::report(effort)?;
    }
    if "publication".contains(&arguments.only) {
        publication::report()?;
    }
    if "memory".contains(&arguments.only) {
        memory::report()?;
    }
    Ok(())
}

/// Whether the argument of `--only` is the whole name of a table.
fn is_table(only: &str) -> bool {
    ["target", "wire", "publication", "memory"].contains(&only)
}

/// Keeps this thread, and so the programs that it runs, on one processor.
fn pin(cpu: u16) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu.into());
    sched_setaffinity(None, &set).with_context(|| format!("there is no processor {cpu} for this process"))
}

/// As given, or beside the profile's directory that this binary is in.
fn programs(arguments: &Arguments) -> Result<PathBuf> {
    if let Some(directory) = &arguments.programs {
        return Ok(directory.clone());
    }
    let binary = std::env::current_exe().context("finding this binary")?;
    let target = binary.ancestors().nth(2).context("this binary is not in a target directory")?;
    Ok(target.join("bpf"))
}
