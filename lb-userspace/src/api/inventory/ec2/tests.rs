//! Answers as endpoints give them, and the inventories that they make.

use super::super::read::{RawSubnet, RawVpc};
use super::super::{AllowedProtocol, Inventory, RawInventory};
use super::answers::{Group, Member, page, play};
use super::discovery::Discovered;
use super::joined::{Used, joined, keep_used, refuse_none};
use super::permissions::resolved;
use super::*;

pub(super) const SIGNED_BY_BOTOCORE: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/local/ec2/aws4_request, \
    SignedHeaders=content-type;host;x-amz-date, \
    Signature=9bd649d69b310e95f3e707a8d4404454e27b433e45c72aa8260710c73272b7e0";

const SUBNETS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeSubnetsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>x</requestId><subnetSet><item>
  <subnetId>subnet-1</subnetId><state>available</state><vpcId>vpc-1</vpcId><cidrBlock>10.0.1.0/24</cidrBlock>
  <ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>fd00:1::/64</ipv6CidrBlock></item></ipv6CidrBlockAssociationSet>
  <availabilityZone>local-a</availabilityZone></item></subnetSet><nextToken>more</nextToken></DescribeSubnetsResponse>"#;

const VPCS: &str = r#"<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><vpcSet><item>
  <vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/16</cidrBlock><cidrBlockAssociationSet>
  <item><cidrBlock>10.0.0.0/16</cidrBlock></item><item><cidrBlock>10.9.0.0/16</cidrBlock></item>
  </cidrBlockAssociationSet></item></vpcSet></DescribeVpcsResponse>"#;

const GROUPS: &str = r#"<DescribeSecurityGroupsResponse><securityGroupInfo>
  <item><groupId>sg-1</groupId><groupName>web</groupName><vpcId>vpc-1</vpcId><ipPermissions>
    <item><ipProtocol>tcp</ipProtocol><fromPort>443</fromPort><toPort>443</toPort>
      <ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges>
      <ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges></item>
    <item><ipProtocol>-1</ipProtocol><groups><item><groupId>sg-1</groupId></item></groups></item>
    <item><ipProtocol>udp</ipProtocol><fromPort>0</fromPort><toPort>65535</toPort>
      <ipRanges><item><cidrIp>10.0.0.1/8</cidrIp></item></ipRanges>
      <prefixListIds><item><prefixListId>pl-1</prefixListId></item></prefixListIds></item>
    <item><ipProtocol>icmp</ipProtocol><fromPort>8</fromPort><toPort>-1</toPort>
      <ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item>
  </ipPermissions></item>
  <item><groupId>sg-classic</groupId></item>
</securityGroupInfo></DescribeSecurityGroupsResponse>"#;

const INSTANCES: &str = r#"<DescribeInstancesResponse><reservationSet><item><instancesSet>
  <item><instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>
    <placement><availabilityZone>local-a</availabilityZone></placement><vpcId>vpc-1</vpcId>
    <privateIpAddress>10.0.1.4</privateIpAddress><groupSet><item><groupId>sg-1</groupId></item></groupSet>
    <networkInterfaceSet><item><ipv6AddressesSet><item><ipv6Address>fd00:1::4</ipv6Address></item>
    <item><ipv6Address>fd00:1::5</ipv6Address></item></ipv6AddressesSet></item></networkInterfaceSet></item>
  <item><instanceId>i-2</instanceId><instanceState><name>stopped</name></instanceState>
    <placement><availabilityZone>local-a</availabilityZone></placement><vpcId>vpc-1</vpcId>
    <privateIpAddress>10.0.1.5</privateIpAddress></item>
  <item><instanceId>i-gone</instanceId><instanceState><name>terminated</name></instanceState></item>
</instancesSet></item></reservationSet></DescribeInstancesResponse>"#;

pub(super) fn configuration() -> Configuration {
    let written = serde_json::json!({ "ec2": {
        "endpoint": "https://ec2.example.net", "region": "local", "credentials": "/etc/sluice/ec2.json",
        "subnets": [
            { "id": "subnet-1", "nodes": ["lb1"], "ipv4_pool": "10.0.1.128/25" },
            { "id": "subnet-2", "nodes": [] } ],
        "allocations": [ { "id": "eipalloc-1", "address": "198.51.100.1" } ]
    } });
    let raw: RawInventory = serde_json::from_value(written).unwrap();
    match raw.source().unwrap() {
        super::super::Source::Ec2(configuration) => *configuration,
        other => panic!("{other:?}"),
    }
}

fn discovered() -> Discovered {
    let mut remarks = Vec::new();
    let members = page::<Member>(INSTANCES.as_bytes()).unwrap().records;
    let groups = page::<Group>(GROUPS.as_bytes()).unwrap().records;
    let security_groups = resolved(groups, &members, &mut remarks);
    let network = RawInventory {
        vpcs: page::<RawVpc>(VPCS.as_bytes()).unwrap().records,
        subnets: page::<RawSubnet>(SUBNETS.as_bytes()).unwrap().records,
        security_groups,
        instances: members.into_iter().map(|member| member.instance).collect(),
        ..RawInventory::default()
    };
    Discovered { network, remarks }
}

fn inventory() -> Inventory {
    joined(&discovered().network, &configuration()).unwrap()
}

