//! What the agent is told: command line or file, parsed into a [`Configuration`] that can't be wrong.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::mss::MssClamp;
use super::peers::Prefix;
use super::ports::{self, PortMapping};

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
    /// Address or prefix (`10.0.0.0/24`) of the other targets: the agent hands on to them, and takes from them, what
    /// belongs to their connections (repeatable). Without any, nodes keep a flow table for this target's group.
    #[arg(long = "peer", value_name = "PREFIX")]
    pub peers: Vec<Prefix>,
    /// A listener's port that the target serves under another number: `VIP:PORT/tcp=PORT` or `…/udp=PORT` (repeatable).
    #[arg(long = "port", value_name = "VIP:PORT/tcp=PORT")]
    pub ports: Vec<PortMapping>,
    /// Where to serve Prometheus metrics, such as 127.0.0.1:9101; nowhere, if it is not given.
    #[arg(long = "metrics", value_name = "IP:PORT")]
    pub metrics_address: Option<SocketAddr>,
    /// The largest TCP segment that servers may offer to clients for a VIP: `auto` (so that it fits the interface's
    /// MTU in the largest encapsulation), `off`, or bytes.
    #[arg(long, value_name = "auto|off|BYTES", default_value_t)]
    pub mss_clamp: MssClamp,
    /// JSON file with the same: {"interfaces": […], "nodes": […], "vips": […], "peers": […], "ports": [{"vip": …,
    /// "protocol": "TCP", "listener_port": …, "target_port": …}], "metrics_address": …, "mss_clamp": "auto"}.
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["interfaces", "nodes", "vips", "peers", "ports", "metrics_address", "mss_clamp"])]
    pub config: Option<PathBuf>,
    /// Directory of the agent's lock, journal and status socket.
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/sluice-agent")]
    pub runtime_directory: PathBuf,
    /// Directory in a BPF file system where the programs are pinned, so that they go on without the agent: by default
    /// one under /sys/fs/bpf that is named after the runtime directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub pins: Option<PathBuf>,
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
    /// The other targets.
    pub peers: BTreeSet<Prefix>,
    /// Ports that are translated; each names its VIP's other one.
    pub ports: BTreeSet<PortMapping>,
    /// Where metrics are served.
    pub metrics_address: Option<SocketAddr>,
    /// What becomes of the maximum segment sizes that servers offer.
    pub mss_clamp: MssClamp,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interfaces: Vec<String>,
    nodes: Vec<IpAddr>,
    vips: Vec<IpAddr>,
    #[serde(default)]
    peers: Vec<Prefix>,
    #[serde(default)]
    ports: Vec<PortMapping>,
    #[serde(default)]
    metrics_address: Option<SocketAddr>,
    #[serde(default)]
    mss_clamp: MssClamp,
}

impl Options {
    /// The configuration, read anew.
    ///
    /// # Errors
    /// If the file can't be read, or what is asked for can't be.
    pub(super) fn resolve(&self) -> anyhow::Result<Configuration> {
        match &self.config {
            Some(path) => from_file(path),
            None => Configuration::new(File {
                interfaces: self.interfaces.clone(),
                nodes: self.nodes.clone(),
                vips: self.vips.clone(),
                peers: self.peers.clone(),
                ports: self.ports.clone(),
                metrics_address: self.metrics_address,
                mss_clamp: self.mss_clamp,
            }),
        }
    }

    /// Where the agent is to serve its metrics, if it is, and what says so can be read.
    pub fn serves_metrics_at(&self) -> Option<SocketAddr> {
        self.resolve().ok().and_then(|configuration| configuration.metrics_address)
    }

