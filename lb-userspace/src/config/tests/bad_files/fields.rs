//! Fields and types: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "an unknown field that looks like a known one",
        r#""name": "lb1""#,
        r#""nmae": "lb1""#,
        &[r#"node.nmae: unknown field; did you mean "name"?"#],
    ),
    bad(
        "an unknown field like none",
        r#""name": "lb1","#,
        r#""name": "lb1", "color": "red","#,
        &[
            "node.color: unknown field; the fields here are name, zone, interfaces, oversized, health_view, flow_log",
        ],
    ),
    bad(
        "a field without its unit",
        r#""interval_seconds""#,
        r#""interval""#,
        &[r#"target_groups[0].health_check.interval: unknown field; did you mean "interval_seconds"?"#],
    ),
    bad(
        "a field in camel case",
        r#""encapsulation""#,
        r#""Encapsulation""#,
        &[r#"target_groups[0].Encapsulation: unknown field; did you mean "encapsulation"?"#],
    ),
    bad(
        "an unknown field on top",
        r#""metrics_address""#,
        r#""metrics""#,
        &[r#"metrics: unknown field; did you mean "metrics_address"?"#],
    ),
    bad(
        "a field name that is no word",
        r#""zone": "a""#,
        "\"zone\": \"a\", \"\\u001b[31m\": 1",
        &[
            r#"node["\u{1b}[31m"]: unknown field; the fields here are name, zone, interfaces, oversized, health_view, flow_log"#,
        ],
    ),
    bad(
        "a field given twice",
        r#""zone": "a""#,
        r#""zone": "a", "zone": "b""#,
        &["node.zone: given twice; a field is given once"],
    ),
    bad(
        "a section given twice",
        r#""metrics_address": "127.0.0.1:9100""#,
        r#""node": {}"#,
        &["node: given twice; a field is given once"],
    ),
    bad(
        "a missing field",
        r#""name": "lb1", "#,
        "",
        &[
            "node.name: missing; expected a name of 1 to 64 characters, without control characters and outer spaces",
        ],
    ),
    bad(
        "a missing list",
        r#", "targets": []"#,
        "",
        &["target_groups[1].targets: missing; expected a list of targets"],
    ),
    bad(
        "null for a string",
        r#""zone": "a""#,
        r#""zone": null"#,
        &[
            "node.zone: expected a name of 1 to 64 characters, without control characters and outer spaces, found null",
        ],
    ),
    bad(
        "null for a field with a default",
        r#""weight": 5"#,
        r#""weight": null"#,
        &[
            "load_balancers[0].listeners[0].forward[0].weight: expected a whole number from 0 to 999, found null",
        ],
    ),
    bad(
        "an object for a list",
        r#""targets": []"#,
        r#""targets": {}"#,
        &["target_groups[1].targets: expected a list of targets, found an object"],
    ),
    bad(
        "a list for an object",
        r#"{ "target_group": "dns" }"#,
        r#"["dns"]"#,
        &[
            "load_balancers[0].listeners[1].forward[0]: expected an object with target_group, weight, found a list",
        ],
    ),
    bad(
        "a string for an object",
        r#"{ "id": "fc00::1" }"#,
        r#""fc00::1""#,
        &[
            r#"target_groups[2].targets[0]: expected an object with id, weight, zone, port, quic_server_id, found the string "fc00::1""#,
        ],
    ),
    bad(
        "a string for a flag",
        r#""cross_zone": true"#,
        r#""cross_zone": "true""#,
        &[r#"target_groups[0].cross_zone: expected true or false, found the string "true""#],
    ),
    bad(
        "a number in quotes",
        r#""weight": 7"#,
        r#""weight": "7""#,
        &[
            r#"target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the string "7"; remove the quotes"#,
        ],
    ),
    bad(
        "a word for a number",
        r#""weight": 7"#,
        r#""weight": "much""#,
        &[
            r#"target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the string "much""#,
        ],
    ),
    bad(
        "a fraction",
        r#""weight": 7"#,
        r#""weight": 7.5"#,
        &["target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number 7.5"],
    ),
    bad(
        "a number beyond all ranges",
        r#""weight": 7"#,
        r#""weight": 99999999999999999999"#,
        &[
            "target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number 1e20",
        ],
    ),
];
