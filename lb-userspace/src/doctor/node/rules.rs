//! From facts to findings: the node itself. Pure.

use super::Facts;
use super::plan::{groups, is_meant_to_serve, is_vip, listeners};
use super::way::targets;
use crate::doctor::attached::Attached;
use crate::doctor::finding::{Cause, Finding};
use crate::status::report::{InterfaceReport, OwnerReport};

/// What is wrong, and what is not, in the order in which one would look.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = controller(facts);
    findings.extend(facts.report.interfaces.iter().map(|at| interface(facts, at)));
    findings.extend(vips(facts));
    findings.extend(listeners_without_targets(facts));
    findings.extend(facts.unprobed.iter().map(|why| unprobed(why)));
    findings.extend(targets(facts));
    findings.extend(drops(facts));
    findings
}

fn controller(facts: &Facts) -> Vec<Finding> {
    let configuration = &facts.report.configuration;
    let object = || format!("controller of {}", facts.report.node);
    let rejected = configuration.rejected.as_ref().map(|why| {
        Finding::new(
            Cause::ConfigurationRejected,
            object(),
            format!("{} is not in force: {}", configuration.file, why.lines().next().unwrap_or_default()),
            format!("sluice check {}", configuration.file),
        )
    });
    let stale = facts.report.publications.failure.as_ref().map(|why| {
        Finding::new(
            Cause::MapsStale,
            object(),
            format!("it tries each second to write what changed: {why}"),
            "undo the last change, or, with the node drained, stop the controller, `sluice detach` and start it: that \
             makes new maps"
                .to_owned(),
        )
    });
    let wrong: Vec<Finding> = rejected.into_iter().chain(stale).chain(api(facts)).collect();
    match wrong.is_empty() {
        true => vec![Finding::sound(object(), format!("answers, {} is in force", configuration.file))],
        false => wrong,
    }
}

fn api(facts: &Facts) -> Vec<Finding> {
    let configuration = &facts.report.configuration;
    let OwnerReport::Api { problems, .. } = &configuration.owner else { return Vec::new() };
    let found = |what: String| {
        let remedy = format!(
            "mend what section `api` of {} names: it is looked at each second (where it names others: at the next start)",
            configuration.file
        );
        Finding::new(Cause::ApiImpaired, format!("API of {}", facts.report.node), what, remedy)
    };
    problems.iter().cloned().map(found).collect()
}

fn interface(facts: &Facts, reported: &InterfaceReport) -> Finding {
    let restart = format!("restart `sluice run --config {}`", facts.report.configuration.file);
    Attached {
        program: "balancer",
        name: &reported.name,
        program_id: reported.program_id,
        is_native: reported.mode == "native",
        fallback_reason: reported.fallback_reason.as_deref(),
        restart: &restart,
    }
    .judge(facts.interfaces.get(&reported.name))
}

fn vips(facts: &Facts) -> Vec<Finding> {
    let own = facts.addresses.iter().filter(|held| is_vip(&facts.report, held.address));
    own.map(|held| {
        let what = format!(
            "it is this node's own address too (on {}): the node answers ARP for it, and takes what no listener does",
            held.interface
        );
        Finding::new(Cause::VipOnNode, format!("VIP {}", held.address), what, held.removal())
    })
    .collect()
}

fn listeners_without_targets(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (vips, listener) in listeners(&facts.report) {
        if groups(&facts.report, listener).any(|(_, group)| group.targets.iter().any(is_meant_to_serve)) {
            continue;
        }
        let names: Vec<&str> = listener.forward.iter().map(|part| part.target_group.as_str()).collect();
        let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
        findings.push(Finding::new(
            Cause::NoTarget,
            format!("listener {} {} of {}", listener.protocol, listener.port, vips.join(" ")),
            format!("there is no target in {} that could take a flow", names.join(", ")),
            format!("name targets in {} of {}", names.join(", "), facts.report.configuration.file),
        ));
    }
    findings
}

fn unprobed(why: &str) -> Finding {
    let what = format!("no probe was sent: {why}");
    Finding::new(Cause::NotProbed, "tunnels", what, "run `sluice doctor` as root, without --no-probe")
}

fn drops(facts: &Facts) -> Vec<Finding> {
    let drop = |(name, description, packets): &(String, String, u64)| {
        let packets = if *packets == 1 { "1 packet".to_owned() } else { format!("{packets} packets") };
        Finding::new(
            Cause::DropsRising,
            format!("reason {name}"),
            format!("{packets} dropped while the doctor looked: {description}"),
            "see them: sluice capture -w /tmp/dropped.pcapng --verdict dropped --count 20",
        )
    };
    facts.drops.iter().map(drop).collect()
}

#[cfg(test)]
pub(super) mod tests;
