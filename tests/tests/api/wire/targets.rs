//! Targets and their health.

use lb_userspace::api::protocol::Code::{
    InvalidTarget, TargetGroupNotFound, TooManyTargets, ValidationError,
};

use super::case::{Case, no, ok};

fn register(group: &str, target: &str) -> String {
    format!("Action=RegisterTargets&TargetGroupArn={{{group}}}&Targets.member.1.{target}")
}

fn deregister(group: &str, target: &str) -> String {
    format!("Action=DeregisterTargets&TargetGroupArn={{{group}}}&Targets.member.1.{target}")
}

fn health(group: &str) -> String {
    format!("Action=DescribeTargetHealth&TargetGroupArn={{{group}}}")
}

fn state(state: &str, reason: &str) -> String {
    format!("<TargetHealth><State>{state}</State><Reason>{reason}</Reason>")
}

pub(crate) fn cases() -> Vec<Case> {
    [registered(), refused(), quic(), healths(), drained()].concat()
}

fn registered() -> Vec<Case> {
    let done = "<RegisterTargetsResult></RegisterTargetsResult>";
    vec![
        ok(&register("tg", "Id=10.0.1.2"), done),
        ok(&register("tg", "Id=10.0.1.1"), done),
        ok(&register("tg", "Id=10.0.1.2&Targets.member.1.Port=80"), done),
        ok(&register("tg", "Id=10.0.1.2&Targets.member.1.Port=81"), done),
        ok(&health("tg"), "<HealthCheckPort>81</HealthCheckPort>")
            .after(&register("tg", "Id=10.0.1.2&Targets.member.1.Port=81")),
        ok(&register("tg", "Id=192.168.1.1&Targets.member.1.AvailabilityZone=all"), done),
        ok(&register("tg", "Id=100.64.1.1&Targets.member.1.AvailabilityZone=a"), done),
        ok(&register("v6", "Id=fd00:1::9"), done),
        ok(&health("v6"), "<Id>fd00:1::9</Id>").after(&register("v6", "Id=FD00:1:0::9")),
        ok(&register("named", "Id=i-1"), done),
        ok(&health("named"), "<Id>i-1</Id><Port>80</Port>").after(&register("named", "Id=i-1")),
        ok(&deregister("tg", "Id=10.0.1.1"), "<DeregisterTargetsResult></DeregisterTargetsResult>"),
        ok(&deregister("tg", "Id=10.0.9.9"), "<DeregisterTargetsResult>"),
        ok(&deregister("named", "Id=i-nobody"), "<DeregisterTargetsResult>"),
    ]
}

