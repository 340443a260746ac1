//! The sections of the configuration file that are the API's: `api`, `inventory` and `store`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::audit::configuration::AuditConfiguration;
use super::domain::arn::Identity;
use super::inventory::{Inventory, RawInventory, Source};
use super::store;
use crate::model::Encapsulation;

/// Where the API is served if nothing else is said.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8440";

/// What the API needs to know.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where it listens.
    pub address: SocketAddr,
    /// Certificate and key, if it speaks TLS.
    pub tls: Option<Tls>,
    /// Whether it may speak without TLS beyond the loopback.
    pub is_plain_text_allowed: bool,
    /// The file of credentials; without one, everybody on the loopback may do everything.
    pub credentials: Option<PathBuf>,
    /// Where its state is kept.
    pub store: store::Configuration,
    /// The log of who changed what, if one is kept.
    pub audit_log: Option<AuditConfiguration>,
    /// Who it is.
    pub identity: Identity,
    /// The network that it speaks of, or who tells it.
    pub inventory: Source,
    /// How packets travel to all targets: the protocol has no word for it.
    pub encapsulation: Encapsulation,
}

/// Files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that vouch for it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

#[derive(Default, Deserialize)]
struct Written {
    api: Option<WrittenApi>,
    inventory: Option<RawInventory>,
    store: Option<store::Shared>,
    /// What `config` reads, if anybody does.
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenApi {
    address: Option<SocketAddr>,
    tls: Option<Tls>,
    #[serde(default)]
    plain_text_beyond_loopback: bool,
    credentials: Option<PathBuf>,
    state: Option<PathBuf>,
    audit_log: Option<AuditConfiguration>,
    partition: Option<String>,
    region: Option<String>,
    account: Option<String>,
    domain: Option<String>,
    encapsulation: Option<WrittenEncapsulation>,
}

#[derive(Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenEncapsulation {
    #[default]
    Ipip,
    Gue,
}

impl From<WrittenEncapsulation> for Encapsulation {
    fn from(written: WrittenEncapsulation) -> Encapsulation {
        match written {
            WrittenEncapsulation::Ipip => Encapsulation::Ipip,
            WrittenEncapsulation::Gue => Encapsulation::Gue,
        }
    }
}

impl Configuration {
    /// Without a file: the loopback, no credentials, and the sample inventory.
    pub fn sample() -> Configuration {
        Configuration {
            address: DEFAULT_ADDRESS.parse().expect("a constant address"),
            tls: None,
            is_plain_text_allowed: false,
            credentials: None,
            store: store::Configuration { directory: store::DEFAULT_DIRECTORY.into(), shared: None },
            audit_log: None,
            identity: Identity::default(),
            inventory: Source::File(Inventory::sample()),
            encapsulation: Encapsulation::Ipip,
        }
    }

    /// Reads a file of the API alone; sections of a node, which [`crate::config`] reads, may be there too.
    ///
    /// # Errors
    /// When it can't be read or is not as it should be, with the path inside it.
    pub fn load(path: &Path) -> anyhow::Result<Configuration> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
        Configuration::parse(&text).with_context(|| format!("{shown}"))
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// When it is not as it should be, with the path inside it.
    pub fn parse(text: &str) -> anyhow::Result<Configuration> {
        let written: Written =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
                .map_err(|error| anyhow::anyhow!("{}: {}", error.path(), error.inner()))?;
        check_others(&written.others)?;
        let sample = Configuration::sample();
        let api = written.api.unwrap_or_default();
        let inventory = match written.inventory {
            Some(raw) => raw.source()?,
            None => bail!("inventory: missing; it says which VPCs, subnets and pools there are"),
        };
        let default = sample.identity;
        let identity = Identity {
            partition: api.partition.unwrap_or(default.partition),
            region: api.region.unwrap_or(default.region),
            account: api.account.unwrap_or(default.account),
            domain: api.domain.unwrap_or(default.domain),
        };
        check_identity(&identity)?;
        written.store.iter().try_for_each(|shared| shared.etcd.check())?;
        api.audit_log.iter().try_for_each(AuditConfiguration::check)?;
        Ok(Configuration {
            address: api.address.unwrap_or(sample.address),
            tls: api.tls,
            is_plain_text_allowed: api.plain_text_beyond_loopback,
            credentials: api.credentials,
            store: store::Configuration {
                directory: api.state.unwrap_or(sample.store.directory),
                shared: written.store,
            },
            audit_log: api.audit_log,
            identity,
            inventory,
            encapsulation: api.encapsulation.unwrap_or_default().into(),
        })
    }

