//! What a change of one target costs among many: printed, and bounded where the build is optimised.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::reconcile::Contents;

const GROUPS: usize = 1000;

/// A thousand load balancers with a target group of 16 each.
fn thousand() -> Desired {
    let name = |group: usize| format!("g{group}");
    let target =
        |group: usize, target: usize| json!({ "id": format!("10.{}.{}.{target}", group / 250, group % 250) });
    let groups: Vec<_> = (0..GROUPS)
        .map(|group| {
            let targets: Vec<_> = (1..=16).map(|at| target(group, at)).collect();
            json!({ "name": name(group), "protocol": "TCP", "port": 80, "targets": targets })
        })
        .collect();
    let balancers: Vec<_> = (0..GROUPS)
        .map(|group| {
            let listener =
                json!({ "protocol": "TCP", "port": 80, "forward": [{ "target_group": name(group) }] });
            let vip = format!("10.200.{}.{}", group / 250, group % 250 + 1);
            json!({ "name": name(group), "vips": [vip], "listeners": [listener] })
        })
        .collect();
    let text = json!({ "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": balancers, "target_groups": groups });
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

/// What differs, found as the writer of the maps finds it.
fn difference(old: &Contents, new: &Contents) -> (usize, usize, usize) {
    let tables = new.tables.iter().filter(|(at, table)| old.tables.get(at) != Some(table)).count();
    let targets = new.targets.iter().filter(|(id, target)| old.targets.get(id) != Some(target)).count();
    let listeners =
        new.listeners.iter().filter(|(name, value)| old.listeners.get(name) != Some(value)).count();
    (tables, targets, listeners)
}

#[test]
fn a_change_of_one_target_among_a_thousand_groups_costs_that_group_alone() {
    let now = Instant::now();
    let mut reconciler = Reconciler::new(thousand(), Capacity::default(), now).expect("it fits");
    let (before, mut longest) = (reconciler.contents(), Duration::ZERO);
    let mut known = before.clone();
    for round in 1..=10 {
        let mut desired = reconciler.desired().clone();
        let group = Arc::make_mut(desired.target_groups.get_mut("g500").expect("there"));
        group.targets.values_mut().next().expect("there").weight = round + 1;
        let begun = Instant::now();
        reconciler.apply(desired, now).expect("it fits");
        let contents = reconciler.contents();
        let difference = difference(&known, &contents);
        longest = longest.max(begun.elapsed());
        assert_eq!(difference, (1, 0, 0));
        known = contents;
    }
    println!("a change of one of {} targets: at most {longest:?}", GROUPS * 16);
    assert!(cfg!(debug_assertions) || longest < Duration::from_millis(15), "{longest:?}");
}
