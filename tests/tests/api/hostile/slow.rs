//! Clients that are slow, silent, too many, or say everything at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lab::require_root;
use lb_userspace::api::server::Limits;

use super::connection::Client;
use super::forge::{READ, post_with};
use super::taken;
use crate::served::Served;

/// How long a good request may take while others are slow.
const SOON: Duration = Duration::from_secs(5);

fn read() -> Vec<u8> {
    post_with("Host: localhost\r\n", READ.as_bytes())
}

/// A good request on a new connection.
fn is_served_soon(served: &Served) {
    let start = Instant::now();
    let answer = Client::of(served).unwrap().ask(&read()).unwrap();
    assert!(answer.status == 200, "{}", answer.body);
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
}

fn open(served: &Served, bytes: &[u8]) -> TcpStream {
    let mut stream = served.connect().unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Everything until the server ends the connection, which it must do within `limit`.
fn rest(mut stream: TcpStream, limit: Duration) -> String {
    stream.set_read_timeout(Some(limit)).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not ended within {limit:?}: {error}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn slow_clients_are_sent_away_and_delay_nobody() {
    if !require_root() {
        return;
    }
    let served = Served::open().unwrap();
    let limits = Limits::default();
    let start = Instant::now();
    let heads: Vec<TcpStream> = (0..60).map(|_| open(&served, b"POST / HTTP/1.1\r\nHo")).collect();
    let silent: Vec<TcpStream> = (0..60).map(|_| open(&served, b"")).collect();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAct";
    let stopped = open(&served, head.as_bytes());
    let mut dripping = [open(&served, b"POST / HTTP/1.1\r\nX: "), open(&served, head.as_bytes())];
    is_served_soon(&served);
    // A byte now and then is no progress that counts.
    while start.elapsed() < limits.headers.max(limits.body) + SOON {
        for stream in &mut dripping {
            let _ = stream.write_all(b"x");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let [dripping_head, dripping_body] = dripping;
    for stream in [stopped, dripping_body] {
        let answer = rest(stream, SOON);
        assert!(
            answer.starts_with("HTTP/1.1 408") && answer.contains("<Code>RequestTimeout</Code>"),
            "{answer}"
        );
    }
    for stream in heads.into_iter().chain(silent).chain([dripping_head]) {
        let answer = rest(stream, SOON);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn more_connections_than_there_may_be_keep_nobody_out() {
    if !require_root() {
        return;
    }
    let served = Served::open().unwrap();
    is_served_soon(&served);
    let (before, most) = (taken(&served).0, Limits::default().connections);
    let crowd: Vec<TcpStream> = (0..most + 200).map(|_| open(&served, b"POST / HTTP/1.1\r\n")).collect();
    is_served_soon(&served);
    let descriptors = taken(&served).0;
    assert!(descriptors <= before + most + 4, "{descriptors} descriptors, {before} before the crowd");
    // The oldest had to go.
    rest(crowd.into_iter().next().unwrap(), SOON);
    is_served_soon(&served);
}

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    if !require_root() {
        return;
    }
    let served = Served::open().unwrap();
    let bad = post_with("Host: localhost\r\n", b"Action=Nothing&Version=2015-12-01");
    let all = [&read()[..], &bad, &read(), b"\x00garbage\r\n\r\n", &read()].concat();
    let answers = rest(open(&served, &all), SOON);
    let statuses: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.split(' ').next()).collect();
    assert_eq!(statuses, ["200", "400", "200", "400"], "{answers}");
    is_served_soon(&served);
}
