//! The canonical request, and its signature.

use std::fmt::Write;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::Signed;

/// What a signing key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `20150830`.
    pub date: &'a str,
    /// The region that the client has in mind.
    pub region: &'a str,
    /// The service.
    pub service: &'a str,
}

/// The signature of a request: of what `signed_headers` names, at `time` (`20150830T123600Z`). None if one of the
/// header fields is not there.
pub fn sign(
    request: &Signed,
    scope: &Scope,
    time: &str,
    signed_headers: &[&str],
    secret: &str,
) -> Option<[u8; 32]> {
    let canonical = canonical(request, signed_headers)?;
    let Scope { date, region, service } = scope;
    let hash = hex(&Sha256::digest(canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{date}/{region}/{service}/aws4_request\n{hash}");
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date);
    for part in [region, service, "aws4_request"] {
        key = hmac(&key, part);
    }
    Some(hmac(&key, &to_sign))
}

fn canonical(request: &Signed, signed_headers: &[&str]) -> Option<String> {
    let mut text = format!("{}\n{}\n{}\n", request.method, request.path, query(request.query));
    for name in signed_headers {
        let values = request.headers.get_all(*name).iter();
        let values: Vec<String> = values.map(|value| trimmed(value.as_bytes())).collect();
        if values.is_empty() {
            return None;
        }
        writeln!(text, "{name}:{}", values.join(",")).expect("a string takes any text");
    }
    let names = signed_headers.join(";");
    write!(text, "\n{names}\n{}", hex(&request.body_hash)).expect("a string takes any text");
    Some(text)
}

/// A header's value with runs of spaces made one.
fn trimmed(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The pairs of a query, encoded in the one way that signatures know, and sorted.
fn query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", encoded(name), encoded(value))
        })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Percent-encodes what RFC 3986 does not call unreserved; what is encoded already stays so.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' => {
                encoded.push(byte.into())
            }
            b'+' => encoded.push_str("%20"),
            other => write!(encoded, "%{other:02X}").expect("a string takes any text"),
        }
    }
    encoded
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}
