//! Presigned URLs: botocore's, and what is made of them.

use super::*;

/// `generate_presigned_url("describe_load_balancers", Params={"Names": ["a b", "ü/~*"]}, ExpiresIn=900)` at [`TIME`],
/// without the signature.
const QUERY: &str = "Action=DescribeLoadBalancers&Version=2015-12-01&Names.member.1=a%20b\
    &Names.member.2=%C3%BC%2F~%2A&X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Felasticloadbalancing%2Faws4_request\
    &X-Amz-Date=20150830T123600Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host";

/// The same with `HttpMethod="GET"`, and without, which makes it a `POST`.
const GET: &str = "7645eae909ddd7dcd40565d0c68b3501503c75d5ad3938e65acd576caf0dfc63";
const POST: &str = "c79936ca15f264900002816e1ce2eea93f82f352efe4719e97a58c9cd4ac0a39";

fn identify(
    guard: &Guard,
    query: &str,
    extra: &[(&str, &str)],
    body: &[u8],
    now: Timestamp,
) -> Result<Caller, Code> {
    let headers = headers(&[&[("host", "127.0.0.1:8440")], extra].concat());
    guard.identify(&signed(&Method::GET, query, &headers, body), now).map_err(|error| error.code)
}

/// The code with which botocore's URL with this difference is refused.
fn refused(from: &str, to: &str) -> Option<Code> {
    let query = format!("{QUERY}&X-Amz-Signature={GET}");
    assert!(query.contains(from), "{from}");
    identify(&guard(), &query.replacen(from, to, 1), &[], b"", now()).err()
}

/// A presigned query with these fields in place of botocore's, signed as it is.
fn presigned(from: &str, to: &str) -> String {
    let query = QUERY.replacen(from, to, 1);
    let headers = headers(&[("host", "127.0.0.1:8440")]);
    let scope = Scope { date: "20150830", region: "us-east-1", service: SERVICE };
    let signature =
        sign(&signed(&Method::GET, &query, &headers, b""), &scope, TIME, &["host"], SECRET).unwrap();
    format!("{query}&X-Amz-Signature={}", canonical::hex(&signature))
}

#[test]
fn botocores_urls_are_let_in() {
    assert_eq!(refused("", ""), None);
    let headers = headers(&[("host", "127.0.0.1:8440")]);
    let query = format!("{QUERY}&X-Amz-Signature={POST}");
    assert!(guard().identify(&signed(&Method::POST, &query, &headers, b""), now()).is_ok());
    assert_eq!(presigned("", ""), format!("{QUERY}&X-Amz-Signature={GET}"));
}

#[test]
fn another_order_or_encoding_is_the_same_query() {
    let (action, rest) = QUERY.split_once('&').unwrap();
    let query = format!("X-Amz-Signature={GET}&{rest}&{action}");
    assert_eq!(identify(&guard(), &query, &[], b"", now()).err(), None);
    assert_eq!(refused("%2F~%2A", "%2f%7E*"), None);
}

#[test]
fn what_was_signed_otherwise_is_refused() {
    let wrong = Some(Code::SignatureDoesNotMatch);
    for (from, to) in [
        ("DescribeLoadBalancers", "DescribeTargetGroups"),
        ("a%20b", "a%20c"),
        ("X-Amz-Expires=900", "X-Amz-Expires=901"),
        ("us-east-1", "us-east-2"),
        ("elasticloadbalancing", "ec2"),
        ("20150830%2F", "20150831%2F"),
        ("X-Amz-Signature=7", "X-Amz-Signature=8"),
        ("&X-Amz-Algorithm", "&Extra=1&X-Amz-Algorithm"),
    ] {
        assert_eq!(refused(from, to), wrong, "{to}");
    }
    let query = format!("{QUERY}&X-Amz-Signature={GET}");
    assert_eq!(identify(&guard(), &query, &[], b"x", now()).err(), wrong);
    assert_eq!(
        identify(&guard(), &query, &[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")], b"", now()).err(),
        wrong
    );
}

#[test]
fn incomplete_urls_are_refused() {
    let incomplete = Some(Code::IncompleteSignature);
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        let (given, other) = (format!("&X-Amz-{name}="), format!("&X-Other-{name}="));
        assert_eq!(refused(&given, &other), incomplete, "{name} is missing");
        assert_eq!(refused(&given, &format!("&X-Amz-{name}=x{given}")), incomplete, "{name} is given twice");
    }
    for (from, to) in [
        ("HMAC-SHA256", "HMAC-SHA512"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=x-amz-date"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=Host"),
        ("20150830T123600Z", "yesterday"),
        (&GET[..4], "zzzz"),
    ] {
        assert_eq!(refused(from, to), incomplete, "{to}");
    }
    let query = format!("{QUERY}&X-Amz-Signature={GET}");
    let both = [("authorization", AUTHORIZATION), ("x-amz-date", TIME)];
    assert_eq!(identify(&guard(), &query, &both, b"", now()).err(), incomplete);
    assert_eq!(
        refused("&X-Amz-Date", "&X-Amz-Security-Token=x&X-Amz-Date"),
        Some(Code::InvalidClientTokenId)
    );
    assert_eq!(refused("AKIDEXAMPLE", "AKIDOTHER"), Some(Code::InvalidClientTokenId));
}

#[test]
fn a_url_is_good_for_a_second_to_a_week() {
    for (expires, is_good) in [
        ("1", true),
        ("604800", true),
        ("604801", false),
        ("0", false),
        ("", false),
        ("-1", false),
        ("%2B1", false),
        ("1.0", false),
        ("18446744073709551616", false),
    ] {
        let query = presigned("X-Amz-Expires=900", &format!("X-Amz-Expires={expires}"));
        let expected = (!is_good).then_some(Code::IncompleteSignature);
        assert_eq!(identify(&guard(), &query, &[], b"", now()).err(), expected, "{expires}");
    }
    let query = presigned("", "");
    let at = |seconds: i64| {
        let now = Timestamp(now().0.checked_add_signed(seconds * 1000).unwrap());
        identify(&guard(), &query, &[], b"", now).err()
    };
    for seconds in [-300, 0, 301, 900] {
        assert_eq!(at(seconds), None, "{seconds}");
    }
    for seconds in [-301, 901, 100_000] {
        assert_eq!(at(seconds), Some(Code::RequestExpired), "{seconds}");
    }
}

#[test]
fn a_url_reads_as_often_as_one_likes_and_changes_once() {
    let guard = guard();
    let query = presigned("", "");
    let later = now().after(Duration::from_secs(800));
    for now in [now(), later] {
        let caller = identify(&guard, &query, &[], b"", now).unwrap();
        let turn = guard.admit(&caller, false, now, State::default);
        assert!(matches!(turn, Ok(Turn::CarryOut(None))), "{turn:?}");
    }
    let caller = identify(&guard, &query, &[], b"", now()).unwrap();
    let first = guard.admit(&caller, true, now(), State::default);
    assert!(matches!(&first, Ok(Turn::CarryOut(Some(_)))), "{first:?}");
    drop(first);
    let again = guard.admit(&caller, true, later, State::default).map_err(|error| error.code);
    assert_eq!(again.unwrap_err(), Code::RequestExpired);
}
