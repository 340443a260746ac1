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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::probe::check;
    use crate::health::{Outcome, Reason};
    use crate::model::{CheckPort, HealthCheck, Probe, StatusCodes};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    fn https() -> HealthCheck {
        let matcher = StatusCodes(vec![(200, 399)]);
        HealthCheck {
            probe: Probe::Https { path: "/up".to_owned(), matcher },
            port: CheckPort::Traffic,
            interval: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        }
    }

    /// A server whose certificate is for another name, signed by itself; it answers one request, and says what the
    /// request was and which name the client asked for.
    async fn serve(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<(String, Option<String>)>) {
        let own = rcgen::generate_simple_self_signed(vec!["www.example".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let configuration = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(configuration));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "the client left early");
            }
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let _ = stream.read_to_end(&mut Vec::new()).await;
            (String::from_utf8(head).unwrap(), name)
        });
        (address, server)
    }

    #[tokio::test]
    async fn whoever_signed_the_certificate_an_expected_status_passes() {
        let (target, server) = serve(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let outcome = check(target, &https()).await;
        assert!(matches!(outcome, Outcome::Passed { .. }), "{outcome:?}");
        let (head, name) = server.await.unwrap();
        assert!(head.starts_with("GET /up HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nhost: {target}\r\n")), "{head}");
        assert_eq!(name, None, "an address is no server name");
    }

    #[tokio::test]
    async fn another_status_and_no_tls_at_all_fail() {
        let (target, _server) = serve(b"HTTP/1.1 503 Unwell\r\nContent-Length: 0\r\n\r\n").await;
        let Outcome::Failed(failure) = check(target, &https()).await else { panic!("it passed") };
        assert_eq!(failure.reason(), Reason::ResponseCodeMismatch);
        let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = plain.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = plain.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        let Outcome::Failed(failure) = check(target, &https()).await else { panic!("it passed") };
        assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
        answering.await.unwrap();
    }
}
