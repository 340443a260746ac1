//! A plan in words.

use std::fmt::Write;

use super::report::{Action, Difference, Effects, Plan, Resource, TableEffect};

/// The words of a plan.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for difference in &plan.differences {
        difference_words(&mut text, difference);
    }
    if plan.is_empty() {
        text.push_str("no difference\n");
        return text;
    }
    let effects = effect_words(&plan.effects);
    if !effects.is_empty() {
        text.push_str(if plan.applied { "This moves:\n" } else { "This would move:\n" });
        for line in effects {
            _ = writeln!(text, "    {line}");
        }
    }
    if !plan.effects.of_data_plane && !plan.effects.tables.is_empty() {
        text.push_str(
            "There is no data plane here: this is for healthy targets, those of all zones together.\n",
        );
    }
    text
}

fn difference_words(text: &mut String, difference: &Difference) {
    let resource = match difference.resource {
        Resource::LoadBalancer => "load balancer",
        Resource::Listener => "listener",
        Resource::TargetGroup => "target group",
        Resource::Node => "node",
    };
    let action = match difference.action {
        Action::Create => "is made",
        Action::Change => "changes",
        Action::Remake => "is deleted and made anew",
        Action::Delete => "is deleted",
        Action::Leave => "stays; the document does not name it, --delete would delete it",
    };
    _ = writeln!(text, "{resource} {}: {action}", difference.name);
    for detail in &difference.details {
        _ = writeln!(text, "    {detail}");
    }
}

fn effect_words(effects: &Effects) -> Vec<String> {
    let tables = effects.tables.iter().map(table_words);
    let leaving = effects.leaving.iter().map(|one| {
        let (group, address) = (&one.target_group, one.address);
        match one.drains_seconds {
            0 => format!("{group}: {address} leaves at once"),
            seconds => format!("{group}: {address} drains for {seconds} s"),
        }
    });
    let given =
        effects.vips_given.iter().map(|one| format!("{}: gets the VIP {}", one.load_balancer, one.vip));
    let taken =
        effects.vips_taken.iter().map(|one| format!("{}: loses the VIP {}", one.load_balancer, one.vip));
    tables.chain(leaving).chain(given).chain(taken).collect()
}

fn table_words(table: &TableEffect) -> String {
    let port = if table.port == 0 { "any".to_owned() } else { table.port.to_string() };
    let listener = format!("{} {} {port}", table.load_balancer, table.protocol);
    match (table.slots, table.moved) {
        (0, _) => format!("{listener}: nobody is served any more"),
        (slots, 0) => format!("{listener}: a new table of {slots} slots"),
        (slots, moved) => {
            format!("{listener}: {} of slots change target ({moved} of {slots})", percentage(moved, slots))
        }
    }
}

/// With one digit behind the point; what is not nothing is not told as nothing, nor what is not all as all.
fn percentage(part: usize, whole: usize) -> String {
    let tenths = (part * 1000 + whole / 2) / whole.max(1);
    let tenths = if part < whole { tenths.min(999) } else { tenths };
    if tenths == 0 { "less than 0.1 %".to_owned() } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::report::{Leaving, Vip};

    #[test]
    fn a_plan_says_what_differs_and_what_it_would_move() {
        let difference = |action, resource, name: &str, details: &[&str]| Difference {
            action,
            resource,
            name: name.to_owned(),
            details: details.iter().map(|detail| (*detail).to_owned()).collect(),
        };
        let table = |port, slots, moved| TableEffect {
            load_balancer: "web".to_owned(),
            protocol: "TCP".to_owned(),
            port,
            slots,
            moved,
        };
        let plan = Plan {
            owner: "api".to_owned(),
            version: 7,
            applied: false,
            differences: vec![
                difference(Action::Change, Resource::TargetGroup, "web", &["deregistered: 10.0.0.3:80"]),
                difference(Action::Leave, Resource::LoadBalancer, "old", &[]),
            ],
            effects: Effects {
                of_data_plane: true,
                tables: vec![table(80, 1000, 18), table(81, 1024, 0), table(82, 0, 0)],
                leaving: vec![Leaving {
                    target_group: "web".to_owned(),
                    address: "10.0.0.3".parse().unwrap(),
                    drains_seconds: 300,
                }],
                vips_given: vec![Vip { load_balancer: "web".to_owned(), vip: "192.0.2.1".parse().unwrap() }],
                vips_taken: Vec::new(),
            },
        };
        let expected = "\
target group web: changes
    deregistered: 10.0.0.3:80
load balancer old: stays; the document does not name it, --delete would delete it
This would move:
    web TCP 80: 1.8 % of slots change target (18 of 1000)
    web TCP 81: a new table of 1024 slots
    web TCP 82: nobody is served any more
    web: 10.0.0.3 drains for 300 s
    web: gets the VIP 192.0.2.1
";
        assert_eq!(render(&plan), expected);
    }

    #[test]
    fn a_share_is_never_rounded_to_none_or_all() {
        assert_eq!(percentage(1, 65536), "less than 0.1 %");
        assert_eq!(percentage(65535, 65536), "99.9 %");
        assert_eq!(percentage(7, 7), "100.0 %");
        assert_eq!(percentage(1, 8), "12.5 %");
    }
}
