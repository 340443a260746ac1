//! Listeners and their actions.

use lb_userspace::api::protocol::Code::{
    DuplicateListener, IncompatibleProtocols, InvalidConfigurationRequest, InvalidLoadBalancerAction,
    ListenerNotFound, LoadBalancerNotFound, TargetGroupAssociationLimit, TargetGroupNotFound, TooManyActions,
    UnsupportedProtocol, ValidationError,
};

use super::case::{Case, no, ok};

const FORWARD: &str = "DefaultActions.member.1.Type=forward&DefaultActions.member.1.";

/// Target groups with weights.
const TWO: &str =
    "DefaultActions.member.1.Type=forward&DefaultActions.member.1.ForwardConfig.TargetGroups.member.";

const SECOND: &str = "DefaultActions.member.1.ForwardConfig.TargetGroups.member.2.TargetGroupArn";

const STICKY_SPARE: &str = "Action=ModifyTargetGroupAttributes&TargetGroupArn={spare}&Attributes.member.1.Key=stickiness.enabled&Attributes.member.1.Value=true";

fn listen(protocol: &str, port: u16, group: &str) -> String {
    format!(
        "Action=CreateListener&LoadBalancerArn={{lb}}&Protocol={protocol}&Port={port}&{FORWARD}TargetGroupArn={{{group}}}"
    )
}

/// The ARN of something that nobody made.
const NO_GROUP: &str = "arn:aws:elasticloadbalancing:local:000000000000:targetgroup/nobody/0000000000000000";
const NO_LISTENER: &str =
    "arn:aws:elasticloadbalancing:local:000000000000:listener/net/web/0000000000000000/0000000000000000";

pub(crate) fn cases() -> Vec<Case> {
    [created(), refused_creates(), actions(), described(), modified()].concat()
}

fn created() -> Vec<Case> {
    let spare = "Action=CreateListener&LoadBalancerArn={inside}&Protocol=TCP&Port=80&";
    vec![
        ok(&listen("UDP", 53, "udp"), "<Port>53</Port><Protocol>UDP</Protocol>"),
        ok(&listen("UDP", 53, "udp"), "<LoadBalancerArn>{lb}</LoadBalancerArn>"),
        ok(&listen("TCP_UDP", 53, "both"), "<Protocol>TCP_UDP</Protocol>"),
        ok(&listen("TCP", 53, "both"), "<Protocol>TCP</Protocol>"),
        ok(&listen("UDP", 53, "both"), "<Protocol>UDP</Protocol>"),
        ok(&listen("QUIC", 443, "quic"), "<Protocol>QUIC</Protocol>"),
        ok(&listen("UDP", 53, "both"), "<Protocol>UDP</Protocol>").after(&listen("TCP", 53, "both")),
        ok(&format!("{}&DefaultActions.member.1.Order=1", listen("UDP", 53, "udp")), "<Order>1</Order>"),
        ok(
            &listen("UDP", 53, "udp"),
            "<DefaultActions><member><Type>forward</Type><TargetGroupArn>{udp}</TargetGroupArn>",
        ),
        ok(&listen("UDP", 53, "udp"), "<TargetGroupStickinessConfig><Enabled>false</Enabled>"),
        ok(&format!("{spare}{FORWARD}TargetGroupArn={{v6}}"), "<TargetGroupArn>{v6}<"),
        ok(&format!("{}&Tags.member.1.Key=a", listen("UDP", 53, "udp")), "<Port>53</Port>"),
        ok(&listen("TCP", 80, "tg"), "<ListenerArn>{listener}</ListenerArn>"),
        ok(&format!("{}&MutualAuthentication.Mode=off", listen("UDP", 53, "udp")), "<Port>53</Port>"),
        ok(
            "Action=DescribeTargetGroups&Names.member.1=udp",
            "<LoadBalancerArns><member>{lb}</member></LoadBalancerArns>",
        )
        .after(&listen("UDP", 53, "udp")),
    ]
}

