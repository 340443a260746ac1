//! The configuration of a speaker: plain values, and what must hold between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use thiserror::Error;

use super::community::{Community, LargeCommunity};
use crate::announce::bfd;

/// The port that routers listen on.
pub const PORT: u16 = 179;

/// The longest TCP-MD5 password that Linux takes, in bytes.
pub const MD5_PASSWORD_MAX: usize = 80;

/// How many communities, and how many large ones, a route may carry: so many leave room in one message for as
/// many VIPs as one is given.
pub const COMMUNITIES_MAX: usize = 32;

/// This node, as routers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its AS number, 1 to 4294967294; not 23456, which stands for numbers that don't fit.
    pub local_as: u32,
    /// Its BGP identifier: any IPv4 address but 0.0.0.0, another one on each node.
    pub router_id: Ipv4Addr,
    /// The routers that it announces to, each once.
    pub peers: Vec<Peer>,
}

/// A router, and how it is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The router's address. Link-local addresses are not taken: they need an interface.
    pub address: IpAddr,
    /// The node's own address that connections (and BFD) come from, of the same family.
    pub source: IpAddr,
    /// The router's AS number; the node's own makes the session internal (iBGP).
    pub remote_as: u32,
    /// The router's TCP port; default 179.
    pub port: u16,
    /// After how long a silence the router is taken for dead: 3 s to 65535 s, or 0 for never. The smaller one of
    /// both sides' counts. Default 9 s.
    pub hold_time: Duration,
    /// How often the node says that it lives: 1 s to a third of the hold time. Default a third of the hold time.
    pub keepalive: Option<Duration>,
    /// TCP-MD5 (RFC 2385), 1 to 80 bytes. A router with another password, or none, never answers.
    pub md5_password: Option<String>,
    /// How many routers' hops away the peer is at most: 1 (default, directly connected) to 255.
    pub hops: u8,
    /// The generalized TTL security mechanism (RFC 5082): packets leave with a TTL of 255, and those that came
    /// from farther than `hops` away are not taken. The router must be told the same. Default off.
    pub ttl_security: bool,
    /// The families whose VIPs are announced; default both.
    pub families: Families,
    /// The next hop of IPv4 VIPs; default `source`. An IPv6 address needs `extended_next_hop`.
    pub next_hop_ipv4: Option<IpAddr>,
    /// The next hop of IPv6 VIPs; default `source`, so it must be given where that is an IPv4 address.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// Whether IPv4 VIPs may have an IPv6 next hop (RFC 8950), which the router must also offer. Default off.
    pub extended_next_hop: bool,
    /// Put on every route, at most 32.
    pub communities: Vec<Community>,
    /// Put on every route, at most 32.
    pub large_communities: Vec<LargeCommunity>,
    /// MULTI_EXIT_DISC: among a neighbour AS's ways, routers prefer the smaller one. Default none.
    pub med: Option<u32>,
    /// LOCAL_PREF: within the AS, routers prefer the larger one. Internal sessions alone. Default 100.
    pub local_preference: u32,
    /// Whether a draining VIP is announced with the community 65535:0 (RFC 8326) and, within the AS, LOCAL_PREF 0.
    /// Otherwise routers see no difference until it is withdrawn. Default on.
    pub graceful_shutdown: bool,
    /// Watches the router by BFD (single hop, RFC 5881) and ends the session as soon as it is gone. Default none.
    pub bfd: Option<bfd::Timers>,
}

impl Peer {
    /// A router with all defaults.
    pub fn new(address: IpAddr, source: IpAddr, remote_as: u32) -> Peer {
        Peer {
            address,
            source,
            remote_as,
            port: PORT,
            hold_time: Duration::from_secs(9),
            keepalive: None,
            md5_password: None,
            hops: 1,
            ttl_security: false,
            families: Families { ipv4: true, ipv6: true },
            next_hop_ipv4: None,
            next_hop_ipv6: None,
            extended_next_hop: false,
            communities: Vec::new(),
            large_communities: Vec::new(),
            med: None,
            local_preference: 100,
            graceful_shutdown: true,
            bfd: None,
        }
    }

