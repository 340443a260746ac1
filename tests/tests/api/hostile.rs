//! Requests that mean no good, over real connections: refused with the right code, and nothing grows.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::http::{HeaderMap, HeaderValue, Method};
use lab::require_root;
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::signature::{SERVICE, Scope, Signed, sign};

use crate::served::{SECRET, Served};

/// How many requests, of ten kinds.
const REQUESTS: usize = 10_000;

const READ: &str = "Action=DescribeLoadBalancers&Version=2015-12-01";
const CHANGE: &str =
    "Action=CreateLoadBalancer&Version=2015-12-01&Name=x&Type=network&Subnets.member.1=subnet-a";

/// A request as it goes over the wire, with a signature of now.
fn signed(body: &str, key: &str, secret: &str, at: Timestamp) -> String {
    let time: String = at.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    // `20261121T204553790Z` without its milliseconds.
    let time = format!("{}Z", &time[..15]);
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    headers.insert("x-amz-date", HeaderValue::try_from(&time).unwrap());
    let scope = Scope { date: &time[..8], region: "local", service: SERVICE };
    let request = Signed::of_parts(&Method::POST, "/", "", &headers, body.as_bytes());
    let signature = sign(&request, &scope, &time, &["host", "x-amz-date"], secret).unwrap();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={key}/{}/local/{SERVICE}/aws4_request, SignedHeaders=host;x-amz-date, Signature={hex}",
        scope.date
    );
    request_with(body, &format!("X-Amz-Date: {time}\r\nAuthorization: {authorization}\r\n"))
}

fn request_with(body: &str, fields: &str) -> String {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// The status and the body of the answer; an answer may come before all of the request is read.
fn ask(served: &Served, request: &[u8]) -> Result<(u16, String)> {
    let mut stream = served.connect()?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let _ = stream.write_all(request);
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> Result<(u16, String)> {
    let mut text = Vec::new();
    // A reset after the answer is the end of it, too.
    if let Err(error) = stream.read_to_end(&mut text) {
        ensure!(!text.is_empty(), "no answer: {error}");
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status: {text:?}"))?, text))
}

fn expect(served: &Served, request: &[u8], status: u16, code: &str) {
    let (found, text) = ask(served, request).unwrap();
    let has_code = code.is_empty() || text.contains(&format!("<Code>{code}</Code>"));
    assert!(found == status && has_code, "expected {status} {code}, got {found}: {text}");
}

/// Descriptors and resident memory (KiB) of the server.
fn taken(served: &Served) -> (usize, u64) {
    let process = format!("/proc/{}", served.process.id());
    let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, line.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn ten_thousand_bad_requests_change_nothing() {
    if !require_root() {
        return;
    }
    let served = Served::signed().unwrap();
    let used = signed(CHANGE, "ADMIN", SECRET, Timestamp::now());
    expect(&served, used.as_bytes(), 200, "");
    let now = Timestamp::now();
    let past = Timestamp(now.0 - 600_000);
    let wrong = SECRET.replace('f', "e");
    let kinds: [(String, u16, &str); 10] = [
        (request_with(READ, ""), 403, "MissingAuthenticationToken"),
        (request_with(READ, "Authorization: Basic eA==\r\n"), 400, "IncompleteSignature"),
        (signed(READ, "ADMIN", &wrong, now), 403, "SignatureDoesNotMatch"),
        (signed(READ, "NOBODY", SECRET, now), 403, "InvalidClientTokenId"),
        (signed(READ, "ADMIN", SECRET, past), 400, "RequestExpired"),
        (signed(READ, "ADMIN", SECRET, now).replace("Describe", "Xescribe"), 403, "SignatureDoesNotMatch"),
        (signed(CHANGE, "READER", SECRET, now), 403, "AccessDenied"),
        (used, 400, "RequestExpired"),
        ("GET /%%% HTTP/9\r\n\r\n".to_owned(), 400, ""),
        (request_with(READ, &format!("X: {}\r\n", "x".repeat(20_000))), 431, ""),
    ];
    let send = |number: usize| {
        let (request, status, code) = &kinds[number % kinds.len()];
        expect(&served, request.as_bytes(), *status, code);
    };
    (0..100).for_each(send);
    let before = taken(&served);
    (100..REQUESTS).for_each(send);
    let after = taken(&served);
    assert!(after.0 <= before.0 + 4, "descriptors: {} before, {} after", before.0, after.0);
    assert!(after.1 <= before.1 + 8 * 1024, "resident KiB: {} before, {} after", before.1, after.1);
    let (_, told) = ask(&served, signed(READ, "READER", SECRET, Timestamp::now()).as_bytes()).unwrap();
    assert_eq!(told.matches("<LoadBalancerArn>").count(), 1, "{told}");
}

#[test]
fn oversized_and_broken_bodies_are_refused() {
    if !require_root() {
        return;
    }
    let served = Served::open().unwrap();
    let huge = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
    expect(&served, huge.as_bytes(), 413, "RequestEntityTooLarge");
    let chunk = format!("{:x}\r\n{}\r\n", 600_000, "x".repeat(600_000));
    let chunked =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}");
    expect(&served, chunked.as_bytes(), 413, "RequestEntityTooLarge");
    let fields = "A: b\r\n".repeat(200);
    expect(&served, request_with(READ, &fields).as_bytes(), 431, "");
    expect(&served, request_with(READ, "Origin: http://evil.example\r\n").as_bytes(), 403, "AccessDenied");
    let renamed = request_with(READ, "").replace("localhost", "evil.example");
    expect(&served, renamed.as_bytes(), 403, "AccessDenied");
    expect(&served, request_with("%", "").as_bytes(), 404, "MalformedQueryString");
}

#[test]
fn slow_clients_are_sent_away_and_delay_nobody() {
    if !require_root() {
        return;
    }
    let served = Served::open().unwrap();
    let start = Instant::now();
    let mut body = served.connect().unwrap();
    body.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAct").unwrap();
    let heads: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = served.connect().unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nHo").unwrap();
            stream
        })
        .collect();
    expect(&served, request_with(READ, "").as_bytes(), 200, "");
    assert!(start.elapsed() < Duration::from_secs(5), "others had to wait {:?}", start.elapsed());
    let (status, text) = answer(&mut body).unwrap();
    assert!(status == 408 && text.contains("<Code>RequestTimeout</Code>"), "{text}");
    for mut stream in heads {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let _ = stream.shutdown(Shutdown::Both);
    }
    assert!(start.elapsed() < Duration::from_secs(35), "{:?}", start.elapsed());
}
