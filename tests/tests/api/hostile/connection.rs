//! A client's side of HTTP/1.1, as plain as can be, so that it can say what no proper client would.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::served::Served;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Connections to a server, one after the other: each is used as long as the server keeps it.
pub(super) struct Client<'s> {
    served: &'s Served,
    tls: Option<Arc<ClientConfig>>,
    open: Option<Box<dyn Stream>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    /// Whether it is an error with this code; an empty code is any.
    pub(super) fn has(&self, code: &str) -> bool {
        code.is_empty() || self.body.contains(&format!("<Code>{code}</Code>"))
    }
}

impl<'s> Client<'s> {
    /// Speaks TLS if the server does.
    pub(super) fn of(served: &'s Served) -> Result<Client<'s>> {
        let tls = served.certificate().map(|file| -> Result<_> {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&fs::read(file)?)?)?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
        });
        Ok(Client { served, tls: tls.transpose()?, open: None })
    }

    /// Sends bytes, and reads the answer. A connection that was closed meanwhile is replaced.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        if let Some(mut stream) = self.open.take()
            && let Ok(answer) = self.exchange(&mut *stream, request)
        {
            return Ok(self.keep(stream, answer));
        }
        let mut stream = self.connect()?;
        let answer = self.exchange(&mut *stream, request)?;
        Ok(self.keep(stream, answer))
    }

    /// Ends the connection.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    fn keep(&mut self, stream: Box<dyn Stream>, (answer, is_kept): (Answer, bool)) -> Answer {
        self.open = is_kept.then_some(stream);
        answer
    }

    fn connect(&self) -> Result<Box<dyn Stream>> {
        let stream = self.served.connect().context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(config) => {
                let name = ServerName::from(self.served.address.ip());
                let connection = ClientConnection::new(Arc::clone(config), name)?;
                Ok(Box::new(StreamOwned::<_, TcpStream>::new(connection, stream)))
            }
        }
    }

    /// The answer, and whether the server keeps the connection. It may come before all of the request is read.
    fn exchange(&self, stream: &mut dyn Stream, request: &[u8]) -> Result<(Answer, bool)> {
        let _ = stream.write_all(request).and_then(|()| stream.flush());
        read(stream)
    }
}

/// Reads one answer, and whether another one may follow.
fn read(stream: &mut dyn Stream) -> Result<(Answer, bool)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = whole(&bytes)? {
            return Ok(answer);
        }
        let count = stream.read(&mut buffer).context("reading the answer")?;
        ensure!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// The answer, once all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<(Answer, bool)>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status: {text:?}"))?;
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = field("content-length").map_or(Ok(0), str::parse).context("a length")?;
    let is_kept = field("connection") != Some("close") && head.starts_with("http/1.1");
    Ok((body.len() >= length).then(|| (Answer { status, body: body.to_owned() }, is_kept)))
}
