//! The real clients: boto3 and the aws CLI.

use crate::served::{Served, has_clients};

const STORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/boto3_story.py");

fn tell_story(served: &Served) {
    let told = served.client("python", "admin", &[STORY, &served.url()]).unwrap();
    assert!(told.ends_with("everything deleted"), "{told}");
}

#[test]
fn boto3_creates_changes_and_deletes_everything() {
    if has_clients() {
        tell_story(&Served::open().unwrap());
    }
}

#[test]
fn boto3_signs_and_is_let_in() {
    if has_clients() {
        tell_story(&Served::signed().unwrap());
    }
}

#[test]
fn boto3_comes_by_tls() {
    if !has_clients() {
        return;
    }
    let served = Served::secured().unwrap();
    tell_story(&served);
    let plain = format!("http://{}", served.address);
    let error =
        served.client("aws", "admin", &["elbv2", "describe-account-limits", "--endpoint-url", &plain]);
    assert!(error.is_err(), "plain text was answered");
}

#[test]
fn the_aws_cli_needs_only_an_endpoint() {
    if !has_clients() {
        return;
    }
    let served = Served::signed().unwrap();
    let aws = |role: &str, words: &str| {
        let words: Vec<&str> = ["elbv2"].into_iter().chain(words.split_whitespace()).collect();
        served.client("aws", role, &words)
    };
    let create = "create-load-balancer --name cli --type network --subnets subnet-a --query LoadBalancers[0].LoadBalancerArn";
    let arn = aws("admin", &format!("{create} --output text")).unwrap();
    assert!(
        arn.starts_with("arn:aws:elasticloadbalancing:local:000000000000:loadbalancer/net/cli/"),
        "{arn}"
    );
    aws("reader", &format!("wait load-balancer-available --load-balancer-arns {arn}")).unwrap();
    let group = "create-target-group --name cli --protocol UDP --port 53 --vpc-id vpc-1 --target-type ip \
                 --query TargetGroups[0].TargetGroupArn --output text";
    let group = aws("admin", group).unwrap();
    aws(
        "operator",
        &format!("register-targets --target-group-arn {group} --targets Id=10.0.1.1 Id=10.0.1.2"),
    )
    .unwrap();
    let health =
        format!("describe-target-health --target-group-arn {group} --query length(TargetHealthDescriptions)");
    assert_eq!(aws("reader", &health).unwrap(), "2");
    for (role, words) in
        [("operator", format!("delete-target-group --target-group-arn {group}")), ("reader", create.into())]
    {
        let error = format!("{:#}", aws(role, &words).unwrap_err());
        assert!(error.contains("AccessDenied") && error.contains(&format!("its role is {role}")), "{error}");
    }
    aws("admin", &format!("delete-load-balancer --load-balancer-arn {arn}")).unwrap();
    aws("admin", &format!("wait load-balancers-deleted --load-balancer-arns {arn}")).unwrap();
}