fn refused_creates() -> Vec<Case> {
    let with = |more: &str| format!("{}&{more}", listen("UDP", 53, "udp"));
    let bare = |more: &str| {
        format!("Action=CreateListener&LoadBalancerArn={{lb}}&{FORWARD}TargetGroupArn={{spare}}&{more}")
    };
    let mut cases = vec![
        no(&bare("Port=80"), ValidationError, "A listener protocol must be specified"),
        no(&bare("Protocol=TCP"), ValidationError, "A listener port must be specified"),
        no(&bare("Protocol=TCP&Port=0"), ValidationError, "Value '0' at 'port' failed"),
        no(&bare("Protocol=SCTP&Port=80"), ValidationError, "Value 'SCTP' at 'protocol' failed"),
        no(&bare("Protocol=TLS&Port=443"), UnsupportedProtocol, "Protocol TLS is not supported yet"),
        no(
            &bare("Protocol=TCP_QUIC&Port=443"),
            UnsupportedProtocol,
            "Protocol TCP_QUIC is not supported yet",
        ),
        no(
            &with("SslPolicy=x"),
            InvalidConfigurationRequest,
            "An SSL policy cannot be specified for UDP listeners",
        ),
        no(
            &with("Certificates.member.1.CertificateArn=x"),
            InvalidConfigurationRequest,
            "Certificates cannot be specified for UDP listeners",
        ),
        no(
            &with("AlpnPolicy.member.1=None"),
            InvalidConfigurationRequest,
            "An ALPN policy cannot be specified",
        ),
        no(
            &with("MutualAuthentication.Mode=verify"),
            InvalidConfigurationRequest,
            "Mutual authentication cannot be specified",
        ),
        no(
            &listen("TCP", 80, "spare"),
            DuplicateListener,
            "A listener already exists on this port for this load balancer",
        ),
        no(&listen("UDP", 53, "both"), DuplicateListener, "already exists on this port")
            .after(&listen("UDP", 53, "udp")),
        no(&listen("TCP_UDP", 53, "both"), DuplicateListener, "already exists on this port")
            .after(&listen("UDP", 53, "udp")),
        no(
            &listen("UDP", 6080, "udp"),
            InvalidConfigurationRequest,
            "UDP port 6080 carries packets to targets",
        ),
        no(
            &listen("UDP", 80, "spare"),
            IncompatibleProtocols,
            "Listeners with the UDP protocol cannot forward to target groups with the TCP protocol: '{spare}'",
        ),
        no(&listen("TCP_UDP", 80, "spare"), IncompatibleProtocols, "cannot forward"),
        no(&listen("TCP", 53, "udp"), IncompatibleProtocols, "cannot forward"),
        no(&listen("QUIC", 53, "udp"), IncompatibleProtocols, "cannot forward"),
        no(&listen("UDP", 443, "quic"), IncompatibleProtocols, "cannot forward"),
        no(&listen("TCP", 80, "v6"), InvalidConfigurationRequest, "which only dualstack load balancers have"),
        no(
            "Action=CreateListener&LoadBalancerArn={inside}&Protocol=TCP&Port=80&DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={tg}",
            TargetGroupAssociationLimit,
            "cannot be associated with more than one load balancer: {tg}",
        ),
        no(
            &listen("UDP", 53, "udp").replace("{lb}", "x"),
            ValidationError,
            "'x' is not a valid load balancer ARN",
        ),
        no(&listen("UDP", 53, "udp"), LoadBalancerNotFound, "Load balancer '{lb}' not found")
            .after("Action=DeleteLoadBalancer&LoadBalancerArn={lb}"),
    ];
    for protocol in ["HTTP", "HTTPS", "GENEVE"] {
        let message = format!("Listener protocol '{protocol}' must be one of 'UDP, TCP, TLS, TCP_UDP");
        cases.push(no(&bare(&format!("Protocol={protocol}&Port=80")), ValidationError, &message));
    }
    cases
}

