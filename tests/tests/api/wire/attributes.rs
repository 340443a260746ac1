//! Attributes of load balancers, target groups and listeners.

use lb_userspace::api::protocol::Code::{
    InvalidConfigurationRequest, ListenerNotFound, LoadBalancerNotFound, TargetGroupNotFound, ValidationError,
};

use super::case::{Case, no, ok};

pub(crate) fn cases() -> Vec<Case> {
    [load_balancers(), target_groups(), failover(), listeners()].concat()
}

fn pair(key: &str, value: &str) -> String {
    format!("Attributes.member.1.Key={key}&Attributes.member.1.Value={value}")
}

fn shape(key: &str, value: &str) -> String {
    format!("<member><Key>{key}</Key><Value>{value}</Value></member>")
}

fn load_balancers() -> Vec<Case> {
    let set = |key: &str, value: &str| {
        format!("Action=ModifyLoadBalancerAttributes&LoadBalancerArn={{lb}}&{}", pair(key, value))
    };
    let mut cases = vec![];
    for (key, default) in [
        ("deletion_protection.enabled", "false"),
        ("load_balancing.cross_zone.enabled", "false"),
        ("access_logs.s3.enabled", "false"),
        ("ipv6.deny_all_igw_traffic", "false"),
        ("zonal_shift.config.enabled", "false"),
        ("dns_record.client_routing_policy", "any_availability_zone"),
        ("secondary_ips.auto_assigned.per_subnet", "0"),
    ] {
        cases.push(ok("Action=DescribeLoadBalancerAttributes&LoadBalancerArn={lb}", &shape(key, default)));
        cases.push(ok(&set(key, default), &shape(key, default)));
        cases.push(no(
            &set(key, "perhaps"),
            InvalidConfigurationRequest,
            &format!("Load balancer attribute value 'perhaps' is not valid for key '{key}'"),
        ));
    }
    for (key, value) in [
        ("load_balancing.cross_zone.enabled", "true"),
        ("zonal_shift.config.enabled", "true"),
        ("dns_record.client_routing_policy", "availability_zone_affinity"),
        ("dns_record.client_routing_policy", "partial_availability_zone_affinity"),
        ("access_logs.s3.prefix", "p/2026"),
        ("access_logs.s3.bucket", "my-flows"),
    ] {
        cases.push(
            ok("Action=DescribeLoadBalancerAttributes&LoadBalancerArn={lb}", &shape(key, value))
                .after(&set(key, value)),
        );
    }
    for key in [
        "idle_timeout.timeout_seconds",
        "routing.http2.enabled",
        "routing.http.drop_invalid_header_fields.enabled",
        "waf.fail_open.enabled",
        "client_keep_alive.seconds",
        "connection_logs.s3.enabled",
    ] {
        cases.push(no(
            &set(key, "1"),
            InvalidConfigurationRequest,
            &format!("attribute key '{key}' is not supported for network load balancers"),
        ));
    }
    let many: String = (1..=21)
        .map(|at| {
            format!(
                "&Attributes.member.{at}.Key=zonal_shift.config.enabled&Attributes.member.{at}.Value=true"
            )
        })
        .collect();
    cases.extend([
        ok("Action=DescribeLoadBalancerAttributes&LoadBalancerArn={inside}", &shape("ipv6.deny_all_igw_traffic", "true")),
        no(&set("x", "1"), ValidationError, "Load balancer attribute key 'x' is not recognized"),
        no(&set("a-b", "1"), ValidationError, "regular expression pattern: ^[a-zA-Z0-9._]+$"),
        no(&set("access_logs.s3.prefix", &"x".repeat(1025)), ValidationError, "less than or equal to 1024"),
        no(&set("access_logs.s3.enabled", "true"), InvalidConfigurationRequest, "Access logs need a place"),
        no(&set("access_logs.s3.bucket", ".."), InvalidConfigurationRequest, "expected a directory's name"),
        no(&set("access_logs.s3.prefix", "a/../../b"), InvalidConfigurationRequest, "expected directories' names"),
        no(&set("access_logs.s3.prefix", "/etc"), InvalidConfigurationRequest, "expected directories' names"),
        no(&set("secondary_ips.auto_assigned.per_subnet", "1"), InvalidConfigurationRequest, "one VIP of each family"),
        no(&format!("Action=ModifyLoadBalancerAttributes&LoadBalancerArn={{lb}}{many}"), ValidationError, "Value '[21 items]' at 'attributes' failed to satisfy constraint: Member must have length less than or equal to 20"),
        no("Action=DescribeLoadBalancerAttributes&LoadBalancerArn=x", ValidationError, "'x' is not a valid load balancer ARN"),
        no(&set("zonal_shift.config.enabled", "true"), LoadBalancerNotFound, "not found").after("Action=DeleteLoadBalancer&LoadBalancerArn={lb}"),
        // All of a request or nothing.
        no(&format!("{}&Attributes.member.2.Key=x", set("zonal_shift.config.enabled", "true")), ValidationError, "'x' is not recognized"),
    ]);
    cases
}

