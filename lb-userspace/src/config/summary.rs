//! A valid configuration in one line.

use crate::model::Desired;

/// How much of what `desired` holds: `1 load balancer, 2 listeners, 1 target group, 3 targets`.
pub fn summary(desired: &Desired) -> String {
    let listeners = desired.load_balancers.values().map(|balancer| balancer.listeners.len()).sum();
    let targets = desired.target_groups.values().map(|group| group.targets.len()).sum();
    [
        counted(desired.load_balancers.len(), "load balancer"),
        counted(listeners, "listener"),
        counted(desired.target_groups.len(), "target group"),
        counted(targets, "target"),
    ]
    .join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
