//! What differs in target groups and their targets.

use std::collections::BTreeSet;

use super::current::{registered, target};
use super::difference::{Findings, Sides, Unnamed, change_tags, changed_pairs, listed};
use super::document::{HealthCheck, Target, TargetGroup};
use super::making;
use super::order::Phase;
use super::report::{Action, Resource};
use super::step::Step;
use crate::api::domain::records;

/// Finds it.
pub(super) fn find(sides: &Sides, findings: &mut Findings) {
    for wanted in &sides.document.target_groups {
        let Some(normal) = sides.normal.target_groups.get(&wanted.name) else { continue };
        match sides.present.target_groups.get(&wanted.name) {
            None => {
                findings.add(Phase::MakeGroups, making::target_group(wanted, sides.inventory));
                findings.tell(Action::Create, Resource::TargetGroup, &wanted.name, summary(normal));
            }
            Some(present) => match fixed(present, normal) {
                None => change(present, normal, wanted, findings),
                Some(why) => remake(sides, normal, wanted, &why, findings),
            },
        }
    }
    let named: BTreeSet<&str> = sides.document.target_groups.iter().map(|one| one.name.as_str()).collect();
    for (name, record) in
        sides.present.target_groups.iter().filter(|(name, _)| !named.contains(name.as_str()))
    {
        if sides.unnamed == Unnamed::Goes {
            findings.add(Phase::DeleteGroups, [delete(name)]);
            findings.tell(Action::Delete, Resource::TargetGroup, name, summary(record));
        } else {
            findings.tell(Action::Leave, Resource::TargetGroup, name, summary(record));
        }
    }
}

fn delete(name: &str) -> Step {
    Step::new("DeleteTargetGroup", "").with_target_group("TargetGroupArn", name)
}

fn summary(record: &records::TargetGroup) -> Vec<String> {
    let targets = registered(record).count();
    vec![format!("{} port {}, {targets} targets", record.protocol.shape(), record.port)]
}

/// What of a target group can't be changed and would have to be, in words.
fn fixed(present: &records::TargetGroup, normal: &records::TargetGroup) -> Option<String> {
    let rows = [
        ("protocol", present.protocol.shape().to_string(), normal.protocol.shape().to_string()),
        ("port", present.port.to_string(), normal.port.to_string()),
        ("vpc_id", present.vpc.clone(), normal.vpc.clone()),
        ("target_type", present.target_type().to_string(), normal.target_type().to_string()),
        ("ip_address_type", present.ip_address_type().to_string(), normal.ip_address_type().to_string()),
    ];
    let other = rows.into_iter().find(|(_, before, after)| before != after);
    other.map(|(field, before, after)| format!("its {field} is {before} for life, not {after}"))
}

fn remake(
    sides: &Sides,
    normal: &records::TargetGroup,
    wanted: &TargetGroup,
    why: &str,
    findings: &mut Findings,
) {
    if sides.unnamed == Unnamed::Stays {
        findings.refuse_remaking(&wanted.place, &wanted.name, why);
        return;
    }
    findings.remade_groups.insert(wanted.name.clone());
    findings.add(Phase::DeleteRemadeGroups, [delete(&wanted.name)]);
    findings.add(Phase::RemakeGroups, making::target_group(wanted, sides.inventory));
    let mut details = vec![why.to_owned()];
    details.extend(summary(normal));
    findings.tell(Action::Remake, Resource::TargetGroup, &wanted.name, details);
}

fn change(
    present: &records::TargetGroup,
    normal: &records::TargetGroup,
    wanted: &TargetGroup,
    findings: &mut Findings,
) {
    let mut details = Vec::new();
    if present.health_check != normal.health_check {
        findings.add(Phase::MakeGroups, [making::health_check(wanted, &normal.health_check)]);
        details.extend(check_words(&present.health_check, &normal.health_check));
    }
    let (attributes, words) = changed_pairs(present.attributes.pairs(), normal.attributes.pairs());
    if !attributes.is_empty() {
        findings.add(Phase::MakeGroups, [making::target_group_attributes(wanted, &attributes)]);
        details.extend(words);
    }
    let (steps, words) = change_tags(&present.tags, &normal.tags, &wanted.place, |step, parameter| {
        step.with_target_group(parameter, &wanted.name)
    });
    findings.add(Phase::MakeGroups, steps);
    details.extend(words);
    if wanted.targets.is_some() {
        details.extend(change_targets(present, normal, wanted, findings));
    }
    findings.tell(Action::Change, Resource::TargetGroup, &wanted.name, details);
}

fn check_words(present: &records::HealthCheck, normal: &records::HealthCheck) -> Vec<String> {
    let rows = |check: &records::HealthCheck| {
        let HealthCheck { protocol, port, path, matcher, .. } = HealthCheck::whole(check);
        [
            ("protocol", protocol.unwrap_or_default()),
            ("port", port.unwrap_or_default()),
            ("path", path.unwrap_or_default()),
            ("matcher", matcher.unwrap_or_default()),
            ("interval_seconds", check.interval.to_string()),
            ("timeout_seconds", check.timeout.to_string()),
            ("healthy_threshold_count", check.healthy_threshold.to_string()),
            ("unhealthy_threshold_count", check.unhealthy_threshold.to_string()),
        ]
    };
    let (_, words) = changed_pairs(rows(present), rows(normal));
    words.into_iter().map(|words| format!("health_check.{words}")).collect()
}

/// Targets leave before others come: there is room for them then.
fn change_targets(
    present: &records::TargetGroup,
    normal: &records::TargetGroup,
    wanted: &TargetGroup,
    findings: &mut Findings,
) -> Vec<String> {
    let is_same = |one: &records::Target, other: &records::Target| {
        (&one.zone, one.quic_server_id) == (&other.zone, other.quic_server_id)
    };
    let going: Vec<&records::Target> =
        registered(present).filter(|one| normal.target(&one.id, one.port).is_none()).collect();
    let mut coming = Vec::new();
    let mut changing = Vec::new();
    for one in &normal.targets {
        match present.target(&one.id, one.port).filter(|before| before.drains_until.is_none()) {
            None => coming.push(one),
            Some(before) if !is_same(before, one) => changing.push(one),
            Some(_) => {}
        }
    }
    let named =
        |list: &[&records::Target]| -> Vec<Target> { list.iter().map(|one| target(one, normal)).collect() };
    let leave: Vec<Target> =
        going.iter().map(|one| Target { zone: None, quic_server_id: None, ..target(one, present) }).collect();
    let come: Vec<Target> = named(&[coming.clone(), changing.clone()].concat());
    findings.add(Phase::MakeGroups, making::targets_step("DeregisterTargets", wanted, &leave));
    findings.add(Phase::MakeGroups, making::targets_step("RegisterTargets", wanted, &come));
    let rows = [("deregistered", going), ("registered", coming), ("registered anew", changing)];
    let rows = rows.into_iter().filter(|(_, list)| !list.is_empty());
    rows.map(|(what, list)| {
        let names: Vec<String> = list.iter().map(|one| format!("{}:{}", one.id, one.port)).collect();
        format!("{what}: {}", listed(names.iter().map(String::as_str)))
    })
    .collect()
}
