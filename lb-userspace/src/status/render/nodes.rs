//! How the state is shared: a line, and one more for whatever is wrong.

use super::{Page, Tone};
use crate::membership::HASH_KEY_REMEDY;
use crate::status::quantity::duration;
use crate::status::report::{MemberReport, Report, SharedStateReport};

pub(super) fn shared_state(page: &mut Page, report: &Report) {
    let Some(shared) = &report.shared_state else { return };
    page.line(Tone::Plain, &summary(shared));
    for line in troubles(shared) {
        page.line(Tone::Bad, &line);
    }
}

fn summary(shared: &SharedStateReport) -> String {
    let present = shared.members.iter().filter(|member| member.state != "gone").count();
    let nodes = if present == 1 { "1 node".to_owned() } else { format!("{present} nodes") };
    format!("state shared by {nodes} · generation {} in force", shared.generation_in_force)
}

fn troubles(shared: &SharedStateReport) -> Vec<String> {
    let mut lines = Vec::new();
    if !shared.store_reachable {
        let why = shared.store_problem.as_deref().unwrap_or("it does not answer");
        lines.push(format!("STORE AWAY: the node goes on with what it knows, changes are refused: {why}"));
    }
    if shared.generation > shared.generation_in_force {
        let why = shared.refused.as_deref().unwrap_or("it is being taken over");
        lines.push(format!("BEHIND: generation {} is not in force: {why}", shared.generation));
    }
    if let Some(why) = &shared.members_problem {
        lines.push(format!("NODES UNKNOWN: {why}"));
    }
    lines.extend(shared.members.iter().filter_map(trouble));
    lines
}

fn trouble(member: &MemberReport) -> Option<String> {
    if member.state == "gone" {
        return Some(format!(
            "GONE: node {}, last seen {} ago",
            member.name,
            duration(member.last_seen_seconds)
        ));
    }
    if member.hash_key_differs {
        return Some(format!(
            "TABLES DIFFER: node {} has another hash key: flows that routers move go to other targets there; \
             {HASH_KEY_REMEDY}",
            member.name
        ));
    }
    member.tables_differ.then(|| {
        format!("TABLES DIFFER: node {} follows the same generation and has other tables", member.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    #[test]
    fn what_is_wrong_among_nodes_is_told_line_by_line() {
        let mut shared = sample::report().shared_state.unwrap();
        assert_eq!(summary(&shared), "state shared by 2 nodes · generation 8 in force");
        assert_eq!(
            troubles(&shared),
            [
                "BEHIND: generation 9 is not in force: The data plane has room for 8, and 9 VIPs would be needed",
                "TABLES DIFFER: node lb2 follows the same generation and has other tables",
                "GONE: node lb3, last seen 3m 4s ago",
            ]
        );
        shared.members[1].hash_key_differs = true;
        let told = &troubles(&shared)[1];
        assert!(told.starts_with("TABLES DIFFER: node lb2 has another hash key"), "{told}");
        assert!(told.contains("copy /run/sluice/hash.key"), "{told}");
        shared.members.truncate(1);
        shared.generation = 8;
        assert_eq!(troubles(&shared), Vec::<String>::new());
        (shared.store_reachable, shared.store_problem) = (false, Some("no answer within 2 s".to_owned()));
        assert_eq!(
            troubles(&shared),
            ["STORE AWAY: the node goes on with what it knows, changes are refused: no answer within 2 s"]
        );
    }
}
