//! What the agent is told: command line or file, parsed into a [`Configuration`] that can't be wrong.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::mss::MssClamp;

/// The options of `sluice agent`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Interface on which tunnel packets arrive (repeatable).
    #[arg(long = "interface", value_name = "INTERFACE", required_unless_present = "config")]
    pub interfaces: Vec<String>,
    /// Address from which a node sends its tunnel packets (repeatable).
    #[arg(long = "node", value_name = "ADDRESS", required_unless_present = "config")]
    pub nodes: Vec<IpAddr>,
    /// VIP that this target serves (repeatable).
    #[arg(long = "vip", value_name = "ADDRESS", required_unless_present = "config")]
    pub vips: Vec<IpAddr>,
    /// The largest TCP segment that servers may offer to clients for a VIP: `auto` (so that it fits the interface's
    /// MTU in the largest encapsulation), `off`, or bytes.
    #[arg(long, value_name = "auto|off|BYTES", default_value_t)]
    pub mss_clamp: MssClamp,
    /// JSON file with the same: {"interfaces": […], "nodes": […], "vips": […], "mss_clamp": "auto"}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["interfaces", "nodes", "vips", "mss_clamp"])]
    pub config: Option<PathBuf>,
    /// Directory of the agent's lock, journal and status socket.
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/sluice-agent")]
    pub runtime_directory: PathBuf,
}

/// What the agent does, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Names of the interfaces on which tunnel packets arrive; at least one.
    pub interfaces: BTreeSet<String>,
    /// Outer source addresses of the nodes; at least one.
    pub nodes: BTreeSet<IpAddr>,
    /// The VIPs that this target serves; at least one, none of them a node.
    pub vips: BTreeSet<IpAddr>,
    /// What becomes of the maximum segment sizes that servers offer.
    pub mss_clamp: MssClamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interfaces: Vec<String>,
    nodes: Vec<IpAddr>,
    vips: Vec<IpAddr>,
    #[serde(default)]
    mss_clamp: MssClamp,
}

impl Options {
    /// The configuration and the runtime directory.
    ///
    /// # Errors
    /// If the file can't be read, or what is asked for can't be.
    pub(super) fn resolve(self) -> anyhow::Result<(Configuration, PathBuf)> {
        let configuration = match &self.config {
            Some(path) => from_file(path)?,
            None => Configuration::new(self.interfaces, self.nodes, self.vips, self.mss_clamp)?,
        };
        Ok((configuration, self.runtime_directory))
    }
}

fn from_file(path: &Path) -> anyhow::Result<Configuration> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the agent's configuration {}", path.display()))?;
    parse(&text).with_context(|| format!("the agent's configuration {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Configuration> {
    let mut json = serde_json::Deserializer::from_str(text);
    let file: File = serde_path_to_error::deserialize(&mut json)?;
    json.end()?;
    Configuration::new(file.interfaces, file.nodes, file.vips, file.mss_clamp)
}

impl Configuration {
    fn new(
        interfaces: Vec<String>,
        nodes: Vec<IpAddr>,
        vips: Vec<IpAddr>,
        mss_clamp: MssClamp,
    ) -> anyhow::Result<Configuration> {
        ensure!(!interfaces.is_empty(), "no interface is named: on which one do tunnel packets arrive?");
        ensure!(!nodes.is_empty(), "no node is named: from which addresses do tunnel packets come?");
        ensure!(!vips.is_empty(), "no VIP is named: which addresses does this target serve?");
        ensure!(!interfaces.iter().any(|name| name == "lo"), "interface lo: no tunnel packet arrives there");
        let interfaces = interfaces.into_iter().collect();
        let nodes: BTreeSet<IpAddr> =
            nodes.into_iter().map(|node| unicast("node", node)).collect::<Result<_, _>>()?;
        let vips: BTreeSet<IpAddr> =
            vips.into_iter().map(|vip| unicast("VIP", vip)).collect::<Result<_, _>>()?;
        if let Some(address) = nodes.intersection(&vips).next() {
            bail!(
                "{address} is named as a node and as a VIP; a node's tunnels start at an address of its own"
            );
        }
        Ok(Configuration { interfaces, nodes, vips, mss_clamp })
    }
}

fn unicast(what: &str, address: IpAddr) -> anyhow::Result<IpAddr> {
    let address = address.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    ensure!(
        !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast),
        "{what} {address}: a unicast address that other hosts can reach is wanted"
    );
    Ok(address)
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    fn options(line: &str) -> Result<clap::ArgMatches, clap::Error> {
        Options::augment_args(clap::Command::new("agent")).try_get_matches_from(line.split(' '))
    }

    #[test]
    fn the_command_line_names_everything_or_a_file() {
        options("agent --interface a --interface b --node 10.0.0.1 --vip 10.0.0.2 --vip fc00::2").unwrap();
        options("agent --config file").unwrap();
        for wrong in ["agent", "agent --interface a --node 10.0.0.1", "agent --config file --vip 10.0.0.2"] {
            options(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_file_says_what_the_options_say() {
        let parsed = parse(r#"{"interfaces":["eth0"],"nodes":["10.0.0.1","fc00::1"],"vips":["192.0.2.7"]}"#);
        let told = Configuration::new(
            vec!["eth0".into()],
            vec!["fc00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            vec!["192.0.2.7".parse().unwrap()],
            MssClamp::Auto,
        );
        assert_eq!(parsed.unwrap(), told.unwrap());
    }

    #[test]
    fn a_wrong_file_is_refused_with_what_would_be_right() {
        for (text, expected) in [
            (
                r#"{"interface":["eth0"]}"#,
                "unknown field `interface`, expected one of `interfaces`, `nodes`, `vips`, `mss_clamp`",
            ),
            (r#"{"interfaces":["eth0"],"nodes":["10.0.0.1"]}"#, "missing field `vips`"),
            (
                r#"{"interfaces":["eth0"],"nodes":["10.0.0.1", "x"],"vips":[]}"#,
                "nodes[1]: invalid IP address syntax",
            ),
            (r#"{"interfaces":["eth0"],"nodes":["10.0.0.1"],"vips":[]}"#, "no VIP is named"),
            (
                r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"],"mss_clamp":"87"}"#,
                "mss_clamp: expected `auto`, `off`, or bytes from 88 to 65535, found `87`",
            ),
            (r#"{"interfaces":[],"nodes":["10.0.0.1"],"vips":["10.0.0.2"]}"#, "no interface is named"),
            (r#"{"interfaces":["lo"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"]}"#, "interface lo"),
            (
                r#"{"interfaces":["a"],"nodes":["224.0.0.1"],"vips":["10.0.0.2"]}"#,
                "node 224.0.0.1: a unicast",
            ),
            (r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["::1"]}"#, "VIP ::1: a unicast"),
            (
                r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.1"]}"#,
                "10.0.0.1 is named as a node and",
            ),
            (r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"]} x"#, "trailing characters"),
        ] {
            let message = format!("{:#}", parse(text).unwrap_err());
            assert!(message.contains(expected), "{text}\n gives  {message}\n wanted {expected}");
        }
    }
}
