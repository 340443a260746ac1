//! Asks the endpoint: one signed request and one answer, within limits of time and size.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answers;
use super::configuration::{Configuration, Endpoint};
use crate::api::calendar::Timestamp;
use crate::api::signature::{Scope, Signed, hex, read_private, sign};

/// How long one answer may take, from the name's look-up to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one answer.
const LONGEST: usize = 32 << 20;

/// The version of the protocol.
const VERSION: &str = "2016-11-15";

/// The service's name in scopes.
const SERVICE: &str = "ec2";

/// What is needed for the requests of one refresh.
pub(super) struct Client<'c> {
    configuration: &'c Configuration,
    key: Key,
    tls: Option<TlsConnector>,
}

/// An access key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl<'c> Client<'c> {
    /// Reads the access key and the authorities anew.
    ///
    /// # Errors
    /// When one of them can't be.
    pub(super) fn new(configuration: &'c Configuration) -> anyhow::Result<Client<'c>> {
        let file = &configuration.credentials;
        let key: Key = serde_json::from_str(&read_private(file)?).map_err(|_| {
            anyhow!(
                "the credentials {}: expected {{\"access_key_id\", \"secret_access_key\"}}, and \"session_token\" if \
                 there is one",
                file.display()
            )
        })?;
        let tls = configuration.endpoint.is_tls.then(|| connector(&configuration.authorities)).transpose()?;
        Ok(Client { configuration, key, tls })
    }

    /// Where it asks.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.configuration.endpoint
    }

    /// How many records an answer may have, if that is said.
    pub(super) fn page_size(&self) -> Option<u16> {
        self.configuration.page_size
    }

    /// The answer to a request with these parameters, besides `Action` and `Version`.
    ///
    /// # Errors
    /// When there is none, or it is a refusal, in words.
    pub(super) async fn ask(&self, action: &str, parameters: &[(String, String)]) -> anyhow::Result<Bytes> {
        let body = form(action, parameters);
        let endpoint = &self.configuration.endpoint;
        let asking = async {
            let request = self.request(&body)?;
            let address = (endpoint.host.as_str(), endpoint.port);
            let stream = TcpStream::connect(address).await.context("connecting")?;
            match &self.tls {
                None => exchange(stream, request).await,
                Some(tls) => {
                    let name = ServerName::try_from(endpoint.host.clone()).context("the endpoint's name")?;
                    let stream = tls.connect(name, stream).await.context("making a TLS connection")?;
                    exchange(stream, request).await
                }
            }
        };
        let answered = timeout(PATIENCE, asking).await;
        let (status, bytes) = answered
            .unwrap_or_else(|_| Err(anyhow!("no answer within {} seconds", PATIENCE.as_secs())))
            .with_context(|| format!("{action} at {endpoint}"))?;
        if !status.is_success() {
            bail!("{action} at {endpoint}: {}", refused(status, &bytes));
        }
        Ok(bytes)
    }

    fn request(&self, body: &str) -> anyhow::Result<Request<Full<Bytes>>> {
        let endpoint = &self.configuration.endpoint;
        let headers = self.headers(body, &basic(Timestamp::now()))?;
        let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.path.parse().context("the endpoint's path")?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// All header fields, signed at `time`.
    fn headers(&self, body: &str, time: &str) -> anyhow::Result<HeaderMap> {
        let Configuration { endpoint, region, .. } = self.configuration;
        let mut headers = HeaderMap::new();
        let fields = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", &endpoint.authority),
            ("x-amz-date", time),
        ];
        let token = self.key.session_token.as_deref().map(|token| ("x-amz-security-token", token));
        let mut names = Vec::new();
        for (name, value) in fields.into_iter().chain(token) {
            headers.insert(name, HeaderValue::from_str(value).with_context(|| format!("the field {name}"))?);
            names.push(name);
        }
        let scope = Scope { date: &time[..8], region, service: SERVICE };
        let signed = Signed::of_parts(&Method::POST, &endpoint.path, "", &headers, body.as_bytes());
        let signature = sign(&signed, &scope, time, &names, &self.key.secret_access_key)
            .context("a field that is to be signed is missing")?;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}/{region}/{SERVICE}/aws4_request, SignedHeaders={}, Signature={}",
            self.key.access_key_id,
            scope.date,
            names.join(";"),
            hex(&signature)
        );
        headers.insert("authorization", HeaderValue::try_from(authorization).context("the access key id")?);
        headers.insert("user-agent", HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION"))));
        Ok(headers)
    }
}

