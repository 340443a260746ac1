//! Shapes of load balancers and their attributes.

use super::basics::{Marker, PageSize, SecurityGroups, StateReason, VpcId, ZoneName};
use super::declare::{enumerations, lists, structures, texts, timestamps};
use super::patterns::{ATTRIBUTE_KEY, CUSTOMER_OWNED_IPV4_POOL, IPAM_POOL_ID};
use super::tags::TagList;
use super::target_groups::TargetGroupArn;
use super::targets::TargetDescriptions;

texts! {
    AllocationId;
    CanonicalHostedZoneId;
    CustomerOwnedIpv4Pool: at_most(256), like(&CUSTOMER_OWNED_IPV4_POOL);
    DNSName;
    EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic;
    IPv6Address;
    IpAddress;
    IpamPoolId: at_most(1000), like(&IPAM_POOL_ID);
    LoadBalancerArn;
    LoadBalancerAttributeKey: at_most(256), like(&ATTRIBUTE_KEY);
    LoadBalancerAttributeValue: at_most(1024);
    LoadBalancerName;
    OutpostId;
    PrivateIPv4Address;
    SourceNatIpv6Prefix;
    SubnetId;
}

timestamps! {
    CreatedTime;
}

enumerations! {
    EnablePrefixForIpv6SourceNatEnum { On "on", Off "off", }
    EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum { On "on", Off "off", }
    IpAddressType {
        Ipv4 "ipv4",
        Dualstack "dualstack",
        DualstackWithoutPublicIpv4 "dualstack-without-public-ipv4",
    }
    LoadBalancerSchemeEnum { InternetFacing "internet-facing", Internal "internal", }
    LoadBalancerStateEnum {
        Active "active",
        Provisioning "provisioning",
        ActiveImpaired "active_impaired",
        Failed "failed",
    }
    LoadBalancerTypeEnum { Application "application", Network "network", Gateway "gateway", }
}

lists! {
    AvailabilityZones of AvailabilityZone;
    LoadBalancerAddresses of LoadBalancerAddress;
    LoadBalancerArns of LoadBalancerArn;
    LoadBalancerAttributes of LoadBalancerAttribute: at_most(20);
    LoadBalancerNames of LoadBalancerName;
    LoadBalancers of LoadBalancer;
    SourceNatIpv6Prefixes of SourceNatIpv6Prefix;
    SubnetMappings of SubnetMapping;
    Subnets of SubnetId;
}