fn refused() -> Vec<Case> {
    let many: String = (0..1001)
        .map(|at| format!("&Targets.member.{}.Id=10.0.{}.{}", at + 1, at / 250 + 8, at % 250 + 1))
        .collect();
    let mut cases = vec![
        no(
            &format!("Action=RegisterTargets&TargetGroupArn={{spare}}{many}"),
            TooManyTargets,
            "at most 1000 targets",
        ),
        no(
            "Action=RegisterTargets&TargetGroupArn={tg}&Targets=",
            ValidationError,
            "At least one target must be specified",
        ),
        no(
            "Action=DeregisterTargets&TargetGroupArn={tg}&Targets=",
            ValidationError,
            "At least one target must be specified",
        ),
        no(
            "Action=RegisterTargets&TargetGroupArn={tg}&Targets.member.1.Port=80",
            ValidationError,
            "Value null at 'targets.1.member.id'",
        ),
        no(
            &register("tg", "Id=10.0.1.1&Targets.member.1.Port=81"),
            InvalidTarget,
            "its address 10.0.1.1 is registered in this target group with the port 80",
        ),
        no(
            &register("tg", "Id=10.0.1.2&Targets.member.1.Port=65536"),
            ValidationError,
            "Value '65536' at 'targets.1.member.port'",
        ),
        no(
            &register("tg", "Id=8.8.8.8&Targets.member.1.AvailabilityZone=all"),
            ValidationError,
            "is neither in the VPC 'vpc-1' nor a private address",
        ),
        no(&register("tg", "Id=192.168.1.1"), ValidationError, "which is outside the VPC"),
        no(
            &register("tg", "Id=10.0.1.2&Targets.member.1.AvailabilityZone=z"),
            ValidationError,
            "The Availability Zone 'z' is not one of the VPC",
        ),
        no(
            &register("tg", "Id=10.200.1.1&Targets.member.1.AvailabilityZone=all"),
            InvalidTarget,
            "is a load balancer itself",
        ),
        no(&register("v6", "Id=10.0.1.2"), ValidationError, "'10.0.1.2' is not a valid IPv6 address"),
        no(
            &register("named", "Id=i-nobody"),
            InvalidTarget,
            "The following targets do not exist: 'i-nobody'",
        ),
        no(&register("named", "Id=10.0.1.1"), InvalidTarget, "do not exist: '10.0.1.1'"),
        no(
            &register("named", "Id=i-stopped"),
            InvalidTarget,
            "The following targets are not in a running state and cannot be registered: 'i-stopped'",
        ),
        no(
            &register("named", "Id=i-elsewhere"),
            InvalidTarget,
            "are not in the target group VPC 'vpc-1': 'i-elsewhere'",
        ),
        no(
            &register("named", "Id=i-1&Targets.member.1.AvailabilityZone=a"),
            ValidationError,
            "target type instance",
        ),
        no(
            &register("tg", "Id=10.0.1.2&Targets.member.1.QuicServerId=0x0000000000000001"),
            ValidationError,
            "with the TCP protocol",
        ),
        no(
            "Action=RegisterTargets&TargetGroupArn=x&Targets.member.1.Id=10.0.1.1",
            ValidationError,
            "is not a valid target group ARN",
        ),
        no(&deregister("tg", "Id=x"), ValidationError, "'x' is not a valid IPv4 address"),
        no(
            "Action=DescribeTargetHealth&TargetGroupArn={tg}&Targets.member.1.Id=x",
            ValidationError,
            "'x' is not a valid IPv4 address",
        ),
        no(
            "Action=DescribeTargetHealth&TargetGroupArn={tg}&Include.member.1=Nothing",
            ValidationError,
            "enum value set: [AnomalyDetection, All]",
        ),
    ];
    for id in ["", "web", "10.0.1", "10.0.1.1:80", "fd00:1::1", "0.0.0.0", "127.0.0.1", "224.0.0.1"] {
        cases.push(no(
            &register("tg", &format!("Id={id}")),
            ValidationError,
            &format!("The IP address '{id}' is not a valid IPv4 address"),
        ));
    }
    for call in [register("spare", "Id=10.0.1.1"), deregister("spare", "Id=10.0.1.1"), health("spare")] {
        cases.push(
            no(&call, TargetGroupNotFound, "Target group '{spare}' not found")
                .after("Action=DeleteTargetGroup&TargetGroupArn={spare}"),
        );
    }
    cases
}

