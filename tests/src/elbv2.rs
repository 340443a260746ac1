//! Unsigned calls of a node's API, as nodes without credentials take them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::Host;

/// Where each node's API is.
const ADDRESS: &str = "127.0.0.1:8440";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The API of the node on this host.
pub struct Api<'h>(pub &'h Host);

impl Api<'_> {
    /// A call, such as `CreateTargetGroup&Name=web`: status and body of the answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask(&self, call: &str) -> Result<(u16, String)> {
        let body = format!("Version=2015-12-01&Action={call}");
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        let answer = self.0.enter(|| exchange(&request))?;
        let (head, body) =
            answer.split_once("\r\n\r\n").context("the API's answer has no end of its head")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.context("the API's answer has no status")?, body.to_owned()))
    }

    /// The body of the answer to a call, which is done.
    ///
    /// # Errors
    /// If it is refused.
    pub fn done(&self, call: &str) -> Result<String> {
        let (status, body) = self.ask(call)?;
        ensure!(status == 200, "{call}: {status}: {body}");
        Ok(body)
    }

    /// What the answer to a call, which is done, says in the first element of this name.
    ///
    /// # Errors
    /// If the call is refused, or the answer has no such element.
    pub fn made(&self, call: &str, element: &str) -> Result<String> {
        let body = self.done(call)?;
        let rest = body.split_once(&format!("<{element}>")).map(|(_, rest)| rest);
        let value = rest.and_then(|rest| rest.split_once('<')).map(|(value, _)| value.to_owned());
        value.with_context(|| format!("no {element} in {body}"))
    }
}

fn exchange(request: &str) -> Result<String> {
    let mut connection = TcpStream::connect(ADDRESS).context("connecting to the API")?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).context("reading the API's answer")?;
    Ok(answer)
}
