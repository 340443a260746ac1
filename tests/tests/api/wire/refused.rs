//! Rules, certificates, policies: understood, and refused.

use lb_userspace::api::protocol::Code::{
    CertificateNotFound, InvalidConfigurationRequest, InvalidLoadBalancerAction, ListenerNotFound,
    OperationNotPermitted, RuleNotFound, SSLPolicyNotFound, ValidationError,
};

use super::case::{Case, no, ok};

pub(crate) fn cases() -> Vec<Case> {
    let zero = "0000000000000000";
    let listener = format!("arn:aws:elasticloadbalancing:local:000000000000:listener/net/web/{zero}/{zero}");
    let rule =
        format!("arn:aws:elasticloadbalancing:local:000000000000:listener-rule/net/web/{zero}/{zero}/{zero}");
    let create = |listener: &str, action: &str| {
        format!(
            "Action=CreateRule&ListenerArn={listener}&Priority=1&Conditions.member.1.Field=source-ip&Actions.member.1.{action}"
        )
    };
    let forward = "Type=forward&Actions.member.1.TargetGroupArn={spare}";
    let certificate = |action: &str, listener: &str| {
        format!("Action={action}&ListenerArn={listener}&Certificates.member.1.CertificateArn=c")
    };
    vec![
        no(&create("{listener}", forward), InvalidConfigurationRequest, "Rules are not supported yet"),
        no(&create("{listener}", "Type=redirect"), InvalidLoadBalancerAction, "'redirect'"),
        no(&create(&listener, forward), ListenerNotFound, "does not exist"),
        no(
            &create("{listener}", forward).replace("Priority=1", "Priority=50001"),
            ValidationError,
            "less than or equal to 50000",
        ),
        ok(
            "Action=DescribeRules&ListenerArn={listener}",
            "<RuleArn>{rule}</RuleArn><Priority>default</Priority>",
        ),
        ok("Action=DescribeRules&RuleArns.member.1={rule}", "<IsDefault>true</IsDefault>"),
        no(
            "Action=DescribeRules",
            ValidationError,
            "You must specify either listener rule ARNs or a listener ARN",
        ),
        no(
            "Action=DescribeRules&ListenerArn={listener}&RuleArns.member.1={rule}",
            ValidationError,
            "at the same time",
        ),
        no(
            &format!("Action=DescribeRules&RuleArns.member.1={rule}"),
            RuleNotFound,
            "One or more rules not found",
        ),
        no(
            "Action=DescribeRules&RuleArns.member.1=x",
            ValidationError,
            "'x' is not a valid listener rule ARN",
        ),
        no(&format!("Action=DescribeRules&ListenerArn={listener}"), ListenerNotFound, "does not exist"),
        no(
            "Action=DeleteRule&RuleArn={rule}",
            OperationNotPermitted,
            "Default rule '{rule}' cannot be deleted",
        ),
        no(&format!("Action=DeleteRule&RuleArn={rule}"), RuleNotFound, "One or more rules not found"),
        no("Action=ModifyRule&RuleArn={rule}", OperationNotPermitted, "cannot be modified"),
        no(&format!("Action=ModifyRule&RuleArn={rule}"), RuleNotFound, "One or more rules not found"),
        no(
            "Action=SetRulePriorities&RulePriorities.member.1.RuleArn={rule}&RulePriorities.member.1.Priority=1",
            OperationNotPermitted,
            "cannot be changed",
        ),
        no(
            &format!("Action=SetRulePriorities&RulePriorities.member.1.RuleArn={rule}"),
            RuleNotFound,
            "One or more",
        ),
        no(
            "Action=SetRulePriorities&RulePriorities.member.1.Priority=1",
            ValidationError,
            "A rule ARN must be specified",
        ),
        no("Action=SetRulePriorities&RulePriorities=", ValidationError, "At least one rule priority"),
        no(
            &certificate("AddListenerCertificates", "{listener}"),
            CertificateNotFound,
            "Certificate 'c' not found",
        ),
        no(
            "Action=AddListenerCertificates&ListenerArn={listener}&Certificates=",
            ValidationError,
            "At least one certificate ARN",
        ),
        no(&certificate("AddListenerCertificates", &listener), ListenerNotFound, "does not exist"),
        no(
            &certificate("RemoveListenerCertificates", "{listener}"),
            OperationNotPermitted,
            "The listener has no certificates",
        ),
        ok("Action=DescribeListenerCertificates&ListenerArn={listener}", "<Certificates></Certificates>"),
        no(
            &format!("Action=DescribeListenerCertificates&ListenerArn={listener}"),
            ListenerNotFound,
            "does not exist",
        ),
        ok("Action=DescribeSSLPolicies", "<SslPolicies></SslPolicies>"),
        ok("Action=DescribeSSLPolicies&LoadBalancerType=network", "<SslPolicies></SslPolicies>"),
        no("Action=DescribeSSLPolicies&Names.member.1=p", SSLPolicyNotFound, "SSL policy 'p' not found"),
        no("Action=DescribeSSLPolicies&LoadBalancerType=x", ValidationError, "enum value set"),
    ]
}
