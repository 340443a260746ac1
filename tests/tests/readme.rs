//! What the README says of things that the code defines.

use lb_common::Reason;

const README: &str = include_str!("../../README.md");

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let begin = "<!-- reasons: tested against lb-common/src/reason.rs -->\n";
    let (_, rest) = README.split_once(begin).expect("the README has the table's beginning");
    let (table, _) = rest.split_once("<!-- end of reasons -->").expect("the README has the table's end");
    assert!(table == expected(), "the README's table of reasons should be:\n{}", expected());
}

fn expected() -> String {
    let rows = Reason::ALL.iter().map(|reason| {
        let star = if reason.is_on_node() { "" } else { " *" };
        let (number, verdict) = (*reason as u8, reason.verdict().as_str());
        format!("| {number} | `{}`{star} | {verdict} | {} |\n", reason.name(), reason.description())
    });
    std::iter::once("| | reason | verdict | meaning |\n| --- | --- | --- | --- |\n".to_owned())
        .chain(rows)
        .collect()
}
