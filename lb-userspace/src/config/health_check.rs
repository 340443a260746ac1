//! A target group's `health_check` section.

use std::time::Duration;

use super::cursor::{At, Fields};
use crate::model::{CheckPort, HealthCheck, Probe, StatusCodes};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);
const HEALTHY_THRESHOLD: u8 = 5;
const UNHEALTHY_THRESHOLD: u8 = 2;
const PATH: &str = "/";
const MATCHER: (u16, u16) = (200, 399);

#[derive(Debug, Clone, Copy, PartialEq)]
enum ProbeProtocol {
    Tcp,
    Http,
    Https,
    Grpc,
    Udp,
}

impl ProbeProtocol {
    const fn name(self) -> &'static str {
        match self {
            ProbeProtocol::Tcp => "TCP",
            ProbeProtocol::Http => "HTTP",
            ProbeProtocol::Https => "HTTPS",
            ProbeProtocol::Grpc => "GRPC",
            ProbeProtocol::Udp => "UDP",
        }
    }
}

/// Fields that checks of some protocols have, and the first of those in words.
const OWN_FIELDS: [(&str, &[ProbeProtocol], &str); 3] = [
    ("path", &[ProbeProtocol::Http, ProbeProtocol::Https], "HTTP and HTTPS"),
    ("matcher", &[ProbeProtocol::Http, ProbeProtocol::Https], "HTTP and HTTPS"),
    ("service", &[ProbeProtocol::Grpc], "GRPC"),
];

/// The section, or the default check if it was left out.
pub(super) fn read(section: Option<At>) -> Option<HealthCheck> {
    let Some(at) = section else { return Some(default()) };
    let fields = at.fields(&[
        "protocol",
        "port",
        "path",
        "matcher",
        "service",
        "interval_seconds",
        "timeout_seconds",
        "healthy_threshold",
        "unhealthy_threshold",
    ])?;
    let probe = probe(&fields);
    let port = fields.optional("port").map_or(Some(CheckPort::Traffic), |at| port(&at));
    let interval = fields.optional("interval_seconds").map_or(Some(INTERVAL), |at| at.seconds(1..=300));
    let timeout = timeout(&fields, interval);
    let threshold = |name, default| fields.optional(name).map_or(Some(default), |at| at.number(1..=10));
    let healthy_threshold = threshold("healthy_threshold", HEALTHY_THRESHOLD);
    let unhealthy_threshold = threshold("unhealthy_threshold", UNHEALTHY_THRESHOLD);
    Some(HealthCheck {
        probe: probe?,
        port: port?,
        interval: interval?,
        timeout: timeout?,
        healthy_threshold: healthy_threshold?,
        unhealthy_threshold: unhealthy_threshold?,
    })
}

fn default() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        port: CheckPort::Traffic,
        interval: INTERVAL,
        timeout: TIMEOUT,
        healthy_threshold: HEALTHY_THRESHOLD,
        unhealthy_threshold: UNHEALTHY_THRESHOLD,
    }
}

fn probe(fields: &Fields) -> Option<Probe> {
    use ProbeProtocol::{Grpc, Http, Https, Tcp, Udp};
    let protocols = [Tcp, Http, Https, Grpc, Udp].map(|protocol| (protocol.name(), protocol));
    let protocol = fields.optional("protocol").map_or(Some(Tcp), |at| at.choice(&protocols, &["TLS"]));
    let has_foreign = protocol.is_some_and(|protocol| refuse_foreign(fields, protocol));
    let path = fields.optional("path").map_or(Some(PATH.to_owned()), |at| path(&at));
    let matcher = fields.optional("matcher").map_or(Some(StatusCodes(vec![MATCHER])), |at| matcher(&at));
    let service = fields.optional("service").map_or(Some(String::new()), |at| service(&at));
    let probe = match protocol? {
        Tcp => Probe::Tcp,
        Udp => Probe::Udp,
        Http => Probe::Http { path: path?, matcher: matcher? },
        Https => Probe::Https { path: path?, matcher: matcher? },
        Grpc => Probe::Grpc { service: service? },
    };
    (!has_foreign).then_some(probe)
}