fn target_groups() -> Vec<Case> {
    let set = |group: &str, key: &str, value: &str| {
        format!("Action=ModifyTargetGroupAttributes&TargetGroupArn={{{group}}}&{}", pair(key, value))
    };
    let get = |group: &str| format!("Action=DescribeTargetGroupAttributes&TargetGroupArn={{{group}}}");
    let mut cases = vec![];
    for (key, default, other) in [
        ("deregistration_delay.timeout_seconds", "300", "0"),
        ("deregistration_delay.connection_termination.enabled", "false", "true"),
        ("stickiness.enabled", "false", "true"),
        ("stickiness.type", "source_ip", "source_ip"),
        ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration", "true"),
        ("preserve_client_ip.enabled", "true", "true"),
        ("proxy_protocol_v2.enabled", "false", "false"),
        ("target_health_state.unhealthy.connection_termination.enabled", "true", "false"),
        ("target_health_state.unhealthy.draining_interval_seconds", "0", "0"),
    ] {
        cases.push(ok(&get("tg"), &shape(key, default)));
        cases.push(ok(&get("tg"), &shape(key, other)).after(&set("tg", key, other)));
    }
    for (key, value) in [
        ("deregistration_delay.timeout_seconds", "3601"),
        ("deregistration_delay.timeout_seconds", "-1"),
        ("deregistration_delay.connection_termination.enabled", "1"),
        ("stickiness.enabled", "TRUE"),
        ("load_balancing.cross_zone.enabled", "off"),
        ("preserve_client_ip.enabled", "false"),
        ("proxy_protocol_v2.enabled", "true"),
        ("target_health_state.unhealthy.draining_interval_seconds", "360001"),
    ] {
        let message = format!("Target group attribute value '{value}' is not valid for key '{key}'");
        cases.push(no(&set("tg", key, value), InvalidConfigurationRequest, &message));
    }
    for key in [
        "slow_start.duration_seconds",
        "load_balancing.algorithm.type",
        "stickiness.lb_cookie.duration_seconds",
        "stickiness.app_cookie.cookie_name",
        "lambda.multi_value_headers.enabled",
        "target_failover.on_unhealthy",
        "send_tcp_reset.on_unhealthy.enabled",
    ] {
        cases.push(no(
            &set("tg", key, "1"),
            InvalidConfigurationRequest,
            &format!("key '{key}' is not supported for network load balancers"),
        ));
    }
    let interval = set("tg", "target_health_state.unhealthy.draining_interval_seconds", "60");
    cases.extend([
        ok(&get("udp"), &shape("deregistration_delay.connection_termination.enabled", "true")),
        ok(&get("both"), &shape("target_health_state.unhealthy.connection_termination.enabled", "false")),
        ok(&interval, &shape("target_health_state.unhealthy.draining_interval_seconds", "60")).after(&set(
            "tg",
            "target_health_state.unhealthy.connection_termination.enabled",
            "false",
        )),
        no(&interval, InvalidConfigurationRequest, "to be false"),
        no(
            &set("udp", "target_health_state.unhealthy.connection_termination.enabled", "true"),
            InvalidConfigurationRequest,
            "UDP has no way to end a flow",
        ),
        no(
            &set("tg", "stickiness.type", "cookie"),
            ValidationError,
            "'Stickiness type' must be one of [app_cookie, lb_cookie, source_ip]",
        ),
        no(
            &set("tg", "stickiness.type", "lb_cookie"),
            InvalidConfigurationRequest,
            "Stickiness type 'lb_cookie' is not supported for target groups with the TCP protocol",
        ),
        no(
            &set("udp", "stickiness.type", "app_cookie"),
            InvalidConfigurationRequest,
            "with the UDP protocol",
        ),
        no(&set("tg", "x", "1"), ValidationError, "Target group attribute key 'x' is not recognized"),
        no(&set("tg", "target_health_state.x", "1"), ValidationError, "is not recognized"),
        no(
            "Action=DescribeTargetGroupAttributes&TargetGroupArn=x",
            ValidationError,
            "'x' is not a valid target group ARN",
        ),
        no(&get("spare"), TargetGroupNotFound, "Target group '{spare}' not found")
            .after("Action=DeleteTargetGroup&TargetGroupArn={spare}"),
    ]);
    cases
}

