//! Target groups: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "a target group's port that is any",
        r#""port": 80, "targets""#,
        r#""port": "any", "targets""#,
        &[r#"target_groups[1].port: expected a whole number from 1 to 65535, found the string "any""#],
    ),
    bad(
        "another encapsulation",
        r#""ipip""#,
        r#""vxlan""#,
        &[r#"target_groups[0].encapsulation: expected "ipip" or "gue", found the string "vxlan""#],
    ),
    bad(
        "draining for too long",
        r#""draining_seconds": 9"#,
        r#""draining_seconds": 3601"#,
        &[
            "target_groups[0].draining_seconds: expected a whole number of seconds from 0 to 3600, found the number 3601",
        ],
    ),
    bad(
        "a duration with a unit",
        r#""draining_seconds": 9"#,
        r#""draining_seconds": "9s""#,
        &[
            r#"target_groups[0].draining_seconds: expected a whole number of seconds from 0 to 3600, found the string "9s""#,
        ],
    ),
    bad(
        "TCP flows that idle too shortly",
        r#""idle_timeout_seconds": 90"#,
        r#""idle_timeout_seconds": 59"#,
        &[
            "target_groups[0].idle_timeout_seconds: expected a whole number of seconds from 60 to 6000, found the number 59",
        ],
    ),
    bad(
        "UDP flows that idle too shortly",
        r#""idle_timeout_seconds": 30"#,
        r#""idle_timeout_seconds": 9"#,
        &[
            "target_groups[2].idle_timeout_seconds: expected a whole number of seconds from 10 to 6000, found the number 9",
        ],
    ),
    bad(
        "UDP tracking of a TCP group",
        r#""cross_zone": true"#,
        r#""udp_tracking": "always""#,
        &["target_groups[0].udp_tracking: this target group is TCP, only UDP ones have it; leave it out"],
    ),
    bad(
        "another UDP tracking",
        r#""never""#,
        r#""sometimes""#,
        &[
            r#"target_groups[2].udp_tracking: expected "changed", "always" or "never", found the string "sometimes""#,
        ],
    ),
    bad(
        "a routing threshold of none",
        r#""draining_seconds": 9"#,
        r#""minimum_healthy": { "routing": { "count": 0 } }"#,
        &[
            "target_groups[0].minimum_healthy.routing.count: expected a whole number from 1 to 65535, found the number 0",
        ],
    ),
    bad(
        "a threshold above all",
        r#""draining_seconds": 9"#,
        r#""minimum_healthy": { "failover": { "percent": 101 } }"#,
        &[
            "target_groups[0].minimum_healthy.failover.percent: expected a whole number from 1 to 100, found the number 101",
        ],
    ),
    bad(
        "a failover threshold under that of routing",
        r#""draining_seconds": 9"#,
        r#""minimum_healthy": { "routing": { "percent": 50 }, "failover": { "count": 2 } }"#,
        &[
            "target_groups[0].minimum_healthy.failover: is lower than routing, so all targets would get flows while the VIPs are still announced here; make its count and percent at least those of routing",
        ],
    ),
    bad(
        "an unknown threshold",
        r#""draining_seconds": 9"#,
        r#""minimum_healthy": { "dns": {} }"#,
        &["target_groups[0].minimum_healthy.dns: unknown field; the fields here are routing, failover"],
    ),
    bad(
        "unhealthy targets that drain for ever",
        r#""draining_seconds": 9"#,
        r#""unhealthy_draining_seconds": 360001"#,
        &[
            "target_groups[0].unhealthy_draining_seconds: expected a whole number of seconds from 0 to 360000, found the number 360001",
        ],
    ),
    bad(
        "a word for whether flows end",
        r#""draining_seconds": 9"#,
        r#""terminate_on_deregistration": "yes""#,
        &[r#"target_groups[0].terminate_on_deregistration: expected true or false, found the string "yes""#],
    ),
];
