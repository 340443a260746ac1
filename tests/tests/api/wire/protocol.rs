//! Actions, versions, encodings; what all operations share.

use lb_userspace::api::protocol::Code::{
    InvalidAction, MalformedQueryString, MissingAction, OperationNotPermitted, UnknownOperation,
    ValidationError,
};

use super::case::{Case, no, ok};

pub(crate) fn cases() -> Vec<Case> {
    let empty = "<LoadBalancers></LoadBalancers>";
    let mut cases = vec![
        ok("Action=DescribeLoadBalancers", "<LoadBalancerName>web</LoadBalancerName>"),
        ok("Version=2015-12-01&Action=DescribeLoadBalancers", "<LoadBalancerName>inside</LoadBalancerName>"),
        ok(
            "GET /?Action=DescribeLoadBalancers&Version=2015-12-01",
            "<LoadBalancerName>web</LoadBalancerName>",
        ),
        ok("POST /?x=y Action=DescribeAccountLimits&Version=2015-12-01", "<Limits><member>"),
        ok(
            "Action=DescribeLoadBalancers&Unknown.member.1.Thing=x",
            "<LoadBalancerName>web</LoadBalancerName>",
        ),
        ok("Action=%44escribeLoadBalancers", "<LoadBalancerName>web</LoadBalancerName>"),
        ok(
            "Action=DescribeLoadBalancers&Names.member.7=web&Names.member.3=inside",
            "<LoadBalancerName>inside",
        ),
        ok("Action=DescribeLoadBalancers&Names=", "<LoadBalancerName>web</LoadBalancerName>"),
        ok("&&Action=DescribeLoadBalancers&", "<LoadBalancerName>web</LoadBalancerName>"),
        ok("POST /_sluice/reset", "<ResetResult>"),
        ok("Action=DescribeLoadBalancers", empty).after("POST /_sluice/reset"),
        no("GET /_sluice/reset", UnknownOperation, "GET /_sluice/reset is not served"),
        no("PUT / Action=DescribeLoadBalancers", UnknownOperation, "PUT / is not served"),
        no("GET /metrics", UnknownOperation, "GET /metrics is not served"),
        no("POST /v2 Action=DescribeLoadBalancers", UnknownOperation, "served by POST and GET at /"),
        no("Name=x", MissingAction, "must contain the parameter Action"),
        no("Action=", MissingAction, "must contain the parameter Action"),
        no("GET /", MissingAction, "must contain the parameter Action"),
        ok(
            "POST /?Action=DescribeLoadBalancers&Version=2015-12-01",
            "<LoadBalancerName>web</LoadBalancerName>",
        ),
        no("Action=Nothing", InvalidAction, "Could not find operation Nothing for version 2015-12-01"),
        no("Action=describeLoadBalancers", InvalidAction, "Could not find operation describeLoadBalancers"),
        no(
            "Action=<x>",
            InvalidAction,
            "<Message>Could not find operation &lt;x&gt; for version 2015-12-01</Message>",
        ),
        no(
            "Action=DescribeLoadBalancers&Version=2012-06-01",
            InvalidAction,
            "Could not find operation DescribeLoadBalancers for version 2012-06-01",
        ),
        no("POST / Action=DescribeLoadBalancers", InvalidAction, "for version NO_VERSION_SPECIFIED"),
        no("Action=DescribeLoadBalancers&Names.member.1=%zz", MalformedQueryString, "two hexadecimal digits"),
        no("Action=DescribeLoadBalancers&Names.member.1=%f", MalformedQueryString, "two hexadecimal digits"),
        no("Action=DescribeLoadBalancers&Names.member.1=%ff", MalformedQueryString, "not UTF-8"),
        no("Action=DescribeLoadBalancers&Action=DescribeTags", MalformedQueryString, "Action is given twice"),
        no(
            "Action=DescribeLoadBalancers&a.b.c.d.e.f.g.h.i.j.k.l.m=1",
            MalformedQueryString,
            "more than 12 parts",
        ),
        no("Action=DescribeLoadBalancers&Names=web", ValidationError, "Value 'web' at 'names' failed"),
        no("Action=DescribeLoadBalancers&Names.member.x=web", ValidationError, "at 'names' failed"),
        no(
            "Action=CreateLoadBalancer",
            ValidationError,
            "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null",
        ),
        no(
            "Action=CreateRule",
            ValidationError,
            "4 validation errors detected: Value null at 'listenerArn' failed to satisfy constraint: Member must not \
             be null; Value null at 'conditions' failed",
        ),
    ];
    for operation in lb_userspace::api::domain::ELSEWHERE {
        let message = format!("{operation} is not supported: this server has network load balancers only");
        cases.push(no(&format!("Action={operation}"), OperationNotPermitted, &message));
    }
    cases.extend(required());
    cases
}

/// Of every operation the required members: a request without any is refused, and names the first.
fn required() -> Vec<Case> {
    let of = |operation: &lb_userspace::api::domain::Operation| {
        let lb_userspace::api::shapes::Kind::Structure(members) = (operation.input)().kind else {
            return None;
        };
        let first = members.iter().find(|member| member.required)?.name;
        let first = format!("{}{}", first[..1].to_lowercase(), &first[1..]);
        let message =
            format!("Value null at '{first}' failed to satisfy constraint: Member must not be null");
        Some(no(&format!("Action={}", operation.name), ValidationError, &message))
    };
    lb_userspace::api::domain::OPERATIONS.iter().filter_map(of).collect()
}
