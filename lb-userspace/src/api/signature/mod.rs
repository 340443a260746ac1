//! Who sent a request: Signature Version 4, verified.
//!
//! A signature is in the `Authorization` field, or in the query of a presigned URL. It is checked for its form, its time,
//! its key, and then itself, in constant time. One that changes something acts once: the same again gets the same
//! answer. Without credentials nobody is asked who they are; such a server listens on the loopback only and refuses what
//! browsers send, because any web page could make them send it.

mod canonical;
mod claim;
mod credentials;
mod replay;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::calendar::Timestamp;
use super::domain::{Access, Operation, State};
use super::protocol::{ApiError, Code};
use super::service::Request;
pub(in crate::api) use canonical::hex;
pub use canonical::{Scope, sign};
use claim::Claim;
pub(in crate::api) use credentials::read_private;
pub use credentials::{Credential, Credentials, Role};
use replay::{Found, Seen, Signature, Use};
pub use replay::{Ticket, Told, Turn};

/// How far a signature's time may be from this server's.
pub const SKEW: Duration = Duration::from_secs(300);

/// The service's name in scopes.
pub const SERVICE: &str = "elasticloadbalancing";

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
    /// The only region that signatures may be for, if it matters.
    region: Option<String>,
    /// The file that the credentials are from.
    file: Option<PathBuf>,
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
    /// The signature; none where nobody is asked.
    proof: Option<Proof>,
    connection: u64,
}

/// A signature that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    signature: [u8; 32],
    good_until: Timestamp,
    is_presigned: bool,
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
        Guard::Signed(Verifier { credentials, region: None, file: None, seen: Arc::default() })
    }

    /// Only with signatures for this region: one that another server was sent is worth nothing here.
    pub fn in_region(self, region: &str) -> Guard {
        match self {
            Guard::Signed(verifier) => {
                Guard::Signed(Verifier { region: Some(region.to_owned()), ..verifier })
            }
            Guard::Open => Guard::Open,
        }
    }

    /// With credentials that are from this file.
    pub fn of_file(self, file: &Path) -> Guard {
        match self {
            Guard::Signed(verifier) => Guard::Signed(Verifier { file: Some(file.to_owned()), ..verifier }),
            Guard::Open => Guard::Open,
        }
    }

    /// Whether there is anybody who is let in.
    pub fn lets_somebody_in(&self) -> bool {
        match self {
            Guard::Signed(verifier) => !verifier.credentials.is_empty(),
            Guard::Open => true,
        }
    }

    /// The file that the credentials are from.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Guard::Signed(verifier) => verifier.file.as_deref(),
            Guard::Open => None,
        }
    }

    /// This one with other credentials; none if it has these already, or asks nobody.
    pub fn renewed(&self, credentials: Credentials) -> Option<Guard> {
        match self {
            Guard::Signed(verifier) if verifier.credentials != credentials => {
                let Verifier { region, file, seen, .. } = verifier;
                let (region, file, seen) = (region.clone(), file.clone(), Arc::clone(seen));
                Some(Guard::Signed(Verifier { credentials, region, file, seen }))
            }
            _ => None,
        }
    }

    /// This one in place of `earlier`, with the signatures that were used (what was good once is not good twice), and
    /// for the same region.
    pub fn after(self, earlier: &Guard) -> Guard {
        match (self, earlier) {
            (Guard::Signed(verifier), Guard::Signed(earlier)) => {
                let (region, seen) = (earlier.region.clone(), Arc::clone(&earlier.seen));
                Guard::Signed(Verifier { region, seen, ..verifier })
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
                proof: None,
                connection: request.connection,
            }),
            Guard::Signed(verifier) => verifier.identify(request, now),
        }
    }

    /// What may be done with a caller's request: one that was signed before is not carried out twice. `state` is asked
    /// for what is in force. This waits while the same request is carried out. A presigned URL that reads is made to
    /// be used until it expires.
    ///
    /// # Errors
    /// `Throttling` or `RequestExpired` for a signature that was used, `Throttling` when no more can be remembered.
    pub fn admit(
        &self,
        caller: &Caller,
        changes: bool,
        now: Timestamp,
        state: impl Fn() -> State,
    ) -> Result<Turn, ApiError> {
        let (Guard::Signed(verifier), Some(proof)) = (self, caller.proof) else {
            return Ok(Turn::CarryOut(None));
        };
        if proof.is_presigned && !changes {
            return Ok(Turn::CarryOut(None));
        }
        let signature = Signature { bytes: proof.signature, good_until: proof.good_until, changes };
        let at = Use { time: now, connection: caller.connection };
        let found = verifier.seen.lock().unwrap_or_else(PoisonError::into_inner).find(signature, at)?;
        match found {
            Found::New(turn) => Ok(turn),
            Found::Used(earlier) => earlier.again(at, state),
        }
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

impl Verifier {
    fn identify(&self, request: &Signed, now: Timestamp) -> Result<Caller, ApiError> {
        let claim = Claim::of(request)?;
        claim.check_time(now)?;
        self.check_region(&claim)?;
        let credential = self.credentials.of(&claim.key_id).ok_or_else(claim::unknown_key)?;
        let names: Vec<&str> = claim.signed_headers.iter().map(String::as_str).collect();
        let right = sign(request, &claim.scope(), &claim.time, &names, &credential.secret)
            .ok_or_else(|| claim::incomplete("A header named in SignedHeaders is not in the request"))?;
        if !bool::from(right.ct_eq(&claim.signature)) {
            return Err(Code::SignatureDoesNotMatch.because(
                "The request signature we calculated does not match the signature you provided. Check your secret \
                 access key and signing method.",
            ));
        }
        let signature =
            Proof { signature: right, good_until: claim.good_until(), is_presigned: claim.is_presigned() };
        Ok(Caller {
            key_id: Some(claim.key_id),
            role: credential.role,
            proof: Some(signature),
            connection: request.connection,
        })
    }

    #[cfg(test)]
    pub(super) fn has_key(&self, key_id: &str) -> bool {
        self.credentials.of(key_id).is_some()
    }

    fn check_region(&self, claim: &Claim) -> Result<(), ApiError> {
        match &self.region {
            Some(region) if *region != claim.region => Err(Code::SignatureDoesNotMatch.because(format!(
                "Credential should be scoped to a valid region, not '{}': here it is '{region}'",
                claim.region
            ))),
            _ => Ok(()),
        }
    }
}
