//! Mistakes with QUIC, TCP_UDP and stickiness, one a row.

use super::bad_files::{BadFile, bad, said_about, wrong_answers};

const GOOD: &str = r#"{
  "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
  "load_balancers": [
    { "name": "www", "vips": ["10.200.1.1"], "listeners": [
      { "protocol": "QUIC", "port": 443, "forward": [{ "target_group": "q1" }, { "target_group": "q2" }] },
      { "protocol": "TCP", "port": 443, "forward": [{ "target_group": "web" }] },
      { "protocol": "TCP_UDP", "port": 53, "forward": [{ "target_group": "dns" }] } ] } ],
  "target_groups": [
    { "name": "q1", "protocol": "QUIC", "port": 443, "stickiness": "source_ip", "udp_tracking": "always", "targets": [
      { "id": "10.0.0.1", "quic_server_id": "0x0000000000000001" },
      { "id": "10.0.0.2", "quic_server_id": "0x00000000000000a2" } ] },
    { "name": "q2", "protocol": "QUIC", "port": 443, "stickiness": "source_ip", "targets": [
      { "id": "10.0.0.1", "quic_server_id": "0x0000000000000003" } ] },
    { "name": "q3", "protocol": "QUIC", "port": 443, "targets": [
      { "id": "10.0.0.1", "quic_server_id": "0x0000000000000001" } ] },
    { "name": "web", "protocol": "TCP", "port": 443, "stickiness": "none", "targets": [{ "id": "10.0.0.3" }] },
    { "name": "dns", "protocol": "TCP_UDP", "port": 53, "idle_timeout_seconds": 60, "udp_idle_timeout_seconds": 10,
      "targets": [] }
  ]
}"#;

#[test]
fn the_good_file_is_good() {
    assert_eq!(said_about(GOOD), "nothing");
}

#[test]
fn every_bad_attribute_gets_its_message() {
    let wrong = wrong_answers(GOOD, BAD_ATTRIBUTES);
    assert!(wrong.is_empty(), "{wrong}");
}

