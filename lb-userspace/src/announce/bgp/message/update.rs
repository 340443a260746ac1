//! UPDATE as it is written (RFC 4271 §4.3, RFC 4760): routes to single addresses, all of one family in a message.
//!
//! IPv4 routes with an IPv4 next hop stand in the message's own fields; IPv6 routes, and IPv4 ones with an IPv6 next
//! hop (RFC 8950), in MP_REACH_NLRI, which is the first attribute (RFC 7606 §5.1). The others follow by number.

use std::net::IpAddr;

use super::{UNICAST, afi, message};
use crate::announce::bgp::speaker::AS_TRANS;
use crate::announce::bgp::{Community, Family, LargeCommunity};

/// How many VIPs go into one message, so that it is never longer than 4096 bytes: 200 IPv6 addresses take 3400.
pub const VIPS_MAX: usize = 200;

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED_LENGTH: u8 = 0x10;

const ORIGIN: u8 = 1;
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const MULTI_EXIT_DISC: u8 = 4;
const LOCAL_PREF: u8 = 5;
const COMMUNITIES: u8 = 8;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
const AS4_PATH: u8 = 17;
const LARGE_COMMUNITIES: u8 = 32;

/// ORIGIN: learned from within.
const IGP: u8 = 0;
/// A segment of AS_PATH whose numbers are in order.
const AS_SEQUENCE: u8 = 2;

/// What is said of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Where packets are to be sent.
    pub next_hop: IpAddr,
    /// The AS that the route comes from; none within it.
    pub origin_as: Option<u32>,
    /// Whether AS_PATH has numbers of four bytes.
    pub four_octet_as: bool,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; present within the AS, never between two.
    pub local_preference: Option<u32>,
    /// At most 33.
    pub communities: Vec<Community>,
    /// At most 32.
    pub large_communities: Vec<LargeCommunity>,
}

/// The message that announces `vips`: at most 200, all of `family`.
pub fn announce(family: Family, vips: &[IpAddr], attributes: &Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    let is_classic = family == Family::Ipv4 && attributes.next_hop.is_ipv4();
    if !is_classic {
        attribute(&mut bytes, OPTIONAL, MP_REACH_NLRI, |value| {
            reach(value, family, vips, attributes.next_hop)
        });
    }
    attributes.write(&mut bytes, is_classic);
    let classic = if is_classic { vips } else { &[] };
    update(&[], &bytes, classic)
}

/// The message that withdraws `vips`: at most 200, all of `family`, that were announced with `next_hop`.
pub fn withdraw(family: Family, vips: &[IpAddr], next_hop: IpAddr) -> Vec<u8> {
    if family == Family::Ipv4 && next_hop.is_ipv4() {
        return update(vips, &[], &[]);
    }
    let mut bytes = Vec::new();
    unreach(&mut bytes, family, vips);
    update(&[], &bytes, &[])
}

/// The message that says that all routes of a family were told (RFC 4724 §2, of use without that capability, too).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    let mut bytes = Vec::new();
    if family == Family::Ipv6 {
        unreach(&mut bytes, family, &[]);
    }
    update(&[], &bytes, &[])
}

fn update(withdrawn: &[IpAddr], attributes: &[u8], announced: &[IpAddr]) -> Vec<u8> {
    message(super::UPDATE, |body| {
        let mut prefixes_withdrawn = Vec::new();
        prefixes(&mut prefixes_withdrawn, withdrawn);
        body.extend(length(&prefixes_withdrawn).to_be_bytes());
        body.extend(prefixes_withdrawn);
        body.extend(length(attributes).to_be_bytes());
        body.extend(attributes);
        prefixes(body, announced);
    })
}

fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("a message has 4096 bytes at most")
}