/// What accepts endpoints that these authorities vouch for.
fn connector(authorities: &Path) -> anyhow::Result<TlsConnector> {
    let shown = authorities.display();
    let file = fs::read(authorities).with_context(|| {
        format!("reading the authorities' certificates {shown}; inventory.ec2.ca names another file")
    })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&file).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        bail!("{shown} has no certificate of an authority (PEM); inventory.ec2.ca names another file");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS 1.2 and 1.3 are there")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.context("beginning to speak HTTP")?;
    let asking = async {
        let answer = sender.send_request(request).await.context("speaking HTTP")?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| anyhow!("reading the answer (at most {LONGEST} bytes): {error}"))?;
        Ok((status, body.to_bytes()))
    };
    // The connection moves the bytes while its end does not matter: the answer tells.
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

/// A refusal in words, with what helps where that is known.
fn refused(status: StatusCode, body: &[u8]) -> String {
    let Some((code, message)) = answers::refusal(body) else {
        return format!("status {} without a reason; is it an EC2-compatible endpoint?", status.as_u16());
    };
    let remedy = match code.as_str() {
        "AuthFailure" | "InvalidClientTokenId" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
            " (look at inventory.ec2.credentials and .region)"
        }
        "RequestExpired" => " (look at this host's clock)",
        "UnauthorizedOperation" | "AccessDenied" => {
            " (the access key must be allowed the four Describe calls)"
        }
        _ => "",
    };
    format!("refused with {code}: {message}{remedy}")
}

fn form(action: &str, parameters: &[(String, String)]) -> String {
    let mut body = format!("Action={action}&Version={VERSION}");
    for (name, value) in parameters {
        body.push('&');
        body.push_str(name);
        body.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => body.push(byte.into()),
                other => body.push_str(&format!("%{other:02X}")),
            }
        }
    }
    body
}

/// `20261121T204553Z`.
fn basic(time: Timestamp) -> String {
    let digits: String = time.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}Z", &digits[..15])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_others_sign_it() {
        let configuration = super::super::tests::configuration();
        let key = Key {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let client = Client { configuration: &configuration, key, tls: None };
        let headers = client.headers(&form("DescribeVpcs", &[]), "20150830T123600Z").unwrap();
        // What botocore 1.44 signs.
        assert_eq!(headers["authorization"], super::super::tests::SIGNED_BY_BOTOCORE);
        assert_eq!(basic(Timestamp(1_440_938_160_000)), "20150830T123600Z");
    }

    #[test]
    fn values_are_encoded() {
        let parameters = [("Filter.1.Name".to_owned(), "a b&=é".to_owned())];
        let expected = "Action=X&Version=2016-11-15&Filter.1.Name=a%20b%26%3D%C3%A9";
        assert_eq!(form("X", &parameters), expected);
    }

    #[test]
    fn refusals_are_told_in_words() {
        let body =
            b"<Response><Errors><Error><Code>AuthFailure</Code><Message>no\nkey</Message></Error></Errors>\
                     <RequestID>x</RequestID></Response>";
        let told = refused(StatusCode::UNAUTHORIZED, body);
        assert_eq!(told, "refused with AuthFailure: no key (look at inventory.ec2.credentials and .region)");
        assert!(refused(StatusCode::BAD_GATEWAY, b"<html>").starts_with("status 502 without a reason"));
    }
}
