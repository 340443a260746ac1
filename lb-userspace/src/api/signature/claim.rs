//! What a request says of its signature: in the `Authorization` field, or in the query of a presigned URL.
//!
//! Whatever is said twice, or in another form than signers write it, is refused: two readers must never understand it
//! differently.

use std::time::Duration;

use axum::http::HeaderMap;

use super::canonical::{SIGNATURE, Scope};
use super::{SERVICE, SKEW, Signed};
use crate::api::calendar::Timestamp;
use crate::api::protocol::{ApiError, Code, form};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How long a presigned URL may be good: a week.
const LONGEST: u64 = 7 * 24 * 60 * 60;

/// A signature with what is needed to verify it.
pub(super) struct Claim {
    pub(super) key_id: String,
    date: String,
    pub(super) region: String,
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
    /// When it was signed, as it is written.
    pub(super) time: String,
    signed: Timestamp,
    /// How long a presigned URL is good.
    lifetime: Option<Duration>,
}

/// The parts as they are written.
struct Written<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    time: &'a str,
    lifetime: Option<Duration>,
}

impl Claim {
    /// The claim of a request.
    ///
    /// # Errors
    /// `MissingAuthenticationToken` if it is not signed, `IncompleteSignature` for what is missing or malformed,
    /// `SignatureDoesNotMatch` for another service's and for a body that is not signed, `InvalidClientTokenId` for
    /// session tokens, which this server does not issue.
    pub(super) fn of(request: &Signed) -> Result<Claim, ApiError> {
        let query = form::parse(request.query.as_bytes()).unwrap_or_default();
        let is_presigned = query.iter().any(|(name, _)| name == "X-Amz-Algorithm" || name == SIGNATURE);
        let claim = match (only(request.headers, "authorization")?, is_presigned) {
            (Some(_), true) => {
                return Err(incomplete("Only one of Authorization header and X-Amz-Signature may be given"));
            }
            (Some(field), false) => Claim::of_header(request.headers, field)?,
            (None, true) => Claim::of_query(&query)?,
            (None, false) => {
                return Err(Code::MissingAuthenticationToken
                    .because("Request is missing Authentication Token: it is not signed"));
            }
        };
        only(request.headers, "host")?;
        check_body(request)?;
        let has_token = request.headers.contains_key("x-amz-security-token")
            || query.iter().any(|(name, _)| name == "X-Amz-Security-Token");
        if has_token { Err(unknown_key()) } else { Ok(claim) }
    }

