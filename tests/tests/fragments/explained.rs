//! What `sluice explain` and `sluice capture` say of fragments.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, UdpHeader};
use lab::process::{binary, output_of};
use lab::topology::{CLIENT4, CLIENT6};
use lab::{Lab, VIP4, VIP6, echo};
use serde_json::Value;

use super::{Flow, LARGE, alone, lab};

const IDENTIFICATION: u16 = 0xbeef;

#[test]
fn explain_and_capture_tell_fragments() {
    let Some(_alone) = alone() else { return };
    let lab = lab("ipip", |target| target.v4.into());
    explained(&lab).and_then(|()| captured(&lab)).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn explained(lab: &Lab) -> Result<()> {
    let udp = UdpHeader { source_port: 4000, destination_port: echo::PORT, length: 48, checksum: 0 };
    let first = fragment(0, true, &[&udp.to_bytes()[..], &[7; 16]].concat())?;
    let last = fragment(24, false, &[7; 24])?;
    let file = lab.lease.directory().join("fragments.pcap");
    std::fs::write(&file, pcap(&[first, last]))?;
    let text = explain(lab, &file, &[])?;
    ensure!(
        text.contains("fragment   of datagram 0xbeef, at byte 0, more follows: it has the ports"),
        "{text}"
    );
    ensure!(text.contains("verdict    forwarded (XDP_TX)"), "{text}");
    // Nothing was sent, so the live program knows of no first one.
    ensure!(text.contains("at byte 24, the last one: its ports are not known"), "{text}");
    ensure!(text.contains("verdict    dropped (XDP_DROP), fragment_unknown"), "{text}");
    let json = explain(lab, &file, &["--json"])?;
    let told: Vec<Value> = serde_json::from_str(&json)?;
    ensure!(told.len() == 2, "{json}");
    ensure!(told[0]["packet"]["fragment"]["identification"] == IDENTIFICATION, "{json}");
    ensure!(told[1]["packet"]["fragment"]["ports_known"] == false, "{json}");
    Ok(())
}

fn explain(lab: &Lab, file: &Path, more: &[&str]) -> Result<String> {
    let mut command = Command::new(binary("sluice")?);
    command.arg("explain").arg("--packet").arg(file).args(more);
    command.arg("--runtime-directory").arg(lab.nodes[0].runtime_directory()?);
    lab.nodes[0].host.enter(|| output_of(&mut command))
}

fn captured(lab: &Lab) -> Result<()> {
    let file = lab.lease.directory().join("captured.pcapng");
    let node = &lab.nodes[0];
    let mut command = Command::new(binary("sluice")?);
    command.arg("capture").arg("-w").arg(&file).args(["--udp", "--port", "7", "--count", "12"]);
    command.args(["--seconds", "20", "--runtime-directory"]).arg(node.runtime_directory()?);
    std::thread::scope(|scope| {
        let capture = scope.spawn(move || node.host.enter(|| output_of(&mut command)));
        while !capture.is_finished() {
            lab.client.enter(ask_both)?;
        }
        capture.join().expect("capturing does not panic")
    })?;
    let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    // IPv4 counts them without its header, IPv6 in what fits behind its fragment header.
    for offset in [0, 1480, 2960, 1448, 2896] {
        let comment = format!("@{offset} listener=web:7/UDP slot=");
        ensure!(text.contains(&comment), "no packet says {comment}");
    }
    Ok(())
}

/// A large datagram to each VIP.
fn ask_both() -> Result<()> {
    let ends: [(IpAddr, IpAddr); 2] = [(CLIENT4.into(), VIP4.into()), (CLIENT6.into(), VIP6.into())];
    ends.into_iter().try_for_each(|(client, vip)| Flow::open(client, vip)?.ask(vec![7; LARGE]).map(drop))
}

fn fragment(offset: u16, more: bool, payload: &[u8]) -> Result<Vec<u8>> {
    let length = payload.len() as u16;
    let mut header = Ipv4Header::new(length, 64, IpNumber::UDP, CLIENT4.octets(), VIP4.octets())?;
    header.identification = IDENTIFICATION;
    (header.dont_fragment, header.more_fragments) = (false, more);
    header.fragment_offset = IpFragOffset::try_new(offset / 8)?;
    header.header_checksum = header.calc_header_checksum();
    Ok([&header.to_bytes()[..], payload].concat())
}

/// Raw IP packets as `tcpdump -w` has them.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut file = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, 101]);
    for packet in packets {
        let length = packet.len() as u32;
        file.extend(words(&[1, 2, length, length]));
        file.extend(packet);
    }
    file
}
