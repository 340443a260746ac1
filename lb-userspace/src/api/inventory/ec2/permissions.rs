//! The rules of security groups as EC2 tells them, and what they are here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use roxmltree::Node;

use super::super::read::{RawAllowRule, RawSecurityGroup};
use super::super::{AllowedProtocol, Network};
use super::answers::{Group, Member, child_text, deep, shown};

/// One rule: what it lets in, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permission {
    protocol: AllowedProtocol,
    /// First and last, from 1; all if none.
    ports: Option<(u16, u16)>,
    /// Addresses as they are written.
    ranges: Vec<String>,
    /// Instances of these security groups.
    groups: Vec<String>,
    /// Lists that only the endpoint knows.
    prefix_lists: Vec<String>,
}

/// The rules that are for TCP and UDP; others speak of what is no listener's.
pub(super) fn permissions(items: &[Node]) -> Vec<Permission> {
    items.iter().filter_map(|item| permission(*item)).collect()
}

fn permission(item: Node) -> Option<Permission> {
    let protocol = match child_text(item, "ipProtocol")? {
        "tcp" | "6" => AllowedProtocol::Tcp,
        "udp" | "17" => AllowedProtocol::Udp,
        "-1" => AllowedProtocol::All,
        _ => return None,
    };
    let ports = if protocol == AllowedProtocol::All { None } else { ports(item)? };
    let texts = |path: &[&str]| -> Vec<String> {
        deep(item, path).iter().filter_map(Node::text).map(|text| text.trim().to_owned()).collect()
    };
    let ranges =
        [texts(&["ipRanges", "item", "cidrIp"]), texts(&["ipv6Ranges", "item", "cidrIpv6"])].concat();
    let groups = texts(&["groups", "item", "groupId"]);
    let prefix_lists = texts(&["prefixListIds", "item", "prefixListId"]);
    Some(Permission { protocol, ports, ranges, groups, prefix_lists })
}

/// The outer option is none for what is no range of ports; the inner one for all of them.
fn ports(item: Node) -> Option<Option<(u16, u16)>> {
    let (Some(from), Some(to)) = (child_text(item, "fromPort"), child_text(item, "toPort")) else {
        return Some(None);
    };
    let (from, to): (i32, i32) = (from.parse().ok()?, to.parse().ok()?);
    if from == -1 {
        return Some(None);
    }
    let (from, to) = (u16::try_from(from.max(1)).ok()?, u16::try_from(to).ok()?);
    (from <= to).then_some(Some((from, to)))
}

/// The groups' rules with addresses for sources. What can't be said so is told in `remarks`; it lets nobody in.
pub(super) fn resolved(
    groups: Vec<Group>,
    members: &[Member],
    remarks: &mut Vec<String>,
) -> Vec<RawSecurityGroup> {
    let mut addresses: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for member in members {
        for group in &member.groups {
            addresses.entry(group).or_default().extend(&member.instance.addresses);
        }
    }
    let mut resolve = |group: Group| {
        let Group { id, vpc, permissions } = group;
        let allow = permissions.iter().flat_map(|one| one.rules(&id, &addresses, remarks)).collect();
        RawSecurityGroup { id, vpc, allow }
    };
    groups.into_iter().map(&mut resolve).collect()
}

impl Permission {
    fn rules(
        &self,
        group: &str,
        addresses: &BTreeMap<&str, Vec<IpAddr>>,
        remarks: &mut Vec<String>,
    ) -> Vec<RawAllowRule> {
        let mut sources: Vec<Network> = Vec::new();
        for range in &self.ranges {
            match range.parse() {
                Ok(network) => sources.push(network),
                Err(_) => remarks.push(format!(
                    "the security group {} names {}, which is no network: that lets nobody in",
                    shown(group),
                    shown(range)
                )),
            }
        }
        for list in &self.prefix_lists {
            remarks.push(format!(
                "the security group {} names the prefix list {}, whose content is not asked for: that lets nobody in",
                shown(group),
                shown(list)
            ));
        }
        let members = self.groups.iter().filter_map(|id| addresses.get(id.as_str())).flatten();
        sources.extend(members.map(|address| Network::of(*address)));
        let ports = self.ports.map(|(first, last)| format!("{first}-{last}"));
        let rule = |source| RawAllowRule { protocol: Some(self.protocol), ports: ports.clone(), source };
        sources.into_iter().map(rule).collect()
    }
}