    /// Refuses to let strangers in, or secrets out.
    ///
    /// # Errors
    /// When the address is beyond the loopback without credentials, or without TLS unless that was asked for.
    pub fn check_exposure(&self) -> anyhow::Result<()> {
        if self.address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        if self.credentials.is_none() {
            bail!(
                "the API would be open to everybody on {}: set api.credentials, or listen on the loopback",
                self.address
            );
        }
        if self.tls.is_none() && !self.is_plain_text_allowed {
            bail!(
                "the API would speak plain text on {}: set api.tls, or api.plain_text_beyond_loopback if the network \
                 is to be trusted",
                self.address
            );
        }
        Ok(())
    }
}

/// Refuses what is the other owner's, and what nobody reads: a file without a node is the API's alone.
fn check_others(others: &BTreeMap<String, IgnoredAny>) -> anyhow::Result<()> {
    for section in ["load_balancers", "target_groups"] {
        if others.contains_key(section) {
            bail!("{section}: the API owns the load balancers and target groups; remove this section");
        }
    }
    match others.keys().next() {
        Some(unknown) if !others.contains_key("node") => {
            bail!("{unknown}: unknown field `{unknown}`, expected `api` or `inventory`")
        }
        _ => Ok(()),
    }
}

fn check_identity(identity: &Identity) -> anyhow::Result<()> {
    let Identity { partition, region, account, domain } = identity;
    let is_name = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !text.is_empty() && text.bytes().all(plain)
    };
    for (name, value) in [("partition", partition), ("region", region)] {
        if !is_name(value) {
            bail!("api.{name}: {value:?} must be lower-case letters, digits and hyphens");
        }
    }
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("api.account: {account:?} must be 12 digits");
    }
    if !domain.split('.').all(is_name) {
        bail!("api.domain: {domain:?} must be a domain name in lower case, such as lb.example.net");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_api(api: &str) -> anyhow::Result<Configuration> {
        Configuration::parse(&format!("{{ \"api\": {api}, \"inventory\": {{}} }}"))
    }

    #[test]
    fn errors_name_the_place() {
        for (api, why) in [
            (r#"{ "adress": "127.0.0.1:1" }"#, "api.adress: unknown field `adress`"),
            (r#"{ "address": "localhost" }"#, "api.address: invalid socket address"),
            (r#"{ "account": "1" }"#, "api.account: \"1\" must be 12 digits"),
            (r#"{ "region": "The Hague" }"#, "api.region"),
            (r#"{ "encapsulation": "vxlan" }"#, "api.encapsulation: unknown variant `vxlan`"),
            (r#"{ "audit_log": { "file": "a.log" } }"#, "api.audit_log.file: a.log must be an absolute"),
            (r#"{ "audit_log": { "file": "/a", "sync": 1 } }"#, "api.audit_log.sync"),
        ] {
            let error = format!("{:#}", with_api(api).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
        for (text, why) in [
            ("{}", "inventory: missing"),
            (r#"{ "inventori": {} }"#, "inventori: unknown field"),
            (r#"{ "inventory": {}, "node": {}, "target_groups": [] }"#, "target_groups: the API owns"),
        ] {
            let error = Configuration::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
        let node =
            r#"{ "node": {}, "metrics_address": "x", "inventory": {}, "api": { "encapsulation": "gue" } }"#;
        assert_eq!(Configuration::parse(node).unwrap().encapsulation, Encapsulation::Gue);
    }

    #[test]
    fn beyond_the_loopback_it_needs_credentials_and_tls() {
        let exposure = |api: &str| with_api(api).unwrap().check_exposure().map_err(|error| error.to_string());
        assert_eq!(exposure(r#"{ "address": "[::1]:1" }"#), Ok(()));
        assert_eq!(exposure(r#"{ "address": "[::ffff:127.0.0.1]:1" }"#), Ok(()));
        assert!(exposure(r#"{ "address": "0.0.0.0:1" }"#).unwrap_err().contains("open to everybody"));
        let with =
            |rest: &str| exposure(&format!(r#"{{ "address": "10.0.0.1:1", "credentials": "c"{rest} }}"#));
        assert!(with("").unwrap_err().contains("plain text"));
        assert_eq!(with(r#", "plain_text_beyond_loopback": true"#), Ok(()));
        assert_eq!(with(r#", "tls": { "certificate": "a", "key": "b" }"#), Ok(()));
    }
}
