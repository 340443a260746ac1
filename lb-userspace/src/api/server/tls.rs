//! TLS: certificate and key from files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::api::configuration::Tls;

/// What accepts TLS connections with these files: TLS 1.2 and 1.3, HTTP/1.1.
pub(super) fn acceptor(files: &Tls) -> anyhow::Result<TlsAcceptor> {
    let certificates = certificates(&files.certificate)?;
    let shown = files.key.display();
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("reading the private key {shown}"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS 1.2 and 1.3 are there")?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .with_context(|| format!("the certificate {} and the key {shown}", files.certificate.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("reading the certificate {shown}"))?
        .collect();
    let certificates = certificates.with_context(|| format!("the certificate {shown}"))?;
    if certificates.is_empty() {
        bail!("the certificate {shown} has no PEM section CERTIFICATE");
    }
    Ok(certificates)
}
