//! The agent's program for what leaves the target, under BPF_PROG_TEST_RUN: packet in → packet out.

use std::net::IpAddr;

use aya::maps::HashMap;
use aya::programs::{SchedClassifier, TestRun};
use aya::{Ebpf, TestRunOptions};
use etherparse::{PacketBuilder, TcpOptionElement};
use lb_common::packet::mss::{MSS_LIMITS, MssLimits};
use lb_common::tunnel::{AGENT_VIPS, KNOWN};

use crate::loaded::set_address;

const VIP: [u8; 4] = [192, 0, 2, 7];
const VIP_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const CLIENT: [u8; 4] = [198, 51, 100, 1];
const CLIENT_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const LIMITS: MssLimits = MssLimits::new(1408, 1388);

/// `TC_ACT_UNSPEC`.
const GO_ON: u32 = u32::MAX;
/// Where the kernel's test run lets packets leave: the loopback.
const LOOPBACK: u32 = 1;

#[test]
fn syns_from_a_vip_offer_no_more_than_the_limit() {
    use TcpOptionElement::{MaximumSegmentSize as Mss, Noop, Timestamp, WindowScale};
    let Some(program) = load() else { return };
    let offers = |size| {
        [
            vec![Mss(size)],
            vec![Noop, Mss(size), WindowScale(7)],
            vec![Timestamp(1, 2), Noop, Noop, Noop, Mss(size)],
        ]
    };
    for (version, limit) in [(4, 1408), (6, 1388)] {
        for (offered, expected) in
            [(1460, limit), (limit + 1, limit), (limit, limit), (536, 536), (u16::MAX, limit)]
        {
            for (before, after) in offers(offered).into_iter().zip(offers(expected)) {
                for tags in [0, 1] {
                    let out = run(&program, &syn(version, tags, &before, VIP, VIP_6));
                    assert_eq!(
                        out,
                        syn(version, tags, &after, VIP, VIP_6),
                        "IPv{version}, {before:?}, {tags} tags"
                    );
                }
            }
        }
    }
}

#[test]
fn everything_else_leaves_as_it_is() {
    let Some(program) = load() else { return };
    let offer = [TcpOptionElement::MaximumSegmentSize(1460)];
    for version in [4, 6] {
        let plain = syn(version, 0, &offer, VIP, VIP_6);
        let tcp = if version == 4 { 34 } else { 54 };
        let mut own =
            vec![syn(version, 0, &offer, [10, 0, 0, 2], CLIENT_6), syn(version, 0, &[], VIP, VIP_6)];
        for (at, value) in [(tcp + 13, 0x10), (tcp + 12, 0x50), (tcp + 21, 3), (tcp + 20, 0), (12, 7)] {
            let mut frame = plain.clone();
            frame[at] = value;
            own.push(frame);
        }
        // The kernel's test run takes no frame that ends inside its IP header.
        own.extend((tcp..plain.len()).map(|length| plain[..length].to_vec()));
        for frame in own {
            assert_eq!(run(&program, &frame), frame, "IPv{version}, {} bytes", frame.len());
        }
    }
}

#[test]
fn an_interface_without_limits_changes_nothing() {
    let Some(mut program) = load() else { return };
    let mut limits: HashMap<_, u32, u32> = HashMap::try_from(program.map_mut(MSS_LIMITS).unwrap()).unwrap();
    limits.remove(&LOOPBACK).unwrap();
    let frame = syn(4, 0, &[TcpOptionElement::MaximumSegmentSize(1460)], VIP, VIP_6);
    assert_eq!(run(&program, &frame), frame);
}

/// A SYN-ACK with these options, its checksum valid.
fn syn(version: u8, tags: usize, options: &[TcpOptionElement], v4: [u8; 4], v6: [u8; 16]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let mut frame = Vec::new();
    let ip = if version == 4 { link.ipv4(v4, CLIENT, 64) } else { link.ipv6(v6, CLIENT_6, 64) };
    ip.tcp(80, 40_000, 7, 512).syn().ack(9).options(options).unwrap().write(&mut frame, b"").unwrap();
    frame.splice(12..12, [0x81, 0, 0, 7].into_iter().take(4 * tags));
    frame
}

/// The program with a VIP of each version and limits for the loopback.
fn load() -> Option<Ebpf> {
    if !lab::require_root() {
        return None;
    }
    let mut ebpf = Ebpf::load(lb_userspace::programs::agent().unwrap()).unwrap();
    for vip in [IpAddr::from(VIP), VIP_6.into()] {
        set_address(&mut ebpf, AGENT_VIPS, vip, KNOWN);
    }
    let mut limits: HashMap<_, u32, u32> = HashMap::try_from(ebpf.map_mut(MSS_LIMITS).unwrap()).unwrap();
    limits.insert(LOOPBACK, LIMITS.0, 0).unwrap();
    let program: &mut SchedClassifier = ebpf.program_mut("agent_egress").unwrap().try_into().unwrap();
    program.load().unwrap();
    Some(ebpf)
}

fn run(ebpf: &Ebpf, frame: &[u8]) -> Vec<u8> {
    let program: &SchedClassifier = ebpf.program("agent_egress").unwrap().try_into().unwrap();
    let mut out = vec![0; frame.len() + 256];
    let options =
        TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
    let run = program.test_run(options).unwrap();
    assert_eq!(run.return_value, GO_ON);
    out.truncate(run.data_size_out as usize);
    out
}
