//! Health checks: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "a TLS check",
        r#""HTTP""#,
        r#""TLS""#,
        &[
            r#"target_groups[0].health_check.protocol: "TLS" is not supported yet; use "TCP", "HTTP", "HTTPS", "GRPC" or "UDP""#,
        ],
    ),
    bad(
        "a path and a matcher of a gRPC check",
        r#""HTTP""#,
        r#""GRPC""#,
        &[
            r#"target_groups[0].health_check.path: only HTTP and HTTPS checks have one; leave it out or set the check's protocol to "HTTP""#,
            r#"target_groups[0].health_check.matcher: only HTTP and HTTPS checks have one; leave it out or set the check's protocol to "HTTP""#,
        ],
    ),
    bad(
        "a service of an HTTP check",
        r#""path": "/up""#,
        r#""service": "a.B""#,
        &[
            r#"target_groups[0].health_check.service: only GRPC checks have one; leave it out or set the check's protocol to "GRPC""#,
        ],
    ),
    bad(
        "a service with a space",
        r#""protocol": "HTTP", "port": 81, "path": "/up", "matcher": "200""#,
        r#""protocol": "GRPC", "port": 81, "service": "a b""#,
        &[
            r#"target_groups[0].health_check.service: expected the name of a gRPC service of up to 200 letters, digits and '.', '_', '-', '/', found the string "a b""#,
        ],
    ),
    bad(
        "a check port that is any",
        r#""traffic-port""#,
        r#""any""#,
        &[
            r#"target_groups[2].health_check.port: expected a whole number from 1 to 65535 or "traffic-port", found the string "any""#,
        ],
    ),
    bad(
        "a path and a matcher of a TCP check",
        r#""protocol": "HTTP""#,
        r#""protocol": "TCP""#,
        &[
            r#"target_groups[0].health_check.path: only HTTP and HTTPS checks have one; leave it out or set the check's protocol to "HTTP""#,
            r#"target_groups[0].health_check.matcher: only HTTP and HTTPS checks have one; leave it out or set the check's protocol to "HTTP""#,
        ],
    ),
    bad(
        "a path without its slash",
        r#""/up""#,
        r#""up""#,
        &[
            r#"target_groups[0].health_check.path: expected a path of 1 to 1024 characters that starts with "/", such as "/healthz", found the string "up""#,
        ],
    ),
    bad(
        "a path that smuggles a header",
        r#""/up""#,
        r#""/up\r\nX: y""#,
        &[
            r"target_groups[0].health_check.path: '\r' can't stand in the path of a request; write it percent-encoded, like %20 for a space",
        ],
    ),
    bad(
        "a path with half an escape",
        r#""/up""#,
        r#""/up%2""#,
        &[
            "target_groups[0].health_check.path: '%' can't stand in the path of a request; write it percent-encoded, like %20 for a space",
        ],
    ),
    bad(
        "a matcher that is a number",
        r#""matcher": "200""#,
        r#""matcher": 200"#,
        &[
            r#"target_groups[0].health_check.matcher: expected a string of HTTP status codes from 200 to 599 and ranges of them, such as "200" or "200,300-399", found the number 200"#,
        ],
    ),
    bad(
        "a matcher that goes backwards",
        r#""matcher": "200""#,
        r#""matcher": "299-200""#,
        &[
            r#"target_groups[0].health_check.matcher: expected a string of HTTP status codes from 200 to 599 and ranges of them, such as "200" or "200,300-399", found the string "299-200""#,
        ],
    ),
    bad(
        "a matcher of an interim answer",
        r#""matcher": "200""#,
        r#""matcher": "100""#,
        &[
            r#"target_groups[0].health_check.matcher: expected a string of HTTP status codes from 200 to 599 and ranges of them, such as "200" or "200,300-399", found the string "100""#,
        ],
    ),
    bad(
        "an interval of nothing",
        r#""interval_seconds": 20"#,
        r#""interval_seconds": 0"#,
        &[
            "target_groups[0].health_check.interval_seconds: expected a whole number of seconds from 1 to 300, found the number 0",
        ],
    ),
    bad(
        "a time-out beyond its range",
        r#""timeout_seconds": 8"#,
        r#""timeout_seconds": 121"#,
        &[
            "target_groups[0].health_check.timeout_seconds: expected a whole number of seconds from 1 to 120, found the number 121",
        ],
    ),
    bad(
        "a time-out longer than the interval",
        r#""timeout_seconds": 8"#,
        r#""timeout_seconds": 21"#,
        &[
            "target_groups[0].health_check.timeout_seconds: 21 s is longer than the interval of 20 s; make it at most interval_seconds",
        ],
    ),
    bad(
        "a threshold of 0",
        r#""healthy_threshold": 3"#,
        r#""healthy_threshold": 0"#,
        &[
            "target_groups[0].health_check.healthy_threshold: expected a whole number from 1 to 10, found the number 0",
        ],
    ),
    bad(
        "a threshold beyond 10",
        r#""unhealthy_threshold": 4"#,
        r#""unhealthy_threshold": 11"#,
        &[
            "target_groups[0].health_check.unhealthy_threshold: expected a whole number from 1 to 10, found the number 11",
        ],
    ),
];
