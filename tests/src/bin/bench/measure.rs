//! A scenario's numbers: rounds in which each program runs in its turn, so that what else the machine does
//! meets all of them alike.

use anyhow::Context;
use lb_common::bench::Workload;

use crate::frame;
use crate::harness::{Harness, Subject};
use crate::node;
use crate::scenario::Scenario;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds; the median is taken over them.
    pub(crate) rounds: usize,
    /// Packets a program and round.
    pub(crate) packets: u32,
}

/// Nanoseconds a packet, net of the wrapper's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Net {
    /// The median over the rounds of the difference to the same round's wrapper.
    pub(crate) median: f64,
    /// The program's best round less the wrapper's best.
    pub(crate) minimum: f64,
}

/// What a scenario costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The wrapper alone: the median, which the others are net of.
    pub(crate) wrapper: f64,
    /// The program that only returns XDP_TX.
    pub(crate) transmit: Net,
    /// The program that only encapsulates.
    pub(crate) encapsulate: Net,
    /// The balancer.
    pub(crate) balancer: Net,
}

/// Measures a scenario, after and before checks that the balancer does what it is measured for.
pub(crate) fn measure(harness: &mut Harness, scenario: &Scenario, effort: Effort) -> anyhow::Result<Cost> {
    let plane = node::load(scenario)?;
    let mut floor = scenario.clone();
    floor.ends = None;
    harness.set_target(node::target(&floor, 1))?;
    let mut runs = Runs { harness, scenario, workload: frame::workload(scenario), packets: 0 };
    let balancer = Subject::Program(plane.balancer()?);
    runs.check(balancer).with_context(|| format!("checking a packet of `{}`", scenario.name))?;
    runs.warm_up(balancer, effort.packets)?;
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for _ in 0..effort.rounds {
        let subjects = [Subject::Nothing, Subject::Transmit, Subject::Encapsulate, balancer];
        for (times, subject) in rounds.iter_mut().zip(subjects) {
            times.push(runs.time(subject, effort.packets)?);
        }
    }
    node::check_counters(scenario, &plane.maps, runs.packets)?;
    let [wrapper, transmit, encapsulate, balancer] = rounds;
    Ok(Cost {
        transmit: net(&wrapper, &transmit),
        encapsulate: net(&wrapper, &encapsulate),
        balancer: net(&wrapper, &balancer),
        wrapper: median(wrapper),
    })
}

struct Runs<'a> {
    harness: &'a mut Harness,
    scenario: &'a Scenario,
    workload: Workload,
    /// How many packets the balancer has had.
    packets: u64,
}

impl Runs<'_> {
    /// Runs the balancer on one packet, then on three in a row, and looks at what they became.
    fn check(&mut self, balancer: Subject<'_>) -> anyhow::Result<()> {
        for repeat in [1, 3] {
            let came = frame::frame(self.scenario, self.workload.flow(0));
            let run = self.harness.run(balancer, self.scenario, &came, &mut self.workload, repeat)?;
            self.packets += u64::from(repeat);
            let last = self.workload.flow(self.workload.next - 1);
            frame::check(self.scenario, last, run.action, &run.packet)?;
        }
        Ok(())
    }

    /// Every flow has been seen twice before the first round: it is known, and known for long.
    fn warm_up(&mut self, balancer: Subject<'_>, packets: u32) -> anyhow::Result<()> {
        let flows = self.scenario.flows.min(1 << 21) as u32;
        self.time(balancer, packets.max(flows * 2)).map(|_| ())
    }

    fn time(&mut self, subject: Subject<'_>, packets: u32) -> anyhow::Result<f64> {
        let came = frame::frame(self.scenario, self.workload.flow(0));
        let run = self.harness.run(subject, self.scenario, &came, &mut self.workload, packets)?;
        if matches!(subject, Subject::Program(_)) {
            self.packets += u64::from(packets);
        }
        Ok(run.nanoseconds as f64 / f64::from(packets))
    }
}

/// What a program takes more than the wrapper, from the times of the same rounds.
pub(crate) fn net(wrapper: &[f64], program: &[f64]) -> Net {
    let differences = program.iter().zip(wrapper).map(|(program, wrapper)| program - wrapper);
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    Net { median: median(differences.collect()), minimum: least(program) - least(wrapper) }
}

/// The median; not a number of no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
