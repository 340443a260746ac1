//! The agent's metrics in OpenMetrics text.
//!
//! | metric | labels | what |
//! | --- | --- | --- |
//! | `sluice_agent_build_info` | version | the running agent |
//! | `sluice_agent_interface_info` | interface, mode | where it is attached, and how: native, generic, tc |
//! | `sluice_agent_connections` | vip | TCP connections of this host by VIP, as its kernel lists them |
//! | `sluice_agent_packets_total` | reason, verdict | packets by what became of them; an agent that takes over goes on counting |

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use lb_common::reason::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::report::InterfaceReport;

/// The names of all samples.
pub const METRICS: [&str; 4] = [
    "sluice_agent_build_info",
    "sluice_agent_interface_info",
    "sluice_agent_connections",
    "sluice_agent_packets_total",
];

/// All metrics as text.
pub(super) fn render(
    interfaces: &[InterfaceReport],
    counts: &[(Reason, u64)],
    connections: &BTreeMap<IpAddr, u64>,
) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        interfaces: interfaces.to_vec(),
        counts: counts.to_vec(),
        connections: connections.clone(),
    }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Snapshot {
    interfaces: Vec<InterfaceReport>,
    counts: Vec<(Reason, u64)>,
    connections: BTreeMap<IpAddr, u64>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "The version of the running agent";
        let mut info = encoder.encode_descriptor("sluice_agent_build", help, None, MetricType::Info)?;
        info.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "The interfaces with the agent, and how it runs there: native or generic XDP, or tc";
        let mut info = encoder.encode_descriptor("sluice_agent_interface", help, None, MetricType::Info)?;
        for at in &self.interfaces {
            info.encode_info(&[("interface", at.name.as_str()), ("mode", &at.mode.to_string())])?;
        }
        let help = "TCP connections of this host by VIP, from their first packet to their last";
        let mut connections =
            encoder.encode_descriptor("sluice_agent_connections", help, None, MetricType::Gauge)?;
        for (vip, count) in &self.connections {
            connections.encode_family(&[("vip", vip.to_string())])?.encode_gauge(count)?;
        }
        let help = "Packets by what became of them";
        let mut packets =
            encoder.encode_descriptor("sluice_agent_packets", help, None, MetricType::Counter)?;
        for (reason, count) in &self.counts {
            let labels = [("reason", reason.name()), ("verdict", reason.verdict().as_str())];
            packets.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::AttachMode;
    use super::*;

    #[test]
    fn metrics_are_text_that_prometheus_reads() {
        let interface = InterfaceReport { name: "eth0".into(), mode: AttachMode::Tc, program_id: 7 };
        let connections = BTreeMap::from([("10.200.1.1".parse().unwrap(), 12)]);
        let text =
            render(&[interface], &[(Reason::AgentHandedOn, 3), (Reason::AgentUnknownNode, 0)], &connections);
        for line in [
            concat!("sluice_agent_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "sluice_agent_interface_info{interface=\"eth0\",mode=\"tc\"} 1",
            "sluice_agent_connections{vip=\"10.200.1.1\"} 12",
            "sluice_agent_packets_total{reason=\"handed_on\",verdict=\"answered\"} 3",
            "sluice_agent_packets_total{reason=\"unknown_node\",verdict=\"dropped\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        assert!(METRICS.iter().all(|name| text.contains(&format!("\n{name}{{"))), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
