//! Scenarios: stories of a lab that are told while they are played, measured, and checked.
//!
//! `cargo xtask scenario NAME` plays one at its full size, and tests play the same at a smaller one. A scenario is a
//! file here with a [`Scenario`], and a line in [`SCENARIOS`].

pub mod cluster;
mod controller_restarts;
mod daemons;
mod drain_twice;
mod etcd_outage;
mod flapping;
mod kernel_table;
mod map_sizes;
mod program_swaps;
mod route_storm;
mod routed;
mod routers;
mod second_chance;
mod telling;

use anyhow::{Context, Result};

pub use telling::Telling;

/// All of them, in the order of their list.
pub const SCENARIOS: &[Scenario] = &[
    second_chance::WITH,
    second_chance::WITHOUT,
    drain_twice::SCENARIO,
    etcd_outage::SCENARIO,
    routers::SILENT_NODE,
    routers::ROLLING_RESTART,
    kernel_table::SCENARIO,
    route_storm::SCENARIO,
    flapping::SCENARIO,
    controller_restarts::SCENARIO,
    program_swaps::SCENARIO,
    map_sizes::SCENARIO,
];

/// A story.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line: lower-case words with hyphens.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Plays it. What must hold is claimed of the telling; an error is a story that could not be told to its end.
    pub run: fn(&Options, &mut Telling) -> Result<()>,
}

/// How large a story is; what is not said is the scenario's choice.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// How many connections live from the beginning to the end
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=15_000))]
    pub connections: Option<u32>,
    /// How many rounds are played
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// How many nodes share the packets
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=8))]
    pub nodes: Option<u8>,
    /// How many targets there are
    #[arg(long, value_parser = clap::value_parser!(u8).range(6..=64))]
    pub targets: Option<u8>,
    /// How many routes change
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub changes: Option<u32>,
    /// How many neighbours there are
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=1000))]
    pub neighbours: Option<u32>,
    /// How many targets flap
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub flapping: Option<u32>,
    /// How many packets flow at least
    #[arg(long, value_parser = clap::value_parser!(u32).range(1000..=1_000_000_000))]
    pub packets: Option<u32>,
    /// How many seconds it lasts
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=3600))]
    pub seconds: Option<u32>,
    /// Plays the same random choices again
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Plays a scenario, and prints its steps, its numbers and what was asserted.
///
/// # Errors
/// If there is no such scenario, it could not be played, or something that it asserts does not hold.
pub fn play(name: &str, options: &Options) -> Result<()> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario =
        scenario.with_context(|| format!("there is no scenario {name:?}; there are:\n{}", list()))?;
    let mut telling = Telling::begin(scenario.name);
    let played = (scenario.run)(options, &mut telling);
    telling.end(played)
}

/// A line for each scenario.
pub fn list() -> String {
    let width = SCENARIOS.iter().map(|scenario| scenario.name.len()).max().unwrap_or_default();
    let line = |scenario: &Scenario| format!("  {:width$}  {}\n", scenario.name, scenario.about);
    SCENARIOS.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_a_line() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[at + 1..].iter().all(|other| other.name != scenario.name), "{scenario:?}");
            assert!(scenario.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            assert!(!scenario.about.is_empty() && !scenario.about.contains('\n'));
        }
    }

    #[test]
    fn an_unknown_scenario_is_answered_with_the_list() {
        let error = play("second", &Options::default()).unwrap_err().to_string();
        assert!(error.contains("\"second\"") && error.contains("second-chance"), "{error}");
    }
}
