//! The API's client: signed requests, one after the other, on a connection that stays.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::http::{HeaderMap, HeaderValue, Method};
use lab::Host;
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::signature::{SERVICE, Scope, Signed, sign};
use serde_json::json;

const KEY: &str = "BENCH";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const REGION: &str = "local";
const VERSION: &str = "2015-12-01";
const SIGNED: [&str; 2] = ["host", "x-amz-date"];
/// How many calls there were, of all connections.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The content of a file of credentials that lets [`Client`] in.
pub(crate) fn credentials() -> String {
    json!({ "credentials": [ { "access_key_id": KEY, "secret_access_key": SECRET, "role": "admin" } ] })
        .to_string()
}

/// One connection.
pub(crate) struct Client {
    address: SocketAddr,
    connection: BufReader<TcpStream>,
}

/// An answer, and when its last byte was there.
pub(crate) struct Answer {
    /// The XML document.
    pub(crate) body: String,
    /// From the request's first byte.
    pub(crate) took: Duration,
    pub(crate) at: Instant,
}

impl Client {
    /// Connects on this host.
    pub(crate) fn connect(host: &Host, address: SocketAddr) -> Result<Client> {
        let stream = host.enter(|| TcpStream::connect(address)).context("connecting to the API")?;
        stream.set_read_timeout(Some(PATIENCE)).context("setting a time limit")?;
        stream.set_nodelay(true).context("asking for packets without delay")?;
        Ok(Client { address, connection: BufReader::new(stream) })
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// When it is refused, with the answer.
    pub(crate) fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Result<Answer> {
        let mut body = format!("Action={action}&Version={VERSION}");
        for (name, value) in parameters {
            body += &format!("&{name}={}", escaped(value));
        }
        // Equal requests of one second have equal signatures, and are taken for replays. This one's number, of which the
        // API knows nothing, makes it another.
        body += &format!("&Call={}", CALLS.fetch_add(1, Ordering::Relaxed));
        let request = self.signed(&body)?;
        let begun = Instant::now();
        self.connection.get_mut().write_all(request.as_bytes()).context("asking the API")?;
        let (status, body) = self.answer().with_context(|| format!("the answer to {action}"))?;
        let at = Instant::now();
        ensure!(status == 200, "{action} was answered with {status}: {body}");
        Ok(Answer { body, took: at - begun, at })
    }

    fn signed(&self, body: &str) -> Result<String> {
        let time = basic(Timestamp::now());
        let host = self.address.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(&host).context("a host's name")?);
        headers.insert("x-amz-date", HeaderValue::from_str(&time).context("a time")?);
        let scope = Scope { date: &time[..8], region: REGION, service: SERVICE };
        let signed = Signed::of_parts(&Method::POST, "/", "", &headers, body.as_bytes());
        let signature = sign(&signed, &scope, &time, &SIGNED, SECRET).context("both headers are there")?;
        let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {time}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={KEY}/{}/{REGION}/{SERVICE}/aws4_request, \
             SignedHeaders={}, Signature={signature}\r\nContent-Length: {}\r\n\r\n{body}",
            scope.date,
            SIGNED.join(";"),
            body.len()
        ))
    }

    fn answer(&mut self) -> Result<(u16, String)> {
        let mut line = String::new();
        self.connection.read_line(&mut line)?;
        let status = line.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status else { bail!("{line:?} is no status line") };
        let mut length = 0;
        loop {
            line.clear();
            self.connection.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("the length of an answer")?;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).context("an answer is text")?))
    }
}

impl Answer {
    /// The text of the first element with this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn text(&self, element: &str) -> Result<String> {
        let (_, rest) = self
            .body
            .split_once(&format!("<{element}>"))
            .with_context(|| format!("no {element} in {}", self.body))?;
        Ok(rest.split('<').next().unwrap_or_default().to_owned())
    }
}

/// As signatures have it: `20150830T123600Z`.
fn basic(time: Timestamp) -> String {
    let text = time.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    seconds.replace(['-', ':'], "") + "Z"
}

/// As a form has it.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Writes the credentials where only their owner can read them.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_credentials(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, credentials())
        .and_then(|()| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)))
        .with_context(|| format!("writing {}", file.display()))
}
