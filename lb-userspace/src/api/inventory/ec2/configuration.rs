//! The section `inventory.ec2` of the configuration file: where the endpoint is, and what it can't say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use serde::Deserialize;

use super::super::Network;
use super::super::read::{InventoryError, RawAllocation};

/// Where certificates of authorities are unless something else is said; Debian's and many others' place.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How often the endpoint is asked unless something else is said.
const REFRESH_SECONDS: u64 = 60;

/// As it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    endpoint: String,
    region: String,
    credentials: PathBuf,
    ca: Option<PathBuf>,
    #[serde(default)]
    plain_text_beyond_loopback: bool,
    refresh_seconds: Option<u64>,
    page_size: Option<u16>,
    subnets: Vec<WrittenSubnet>,
    #[serde(default)]
    allocations: Vec<WrittenAllocation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSubnet {
    id: String,
    nodes: Vec<String>,
    ipv4_pool: Option<Network>,
    ipv6_pool: Option<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAllocation {
    id: String,
    address: Ipv4Addr,
}

/// Checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Where the endpoint is.
    pub endpoint: Endpoint,
    /// The region that requests are signed for.
    pub region: String,
    /// A file that only its owner can read: `{"access_key_id", "secret_access_key"}`, and `session_token` if there is
    /// one. It is read anew for each refresh.
    pub credentials: PathBuf,
    /// Certificates of the authorities that vouch for the endpoint, PEM.
    pub authorities: PathBuf,
    /// From one refresh to the next: 5 s to a day.
    pub refresh: Duration,
    /// How many records an answer may have at most: 5 to 1000; the endpoint's own number if not said.
    pub page_size: Option<u16>,
    /// What the file says about subnets, by id; the endpoint is asked for these.
    pub(super) subnets: BTreeMap<String, LocalSubnet>,
    /// VIPs with names.
    pub(super) allocations: Vec<RawAllocation>,
}

/// What EC2 can't say about a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalSubnet {
    pub(super) nodes: Vec<String>,
    pub(super) ipv4_pool: Option<Network>,
    pub(super) ipv6_pool: Option<Network>,
}

/// An address of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, with a slash at its beginning.
    pub path: String,
    /// Host and port as requests name them.
    pub authority: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority, self.path)
    }
}

impl Written {
    /// Checks what can be checked without the endpoint.
    ///
    /// # Errors
    /// With every problem.
    pub(in super::super) fn check(self) -> Result<Configuration, InventoryError> {
        let mut problems = Vec::new();
        let mut note =
            |place: &str, problem: String| problems.push(format!("inventory.ec2.{place}: {problem}"));
        let endpoint = endpoint(&self.endpoint);
        match &endpoint {
            None => note(
                "endpoint",
                format!("{:?} is no endpoint; expected https://HOST, https://HOST:PORT/PATH", self.endpoint),
            ),
            Some(endpoint) if !endpoint.is_tls && !endpoint.is_here() && !self.plain_text_beyond_loopback => note(
                "endpoint",
                "plain text beyond the loopback, where others could answer in its place: use https, or set \
                 inventory.ec2.plain_text_beyond_loopback if the network is to be trusted"
                    .to_owned(),
            ),
            Some(_) => {}
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || !self.region.bytes().all(is_name) {
            note("region", format!("{:?} must be lower-case letters, digits and hyphens", self.region));
        }
        let refresh = self.refresh_seconds.unwrap_or(REFRESH_SECONDS);
        if !(5..=86400).contains(&refresh) {
            note("refresh_seconds", format!("{refresh} must be 5 to 86400"));
        }
        if let Some(size) = self.page_size.filter(|size| !(5..=1000).contains(size)) {
            note("page_size", format!("{size} must be 5 to 1000"));
        }
        let mut subnets = BTreeMap::new();
        for WrittenSubnet { id, nodes, ipv4_pool, ipv6_pool } in self.subnets {
            if subnets.insert(id.clone(), LocalSubnet { nodes, ipv4_pool, ipv6_pool }).is_some() {
                note("subnets", format!("the id {id:?} is given twice"));
            }
        }
        if subnets.is_empty() || subnets.len() > 200 {
            note("subnets", format!("there are {}; expected 1 to 200", subnets.len()));
        }
        let allocations = self.allocations.into_iter();
        let allocations = allocations.map(|one| RawAllocation { id: one.id, address: one.address }).collect();
        match endpoint.filter(|_| problems.is_empty()) {
            None => Err(InventoryError(problems)),
            Some(endpoint) => Ok(Configuration {
                endpoint,
                region: self.region,
                credentials: self.credentials,
                authorities: self.ca.unwrap_or_else(|| SYSTEM_AUTHORITIES.into()),
                refresh: Duration::from_secs(refresh),
                page_size: self.page_size,
                subnets,
                allocations,
            }),
        }
    }
}

impl Configuration {
    /// How many subnets it speaks of.
    pub fn subnets(&self) -> usize {
        self.subnets.len()
    }
}

impl Endpoint {
    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn endpoint(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.parse().ok()?;
    let is_tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    if uri.query().is_some() || host.is_empty() {
        return None;
    }
    Some(Endpoint {
        is_tls,
        host,
        port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
        path: uri.path().to_owned(),
        authority: authority.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl Fn(&mut serde_json::Value)) -> Result<Configuration, Vec<String>> {
        let mut written = serde_json::json!({
            "endpoint": "https://ec2.example.net", "region": "local", "credentials": "/etc/sluice/ec2.json",
            "subnets": [ { "id": "subnet-1", "nodes": ["lb1"], "ipv4_pool": "10.0.0.0/24" } ]
        });
        change(&mut written);
        serde_json::from_value::<Written>(written).unwrap().check().map_err(|error| error.0)
    }

    #[test]
    fn an_endpoint_is_a_url() {
        let found = checked(|_| {}).unwrap();
        assert_eq!((found.endpoint.port, found.endpoint.path.as_str()), (443, "/"));
        assert_eq!(found.endpoint.to_string(), "https://ec2.example.net/");
        let found =
            checked(|written| written["endpoint"] = "http://[::1]:5000/services/compute".into()).unwrap();
        assert_eq!((found.endpoint.host.as_str(), found.endpoint.port), ("::1", 5000));
        assert_eq!(found.endpoint.to_string(), "http://[::1]:5000/services/compute");
        for text in ["", "ec2.example.net", "ftp://x", "https://", "https://a@b", "https://a?b", "http://x y"]
        {
            let problems = checked(|written| written["endpoint"] = text.into()).unwrap_err();
            assert!(problems[0].starts_with("inventory.ec2.endpoint: "), "{text}: {problems:?}");
        }
    }

    #[test]
    fn plain_text_stays_on_the_loopback() {
        let plain = |is_allowed: bool| {
            checked(|written| {
                written["endpoint"] = "http://10.0.0.1:5000".into();
                written["plain_text_beyond_loopback"] = is_allowed.into();
            })
        };
        assert!(plain(false).unwrap_err()[0].contains("use https"));
        assert!(plain(true).is_ok());
    }

    #[test]
    fn every_problem_is_told() {
        let problems = checked(|written| {
            written["region"] = "The Hague".into();
            written["refresh_seconds"] = 1.into();
            written["page_size"] = 4.into();
            written["subnets"] = serde_json::json!([]);
        });
        let places: Vec<String> = problems.unwrap_err().iter().map(|text| text[14..20].to_owned()).collect();
        assert_eq!(places, ["region", "refres", "page_s", "subnet"]);
    }
}
