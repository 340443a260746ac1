//! Load balancers and their subnets.

use lb_userspace::api::protocol::Code::{
    AllocationIdNotFound, AvailabilityZoneNotSupported, DuplicateLoadBalancerName, DuplicateTagKeys,
    InvalidConfigurationRequest, InvalidScheme, InvalidSecurityGroup, InvalidSubnet, LoadBalancerNotFound,
    OperationNotPermitted, ResourceInUse, SubnetNotFound, TooManyLoadBalancers, TooManyTags, ValidationError,
};

use super::case::{Case, no, ok};

/// A load balancer is made with these settings.
fn create(settings: &str) -> String {
    format!("Action=CreateLoadBalancer&Name=new&Type=network&{settings}")
}

const SUBNET: &str = "Subnets.member.1=subnet-a";

pub(crate) fn cases() -> Vec<Case> {
    [names(), created(), refused_creates(), addresses(), described(), deleted(), changed()].concat()
}

fn names() -> Vec<Case> {
    let named = |name: &str| format!("Action=CreateLoadBalancer&Type=network&{SUBNET}&Name={name}");
    let no = |name: &str, has: &str| no(&named(name), ValidationError, has);
    vec![
        ok(&named("a"), "<LoadBalancerName>a</LoadBalancerName>"),
        ok(&named("A-9-z"), "<LoadBalancerName>A-9-z</LoadBalancerName>"),
        ok(&named(&"n".repeat(32)), &"n".repeat(32)),
        no("", "must have at least one character"),
        no(&"n".repeat(33), "cannot be longer than '32' characters"),
        no(
            "a_b",
            "Load balancer name 'a_b' can only contain characters that are alphanumeric characters or hyphens(-)",
        ),
        no("a+b", "can only contain characters"),
        no("%C3%A9", "can only contain characters"),
        no("-a", "cannot begin or end with a hyphen"),
        no("a-", "cannot begin or end with a hyphen"),
        no("internal-a", "cannot begin with 'internal-'"),
    ]
}

fn created() -> Vec<Case> {
    let sub = |more: &str| create(&format!("{SUBNET}&{more}"));
    vec![
        ok(&sub(""), "<State><Code>provisioning</Code></State>"),
        ok(&sub(""), "<Type>network</Type>"),
        ok(&sub(""), "<Scheme>internet-facing</Scheme>"),
        ok(&sub(""), "<IpAddressType>ipv4</IpAddressType>"),
        ok(&sub(""), "<VpcId>vpc-1</VpcId>"),
        ok(&sub(""), "<CreatedTime>2026-11-18T11:06:40.000Z</CreatedTime>"),
        ok(&sub(""), ".elb.local.internal</DNSName>"),
        ok(&sub(""), "<ZoneName>a</ZoneName><SubnetId>subnet-a</SubnetId>"),
        ok(&sub("Scheme=internal"), "<Scheme>internal</Scheme>"),
        ok(&sub("Scheme=internal"), "<PrivateIPv4Address>10.200.1.3</PrivateIPv4Address>"),
        ok(&sub(""), "<LoadBalancerAddresses><member><IpAddress>10.200.1.3</IpAddress></member>"),
        ok(&sub("IpAddressType=dualstack"), "<IPv6Address>fd00:200:1::2</IPv6Address>"),
        ok(
            &sub("SecurityGroups.member.1=sg-web"),
            "<SecurityGroups><member>sg-web</member></SecurityGroups>",
        ),
        ok(&sub("EnablePrefixForIpv6SourceNat=off"), "<EnablePrefixForIpv6SourceNat>off<"),
        ok(&sub("Tags.member.1.Key=a&Tags.member.1.Value=b"), "<LoadBalancerName>new<"),
        ok(&sub("SecurityGroups="), "<LoadBalancerName>new<"),
        // The same again is the same.
        ok(&sub(""), "<Code>active</Code>").after(&sub("")),
        ok(&sub("Tags.member.1.Key=a"), "<Code>active</Code>").after(&sub("Tags.member.1.Key=a")),
        ok(
            "Action=CreateLoadBalancer&Name=web&Type=network&Subnets.member.1=subnet-b&Subnets.member.2=subnet-a",
            "{lb}",
        ),
        no(&sub("Scheme=internal"), DuplicateLoadBalancerName, "'new' exists, but with different settings")
            .after(&sub("")),
        no(&sub("IpAddressType=dualstack"), DuplicateLoadBalancerName, "different settings").after(&sub("")),
        no(&sub("Subnets.member.2=subnet-b"), DuplicateLoadBalancerName, "different settings")
            .after(&sub("")),
        no(&sub("SecurityGroups.member.1=sg-web"), DuplicateLoadBalancerName, "different settings")
            .after(&sub("")),
        no(&sub("Tags.member.1.Key=a"), DuplicateLoadBalancerName, "different settings").after(&sub("")),
    ]
}

