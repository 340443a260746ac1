//! The other targets: from which of them packets are taken that they hand on, and how they are reached.
//!
//! ```text
//!   configured addresses ─┐
//!   peers that a packet   ├─► next hops, by the kernel's routes and neighbours ─► REACHED_PEERS, PEER_WAYS
//!   could not be handed to┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use lb_common::tunnel::{self, PeerWay};
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{info, warn};

use super::program::{AddressTable, key};
use crate::next_hop::{NextHops, Resolutions};

/// How often the program's wishes are read: a peer's first packets are lost for about as long.
pub(super) const WISHES: Duration = Duration::from_millis(100);

/// Addresses with the first `length` bits of `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Neither an address nor a prefix.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected an address or a prefix such as `10.0.0.0/24`, with no bits set behind its length, found `{0}`"
)]
pub struct PrefixError(String);

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        read(text).ok_or_else(|| PrefixError(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Prefix> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(bits);
    // One that holds everything would take what anybody hands on.
    let prefix = Prefix { address, length };
    (length > 0 && length <= bits && prefix.has_no_other_bits()).then_some(prefix)
}

impl Prefix {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = mapped(self.address) ^ mapped(address);
        differing.checked_shr(128 - self.mapped_length()).unwrap_or(0) == 0
    }

    /// The one address that is in it, if it is only one.
    pub fn single(&self) -> Option<IpAddr> {
        (self.mapped_length() == 128).then_some(self.address)
    }

    /// The key of `PEERS`: bits that count, and the address, IPv4 mapped into IPv6.
    pub(super) fn key(&self) -> aya::maps::lpm_trie::Key<[u32; 4]> {
        aya::maps::lpm_trie::Key::new(self.mapped_length(), key(self.address))
    }

    fn mapped_length(&self) -> u32 {
        u32::from(self.length) + if self.address.is_ipv4() { 96 } else { 0 }
    }

    fn has_no_other_bits(&self) -> bool {
        mapped(self.address).checked_shl(self.mapped_length()).unwrap_or(0) == 0
    }
}

fn mapped(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Prefix, PrefixError> {
        text.parse()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}/{}", self.address, self.length),
        }
    }
}

/// The ways to the peers, kept current.
pub(super) struct Peers {
    ways: Array<MapData, PeerWay>,
    reached: AddressTable<MapData>,
    wishes: HashMap<MapData, [u32; 4], u32>,
    next_hops: NextHops,
    resolutions: watch::Receiver<Arc<Resolutions>>,
    wanted: BTreeSet<IpAddr>,
    /// The peers in `reached`, with their indices in `ways`.
    written: BTreeMap<IpAddr, u32>,
}

impl Peers {
    /// Begins with the peers that are configured by their addresses.
    pub(super) async fn follow(ebpf: &mut Ebpf, prefixes: &BTreeSet<Prefix>) -> anyhow::Result<Peers> {
        let mut take =
            |name: &str| ebpf.take_map(name).with_context(|| format!("the program has no map {name}"));
        let (ways, wishes) = (take(tunnel::PEER_WAYS)?, take(tunnel::WANTED_PEERS)?);
        let reached = take(tunnel::REACHED_PEERS)?;
        let next_hops = NextHops::start().await.context("following the next hops of peers")?;
        let peers = Peers {
            ways: Array::try_from(ways)?,
            reached: AddressTable(Array::try_from(reached)?),
            wishes: HashMap::try_from(wishes)?,
            resolutions: next_hops.watch(),
            next_hops,
            wanted: prefixes.iter().filter_map(Prefix::single).collect(),
            written: BTreeMap::new(),
        };
        peers.next_hops.set_targets(peers.wanted.clone());
        Ok(peers)
    }

    /// Waits for a change of the peers' next hops.
    pub(super) async fn changed(&mut self) {
        if self.resolutions.changed().await.is_err() {
            warn!("the next hops of peers are followed no more; they stay as they are");
            std::future::pending().await
        }
    }

    /// Looks for peers that packets could not be handed on to.
    pub(super) fn look_for_wishes(&mut self) -> anyhow::Result<()> {
        let wishes: Vec<[u32; 4]> =
            self.wishes.keys().collect::<Result<_, _>>().context("reading the wanted peers")?;
        for wish in wishes {
            let address = address(wish);
            if self.wanted.len() < tunnel::MAX_PEER_WAYS as usize && self.wanted.insert(address) {
                info!("a packet is to be handed on to {address}: looking for the way");
                self.next_hops.set_targets(self.wanted.clone());
            }
            // Gone already, if the map was full.
            let _ = self.wishes.remove(&wish);
        }
        Ok(())
    }

    /// Writes the ways that are known now.
    pub(super) fn write(&mut self) -> anyhow::Result<()> {
        let resolutions = self.resolutions.borrow_and_update().clone();
        for (peer, resolution) in resolutions.iter() {
            let Ok(hop) = resolution else { continue };
            let way = PeerWay::new(hop.interface, hop.source_mac, hop.destination_mac);
            self.write_way(*peer, way).with_context(|| format!("writing the way to peer {peer}"))?;
        }
        let is_lost = |peer: &IpAddr| !resolutions.get(peer).is_some_and(Result::is_ok);
        let lost: Vec<IpAddr> = self.written.keys().copied().filter(is_lost).collect();
        for peer in lost {
            self.reached.set(peer, 0).with_context(|| format!("forgetting the way to peer {peer}"))?;
            self.written.remove(&peer);
        }
        Ok(())
    }

    /// The way first, then the peer that names it.
    fn write_way(&mut self, peer: IpAddr, way: PeerWay) -> anyhow::Result<()> {
        let used: BTreeSet<u32> = self.written.values().copied().collect();
        let unused = || (1..tunnel::MAX_PEER_WAYS).find(|index| !used.contains(index));
        let known = self.written.get(&peer).copied();
        let index = known.or_else(unused).context("there are more peers than ways can be held for")?;
        self.ways.set(index, way, 0)?;
        self.reached.set(peer, index)?;
        self.written.insert(peer, index);
        Ok(())
    }
}

fn address([a, b, c, d]: [u32; 4]) -> IpAddr {
    let words = [a, b, c, d].map(u32::to_ne_bytes).concat();
    let bytes: [u8; 16] = words.try_into().expect("four words are sixteen bytes");
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_read_and_knows_its_addresses() {
        for (text, inside, outside) in [
            ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("fd00::/64", "fd00::1", "fd00:0:0:1::1"),
            ("fd00::1", "fd00::1", "fd00::2"),
            ("0.0.0.0/1", "127.0.0.1", "128.0.0.1"),
            ("::/1", "::1", "8000::"),
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
            assert!(prefix.contains(inside.parse().unwrap()), "{text}");
            assert!(!prefix.contains(outside.parse().unwrap()), "{text}");
        }
        for wrong in ["", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/0", "::/0", "fd00::1/64", "x"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_is_its_address_again() {
        for text in ["10.0.0.7", "fd00::1"] {
            let expected: IpAddr = text.parse().unwrap();
            assert_eq!(address(key(expected)), expected);
        }
    }
}
