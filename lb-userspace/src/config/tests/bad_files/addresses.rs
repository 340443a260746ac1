//! Names and addresses: mistakes, one a row.

use super::{BadFile, bad};

pub(super) const ROWS: &[BadFile] = &[
    bad(
        "a load balancer's name with an underscore",
        r#""name": "mail""#,
        r#""name": "m_l""#,
        &[
            r#"load_balancers[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "m_l""#,
        ],
    ),
    bad(
        "a name that ends with a hyphen",
        r#""name": "mail""#,
        r#""name": "mail-""#,
        &[
            r#"load_balancers[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "mail-""#,
        ],
    ),
    bad(
        "a name that is too long",
        r#""name": "mail""#,
        r#""name": "mail-0123456789-0123456789-012345""#,
        &[
            r#"load_balancers[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "mail-0123456789-0123456789-012345""#,
        ],
    ),
    bad(
        "a load balancer's name twice",
        r#""name": "mail""#,
        r#""name": "www""#,
        &[r#"load_balancers[1].name: "www" is the name of load_balancers[0] already; names are unique"#],
    ),
    bad(
        "a target group's name twice",
        r#""name": "dns""#,
        r#""name": "web""#,
        &[
            r#"target_groups[2].name: "web" is the name of target_groups[0] already; names are unique"#,
            r#"load_balancers[0].listeners[1].forward[0].target_group: no target group has the name "dns"; add it to target_groups"#,
        ],
    ),
    bad(
        "a target group's bad name, which is not said twice",
        r#""name": "web-2""#,
        r#""name": "web_2""#,
        &[
            r#"target_groups[1].name: expected a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end, found the string "web_2""#,
        ],
    ),
    bad(
        "no VIP",
        r#"["10.200.1.2"]"#,
        "[]",
        &["load_balancers[1].vips: an empty list; expected one or more IP addresses"],
    ),
    bad(
        "a VIP that is a host name",
        r#""10.200.1.2""#,
        r#""www.example.com""#,
        &[
            r#"load_balancers[1].vips[0]: expected an IP address such as "10.0.0.1" or "fc00::1", found the string "www.example.com""#,
        ],
    ),
    bad(
        "a VIP with a prefix length",
        r#""10.200.1.2""#,
        r#""10.200.1.2/32""#,
        &[r#"load_balancers[1].vips[0]: expected one address, found "10.200.1.2/32"; write "10.200.1.2""#],
    ),
    bad(
        "a VIP with an octal look",
        r#""10.200.1.2""#,
        r#""10.200.1.02""#,
        &[
            r#"load_balancers[1].vips[0]: expected an IP address such as "10.0.0.1" or "fc00::1", found the string "10.200.1.02""#,
        ],
    ),
    bad(
        "the unspecified IPv4 address",
        r#""10.200.1.2""#,
        r#""0.0.0.0""#,
        &[
            "load_balancers[1].vips[0]: 0.0.0.0 is the unspecified address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an address of this network",
        r#""10.200.1.2""#,
        r#""0.200.1.2""#,
        &[
            r#"load_balancers[1].vips[0]: 0.200.1.2 is an address of "this network" (RFC 1122 section 3.2.1.3); expected a host's address that packets can be routed to"#,
        ],
    ),
    bad(
        "the unspecified IPv6 address",
        r#""10.200.1.2""#,
        r#""::""#,
        &[
            "load_balancers[1].vips[0]: :: is the unspecified address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4 loopback address",
        r#""10.200.1.2""#,
        r#""127.1.2.3""#,
        &[
            "load_balancers[1].vips[0]: 127.1.2.3 is a loopback address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4 multicast address",
        r#""10.200.1.2""#,
        r#""224.0.0.5""#,
        &[
            "load_balancers[1].vips[0]: 224.0.0.5 is a multicast address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv6 multicast address",
        r#""10.200.1.2""#,
        r#""ff02::1""#,
        &[
            "load_balancers[1].vips[0]: ff02::1 is a multicast address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "the broadcast address",
        r#""10.200.1.2""#,
        r#""255.255.255.255""#,
        &[
            "load_balancers[1].vips[0]: 255.255.255.255 is the broadcast address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4 link-local address",
        r#""10.200.1.2""#,
        r#""169.254.0.1""#,
        &[
            "load_balancers[1].vips[0]: 169.254.0.1 is a link-local address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv6 link-local address",
        r#""10.200.1.2""#,
        r#""fe80::1""#,
        &[
            "load_balancers[1].vips[0]: fe80::1 is a link-local address; expected a host's address that packets can be routed to",
        ],
    ),
    bad(
        "an IPv4-mapped address",
        r#""10.200.1.2""#,
        r#""::ffff:10.200.1.2""#,
        &[
            r#"load_balancers[1].vips[0]: ::ffff:10.200.1.2 is an IPv4-mapped IPv6 address; write "10.200.1.2""#,
        ],
    ),
    bad(
        "a VIP of two load balancers",
        r#""10.200.1.2""#,
        r#""10.200.1.1""#,
        &[
            "load_balancers[1].vips[0]: 10.200.1.1 is load_balancers[0].vips[0] already; a VIP is one load balancer's, once",
        ],
    ),
    bad(
        "a VIP twice, written in another way",
        r#""10.200.1.2""#,
        r#""FC00:1:0::1""#,
        &[
            "load_balancers[1].vips[0]: fc00:1::1 is load_balancers[0].vips[1] already; a VIP is one load balancer's, once",
        ],
    ),
    bad(
        "a VIP's zone that is missing",
        r#""10.200.1.2""#,
        r#"{ "address": "10.200.1.2" }"#,
        &[
            "load_balancers[1].vips[0].zone: missing; expected a name of 1 to 64 characters, without control characters and outer spaces",
        ],
    ),
    bad(
        "a zonal VIP that is another's",
        r#""10.200.1.2""#,
        r#"{ "address": "10.200.1.1", "zone": "a" }"#,
        &[
            "load_balancers[1].vips[0].address: 10.200.1.1 is load_balancers[0].vips[0] already; a VIP is one load balancer's, once",
        ],
    ),
];
