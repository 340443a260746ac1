//! The kinds of requests that must be refused, each with the answer that it must get. A kind makes as many different
//! requests as one likes from a source of randomness.

use fastrand::Rng;

use super::forge::{CHANGE, READ, Signer, post_with, replaced};

/// A request with the answer that it must get.
pub(super) struct Hostile {
    pub(super) bytes: Vec<u8>,
    pub(super) status: u16,
    /// The error's code; empty where the request is no HTTP, so that no operation is there to answer.
    pub(super) code: &'static str,
}

/// A kind of request.
pub(super) type Kind = (&'static str, fn(&mut Rng) -> Hostile);

/// All of them.
pub(super) fn kinds() -> Vec<Kind> {
    [UNSIGNED, TIMES_AND_SCOPES, ALTERED, PRESIGNED, ROLES, FORMS, PLACES, HTTP].concat()
}

const UNSIGNED: &[Kind] = &[
    ("not signed", |rng| {
        refused(post_with("Host: localhost\r\n", &read(rng)), 403, "MissingAuthenticationToken")
    }),
    ("not signed, and changes", |rng| {
        refused(post_with("Host: localhost\r\n", &change(rng)), 403, "MissingAuthenticationToken")
    }),
    ("another scheme", |rng| {
        let scheme =
            any(rng, &["Basic", "Bearer", "Digest", "AWS", "AWS4-HMAC-SHA512", "AWS4-ECDSA-P256-SHA256"]);
        let field = format!("Host: localhost\r\nAuthorization: {scheme} {}\r\n", token(rng, 40));
        refused(post_with(&field, &read(rng)), 400, "IncompleteSignature")
    }),
    ("a header that breaks off", |rng| {
        let whole = Signer::of("ADMIN").post(&read(rng));
        let text = String::from_utf8(whole).unwrap();
        let (from, to) = (text.find("AWS4").unwrap(), text.find("\r\nContent-Length").unwrap());
        let cut = rng.usize(from..to);
        refused(format!("{}{}", &text[..cut], &text[to..]).into_bytes(), 400, "IncompleteSignature")
    }),
    ("a part given twice", |rng| {
        let (from, again) = any(rng, &[("Credential=", "Credential=x,"), ("Signature=", "Signature=00,")]);
        let bytes = Signer::of("ADMIN").post(&read(rng));
        refused(replaced(&bytes, from, &format!("{again}{from}")), 400, "IncompleteSignature")
    }),
    ("a header given twice", |rng| {
        let bytes = Signer::of("ADMIN").post(&read(rng));
        let line =
            any(rng, &["Host: evil", "X-Amz-Date: 20150830T123600Z", "Authorization: AWS4-HMAC-SHA256 x"]);
        refused(
            replaced(&bytes, "Content-Length", &format!("{line}\r\nContent-Length")),
            400,
            "IncompleteSignature",
        )
    }),
    ("names of signed headers that no signer writes", |rng| {
        let names = any(
            rng,
            &["x-amz-date;host", "host", "x-amz-date", "Host;X-Amz-Date", "host;host;x-amz-date", ""],
        );
        let bytes = Signer::of("ADMIN").post(&read(rng));
        refused(replaced(&bytes, "=host;x-amz-date", &format!("={names}")), 400, "IncompleteSignature")
    }),
    ("a signed header that is not there", |rng| {
        let bytes = Signer::of("ADMIN").with("x-amz-extra", &token(rng, 8)).post(&read(rng));
        refused(replaced(&bytes, "x-amz-extra: ", "x-other: "), 400, "IncompleteSignature")
    }),
    ("a session token", |rng| {
        let bytes = Signer::of("ADMIN").with("x-amz-security-token", &token(rng, 200)).post(&read(rng));
        refused(bytes, 403, "InvalidClientTokenId")
    }),
    ("an unknown key", |rng| {
        let signer = Signer { key: token(rng, 20), ..Signer::of("ADMIN") };
        refused(signer.post(&change(rng)), 403, "InvalidClientTokenId")
    }),
];

const TIMES_AND_SCOPES: &[Kind] = &[
    ("a stale date", |rng| {
        refused(
            Signer::of("ADMIN").earlier(rng.i64(330..900_000_000)).post(&change(rng)),
            400,
            "RequestExpired",
        )
    }),
    ("a future date", |rng| {
        refused(
            Signer::of("ADMIN").earlier(-rng.i64(330..900_000_000)).post(&change(rng)),
            400,
            "RequestExpired",
        )
    }),
    ("another day's scope", |rng| {
        let signer = Signer { date: Some(format!("2015{:04}", rng.u32(101..1232))), ..Signer::of("ADMIN") };
        refused(signer.post(&change(rng)), 403, "SignatureDoesNotMatch")
    }),
    ("another region's scope", |rng| {
        let region = any(rng, &["us-east-1", "eu-central-1", "locale", "LOCAL", "*", ""]);
        let signer = Signer { region: region.to_owned(), ..Signer::of("ADMIN") };
        refused(signer.post(&change(rng)), 403, "SignatureDoesNotMatch")
    }),
    ("another service's scope", |rng| {
        let service = any(rng, &["ec2", "iam", "s3", "elasticloadbalancingv2", "Elasticloadbalancing", ""]);
        let signer = Signer { service: service.to_owned(), ..Signer::of("ADMIN") };
        refused(signer.post(&change(rng)), 403, "SignatureDoesNotMatch")
    }),
];

const ALTERED: &[Kind] = &[
    ("another secret", |rng| {
        let signer = Signer { secret: token(rng, 32), ..Signer::of("ADMIN") };
        refused(signer.post(&change(rng)), 403, "SignatureDoesNotMatch")
    }),
    ("a signature with another digit", |rng| {
        let mut bytes = Signer::of("ADMIN").post(&change(rng));
        let text = String::from_utf8_lossy(&bytes);
        let at = text.find(" Signature=").unwrap() + " Signature=".len() + rng.usize(0..64);
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        refused(bytes, 403, "SignatureDoesNotMatch")
    }),
    ("another body", |rng| {
        let bytes = Signer::of("ADMIN").post(&change(rng));
        refused(
            replaced(&bytes, "Name=evil", any(rng, &["Name=edil", "Name=EVIL", "Mame=evil"])),
            403,
            "SignatureDoesNotMatch",
        )
    }),
    ("another host", |rng| {
        let bytes = Signer::of("ADMIN").post(&change(rng));
        let host = format!("host: {}", token(rng, 12));
        refused(replaced(&bytes, "host: localhost", &host), 403, "SignatureDoesNotMatch")
    }),
    ("another query", |rng| {
        let bytes = Signer::of("ADMIN").post(&change(rng));
        refused(
            replaced(&bytes, "POST / ", &format!("POST /?{} ", token(rng, 9))),
            403,
            "SignatureDoesNotMatch",
        )
    }),
    ("another method", |rng| {
        let bytes = Signer::of("ADMIN").post(&read(rng));
        refused(replaced(&bytes, "POST", "GET"), 403, "SignatureDoesNotMatch")
    }),
    ("an unsigned payload", |rng| {
        let hash = any(rng, &["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "e3b0c44298fc1c14"]);
        let bytes = Signer::of("ADMIN").with("x-amz-content-sha256", hash).post(&change(rng));
        refused(bytes, 403, "SignatureDoesNotMatch")
    }),
];

const PRESIGNED: &[Kind] = &[
    ("a presigned request that expired", |rng| {
        let (age, good) = (rng.i64(400..100_000), rng.u64(1..380));
        refused(Signer::of("ADMIN").earlier(age).presigned(&text(change(rng)), good), 400, "RequestExpired")
    }),
    ("a presigned request of the future", |rng| {
        let signer = Signer::of("ADMIN").earlier(-rng.i64(400..100_000));
        refused(signer.presigned(&text(change(rng)), 900), 400, "RequestExpired")
    }),
    ("a presigned request that is good for too long", |rng| {
        let seconds = if rng.bool() { 0 } else { rng.u64(604_801..) };
        refused(Signer::of("ADMIN").presigned(&text(read(rng)), seconds), 400, "IncompleteSignature")
    }),
    ("a presigned request that was altered", |rng| {
        let bytes = Signer::of("ADMIN").presigned(&text(change(rng)), 900);
        let to = any(rng, &["Name=edil", "Name=evil&x=", "Name=evi%6d", "Name=e"]);
        refused(replaced(&bytes, "Name=evil", to), 403, "SignatureDoesNotMatch")
    }),
    ("a presigned request that lasts longer than signed", |rng| {
        let bytes = Signer::of("ADMIN").presigned(&text(read(rng)), 90);
        refused(
            replaced(&bytes, "Expires=90", &format!("Expires={}", rng.u32(91..600_000))),
            403,
            "SignatureDoesNotMatch",
        )
    }),
    ("a presigned request without a part", |rng| {
        let bytes = Signer::of("ADMIN").presigned(&text(read(rng)), 90);
        let name = any(rng, &["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]);
        let name = format!("X-Amz-{name}=");
        refused(replaced(&bytes, &name, &format!("X-{}=", token(rng, 5))), 400, "IncompleteSignature")
    }),
    ("a presigned request with a header that signs, too", |rng| {
        let bytes = Signer::of("ADMIN").presigned(&text(read(rng)), 90);
        let field = format!("HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 {}\r\n", token(rng, 9));
        refused(replaced(&bytes, "HTTP/1.1\r\n", &field), 400, "IncompleteSignature")
    }),
    ("a presigned request by who may only read", |rng| {
        refused(Signer::of("READER").presigned(&text(change(rng)), 90), 403, "AccessDenied")
    }),
];

const ROLES: &[Kind] = &[
    ("a change by who may only read", |rng| {
        refused(Signer::of("READER").post(&change(rng)), 403, "AccessDenied")
    }),
    ("a change by who may only register targets", |rng| {
        refused(Signer::of("OPERATOR").post(&change(rng)), 403, "AccessDenied")
    }),
    ("targets by who may only read", |rng| {
        let action = any(rng, &["RegisterTargets", "DeregisterTargets"]);
        let body = format!("Action={action}&Version=2015-12-01&TargetGroupArn={}", token(rng, 9));
        refused(Signer::of("READER").post(body.as_bytes()), 403, "AccessDenied")
    }),
    ("a reset by who may only read", |rng| {
        let body = token(rng, 9);
        let bytes = replaced(&Signer::of("READER").post(body.as_bytes()), "POST / ", "POST /_sluice/reset ");
        refused(bytes, 403, "SignatureDoesNotMatch")
    }),
];

const FORMS: &[Kind] = &[
    ("a broken percent sign", |rng| {
        let broken = any(rng, &["%", "%4", "%zz", "%+1", "%%41", "%u0041"]);
        form(rng, format!("&Name=x{broken}"), 404, "MalformedQueryString")
    }),
    ("bytes that are no UTF-8", |rng| {
        let bytes = any(rng, &["%ff", "%c3", "%ed%a0%80", "%f8%88%80%80%80", "%c0%80"]);
        form(rng, format!("&Name={bytes}"), 404, "MalformedQueryString")
    }),
    ("raw bytes that are no UTF-8", |rng| {
        let mut body = change(rng);
        body.extend([b'&', rng.u8(0x80..=0xff), b'=']);
        refused(Signer::of("ADMIN").post(&body), 404, "MalformedQueryString")
    }),
    ("a parameter given twice", |rng| form(rng, "&Name=x&Name=y".into(), 404, "MalformedQueryString")),
    ("the action given twice", |rng| form(rng, "&Action=DescribeTags".into(), 404, "MalformedQueryString")),
    ("names that are too deep", |rng| {
        let deep = ".member.1".repeat(rng.usize(7..400));
        form(rng, format!("&Tags{deep}=x"), 404, "MalformedQueryString")
    }),
    ("too many parameters", |rng| {
        let many: String = (0..8193 + rng.usize(0..99)).map(|number| format!("&{number}")).collect();
        form(rng, many, 404, "MalformedQueryString")
    }),
    ("items with numbers that are none", |rng| {
        let index = any(
            rng,
            &["18446744073709551616", "-1", "1e3", "", "x", "0x1", "%00", "99999999999999999999999999"],
        );
        form(rng, format!("&Name=x&Subnets.member.{index}=subnet-a"), 400, "ValidationError")
    }),
    ("a name with what names have not", |rng| {
        let name = any(
            rng,
            &["a%00b", "a%0d%0ab", "%3Cscript%3E", "..%2F..", "%E2%80%AEx", "a%7Fb", "a'b", "%F0%9F%92%A3"],
        );
        form(rng, format!("&Name={name}&Type=network&Subnets.member.1=subnet-a"), 400, "ValidationError")
    }),
    ("a name that is too long", |rng| {
        let name = token(rng, 33).repeat(rng.usize(1..3000));
        form(rng, format!("&Name={name}&Type=network&Subnets.member.1=subnet-a"), 400, "ValidationError")
    }),
    ("a page of a size that none has", |rng| {
        let size = any(rng, &["0", "-1", "401", "99999999999999999999", "1.5", "x", ""]);
        let body = format!("{READ}&n={}&PageSize={size}", token(rng, 9));
        refused(Signer::of("READER").post(body.as_bytes()), 400, "ValidationError")
    }),
    ("no action", |rng| {
        let body = format!(
            "Version=2015-12-01&n={}{}",
            token(rng, 9),
            any(rng, &["", "&Action=", "&action=AddTags"])
        );
        refused(Signer::of("ADMIN").post(body.as_bytes()), 400, "MissingAction")
    }),
    ("an action that is none", |rng| {
        let version = any(rng, &["2015-12-01", "2012-06-01", "", "%00"]);
        let body = format!("Action={}&Version={version}", token(rng, 12));
        refused(Signer::of("ADMIN").post(body.as_bytes()), 400, "InvalidAction")
    }),
    ("the action of another kind of load balancer", |rng| {
        let body = format!("Action=DeleteTrustStore&Version=2015-12-01&TrustStoreArn={}", token(rng, 12));
        refused(Signer::of("ADMIN").post(body.as_bytes()), 400, "OperationNotPermitted")
    }),
    ("what is not there", |rng| {
        let body = format!("{READ}&Names.member.1={}", token(rng, 12));
        refused(Signer::of("READER").post(body.as_bytes()), 400, "LoadBalancerNotFound")
    }),
];

const PLACES: &[Kind] = &[
    ("a method that is not served", |rng| {
        let method = any(rng, &["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "BREW"]);
        let bytes = Signer::of("ADMIN").post(&change(rng));
        refused(replaced(&bytes, "POST", method), 404, "UnknownOperationException")
    }),
    ("a path that is not served", |rng| {
        let path = any(
            rng,
            &[
                "//",
                "/%2e%2e/",
                "/_sluice/reset/",
                "/_sluice",
                "/index.html",
                "/2015-12-01",
                "/;",
                "http://a/b",
            ],
        );
        let bytes = Signer::of("ADMIN").post(&change(rng));
        refused(replaced(&bytes, "POST / ", &format!("POST {path} ")), 404, "UnknownOperationException")
    }),
    ("a reset that is not signed", |rng| {
        let bytes = post_with("Host: localhost\r\n", token(rng, 9).as_bytes());
        refused(replaced(&bytes, "POST / ", "POST /_sluice/reset "), 403, "MissingAuthenticationToken")
    }),
];

const HTTP: &[Kind] = &[
    ("no request line", |rng| {
        let line = any(
            rng,
            &[
                "GET /%%% HTTP/9",
                "GET",
                "\0\0\0\0",
                "GET  / HTTP/1.1",
                "GET / HTTP/1.1 x",
                "\u{16}\u{3}\u{1}\u{2}",
            ],
        );
        http(format!("{line}\r\nHost: {}\r\n\r\n", token(rng, 9)), 400)
    }),
    ("random bytes", |rng| {
        let length = rng.usize(12..400);
        // No line may look like a method; the last two make the head whole.
        let bytes: Vec<u8> = (0..length).map(|_| rng.u8(0x80..)).collect();
        refused([&bytes[..], b"\r\n\r\n"].concat(), 400, "")
    }),
    ("header lines that are none", |rng| {
        let line = any(rng, &["X Y: z", ": z", "X", "X\0: z", "X: a\0b", "X: a\r\n b", "X : z", "\u{fc}: z"]);
        http(format!("POST / HTTP/1.1\r\nHost: {}\r\n{line}\r\n\r\n", token(rng, 9)), 400)
    }),
    ("lengths that are none", |rng| {
        let length = any(rng, &["-1", "+5", "0x10", "5, 6", "1e3", "99999999999999999999999", "5 5", ""]);
        http(
            format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\nAction", token(rng, 9)),
            400,
        )
    }),
    ("two lengths", |rng| {
        let (one, other) = (rng.u8(0..9), rng.u8(10..99));
        http(
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {one}\r\nContent-Length: {other}\r\n\r\n{}",
                token(rng, 20)
            ),
            400,
        )
    }),
    ("codings that are none", |rng| {
        let coding = any(rng, &["gzip", "chunked, gzip", "identity", "xchunked", "chunked, identity"]);
        http(
            format!(
                "POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n",
                token(rng, 9)
            ),
            400,
        )
    }),
    ("a coding in HTTP/1.0", |rng| {
        http(
            format!(
                "POST / HTTP/1.0\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                token(rng, 9)
            ),
            400,
        )
    }),
    ("HTTP/1.0, not signed", |rng| {
        let bytes = post_with("Host: localhost\r\n", &change(rng));
        refused(replaced(&bytes, "HTTP/1.1", "HTTP/1.0"), 403, "MissingAuthenticationToken")
    }),
    ("a request hidden behind a length and a coding", |rng| {
        // By its coding the body is empty, and what follows is a request of its own, which is not signed either.
        let hidden = text(post_with("Host: localhost\r\n", &change(rng)));
        let lines = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5);
        refused(
            format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n0\r\n\r\n{hidden}")
                .into_bytes(),
            403,
            "MissingAuthenticationToken",
        )
    }),
    ("chunks that are none", |rng| {
        let chunk = any(rng, &["x\r\n", "-1\r\nx", "fffffffffffffffff\r\n", "3\r\nabcdef\r\n"]);
        let body = format!("{chunk}{}\r\n", token(rng, 9));
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(format!("{head}{body}").into_bytes(), 404, "MalformedQueryString")
    }),
    ("a body that is too long", |rng| {
        let length = rng.u64((1 << 20) + 1..1 << 62);
        let bytes = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        refused(bytes.into_bytes(), 413, "RequestEntityTooLarge")
    }),
    ("chunks that are too long together", |rng| {
        // Few, because they are long.
        let (size, count) = if rng.u8(0..16) == 0 { (rng.usize(600_000..700_000), 2) } else { (9, 1) };
        let chunks = format!("{size:x}\r\n{}\r\n", "x".repeat(size)).repeat(count);
        let last = if count == 2 { "" } else { "0\r\n\r\n" };
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: localhost\r\n";
        let bytes = format!("{head}X: {}\r\n\r\n{chunks}{last}", token(rng, 9)).into_bytes();
        let (status, code) =
            if count == 2 { (413, "RequestEntityTooLarge") } else { (403, "MissingAuthenticationToken") };
        refused(bytes, status, code)
    }),
    ("a header that is too long", |rng| {
        let value = token(rng, 9).repeat(rng.usize(2000..4000));
        http(format!("POST / HTTP/1.1\r\nHost: localhost\r\nX: {value}\r\n\r\n"), 431)
    }),
    ("too many headers", |rng| {
        let lines: String = (0..rng.u32(65..900)).map(|number| format!("X{number}: {number}\r\n")).collect();
        http(format!("POST / HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", token(rng, 9)), 431)
    }),
    ("a path that is too long", |rng| {
        let path = token(rng, 9).repeat(rng.usize(2000..4000));
        http(format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 431)
    }),
];

fn refused(bytes: Vec<u8>, status: u16, code: &'static str) -> Hostile {
    Hostile { bytes, status, code }
}

fn http(text: String, status: u16) -> Hostile {
    refused(text.into_bytes(), status, "")
}

/// An admin's request to create something, with these parameters as well.
fn form(rng: &mut Rng, parameters: String, status: u16, code: &'static str) -> Hostile {
    let body = format!("Action=CreateLoadBalancer&Version=2015-12-01&n={}{parameters}", token(rng, 9));
    refused(Signer::of("ADMIN").post(body.as_bytes()), status, code)
}

fn read(rng: &mut Rng) -> Vec<u8> {
    format!("{READ}&n={}", token(rng, 9)).into_bytes()
}

fn change(rng: &mut Rng) -> Vec<u8> {
    format!("{CHANGE}&n={}", token(rng, 9)).into_bytes()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn any<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

fn token(rng: &mut Rng, length: usize) -> String {
    (0..length).map(|_| rng.alphanumeric()).collect()
}