    /// Whether a session with this goes on when the router is configured as `other`: all that differs is what its
    /// routes carry, which is told in the session.
    pub fn shares_session(&self, other: &Peer) -> bool {
        let here = self.clone();
        let as_here = Peer {
            next_hop_ipv4: here.next_hop_ipv4,
            next_hop_ipv6: here.next_hop_ipv6,
            communities: here.communities,
            large_communities: here.large_communities,
            med: here.med,
            local_preference: here.local_preference,
            graceful_shutdown: here.graceful_shutdown,
            ..other.clone()
        };
        *self == as_here
    }

    /// The next hop that VIPs of a family are announced with, if there is one.
    pub fn next_hop(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.next_hop_ipv4.or(Some(self.source)),
            Family::Ipv6 => {
                self.next_hop_ipv6.map(IpAddr::V6).or(self.source.is_ipv6().then_some(self.source))
            }
        }
    }
}

/// An address family whose unicast routes are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
}

impl Family {
    /// Both, in the order in which they are announced.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// The family's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
    }
}

/// A set of families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Families {
    /// IPv4 unicast.
    pub ipv4: bool,
    /// IPv6 unicast.
    pub ipv6: bool,
}

impl Families {
    /// Whether `family` is one of them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    /// Those that are in both sets.
    pub fn and(self, other: Families) -> Families {
        Families { ipv4: self.ipv4 && other.ipv4, ipv6: self.ipv6 && other.ipv6 }
    }

    /// Its families.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.has(*family))
    }
}

/// Stands for an AS number that does not fit in 16 bits (RFC 6793).
pub const AS_TRANS: u16 = 23456;

/// Why a speaker can't be started: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSpeaker {
    /// The speaker's own numbers.
    #[error("{0}")]
    Own(&'static str),
    /// One of its peers.
    #[error("peer {peer}: {what}")]
    Peer {
        /// Which one.
        peer: IpAddr,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Speaker {
    /// Checks the ranges of all values and what must hold between them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidSpeaker> {
        if !is_as(self.local_as) {
            return Err(InvalidSpeaker::Own("local_as must be an AS number: 1 to 4294967294, not 23456"));
        }
        if self.router_id.is_unspecified() {
            return Err(InvalidSpeaker::Own("router_id must not be 0.0.0.0: use an address of this node"));
        }
        for (position, peer) in self.peers.iter().enumerate() {
            let invalid = |what| InvalidSpeaker::Peer { peer: peer.address, what };
            if self.peers[..position].iter().any(|other| other.address == peer.address) {
                return Err(invalid("it is listed twice: a router has one session"));
            }
            for rule in [addresses, identity, times, protection, next_hops, labels] {
                rule(peer).map_err(invalid)?;
            }
            if let Some(timers) = &peer.bfd {
                timers.validate().map_err(invalid)?;
            }
        }
        Ok(())
    }
}

fn is_as(number: u32) -> bool {
    ![0, u32::from(AS_TRANS), u32::MAX].contains(&number)
}

fn addresses(peer: &Peer) -> Result<(), &'static str> {
    if peer.address.is_ipv4() != peer.source.is_ipv4() {
        return Err("its address and the source must be of one family");
    }
    for address in [peer.address, peer.source] {
        let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        if address.is_unspecified() || address.is_multicast() || is_link_local {
            return Err("its address and the source must be unicast addresses, and not link-local");
        }
    }
    if peer.address == peer.source { Err("its address must not be the source") } else { Ok(()) }
}

fn identity(peer: &Peer) -> Result<(), &'static str> {
    if !is_as(peer.remote_as) {
        return Err("remote_as must be an AS number: 1 to 4294967294, not 23456");
    }
    if peer.port == 0 { Err("port must be 1 to 65535") } else { Ok(()) }
}

