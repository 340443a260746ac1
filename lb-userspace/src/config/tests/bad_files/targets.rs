//! Targets: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "a target named by another field",
        r#""id": "fc00::1""#,
        r#""address": "fc00::1""#,
        &[
            "target_groups[2].targets[0].address: unknown field; the fields here are id, weight, zone, port, quic_server_id",
            r#"target_groups[2].targets[0].id: missing; expected an IP address such as "10.0.0.1" or "fc00::1""#,
        ],
    ),
    bad(
        "a target's weight beyond 1000",
        r#""weight": 7"#,
        r#""weight": 1001"#,
        &[
            "target_groups[0].targets[0].weight: expected a whole number from 0 to 1000, found the number 1001",
        ],
    ),
    bad(
        "a target's empty zone",
        r#""zone": "b""#,
        r#""zone": """#,
        &[
            r#"target_groups[0].targets[0].zone: expected a name of 1 to 64 characters, without control characters and outer spaces, found the string """#,
        ],
    ),
    bad(
        "a target on the loopback",
        r#""fc00::1""#,
        r#""::1""#,
        &[
            "target_groups[2].targets[0].id: ::1 is a loopback address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "a target twice in its group",
        r#""10.0.0.2""#,
        r#""10.0.0.1""#,
        &[
            "target_groups[0].targets[1].id: 10.0.0.1 is target_groups[0].targets[0] already; list it once, with a weight",
        ],
    ),
    bad(
        "a target that is a VIP",
        r#""fc00::1""#,
        r#""10.200.1.2""#,
        &[
            "target_groups[2].targets[0].id: 10.200.1.2 is a VIP (load_balancers[1].vips[0]), packets would go round in a loop; expected the server's own address",
        ],
    ),
    bad(
        "a target's port that is none",
        r#""weight": 7"#,
        r#""port": 0"#,
        &["target_groups[0].targets[0].port: expected a whole number from 1 to 65535, found the number 0"],
    ),
];
