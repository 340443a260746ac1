//! Who sent a request: Signature Version 4, verified.
//!
//! A signature is checked for its form, its time, its key, and then itself, in constant time. One that changes
//! something is good for one request. Without credentials nobody is asked who they are; such a server listens on the
//! loopback only and refuses what browsers send, because any web page could make them send it.

mod canonical;
mod credentials;
mod replay;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::calendar::Timestamp;
use super::domain::{Access, Operation};
use super::protocol::{ApiError, Code};
use super::service::Request;
pub use canonical::{Scope, sign};
pub use credentials::{Credential, Credentials, Role};
use replay::{Seen, Use};

/// How far a signature's time may be from this server's.
pub const SKEW: Duration = Duration::from_secs(300);

/// The service's name in scopes.
pub const SERVICE: &str = "elasticloadbalancing";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Lets requests in.
#[derive(Debug)]
pub enum Guard {
    /// Everybody may do everything. For the loopback only.
    Open,
    /// By signature and role.
    Signed(Verifier),
}

/// Knows the credentials, and the signatures that were used.
#[derive(Debug)]
pub struct Verifier {
    credentials: Credentials,
    seen: Arc<Mutex<Seen>>,
}

/// What a signature covers.
#[derive(Debug, Clone)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it was sent.
    pub path: &'a str,
    /// The query as it was sent.
    pub query: &'a str,
    /// All header fields; the signature names those that it covers.
    pub headers: &'a HeaderMap,
    /// The body's SHA-256.
    pub body_hash: [u8; 32],
    /// The connection's number, the same for all of its requests.
    pub connection: u64,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The access key id; none where nobody is asked.
    pub key_id: Option<String>,
    /// What they may do.
    pub role: Role,
    /// The signature and its time.
    signature: Option<([u8; 32], Timestamp)>,
    connection: u64,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key_id.as_deref().unwrap_or("anybody"))
    }
}

impl<'a> Signed<'a> {
    /// What the signature of a request with these parts covers.
    pub fn of_parts(
        method: &'a Method,
        path: &'a str,
        query: &'a str,
        headers: &'a HeaderMap,
        body: &[u8],
    ) -> Signed<'a> {
        Signed { method, path, query, headers, body_hash: Sha256::digest(body).into(), connection: 0 }
    }

    /// What the signature of a request covers.
    pub fn of(request: &'a Request) -> Signed<'a> {
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or(""));
        let signed = Signed::of_parts(&request.method, path, query, &request.headers, &request.body);
        Signed { connection: request.connection, ..signed }
    }
}

impl Guard {
    /// Lets in who has one of these credentials.
    pub fn signed(credentials: Credentials) -> Guard {
        Guard::Signed(Verifier { credentials, seen: Arc::default() })
    }

    /// This one in place of `earlier`, with the signatures that were used: what was good once is not good twice.
    pub fn after(self, earlier: &Guard) -> Guard {
        match (self, earlier) {
            (Guard::Signed(verifier), Guard::Signed(earlier)) => {
                Guard::Signed(Verifier { seen: Arc::clone(&earlier.seen), ..verifier })
            }
            (guard, _) => guard,
        }
    }

    /// Who sent the request.
    ///
    /// # Errors
    /// What is wrong with its signature.
    pub fn identify(&self, request: &Signed, now: Timestamp) -> Result<Caller, ApiError> {
        match self {
            Guard::Open => refuse_browsers(request.headers).map(|()| Caller {
                key_id: None,
                role: Role::Admin,
                signature: None,
                connection: request.connection,
            }),
            Guard::Signed(verifier) => verifier.identify(request, now),
        }
    }

    /// Refuses a signature that was used before, but for the second in which a client may well say the same twice.
    ///
    /// # Errors
    /// `RequestExpired`, upon which clients sign anew; `Throttling` when no more signatures can be remembered.
    pub fn check_first_use(&self, caller: &Caller, changes: bool, now: Timestamp) -> Result<(), ApiError> {
        let (Guard::Signed(verifier), Some((signature, signed))) = (self, caller.signature) else {
            return Ok(());
        };
        let mut seen = verifier.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.check(signature, signed, changes, Use { time: now, connection: caller.connection })
    }
}

/// A web page can make its reader's browser send requests to the loopback, but not without one of these fields, or,
/// where the page's own name leads to the loopback (DNS rebinding), with that name as the host.
fn refuse_browsers(headers: &HeaderMap) -> Result<(), ApiError> {
    let from_browser =
        ["origin", "sec-fetch-site", "sec-fetch-mode"].iter().any(|name| headers.contains_key(*name));
    let host = headers.get("host").map(|host| host.to_str().unwrap_or(""));
    if from_browser || !host.is_none_or(is_no_ones_name) {
        return Err(Code::AccessDenied.because(
            "A server without credentials refuses requests from browsers, and those for a host by name; use its address",
        ));
    }
    Ok(())
}

/// Whether a `Host` is an address or `localhost`, which no page can have for its name.
fn is_no_ones_name(host: &str) -> bool {
    let is_address =
        host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_address || host.split(':').next() == Some("localhost")
}

