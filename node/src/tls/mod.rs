//! Transport security between nodes and for browsers: TLS by rustls (docs/decisions/0020-transport.md).
//!
//! A node's node key stands in the registry. It certifies a TLS key that the node makes itself and renews by itself, so
//! peers know whom they talk to without a certificate authority. Who configures a certificate of a public authority shows
//! that one to browsers.

pub mod certificate;
pub mod pin;
pub mod serving;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

/// What nodes offer beside HTTP/1.1 (ALPN), so that the other side shows the certificate that its node key issued.
pub const PEER_PROTOCOL: &[u8] = b"voucher-node";

/// The cryptography of all TLS here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client's side that trusts nobody: for connections on this machine, which are plain.
#[must_use]
pub fn nobody() -> ClientConfig {
    trusting(RootCertStore::empty())
}

/// A client's side that trusts some authorities.
#[must_use]
pub fn trusting(roots: RootCertStore) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    builder.expect("the provider has TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth()
}
