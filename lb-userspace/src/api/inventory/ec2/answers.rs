//! What an endpoint answers: XML to records. Whatever it sends is read or refused; nothing of it is trusted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use roxmltree::{Document, Node, ParsingOptions};

use super::super::Network;
use super::super::read::{RawInstance, RawSubnet, RawVpc};
use super::permissions::{Permission, permissions};

/// The most elements and texts of one answer.
const NODES: u32 = 4_000_000;

/// The most characters of what an endpoint says that are told on.
const TOLD: usize = 300;

/// What an answer holds, and where the next page begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) records: Vec<T>,
    pub(super) next: Option<String>,
}

/// A security group as it is told: whom it lets in may be named by other groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) vpc: String,
    pub(super) permissions: Vec<Permission>,
}

/// An instance with the security groups that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) instance: RawInstance,
    pub(super) groups: BTreeSet<String>,
}

/// Something that can be asked for.
pub(super) trait Described: Sized {
    /// The operation.
    const ACTION: &'static str;
    /// The elements from the answer's root to the records.
    const PATH: &'static [&'static str];

    /// A record; none for one that is of no use.
    ///
    /// # Errors
    /// When something is missing, or is not what it should be.
    fn read(item: Node) -> Result<Option<Self>, String>;
}

impl Described for RawVpc {
    const ACTION: &'static str = "DescribeVpcs";
    const PATH: &'static [&'static str] = &["vpcSet", "item"];

    fn read(item: Node) -> Result<Option<RawVpc>, String> {
        let id = required(item, "vpcId")?;
        let mut networks = Vec::new();
        let mains = children(item, "cidrBlock").into_iter();
        let more = deep(item, &["cidrBlockAssociationSet", "item", "cidrBlock"]).into_iter();
        let ipv6 = deep(item, &["ipv6CidrBlockAssociationSet", "item", "ipv6CidrBlock"]).into_iter();
        for text in mains.chain(more).chain(ipv6).filter_map(text) {
            let network = network(text)?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(Some(RawVpc { id, networks }))
    }
}

impl Described for RawSubnet {
    const ACTION: &'static str = "DescribeSubnets";
    const PATH: &'static [&'static str] = &["subnetSet", "item"];

    fn read(item: Node) -> Result<Option<RawSubnet>, String> {
        let ipv4 = children(item, "cidrBlock").into_iter();
        let ipv6 = deep(item, &["ipv6CidrBlockAssociationSet", "item", "ipv6CidrBlock"]).into_iter();
        let networks = ipv4.chain(ipv6).filter_map(text).map(network).collect::<Result<_, _>>()?;
        Ok(Some(RawSubnet {
            id: required(item, "subnetId")?,
            vpc: required(item, "vpcId")?,
            zone: required(item, "availabilityZone")?,
            nodes: Vec::new(),
            networks,
            ipv4_pool: None,
            ipv6_pool: None,
        }))
    }
}

impl Described for Group {
    const ACTION: &'static str = "DescribeSecurityGroups";
    const PATH: &'static [&'static str] = &["securityGroupInfo", "item"];

    fn read(item: Node) -> Result<Option<Group>, String> {
        let Some(vpc) = child_text(item, "vpcId") else { return Ok(None) };
        let (id, vpc) = (required(item, "groupId")?, vpc.to_owned());
        let permissions = permissions(&deep(item, &["ipPermissions", "item"]));
        Ok(Some(Group { id, vpc, permissions }))
    }
}