#[test]
fn answers_and_the_file_make_an_inventory() {
    let inventory = inventory();
    let networks: Vec<String> =
        inventory.vpcs["vpc-1"].networks.iter().map(std::string::ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/16", "10.9.0.0/16"]);
    let subnet = &inventory.subnets["subnet-1"];
    assert_eq!((subnet.zone.as_str(), &subnet.nodes), ("local-a", &vec!["lb1".to_owned()]));
    assert_eq!(subnet.ipv4_pool.unwrap().to_string(), "10.0.1.128/25");
    assert_eq!(subnet.networks.len(), 2);
    let instances: Vec<_> =
        inventory.instances.iter().map(|(id, one)| (id.as_str(), one.is_running)).collect();
    assert_eq!(instances, [("i-1", true), ("i-2", false)]);
    let addresses: Vec<String> =
        inventory.instances["i-1"].addresses.iter().map(std::string::ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.1.4", "fd00:1::4"]);
    assert!(inventory.allocations.contains_key("eipalloc-1"));
    assert_eq!(page::<RawSubnet>(SUBNETS.as_bytes()).unwrap().next.as_deref(), Some("more"));
}

#[test]
fn security_groups_name_networks_and_groups() {
    let allow = &inventory().security_groups["sg-1"].allow;
    let told: Vec<_> =
        allow.iter().map(|rule| (rule.protocol, rule.ports, rule.source.to_string())).collect();
    let all = (1, u16::MAX);
    assert_eq!(
        told,
        [
            (AllowedProtocol::Tcp, (443, 443), "0.0.0.0/0".to_owned()),
            (AllowedProtocol::Tcp, (443, 443), "::/0".to_owned()),
            (AllowedProtocol::All, all, "10.0.1.4/32".to_owned()),
            (AllowedProtocol::All, all, "fd00:1::4/128".to_owned()),
        ]
    );
    let remarks = discovered().remarks;
    assert!(remarks[0].contains("10.0.0.1/8, which is no network"), "{remarks:?}");
    assert!(remarks[1].contains("the prefix list pl-1"), "{remarks:?}");
}

#[test]
fn what_load_balancers_use_is_kept_when_it_vanishes() {
    let before = discovered().network;
    let mut found = discovered();
    found.network.subnets.clear();
    found.network.security_groups.clear();
    found.network.vpcs.clear();
    found.remarks.clear();
    let used = Used::sample("subnet-1", "sg-1", "i-1", "web");
    keep_used(&mut found, Some(&before), &used, &configuration());
    assert_eq!(found.network.subnets, before.subnets);
    assert_eq!(found.network.security_groups, before.security_groups);
    assert_eq!(found.network.vpcs, before.vpcs);
    assert!(found.remarks[0].ends_with("it has VIPs of web"), "{:?}", found.remarks);
    assert!(found.remarks[1].starts_with("the subnet subnet-2 of inventory.ec2.subnets is not"));
    assert!(found.remarks[2].contains("sg-1 is not at the endpoint any more"), "{:?}", found.remarks);
    let mut found = discovered();
    found.network.subnets.clear();
    keep_used(&mut found, Some(&before), &Used::default(), &configuration());
    assert!(found.network.subnets.is_empty(), "nobody uses it");
}

#[test]
fn an_answer_without_any_instance_is_refused_where_instances_are_targets() {
    let used = Used::sample("subnet-1", "sg-1", "i-1", "web");
    let mut found = discovered();
    refuse_none(&found, &used).unwrap();
    found.network.instances.retain(|instance| instance.id == "i-2");
    refuse_none(&found, &used).expect("instances may go");
    found.network.instances.clear();
    refuse_none(&found, &Used::default()).expect("nobody uses one");
    let problem = refuse_none(&found, &used).unwrap_err().to_string();
    assert!(problem.contains("i-1 of the target group web") && problem.contains("deregister"), "{problem}");
}

#[test]
fn what_is_no_answer_is_refused_in_words() {
    for (body, why) in [
        ("", "no XML"),
        ("<a>", "no XML"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "no XML"),
        ("<html/>", "it answers html instead of DescribeSubnetsResponse"),
        ("<DescribeSubnetsResponse><subnetSet><item/></subnetSet></DescribeSubnetsResponse>", "no subnetId"),
    ] {
        let problem = page::<RawSubnet>(body.as_bytes()).unwrap_err();
        assert!(problem.contains(why), "{body}: {problem}");
    }
    assert!(page::<RawSubnet>(b"<\xff>").unwrap_err().contains("UTF-8"));
    let no_zone = INSTANCES.replace("availabilityZone>", "zone>");
    assert!(page::<Member>(no_zone.as_bytes()).unwrap_err().contains("i-1 has no availability zone"));
}

#[test]
fn an_answer_may_be_cut_anywhere() {
    for answer in [SUBNETS, VPCS, GROUPS, INSTANCES] {
        for end in 0..answer.len() {
            play(&answer.as_bytes()[..end]);
        }
    }
}

#[test]
fn an_empty_list_is_an_answer() {
    let none = "<DescribeVpcsResponse><requestId>x</requestId></DescribeVpcsResponse>";
    assert!(page::<RawVpc>(none.as_bytes()).unwrap().records.is_empty());
}
