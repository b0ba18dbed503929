//! A client's side that knows a node by its node key: the one that the registry has.

use std::sync::Arc;

use domain::ids::InstitutionId;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{issuer_name, public_key_info};
use super::{PEER_PROTOCOL, provider};

/// What the other side's certificate must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Issued by this node key, in this institution's name.
    Key {
        /// Whose.
        institution: InstitutionId,
        /// Its node key.
        key: [u8; 32],
    },
    /// Anything: what is asked for proves itself.
    FirstContact,
}

/// A client's side whose connections are pinned.
#[must_use]
pub fn pinned_to(pin: &Pin) -> ClientConfig {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match pin {
        Pin::Key { institution, key } => issued_by(&provider, *institution, key),
        Pin::FirstContact => Arc::new(Anyone(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has TLS 1.2 and 1.3");
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec(), PEER_PROTOCOL.to_vec()];
    config
}

/// The usual verification of names, dates and purposes, with the node key as the only authority.
fn issued_by(
    provider: &Arc<CryptoProvider>,
    institution: InstitutionId,
    key: &[u8; 32],
) -> Arc<dyn ServerCertVerifier> {
    let anchor = TrustAnchor {
        subject: issuer_name(institution).into(),
        subject_public_key_info: public_key_info(key).into(),
        name_constraints: None,
    };
    let roots = Arc::new(RootCertStore { roots: vec![anchor] });
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    built.expect("there is an authority, and there are no revocation lists")
}

/// Takes any certificate whose key signs the handshake.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