    /// Where the programs are pinned: another directory for each runtime directory, so that agents of several network
    /// namespaces do not take each other's links.
    pub(super) fn pins(&self) -> PathBuf {
        let named = |path: &Path| {
            let words = path.components().filter_map(|part| match part {
                Component::Normal(word) => Some(word.to_string_lossy().replace('.', "_")),
                _ => None,
            });
            Path::new("/sys/fs/bpf").join(words.collect::<Vec<_>>().join("-"))
        };
        self.pins.clone().unwrap_or_else(|| named(&self.runtime_directory))
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
    Configuration::new(file)
}

impl Configuration {
    fn new(file: File) -> anyhow::Result<Configuration> {
        let File { interfaces, nodes, vips, peers, ports, metrics_address, mss_clamp } = file;
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
        if let Some((peer, vip)) =
            peers.iter().find_map(|peer| Some((peer, vips.iter().find(|vip| peer.contains(**vip))?)))
        {
            bail!("peer {peer} holds the VIP {vip}: packets are handed on to addresses of the targets' own");
        }
        let ports = ports::valid(ports, &vips)?;
        ensure!(
            metrics_address.is_none_or(|at| at.port() != 0),
            "metrics_address: port 0 is another after every start"
        );
        let peers = peers.into_iter().collect();
        Ok(Configuration { interfaces, nodes, vips, peers, ports, metrics_address, mss_clamp })
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
    fn pins_are_named_after_the_runtime_directory() {
        let mut options = Options {
            interfaces: vec![],
            nodes: vec![],
            vips: vec![],
            peers: vec![],
            ports: vec![],
            metrics_address: None,
            mss_clamp: MssClamp::Auto,
            config: None,
            runtime_directory: "/run/sluice-agent".into(),
            pins: None,
        };
        assert_eq!(options.pins(), Path::new("/sys/fs/bpf/run-sluice-agent"));
        options.runtime_directory = "/tmp/a.b/c".into();
        assert_eq!(options.pins(), Path::new("/sys/fs/bpf/tmp-a_b-c"), "the file system takes no full stops");
        options.pins = Some("/bpf/mine".into());
        assert_eq!(options.pins(), Path::new("/bpf/mine"));
    }

    #[test]
    fn a_file_says_what_the_options_say() {
        let parsed = parse(r#"{"interfaces":["eth0"],"nodes":["10.0.0.1","fc00::1"],"vips":["192.0.2.7"]}"#);
        let told = Configuration::new(File {
            interfaces: vec!["eth0".into()],
            nodes: vec!["fc00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            vips: vec!["192.0.2.7".parse().unwrap()],
            ..File::default()
        });
        assert_eq!(parsed.unwrap(), told.unwrap());
        let parsed = parse(
            r#"{"interfaces":["eth0"],"nodes":["10.0.0.1"],"vips":["192.0.2.7"],"peers":["10.0.0.0/24"],"ports":
            [{"vip":"192.0.2.7","protocol":"TCP","listener_port":80,"target_port":8080}],
            "metrics_address":"127.0.0.1:9101","mss_clamp":"off"}"#,
        );
        let told = Configuration::new(File {
            interfaces: vec!["eth0".into()],
            nodes: vec!["10.0.0.1".parse().unwrap()],
            vips: vec!["192.0.2.7".parse().unwrap()],
            peers: vec!["10.0.0.0/24".parse().unwrap()],
            ports: vec!["192.0.2.7:80/tcp=8080".parse().unwrap()],
            metrics_address: Some("127.0.0.1:9101".parse().unwrap()),
            mss_clamp: MssClamp::Off,
        });
        assert_eq!(parsed.unwrap(), told.unwrap());
    }

    #[test]
    fn a_wrong_file_is_refused_with_what_would_be_right() {
        for (text, expected) in [
            (
                r#"{"interface":["eth0"]}"#,
                "unknown field `interface`, expected one of `interfaces`, `nodes`, `vips`, `peers`, `ports`, \
                 `metrics_address`, `mss_clamp`",
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
            (
                r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"],"peers":["10.0.0.1/24"]}"#,
                "peers[0]: expected an address or a prefix",
            ),
            (
                r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"],"peers":["10.0.0.0/24"]}"#,
                "peer 10.0.0.0/24 holds the VIP 10.0.0.2",
            ),
            (
                r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"],"ports":[{"vip":"10.0.0.2",
                "protocol":"tcp","listener_port":1,"target_port":2}]}"#,
                "ports[0].protocol: unknown variant `tcp`, expected `TCP` or `UDP`",
            ),
            (
                r#"{"interfaces":["a"],"nodes":["10.0.0.1"],"vips":["10.0.0.2"],"metrics_address":"9101"}"#,
                "metrics_address: invalid socket address syntax",
            ),
        ] {
            let message = format!("{:#}", parse(text).unwrap_err());
            assert!(message.contains(expected), "{text}\n gives  {message}\n wanted {expected}");
        }
    }
}
