//! Makes requests: right ones, and those that are wrong in one thing.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::signature::{SERVICE, Scope, Signed, sign};

use crate::served::SECRET;

/// A request that reads.
pub(super) const READ: &str = "Action=DescribeLoadBalancers&Version=2015-12-01";

/// A request that would change something.
pub(super) const CHANGE: &str =
    "Action=CreateLoadBalancer&Version=2015-12-01&Type=network&Subnets.member.1=subnet-b&Name=evil";

/// How a request is signed.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) at: Timestamp,
    /// The scope's date, if it is not the time's.
    pub(super) date: Option<String>,
    /// More header fields, signed as well.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Signer {
    /// Signs with the key of a role, now.
    pub(super) fn of(role: &str) -> Signer {
        Signer {
            key: role.to_owned(),
            secret: SECRET.to_owned(),
            region: "local".to_owned(),
            service: SERVICE.to_owned(),
            at: Timestamp::now(),
            date: None,
            fields: Vec::new(),
        }
    }

    /// The same `seconds` earlier, or later if negative.
    pub(super) fn earlier(mut self, seconds: i64) -> Signer {
        self.at = match u64::try_from(seconds) {
            Ok(seconds) => Timestamp(self.at.0 - seconds * 1000),
            Err(_) => self.at.after(Duration::from_secs(seconds.unsigned_abs())),
        };
        self
    }

    /// With a header field that is signed as well.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Signer {
        self.fields.push((name, value.to_owned()));
        self
    }

    /// The signed request as it goes over the wire.
    pub(super) fn post(&self, body: &[u8]) -> Vec<u8> {
        let time = basic(self.at);
        let mut fields = vec![("host", "localhost".to_owned()), ("x-amz-date", time.clone())];
        fields.extend(self.fields.iter().cloned());
        fields.sort();
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()))
            .collect();
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let signed = Signed::of_parts(&Method::POST, "/", "", &headers, body);
        let signature = hex(&sign(&signed, &self.scope(&time), &time, &names, &self.secret).unwrap());
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let authorization = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={signature}\r\n",
            self.credential(&time),
            names.join(";")
        );
        post_with(&format!("{lines}{authorization}"), body)
    }

    /// A presigned request as it goes over the wire, good for `seconds`.
    pub(super) fn presigned(&self, form: &str, seconds: u64) -> Vec<u8> {
        let time = basic(self.at);
        let credential = self.credential(&time).replace('/', "%2F");
        let query = format!(
            "{form}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={time}\
             &X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host"
        );
        let headers: HeaderMap =
            [(HeaderName::from_static("host"), HeaderValue::from_static("localhost"))].into_iter().collect();
        let signed = Signed::of_parts(&Method::GET, "/", &query, &headers, b"");
        let signature = hex(&sign(&signed, &self.scope(&time), &time, &["host"], &self.secret).unwrap());
        format!("GET /?{query}&X-Amz-Signature={signature} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
    }

    fn date<'a>(&'a self, time: &'a str) -> &'a str {
        self.date.as_deref().unwrap_or(&time[..8])
    }

    fn scope<'a>(&'a self, time: &'a str) -> Scope<'a> {
        Scope { date: self.date(time), region: &self.region, service: &self.service }
    }

    fn credential(&self, time: &str) -> String {
        format!("{}/{}/{}/{}/aws4_request", self.key, self.date(time), self.region, self.service)
    }
}

/// A `POST` with these lines of header fields.
pub(super) fn post_with(lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The first `from` of some bytes replaced by `to`.
///
/// # Panics
/// Where it is not in them.
pub(super) fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{from:?} is not in {:?}", String::from_utf8_lossy(bytes)));
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}

/// `20261121T204553Z`.
fn basic(time: Timestamp) -> String {
    let text: String = time.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}Z", &text[..15])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
