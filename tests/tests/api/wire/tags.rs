//! Tags.

use lb_userspace::api::protocol::Code::{
    DuplicateTagKeys, ListenerNotFound, LoadBalancerNotFound, RuleNotFound, TargetGroupNotFound, TooManyTags,
    TrustStoreNotFound, ValidationError,
};

use super::case::{Case, no, ok};

pub(crate) fn cases() -> Vec<Case> {
    let add = |arn: &str, tags: &str| format!("Action=AddTags&ResourceArns.member.1={arn}&{tags}");
    let one = "Tags.member.1.Key=env&Tags.member.1.Value=prod";
    let get = |arn: &str| format!("Action=DescribeTags&ResourceArns.member.1={arn}");
    let remove = |arn: &str, keys: &str| format!("Action=RemoveTags&ResourceArns.member.1={arn}&{keys}");
    let shape = "<Tags><member><Key>env</Key><Value>prod</Value></member></Tags>";
    let mut cases = vec![];
    for arn in ["{lb}", "{tg}", "{listener}"] {
        cases.push(ok(&add(arn, one), "<AddTagsResult></AddTagsResult>"));
        cases.push(ok(&get(arn), shape).after(&add(arn, one)));
        cases.push(ok(&get(arn), "<Tags></Tags>"));
        cases.push(
            ok(&get(arn), "<Tags></Tags>").after(&add(arn, one)).after(&remove(arn, "TagKeys.member.1=env")),
        );
        cases.push(ok(&remove(arn, "TagKeys.member.1=nothing"), "<RemoveTagsResult></RemoveTagsResult>"));
    }
    let prefix = "arn:aws:elasticloadbalancing:local:000000000000:";
    let zero = "0000000000000000";
    for (path, code, message) in [
        (
            format!("loadbalancer/net/web/{zero}"),
            LoadBalancerNotFound,
            "One or more load balancers not found",
        ),
        (
            format!("loadbalancer/app/web/{zero}"),
            LoadBalancerNotFound,
            "One or more load balancers not found",
        ),
        (format!("targetgroup/web/{zero}"), TargetGroupNotFound, "One or more target groups not found"),
        (format!("listener/net/web/{zero}/{zero}"), ListenerNotFound, "One or more listeners not found"),
        (format!("listener-rule/net/web/{zero}/{zero}/{zero}"), RuleNotFound, "One or more rules not found"),
        (format!("truststore/x/{zero}"), TrustStoreNotFound, "One or more trust stores not found"),
    ] {
        let arn = format!("{prefix}{path}");
        cases.extend([
            no(&get(&arn), code, message),
            no(&add(&arn, one), code, message),
            no(&remove(&arn, "TagKeys.member.1=a"), code, message),
        ]);
    }
    let fifty: String = (1..=50).map(|at| format!("&Tags.member.{at}.Key=k{at}")).collect();
    let many: String = (1..=21).map(|at| format!("&ResourceArns.member.{at}={{lb}}")).collect();
    cases.extend([
        ok(&get("{rule}"), "<Tags></Tags>"),
        no(&add("{rule}", one), ValidationError, "The default rule of a listener cannot have tags"),
        ok(&add("{lb}", "Tags.member.1.Key=Gr%C3%B6%C3%9Fe&Tags.member.1.Value=a+b:/=%2B-@."), "<AddTagsResult>"),
        ok(&get("{lb}"), "<Key>Größe</Key><Value>a b:/=+-@.</Value>").after(&add("{lb}", "Tags.member.1.Key=Gr%C3%B6%C3%9Fe&Tags.member.1.Value=a+b:/=%2B-@.")),
        ok(&get("{lb}"), "<Key>a</Key><Value></Value>").after(&add("{lb}", "Tags.member.1.Key=a")),
        ok(&get("{lb}"), "<Value>test</Value>").after(&add("{lb}", one)).after(&add("{lb}", "Tags.member.1.Key=env&Tags.member.1.Value=test")),
        ok(&add("{lb}", &fifty[1..]), "<AddTagsResult>"),
        no(&add("{lb}", one), TooManyTags, "at most 50 tags").after(&add("{lb}", &fifty[1..])),
        no(&add("{lb}", &format!("{one}&Tags.member.2.Key=env")), DuplicateTagKeys, "specified more than once"),
        no(&add("{lb}", "Tags.member.1.Key=aws:x"), ValidationError, "is reserved"),
        no(&add("{lb}", "Tags.member.1.Key="), ValidationError, "at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1"),
        no(&add("{lb}", &format!("Tags.member.1.Key={}", "k".repeat(129))), ValidationError, "less than or equal to 128"),
        no(&add("{lb}", &format!("Tags.member.1.Key=k&Tags.member.1.Value={}", "v".repeat(257))), ValidationError, "less than or equal to 256"),
        no(&add("{lb}", "Tags.member.1.Key=a<b"), ValidationError, "Member must satisfy regular expression pattern"),
        no(&add("{lb}", "Tags.member.1.Key=a&Tags.member.1.Value=!"), ValidationError, "Value '!' at 'tags.1.member.value'"),
        no(&get("web"), ValidationError, "'web' is not a valid resource ARN"),
        no("Action=DescribeTags&ResourceArns=", ValidationError, "At least one resource ARN must be specified"),
        no(&format!("Action=DescribeTags{many}"), ValidationError, "At most 20 resources"),
        // One of several is not there: nothing is tagged.
        no(&format!("{}&ResourceArns.member.2={prefix}targetgroup/x/{zero}", add("{lb}", one)), TargetGroupNotFound, "One or more"),
    ]);
    cases
}
