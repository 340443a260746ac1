//! `cargo xtask`: builds Sluice, runs its lab and its tests, and installs what they need.
//!
//! Dispatch only; a command is a file. This package depends on nothing else of the workspace, because it
//! builds the eBPF objects that the user-space crate embeds.

mod bench;
mod build;
mod fuzz;
mod fuzz_api;
mod invocation;
mod kernel;
mod lab;
mod object;
mod package;
mod privilege;
mod run;
mod scenario;
mod test;
mod toolchain;
mod verify;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what a packet costs in the balancer
    Bench(bench::Bench),
    /// Build the eBPF programs and the `sluice` binary
    Build(build::Build),
    /// Make a lab of network namespaces and balance real connections in it
    Run(run::Run),
    /// Run every test, privileged ones too
    Test(test::Test),
    /// Make the Debian package
    Package(package::Package),
    /// Load every program in every feature set, and print what the verifier makes of it
    Verify(verify::Verify),
    /// Play mutated packets through the loaded balancer and its model until they differ
    Fuzz(fuzz::Fuzz),
    /// Play a story of many connections, measure and check it; without a name, list all
    Scenario(scenario::Scenario),
    /// Play mutated requests and signatures through the API's edge until one breaks it
    FuzzApi(fuzz_api::FuzzApi),
    /// Talk to the lab that `run` made
    Lab(lab::Lab),
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    match command {
        Command::Bench(bench) => bench.run(&workspace),
        Command::Build(build) => build.run(&workspace).map(|()| ExitCode::SUCCESS),
        Command::Run(run) => run.run(&workspace),
        Command::Test(test) => test.run(&workspace),
        Command::Package(package) => package.run(&workspace),
        Command::Verify(verify) => verify.run(&workspace),
        Command::Fuzz(fuzz) => fuzz.run(&workspace),
        Command::Scenario(scenario) => scenario.run(&workspace),
        Command::FuzzApi(fuzz) => fuzz.run(&workspace),
        Command::Lab(lab) => lab.run(&workspace),
    }
}
