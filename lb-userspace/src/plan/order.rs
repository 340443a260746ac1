//! The order of steps: one in which each finds what it needs, and none what is in its way.

use super::step::Step;

/// When a step is carried out. The order of the variants is the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Load balancers go: their VIPs and target groups are free.
    DeleteLoadBalancers,
    /// Listeners go: their ports and target groups are free.
    DeleteListeners,
    /// Target groups come and change, targets leave before others come.
    MakeGroups,
    /// Load balancers come and change; IPv6 VIPs come before what needs them.
    MakeLoadBalancers,
    /// Listeners forward elsewhere.
    ChangeListeners,
    /// Target groups go to be made anew.
    DeleteRemadeGroups,
    /// They are made anew.
    RemakeGroups,
    /// Listeners come.
    MakeListeners,
    /// IPv6 VIPs go when nothing needs them any more.
    NarrowLoadBalancers,
    /// Target groups go that nothing forwards to any more.
    DeleteGroups,
}

/// Steps with their phases.
#[derive(Debug, Default)]
pub(super) struct Schedule(Vec<(Phase, Step)>);

impl Schedule {
    /// Adds a step; among those of one phase it is the last.
    pub(super) fn add(&mut self, phase: Phase, step: Step) {
        self.0.push((phase, step));
    }

    /// Adds all steps of another one.
    pub(super) fn append(&mut self, mut other: Schedule) {
        self.0.append(&mut other.0);
    }

    /// The steps in their order.
    pub(super) fn into_steps(mut self) -> Vec<Step> {
        self.0.sort_by_key(|(phase, _)| *phase);
        self.0.into_iter().map(|(_, step)| step).collect()
    }
}
