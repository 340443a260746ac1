//! Signatures that others made: the published test vectors of Signature Version 4, and botocore's.

mod presigned;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20150830T123600Z";
const BODY: &[u8] = b"Action=DescribeLoadBalancers&Version=2015-12-01";

/// What botocore puts into `Authorization` for [`request`].
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
    Credential=AKIDEXAMPLE/20150830/us-east-1/elasticloadbalancing/aws4_request, \
    SignedHeaders=content-type;host;x-amz-date, \
    Signature=e8326e1373a76e277a7475e219ca0fe5814b4df35ed04009fa17586d6df7f631";

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn signed<'a>(method: &'a Method, query: &'a str, headers: &'a HeaderMap, body: &[u8]) -> Signed<'a> {
    Signed::of_parts(method, "/", query, headers, body)
}

/// Method, query, header fields, body, service, signature.
type Vector = (
    Method,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [u8],
    &'static str,
    &'static str,
);

#[test]
fn published_vectors_are_signed_as_published() {
    let vectors: [Vector; 4] = [
        (
            Method::GET,
            "",
            &[("host", "example.amazonaws.com")],
            b"",
            "service",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            Method::GET,
            "Param2=value2&Param1=value1",
            &[("host", "example.amazonaws.com")],
            b"",
            "service",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            Method::GET,
            "Action=ListUsers&Version=2010-05-08",
            &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
            ],
            b"",
            "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        (
            Method::POST,
            "",
            &[("content-type", "application/x-www-form-urlencoded"), ("host", "example.amazonaws.com")],
            b"Param1=value1",
            "service",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];
    for (method, query, fields, body, service, expected) in vectors {
        let headers = headers(&[fields, &[("x-amz-date", TIME)]].concat());
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).chain(["x-amz-date"]).collect();
        let scope = Scope { date: "20150830", region: "us-east-1", service };
        let signature = sign(&signed(&method, query, &headers, body), &scope, TIME, &names, SECRET).unwrap();
        assert_eq!(canonical::hex(&signature), expected, "{method} {query}");
    }
}

fn guard() -> Guard {
    let credentials = format!(
        r#"{{ "credentials": [ {{ "access_key_id": "AKIDEXAMPLE", "secret_access_key": "{SECRET}", "role": "admin" }} ] }}"#
    );
    Guard::signed(Credentials::parse(&credentials).unwrap())
}

fn now() -> Timestamp {
    Timestamp::parse_basic(TIME).unwrap()
}

/// The code with which a request is refused that differs from botocore's by these fields (an empty value takes the
/// field away), this body and this time.
fn refused(changed: &[(&str, &str)], body: &[u8], now: Timestamp) -> Option<Code> {
    let mut headers = headers(&[
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "127.0.0.1:8440"),
        ("x-amz-date", TIME),
        ("authorization", AUTHORIZATION),
    ]);
    for (name, value) in changed {
        headers.remove(*name);
        if !value.is_empty() {
            headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
    }
    guard().identify(&signed(&Method::POST, "", &headers, body), now).err().map(|error| error.code)
}

#[test]
fn botocores_request_is_let_in() {
    assert_eq!(refused(&[], BODY, now()), None);
    assert_eq!(refused(&[("accept-encoding", "gzip")], BODY, now()), None);
    assert_eq!(refused(&[("host", "  127.0.0.1:8440 ")], BODY, now()), None);
}

#[test]
fn what_was_signed_otherwise_is_refused() {
    let wrong = Some(Code::SignatureDoesNotMatch);
    assert_eq!(refused(&[("host", "127.0.0.1:8441")], BODY, now()), wrong);
    assert_eq!(refused(&[("content-type", "text/plain")], BODY, now()), wrong);
    assert_eq!(refused(&[("x-amz-date", "20150830T123601Z")], BODY, now()), wrong);
    assert_eq!(refused(&[("x-amz-date", "20150831T123600Z")], BODY, now()), wrong);
    assert_eq!(refused(&[], b"Action=DeleteLoadBalancer&Version=2015-12-01", now()), wrong);
    for (from, to) in
        [("us-east-1", "us-east-2"), ("elasticloadbalancing", "ec2"), ("Signature=", "Signature=0")]
    {
        let authorization = AUTHORIZATION.replace(from, to);
        let mut cut = authorization.clone();
        cut.truncate(AUTHORIZATION.len());
        let authorization = if from == "Signature=" { &cut } else { &authorization };
        assert_eq!(refused(&[("authorization", authorization)], BODY, now()), wrong, "{authorization}");
    }
}

