//! Routers: the real daemons that Sluice's users run, each on a host of the lab, with one description for all.
//!
//! A daemon takes routes to single addresses from its neighbours and writes them into its host's kernel with all
//! next hops that are equally good (GoBGP, which knows no kernel, only into its own table).

mod bird;
mod frr;
mod gobgp;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use bird::Bird;
pub use frr::Frr;
pub use gobgp::GoBgp;

use crate::host::Host;

/// How long a daemon may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A router and those who announce to it.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its AS number.
    pub local_as: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Its neighbours.
    pub neighbours: Vec<Neighbour>,
}

/// One neighbour.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The router's own address in this session.
    pub local: IpAddr,
    /// Its AS number.
    pub remote_as: u32,
    /// The hold time in seconds; a third of it is the keepalive's.
    pub hold_time: u16,
    /// The TCP-MD5 password.
    pub password: Option<String>,
    /// Whether only packets with a TTL of 255 are taken.
    pub ttl_security: bool,
    /// Whether IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// The interval of BFD packets in milliseconds, three of which may be missing.
    pub bfd: Option<u32>,
}

impl Neighbour {
    /// A neighbour with a hold time of 9 seconds and nothing special.
    pub fn new(address: IpAddr, local: IpAddr, remote_as: u32) -> Neighbour {
        Neighbour {
            address,
            local,
            remote_as,
            hold_time: 9,
            password: None,
            ttl_security: false,
            extended_next_hop: false,
            bfd: None,
        }
    }
}

/// A directory for a daemon's files in the lab's.
fn directory(host: &Host, daemon: &str) -> Result<PathBuf> {
    let directory = host.lease().directory().join(format!("{daemon}-{}", host.name()));
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    Ok(directory)
}

/// Writes a configuration file and gives its path as text.
fn write(directory: &Path, name: &str, text: &str) -> Result<String> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path.display().to_string())
}