fn refused_creates() -> Vec<Case> {
    let sub = |more: &str| create(&format!("{SUBNET}&{more}"));
    let tags: String = (1..=51).map(|at| format!("&Tags.member.{at}.Key=k{at}")).collect();
    let mut full = no(&sub(""), TooManyLoadBalancers, "The limit of 50 load balancers");
    for number in 0..48 {
        full = full.after(&format!("Action=CreateLoadBalancer&Name=n{number}&Type=network&{SUBNET}"));
    }
    vec![
        full,
        no(
            "Action=CreateLoadBalancer&Name=a&Subnets.member.1=subnet-a",
            InvalidConfigurationRequest,
            "'application' are not supported yet",
        ),
        no(
            "Action=CreateLoadBalancer&Name=a&Type=gateway&Subnets.member.1=subnet-a",
            InvalidConfigurationRequest,
            "'gateway' are not supported yet",
        ),
        no(
            "Action=CreateLoadBalancer&Name=a&Type=classic",
            ValidationError,
            "Member must satisfy enum value set: [application, network, gateway]",
        ),
        no(&sub("Scheme=outside"), ValidationError, "enum value set: [internet-facing, internal]"),
        no(
            &sub("IpAddressType=ipv6"),
            ValidationError,
            "Value 'ipv6' at 'ipAddressType' failed to satisfy constraint: Member must satisfy enum value set: [ipv4, dualstack, dualstack-without-public-ipv4]",
        ),
        no(
            &sub("IpAddressType=dualstack-without-public-ipv4"),
            InvalidConfigurationRequest,
            "is not supported for network load balancers",
        ),
        no(&create(""), ValidationError, "At least one subnet must be specified"),
        no(&create("Subnets="), ValidationError, "At least one subnet must be specified"),
        no(
            &sub("SubnetMappings.member.1.SubnetId=subnet-b"),
            ValidationError,
            "either subnets or subnet mappings, but not both",
        ),
        no(
            &create("SubnetMappings.member.1.AllocationId=eipalloc-1"),
            ValidationError,
            "A subnet ID must be specified",
        ),
        no(&create("Subnets.member.1=subnet-x"), SubnetNotFound, "The subnet ID 'subnet-x' does not exist"),
        no(
            &sub("Subnets.member.2=subnet-a"),
            InvalidConfigurationRequest,
            "multiple subnets in the same Availability Zone: 'a'",
        ),
        no(&sub("Subnets.member.2=subnet-2"), InvalidConfigurationRequest, "in the same VPC"),
        no(
            &create("Subnets.member.1=subnet-empty"),
            AvailabilityZoneNotSupported,
            "'d' of the subnet 'subnet-empty' has no nodes",
        ),
        no(
            &create("Subnets.member.1=subnet-c&IpAddressType=dualstack"),
            InvalidSubnet,
            "The subnet 'subnet-c' has no IPv6 pool",
        ),
        no(&sub("SecurityGroups.member.1=sg-x"), InvalidSecurityGroup, "Security group sg-x does not exist"),
        no(
            &sub("SecurityGroups.member.1=sg-2"),
            InvalidConfigurationRequest,
            "'sg-2' is not in the VPC 'vpc-1'",
        ),
        no(
            &sub("EnablePrefixForIpv6SourceNat=on"),
            InvalidConfigurationRequest,
            "Source NAT prefixes are not supported",
        ),
        no(
            &sub("CustomerOwnedIpv4Pool=ipv4pool-coip-1"),
            InvalidConfigurationRequest,
            "Address pools are not supported",
        ),
        no(
            &sub("CustomerOwnedIpv4Pool=x"),
            ValidationError,
            "regular expression pattern: ^(ipv4pool-coip-)[a-zA-Z0-9]+$",
        ),
        no(
            &sub("IpamPools.Ipv4IpamPoolId=ipam-pool-1"),
            InvalidConfigurationRequest,
            "Address pools are not supported",
        ),
        no(&sub("IpamPools.Ipv4IpamPoolId=x"), ValidationError, "at 'ipamPools.ipv4IpamPoolId' failed"),
        no(
            &sub("Tags="),
            ValidationError,
            "at 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        no(&sub("Tags.member.1.Value=x"), ValidationError, "Value null at 'tags.1.member.key' failed"),
        no(&sub("Tags.member.1.Key=a&Tags.member.2.Key=a"), DuplicateTagKeys, "specified more than once"),
        no(&sub(&tags), TooManyTags, "at most 50 tags"),
    ]
}

fn addresses() -> Vec<Case> {
    let map = |settings: &str| create(&format!("SubnetMappings.member.1.SubnetId=subnet-a&{settings}"));
    let allocation = "SubnetMappings.member.1.AllocationId=eipalloc-1";
    let private = "Scheme=internal&SubnetMappings.member.1.PrivateIPv4Address";
    let ipv6 = "IpAddressType=dualstack&SubnetMappings.member.1.IPv6Address";
    let other =
        "Action=CreateLoadBalancer&Name=other&Type=network&SubnetMappings.member.1.SubnetId=subnet-b&";
    vec![
        ok(&map(allocation), "<IpAddress>198.51.100.10</IpAddress><AllocationId>eipalloc-1</AllocationId>"),
        ok(&map(allocation), "<Code>active</Code>").after(&map(allocation)),
        no(
            &map("SubnetMappings.member.1.AllocationId=eipalloc-2"),
            DuplicateLoadBalancerName,
            "different settings",
        )
        .after(&map(allocation)),
        no(
            &map("SubnetMappings.member.1.AllocationId=eipalloc-9"),
            AllocationIdNotFound,
            "The allocation ID 'eipalloc-9' does not exist",
        ),
        no(
            &map(&format!("{allocation}&Scheme=internal")),
            InvalidScheme,
            "internet-facing load balancers only",
        ),
        no(&map(allocation), ResourceInUse, "'eipalloc-1' is already in use")
            .after(&format!("{other}{allocation}")),
        no(
            &map(&format!(
                "{allocation}&SubnetMappings.member.2.SubnetId=subnet-b&SubnetMappings.member.2.AllocationId=eipalloc-1"
            )),
            ResourceInUse,
            "already in use",
        ),
        no(
            &map(&format!("{allocation}&SubnetMappings.member.1.PrivateIPv4Address=10.200.1.9")),
            InvalidConfigurationRequest,
            "not both",
        ),
        ok(&map(&format!("{private}=10.200.1.9")), "<PrivateIPv4Address>10.200.1.9</PrivateIPv4Address>"),
        no(
            &map("SubnetMappings.member.1.PrivateIPv4Address=10.200.1.9"),
            InvalidScheme,
            "internal load balancers only",
        ),
        no(
            &map(&format!("{private}=10.200.2.9")),
            InvalidConfigurationRequest,
            "is not in the pool of the subnet 'subnet-a': 10.200.1.0/24",
        ),
        no(&map(&format!("{private}=10.200.1.0")), InvalidConfigurationRequest, "is not in the pool"),
        no(&map(&format!("{private}=10.200.1.255")), InvalidConfigurationRequest, "is not in the pool"),
        no(&map(&format!("{private}=10.200.1.1")), ResourceInUse, "'10.200.1.1' is already in use"),
        no(&map(&format!("{private}=10.200.1")), ValidationError, "'10.200.1' is not a valid IPv4 address"),
        no(&map(&format!("{private}=fd00::1")), ValidationError, "'fd00::1' is not a valid IPv4 address"),
        ok(&map(&format!("{ipv6}=fd00:200:1::99")), "<IPv6Address>fd00:200:1::99</IPv6Address>"),
        no(&map(&format!("{ipv6}=fd00:200:1::1")), ResourceInUse, "'fd00:200:1::1' is already in use"),
        no(&map(&format!("{ipv6}=fd00:200:2::9")), InvalidConfigurationRequest, "is not in the pool"),
        no(
            &map("SubnetMappings.member.1.IPv6Address=fd00:200:1::9"),
            InvalidConfigurationRequest,
            "dualstack load balancers only",
        ),
        no(
            &map("SubnetMappings.member.1.SourceNatIpv6Prefix=fd00::/80"),
            InvalidConfigurationRequest,
            "Source NAT prefixes are not supported",
        ),
        // The pool of subnet-c has two addresses.
        ok(&create("Subnets.member.1=subnet-c"), "<IpAddress>10.200.3.1</IpAddress>"),
        no(
            &create("Subnets.member.1=subnet-c"),
            InvalidSubnet,
            "The subnet 'subnet-c' is out of available addresses: its pool is 10.200.3.0/30",
        )
        .after("Action=CreateLoadBalancer&Name=c1&Type=network&Subnets.member.1=subnet-c")
        .after("Action=CreateLoadBalancer&Name=c2&Type=network&Subnets.member.1=subnet-c"),
        // A released address comes back as late as it can.
        ok(&create("Subnets.member.1=subnet-a"), "<IpAddress>10.200.1.3</IpAddress>")
            .after("Action=DeleteLoadBalancer&LoadBalancerArn={lb}"),
    ]
}

fn described() -> Vec<Case> {
    let arns: String = (1..=21).map(|at| format!("&Names.member.{at}=web")).collect();
    let stranger = "arn:aws:elasticloadbalancing:local:000000000000:loadbalancer/net/web/0000000000000000";
    vec![
        ok("Action=DescribeLoadBalancers&LoadBalancerArns.member.1={lb}", "{lb}"),
        ok("Action=DescribeLoadBalancers&Names.member.1=web", "<State><Code>active</Code></State>"),
        ok("Action=DescribeLoadBalancers&PageSize=1", "<NextMarker>inside</NextMarker>"),
        ok(
            "Action=DescribeLoadBalancers&PageSize=1&Marker=inside",
            "<LoadBalancerName>web</LoadBalancerName>",
        ),
        ok("Action=DescribeLoadBalancers&PageSize=2", "</LoadBalancers></DescribeLoadBalancersResult>"),
        ok("Action=DescribeLoadBalancers&Marker=zzz", "<LoadBalancers></LoadBalancers>"),
        ok(
            "Action=DescribeLoadBalancers&Names.member.1=inside",
            "<EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic>on<",
        ),
        no(
            "Action=DescribeLoadBalancers&Names.member.1=nobody",
            LoadBalancerNotFound,
            "One or more load balancers not found",
        ),
        no(
            "Action=DescribeLoadBalancers&Names.member.1=web&Names.member.2=nobody",
            LoadBalancerNotFound,
            "One or more",
        ),
        no(
            &format!("Action=DescribeLoadBalancers&LoadBalancerArns.member.1={stranger}"),
            LoadBalancerNotFound,
            "One or more load balancers not found",
        ),
        no(
            "Action=DescribeLoadBalancers&LoadBalancerArns.member.1=web",
            ValidationError,
            "'web' is not a valid load balancer ARN",
        ),
        no(
            "Action=DescribeLoadBalancers&LoadBalancerArns.member.1={tg}",
            ValidationError,
            "is not a valid load balancer ARN",
        ),
        no(
            "Action=DescribeLoadBalancers&LoadBalancerArns.member.1={lb}&Names.member.1=web",
            ValidationError,
            "cannot be specified at the same time",
        ),
        no(&format!("Action=DescribeLoadBalancers{arns}"), ValidationError, "Up to 20 load balancers"),
        no(
            "Action=DescribeLoadBalancers&PageSize=0",
            ValidationError,
            "at 'pageSize' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        no(
            "Action=DescribeLoadBalancers&PageSize=401",
            ValidationError,
            "Member must have value less than or equal to 400",
        ),
        no("Action=DescribeLoadBalancers&PageSize=ten", ValidationError, "be an integer of 32 bits"),
        ok("Action=DescribeAccountLimits", "<Name>network-load-balancers</Name><Max>50</Max>"),
        ok(
            "Action=DescribeAccountLimits&PageSize=1",
            "<NextMarker>listeners-per-network-load-balancer</NextMarker>",
        ),
        ok(
            "Action=DescribeCapacityReservation&LoadBalancerArn={lb}",
            "<CapacityReservationState></CapacityReservationState>",
        ),
        no(
            &format!("Action=DescribeCapacityReservation&LoadBalancerArn={stranger}"),
            LoadBalancerNotFound,
            "not found",
        ),
    ]
}

fn deleted() -> Vec<Case> {
    let protect = "Action=ModifyLoadBalancerAttributes&LoadBalancerArn={lb}&Attributes.member.1.Key=deletion_protection.enabled&Attributes.member.1.Value=true";
    let delete = "Action=DeleteLoadBalancer&LoadBalancerArn={lb}";
    vec![
        ok(delete, "<DeleteLoadBalancerResult></DeleteLoadBalancerResult>"),
        ok(delete, "<DeleteLoadBalancerResult></DeleteLoadBalancerResult>").after(delete),
        no(delete, OperationNotPermitted, "cannot be deleted because deletion protection is enabled")
            .after(protect),
        no(
            "Action=DeleteLoadBalancer&LoadBalancerArn=web",
            ValidationError,
            "'web' is not a valid load balancer ARN",
        ),
        no(
            "Action=DescribeLoadBalancerAttributes&LoadBalancerArn={lb}",
            LoadBalancerNotFound,
            "Load balancer '{lb}' not found",
        )
        .after(delete),
        // Its listeners go with it, its target groups stay.
        ok("Action=DescribeTargetGroups&Names.member.1=web", "<LoadBalancerArns></LoadBalancerArns>")
            .after(delete),
        ok("Action=DeleteTargetGroup&TargetGroupArn={tg}", "<DeleteTargetGroupResult>").after(delete),
    ]
}

fn changed() -> Vec<Case> {
    let subnets = |list: &str| format!("Action=SetSubnets&LoadBalancerArn={{lb}}&{list}");
    let kind = |lb: &str, kind: &str| {
        format!("Action=SetIpAddressType&LoadBalancerArn={{{lb}}}&IpAddressType={kind}")
    };
    let groups = |lb: &str, list: &str| format!("Action=SetSecurityGroups&LoadBalancerArn={{{lb}}}&{list}");
    let listen6 = "Action=CreateListener&LoadBalancerArn={inside}&Protocol=TCP&Port=80&DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={v6}";
    vec![
        ok(&subnets("Subnets.member.1=subnet-a"), "<IpAddress>10.200.1.1</IpAddress>"),
        ok(
            &subnets("Subnets.member.1=subnet-a&Subnets.member.2=subnet-c"),
            "<IpAddress>10.200.3.1</IpAddress>",
        ),
        ok(
            &subnets("Subnets.member.1=subnet-a&IpAddressType=dualstack"),
            "<IPv6Address>fd00:200:1::2</IPv6Address>",
        ),
        ok(
            &subnets("SubnetMappings.member.1.SubnetId=subnet-a&SubnetMappings.member.2.SubnetId=subnet-b"),
            "<IpAddress>10.200.2.1<",
        ),
        no(
            &subnets(
                "SubnetMappings.member.1.SubnetId=subnet-a&SubnetMappings.member.1.AllocationId=eipalloc-1",
            ),
            InvalidConfigurationRequest,
            "cannot be changed",
        ),
        no(&subnets(""), ValidationError, "At least one subnet must be specified"),
        no(&subnets("Subnets.member.1=subnet-x"), SubnetNotFound, "does not exist"),
        no(
            &subnets("Subnets.member.1=subnet-2"),
            InvalidConfigurationRequest,
            "must be in the load balancer's VPC 'vpc-1'",
        ),
        no(&subnets("Subnets.member.1=subnet-empty"), AvailabilityZoneNotSupported, "has no nodes"),
        no(&subnets("Subnets.member.1=subnet-c&IpAddressType=dualstack"), InvalidSubnet, "has no IPv6 pool"),
        no(
            &subnets(
                "SubnetMappings.member.1.SubnetId=subnet-c&SubnetMappings.member.1.AllocationId=eipalloc-7",
            ),
            AllocationIdNotFound,
            "does not exist",
        ),
        ok(&kind("lb", "dualstack"), "<IpAddressType>dualstack</IpAddressType>"),
        ok(&kind("inside", "ipv4"), "<IpAddressType>ipv4</IpAddressType>"),
        no(&kind("inside", "ipv4"), InvalidConfigurationRequest, "must stay dualstack").after(listen6),
        no(&kind("lb", "ipv6"), ValidationError, "enum value set"),
        no(&kind("lb", "dualstack"), InvalidSubnet, "has no IPv6 pool")
            .after(&subnets("Subnets.member.1=subnet-c")),
        no(
            "Action=SetIpAddressType&LoadBalancerArn=x&IpAddressType=ipv4",
            ValidationError,
            "is not a valid load balancer ARN",
        ),
        ok(
            &groups("inside", "SecurityGroups.member.1=sg-inside&SecurityGroups.member.2=sg-web"),
            "<SecurityGroupIds><member>sg-inside</member><member>sg-web</member>",
        ),
        ok(
            &groups(
                "inside",
                "SecurityGroups.member.1=sg-web&EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic=off",
            ),
            "PrivateLinkTraffic>off<",
        ),
        no(&groups("inside", "SecurityGroups="), InvalidConfigurationRequest, "must keep at least one"),
        no(
            &groups("inside", "SecurityGroups.member.1=sg-x"),
            InvalidSecurityGroup,
            "Security group sg-x does not exist",
        ),
        no(
            &groups("inside", "SecurityGroups.member.1=sg-2"),
            InvalidConfigurationRequest,
            "is not in the VPC",
        ),
        no(
            &groups("lb", "SecurityGroups.member.1=sg-web"),
            InvalidConfigurationRequest,
            "created with security groups",
        ),
        ok(
            "Action=ModifyCapacityReservation&LoadBalancerArn={lb}&ResetCapacityReservation=true",
            "<CapacityReservationState>",
        ),
        no(
            "Action=ModifyCapacityReservation&LoadBalancerArn={lb}&MinimumLoadBalancerCapacity.CapacityUnits=9",
            OperationNotPermitted,
            "Capacity cannot be reserved",
        ),
        no(
            "Action=ModifyCapacityReservation&LoadBalancerArn={lb}",
            InvalidConfigurationRequest,
            "either a minimum capacity or a reset",
        ),
        no(
            "Action=ModifyCapacityReservation&LoadBalancerArn={lb}&ResetCapacityReservation=maybe",
            ValidationError,
            "be true or false",
        ),
    ]
}