/// Refuses fields that are there and that checks of the protocol don't have; whether there was one.
fn refuse_foreign(fields: &Fields, protocol: ProbeProtocol) -> bool {
    let foreign = OWN_FIELDS.iter().filter(|(_, owners, _)| !owners.contains(&protocol));
    let refused = foreign.filter_map(|(name, owners, words)| Some((fields.optional(name)?, owners, words)));
    refused.fold(false, |_, (at, owners, words)| {
        let protocol = owners[0].name();
        at.refuse::<()>(format!(
            "only {words} checks have one; leave it out or set the check's protocol to {protocol:?}"
        ));
        true
    })
}

/// A service's name as gRPC's health check has it: `package.Service`, or empty for the whole server.
fn service(at: &At) -> Option<String> {
    const RULE: &str = "the name of a gRPC service of up to 200 letters, digits and '.', '_', '-', '/'";
    let service = at.text(RULE)?;
    let is_fit = |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
    if service.len() <= 200 && service.chars().all(is_fit) {
        Some(service.to_owned())
    } else {
        at.refuse_expecting(RULE)
    }
}

fn port(at: &At) -> Option<CheckPort> {
    if at.is_text("traffic-port") {
        return Some(CheckPort::Traffic);
    }
    at.number_expecting(1..=u16::MAX, "a whole number from 1 to 65535 or \"traffic-port\"")
        .map(CheckPort::Port)
}

fn timeout(fields: &Fields, interval: Option<Duration>) -> Option<Duration> {
    let Some(at) = fields.optional("timeout_seconds") else {
        return Some(TIMEOUT.min(interval?));
    };
    let timeout = at.seconds(1..=120)?;
    match interval {
        Some(interval) if timeout > interval => at.refuse(format!(
            "{} s is longer than the interval of {} s; make it at most interval_seconds",
            timeout.as_secs(),
            interval.as_secs()
        )),
        _ => Some(timeout),
    }
}

/// A request target in origin form (RFC 9112 section 3.2.1), so that no path can smuggle in a header.
fn path(at: &At) -> Option<String> {
    const RULE: &str = "a path of 1 to 1024 characters that starts with \"/\", such as \"/healthz\"";
    let path = at.text(RULE)?;
    if !path.starts_with('/') || path.len() > 1024 {
        return at.refuse_expecting(RULE);
    }
    match first_not_in_a_uri(path) {
        None => Some(path.to_owned()),
        Some(character) => at.refuse(format!(
            "{character:?} can't stand in the path of a request; write it percent-encoded, like %20 for a space"
        )),
    }
}

/// The first character that RFC 3986 section 3.3 and 3.4 have in no path and no query.
fn first_not_in_a_uri(path: &str) -> Option<char> {
    let percent_encoded = |at: usize| {
        path.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    path.char_indices().find_map(|(at, character)| match character {
        '%' if percent_encoded(at) => None,
        'a'..='z' | 'A'..='Z' | '0'..='9' => None,
        _ if "/?-._~!$&'()*+,;=:@".contains(character) => None,
        _ => Some(character),
    })
}

fn matcher(at: &At) -> Option<StatusCodes> {
    const RULE: &str = "a string of HTTP status codes from 200 to 599 and ranges of them, \
         such as \"200\" or \"200,300-399\"";
    let codes = at.text(RULE)?.split(',').map(code_range).collect::<Option<Vec<_>>>();
    codes.map(StatusCodes).or_else(|| at.refuse_expecting(RULE))
}

fn code_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (code(first)?, code(last)?);
    (range.0 <= range.1).then_some(range)
}

/// Three digits and nothing else: `parse` alone would take `+200`.
fn code(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|code| (200..=599).contains(code))
}