fn times(peer: &Peer) -> Result<(), &'static str> {
    let hold = peer.hold_time;
    let is_whole = |time: Duration| time.subsec_nanos() == 0;
    if !is_whole(hold) || !(hold.is_zero() || (3..=65535).contains(&hold.as_secs())) {
        return Err("hold_time must be 3 to 65535 whole seconds, or 0 for never");
    }
    let Some(keepalive) = peer.keepalive else { return Ok(()) };
    if hold.is_zero() {
        return Err("keepalive needs a hold_time");
    }
    if keepalive < Duration::from_secs(1) || keepalive > hold / 3 {
        return Err("keepalive must be 1 s to a third of hold_time");
    }
    Ok(())
}

fn protection(peer: &Peer) -> Result<(), &'static str> {
    if peer.hops == 0 {
        return Err("hops must be 1 to 255");
    }
    if peer.bfd.is_some() && peer.hops > 1 {
        return Err("bfd is for directly connected routers: hops must be 1");
    }
    let length = peer.md5_password.as_ref().map(String::len);
    if length.is_some_and(|length| !(1..=MD5_PASSWORD_MAX).contains(&length)) {
        return Err("md5_password must be 1 to 80 bytes long");
    }
    Ok(())
}

fn next_hops(peer: &Peer) -> Result<(), &'static str> {
    if peer.families == Families::default() {
        return Err("families must name one");
    }
    if peer.families.ipv6 && peer.next_hop(Family::Ipv6).is_none() {
        return Err(
            "next_hop_ipv6 is needed to announce IPv6 VIPs over IPv4: give it, or leave IPv6 out of families",
        );
    }
    let is_ipv6 = peer.next_hop(Family::Ipv4).is_some_and(|hop| hop.is_ipv6());
    if peer.families.ipv4 && is_ipv6 && !peer.extended_next_hop {
        return Err(
            "IPv4 VIPs with an IPv6 next hop need extended_next_hop: set it, give next_hop_ipv4, or \
                    leave IPv4 out of families",
        );
    }
    let given = [peer.next_hop_ipv4, peer.next_hop_ipv6.map(IpAddr::V6)];
    if given.into_iter().flatten().any(|hop| hop.is_unspecified() || hop.is_multicast()) {
        return Err("a next hop must be a unicast address");
    }
    Ok(())
}

