//! TLS around a check's connection.
//!
//! The target's certificate is not verified, whoever it was made out to and whoever signed it: a check asks whether
//! the target serves, at an address that the configuration names, and no secret is sent. Targets usually have a
//! certificate of the name by which clients know the VIP, or one that they made themselves; a check that insisted on
//! more would take good targets out. That an impostor could be taken for healthy changes nothing: who can answer in
//! a target's place gets its packets anyway.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Limit, words};
use crate::health::state::Failure;

static CONFIGURATION: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let mut configuration = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has all that TLS 1.2 and 1.3 need")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A handshake each time: a target that can't make one is not well.
    configuration.resumption = rustls::client::Resumption::disabled();
    Arc::new(configuration)
});

/// TLS on `stream`. The name that is asked for is the target's address, which RFC 6066 sends to nobody: a target
/// answers with its default certificate.
pub(super) async fn within(
    stream: TcpStream,
    target: IpAddr,
    limit: Limit,
) -> Result<TlsStream<TcpStream>, Failure> {
    let connecting =
        TlsConnector::from(Arc::clone(&CONFIGURATION)).connect(ServerName::IpAddress(target.into()), stream);
    match timeout_at(limit.deadline, connecting).await {
        Err(_) => Err(Failure::NoAnswer(limit.timeout)),
        Ok(Err(error)) => Err(Failure::Tls(words(&error))),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// Takes every certificate; that the peer holds its key is checked, so that a broken server is seen.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