fn actions() -> Vec<Case> {
    let act =
        |action: &str| format!("Action=CreateListener&LoadBalancerArn={{lb}}&Protocol=UDP&Port=53&{action}");
    let tuple = "ForwardConfig.TargetGroups.member.";
    let weighted = |weight: &str| {
        act(&format!(
            "{FORWARD}{tuple}1.TargetGroupArn={{udp}}&DefaultActions.member.1.{tuple}1.Weight={weight}"
        ))
    };
    let mut cases = vec![
        ok(&weighted("0"), "<Weight>0</Weight>"),
        ok(&weighted("999"), "<Weight>999</Weight>"),
        ok(&act(&format!("{FORWARD}{tuple}1.TargetGroupArn={{udp}}")), "<Weight>1</Weight>"),
        ok(
            &act(&format!(
                "{FORWARD}TargetGroupArn={{udp}}&DefaultActions.member.1.{tuple}1.TargetGroupArn={{udp}}&DefaultActions.member.1.{tuple}1.Weight=7"
            )),
            "<Weight>7</Weight>",
        ),
        ok(
            &act(&format!(
                "{FORWARD}{tuple}1.TargetGroupArn={{udp}}&DefaultActions.member.1.{tuple}2.TargetGroupArn={{both}}"
            )),
            "<member><TargetGroupArn>{both}</TargetGroupArn>",
        ),
        no(
            &weighted("1000"),
            ValidationError,
            "The weight '1000' of the target group '{udp}' must be from 0 to 999",
        ),
        no(&weighted("-1"), ValidationError, "must be from 0 to 999"),
        no(
            &weighted("x"),
            ValidationError,
            "at 'defaultActions.1.member.forwardConfig.targetGroups.1.member.weight' failed",
        ),
        no(&act("DefaultActions="), ValidationError, "At least one action must be specified"),
        no(
            &act("DefaultActions.member.1.TargetGroupArn={udp}"),
            ValidationError,
            "Value null at 'defaultActions.1.member.type'",
        ),
        no(
            &act("DefaultActions.member.1.Type=forward"),
            ValidationError,
            "A target group ARN must be specified",
        ),
        no(
            &act(&format!("{FORWARD}{tuple}1.Weight=1")),
            ValidationError,
            "A target group ARN must be specified",
        ),
        no(
            &act(&format!("{FORWARD}TargetGroupArn=x")),
            ValidationError,
            "'x' is not a valid target group ARN",
        ),
        no(
            &act(&format!("{FORWARD}TargetGroupArn={NO_GROUP}")),
            TargetGroupNotFound,
            "One or more target groups not found",
        ),
        no(
            &act(&format!("{FORWARD}TargetGroupArn={{udp}}&DefaultActions.member.1.Order=0")),
            ValidationError,
            "at 'defaultActions.1.member.order' failed",
        ),
        no(
            &act(&format!(
                "{FORWARD}TargetGroupArn={{udp}}&DefaultActions.member.2.Type=forward&DefaultActions.member.2.TargetGroupArn={{udp}}"
            )),
            TooManyActions,
            "has one action",
        ),
        no(
            &act(&format!(
                "{FORWARD}TargetGroupArn={{udp}}&DefaultActions.member.1.{tuple}1.TargetGroupArn={{both}}"
            )),
            InvalidLoadBalancerAction,
            "must name one and the same target group",
        ),
        no(
            &act(&format!(
                "{FORWARD}{tuple}1.TargetGroupArn={{udp}}&DefaultActions.member.1.{tuple}2.TargetGroupArn={{udp}}"
            )),
            InvalidLoadBalancerAction,
            "is specified more than once in one action",
        ),
        no(
            &act(&format!(
                "{FORWARD}{tuple}1.TargetGroupArn={{udp}}&DefaultActions.member.1.ForwardConfig.TargetGroupStickinessConfig.Enabled=true"
            )),
            InvalidLoadBalancerAction,
            "Target group stickiness is not supported",
        ),
        no(
            &act("DefaultActions.member.1.Type=redirect&DefaultActions.member.1.RedirectConfig.Port=1"),
            ValidationError,
            "Value null at 'defaultActions.1.member.redirectConfig.statusCode'",
        ),
        no(
            &act("DefaultActions.member.1.Type=drop"),
            ValidationError,
            "enum value set: [forward, authenticate-oidc, authenticate-cognito, redirect, fixed-response, jwt-validation]",
        ),
    ];
    for kind in ["redirect", "fixed-response", "authenticate-oidc", "authenticate-cognito", "jwt-validation"]
    {
        let message = format!("Actions of the type '{kind}' are not supported for network load balancers");
        cases.push(no(
            &act(&format!("DefaultActions.member.1.Type={kind}")),
            InvalidLoadBalancerAction,
            &message,
        ));
    }
    cases
}

