//! What differs between two desired states, in words: the parts that people name, and of the rest that it changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::events::Object;
use crate::model::{Desired, Listener, LoadBalancer, Target, TargetGroup, TargetKey};

/// What changed, object by object.
pub(super) fn between(before: &Desired, now: &Desired) -> Vec<(Object, String)> {
    let mut told = Vec::new();
    if before.node != now.node {
        told.push((Object::node(), "settings of the node changed".to_owned()));
    }
    for (name, before, now) in pairs(&before.load_balancers, &now.load_balancers) {
        let words = load_balancer(before, now);
        told.extend(words.into_iter().map(|words| (Object::load_balancer(name), words)));
    }
    for (name, before, now) in pairs(&before.target_groups, &now.target_groups) {
        target_group(name, before, now, &mut told);
    }
    told
}

/// What is not the same on both sides.
fn pairs<'a, T: PartialEq>(
    before: &'a BTreeMap<String, Arc<T>>,
    now: &'a BTreeMap<String, Arc<T>>,
) -> impl Iterator<Item = (&'a String, Option<&'a T>, Option<&'a T>)> {
    let gone = before.iter().filter(|(name, _)| !now.contains_key(*name));
    let gone = gone.map(|(name, before)| (name, Some(&**before), None));
    let there = now.iter().map(|(name, now)| (name, before.get(name).map(|before| &**before), Some(&**now)));
    gone.chain(there).filter(|(_, before, now)| before != now)
}

fn load_balancer(before: Option<&LoadBalancer>, now: Option<&LoadBalancer>) -> Vec<String> {
    let (before, now) = match (before, now) {
        (Some(before), Some(now)) => (before, now),
        (None, _) => return vec!["added".to_owned()],
        (_, None) => return vec!["removed".to_owned()],
    };
    let mut words: Vec<String> = Vec::new();
    words.extend(
        now.vips.iter().filter(|vip| !before.vips.contains(vip)).map(|vip| format!("VIP {vip} added")),
    );
    let gone = before.vips.iter().filter(|vip| !now.vips.contains(vip));
    words.extend(gone.map(|vip| format!("VIP {vip} removed")));
    for listener in &now.listeners {
        let name = listener_name(listener);
        match before.listeners.iter().find(|other| listener_name(other) == name) {
            None => words.push(format!("listener {name} added")),
            Some(other) if other.forward != listener.forward => {
                words.push(format!("listener {name} forwards to {}", forward(listener)));
            }
            Some(other) if other != listener => {
                words.push(format!("settings of the listener {name} changed"))
            }
            Some(_) => {}
        }
    }
    let is_gone =
        |one: &&Listener| !now.listeners.iter().any(|other| listener_name(other) == listener_name(one));
    let gone = before.listeners.iter().filter(is_gone);
    words.extend(gone.map(|listener| format!("listener {} removed", listener_name(listener))));
    if before.allow != now.allow {
        words.push("whom it serves changed".to_owned());
    }
    words
}

fn listener_name(listener: &Listener) -> String {
    format!("{} {}", listener.protocol, listener.port)
}

fn forward(listener: &Listener) -> String {
    let parts = listener.forward.0.iter().map(|part| format!("{}:{}", part.target_group, part.weight));
    parts.collect::<Vec<_>>().join(" ")
}

fn target_group(
    name: &str,
    before: Option<&TargetGroup>,
    now: Option<&TargetGroup>,
    told: &mut Vec<(Object, String)>,
) {
    let (before, now) = match (before, now) {
        (Some(before), Some(now)) => (before, now),
        (None, _) => return told.push((Object::target_group(name), "added".to_owned())),
        (_, None) => return told.push((Object::target_group(name), "removed".to_owned())),
    };
    let key = |address| TargetKey { target_group: name.to_owned(), address };
    for (address, target) in &now.targets {
        if let Some(words) = target_changed(before.targets.get(address), target) {
            told.push((Object::target(&key(*address)), words));
        }
    }
    for address in before.targets.keys().filter(|address| !now.targets.contains_key(*address)) {
        let words = format!("removed, drains for {} s", now.draining.as_secs());
        told.push((Object::target(&key(*address)), words));
    }
    let with_its_targets = TargetGroup { targets: before.targets.clone(), ..now.clone() };
    if with_its_targets != *before {
        let what = if before.health_check != now.health_check { "health check" } else { "attributes" };
        told.push((Object::target_group(name), format!("{what} changed")));
    }
}

fn target_changed(before: Option<&Target>, now: &Target) -> Option<String> {
    match before {
        None => Some(format!("added with weight {}", now.weight)),
        Some(before) if before.weight != now.weight => {
            Some(format!("weight {} → {}", before.weight, now.weight))
        }
        Some(before) if before.zone != now.zone => Some(format!("zone {} → {}", before.zone, now.zone)),
        Some(before) if before.port != now.port => Some(format!("port {} → {}", before.port, now.port)),
        Some(before) => (before != now).then(|| "changed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file() -> Value {
        json!({
            "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
            "load_balancers": [ { "name": "web", "vips": ["10.200.1.1"], "listeners": [
                { "protocol": "TCP", "port": 80, "forward": [ { "target_group": "web" } ] } ] } ],
            "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "targets": [
                { "id": "10.0.0.1" }, { "id": "10.0.0.2" } ] } ]
        })
    }

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut now = file();
        change(&mut now);
        let parse = |value: &Value| crate::config::parse("test", &value.to_string()).unwrap();
        let told = between(&parse(&file()), &parse(&now));
        told.into_iter().map(|(object, words)| format!("{object}: {words}")).collect()
    }

    #[test]
    fn nothing_is_told_of_nothing() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn targets_are_told_one_by_one() {
        let told = told(|file| {
            let group = &mut file["target_groups"][0];
            group["targets"] = json!([ { "id": "10.0.0.1", "weight": 5 }, { "id": "10.0.0.3" } ]);
            group["health_check"] = json!({ "interval_seconds": 5 });
        });
        assert_eq!(
            told,
            [
                "target web/10.0.0.1: weight 1 → 5",
                "target web/10.0.0.3: added with weight 1",
                "target web/10.0.0.2: removed, drains for 300 s",
                "target group web: health check changed",
            ]
        );
    }

    #[test]
    fn vips_and_listeners_are_told() {
        let told = told(|file| {
            let balancer = &mut file["load_balancers"][0];
            balancer["vips"] = json!(["10.200.1.2"]);
            balancer["listeners"][0]["port"] = json!(81);
            file["node"]["interfaces"] = json!(["eth1"]);
        });
        assert_eq!(
            told,
            [
                "node: settings of the node changed",
                "load balancer web: VIP 10.200.1.2 added",
                "load balancer web: VIP 10.200.1.1 removed",
                "load balancer web: listener TCP 81 added",
                "load balancer web: listener TCP 80 removed",
            ]
        );
    }
}
