//! `sluice node ls`: the nodes that share the state, as the controller on this host knows them.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::agreement::HASH_KEY_REMEDY;
use crate::inspect::columns::{Column, lines};
use crate::output;
use crate::status::client;
use crate::status::quantity::{count, duration};
use crate::status::report::{MemberReport, OwnerReport, Report, SharedStateReport};

/// How the nodes are listed.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Print JSON for programs: what `sluice status --json` has as `shared_state`
    #[arg(long)]
    json: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

/// Records are read every two seconds: what is older by much is told.
const STALE_SECONDS: f64 = 10.0;

/// Lists them.
///
/// # Errors
/// If no controller answers.
pub async fn list(options: Options) -> anyhow::Result<()> {
    let report = client::fetch(&options.runtime_directory.join(crate::STATUS_SOCKET)).await?;
    output::print(&if options.json { json_of(&report)? } else { text_of(&report) })
}

fn json_of(report: &Report) -> anyhow::Result<String> {
    let own = json!([{
        "name": report.node, "zone": report.zone, "version": report.version, "state": "this",
        "up_seconds": report.uptime_seconds,
    }]);
    let told = match &report.shared_state {
        Some(shared) => serde_json::to_value(shared).context("writing the nodes as JSON")?,
        None => json!({ "generation": Value::Null, "members": own, "members_problem": alone(report) }),
    };
    Ok(serde_json::to_string_pretty(&told).context("writing the nodes as JSON")? + "\n")
}

fn text_of(report: &Report) -> String {
    let Some(shared) = &report.shared_state else {
        let row = [&*report.node, &report.zone, "this", &report.version, &duration(report.uptime_seconds)];
        let columns = ["node", "zone", "state", "version", "up"].map(Column::word);
        let mut all = lines(&columns, &[row.map(str::to_owned).to_vec()], None);
        all.push(String::new());
        all.push(alone(report));
        return all.join("\n") + "\n";
    };
    let columns = [
        Column::word("node"),
        Column::word("zone"),
        Column::word("state"),
        Column::word("version"),
        Column::number("up"),
        Column::number("generation"),
        Column::word("tables"),
        Column::word("hash key"),
        Column::number("targets"),
        Column::number("unhealthy"),
        Column::word("fullest map"),
        Column::number("VIPs"),
        Column::word("interfaces"),
    ];
    let rows: Vec<Vec<String>> = shared.members.iter().map(row).collect();
    let mut all = lines(&columns, &rows, None);
    let notes = notes(shared);
    if !notes.is_empty() {
        all.push(String::new());
        all.extend(notes);
    }
    all.join("\n") + "\n"
}

/// Why there is only this node.
fn alone(report: &Report) -> String {
    match &report.configuration.owner {
        OwnerReport::File => format!(
            "only this node: its file {} owns the load balancers, and other nodes have files of their own",
            report.configuration.file
        ),
        OwnerReport::Api { .. } => {
            "only this node: it keeps the API's state for itself; with store.etcd nodes share it".to_owned()
        }
    }
}

fn row(member: &MemberReport) -> Vec<String> {
    let is_gone = member.state == "gone";
    let state = match &*member.state {
        "gone" => format!("gone, last seen {} ago", duration(member.last_seen_seconds)),
        state => state.to_owned(),
    };
    let differ = member.tables_differ && !member.hash_key_differs;
    let tables = format!("{}{}", member.table_digest, if differ { " DIFFER" } else { "" });
    let targets = member.room.iter().find(|at| at.what == "targets").map(|at| count(at.held));
    vec![
        member.name.clone(),
        member.zone.clone(),
        state,
        member.version.clone(),
        if is_gone { "-".to_owned() } else { duration(member.up_seconds) },
        member.generation.to_string(),
        tables,
        hash_key(member),
        targets.unwrap_or_else(|| "-".to_owned()),
        member.unhealthy.map_or("-".to_owned(), count),
        fullest(member),
        member.vips.len().to_string(),
        member.interfaces.join(" "),
    ]
}

/// The fingerprint of its key; a node of an older version tells none.
fn hash_key(member: &MemberReport) -> String {
    let fingerprint = member.hash_key.as_deref().unwrap_or("not told");
    format!("{fingerprint}{}", if member.hash_key_differs { " ANOTHER" } else { "" })
}

