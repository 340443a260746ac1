//! What a rehearsal says is what then happens.

use std::time::{Duration, Instant};

use lb_common::TargetId;

use crate::config;
use crate::data_plane::Capacity;
use crate::health::HealthStatus;
use crate::model::{Desired, TargetKey};
use crate::plan::effects::effects;
use crate::plan::files;
use crate::plan::report::Action;
use crate::reconcile::Reconciler;

fn desired(targets: &[u8]) -> Desired {
    let targets: Vec<String> =
        targets.iter().map(|last| format!(r#"{{ "id": "10.0.0.{last}", "zone": "a" }}"#)).collect();
    let text = format!(
        r#"{{ "node": {{ "name": "lb1", "zone": "a", "interfaces": ["eth0"] }},
             "load_balancers": [ {{ "name": "web", "vips": ["192.0.2.1"],
               "listeners": [ {{ "protocol": "TCP", "port": 80, "forward": [ {{ "target_group": "web" }} ] }} ] }} ],
             "target_groups": [ {{ "name": "web", "protocol": "TCP", "port": 80, "targets": [{}] }} ] }}"#,
        targets.join(", ")
    );
    config::parse("web.json", &text).unwrap_or_else(|problem| panic!("{problem}"))
}

fn owners(reconciler: &Reconciler) -> Vec<TargetId> {
    let action = reconciler.actions().iter().next().unwrap();
    action.slots().unwrap().encoded().map(|slot| slot.current()).collect()
}

#[test]
fn as_many_slots_move_as_was_said() {
    let now = Instant::now();
    for after in [&[1, 2, 3, 4][..], &[1, 2], &[1, 2, 5], &[1, 2, 3]] {
        let mut node = Reconciler::new(desired(&[1, 2, 3]), Capacity::default(), now).unwrap();
        let before = owners(&node);
        let said = node.rehearse(desired(after), now).unwrap();
        assert_eq!(owners(&node), before, "a rehearsal changes nothing");
        let later = now + Duration::from_secs(1);
        node.apply(desired(after), later).unwrap();
        for last in after {
            let address = std::net::IpAddr::from([10, 0, 0, *last]);
            let target = TargetKey { target_group: "web".to_owned(), address };
            node.observe(&target, HealthStatus::healthy(), later);
        }
        node.settle(later);
        let moved = before.iter().zip(owners(&node)).filter(|(one, other)| **one != *other).count();
        let counted: usize = said.iter().map(|change| change.moved).sum();
        assert_eq!(counted, moved, "{after:?}");
        assert_eq!(said.is_empty(), after == [1, 2, 3]);
    }
}

#[test]
fn a_target_that_leaves_drains_as_long_as_its_group_says() {
    let (before, after) = (desired(&[1, 2, 3]), desired(&[1, 2]));
    let effects = effects(&before, &after, Vec::new());
    let leaving: Vec<(String, u64)> =
        effects.leaving.iter().map(|one| (one.address.to_string(), one.drains_seconds)).collect();
    assert_eq!(leaving, [("10.0.0.3".to_owned(), after.target_groups["web"].draining.as_secs())]);
    assert!(effects.vips_given.is_empty() && effects.vips_taken.is_empty());
}

#[test]
fn configuration_files_are_compared_in_words() {
    let differences = files::differences(&desired(&[1, 2]), &desired(&[2, 3]));
    let [only] = &differences[..] else { panic!("{differences:?}") };
    assert_eq!((only.action, only.name.as_str()), (Action::Change, "web"));
    assert_eq!(only.details, ["target 10.0.0.3: is new, weight 1", "target 10.0.0.1: leaves"]);
    assert_eq!(files::differences(&desired(&[1]), &desired(&[1])), []);
}
