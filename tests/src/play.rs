//! `sluice-lab scenario`: plays one of the library's scenarios, or lists them.

use std::process::ExitCode;

use anyhow::Result;
use lab::scenario::{self, Options};

use crate::interrupt::unless_interrupted;

/// Plays the scenario, or lists all if none is named.
pub(crate) async fn run(name: Option<String>, options: Options) -> Result<ExitCode> {
    let Some(name) = name else {
        println!(
            "cargo xtask scenario NAME [--connections N] [--rounds N] [--nodes N] [--targets N] [--changes N] \
             [--neighbours N] [--flapping N] [--seconds N] [--seed N]"
        );
        print!("{}", scenario::list());
        return Ok(ExitCode::SUCCESS);
    };
    unless_interrupted(move || scenario::play(&name, &options).map(|()| ExitCode::SUCCESS)).await
}