impl Described for Member {
    const ACTION: &'static str = "DescribeInstances";
    const PATH: &'static [&'static str] = &["reservationSet", "item", "instancesSet", "item"];

    /// One that is terminated has neither a network nor addresses any more.
    fn read(item: Node) -> Result<Option<Member>, String> {
        let id = required(item, "instanceId")?;
        let Some(vpc) = child_text(item, "vpcId") else { return Ok(None) };
        let addresses = addresses(item)?;
        if addresses.is_empty() {
            return Ok(None);
        }
        let zone = deep(item, &["placement", "availabilityZone"]).into_iter().find_map(text);
        let zone = zone.ok_or_else(|| format!("the instance {} has no availability zone", shown(&id)))?;
        let state = deep(item, &["instanceState", "name"]).into_iter().find_map(text);
        let own = deep(item, &["groupSet", "item", "groupId"]).into_iter();
        // Some endpoints tell them at the interfaces only.
        let interfaces =
            deep(item, &["networkInterfaceSet", "item", "groupSet", "item", "groupId"]).into_iter();
        let groups: BTreeSet<String> = own.chain(interfaces).filter_map(text).map(str::to_owned).collect();
        let (vpc, zone, running) = (vpc.to_owned(), zone.to_owned(), Some(state == Some("running")));
        Ok(Some(Member { instance: RawInstance { id, vpc, zone, addresses, running }, groups }))
    }
}

/// Its first address of each family.
fn addresses(item: Node) -> Result<Vec<IpAddr>, String> {
    let ipv6 = ["networkInterfaceSet", "item", "ipv6AddressesSet", "item", "ipv6Address"];
    let named = [child_text(item, "privateIpAddress"), child_text(item, "ipv6Address")];
    let texts = named.into_iter().flatten().chain(deep(item, &ipv6).into_iter().filter_map(text));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in texts {
        let address: IpAddr = text.parse().map_err(|_| format!("{} is no address", shown(text)))?;
        if !addresses.iter().any(|other| other.is_ipv6() == address.is_ipv6()) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// A page of records.
///
/// # Errors
/// In words.
pub(super) fn page<T: Described>(body: &[u8]) -> Result<Page<T>, String> {
    let document = document(body)?;
    let root = document.root_element();
    let expected = format!("{}Response", T::ACTION);
    if root.tag_name().name() != expected {
        return Err(format!("it answers {} instead of {expected}", shown(root.tag_name().name())));
    }
    let mut records = Vec::new();
    for item in deep(root, T::PATH) {
        records.extend(T::read(item)?);
    }
    let next = child_text(root, "nextToken").filter(|token| !token.is_empty()).map(str::to_owned);
    Ok(Page { records, next })
}

/// A refusal in words: its code and message, if it has them.
pub(super) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let document = document(body).ok()?;
    let error = document.descendants().find(|node| node.has_tag_name_local("Error"))?;
    let part = |name| shown(child_text(error, name).unwrap_or_default());
    Some((part("Code"), part("Message")))
}

/// Reads bytes as every kind of answer.
pub(super) fn play(body: &[u8]) {
    let _ = page::<RawVpc>(body);
    let _ = page::<RawSubnet>(body);
    let _ = page::<Group>(body);
    let _ = page::<Member>(body);
    let _ = refusal(body);
}

fn document(body: &[u8]) -> Result<Document<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it answers what is not UTF-8".to_owned())?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options)
        .map_err(|error| format!("it answers what is no XML: {}", shown(&error.to_string())))
}

/// What an endpoint says, for people: without control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(TOLD).collect()
}

/// The elements at the end of a path.
pub(super) fn deep<'a, 'd>(node: Node<'a, 'd>, path: &[&str]) -> Vec<Node<'a, 'd>> {
    let mut found = vec![node];
    for name in path {
        found = found.into_iter().flat_map(|node| children(node, name)).collect();
    }
    found
}

fn children<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Vec<Node<'a, 'd>> {
    node.children().filter(|child| child.has_tag_name_local(name)).collect()
}

pub(super) fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name_local(name)).and_then(text)
}

fn text<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().map(str::trim)
}

fn required(node: Node, name: &str) -> Result<String, String> {
    let found = child_text(node, name).filter(|text| !text.is_empty());
    found.map(str::to_owned).ok_or_else(|| format!("a record of it has no {name}"))
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|_| format!("{} is no network", shown(text)))
}

/// Names count, whatever namespace they are in: each version has another one.
trait LocalName {
    fn has_tag_name_local(&self, name: &str) -> bool;
}

impl LocalName for Node<'_, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}
