//! Listeners: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "TLS",
        r#""protocol": "TCP", "port": 80, "forward""#,
        r#""protocol": "TLS", "port": 80, "forward""#,
        &[
            r#"load_balancers[0].listeners[0].protocol: "TLS" is not supported yet; use "TCP", "UDP", "TCP_UDP" or "QUIC""#,
        ],
    ),
    bad(
        "TCP_QUIC",
        r#""protocol": "TCP", "port": 80, "forward""#,
        r#""protocol": "TCP_QUIC", "port": 80, "forward""#,
        &[
            r#"load_balancers[0].listeners[0].protocol: "TCP_QUIC" is not supported yet; use "TCP", "UDP", "TCP_UDP" or "QUIC""#,
        ],
    ),
    bad(
        "a protocol in small letters",
        r#""name": "web-2", "protocol": "TCP""#,
        r#""name": "web-2", "protocol": "tcp""#,
        &[r#"target_groups[1].protocol: expected "TCP", "UDP", "TCP_UDP" or "QUIC", found the string "tcp""#],
    ),
    bad(
        "listener port 0",
        r#""port": 53, "forward""#,
        r#""port": 0, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the number 0"#,
        ],
    ),
    bad(
        "a listener port beyond 65535",
        r#""port": 53, "forward""#,
        r#""port": 65536, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the number 65536"#,
        ],
    ),
    bad(
        "a listener port in quotes",
        r#""port": 53, "forward""#,
        r#""port": "53", "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the string "53"; remove the quotes"#,
        ],
    ),
    bad(
        "a listener port range",
        r#""port": 53, "forward""#,
        r#""port": "53-54", "forward""#,
        &[
            r#"load_balancers[0].listeners[1].port: expected a whole number from 1 to 65535 or "any", found the string "53-54""#,
        ],
    ),
    bad(
        "two listeners on one port",
        r#""UDP", "port": 53, "forward": [{ "target_group": "dns" }]"#,
        r#""TCP", "port": 80, "forward": [{ "target_group": "web" }]"#,
        &[
            "load_balancers[0].listeners[1]: TCP port 80 is that of load_balancers[0].listeners[0] already; expected one listener for a protocol and port",
        ],
    ),
    bad(
        "nothing to forward to",
        r#"[{ "target_group": "dns" }]"#,
        "[]",
        &[
            "load_balancers[0].listeners[1].forward: an empty list; expected one or more target groups with weights",
        ],
    ),
    bad(
        "a target group that there is not",
        r#""target_group": "dns""#,
        r#""target_group": "ntp""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: no target group has the name "ntp"; add it to target_groups"#,
        ],
    ),
    bad(
        "a target group's name misspelt",
        r#""target_group": "dns""#,
        r#""target_group": "dsn""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: no target group has the name "dsn"; did you mean "dns"?"#,
        ],
    ),
    bad(
        "a target group of another protocol",
        r#""protocol": "UDP", "port": 53, "forward""#,
        r#""protocol": "TCP", "port": 53, "forward""#,
        &[
            r#"load_balancers[0].listeners[1].forward[0].target_group: the target group "dns" is UDP, this listener is TCP; make them the same, or the target group TCP_UDP"#,
        ],
    ),
    bad(
        "a target group twice in one action",
        r#""target_group": "web-2""#,
        r#""target_group": "web""#,
        &[
            r#"load_balancers[0].listeners[0].forward[1].target_group: "web" is that of load_balancers[0].listeners[0].forward[0] already; name it once, with a weight"#,
        ],
    ),
    bad(
        "no weight above 0",
        r#"{ "target_group": "dns" }"#,
        r#"{ "target_group": "dns", "weight": 0 }"#,
        &[
            "load_balancers[0].listeners[1].forward: every weight is 0, so no flow could go anywhere; expected one above 0",
        ],
    ),
    bad(
        "a weight of an action beyond 999",
        r#""weight": 5"#,
        r#""weight": 1000"#,
        &[
            "load_balancers[0].listeners[0].forward[0].weight: expected a whole number from 0 to 999, found the number 1000",
        ],
    ),
    bad(
        "an idle time-out of a UDP listener",
        r#""port": 53, "forward""#,
        r#""port": 53, "idle_timeout_seconds": 90, "forward""#,
        &[
            "load_balancers[0].listeners[1].idle_timeout_seconds: this listener is UDP, and only those that take TCP have it; leave it out, UDP's is the target group's",
        ],
    ),
    bad(
        "a short idle time-out of a listener",
        r#""port": 80, "forward""#,
        r#""port": 80, "idle_timeout_seconds": 59, "forward""#,
        &[
            "load_balancers[0].listeners[0].idle_timeout_seconds: expected a whole number of seconds from 60 to 6000, found the number 59",
        ],
    ),
];