impl Caller {
    /// Refuses what the role may not do.
    pub(super) fn check(&self, operation: &Operation) -> Result<(), ApiError> {
        let may = match self.role {
            Role::Admin => Access::Changes,
            Role::Operator => Access::ChangesTargets,
            Role::Reader => Access::Reads,
        };
        if operation.access <= may { Ok(()) } else { Err(self.denied(operation.name)) }
    }

    /// Only an admin forgets everything.
    pub(super) fn check_reset(&self) -> Result<(), ApiError> {
        if self.role == Role::Admin { Ok(()) } else { Err(self.denied("Reset")) }
    }

    fn denied(&self, what: &str) -> ApiError {
        Code::AccessDenied.because(format!(
            "User: {self} is not authorized to perform: {SERVICE}:{what} because its role is {}",
            self.role
        ))
    }
}

/// The parts of an `Authorization` field.
struct Authorization<'a> {
    key_id: &'a str,
    scope: Scope<'a>,
    signed_headers: Vec<&'a str>,
    signature: [u8; 32],
}

impl Verifier {
    fn identify(&self, request: &Signed, now: Timestamp) -> Result<Caller, ApiError> {
        let field = request.headers.get("authorization").ok_or_else(|| {
            Code::MissingAuthenticationToken
                .because("Request is missing Authentication Token: it is not signed")
        })?;
        let field = field.to_str().map_err(|_| incomplete("Authorization header is not text"))?;
        let authorization = Authorization::parse(field)?;
        let time = self.check_time(request, &authorization, now)?;
        let invalid =
            || Code::InvalidClientTokenId.because("The security token included in the request is invalid.");
        if request.headers.contains_key("x-amz-security-token") {
            return Err(invalid());
        }
        let credential = self.credentials.of(authorization.key_id).ok_or_else(invalid)?;
        let Authorization { scope, signed_headers, signature, .. } = &authorization;
        let right = sign(request, scope, time.text, signed_headers, &credential.secret)
            .ok_or_else(|| incomplete("A header named in SignedHeaders is not in the request"))?;
        if !bool::from(right.ct_eq(signature)) {
            return Err(Code::SignatureDoesNotMatch.because(
                "The request signature we calculated does not match the signature you provided. Check your secret \
                 access key and signing method.",
            ));
        }
        Ok(Caller {
            key_id: Some(authorization.key_id.to_owned()),
            role: credential.role,
            signature: Some((right, time.time)),
            connection: request.connection,
        })
    }

    fn check_time<'r>(
        &self,
        request: &Signed<'r>,
        authorization: &Authorization,
        now: Timestamp,
    ) -> Result<Time<'r>, ApiError> {
        let text = request.headers.get("x-amz-date").and_then(|date| date.to_str().ok());
        let text = text.ok_or_else(|| {
            incomplete("Authorization header requires existence of the 'X-Amz-Date' header")
        })?;
        let time = Timestamp::parse_basic(text)
            .ok_or_else(|| incomplete("The 'X-Amz-Date' header must be like 20150830T123600Z"))?;
        if text.get(..8) != Some(authorization.scope.date) {
            return Err(Code::SignatureDoesNotMatch
                .because("Date in Credential scope does not match the date of the 'X-Amz-Date' header"));
        }
        if time.distance(now) > SKEW {
            let skew = SKEW.as_secs() / 60;
            return Err(Code::RequestExpired.because(format!(
                "Signature expired: it is of {text}, and it is {now} here; {skew} min. may be between"
            )));
        }
        Ok(Time { text, time })
    }
}

/// A signature's time.
struct Time<'a> {
    text: &'a str,
    time: Timestamp,
}

impl<'a> Authorization<'a> {
    fn parse(field: &'a str) -> Result<Authorization<'a>, ApiError> {
        let rest = field
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '))
            .ok_or_else(|| incomplete(&format!("Authorization header must begin with '{ALGORITHM}'")))?;
        let part = |name: &str| {
            let found = rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| incomplete(&format!("Authorization header requires '{name}' parameter")))
        };
        let (credential, signed_headers, signature) =
            (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        let [key_id, date, region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..]
        else {
            return Err(incomplete("Credential must be KEY/DATE/REGION/elasticloadbalancing/aws4_request"));
        };
        if service != SERVICE {
            return Err(Code::SignatureDoesNotMatch
                .because(format!("Credential should be scoped to correct service: '{SERVICE}'")));
        }
        let signed_headers: Vec<&str> = signed_headers.split(';').collect();
        if !["host", "x-amz-date"].iter().all(|name| signed_headers.contains(name)) {
            return Err(incomplete("SignedHeaders must name host and x-amz-date"));
        }
        let signature =
            hex(signature).ok_or_else(|| incomplete("Signature must be 64 hexadecimal digits"))?;
        Ok(Authorization { key_id, scope: Scope { date, region, service }, signed_headers, signature })
    }
}

fn incomplete(why: &str) -> ApiError {
    Code::IncompleteSignature.because(why)
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