    /// What the signing key is for.
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { date: &self.date, region: &self.region, service: SERVICE }
    }

    /// Whether it is in the query, and so can be handed on.
    pub(super) fn is_presigned(&self) -> bool {
        self.lifetime.is_some()
    }

    /// The last moment at which it is good.
    pub(super) fn good_until(&self) -> Timestamp {
        self.signed.after(self.lifetime.unwrap_or(SKEW))
    }

    /// Refuses it before its time and after it.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), ApiError> {
        if self.signed > now.after(SKEW) || now > self.good_until() {
            let (signed, skew) = (&self.time, SKEW.as_secs() / 60);
            let good = match self.lifetime {
                None => format!("{skew} min. may be between"),
                Some(lifetime) => format!("it is good for {} s", lifetime.as_secs()),
            };
            return Err(Code::RequestExpired
                .because(format!("Signature expired: it is of {signed}, and it is {now} here; {good}")));
        }
        Ok(())
    }

    fn of_header(headers: &HeaderMap, field: &str) -> Result<Claim, ApiError> {
        let rest = field
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '))
            .ok_or_else(|| incomplete(&format!("Authorization header must begin with '{ALGORITHM}'")))?;
        let part = |name: &str| {
            let values = rest.split(',').filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            only_one(values, &format!("Authorization header requires '{name}' parameter"))
        };
        let (credential, signed_headers, signature) =
            (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        let time = only(headers, "x-amz-date")?.ok_or_else(|| {
            incomplete("Authorization header requires existence of the 'X-Amz-Date' header")
        })?;
        Claim::read(&Written { credential, signed_headers, signature, time, lifetime: None })
    }

    fn of_query(query: &[(String, String)]) -> Result<Claim, ApiError> {
        let part = |wanted: &str| {
            let values = query.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            only_one(values, &format!("A presigned query requires '{wanted}' parameter"))
        };
        if part("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(&format!("X-Amz-Algorithm must be '{ALGORITHM}'")));
        }
        let expires = part("X-Amz-Expires")?;
        let is_number = (1..=6).contains(&expires.len()) && expires.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = expires.parse().ok().filter(|seconds| is_number && (1..=LONGEST).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| incomplete(&format!("X-Amz-Expires must be 1 to {LONGEST} seconds")))?;
        Claim::read(&Written {
            credential: part("X-Amz-Credential")?,
            signed_headers: part("X-Amz-SignedHeaders")?,
            signature: part(SIGNATURE)?,
            time: part("X-Amz-Date")?,
            lifetime: Some(Duration::from_secs(seconds)),
        })
    }

    fn read(written: &Written) -> Result<Claim, ApiError> {
        let parts: Vec<&str> = written.credential.split('/').collect();
        let [key_id, date, region, service, "aws4_request"] = parts[..] else {
            return Err(incomplete("Credential must be KEY/DATE/REGION/elasticloadbalancing/aws4_request"));
        };
        let signed_headers = signed_headers(written)?;
        let signature =
            digits(written.signature).ok_or_else(|| incomplete("Signature must be 64 hexadecimal digits"))?;
        let signed = Timestamp::parse_basic(written.time)
            .ok_or_else(|| incomplete("X-Amz-Date must be like 20150830T123600Z"))?;
        let mismatch = |why: String| Err(Code::SignatureDoesNotMatch.because(why));
        if service != SERVICE {
            return mismatch(format!("Credential should be scoped to correct service: '{SERVICE}'"));
        }
        if written.time.get(..8) != Some(date) {
            return mismatch("Date in Credential scope does not match the date of X-Amz-Date".into());
        }
        let [key_id, date, region, time] = [key_id, date, region, written.time].map(str::to_owned);
        Ok(Claim {
            key_id,
            date,
            region,
            signed_headers,
            signature,
            time,
            signed,
            lifetime: written.lifetime,
        })
    }
}

/// The refusal of a key that is not there, and of session tokens.
pub(super) fn unknown_key() -> ApiError {
    Code::InvalidClientTokenId.because("The security token included in the request is invalid.")
}

/// The refusal of a signature that lacks something.
pub(super) fn incomplete(why: &str) -> ApiError {
    Code::IncompleteSignature.because(why)
}

/// The names: lower case, sorted, each once; with the host, and, unless it is in the query, the time.
fn signed_headers(written: &Written) -> Result<Vec<String>, ApiError> {
    let names: Vec<&str> = written.signed_headers.split(';').collect();
    let is_plain = |name: &&str| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if !names.iter().all(is_plain) || !names.is_sorted_by(|one, next| one < next) {
        return Err(incomplete("SignedHeaders must be names in lower case, sorted, each once"));
    }
    let required: &[&str] = if written.lifetime.is_some() { &["host"] } else { &["host", "x-amz-date"] };
    if !required.iter().all(|name| names.contains(name)) {
        return Err(incomplete(&format!("SignedHeaders must name {}", required.join(" and "))));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// A body goes with the hash that is signed, whatever hash the client says: one that leaves its body unsigned, or signs
/// it in pieces, is told so.
fn check_body(request: &Signed) -> Result<(), ApiError> {
    let Some(hash) = only(request.headers, "x-amz-content-sha256")? else { return Ok(()) };
    if digits(hash) == Some(request.body_hash) {
        return Ok(());
    }
    Err(Code::SignatureDoesNotMatch
        .because("X-Amz-Content-Sha256 is not the hash of the body; unsigned payloads are not taken"))
}

/// The text of a header field that may be there once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(incomplete(&format!("{name} header is given twice")));
    }
    value.to_str().map(Some).map_err(|_| incomplete(&format!("{name} header is not text")))
}

/// The value that is there exactly once.
fn only_one<'v>(mut values: impl Iterator<Item = &'v str>, why: &str) -> Result<&'v str, ApiError> {
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(incomplete(why)),
        (Some(_), Some(_)) => Err(incomplete(&format!("{why} once"))),
    }
}

fn digits(text: &str) -> Option<[u8; 32]> {
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
