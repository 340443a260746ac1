//! Requests that mean no good, over real connections: refused with the right code, and nothing grows.

mod connection;
mod forge;
mod kinds;
mod renewal;
mod slow;

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use anyhow::ensure;
use fastrand::Rng;
use lab::{require_root, wait};

use self::connection::Client;
use self::forge::{READ, Signer, post_with, replaced};
use self::kinds::{Hostile, kinds};
use crate::served::Served;

/// How many requests by plain text, and how many by TLS.
const REQUESTS: usize = 10_000;
const BY_TLS: usize = 1_500;

/// How many signatures are used once before, to be used again.
const USED: usize = 40;

/// A good request in between so many bad ones.
const GOOD_AFTER: usize = 50;

/// What the server may take more of after the requests than before: descriptors, and resident memory. A signed request
/// is remembered as long as its signature is good, in some hundred bytes.
const MORE_DESCRIPTORS: usize = 4;
const MORE_KIB: u64 = 8 * 1024;

/// Everything that the API tells of its state.
const EXPORT: [&str; 7] = [
    "Action=DescribeLoadBalancers",
    "Action=DescribeTargetGroups",
    "Action=DescribeListeners&LoadBalancerArn={lb}",
    "Action=DescribeLoadBalancerAttributes&LoadBalancerArn={lb}",
    "Action=DescribeTargetGroupAttributes&TargetGroupArn={tg}",
    "Action=DescribeTargetHealth&TargetGroupArn={tg}",
    "Action=DescribeTags&ResourceArns.member.1={lb}&ResourceArns.member.2={tg}",
];

/// A server with a load balancer, a target group with a target, and a listener.
struct World<'s> {
    served: &'s Served,
    client: Client<'s>,
    lb: String,
    tg: String,
}

