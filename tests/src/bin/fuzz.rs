//! `sluice-fuzz`: the mutation fuzzer of `cargo xtask fuzz`. It plays mutated frames through the loaded balancer
//! and its model until they differ, the number of packets is reached, or the time is over.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use lab::oracle::{Campaign, Diet, KernelLog, Tally};

/// Packets between two lines of progress.
const PROGRESS: u64 = 5_000_000;

/// Mutated frames through the loaded balancer and its model; the first difference ends it with exit code 1.
#[derive(Parser)]
#[command(name = "sluice-fuzz")]
struct Arguments {
    /// How many packets
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// What all packets and maps follow from; without it another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// When to end in any case
    #[arg(long)]
    seconds: Option<u64>,
    /// The first epoch: with the seed and the epoch of a report it is found again at once
    #[arg(long, default_value_t = 0)]
    epoch: u64,
    /// Threads; one a processor if not said
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    match fuzz(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fuzz(arguments: &Arguments) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "loading the balancer needs root: `cargo xtask fuzz` sees to it"
    );
    let campaign = Campaign {
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)),
        first_epoch: arguments.epoch,
        packets: arguments.packets,
        time: arguments.seconds.map(Duration::from_secs),
        threads: arguments.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        diet: Diet::Mutated,
    };
    println!("seed {}, {} threads", campaign.seed, campaign.threads);
    let (mut log, began, shown) = (KernelLog::from_now(), Instant::now(), AtomicU64::new(0));
    let tally = campaign.run(&|tally: &Tally| {
        let part = tally.packets / PROGRESS;
        if shown.fetch_max(part, Ordering::Relaxed) < part {
            println!("{}", progress(tally, began.elapsed()));
        }
    })?;
    println!("{}", progress(&tally, began.elapsed()));
    tally.reasons.iter().for_each(|(reason, count)| println!("  {count:>12} {reason}"));
    let complaints = log.complaints();
    ensure!(complaints.is_empty(), "the kernel complained:\n{}", complaints.join("\n"));
    println!(
        "{}",
        if log.is_readable() { "no kernel warning" } else { "the kernel's log can't be read here" }
    );
    Ok(())
}

fn progress(tally: &Tally, time: Duration) -> String {
    let rate = tally.packets as f64 / time.as_secs_f64() / 1e6;
    format!(
        "{} packets, {} of them forwarded, all as the model has it; {:.0} s, {rate:.2} million a second",
        tally.packets,
        tally.forwarded,
        time.as_secs_f64()
    )
}
