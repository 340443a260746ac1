//! What of a valid configuration does not work with some routers. Pure.

use super::bgp::Speaker;
use super::{By, Configuration};

impl Configuration {
    /// What an operator should know before it is in force, each with its place in the file and the remedy.
    pub fn warnings(&self) -> Vec<String> {
        match &self.by {
            By::Bgp(speaker) => multihop_bfd(speaker),
            By::KernelTable(_) => Vec::new(),
        }
    }
}

/// FRR takes a neighbour with ttl-security for one that may be several hops away, whatever the number of hops is, and
/// such a neighbour's BFD is multihop (RFC 5883, UDP port 4784).
fn multihop_bfd(speaker: &Speaker) -> Vec<String> {
    let both = speaker.peers.iter().enumerate().filter(|(_, peer)| peer.ttl_security && peer.bfd.is_some());
    let warning = |(at, peer): (usize, &super::bgp::Peer)| {
        format!(
            "announce.bgp.peers[{at}] has both bfd and ttl_security: if {} is FRR (8.4), its BFD is multihop then, and \
             stays down with this node's, which is single hop. Take ttl_security away on both sides (BFD takes packets of \
             the link alone anyway; md5_password protects the session), or bfd",
            peer.address
        )
    };
    both.map(warning).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::announce::bfd::Timers;
    use crate::announce::bgp::Peer;

    fn configuration(peers: Vec<Peer>) -> Configuration {
        let speaker = Speaker { local_as: 65001, router_id: Ipv4Addr::new(10, 0, 0, 11), peers };
        Configuration { by: By::Bgp(speaker), rules: Default::default(), drain: Duration::ZERO }
    }

    #[test]
    fn bfd_beside_ttl_security_is_warned_of_with_the_remedy_and_either_alone_is_not() {
        let plain = Peer::new([10, 0, 0, 1].into(), [10, 0, 0, 11].into(), 65000);
        let bfd = Peer { bfd: Some(Timers::default()), ..plain.clone() };
        let secure = Peer { ttl_security: true, ..plain.clone() };
        let both = Peer { ttl_security: true, address: [10, 0, 0, 2].into(), ..bfd.clone() };
        assert_eq!(configuration(vec![plain, bfd.clone(), secure]).warnings(), Vec::<String>::new());
        let warnings = configuration(vec![bfd, both]).warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0]
                .starts_with("announce.bgp.peers[1] has both bfd and ttl_security: if 10.0.0.2 is FRR")
        );
        assert!(warnings[0].contains("Take ttl_security away"), "{warnings:?}");
    }
}
