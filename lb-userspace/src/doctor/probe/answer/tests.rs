use super::super::Service;
use super::*;
use crate::explain::flow::{Kind, packet};
use crate::model::Encapsulation;

const PORT: u16 = 40000;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn probe(transport: Transport) -> Probe {
    Probe {
        source: address("10.0.0.1"),
        target: address("10.0.0.2"),
        encapsulation: Encapsulation::Ipip,
        client: address("10.0.0.1"),
        service: Service { vip: address("192.0.2.7"), port: 80, transport },
        length: None,
    }
}

fn probe_6() -> Probe {
    let service = Service { vip: address("2001:db8::7"), ..probe(Transport::Tcp).service };
    Probe {
        source: address("fd00::1"),
        target: address("fd00::2"),
        client: address("fd00::1"),
        service,
        ..probe(Transport::Tcp)
    }
}

fn sent(kind: Kind, from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    packet(kind, from.into(), to.into(), None).unwrap()
}

fn segment(flags: u8) -> Vec<u8> {
    let mut segment = sent(Kind::Syn, (address("192.0.2.7"), 80), (address("10.0.0.1"), PORT));
    segment[33] = flags;
    segment
}

/// An IP header of 20 or 40 bytes before a payload.
fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let fixed = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            [&fixed[..], &source.octets(), &destination.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [&[0x60, 0, 0, 0, 0, 0, protocol, 64][..], &source.octets(), &destination.octets()].concat()
        }
        _ => panic!("two families"),
    };
    [&header[..], payload].concat()
}

fn error(from: &str, probe: &Probe, kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let from = address(from);
    let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
    let message = [&[kind, code, 0, 0, 0, 0, 0x05, 0x78][..], quoted].concat();
    ip(from, probe.source, protocol, &message)
}

fn inner(probe: &Probe) -> Vec<u8> {
    let kind = if probe.service.transport == Transport::Tcp { Kind::Syn } else { Kind::Udp };
    sent(kind, (probe.client, PORT), (probe.service.vip, 80))
}

fn outer(probe: &Probe) -> Vec<u8> {
    ip(probe.source, probe.target, 4, &inner(probe))
}

#[test]
fn a_service_answers_with_syn_ack_and_a_closed_port_with_a_reset() {
    let probe = probe(Transport::Tcp);
    for (flags, expected) in [
        (0x12, Some(Answer::Served)),
        // With ECN.
        (0x52, Some(Answer::Served)),
        (0x14, Some(Answer::Refused)),
        (0x04, Some(Answer::Refused)),
        (0x10, None),
        (0x02, None),
    ] {
        assert_eq!(read(&segment(flags), &probe, PORT), expected, "{flags:#x}");
    }
}

#[test]
fn what_is_for_another_port_address_or_protocol_is_no_answer() {
    let probe = probe(Transport::Tcp);
    assert_eq!(read(&segment(0x12), &probe, PORT + 1), None);
    let other = Probe { service: Service { vip: address("192.0.2.8"), ..probe.service }, ..probe };
    assert_eq!(read(&segment(0x12), &other, PORT), None);
    let datagram = sent(Kind::Udp, (address("192.0.2.7"), 80), (address("10.0.0.1"), PORT));
    assert_eq!(read(&datagram, &probe, PORT), None);
    assert_eq!(read(&datagram, &self::probe(Transport::Udp), PORT), Some(Answer::Served));
}

#[test]
fn a_target_without_a_tunnel_says_so_in_every_family() {
    let probe = probe(Transport::Tcp);
    for code in [2, 3] {
        let error = error("10.0.0.2", &probe, 3, code, &outer(&probe));
        assert_eq!(read(&error, &probe, PORT), Some(Answer::NoTunnel), "code {code}");
    }
    let probe = probe_6();
    for (kind, code) in [(1, 4), (4, 1)] {
        let error = error("fd00::2", &probe, kind, code, &outer(&probe)[..56]);
        assert_eq!(read(&error, &probe, PORT), Some(Answer::NoTunnel), "type {kind}");
    }
}

#[test]
fn gue_is_known_by_its_port() {
    let probe = Probe { encapsulation: Encapsulation::Gue, ..probe(Transport::Tcp) };
    let quoted = sent(Kind::Udp, (probe.source, 50000), (probe.target, GUE_PORT));
    assert_eq!(read(&error("10.0.0.2", &probe, 3, 3, &quoted), &probe, PORT), Some(Answer::NoTunnel));
    let quoted = sent(Kind::Udp, (probe.source, 50000), (probe.target, 53));
    assert_eq!(read(&error("10.0.0.2", &probe, 3, 3, &quoted), &probe, PORT), None);
}

#[test]
fn a_router_s_errors_are_told_in_its_name() {
    let probe = probe(Transport::Tcp);
    let told = |kind, code| match read(&error("10.0.0.254", &probe, kind, code, &outer(&probe)), &probe, PORT)
    {
        Some(Answer::Undelivered(words)) => words,
        other => format!("{other:?}"),
    };
    assert_eq!(told(3, 1), "10.0.0.254 says: unreachable");
    assert_eq!(told(3, 13), "10.0.0.254 says: prohibited by a filter");
    assert_eq!(told(3, 3), "10.0.0.254 says: no such protocol or port");
    assert_eq!(told(3, 4), "Some(TooBig(1400))");
    assert_eq!(told(5, 0), "None");
}

#[test]
fn an_unreachable_port_of_the_vip_is_closed() {
    let probe = probe(Transport::Udp);
    let error = error("192.0.2.7", &probe, 3, 3, &inner(&probe));
    assert_eq!(read(&error, &probe, PORT), Some(Answer::Refused));
    assert_eq!(read(&error, &probe, PORT + 1), None);
}

#[test]
fn no_truncation_is_taken_for_more_than_it_is() {
    let probe = probe(Transport::Tcp);
    for whole in [segment(0x12), error("10.0.0.2", &probe, 3, 2, &outer(&probe))] {
        for length in 0..whole.len() {
            let answer = read(&whole[..length], &probe, PORT);
            assert!(answer.is_none() || answer == read(&whole, &probe, PORT), "{length}");
        }
    }
}
