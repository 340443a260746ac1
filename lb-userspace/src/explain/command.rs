//! `sluice explain`: asks the running controller and prints its answer.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::flow::{self, Kind};
use super::packet_file;
use super::question::{Bytes, MOST_PACKETS, Packet, Packets};
use super::render::{Detail, render};
use super::report::Explanation;
use crate::output;
use crate::status::client;

/// Say what the loaded program does with a packet, without sending it
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The client's address and port
    #[arg(value_name = "SRC:PORT", required_unless_present = "packet", requires = "vip")]
    source: Option<SocketAddr>,
    /// The address and port that it talks to
    #[arg(value_name = "VIP:PORT")]
    vip: Option<SocketAddr>,
    /// A TCP segment (the default)
    #[arg(long, conflicts_with = "udp")]
    tcp: bool,
    /// A UDP datagram
    #[arg(long)]
    udp: bool,
    /// TCP: a segment that begins a flow (the default)
    #[arg(long, conflicts_with_all = ["udp", "ack"])]
    syn: bool,
    /// TCP: a segment of a flow that began earlier
    #[arg(long, conflicts_with = "udp")]
    ack: bool,
    /// Bytes of the packet from its IP header on
    #[arg(long, value_name = "BYTES")]
    length: Option<u16>,
    /// Each packet of a capture file (pcap or pcapng) instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "vip", "tcp", "udp", "syn", "ack", "length"])]
    packet: Option<PathBuf>,
    /// The interface that the packet comes in by, instead of the node's first one
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Also show the bytes of the packet in and out
    #[arg(long, short)]
    verbose: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

/// Prints what becomes of the packets.
///
/// # Errors
/// If the packet can't be made or read, or no controller answers.
pub async fn show(options: Options) -> Result<()> {
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let mut explanations: Vec<Explanation> = Vec::new();
    for packets in options.packets()?.chunks(MOST_PACKETS) {
        let asked = Packets { interface: options.interface.clone(), packets: packets.to_vec() };
        let mut answer: Vec<Explanation> = client::post(&socket, "/explain", &asked).await?;
        explanations.append(&mut answer);
    }
    output::print(&options.text(&explanations)?)
}

impl Options {
    fn packets(&self) -> Result<Vec<Packet>> {
        if let Some(path) = &self.packet {
            let packets = packet_file::read(path)?;
            if packets.is_empty() {
                bail!("{}: has no packet in it", path.display());
            }
            return Ok(packets);
        }
        let (Some(source), Some(vip)) = (self.source, self.vip) else {
            bail!("name the flow as SRC:PORT VIP:PORT, or a capture file with --packet");
        };
        Ok(vec![Packet::Ip(Bytes(flow::packet(self.kind(), source, vip, self.length)?))])
    }

    fn kind(&self) -> Kind {
        match (self.udp, self.ack) {
            (true, _) => Kind::Udp,
            (false, true) => Kind::Ack,
            (false, false) => Kind::Syn,
        }
    }

    fn text(&self, explanations: &[Explanation]) -> Result<String> {
        if self.json {
            let json = match (explanations, &self.packet) {
                ([only], None) => serde_json::to_string_pretty(only),
                _ => serde_json::to_string_pretty(explanations),
            };
            return Ok(json.context("writing the explanation as JSON")? + "\n");
        }
        let detail = if self.verbose { Detail::Bytes } else { Detail::Stages };
        let texts: Vec<String> = explanations.iter().map(|one| render(one, detail)).collect();
        Ok(texts.join("\n"))
    }
}