/// The map with the least room, in percent.
fn fullest(member: &MemberReport) -> String {
    let share = |held: u64, room: u64| (held as f64 * 100.0 / room.max(1) as f64).ceil();
    let fullest = member
        .room
        .iter()
        .max_by(|one, other| share(one.held, one.room).total_cmp(&share(other.held, other.room)));
    fullest.map_or("-".to_owned(), |at| format!("{} % {}", share(at.held, at.room), at.what))
}

fn notes(shared: &SharedStateReport) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &shared.members_problem {
        notes.push(format!("the other nodes are not seen as they are: {why}"));
    }
    match shared.members_age_seconds {
        None => notes.push("the other nodes have not been read yet".to_owned()),
        Some(age) if age > STALE_SECONDS => {
            notes.push(format!("what is shown of them is {} old", duration(age)))
        }
        Some(_) => {}
    }
    let strangers = shared.members.iter().filter(|member| member.hash_key_differs);
    notes.extend(strangers.map(|member| {
        format!(
            "{} has another hash key: flows that routers move go to other targets there; {HASH_KEY_REMEDY}",
            member.name
        )
    }));
    if shared.generation > shared.generation_in_force {
        let why = shared.refused.as_deref().unwrap_or("it is being taken over");
        notes.push(format!("generation {} is known here and not in force: {why}", shared.generation));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    #[test]
    fn each_node_has_a_line_and_what_is_wrong_has_words() {
        let text = text_of(&sample::report());
        let lines: Vec<&str> = text.lines().collect();
        let has = |at: usize, words: &[&str]| words.iter().all(|word| lines[at].contains(word));
        assert!(has(0, &["node", "generation", "unhealthy", "fullest map"]), "{text}");
        assert!(has(1, &["lb1", "this", "2h 5m", "00c0ffee00c0ffee", "1 % targets", "eth0"]), "{text}");
        assert!(has(2, &["lb2", "present", "DIFFER"]), "{text}");
        assert!(has(3, &["lb3", "gone, last seen 3m 4s ago"]), "{text}");
        assert!(
            lines[5].starts_with("generation 9 is known here and not in force: The data plane"),
            "{text}"
        );
    }

    #[test]
    fn another_hash_key_is_named_with_the_remedy_and_one_that_is_not_told_is_none() {
        let mut report = sample::report();
        let members = &mut report.shared_state.as_mut().unwrap().members;
        members[1].hash_key = Some("0ddba110ddba1100".to_owned());
        members[1].hash_key_differs = true;
        let text = text_of(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("hash key") && lines[1].contains("5eed5eed5eed5eed"), "{text}");
        assert!(lines[2].contains("0ddba110ddba1100 ANOTHER") && !lines[2].contains("DIFFER"), "{text}");
        assert!(lines[3].contains("not told") && !lines[3].contains("ANOTHER"), "{text}");
        assert!(lines[5].starts_with("lb2 has another hash key: "), "{text}");
        assert!(lines[5].contains("copy /run/sluice/hash.key"), "{text}");
    }

    #[test]
    fn a_node_that_shares_nothing_is_alone_and_says_why() {
        let text = text_of(&sample::empty_report());
        assert!(text.contains("lb1") && text.contains("only this node: "), "{text}");
        let json: Value = serde_json::from_str(&json_of(&sample::empty_report()).unwrap()).unwrap();
        assert_eq!(json["members"][0]["name"], "lb1");
        assert!(json["members_problem"].as_str().unwrap().starts_with("only this node"));
    }

    #[test]
    fn what_is_old_is_said_to_be() {
        let mut shared = sample::report().shared_state.unwrap();
        shared.generation = shared.generation_in_force;
        assert_eq!(notes(&shared), Vec::<String>::new());
        shared.members_problem = Some("no answer within 2 s".to_owned());
        shared.members_age_seconds = Some(61.0);
        assert_eq!(
            notes(&shared),
            [
                "the other nodes are not seen as they are: no answer within 2 s",
                "what is shown of them is 1m 1s old"
            ]
        );
    }
}
