//! Findings as text for people, and as JSON for programs.

use std::fmt::Write;

use anyhow::Context;
use serde::Serialize;

use super::finding::{Finding, Level, any_failed};
use crate::status::render::{Colour, printable};

/// The findings, each on a line, with the command that mends it on the next.
pub fn text(findings: &[Finding], colour: Colour) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, ansi) = word(finding.level);
        let mark = match (colour, ansi) {
            (Colour::Always, Some(ansi)) => format!("\x1b[{ansi}m{word}\x1b[0m"),
            _ => word.to_owned(),
        };
        let (object, what) = (printable(&finding.object), printable(&finding.what));
        let cause = if finding.level == Level::Ok { "" } else { &format!(" [{}]", finding.cause.name()) };
        _ = writeln!(text, "{mark} {object}: {what}{cause}");
        if let Some(mend) = &finding.mend {
            _ = writeln!(text, "       mend: {}", printable(mend));
        }
    }
    text
}

fn word(level: Level) -> (&'static str, Option<&'static str>) {
    match level {
        Level::Ok => ("[ok]  ", Some("32")),
        Level::Warn => ("[warn]", Some("33")),
        Level::Fail => ("[FAIL]", Some("1;31")),
    }
}

/// The findings as one JSON object.
///
/// # Errors
/// Never, as far as is known: every field can be written.
pub fn json(findings: &[Finding]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Answer<'a> {
        failed: bool,
        findings: &'a [Finding],
    }
    let answer = Answer { failed: any_failed(findings), findings };
    Ok(serde_json::to_string_pretty(&answer).context("writing the findings as JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Cause;
    use super::*;

    fn findings() -> [Finding; 2] {
        let wrong = Finding::new(Cause::NoRoute, "target web/10.0.0.1", "no route\u{7}", "ip route add …");
        [Finding::sound("interface eth0", "native"), wrong]
    }

    #[test]
    fn a_line_says_level_object_and_cause_and_the_next_what_mends_it() {
        let expected = "[ok]   interface eth0: native\n\
                        [FAIL] target web/10.0.0.1: no route\u{fffd} [no-route]\n\
                        \x20      mend: ip route add …\n";
        assert_eq!(text(&findings(), Colour::Never), expected);
        assert!(text(&findings(), Colour::Always).contains("\x1b[1;31m[FAIL]\x1b[0m target"));
    }

    #[test]
    fn programs_get_the_causes_by_name() {
        let value: serde_json::Value = serde_json::from_str(&json(&findings()).unwrap()).unwrap();
        assert_eq!(value["failed"], true);
        assert_eq!(value["findings"][1]["cause"], "no-route");
        assert_eq!(value["findings"][0]["level"], "ok");
        assert!(value["findings"][0].get("mend").is_none());
    }
}