fn quic() -> Vec<Case> {
    let with =
        |id: &str, server: &str| register("quic", &format!("Id={id}&Targets.member.1.QuicServerId={server}"));
    let one = "0x00000000000000ab";
    let mut cases = vec![
        ok(&with("10.0.1.1", one), "<RegisterTargetsResult>"),
        ok(&health("quic"), "<QuicServerId>0x00000000000000ab</QuicServerId>").after(&with("10.0.1.1", one)),
        ok(&with("10.0.1.1", one), "<RegisterTargetsResult>").after(&with("10.0.1.1", one)),
        no(
            &register("quic", "Id=10.0.1.1"),
            ValidationError,
            "A QUIC server ID must be specified for the target '10.0.1.1'",
        ),
        no(
            &with("10.0.1.2", one),
            ValidationError,
            "'0x00000000000000ab' must be unique at the listener level",
        )
        .after(&with("10.0.1.1", one)),
        no(
            &with("10.0.1.1", "0x00000000000000ac"),
            ValidationError,
            "cannot be changed; deregister the target first",
        )
        .after(&with("10.0.1.1", one)),
        ok(&with("10.0.1.1", "0x00000000000000ac"), "<RegisterTargetsResult>")
            .after(&with("10.0.1.1", one))
            .after(&deregister("quic", "Id=10.0.1.1")),
    ];
    for id in
        ["1", "0x1", "00000000000000000a", "0x00000000000000AB", "0x00000000000000g1", "0x00000000000000001"]
    {
        cases.push(no(
            &with("10.0.1.1", id),
            ValidationError,
            "must be 0x and 16 lower-case hexadecimal characters",
        ));
    }
    cases
}

fn healths() -> Vec<Case> {
    let of = |group: &str, id: &str| format!("{}&Targets.member.1.Id={id}", health(group));
    let unused = "unused";
    vec![
        ok(&health("tg"), &state("initial", "Elb.RegistrationInProgress")),
        ok(&health("tg"), "<Description>Target registration is in progress</Description>"),
        ok(&health("tg"), "<HealthCheckPort>80</HealthCheckPort>"),
        ok(&health("tg"), "<AvailabilityZone>a</AvailabilityZone>"),
        ok(&health("tg"), "<AdministrativeOverride><State>no_override</State>"),
        ok(&health("spare"), "<TargetHealthDescriptions></TargetHealthDescriptions>"),
        ok(&health("spare"), &state(unused, "Target.NotInUse")).after(&register("spare", "Id=10.0.1.1")),
        ok(&health("spare"), "Target group is not configured to receive traffic from the load balancer")
            .after(&register("spare", "Id=10.0.1.1")),
        ok(&health("tg"), "Target is in an Availability Zone that is not enabled for the load balancer")
            .after(&register("tg", "Id=10.0.3.1")),
        ok(&health("tg"), "Target is in an Availability Zone that is not enabled")
            .after(&register("tg", "Id=10.0.1.9&Targets.member.1.AvailabilityZone=c")),
        ok(&of("tg", "10.0.9.9"), &state(unused, "Target.NotRegistered")),
        ok(&of("tg", "10.0.9.9"), "Target is not registered to the target group"),
        ok(&of("tg", "10.0.1.1"), &state("initial", "Elb.RegistrationInProgress")),
        ok(&of("named", "i-nobody"), &state(unused, "Target.NotRegistered")),
        ok(
            &format!("{}&Targets.member.1.Port=81", of("tg", "10.0.1.1")),
            &state(unused, "Target.NotRegistered"),
        ),
        ok(&format!("{}&Include.member.1=AnomalyDetection", health("tg")), "<State>initial</State>"),
    ]
}

fn drained() -> Vec<Case> {
    let delay = "Action=ModifyTargetGroupAttributes&TargetGroupArn={tg}&Attributes.member.1.Key=deregistration_delay.timeout_seconds&Attributes.member.1.Value=0";
    let gone = deregister("tg", "Id=10.0.1.1");
    vec![
        ok(&health("tg"), &state("draining", "Target.DeregistrationInProgress")).after(&gone),
        ok(&health("tg"), "Target deregistration is in progress").after(&gone),
        ok(&health("tg"), &state("initial", "Elb.RegistrationInProgress"))
            .after(&gone)
            .after(&register("tg", "Id=10.0.1.1")),
        ok(&health("tg"), "<TargetHealthDescriptions></TargetHealthDescriptions>").after(delay).after(&gone),
        ok(&health("spare"), "<TargetHealthDescriptions></TargetHealthDescriptions>")
            .after(&register("spare", "Id=10.0.1.1"))
            .after(&deregister("spare", "Id=10.0.1.1")),
    ]
}