fn described() -> Vec<Case> {
    vec![
        ok("Action=DescribeListeners&LoadBalancerArn={lb}", "<ListenerArn>{listener}</ListenerArn>"),
        ok("Action=DescribeListeners&LoadBalancerArn={inside}", "<Listeners></Listeners>"),
        ok(
            "Action=DescribeListeners&ListenerArns.member.1={listener}",
            "<Port>80</Port><Protocol>TCP</Protocol>",
        ),
        ok("Action=DescribeListeners&LoadBalancerArn={lb}&PageSize=1", "<NextMarker>web/")
            .after(&listen("UDP", 53, "udp")),
        no(
            "Action=DescribeListeners",
            ValidationError,
            "You must specify either listener ARNs or a load balancer ARN",
        ),
        no(
            "Action=DescribeListeners&LoadBalancerArn={lb}&ListenerArns.member.1={listener}",
            ValidationError,
            "cannot be specified at the same time",
        ),
        no(
            "Action=DescribeListeners&ListenerArns.member.1=x",
            ValidationError,
            "'x' is not a valid listener ARN",
        ),
        no(
            &format!("Action=DescribeListeners&ListenerArns.member.1={NO_LISTENER}"),
            ListenerNotFound,
            "One or more listeners not found",
        ),
        no(
            "Action=DescribeListeners&LoadBalancerArn={tg}",
            ValidationError,
            "is not a valid load balancer ARN",
        ),
        no("Action=DescribeListeners&LoadBalancerArn={lb}", LoadBalancerNotFound, "not found")
            .after("Action=DeleteLoadBalancer&LoadBalancerArn={lb}"),
        ok("Action=DeleteListener&ListenerArn={listener}", "<DeleteListenerResult></DeleteListenerResult>"),
        no(
            "Action=DeleteListener&ListenerArn={listener}",
            ListenerNotFound,
            "The specified listener does not exist.",
        )
        .after("Action=DeleteListener&ListenerArn={listener}"),
        no("Action=DeleteListener&ListenerArn={lb}", ValidationError, "is not a valid listener ARN"),
        ok("Action=DeleteTargetGroup&TargetGroupArn={tg}", "<DeleteTargetGroupResult>")
            .after("Action=DeleteListener&ListenerArn={listener}"),
    ]
}

fn modified() -> Vec<Case> {
    let modify = |settings: &str| format!("Action=ModifyListener&ListenerArn={{listener}}&{settings}");
    vec![
        ok(&modify(""), "<TargetGroupArn>{tg}</TargetGroupArn>"),
        ok(
            &modify(&format!("{FORWARD}TargetGroupArn={{spare}}")),
            "<TargetGroupArn>{spare}</TargetGroupArn>",
        ),
        ok(
            &modify(&format!("Protocol=TCP_UDP&Port=53&{FORWARD}TargetGroupArn={{both}}")),
            "<Port>53</Port><Protocol>TCP_UDP</Protocol>",
        ),
        ok("Action=DeleteTargetGroup&TargetGroupArn={tg}", "<DeleteTargetGroupResult>")
            .after(&modify(&format!("{FORWARD}TargetGroupArn={{spare}}"))),
        ok(&modify("Port=81"), "<Port>81</Port>"),
        no(
            &modify(&format!("{TWO}1.TargetGroupArn={{tg}}&{SECOND}={{spare}}")),
            InvalidConfigurationRequest,
            "The target groups of the listener on port 80 must all have the same value of the attribute",
        )
        .after(STICKY_SPARE),
        no(&modify("Protocol=UDP"), IncompatibleProtocols, "cannot forward"),
        no(&modify("Protocol=TLS"), UnsupportedProtocol, "Protocol TLS is not supported yet"),
        no(&modify("Protocol=HTTP"), ValidationError, "must be one of"),
        no(
            &modify("SslPolicy=x"),
            InvalidConfigurationRequest,
            "An SSL policy cannot be specified for TCP listeners",
        ),
        no(
            &modify(&format!("Protocol=UDP&Port=53&{FORWARD}TargetGroupArn={{both}}")),
            DuplicateListener,
            "already exists on this port",
        )
        .after(&listen("UDP", 53, "udp")),
        no(
            &modify(&format!("{FORWARD}TargetGroupArn={NO_GROUP}")),
            TargetGroupNotFound,
            "One or more target groups not found",
        ),
        no(
            &modify("DefaultActions.member.1.Type=fixed-response"),
            InvalidLoadBalancerAction,
            "'fixed-response'",
        ),
        no(&modify("DefaultActions="), ValidationError, "At least one action must be specified"),
        no("Action=ModifyListener&ListenerArn=x", ValidationError, "'x' is not a valid listener ARN"),
        no(
            &format!("Action=ModifyListener&ListenerArn={NO_LISTENER}"),
            ListenerNotFound,
            "The specified listener does not exist.",
        ),
    ]
}
