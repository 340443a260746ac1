//! Shapes of target groups and their attributes.

use super::basics::{Marker, PageSize, Port, ProtocolEnum, VpcId};
use super::declare::{enumerations, lists, scalars, structures, texts};
use super::load_balancers::{LoadBalancerArn, LoadBalancerArns};
use super::patterns::ATTRIBUTE_KEY;
use super::tags::TagList;

texts! {
    GrpcCode;
    HealthCheckPort;
    HttpCode;
    Path: at_least(1), at_most(1024);
    ProtocolVersion;
    TargetGroupArn;
    TargetGroupAttributeKey: at_most(256), like(&ATTRIBUTE_KEY);
    TargetGroupAttributeValue;
    TargetGroupName;
}

scalars! {
    HealthCheckEnabled(bool) Boolean;
    HealthCheckIntervalSeconds(i32) Integer: at_least(5), at_most(300);
    HealthCheckThresholdCount(i32) Integer: at_least(2), at_most(10);
    HealthCheckTimeoutSeconds(i32) Integer: at_least(2), at_most(120);
    TargetControlPort(i32) Integer: at_least(1), at_most(65535);
}

enumerations! {
    TargetGroupIpAddressTypeEnum { Ipv4 "ipv4", Ipv6 "ipv6", }
    TargetTypeEnum { Instance "instance", Ip "ip", Lambda "lambda", Alb "alb", }
}

lists! {
    TargetGroupArns of TargetGroupArn;
    TargetGroupAttributes of TargetGroupAttribute;
    TargetGroupNames of TargetGroupName;
    TargetGroups of TargetGroup;
}

structures! {
    CreateTargetGroupInput {
        name "Name" TargetGroupName required,
        protocol "Protocol" ProtocolEnum,
        protocol_version "ProtocolVersion" ProtocolVersion,
        port "Port" Port,
        vpc_id "VpcId" VpcId,
        health_check_protocol "HealthCheckProtocol" ProtocolEnum,
        health_check_port "HealthCheckPort" HealthCheckPort,
        health_check_enabled "HealthCheckEnabled" HealthCheckEnabled,
        health_check_path "HealthCheckPath" Path,
        health_check_interval_seconds "HealthCheckIntervalSeconds" HealthCheckIntervalSeconds,
        health_check_timeout_seconds "HealthCheckTimeoutSeconds" HealthCheckTimeoutSeconds,
        healthy_threshold_count "HealthyThresholdCount" HealthCheckThresholdCount,
        unhealthy_threshold_count "UnhealthyThresholdCount" HealthCheckThresholdCount,
        matcher "Matcher" Matcher,
        target_type "TargetType" TargetTypeEnum,
        tags "Tags" TagList,
        ip_address_type "IpAddressType" TargetGroupIpAddressTypeEnum,
        target_control_port "TargetControlPort" TargetControlPort,
    }

    #[derive(Default)]
    CreateTargetGroupOutput {
        target_groups "TargetGroups" TargetGroups,
    }

    DeleteTargetGroupInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
    }

    #[derive(Default)]
    DeleteTargetGroupOutput {}

    DescribeTargetGroupAttributesInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
    }

    #[derive(Default)]
    DescribeTargetGroupAttributesOutput {
        attributes "Attributes" TargetGroupAttributes,
    }

    #[derive(Default)]
    DescribeTargetGroupsInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn,
        target_group_arns "TargetGroupArns" TargetGroupArns,
        names "Names" TargetGroupNames,
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
    }

    #[derive(Default)]
    DescribeTargetGroupsOutput {
        target_groups "TargetGroups" TargetGroups,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    Matcher {
        http_code "HttpCode" HttpCode,
        grpc_code "GrpcCode" GrpcCode,
    }

    ModifyTargetGroupAttributesInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
        attributes "Attributes" TargetGroupAttributes required,
    }

    #[derive(Default)]
    ModifyTargetGroupAttributesOutput {
        attributes "Attributes" TargetGroupAttributes,
    }

    ModifyTargetGroupInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
        health_check_protocol "HealthCheckProtocol" ProtocolEnum,
        health_check_port "HealthCheckPort" HealthCheckPort,
        health_check_path "HealthCheckPath" Path,
        health_check_enabled "HealthCheckEnabled" HealthCheckEnabled,
        health_check_interval_seconds "HealthCheckIntervalSeconds" HealthCheckIntervalSeconds,
        health_check_timeout_seconds "HealthCheckTimeoutSeconds" HealthCheckTimeoutSeconds,
        healthy_threshold_count "HealthyThresholdCount" HealthCheckThresholdCount,
        unhealthy_threshold_count "UnhealthyThresholdCount" HealthCheckThresholdCount,
        matcher "Matcher" Matcher,
    }

    #[derive(Default)]
    ModifyTargetGroupOutput {
        target_groups "TargetGroups" TargetGroups,
    }

    #[derive(Default)]
    TargetGroup {
        target_group_arn "TargetGroupArn" TargetGroupArn,
        target_group_name "TargetGroupName" TargetGroupName,
        protocol "Protocol" ProtocolEnum,
        port "Port" Port,
        vpc_id "VpcId" VpcId,
        health_check_protocol "HealthCheckProtocol" ProtocolEnum,
        health_check_port "HealthCheckPort" HealthCheckPort,
        health_check_enabled "HealthCheckEnabled" HealthCheckEnabled,
        health_check_interval_seconds "HealthCheckIntervalSeconds" HealthCheckIntervalSeconds,
        health_check_timeout_seconds "HealthCheckTimeoutSeconds" HealthCheckTimeoutSeconds,
        healthy_threshold_count "HealthyThresholdCount" HealthCheckThresholdCount,
        unhealthy_threshold_count "UnhealthyThresholdCount" HealthCheckThresholdCount,
        health_check_path "HealthCheckPath" Path,
        matcher "Matcher" Matcher,
        load_balancer_arns "LoadBalancerArns" LoadBalancerArns,
        target_type "TargetType" TargetTypeEnum,
        protocol_version "ProtocolVersion" ProtocolVersion,
        ip_address_type "IpAddressType" TargetGroupIpAddressTypeEnum,
        target_control_port "TargetControlPort" TargetControlPort,
    }

    #[derive(Default)]
    TargetGroupAttribute {
        key "Key" TargetGroupAttributeKey,
        value "Value" TargetGroupAttributeValue,
    }
}
