//! The node: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "an empty node name",
        r#""name": "lb1""#,
        r#""name": """#,
        &[
            r#"node.name: expected a name of 1 to 64 characters, without control characters and outer spaces, found the string """#,
        ],
    ),
    bad(
        "a zone with a line break",
        r#""zone": "a""#,
        r#""zone": "a\nb""#,
        &[
            r#"node.zone: expected a name of 1 to 64 characters, without control characters and outer spaces, found the string "a\nb""#,
        ],
    ),
    bad(
        "no interface",
        r#"["eth0", "eth1"]"#,
        "[]",
        &["node.interfaces: an empty list; expected 1 to 64 interface names"],
    ),
    bad(
        "one interface without its list",
        r#"["eth0", "eth1"]"#,
        r#""eth0""#,
        &[r#"node.interfaces: expected a list of 1 to 64 interface names, found the string "eth0""#],
    ),
    bad(
        "an interface twice",
        r#""eth1""#,
        r#""eth0""#,
        &["node.interfaces[1]: the same interface as node.interfaces[0]; name each once"],
    ),
    bad(
        "an interface name that Linux can't have",
        r#""eth1""#,
        r#""eth/1""#,
        &[
            r#"node.interfaces[1]: expected an interface name such as "eth0", without '/', ':' and spaces, found the string "eth/1""#,
        ],
    ),
    bad(
        "an interface name that is too long",
        r#""eth1""#,
        r#""ethernet12345678""#,
        &[
            r#"node.interfaces[1]: "ethernet12345678" is 16 bytes long; an interface name of Linux has at most 15"#,
        ],
    ),
    bad(
        "another policy for packets that are too big",
        r#""zone": "a", "interfaces""#,
        r#""zone": "a", "oversized": "fragment", "interfaces""#,
        &[r#"node.oversized: expected "drop" or "answer", found the string "fragment""#],
    ),
    bad(
        "a metrics address without a port",
        "127.0.0.1:9100",
        "127.0.0.1",
        &[
            r#"metrics_address: expected an IP address and a port such as "127.0.0.1:9100" or "[::1]:9100", found the string "127.0.0.1""#,
        ],
    ),
    bad(
        "a metrics address with a host name",
        "127.0.0.1:9100",
        "localhost:9100",
        &[
            r#"metrics_address: expected an IP address and a port such as "127.0.0.1:9100" or "[::1]:9100", found the string "localhost:9100""#,
        ],
    ),
    bad(
        "metrics on port 0",
        "127.0.0.1:9100",
        "127.0.0.1:0",
        &["metrics_address: port 0 is another port after every start; expected a port from 1 to 65535"],
    ),
];