fn failover() -> Vec<Case> {
    let key =
        |action: &str, what: &str| format!("target_group_health.{action}.minimum_healthy_targets.{what}");
    let set = |action: &str, what: &str, value: &str| {
        format!(
            "Action=ModifyTargetGroupAttributes&TargetGroupArn={{tg}}&{}",
            pair(&key(action, what), value)
        )
    };
    let (dns, routing) = ("dns_failover", "unhealthy_state_routing");
    let mut cases =
        vec![
            ok(&set(dns, "count", "off"), &shape(&key(dns, "count"), "off")),
            ok(&set(dns, "count", "7"), &shape(&key(dns, "count"), "7")),
            ok(&set(dns, "percentage", "100"), &shape(&key(dns, "percentage"), "100")),
            ok(&set(routing, "count", "1"), &shape(&key(routing, "count"), "1")),
            ok(&set(routing, "percentage", "50"), &shape(&key(routing, "percentage"), "50")),
            ok(&set(routing, "percentage", "off"), &shape(&key(routing, "percentage"), "off")),
            no(&set(routing, "count", "2"), InvalidConfigurationRequest, "must not be less than"),
            no(&set(dns, "percentage", "10"), InvalidConfigurationRequest, "must not be less than")
                .after(&set(routing, "percentage", "50")),
            no(&set("nothing", "count", "1"), ValidationError, "is not recognized"),
            no(&set(dns, "share", "1"), ValidationError, "is not recognized"),
        ];
    for (action, what, value) in [
        (dns, "count", "0"),
        (dns, "percentage", "0"),
        (dns, "percentage", "101"),
        (routing, "count", "0"),
        (routing, "count", "off"),
        (routing, "percentage", "on"),
    ] {
        cases.push(no(&set(action, what, value), InvalidConfigurationRequest, "expected a number from 1 to"));
    }
    cases
}

fn listeners() -> Vec<Case> {
    let set = |key: &str, value: &str| {
        format!("Action=ModifyListenerAttributes&ListenerArn={{listener}}&{}", pair(key, value))
    };
    let get = "Action=DescribeListenerAttributes&ListenerArn={listener}";
    let key = "tcp.idle_timeout.seconds";
    let stranger =
        "arn:aws:elasticloadbalancing:local:000000000000:listener/net/web/0000000000000000/0000000000000000";
    let mut cases = vec![
        ok(get, &shape(key, "350")),
        ok(&set(key, "60"), &shape(key, "60")),
        ok(get, &shape(key, "6000")).after(&set(key, "6000")),
        no(&set("x", "1"), ValidationError, "Listener attribute key 'x' is not recognized"),
        no(
            &set("routing.http.response.server.enabled", "1"),
            InvalidConfigurationRequest,
            "is not supported for network load balancers",
        ),
        no(
            &set("send_tcp_reset.on_idle_timeout.enabled", "true"),
            InvalidConfigurationRequest,
            "is not supported for network load balancers",
        ),
        no(
            "Action=DescribeListenerAttributes&ListenerArn=x",
            ValidationError,
            "'x' is not a valid listener ARN",
        ),
        no(
            &format!("Action=DescribeListenerAttributes&ListenerArn={stranger}"),
            ListenerNotFound,
            "does not exist",
        ),
        no(
            &format!("Action=ModifyListenerAttributes&ListenerArn={stranger}&Attributes="),
            ListenerNotFound,
            "does not exist",
        ),
    ];
    for value in ["59", "6001", "x", ""] {
        cases.push(no(&set(key, value), InvalidConfigurationRequest, "expected a number from 60 to 6000"));
    }
    cases
}
