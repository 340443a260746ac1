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
        "another word for whose view counts",
        r#""zone": "a", "interfaces""#,
        r#""zone": "a", "health_view": "all", "interfaces""#,
        &[r#"node.health_view: expected "own" or "majority", found the string "all""#],
    ),
    bad(
        "a flow log without a directory",
        r#""zone": "a", "interfaces""#,
        r#""zone": "a", "flow_log": { "sample": 1 }, "interfaces""#,
        &[r#"node.flow_log.directory: missing; expected an absolute path such as "/var/log/sluice/flows""#],
    ),
    bad(
        "a flow log in a relative directory",
        r#""zone": "a", "interfaces""#,
        r#""zone": "a", "flow_log": { "directory": "flows" }, "interfaces""#,
        &[
            r#"node.flow_log.directory: expected an absolute path such as "/var/log/sluice/flows", found the string "flows""#,
        ],
    ),
    bad(
        "a flow log of more than all flows, in next to no space",
        r#""zone": "a", "interfaces""#,
        r#""zone": "a", "flow_log": { "directory": "/f", "sample": 1.5, "maximum_bytes": 1000 }, "interfaces""#,
        &[
            "node.flow_log.sample: expected a share of all flows, from 0.000001 to 1, found the number 1.5",
            "node.flow_log.maximum_bytes: expected a whole number from 1048576 to 1125899906842624, found the number 1000",
        ],
    ),
    bad(
        "a logged load balancer on a node that keeps no log",
        r#""name": "www","#,
        r#""name": "www", "flow_log": true,"#,
        &[
            r#"load_balancers[0].flow_log: the node keeps no flow log; add "flow_log": { "directory": … } to the section "node""#,
        ],
    ),
    bad(
        "a logged load balancer whose log would be elsewhere",
        r#""name": "www","#,
        r#""name": "www", "flow_log": { "bucket": "..", "prefix": "a/../../b" },"#,
        &[
            r#"load_balancers[0].flow_log.bucket: expected a directory's name: 1 to 63 letters, digits and any of -_.=+, not beginning with a dot, found the string "..""#,
            r#"load_balancers[0].flow_log.prefix: expected directories' names with a slash between them, each 1 to 255 letters, digits and any of -_.=+, not beginning with a dot, found the string "a/../../b""#,
        ],
    ),
    bad(
        "a flow log that is neither on nor off",
        r#""name": "www","#,
        r#""name": "www", "flow_log": "yes","#,
        &[
            r#"load_balancers[0].flow_log: expected true, false, or an object with bucket, prefix, found the string "yes""#,
        ],
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
