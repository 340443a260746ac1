//! Target groups and their health checks.

use lb_userspace::api::protocol::Code::{
    DuplicateTargetGroupName, InvalidConfigurationRequest, LoadBalancerNotFound, ResourceInUse,
    TargetGroupNotFound, ValidationError,
};

use super::case::{Case, no, ok};

fn create(settings: &str) -> String {
    format!("Action=CreateTargetGroup&Name=new&Protocol=TCP&Port=80&VpcId=vpc-1&{settings}")
}

pub(crate) fn cases() -> Vec<Case> {
    [created(), refused_creates(), checks(), described(), modified()].concat()
}

fn created() -> Vec<Case> {
    let plain =
        |protocol: &str| format!("Action=CreateTargetGroup&Name=new&Protocol={protocol}&Port=80&VpcId=vpc-1");
    vec![
        ok(
            &plain("TCP"),
            "<TargetGroupName>new</TargetGroupName><Protocol>TCP</Protocol><Port>80</Port><VpcId>vpc-1</VpcId>",
        ),
        ok(
            &plain("TCP"),
            "<HealthCheckProtocol>TCP</HealthCheckProtocol><HealthCheckPort>traffic-port</HealthCheckPort><HealthCheckEnabled>true</HealthCheckEnabled>",
        ),
        ok(
            &plain("TCP"),
            "<HealthCheckIntervalSeconds>30</HealthCheckIntervalSeconds><HealthCheckTimeoutSeconds>10</HealthCheckTimeoutSeconds>",
        ),
        ok(
            &plain("TCP"),
            "<HealthyThresholdCount>5</HealthyThresholdCount><UnhealthyThresholdCount>2</UnhealthyThresholdCount>",
        ),
        ok(
            &plain("TCP"),
            "<LoadBalancerArns></LoadBalancerArns><TargetType>instance</TargetType><IpAddressType>ipv4</IpAddressType>",
        ),
        ok(&plain("UDP"), "<Protocol>UDP</Protocol>"),
        ok(&plain("TCP_UDP"), "<Protocol>TCP_UDP</Protocol>"),
        ok(&plain("QUIC"), "<Protocol>QUIC</Protocol>"),
        ok(
            &create("TargetType=ip&IpAddressType=ipv6"),
            "<TargetType>ip</TargetType><IpAddressType>ipv6</IpAddressType>",
        ),
        ok(&create("HealthCheckProtocol=HTTP"), "<HealthCheckTimeoutSeconds>6</HealthCheckTimeoutSeconds>"),
        ok(
            &create("HealthCheckProtocol=HTTP"),
            "<HealthCheckPath>/</HealthCheckPath><Matcher><HttpCode>200-399</HttpCode></Matcher>",
        ),
        ok(
            &create("HealthCheckProtocol=HTTP&HealthCheckPath=/up?x=%26&Matcher.HttpCode=200,202-299"),
            "<HealthCheckPath>/up?x=&amp;</HealthCheckPath><Matcher><HttpCode>200,202-299<",
        ),
        ok(&create("HealthCheckPort=8080"), "<HealthCheckPort>8080</HealthCheckPort>"),
        ok(&create("HealthCheckEnabled=true"), "<HealthCheckEnabled>true</HealthCheckEnabled>"),
        ok(&create(""), "<TargetGroupName>new<").after(&create("")),
        no(
            &create("HealthCheckPort=81"),
            DuplicateTargetGroupName,
            "'new' exists, but with different settings",
        )
        .after(&create("")),
        no(&create("TargetType=ip"), DuplicateTargetGroupName, "different settings").after(&create("")),
        no(&create("Tags.member.1.Key=x"), DuplicateTargetGroupName, "different settings").after(&create("")),
    ]
}