impl<'s> World<'s> {
    fn tell(served: &'s Served) -> World<'s> {
        let client = Client::of(served).unwrap();
        let mut world = World { served, client, lb: String::new(), tg: String::new() };
        let create = "Action=CreateLoadBalancer&Name=one&Type=network&Subnets.member.1=subnet-a\
                      &Tags.member.1.Key=a&Tags.member.1.Value=b";
        world.lb = element(&world.ask(create), "LoadBalancerArn");
        let create = "Action=CreateTargetGroup&Name=web&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip";
        world.tg = element(&world.ask(create), "TargetGroupArn");
        world.ask("Action=RegisterTargets&TargetGroupArn={tg}&Targets.member.1.Id=10.0.1.1");
        world.ask(
            "Action=CreateListener&LoadBalancerArn={lb}&Protocol=TCP&Port=80\
             &DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={tg}",
        );
        world
    }

    /// The answer to an admin's request, which must succeed.
    fn ask(&mut self, form: &str) -> String {
        let form = form.replace("{lb}", &self.lb).replace("{tg}", &self.tg);
        let request = Signer::of("ADMIN").post(format!("{form}&Version=2015-12-01").as_bytes());
        let answer = self.client.ask(&request).unwrap();
        assert_eq!(answer.status, 200, "{form}: {}", answer.body);
        answer.body
    }

    /// All answers but for the requests' ids.
    fn export(&mut self) -> String {
        let told = |answer: String| answer.split("<ResponseMetadata>").next().unwrap().to_owned();
        EXPORT.iter().map(|form| told(self.ask(form))).collect()
    }

    /// Requests that were sent before: changes whose effect was changed since, and reads for as long as they may be
    /// sent again.
    fn used(&mut self) -> Vec<Hostile> {
        let mut once = Client::of(self.served).unwrap();
        let mut used = Vec::new();
        for number in 0..USED {
            let form = match number % 2 {
                0 => READ.to_owned(),
                _ => format!(
                    "Action=AddTags&Version=2015-12-01&ResourceArns.member.1={}&Tags.member.1.Key=a&Tags.member.1.Value=b",
                    self.lb
                ),
            };
            let bytes = Signer::of("ADMIN").post(format!("{form}&n={number}").as_bytes());
            assert_eq!(once.ask(&bytes).unwrap().status, 200);
            used.push(Hostile { bytes, status: 400, code: "RequestExpired" });
        }
        once.close();
        // Another change of what they changed: else they would be given the first one's answer.
        self.ask("Action=AddTags&ResourceArns.member.1={lb}&Tags.member.1.Key=a&Tags.member.1.Value=b");
        let last_read = used[USED - 2].bytes.clone();
        wait::until("the reads to be too old", Duration::from_secs(10), || {
            ensure!(once.ask(&last_read)?.status == 400);
            Ok(())
        })
        .unwrap();
        used
    }

    /// Sends bad requests of every kind, and a good one now and then.
    fn send(&mut self, requests: usize, rng: &mut Rng, used: &[Hostile], different: &mut HashSet<Vec<u8>>) {
        let kinds = kinds();
        let mut client = Client::of(self.served).unwrap();
        for number in 0..requests {
            let at = number % (kinds.len() + 1);
            let (name, hostile) = match kinds.get(at) {
                Some((name, make)) => (*name, make(rng)),
                None => {
                    let again = &used[rng.usize(..used.len())];
                    // What is not signed may differ, so that no two requests are the same.
                    let line = format!("HTTP/1.1\r\nX-Number: {number}\r\n");
                    (
                        "used before",
                        Hostile { bytes: replaced(&again.bytes, "HTTP/1.1\r\n", &line), ..*again },
                    )
                }
            };
            let answer = client.ask(&hostile.bytes);
            let Hostile { bytes, status, code } = hostile;
            let is_right = answer.as_ref().is_ok_and(|answer| answer.status == status && answer.has(code));
            assert!(
                is_right,
                "{name}: expected {status} {code}, got {answer:?} for {:?}",
                String::from_utf8_lossy(&bytes)
            );
            different.insert(bytes);
            if number % GOOD_AFTER == 0 {
                self.ask("Action=DescribeLoadBalancers");
            }
        }
    }
}

/// The text of the first element of that name.
fn element(answer: &str, name: &str) -> String {
    let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{answer}"));
    rest.split('<').next().unwrap().to_owned()
}

/// Descriptors and resident memory (KiB) of the server.
fn taken(served: &Served) -> (usize, u64) {
    let process = format!("/proc/{}", served.process.id());
    let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().count();
    (descriptors, served.process.memory("VmRSS").unwrap() >> 10)
}

/// Sends bad requests, and compares what the server has and what it takes before and after.
fn besiege(served: &Served, requests: usize) {
    let seed = std::env::var("SLUICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SLUICE_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut world = World::tell(served);
    let used = world.used();
    let mut different = HashSet::new();
    world.send(4 * (kinds().len() + 1), &mut rng, &used, &mut different);
    let (state, before) = (world.export(), taken(served));
    different.clear();
    world.send(requests, &mut rng, &used, &mut different);
    assert_eq!(different.len(), requests, "some requests were the same");
    let after = taken(served);
    assert!(after.0 <= before.0 + MORE_DESCRIPTORS, "descriptors: {} before, {} after", before.0, after.0);
    assert!(after.1 <= before.1 + MORE_KIB, "resident KiB: {} before, {} after", before.1, after.1);
    assert_eq!(world.export(), state);
    println!("{requests} requests; {before:?} before, {after:?} after");
}

#[test]
fn ten_thousand_bad_requests_change_nothing() {
    if require_root() {
        besiege(&Served::signed().unwrap(), REQUESTS);
    }
}

#[test]
fn bad_requests_by_tls_change_nothing() {
    if require_root() {
        besiege(&Served::secured().unwrap(), BY_TLS);
    }
}

#[test]
fn what_is_not_tls_is_not_answered() {
    if !require_root() {
        return;
    }
    let served = Served::secured().unwrap();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for bytes in [&post_with("Host: localhost\r\n", READ.as_bytes())[..], &[0; 600], &[0xff; 600], hello] {
        let mut stream = served.connect().unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
    }
    World::tell(&served);
}

#[test]
fn a_server_without_credentials_refuses_browsers_and_oversized_bodies() {
    if !require_root() {
        return;
    }
    let served = Served::open().unwrap();
    let mut client = Client::of(&served).unwrap();
    let mut expect = |request: &[u8], status: u16, code: &str| {
        let answer = client.ask(request).unwrap();
        assert!(
            answer.status == status && answer.has(code),
            "{status} {code}: {} {}",
            answer.status,
            answer.body
        );
    };
    let read = |lines: &str| post_with(lines, READ.as_bytes());
    expect(&read("Host: localhost\r\n"), 200, "");
    expect(&read("Host: localhost\r\nOrigin: http://evil.example\r\n"), 403, "AccessDenied");
    expect(&read("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"), 403, "AccessDenied");
    expect(&read("Host: evil.example\r\n"), 403, "AccessDenied");
    expect(&post_with("Host: localhost\r\n", b"%"), 404, "MalformedQueryString");
    let huge = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
    expect(huge.as_bytes(), 413, "RequestEntityTooLarge");
}