/// Each VIP with the length of its prefix in bits: the whole address.
fn prefixes(bytes: &mut Vec<u8>, vips: &[IpAddr]) {
    for vip in vips {
        match vip {
            IpAddr::V4(vip) => {
                bytes.push(32);
                bytes.extend(vip.octets());
            }
            IpAddr::V6(vip) => {
                bytes.push(128);
                bytes.extend(vip.octets());
            }
        }
    }
}

fn reach(value: &mut Vec<u8>, family: Family, vips: &[IpAddr], next_hop: IpAddr) {
    value.extend(afi(family).to_be_bytes());
    value.push(UNICAST);
    match next_hop {
        IpAddr::V4(hop) => {
            value.push(4);
            value.extend(hop.octets());
        }
        IpAddr::V6(hop) => {
            value.push(16);
            value.extend(hop.octets());
        }
    }
    value.push(0);
    prefixes(value, vips);
}

fn unreach(bytes: &mut Vec<u8>, family: Family, vips: &[IpAddr]) {
    attribute(bytes, OPTIONAL, MP_UNREACH_NLRI, |value| {
        value.extend(afi(family).to_be_bytes());
        value.push(UNICAST);
        prefixes(value, vips);
    });
}

/// An attribute with its header; the length takes two bytes where one is too few.
fn attribute(bytes: &mut Vec<u8>, flags: u8, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut value = Vec::new();
    write(&mut value);
    match u8::try_from(value.len()) {
        Ok(length) => bytes.extend([flags, kind, length]),
        Err(_) => {
            bytes.extend([flags | EXTENDED_LENGTH, kind]);
            bytes.extend(length(&value).to_be_bytes());
        }
    }
    bytes.extend(value);
}

impl Attributes {
    fn write(&self, bytes: &mut Vec<u8>, is_classic: bool) {
        attribute(bytes, TRANSITIVE, ORIGIN, |value| value.push(IGP));
        attribute(bytes, TRANSITIVE, AS_PATH, |value| self.write_as_path(value));
        if let (IpAddr::V4(hop), true) = (self.next_hop, is_classic) {
            attribute(bytes, TRANSITIVE, NEXT_HOP, |value| value.extend(hop.octets()));
        }
        if let Some(med) = self.med {
            attribute(bytes, OPTIONAL, MULTI_EXIT_DISC, |value| value.extend(med.to_be_bytes()));
        }
        if let Some(preference) = self.local_preference {
            attribute(bytes, TRANSITIVE, LOCAL_PREF, |value| value.extend(preference.to_be_bytes()));
        }
        if !self.communities.is_empty() {
            attribute(bytes, OPTIONAL | TRANSITIVE, COMMUNITIES, |value| {
                value.extend(self.communities.iter().flat_map(|community| community.0.to_be_bytes()));
            });
        }
        if let (Some(number), false) = (self.origin_as, self.fits_as_path()) {
            attribute(bytes, OPTIONAL | TRANSITIVE, AS4_PATH, |value| {
                value.extend([AS_SEQUENCE, 1]);
                value.extend(number.to_be_bytes());
            });
        }
        if !self.large_communities.is_empty() {
            attribute(bytes, OPTIONAL | TRANSITIVE, LARGE_COMMUNITIES, |value| {
                let numbers = self.large_communities.iter().flat_map(|community| community.0);
                value.extend(numbers.flat_map(u32::to_be_bytes));
            });
        }
    }

    fn write_as_path(&self, value: &mut Vec<u8>) {
        let Some(number) = self.origin_as else { return };
        value.extend([AS_SEQUENCE, 1]);
        if self.four_octet_as {
            value.extend(number.to_be_bytes());
        } else {
            value.extend(u16::try_from(number).unwrap_or(AS_TRANS).to_be_bytes());
        }
    }

    /// Otherwise AS4_PATH carries the number through routers that know two bytes only (RFC 6793).
    fn fits_as_path(&self) -> bool {
        self.four_octet_as || self.origin_as.is_none_or(|number| u16::try_from(number).is_ok())
    }
}