fn refused_creates() -> Vec<Case> {
    let named = |name: &str| format!("Action=CreateTargetGroup&Name={name}&Protocol=TCP&Port=80&VpcId=vpc-1");
    let protocol =
        |protocol: &str| format!("Action=CreateTargetGroup&Name=new&Protocol={protocol}&Port=80&VpcId=vpc-1");
    let mut cases = vec![
        no(&named(&"n".repeat(33)), ValidationError, "cannot be longer than '32' characters"),
        no(
            &named("a.b"),
            ValidationError,
            "Target group name 'a.b' can only contain characters that are alphanumeric characters or hyphens(-)",
        ),
        no(&named("-a"), ValidationError, "cannot begin or end with a hyphen"),
        no(&named("a-"), ValidationError, "cannot begin or end with a hyphen"),
        no(
            "Action=CreateTargetGroup&Name=new&Port=80&VpcId=vpc-1",
            ValidationError,
            "A protocol must be specified",
        ),
        no(
            "Action=CreateTargetGroup&Name=new&Protocol=TCP&VpcId=vpc-1",
            ValidationError,
            "A port must be specified",
        ),
        no(
            "Action=CreateTargetGroup&Name=new&Protocol=TCP&Port=80",
            ValidationError,
            "A VPC ID must be specified",
        ),
        no(
            "Action=CreateTargetGroup&Name=new&Protocol=TCP&Port=80&VpcId=vpc-9",
            ValidationError,
            "The VPC ID 'vpc-9' is not found",
        ),
        no(
            "Action=CreateTargetGroup&Name=new&Protocol=TCP&Port=0&VpcId=vpc-1",
            ValidationError,
            "Value '0' at 'port' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        no(
            "Action=CreateTargetGroup&Name=new&Protocol=TCP&Port=65536&VpcId=vpc-1",
            ValidationError,
            "less than or equal to 65535",
        ),
        no(&create("TargetType=alb"), InvalidConfigurationRequest, "target type 'alb' are not supported"),
        no(
            &create("TargetType=lambda"),
            InvalidConfigurationRequest,
            "target type 'lambda' are not supported",
        ),
        no(&create("TargetType=pod"), ValidationError, "enum value set: [instance, ip, lambda, alb]"),
        no(&create("IpAddressType=dualstack"), ValidationError, "enum value set: [ipv4, ipv6]"),
        no(&create("ProtocolVersion=HTTP2"), InvalidConfigurationRequest, "Protocol versions"),
        no(&create("TargetControlPort=99"), InvalidConfigurationRequest, "target control ports"),
        no(&create("TargetControlPort=0"), ValidationError, "at 'targetControlPort'"),
        no(
            &protocol("ICMP"),
            ValidationError,
            "at 'protocol' failed to satisfy constraint: Member must satisfy enum value set: [HTTP, HTTPS, TCP, TLS, UDP, TCP_UDP, GENEVE, QUIC, TCP_QUIC]",
        ),
    ];
    for (name, whose) in [
        ("HTTP", "application"),
        ("HTTPS", "application"),
        ("GENEVE", "gateway"),
        ("TLS", ""),
        ("TCP_QUIC", ""),
    ] {
        cases.push(no(
            &protocol(name),
            InvalidConfigurationRequest,
            &format!("Target groups with the {name} protocol are not supported yet"),
        ));
        cases.push(no(&protocol(name), InvalidConfigurationRequest, whose));
    }
    cases
}

