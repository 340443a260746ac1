//! What a router has been told, and the messages that make it what is wanted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::message::update::VIPS_MAX;
use super::message::{self, Attributes, Capabilities};
use super::{Community, Families, Family, Peer, Speaker};
use crate::announce::{Announcement, Wanted};

/// How VIPs are announced to one router: decided when its capabilities are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// For IPv4 and IPv6: the next hop, or why VIPs of that family are withheld.
    next_hops: [Result<IpAddr, &'static str>; 2],
    origin_as: Option<u32>,
    four_octet_as: bool,
    med: Option<u32>,
    local_preference: Option<u32>,
    communities: Vec<Community>,
    large_communities: Vec<super::LargeCommunity>,
    graceful_shutdown: bool,
}

impl Export {
    /// What the speaker's configuration and the router's capabilities make possible.
    pub fn new(speaker: &Speaker, peer: &Peer, router: Capabilities) -> Export {
        let is_internal = speaker.local_as == peer.remote_as;
        Export {
            next_hops: Family::ALL.map(|family| next_hop(peer, router, family)),
            origin_as: (!is_internal).then_some(speaker.local_as),
            four_octet_as: router.four_octet_as,
            med: peer.med,
            local_preference: is_internal.then_some(peer.local_preference),
            communities: peer.communities.clone(),
            large_communities: peer.large_communities.clone(),
            graceful_shutdown: peer.graceful_shutdown,
        }
    }

    /// The families that are announced.
    pub fn families(&self) -> Families {
        let [ipv4, ipv6] = Family::ALL.map(|family| self.next_hop(family).is_ok());
        Families { ipv4, ipv6 }
    }

    /// How many of the wanted VIPs can't be announced, and why.
    pub fn withheld(&self, wanted: &Wanted) -> Option<(usize, String)> {
        let reasons: Vec<_> = Family::ALL
            .into_iter()
            .filter_map(|family| {
                let count = wanted.keys().filter(|vip| Family::of(**vip) == family).count();
                self.next_hop(family).err().filter(|_| count > 0).map(|reason| (count, reason))
            })
            .collect();
        let words: Vec<_> = reasons.iter().map(|(_, reason)| *reason).collect();
        (!reasons.is_empty()).then(|| (reasons.iter().map(|(count, _)| count).sum(), words.join("; ")))
    }

    fn next_hop(&self, family: Family) -> Result<IpAddr, &'static str> {
        match family {
            Family::Ipv4 => self.next_hops[0],
            Family::Ipv6 => self.next_hops[1],
        }
    }

    fn attributes(&self, next_hop: IpAddr, announcement: Announcement) -> Attributes {
        let is_shutdown = announcement == Announcement::Draining && self.graceful_shutdown;
        let mut communities = self.communities.clone();
        if is_shutdown && !communities.contains(&Community::GRACEFUL_SHUTDOWN) {
            communities.push(Community::GRACEFUL_SHUTDOWN);
        }
        Attributes {
            next_hop,
            origin_as: self.origin_as,
            four_octet_as: self.four_octet_as,
            med: self.med,
            // Within an AS routers need no policy of their own to leave it (RFC 8326 §4).
            local_preference: self.local_preference.map(|usual| if is_shutdown { 0 } else { usual }),
            communities,
            large_communities: self.large_communities.clone(),
        }
    }
}

fn next_hop(peer: &Peer, router: Capabilities, family: Family) -> Result<IpAddr, &'static str> {
    if !peer.families.has(family) {
        return Err(match family {
            Family::Ipv4 => "IPv4 is not among the families that this router is told",
            Family::Ipv6 => "IPv6 is not among the families that this router is told",
        });
    }
    if !router.families.has(family) {
        return Err(match family {
            Family::Ipv4 => {
                "the router does not take IPv4 routes in this session: activate the neighbour there"
            }
            Family::Ipv6 => {
                "the router does not take IPv6 routes in this session: activate the neighbour there"
            }
        });
    }
    let hop = peer.next_hop(family).ok_or("there is no next hop for IPv6 VIPs")?;
    if family == Family::Ipv4 && hop.is_ipv6() && !router.extended_next_hop {
        return Err("the router does not take IPv6 next hops of IPv4 routes (RFC 8950): allow them there");
    }
    Ok(hop)
}

/// What a router has been told in this session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<IpAddr, Announcement>);

impl Told {
    /// The messages that make it what is wanted; afterwards it is. Withdrawals come first.
    pub fn become_wanted(&mut self, wanted: &Wanted, export: &Export) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for family in export.families().iter() {
            messages.extend(self.withdrawals(family, wanted, export));
            for announcement in [Announcement::Announced, Announcement::Draining] {
                messages.extend(self.announcements(family, announcement, wanted, export));
            }
        }
        messages
    }

    /// Forgets what was told of a family, as the router is about to; so all of it is told again.
    pub fn forget(&mut self, family: Family) {
        self.0.retain(|vip, _| Family::of(*vip) != family);
    }

    /// Forgets what `next` announces otherwise than `last`, by which it was told; so it is told again, which replaces
    /// it at the router. Of a family that can't be announced any more it is withdrawn, by these messages.
    pub fn change_export(&mut self, last: &Export, next: &Export) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for family in last.families().iter().filter(|family| !next.families().has(*family)) {
            messages.extend(self.withdrawals(family, &Wanted::new(), last));
        }
        let carried = |export: &Export, family, how| {
            export.next_hop(family).map(|next_hop| export.attributes(next_hop, how)).ok()
        };
        for (family, how) in Family::ALL
            .into_iter()
            .flat_map(|family| [(family, Announcement::Announced), (family, Announcement::Draining)])
            .filter(|(family, how)| carried(last, *family, *how) != carried(next, *family, *how))
        {
            self.0.retain(|vip, told| Family::of(*vip) != family || *told != how);
        }
        messages
    }

    /// How many VIPs it was told to be so.
    pub fn count(&self, announcement: Announcement) -> usize {
        self.0.values().filter(|told| **told == announcement).count()
    }

    fn withdrawals(&mut self, family: Family, wanted: &Wanted, export: &Export) -> Vec<Vec<u8>> {
        let Ok(next_hop) = export.next_hop(family) else { return Vec::new() };
        let told = self.0.keys().filter(|vip| Family::of(**vip) == family);
        let gone: Vec<IpAddr> = told.filter(|vip| !wanted.contains_key(vip)).copied().collect();
        for vip in &gone {
            self.0.remove(vip);
        }
        gone.chunks(VIPS_MAX).map(|vips| message::withdraw(family, vips, next_hop)).collect()
    }

    fn announcements(
        &mut self,
        family: Family,
        announcement: Announcement,
        wanted: &Wanted,
        export: &Export,
    ) -> Vec<Vec<u8>> {
        let Ok(next_hop) = export.next_hop(family) else { return Vec::new() };
        let wanted = wanted.iter().filter(|(vip, how)| Family::of(**vip) == family && **how == announcement);
        let new = wanted.map(|(vip, _)| *vip).filter(|vip| self.0.get(vip) != Some(&announcement));
        let new: Vec<IpAddr> = new.collect();
        self.0.extend(new.iter().map(|vip| (*vip, announcement)));
        let attributes = export.attributes(next_hop, announcement);
        new.chunks(VIPS_MAX).map(|vips| message::announce(family, vips, &attributes)).collect()
    }
}
