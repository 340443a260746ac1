//! `sluice-lab`: what `cargo xtask run` becomes. Dispatch only.

mod control;
mod demo;
mod guest;
mod interrupt;
mod live;
mod play;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::scenario::Options;
use lab::server::Services;

#[derive(Parser)]
#[command(name = "sluice-lab", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a lab and show the balancing until Ctrl-C
    Run {
        /// How many nodes
        #[arg(long, default_value_t = 1)]
        nodes: u8,
        /// How many targets
        #[arg(long, default_value_t = 3)]
        targets: u8,
    },
    /// Make a lab, play its story, check each step
    Demo {
        /// How many targets
        #[arg(long, default_value_t = 3)]
        targets: u8,
    },
    /// Play a scenario, or list them
    Scenario {
        /// Its name
        name: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Kill a node of the running lab
    Kill {
        /// lb1, lb2, …
        node: String,
    },
    /// Bring a killed node back
    Revive {
        /// lb1, lb2, …
        node: String,
    },
    /// Stop a target's server in the running lab
    Stop {
        /// t1, t2, …
        target: String,
    },
    /// Start a target's server in the running lab
    Start {
        /// t1, t2, …
        target: String,
    },
    /// Print the status of a controller of the running lab as JSON
    Status {
        /// lb1, lb2, …
        #[arg(default_value = "lb1")]
        node: String,
    },
    /// Be the init of a virtual machine, run the smoke tests, power off
    #[command(hide = true)]
    Guest,
    /// Serve as a target does
    #[command(hide = true)]
    Server {
        /// The name in answers
        #[arg(long)]
        name: String,
        /// Where HTTP is served
        #[arg(long)]
        listen: SocketAddr,
        /// Addresses whose UDP echo port is served
        #[arg(long)]
        udp: Vec<IpAddr>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match dispatch(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { nodes, targets } => live::run(nodes, targets).await.map(|()| ExitCode::SUCCESS),
        Command::Demo { targets } => demo::run(targets).await,
        Command::Scenario { name, options } => play::run(name, options).await,
        Command::Kill { node } => control::ask(&format!("kill {node}")).map(|()| ExitCode::SUCCESS),
        Command::Revive { node } => control::ask(&format!("revive {node}")).map(|()| ExitCode::SUCCESS),
        Command::Stop { target } => control::ask(&format!("stop {target}")).map(|()| ExitCode::SUCCESS),
        Command::Start { target } => control::ask(&format!("start {target}")).map(|()| ExitCode::SUCCESS),
        Command::Status { node } => control::ask(&format!("status {node}")).map(|()| ExitCode::SUCCESS),
        Command::Guest => guest::run(),
        Command::Server { name, listen, udp } => {
            Services { name, listen, udp }.serve().await.map(|()| ExitCode::SUCCESS)
        }
    }
}