fn checks() -> Vec<Case> {
    let http = |settings: &str| create(&format!("HealthCheckProtocol=HTTP&{settings}"));
    let range = |member: &str, value: &str, bound: &str| {
        let path = format!("{}{}", member[..1].to_lowercase(), &member[1..]);
        no(
            &create(&format!("{member}={value}")),
            ValidationError,
            &format!(
                "Value '{value}' at '{path}' failed to satisfy constraint: Member must have value {bound}"
            ),
        )
    };
    let mut cases = vec![
        range("HealthCheckIntervalSeconds", "4", "greater than or equal to 5"),
        range("HealthCheckIntervalSeconds", "301", "less than or equal to 300"),
        range("HealthCheckTimeoutSeconds", "1", "greater than or equal to 2"),
        range("HealthCheckTimeoutSeconds", "121", "less than or equal to 120"),
        range("HealthyThresholdCount", "1", "greater than or equal to 2"),
        range("HealthyThresholdCount", "11", "less than or equal to 10"),
        range("UnhealthyThresholdCount", "1", "greater than or equal to 2"),
        range("UnhealthyThresholdCount", "11", "less than or equal to 10"),
        no(
            &create("HealthCheckIntervalSeconds=5&HealthCheckTimeoutSeconds=6"),
            ValidationError,
            "Health check timeout '6' must be smaller than or equal to the interval '5'",
        ),
        no(
            &http("HealthCheckIntervalSeconds=5"),
            ValidationError,
            "Health check timeout '6' must be smaller than or equal to the interval '5'",
        ),
        ok(&create("HealthCheckIntervalSeconds=10"), "<HealthCheckIntervalSeconds>10<"),
        no(
            &create("HealthCheckEnabled=false"),
            InvalidConfigurationRequest,
            "Health checks cannot be disabled",
        ),
        ok(&create("HealthCheckProtocol=HTTPS"), "<HealthCheckProtocol>HTTPS</HealthCheckProtocol>"),
        ok(&create("HealthCheckProtocol=HTTPS"), "<HealthCheckPath>/</HealthCheckPath>"),
        no(
            &create("HealthCheckPath=/up"),
            InvalidConfigurationRequest,
            "A health check path cannot be specified",
        ),
        no(
            &create("Matcher.HttpCode=200"),
            InvalidConfigurationRequest,
            "A health check matcher cannot be specified",
        ),
        no(
            &http("HealthCheckPath=up"),
            ValidationError,
            "Health check path 'up' must begin with a '/' character",
        ),
        no(&http("HealthCheckPath=/a+b"), ValidationError, "have no spaces"),
        no(&http("HealthCheckPath="), ValidationError, "Member must have length greater than or equal to 1"),
        no(
            &http(&format!("HealthCheckPath=/{}", "x".repeat(1024))),
            ValidationError,
            "Member must have length less than or equal to 1024",
        ),
        no(&http("Matcher.GrpcCode=0"), InvalidConfigurationRequest, "GRPC codes are not supported"),
    ];
    for port in ["0", "65536", "http", "-1", ""] {
        cases.push(no(
            &create(&format!("HealthCheckPort={port}")),
            ValidationError,
            "must be in the range 1-65535 or 'traffic-port'",
        ));
    }
    for codes in ["199", "600", "200-", "300-200", "ok", "200;201"] {
        cases.push(no(
            &http(&format!("Matcher.HttpCode={codes}")),
            ValidationError,
            "must be codes or ranges of codes from 200 to 599",
        ));
    }
    for protocol in ["UDP", "TCP_UDP", "TLS", "GENEVE", "QUIC", "TCP_QUIC"] {
        let message = format!("Health check protocol '{protocol}' must be one of 'HTTP, HTTPS, TCP'");
        cases.push(no(
            &create(&format!("HealthCheckProtocol={protocol}")),
            InvalidConfigurationRequest,
            &message,
        ));
    }
    cases
}