#[test]
fn incomplete_signatures_are_refused() {
    assert_eq!(refused(&[("authorization", "")], BODY, now()), Some(Code::MissingAuthenticationToken));
    assert_eq!(refused(&[("x-amz-date", "")], BODY, now()), Some(Code::IncompleteSignature));
    assert_eq!(refused(&[("x-amz-date", "yesterday")], BODY, now()), Some(Code::IncompleteSignature));
    assert_eq!(refused(&[("content-type", "")], BODY, now()), Some(Code::IncompleteSignature));
    assert_eq!(refused(&[("x-amz-security-token", "x")], BODY, now()), Some(Code::InvalidClientTokenId));
    for end in 0..AUTHORIZATION.len() {
        let cut = AUTHORIZATION[..end].trim();
        let expected =
            if cut.is_empty() { Code::MissingAuthenticationToken } else { Code::IncompleteSignature };
        assert_eq!(refused(&[("authorization", cut)], BODY, now()), Some(expected), "{cut:?}");
    }
    for (from, to, code) in [
        ("AKIDEXAMPLE", "AKIDOTHER", Code::InvalidClientTokenId),
        ("host;", "", Code::IncompleteSignature),
        ("aws4_request", "aws5_request", Code::IncompleteSignature),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", Code::IncompleteSignature),
        ("content-type;host", "host;content-type", Code::IncompleteSignature),
        ("content-type;host", "host;host", Code::IncompleteSignature),
        ("content-type;host", "Content-Type;host", Code::IncompleteSignature),
        ("host;", "host;;", Code::IncompleteSignature),
        (", SignedHeaders", ", Credential=x, SignedHeaders", Code::IncompleteSignature),
    ] {
        let authorization = AUTHORIZATION.replace(from, to);
        assert_eq!(refused(&[("authorization", &authorization)], BODY, now()), Some(code), "{authorization}");
    }
}

#[test]
fn what_is_given_twice_is_refused() {
    for name in ["authorization", "x-amz-date", "host", "x-amz-content-sha256"] {
        let mut fields = headers(&[
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "127.0.0.1:8440"),
            ("x-amz-date", TIME),
            ("authorization", AUTHORIZATION),
        ]);
        let value = fields.get(name).cloned().unwrap_or(HeaderValue::from_static("x"));
        fields.insert(HeaderName::from_static(name), value.clone());
        fields.append(HeaderName::from_static(name), value);
        let error = guard().identify(&signed(&Method::POST, "", &fields, BODY), now()).unwrap_err();
        assert_eq!(error.code, Code::IncompleteSignature, "{name}: {error}");
    }
}

#[test]
fn a_body_is_signed_as_a_whole() {
    let hash = canonical::hex(&Sha256::digest(BODY));
    assert_eq!(refused(&[("x-amz-content-sha256", &hash)], BODY, now()), None);
    for hash in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &hash[1..]] {
        let code = refused(&[("x-amz-content-sha256", hash)], BODY, now());
        assert_eq!(code, Some(Code::SignatureDoesNotMatch), "{hash}");
    }
}

#[test]
fn a_guard_of_a_region_refuses_others() {
    let fields = headers(&[
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "127.0.0.1:8440"),
        ("x-amz-date", TIME),
        ("authorization", AUTHORIZATION),
    ]);
    let request = signed(&Method::POST, "", &fields, BODY);
    assert!(guard().in_region("us-east-1").identify(&request, now()).is_ok());
    let error = guard().in_region("local").identify(&request, now()).unwrap_err();
    assert_eq!(error.code, Code::SignatureDoesNotMatch);
    assert!(error.message.contains("not 'us-east-1': here it is 'local'"), "{error}");
}

#[test]
fn a_signature_is_good_for_minutes() {
    let late = now().after(SKEW);
    assert_eq!(refused(&[], BODY, late), None);
    assert_eq!(refused(&[], BODY, late.after(Duration::from_secs(1))), Some(Code::RequestExpired));
    assert_eq!(refused(&[], BODY, Timestamp(now().0 - 301_000)), Some(Code::RequestExpired));
}

#[test]
fn browsers_are_refused_where_nobody_signs() {
    let identify = |fields: &[(&str, &str)]| {
        let headers = headers(fields);
        Guard::Open.identify(&signed(&Method::POST, "", &headers, b""), now()).map(|caller| caller.role)
    };
    for host in ["127.0.0.1:8440", "127.0.0.1", "[::1]:8440", "[::1]", "localhost:8440", "localhost"] {
        assert_eq!(identify(&[("host", host)]), Ok(Role::Admin), "{host}");
    }
    for host in ["evil.example", "evil.example:8440", "localhost.evil.example", "", "x:1:2"] {
        assert_eq!(identify(&[("host", host)]).unwrap_err().code, Code::AccessDenied, "{host}");
    }
    assert_eq!(identify(&[("origin", "http://evil.example")]).unwrap_err().code, Code::AccessDenied);
    assert_eq!(identify(&[("sec-fetch-site", "cross-site")]).unwrap_err().code, Code::AccessDenied);
}