structures! {
    #[derive(Default)]
    AvailabilityZone {
        zone_name "ZoneName" ZoneName,
        subnet_id "SubnetId" SubnetId,
        outpost_id "OutpostId" OutpostId,
        load_balancer_addresses "LoadBalancerAddresses" LoadBalancerAddresses,
        source_nat_ipv6_prefixes "SourceNatIpv6Prefixes" SourceNatIpv6Prefixes,
    }

    CreateLoadBalancerInput {
        name "Name" LoadBalancerName required,
        subnets "Subnets" Subnets,
        subnet_mappings "SubnetMappings" SubnetMappings,
        security_groups "SecurityGroups" SecurityGroups,
        scheme "Scheme" LoadBalancerSchemeEnum,
        tags "Tags" TagList,
        kind "Type" LoadBalancerTypeEnum,
        ip_address_type "IpAddressType" IpAddressType,
        customer_owned_ipv4_pool "CustomerOwnedIpv4Pool" CustomerOwnedIpv4Pool,
        enable_prefix_for_ipv6_source_nat "EnablePrefixForIpv6SourceNat" EnablePrefixForIpv6SourceNatEnum,
        ipam_pools "IpamPools" IpamPools,
    }

    #[derive(Default)]
    CreateLoadBalancerOutput {
        load_balancers "LoadBalancers" LoadBalancers,
    }

    DeleteLoadBalancerInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
    }

    #[derive(Default)]
    DeleteLoadBalancerOutput {}

    DeregisterTargetsInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
        targets "Targets" TargetDescriptions required,
    }

    #[derive(Default)]
    DeregisterTargetsOutput {}

    DescribeLoadBalancerAttributesInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
    }

    #[derive(Default)]
    DescribeLoadBalancerAttributesOutput {
        attributes "Attributes" LoadBalancerAttributes,
    }

    #[derive(Default)]
    DescribeLoadBalancersInput {
        load_balancer_arns "LoadBalancerArns" LoadBalancerArns,
        names "Names" LoadBalancerNames,
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
    }

    #[derive(Default)]
    DescribeLoadBalancersOutput {
        load_balancers "LoadBalancers" LoadBalancers,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    IpamPools {
        ipv4_ipam_pool_id "Ipv4IpamPoolId" IpamPoolId,
    }

    #[derive(Default)]
    LoadBalancer {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn,
        dns_name "DNSName" DNSName,
        canonical_hosted_zone_id "CanonicalHostedZoneId" CanonicalHostedZoneId,
        created_time "CreatedTime" CreatedTime,
        load_balancer_name "LoadBalancerName" LoadBalancerName,
        scheme "Scheme" LoadBalancerSchemeEnum,
        vpc_id "VpcId" VpcId,
        state "State" LoadBalancerState,
        kind "Type" LoadBalancerTypeEnum,
        availability_zones "AvailabilityZones" AvailabilityZones,
        security_groups "SecurityGroups" SecurityGroups,
        ip_address_type "IpAddressType" IpAddressType,
        customer_owned_ipv4_pool "CustomerOwnedIpv4Pool" CustomerOwnedIpv4Pool,
        enforce_security_group_inbound_rules_on_private_link_traffic "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic" EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic,
        enable_prefix_for_ipv6_source_nat "EnablePrefixForIpv6SourceNat" EnablePrefixForIpv6SourceNatEnum,
        ipam_pools "IpamPools" IpamPools,
    }

    #[derive(Default)]
    LoadBalancerAddress {
        ip_address "IpAddress" IpAddress,
        allocation_id "AllocationId" AllocationId,
        private_ipv4_address "PrivateIPv4Address" PrivateIPv4Address,
        ipv6_address "IPv6Address" IPv6Address,
    }

    #[derive(Default)]
    LoadBalancerAttribute {
        key "Key" LoadBalancerAttributeKey,
        value "Value" LoadBalancerAttributeValue,
    }

    #[derive(Default)]
    LoadBalancerState {
        code "Code" LoadBalancerStateEnum,
        reason "Reason" StateReason,
    }

    ModifyLoadBalancerAttributesInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
        attributes "Attributes" LoadBalancerAttributes required,
    }

    #[derive(Default)]
    ModifyLoadBalancerAttributesOutput {
        attributes "Attributes" LoadBalancerAttributes,
    }

    SetIpAddressTypeInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
        ip_address_type "IpAddressType" IpAddressType required,
    }

    #[derive(Default)]
    SetIpAddressTypeOutput {
        ip_address_type "IpAddressType" IpAddressType,
    }

    SetSecurityGroupsInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
        security_groups "SecurityGroups" SecurityGroups required,
        enforce_security_group_inbound_rules_on_private_link_traffic "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic" EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum,
    }

    #[derive(Default)]
    SetSecurityGroupsOutput {
        security_group_ids "SecurityGroupIds" SecurityGroups,
        enforce_security_group_inbound_rules_on_private_link_traffic "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic" EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum,
    }

    SetSubnetsInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
        subnets "Subnets" Subnets,
        subnet_mappings "SubnetMappings" SubnetMappings,
        ip_address_type "IpAddressType" IpAddressType,
        enable_prefix_for_ipv6_source_nat "EnablePrefixForIpv6SourceNat" EnablePrefixForIpv6SourceNatEnum,
    }

    #[derive(Default)]
    SetSubnetsOutput {
        availability_zones "AvailabilityZones" AvailabilityZones,
        ip_address_type "IpAddressType" IpAddressType,
        enable_prefix_for_ipv6_source_nat "EnablePrefixForIpv6SourceNat" EnablePrefixForIpv6SourceNatEnum,
    }

    #[derive(Default)]
    SubnetMapping {
        subnet_id "SubnetId" SubnetId,
        allocation_id "AllocationId" AllocationId,
        private_ipv4_address "PrivateIPv4Address" PrivateIPv4Address,
        ipv6_address "IPv6Address" IPv6Address,
        source_nat_ipv6_prefix "SourceNatIpv6Prefix" SourceNatIpv6Prefix,
    }
}