fn labels(peer: &Peer) -> Result<(), &'static str> {
    if peer.communities.len() > COMMUNITIES_MAX || peer.large_communities.len() > COMMUNITIES_MAX {
        return Err("a route carries at most 32 communities and 32 large communities");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(change: impl FnOnce(&mut Peer)) -> Result<(), InvalidSpeaker> {
        let mut peer =
            Peer::new(Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(192, 0, 2, 2).into(), 65000);
        peer.next_hop_ipv6 = Some("2001:db8::2".parse().unwrap());
        change(&mut peer);
        Speaker { local_as: 65001, router_id: Ipv4Addr::new(192, 0, 2, 2), peers: vec![peer] }.validate()
    }

    fn over_ipv6(peer: &mut Peer) {
        peer.address = "2001:db8::1".parse().unwrap();
        peer.source = "2001:db8::2".parse().unwrap();
    }

    #[test]
    fn defaults_are_valid() {
        speaker(|_| ()).unwrap();
        speaker(|peer| {
            over_ipv6(peer);
            peer.extended_next_hop = true;
        })
        .unwrap();
        speaker(|peer| peer.hold_time = Duration::ZERO).unwrap();
    }

    /// What is wrong, and a word that the error must have.
    type Wrong = (fn(&mut Peer), &'static str);

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let wrong: [Wrong; 18] = [
            (|peer| peer.source = "2001:db8::2".parse().unwrap(), "one family"),
            (|peer| peer.address = Ipv4Addr::UNSPECIFIED.into(), "unicast"),
            (|peer| peer.address = peer.source, "source"),
            (|peer| peer.remote_as = 23456, "remote_as"),
            (|peer| peer.port = 0, "port"),
            (|peer| peer.hold_time = Duration::from_secs(2), "hold_time"),
            (|peer| peer.hold_time = Duration::from_millis(9500), "hold_time"),
            (|peer| peer.keepalive = Some(Duration::from_secs(4)), "keepalive"),
            (|peer| (peer.hold_time, peer.keepalive) = (Duration::ZERO, Some(Duration::MAX)), "keepalive"),
            (|peer| peer.hops = 0, "hops"),
            (|peer| (peer.hops, peer.bfd) = (2, Some(bfd::Timers::default())), "hops"),
            (|peer| peer.md5_password = Some(String::new()), "md5_password"),
            (|peer| peer.md5_password = Some("x".repeat(81)), "md5_password"),
            (|peer| peer.families = Families::default(), "families"),
            (|peer| peer.next_hop_ipv6 = None, "next_hop_ipv6"),
            (over_ipv6, "extended_next_hop"),
            (|peer| peer.next_hop_ipv4 = Some(Ipv4Addr::UNSPECIFIED.into()), "next hop"),
            (|peer| peer.communities = vec![Community(1); 33], "32"),
        ];
        for (change, word) in wrong {
            let error = speaker(change).unwrap_err().to_string();
            assert!(error.contains(word) && error.starts_with("peer "), "{word}: {error}");
        }
    }

    #[test]
    fn what_routes_carry_leaves_the_session_and_all_else_is_another_one() {
        let peer = Peer::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 65000);
        let shares = |change: &fn(&mut Peer)| {
            let mut other = peer.clone();
            change(&mut other);
            assert_ne!(peer, other);
            peer.shares_session(&other)
        };
        let routes: [fn(&mut Peer); 7] = [
            |peer| peer.next_hop_ipv4 = Some([192, 0, 2, 3].into()),
            |peer| peer.next_hop_ipv6 = Some(Ipv6Addr::LOCALHOST),
            |peer| peer.communities = vec![Community(1)],
            |peer| peer.large_communities = vec![LargeCommunity([1, 2, 3])],
            |peer| peer.med = Some(7),
            |peer| peer.local_preference = 7,
            |peer| peer.graceful_shutdown = false,
        ];
        let session: [fn(&mut Peer); 12] = [
            |peer| peer.address = [192, 0, 2, 3].into(),
            |peer| peer.source = [192, 0, 2, 3].into(),
            |peer| peer.remote_as = 65002,
            |peer| peer.port = 1179,
            |peer| peer.hold_time = Duration::ZERO,
            |peer| peer.keepalive = Some(Duration::from_secs(1)),
            |peer| peer.md5_password = Some("secret".to_owned()),
            |peer| peer.hops = 2,
            |peer| peer.ttl_security = true,
            |peer| peer.families.ipv6 = false,
            |peer| peer.extended_next_hop = true,
            |peer| peer.bfd = Some(bfd::Timers::default()),
        ];
        assert!(routes.iter().all(shares));
        assert!(!session.iter().any(shares));
    }

    #[test]
    fn a_speaker_needs_a_number_an_identifier_and_distinct_peers() {
        let router_id = Ipv4Addr::new(192, 0, 2, 2);
        let peer = Peer {
            families: Families { ipv4: true, ipv6: false },
            ..Peer::new(Ipv4Addr::new(192, 0, 2, 1).into(), router_id.into(), 65000)
        };
        let speaker = Speaker { local_as: 65001, router_id, peers: vec![peer.clone()] };
        speaker.validate().unwrap();
        for wrong in [
            Speaker { local_as: 0, ..speaker.clone() },
            Speaker { router_id: Ipv4Addr::UNSPECIFIED, ..speaker.clone() },
            Speaker { peers: vec![peer.clone(), peer], ..speaker },
        ] {
            wrong.validate().unwrap_err();
        }
    }
}
