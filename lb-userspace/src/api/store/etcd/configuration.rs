//! Where etcd is, and how it is spoken to.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The section `store.etcd` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    /// The members' client addresses: `http://10.0.0.1:2379`, or `https://` with [`Etcd::tls`].
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// How TLS is spoken.
    pub tls: Option<Tls>,
    /// Who this node is to etcd, if it asks for a password.
    pub user: Option<String>,
    /// A file with the user's password; white space around it is none of it.
    pub password_file: Option<PathBuf>,
}

/// TLS towards etcd.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who vouches for the members' certificates, PEM.
    pub ca: PathBuf,
    /// This node's certificate, PEM, if etcd asks for one.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The name in the members' certificates, if it is not that of the endpoint.
    pub server_name: Option<String>,
}

fn default_prefix() -> String {
    "/sluice/".to_owned()
}

/// The same with the content of its files.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) endpoints: Vec<String>,
    pub(super) options: etcd_client::ConnectOptions,
}

impl Etcd {
    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// With what is wrong, and where.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.endpoints.is_empty() {
            bail!("store.etcd.endpoints: name at least one member, such as http://10.0.0.1:2379");
        }
        let scheme = if self.tls.is_some() { "https://" } else { "http://" };
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| !endpoint.starts_with(scheme)) {
            bail!(
                "store.etcd.endpoints: {endpoint:?} must begin with {scheme} as store.etcd.tls is {}",
                if self.tls.is_some() { "set" } else { "not set" }
            );
        }
        if !self.prefix.ends_with('/') {
            bail!("store.etcd.prefix: {:?} must end with /", self.prefix);
        }
        if self.user.is_some() != self.password_file.is_some() {
            bail!("store.etcd: user and password_file are set together or not at all");
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            bail!("store.etcd.tls: certificate and key are set together or not at all");
        }
        Ok(())
    }

    /// Reads the files.
    pub(super) fn access(&self) -> anyhow::Result<Access> {
        self.check()?;
        let mut options = etcd_client::ConnectOptions::new()
            .with_connect_timeout(super::client::PATIENCE)
            .with_keep_alive(super::client::PING, super::client::PATIENCE)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let password =
                String::from_utf8(read(file)?).context("the password of store.etcd is not UTF-8")?;
            options = options.with_user(user, password.trim());
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.options()?);
        }
        Ok(Access { endpoints: self.endpoints.clone(), options })
    }
}

impl Tls {
    fn options(&self) -> anyhow::Result<etcd_client::TlsOptions> {
        let mut options = etcd_client::TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(read(&self.ca)?));
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            options = options.identity(etcd_client::Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            options = options.domain_name(name);
        }
        Ok(options)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_work_is_refused() {
        let check = |text: &str| {
            let etcd: Etcd = serde_json::from_str(text).unwrap();
            etcd.check().map_err(|error| error.to_string())
        };
        let one = r#""endpoints": ["http://127.0.0.1:2379"]"#;
        assert_eq!(check(&format!("{{ {one} }}")), Ok(()));
        for (text, why) in [
            (r#"{ "endpoints": [] }"#.to_owned(), "at least one member"),
            (r#"{ "endpoints": ["127.0.0.1:2379"] }"#.to_owned(), "must begin with http://"),
            (format!(r#"{{ {one}, "tls": {{ "ca": "ca.pem" }} }}"#), "must begin with https://"),
            (format!(r#"{{ {one}, "prefix": "/sluice" }}"#), "must end with /"),
            (format!(r#"{{ {one}, "user": "sluice" }}"#), "set together"),
        ] {
            let error = check(&text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