const BAD_ATTRIBUTES: &[BadFile] = &[
    bad(
        "a QUIC target without a server id",
        r#", "quic_server_id": "0x00000000000000a2""#,
        "",
        &[
            r#"target_groups[0].targets[1].quic_server_id: missing; expected "0x" and 16 hexadecimal digits in lower case, such as "0x0123456789abcdef""#,
        ],
    ),
    bad(
        "a server id in capitals",
        r#""0x00000000000000a2""#,
        r#""0x00000000000000A2""#,
        &[
            r#"target_groups[0].targets[1].quic_server_id: expected "0x" and 16 hexadecimal digits in lower case, such as "0x0123456789abcdef", found the string "0x00000000000000A2""#,
        ],
    ),
    bad(
        "a server id of seven bytes",
        r#""0x00000000000000a2""#,
        r#""0x000000000000a2""#,
        &[
            r#"target_groups[0].targets[1].quic_server_id: expected "0x" and 16 hexadecimal digits in lower case, such as "0x0123456789abcdef", found the string "0x000000000000a2""#,
        ],
    ),
    bad(
        "a server id with a sign",
        r#""0x00000000000000a2""#,
        r#""0x+0000000000000a2""#,
        &[
            r#"target_groups[0].targets[1].quic_server_id: expected "0x" and 16 hexadecimal digits in lower case, such as "0x0123456789abcdef", found the string "0x+0000000000000a2""#,
        ],
    ),
    bad(
        "a server id without its prefix",
        r#""0x00000000000000a2""#,
        r#""00000000000000a2""#,
        &[
            r#"target_groups[0].targets[1].quic_server_id: expected "0x" and 16 hexadecimal digits in lower case, such as "0x0123456789abcdef", found the string "00000000000000a2""#,
        ],
    ),
    bad(
        "a number for a server id",
        r#""0x00000000000000a2""#,
        "162",
        &[
            r#"target_groups[0].targets[1].quic_server_id: expected "0x" and 16 hexadecimal digits in lower case, such as "0x0123456789abcdef", found the number 162"#,
        ],
    ),
    bad(
        "one server id twice in a group",
        r#""0x00000000000000a2""#,
        r#""0x0000000000000001""#,
        &[
            "target_groups[0].targets[1].quic_server_id: 0x0000000000000001 is target_groups[0].targets[0].quic_server_id already; every target has a server id of its own",
        ],
    ),
    bad(
        "one server id in two groups of a listener",
        r#""0x0000000000000003""#,
        r#""0x00000000000000a2""#,
        &[
            "load_balancers[0].listeners[0].forward: target_groups[0].targets[1].quic_server_id and target_groups[1].targets[0].quic_server_id are both 0x00000000000000a2, and packets of this listener that name it could be for either; give each target a server id of its own",
        ],
    ),
    bad(
        "a server id outside QUIC",
        r#"{ "id": "10.0.0.3" }"#,
        r#"{ "id": "10.0.0.3", "quic_server_id": "0x0000000000000009" }"#,
        &[
            "target_groups[3].targets[0].quic_server_id: this target group is TCP, only targets of QUIC ones have a server id; leave it out",
        ],
    ),
    bad(
        "QUIC and UDP on one port",
        r#""protocol": "TCP_UDP", "port": 53, "forward": [{ "target_group": "dns" }]"#,
        r#""protocol": "UDP", "port": 443, "forward": []"#,
        &[
            "load_balancers[0].listeners[2].forward: an empty list; expected one or more target groups with weights",
            "load_balancers[0].listeners[2]: UDP port 443 shares packets with QUIC port 443 of load_balancers[0].listeners[0]; expected one listener for a packet",
        ],
    ),
    bad(
        "TCP_UDP beside TCP and QUIC on one port",
        r#""protocol": "TCP_UDP", "port": 53, "forward": [{ "target_group": "dns" }]"#,
        r#""protocol": "TCP_UDP", "port": 443, "forward": []"#,
        &[
            "load_balancers[0].listeners[2].forward: an empty list; expected one or more target groups with weights",
            "load_balancers[0].listeners[2]: TCP_UDP port 443 shares packets with QUIC port 443 of load_balancers[0].listeners[0]; expected one listener for a packet",
        ],
    ),
    bad(
        "a TCP_UDP listener of a QUIC group",
        r#"{ "target_group": "dns" }"#,
        r#"{ "target_group": "q3" }"#,
        &[
            r#"load_balancers[0].listeners[2].forward[0].target_group: the target group "q3" is QUIC, this listener is TCP_UDP; make them the same"#,
        ],
    ),
    bad(
        "GUE's port",
        r#""protocol": "TCP_UDP", "port": 53, "forward""#,
        r#""protocol": "TCP_UDP", "port": 6080, "forward""#,
        &[
            "load_balancers[0].listeners[2].port: UDP port 6080 is GUE's, in which packets travel to targets, and a tunnel is not put into a tunnel; expected another port",
        ],
    ),
    bad(
        "another stickiness",
        r#""stickiness": "none""#,
        r#""stickiness": "source_ip_dest_ip""#,
        &[
            r#"target_groups[3].stickiness: expected "source_ip" or "none", found the string "source_ip_dest_ip""#,
        ],
    ),
    bad(
        "another second chance",
        r#""stickiness": "none""#,
        r#""stickiness": "none", "second_chance": "always""#,
        &[r#"target_groups[3].second_chance: expected "auto" or "never", found the string "always""#],
    ),
    bad(
        "a second chance that is a flag",
        r#""stickiness": "none""#,
        r#""stickiness": "none", "second_chance": false"#,
        &[r#"target_groups[3].second_chance: expected "auto" or "never", found false"#],
    ),
    bad(
        "groups of a listener that differ in stickiness",
        r#""stickiness": "source_ip", "targets""#,
        r#""targets""#,
        &[
            r#"load_balancers[0].listeners[0].forward: the target groups "q1" and "q2" differ in stickiness, and a listener chooses by one; make it the same"#,
        ],
    ),
    bad(
        "a second time-out of a TCP group",
        r#""stickiness": "none""#,
        r#""udp_idle_timeout_seconds": 120"#,
        &[
            "target_groups[3].udp_idle_timeout_seconds: this target group is TCP, only TCP_UDP ones have it beside idle_timeout_seconds; leave it out",
        ],
    ),
    bad(
        "a TCP time-out that is too short for TCP_UDP",
        r#""idle_timeout_seconds": 60,"#,
        r#""idle_timeout_seconds": 59,"#,
        &[
            "target_groups[4].idle_timeout_seconds: expected a whole number of seconds from 60 to 6000, found the number 59",
        ],
    ),
    bad(
        "a UDP time-out that is too short for TCP_UDP",
        r#""udp_idle_timeout_seconds": 10,"#,
        r#""udp_idle_timeout_seconds": 9,"#,
        &[
            "target_groups[4].udp_idle_timeout_seconds: expected a whole number of seconds from 10 to 6000, found the number 9",
        ],
    ),
    bad(
        "QUIC flows that outlive their target",
        r#""udp_tracking": "always""#,
        r#""terminate_on_deregistration": false"#,
        &[
            "target_groups[0].terminate_on_deregistration: this target group is QUIC, whose packets find their target by its server id for as long as it drains; expected true, with the draining_seconds that the connections need",
        ],
    ),
];
