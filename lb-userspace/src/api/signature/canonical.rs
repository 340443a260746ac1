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

/// The parameter of a query that is not covered by the signature, because it is the signature.
pub(super) const SIGNATURE: &str = "X-Amz-Signature";

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

/// Bytes, because a header's value need not be UTF-8, and two values must never look the same.
fn canonical(request: &Signed, signed_headers: &[&str]) -> Option<Vec<u8>> {
    let mut text =
        format!("{}\n{}\n{}\n", request.method, request.path, canonical_query(request.query)).into_bytes();
    for name in signed_headers {
        let values = request.headers.get_all(*name).iter();
        let values: Vec<Vec<u8>> = values.map(|value| trimmed(value.as_bytes())).collect();
        if values.is_empty() {
            return None;
        }
        text.extend([name.as_bytes(), b":", &values.join(&b","[..]), b"\n"].concat());
    }
    text.extend(format!("\n{}\n{}", signed_headers.join(";"), hex(&request.body_hash)).into_bytes());
    Some(text)
}

/// A header's value with runs of spaces made one.
fn trimmed(value: &[u8]) -> Vec<u8> {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b" "[..])
}

/// The pairs of a query but for the signature, encoded in the one way that signatures know, and sorted by name and
/// value.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .filter(|(name, _)| name != SIGNATURE)
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encodes all bytes but those that RFC 3986 calls unreserved, whichever were encoded before and however.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, escaped(after)) {
            (b'%', Some(byte)) => (byte, &after[2..]),
            // What a form means by it.
            (b'+', _) => (b' ', after),
            (other, _) => (*other, after),
        };
        rest = after;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            other => write!(encoded, "%{other:02X}").expect("a string takes any text"),
        }
    }
    encoded
}

/// The byte that the two hexadecimal digits at the beginning stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit =
        |at: usize| char::from(*digits.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(0)? << 4 | digit(1)?)
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Bytes as lower-case hexadecimal digits.
pub(in crate::api) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_one_canonical_form() {
        for (query, expected) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a&b=", "a=&b="),
            ("a=%2f&b=%7e&c=/&d=%41", "a=%2F&b=~&c=%2F&d=A"),
            ("a=x+y&b=x%20y&c=x%2By", "a=x%20y&b=x%20y&c=x%2By"),
            ("a.b=1&a-b=2&a=3", "a=3&a-b=2&a.b=1"),
            ("a=2&a=10&a=1", "a=1&a=10&a=2"),
            ("a=1&X-Amz-Signature=00", "a=1"),
            ("a=%&b=%f&c=%zz", "a=%25&b=%25f&c=%25zz"),
            ("a=b=c&&=d", "=d&a=b%3Dc"),
        ] {
            assert_eq!(canonical_query(query), expected, "{query}");
        }
    }

    #[test]
    fn spaces_of_a_header_are_made_one_and_bytes_are_kept() {
        assert_eq!(trimmed(b"  a   b\t c "), b"a b c");
        assert_ne!(trimmed(b"\xff"), trimmed(b"\xfe"));
    }
}
