//! TLS: certificate and key from files, which are read again when they change.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::api::configuration::Tls;
use crate::api::file_watch;
use crate::api::service::{Part, Service};

/// What the server is trusted by.
pub(super) struct Certified {
    files: Tls,
    in_force: RwLock<Option<InForce>>,
}

/// What the files held when they were good.
struct InForce {
    /// The SHA-256 of both files' content.
    digest: [u8; 32],
    acceptor: TlsAcceptor,
}

impl Certified {
    /// Reads the files.
    ///
    /// # Errors
    /// When they can't be read, or do not go together.
    pub(super) fn load(files: &Tls) -> anyhow::Result<Certified> {
        let certified = Certified::awaited(files);
        certified.renew()?;
        Ok(certified)
    }

    /// The files' content, when they are followed: before there is no acceptor.
    pub(super) fn awaited(files: &Tls) -> Certified {
        Certified { files: files.clone(), in_force: RwLock::default() }
    }

    /// What accepts TLS connections with what was good last, if anything was: TLS 1.2 and 1.3, HTTP/1.1.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        in_force.as_ref().map(|in_force| in_force.acceptor.clone())
    }

    /// Reads the files whenever one changes. What is no good leaves the earlier in force, and is read again each second;
    /// the log and the service tell why. Connections that there are stay as they are.
    ///
    /// # Errors
    /// When SIGHUP can't be listened for.
    pub(super) async fn follow(&self, service: &Service) -> anyhow::Result<()> {
        file_watch::follow(|| self.paths().to_vec(), |_| self.read(service)).await
    }

    /// Whether the files are good.
    fn read(&self, service: &Service) -> bool {
        match self.renew() {
            Ok(is_other) => {
                if service.tell(Part::Certificate, None) || is_other {
                    info!("the certificate {} is in force", self.files.certificate.display());
                }
                true
            }
            Err(problem) => {
                let in_force = match self.acceptor() {
                    Some(_) => "the earlier certificate stays in force",
                    None => "nobody is served without a certificate",
                };
                let problem = format!("{in_force}: {problem:#}");
                if service.tell(Part::Certificate, Some(problem.clone())) {
                    error!("{problem}");
                }
                false
            }
        }
    }

    /// Takes over what the files hold; whether that is something else than before.
    fn renew(&self) -> anyhow::Result<bool> {
        let [certificate, key] = self
            .paths()
            .map(|file| fs::read(&file).with_context(|| format!("reading {} (api.tls)", file.display())));
        let (certificate, key) = (certificate?, key?);
        let digest = Sha256::new().chain_update(&certificate).chain_update(&key).finalize().into();
        let in_force = || self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        if in_force().as_ref().is_some_and(|in_force| in_force.digest == digest) {
            return Ok(false);
        }
        let acceptor = self.accept_with(&certificate, &key)?;
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Some(InForce { digest, acceptor });
        Ok(true)
    }

    fn accept_with(&self, pem: &[u8], private: &[u8]) -> anyhow::Result<TlsAcceptor> {
        let [certificate, key] = self.paths().map(|file| file.display().to_string());
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.with_context(|| format!("the certificate {certificate}"))?;
        if certificates.is_empty() {
            bail!("the certificate {certificate} has no PEM section CERTIFICATE");
        }
        let private = PrivateKeyDer::from_pem_slice(private);
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
