//! A line of the log.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lb_common::flow::{TCP, UDP};
use lb_common::flow_log::{FlowRecord, Sign};
use serde::Serialize;

use super::directory::{Directory, Origin, Settings};
use crate::api::calendar::Timestamp;

/// What is said of a flow. A client's bytes and packets are not: nobody counts them for each flow.
#[derive(Debug, Serialize)]
struct FlowLine<'a> {
    time: String,
    event: &'static str,
    why: &'static str,
    node: &'a str,
    load_balancer: &'a str,
    listener: &'a str,
    protocol: &'static str,
    client: SocketAddr,
    vip: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_group: Option<&'a str>,
    sample: f64,
}

/// What is said of records that are not there.
#[derive(Debug, Serialize)]
struct LossLine<'a> {
    time: String,
    event: &'static str,
    node: &'a str,
    records: u64,
}

/// The two ends of a record's flow.
pub(super) fn ends(record: &FlowRecord) -> (SocketAddr, SocketAddr) {
    let [source, destination] = [record.ports as u16, (record.ports >> 16) as u16].map(u16::from_be);
    (
        SocketAddr::new(address(record.source), source),
        SocketAddr::new(address(record.destination), destination),
    )
}

fn address(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Ipv6Addr::from(octets).to_canonical()
}

/// Appends what `record` says, at `time`; a target that nobody knows any more is left out.
pub(super) fn write_flow(
    text: &mut String,
    record: &FlowRecord,
    (sign, time): (Sign, Timestamp),
    origin: &Origin,
    (settings, directory): (&Settings, &Directory),
) {
    let (client, vip) = ends(record);
    let target = directory.targets.get(&record.target);
    let is_new = matches!(sign, Sign::Syn | Sign::FirstSeen);
    append(
        text,
        &FlowLine {
            time: time.to_string(),
            event: if is_new { "new" } else { "end" },
            why: sign.as_str(),
            node: &settings.node,
            load_balancer: &origin.load_balancer,
            listener: &origin.listener,
            protocol: match record.protocol {
                TCP => "tcp",
                UDP => "udp",
                _ => "other",
            },
            client,
            vip,
            target: target.map(|key| key.address),
            target_group: target.map(|key| key.target_group.as_str()),
            sample: settings.logging.sample.share(),
        },
    );
}

/// A line that says how many records of the node are in no log.
pub(super) fn loss(records: u64, time: Timestamp, settings: &Settings) -> String {
    let mut text = String::new();
    append(&mut text, &LossLine { time: time.to_string(), event: "lost", node: &settings.node, records });
    text
}

fn append(text: &mut String, line: &impl Serialize) {
    let line = serde_json::to_string(line).expect("a line is plain");
    writeln!(text, "{line}").expect("text takes everything");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{FlowLogging, Sample, TargetKey};

    fn words(octets: [u8; 16]) -> [u32; 4] {
        std::array::from_fn(|at| u32::from_ne_bytes(octets[4 * at..4 * at + 4].try_into().unwrap()))
    }

    fn settings() -> Settings {
        let sample = Sample::new(0.01).unwrap();
        let logging = FlowLogging { directory: "/x".into(), sample, maximum_bytes: 1 << 20 };
        Settings { node: "lb1".into(), logging }
    }

    fn record(source: IpAddr, destination: IpAddr) -> FlowRecord {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        FlowRecord {
            time: 0,
            source: words(octets(source)),
            destination: words(octets(destination)),
            ports: u32::from_ne_bytes([0x9c, 0x40, 0, 80]),
            target: 3,
            protocol: TCP,
            sign: Sign::Syn as u8,
        }
    }

    #[test]
    fn a_line_says_who_came_from_where_and_went_to_whom() {
        let origin = Origin { load_balancer: "web".into(), listener: "80/TCP".into(), place: "web".into() };
        let key = TargetKey { target_group: "g".into(), address: [10, 0, 0, 3].into() };
        let directory = Directory { targets: BTreeMap::from([(3, key)]), ..Directory::default() };
        let mut text = String::new();
        let record = record([198, 51, 100, 7].into(), [10, 200, 1, 1].into());
        let at = (Sign::Fin, Timestamp(1_448_179_200_123));
        write_flow(&mut text, &record, at, &origin, (&settings(), &directory));
        assert_eq!(
            text,
            concat!(
                r#"{"time":"2015-11-22T08:00:00.123Z","event":"end","why":"fin","node":"lb1","load_balancer":"web","#,
                r#""listener":"80/TCP","protocol":"tcp","client":"198.51.100.7:40000","vip":"10.200.1.1:80","#,
                r#""target":"10.0.0.3","target_group":"g","sample":0.01}"#,
                "\n"
            )
        );
    }

    #[test]
    fn ends_of_both_families_are_as_people_write_them() {
        let six = record("2001:db8::7".parse().unwrap(), "fc00::1".parse().unwrap());
        let (client, vip) = ends(&six);
        assert_eq!(
            (client.to_string(), vip.to_string()),
            ("[2001:db8::7]:40000".into(), "[fc00::1]:80".into())
        );
    }

    #[test]
    fn what_is_lost_is_a_line_of_its_own() {
        assert_eq!(
            loss(12, Timestamp(0), &settings()),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"lost\",\"node\":\"lb1\",\"records\":12}\n"
        );
    }
}