fn described() -> Vec<Case> {
    let stranger = "arn:aws:elasticloadbalancing:local:000000000000:targetgroup/web/0000000000000000";
    vec![
        ok("Action=DescribeTargetGroups", "<TargetGroupName>both</TargetGroupName>"),
        ok(
            "Action=DescribeTargetGroups&LoadBalancerArn={lb}",
            "<TargetGroups><member><TargetGroupArn>{tg}</TargetGroupArn>",
        ),
        ok("Action=DescribeTargetGroups&LoadBalancerArn={inside}", "<TargetGroups></TargetGroups>"),
        ok(
            "Action=DescribeTargetGroups&TargetGroupArns.member.1={tg}",
            "<LoadBalancerArns><member>{lb}</member></LoadBalancerArns>",
        ),
        ok("Action=DescribeTargetGroups&Names.member.1=spare&Names.member.2=both", "<TargetGroupName>both<"),
        ok("Action=DescribeTargetGroups&PageSize=3", "<NextMarker>quic</NextMarker>"),
        ok("Action=DescribeTargetGroups&Marker=udp", "<TargetGroups><member><TargetGroupArn>{v6}<"),
        no(
            "Action=DescribeTargetGroups&Names.member.1=nobody",
            TargetGroupNotFound,
            "One or more target groups not found",
        ),
        no(
            &format!("Action=DescribeTargetGroups&TargetGroupArns.member.1={stranger}"),
            TargetGroupNotFound,
            "One or more target groups not found",
        ),
        no(
            "Action=DescribeTargetGroups&TargetGroupArns.member.1={lb}",
            ValidationError,
            "is not a valid target group ARN",
        ),
        no(
            "Action=DescribeTargetGroups&Names.member.1=web&LoadBalancerArn={lb}",
            ValidationError,
            "cannot be specified together",
        ),
        no(
            "Action=DescribeTargetGroups&LoadBalancerArn=x",
            ValidationError,
            "'x' is not a valid load balancer ARN",
        ),
        no(
            "Action=DescribeTargetGroups&LoadBalancerArn={lb}",
            LoadBalancerNotFound,
            "Load balancer '{lb}' not found",
        )
        .after("Action=DeleteLoadBalancer&LoadBalancerArn={lb}"),
        ok(
            "Action=DeleteTargetGroup&TargetGroupArn={spare}",
            "<DeleteTargetGroupResult></DeleteTargetGroupResult>",
        ),
        ok("Action=DeleteTargetGroup&TargetGroupArn={spare}", "<DeleteTargetGroupResult>")
            .after("Action=DeleteTargetGroup&TargetGroupArn={spare}"),
        no(
            "Action=DeleteTargetGroup&TargetGroupArn={tg}",
            ResourceInUse,
            "The target group '{tg}' is currently in use by a listener or a rule",
        ),
        no(
            "Action=DeleteTargetGroup&TargetGroupArn=x",
            ValidationError,
            "'x' is not a valid target group ARN",
        ),
    ]
}

fn modified() -> Vec<Case> {
    let modify = |settings: &str| format!("Action=ModifyTargetGroup&TargetGroupArn={{tg}}&{settings}");
    vec![
        ok(&modify(""), "<HealthCheckProtocol>TCP<"),
        ok(&modify("HealthCheckIntervalSeconds=60"), "<HealthCheckIntervalSeconds>60<"),
        ok(&modify("HealthCheckProtocol=HTTP"), "<HealthCheckPath>/</HealthCheckPath>"),
        ok(&modify("HealthCheckPath=/b"), "<HealthCheckPath>/b</HealthCheckPath><Matcher><HttpCode>201<")
            .after(&modify("HealthCheckProtocol=HTTP&Matcher.HttpCode=201")),
        ok(
            &modify("HealthCheckProtocol=TCP"),
            "<UnhealthyThresholdCount>2</UnhealthyThresholdCount><LoadBalancerArns>",
        )
        .after(&modify("HealthCheckProtocol=HTTP")),
        ok(&modify("HealthCheckPort=traffic-port&UnhealthyThresholdCount=7"), "<UnhealthyThresholdCount>7<"),
        no(
            &modify("HealthCheckTimeoutSeconds=31"),
            ValidationError,
            "'31' must be smaller than or equal to the interval '30'",
        ),
        no(
            &modify("HealthCheckPath=/b"),
            InvalidConfigurationRequest,
            "A health check path cannot be specified",
        ),
        no(
            &modify("HealthCheckEnabled=false"),
            InvalidConfigurationRequest,
            "Health checks cannot be disabled",
        ),
        no(&modify("HealthyThresholdCount=20"), ValidationError, "at 'healthyThresholdCount'"),
        no("Action=ModifyTargetGroup&TargetGroupArn=x", ValidationError, "is not a valid target group ARN"),
        no(
            "Action=ModifyTargetGroup&TargetGroupArn={spare}",
            TargetGroupNotFound,
            "Target group '{spare}' not found",
        )
        .after("Action=DeleteTargetGroup&TargetGroupArn={spare}"),
    ]
}
