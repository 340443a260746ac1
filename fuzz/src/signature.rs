//! Signatures: in a header field, and in the query of a presigned URL.
//!
//! An input is the head of a request, `METHOD TARGET` and a line a header field, an empty line, and the body. What
//! holds: what is refused is refused with a code of signatures; the request is accepted when it is signed as it stands,
//! and refused when its body or its query is another one then.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::protocol::Code;
use lb_userspace::api::signature::{Credentials, Guard, SERVICE, Scope, Signed, sign};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const CREDENTIALS: &str = r#"{ "credentials": [ { "access_key_id": "AKIDEXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "role": "admin" } ] }"#;
const DATE: &str = "20150830";
const TIME: &str = "20150830T123600Z";

static GUARD: LazyLock<Guard> =
    LazyLock::new(|| Guard::signed(Credentials::parse(CREDENTIALS).expect("a constant")));

/// Identifies the sender of a request as it is, signed, and changed after it was signed.
///
/// # Panics
/// When one of the three is not as it should be.
pub fn signature(input: &[u8]) {
    let Some((method, uri, mut headers, body)) = request(input) else { return };
    identify(&method, &uri, &headers, body);
    for name in ["authorization", "x-amz-security-token", "x-amz-content-sha256"] {
        headers.remove(name);
    }
    if uri.query().is_some_and(|query| query.contains("X-Amz-") || query.contains('%')) {
        return;
    }
    headers.insert("host", HeaderValue::from_static("localhost"));
    headers.insert("x-amz-date", HeaderValue::from_static(TIME));
    let authorization = authorization(&method, &uri, &headers, body);
    headers
        .insert("authorization", HeaderValue::try_from(authorization).expect("hexadecimal digits and names"));
    assert!(identify(&method, &uri, &headers, body), "what is signed is refused: {headers:?}");
    let longer = [body, b"x"].concat();
    assert!(!identify(&method, &uri, &headers, &longer), "another body is let in");
    let target = format!("{}{}x=1", uri, if uri.query().is_some() { "&" } else { "?" });
    if let Ok(other) = target.parse() {
        assert!(!identify(&method, &other, &headers, body), "another query is let in");
    }
}

/// Whether the sender is known.
fn identify(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> bool {
    let signed = Signed::of_parts(method, uri.path(), uri.query().unwrap_or(""), headers, body);
    let now = Timestamp::parse_basic(TIME).expect("a constant");
    let Err(error) = GUARD.identify(&signed, now) else { return true };
    let codes = [
        Code::MissingAuthenticationToken,
        Code::InvalidClientTokenId,
        Code::IncompleteSignature,
        Code::SignatureDoesNotMatch,
        Code::RequestExpired,
    ];
    assert!(codes.contains(&error.code), "{error}");
    false
}

/// The field that signs the request with all of its header fields.
fn authorization(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> String {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let scope = Scope { date: DATE, region: "local", service: SERVICE };
    let signed = Signed::of_parts(method, uri.path(), uri.query().unwrap_or(""), headers, body);
    let signature = sign(&signed, &scope, TIME, &names, SECRET).expect("every header field is there");
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{DATE}/local/{SERVICE}/aws4_request, SignedHeaders={}, \
         Signature={hex}",
        names.join(";")
    )
}

/// The request that an input tells, if it does.
fn request(input: &[u8]) -> Option<(Method, Uri, HeaderMap, &[u8])> {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some((method.parse().ok()?, target.parse().ok()?, headers, body))
}
