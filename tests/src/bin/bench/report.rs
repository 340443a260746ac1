//! The tables that the bench prints.

use crate::measure::{Cost, Effort};
use crate::scenario::{Aim, Scenario, must_be_equal};

/// Rows as they come, and what they say together.
pub(crate) struct Report {
    /// Names and medians.
    rows: Vec<(String, f64)>,
}

impl Report {
    /// Says what the numbers are.
    pub(crate) fn new(effort: Effort) -> Report {
        println!(
            "Nanoseconds a packet, net of the wrapper's own; median of {} rounds of {} packets (best round).",
            effort.rounds, effort.packets
        );
        Report { rows: Vec::new() }
    }

    /// Begins a table.
    pub(crate) fn section(&self, title: &str) {
        println!("\n{title}");
        println!(
            "  {:<36} {:>16} {:>16} {:>16} {:>9}  aim",
            "", "balancer", "only XDP_TX", "only encapsulate", "wrapper"
        );
    }

    /// Prints a row.
    pub(crate) fn row(&mut self, scenario: &Scenario, cost: Cost) {
        let cells = [cost.balancer, cost.transmit, cost.encapsulate]
            .map(|net| format!("{:.1} ({:.1})", net.median, net.minimum));
        let aim = match self.limit(scenario.aim) {
            Some(limit) => format!("≤ {limit:.0}: {}", verdict(cost.balancer.median, limit)),
            None => String::new(),
        };
        println!(
            "  {:<36} {:>16} {:>16} {:>16} {:>9.1}  {aim}",
            scenario.name, cells[0], cells[1], cells[2], cost.wrapper
        );
        self.rows.push((scenario.name.clone(), cost.balancer.median));
    }

    /// Prints what rows say together.
    pub(crate) fn end(&self) {
        let (limit, pairs) = must_be_equal();
        let measured = |name: &String| Some((name.clone(), self.median(name)?));
        let ratios = pairs.iter().filter_map(|[few, many]| Some((measured(few)?, measured(many)?)));
        let mut ratios = ratios.peekable();
        if ratios.peek().is_some() {
            println!("\nThe same at any number of flows (at most {limit:.2} times)");
        }
        for ((few, low), (many, high)) in ratios {
            let ratio = high / low;
            println!("  {many} / {few}: {ratio:.2}: {}", verdict(ratio, limit));
        }
    }

    fn limit(&self, aim: Aim) -> Option<f64> {
        match aim {
            Aim::None => None,
            Aim::Nanoseconds(limit) => Some(limit),
            Aim::More(nanoseconds, name) => Some(self.median(name)? + nanoseconds),
            Aim::Times(factor, name) => Some(self.median(name)? * factor),
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|(row, _)| row == name).map(|(_, median)| *median)
    }
}

/// Whether an aim is met.
pub(crate) fn verdict(value: f64, limit: f64) -> &'static str {
    if value <= limit { "met" } else { "missed" }
}
