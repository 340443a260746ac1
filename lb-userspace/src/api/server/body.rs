//! Reading a body within its limits.

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::Limits;
use crate::api::protocol::{ApiError, Code};

/// The body's bytes.
///
/// # Errors
/// `RequestEntityTooLarge`, `RequestTimeout`, and `MalformedQueryString` for one that breaks off.
pub(super) async fn read(body: Incoming, limits: &Limits) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        Code::RequestEntityTooLarge.because(format!("The body is longer than {} bytes", limits.body_bytes))
    };
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(too_large());
    }
    let reading = async {
        let (mut bytes, mut body) = (Vec::new(), body);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Code::MalformedQueryString.because(format!("The body broke off: {error}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limits.body_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    timeout(limits.body, reading).await.unwrap_or_else(|_| {
        let seconds = limits.body.as_secs();
        Err(Code::RequestTimeout.because(format!("The body did not come within {seconds} seconds")))
    })
}
