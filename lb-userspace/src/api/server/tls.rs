//! TLS: certificate and key from files, which are read again when they change.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::api::configuration::Tls;
use crate::api::file_watch;
use crate::api::service::{Part, Service};

/// What the server is trusted by.
pub(super) struct Identity {
    files: Tls,
    in_force: RwLock<Option<InForce>>,
}

/// What the files held when they were good.
struct InForce {
    content: Content,
    acceptor: TlsAcceptor,
}

/// PEM sections.
#[derive(PartialEq, Eq)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// When they can't be read, or do not go together.
    pub(super) fn load(files: &Tls) -> anyhow::Result<Identity> {
        let identity = Identity::awaited(files);
        identity.renew()?;
        Ok(identity)
    }

    /// The files' content, when they are followed: before there is no acceptor.
    pub(super) fn awaited(files: &Tls) -> Identity {
        Identity { files: files.clone(), in_force: RwLock::default() }
    }

    /// What accepts TLS connections with what was good last, if anything was: TLS 1.2 and 1.3, HTTP/1.1.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        in_force.as_ref().map(|in_force| in_force.acceptor.clone())
    }

    /// Reads the files whenever one changes. What is no good leaves the earlier in force; the log and the service tell
    /// why. Connections that there are stay as they are.
    ///
    /// # Errors
    /// When SIGHUP can't be listened for.
    pub(super) async fn follow(&self, service: &Service) -> anyhow::Result<()> {
        file_watch::follow(|| self.paths().to_vec(), |_| self.read(service)).await
    }

    fn read(&self, service: &Service) {
        let problem = match self.renew() {
            Ok(is_other) => {
                if is_other {
                    info!("the certificate {} is in force", self.files.certificate.display());
                }
                None
            }
            Err(problem) => {
                let in_force = match self.acceptor() {
                    Some(_) => "the earlier certificate stays in force",
                    None => "nobody is served without a certificate",
                };
                error!("{in_force}: {problem:#}");
                Some(format!("{in_force}: {problem:#}"))
            }
        };
        service.tell(Part::Certificate, problem);
    }

    /// Takes over what the files hold; whether that is something else than before.
    fn renew(&self) -> anyhow::Result<bool> {
        let [certificate, key] = self
            .paths()
            .map(|file| fs::read(&file).with_context(|| format!("reading {} (api.tls)", file.display())));
        let content = Content { certificate: certificate?, key: key? };
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        if in_force.as_ref().is_some_and(|in_force| in_force.content == content) {
            return Ok(false);
        }
        let acceptor = self.accept_with(&content)?;
        *in_force = Some(InForce { content, acceptor });
        Ok(true)
    }

    fn accept_with(&self, content: &Content) -> anyhow::Result<TlsAcceptor> {
        let [certificate, key] = self.paths().map(|file| file.display().to_string());
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content.certificate).collect();
        let certificates = certificates.with_context(|| format!("the certificate {certificate}"))?;
        if certificates.is_empty() {
            bail!("the certificate {certificate} has no PEM section CERTIFICATE");
        }
        let private = PrivateKeyDer::from_pem_slice(&content.key);
        let private = private.with_context(|| format!("the private key {key}"))?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .context("TLS 1.2 and 1.3 are there")?
                .with_no_client_auth()
                .with_single_cert(certificates, private)
                .with_context(|| format!("the certificate {certificate} and the key {key}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn paths(&self) -> [PathBuf; 2] {
        [self.files.certificate.clone(), self.files.key.clone()]
    }
}
