//! Certificates that a node issues to itself: a TLS key made in memory, certified by the node key for some weeks.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use domain::ids::InstitutionId;
use ed25519_dalek::{Signer as _, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// How long a certificate is valid.
const VALID: Duration = Duration::from_secs(90 * 86_400);

/// A certificate is valid from so long ago: clocks differ.
const EARLIER: Duration = Duration::from_secs(86_400);

/// What stands before the institution's id in the issuer's name.
const ISSUER: &str = "voucher node ";

/// The node key as the authority of one institution.
struct NodeKey<'a>(&'a SigningKey, [u8; 32]);

impl PublicKeyData for NodeKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for NodeKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

/// The issuer's name as certificates carry it, without the outer tag: one common name.
#[must_use]
pub(super) fn issuer_name(institution: InstitutionId) -> Vec<u8> {
    // An id has at most 24 bytes, so every length here is below 128 and takes one byte.
    let tagged = |tag: u8, content: Vec<u8>| [vec![tag, content.len() as u8], content].concat();
    let common_name = [vec![0x06, 3, 0x55, 0x04, 0x03], tagged(0x0c, format!("{ISSUER}{institution}").into_bytes())];
    tagged(0x31, tagged(0x30, common_name.concat()))
}

/// An Ed25519 key as certificates carry it, without the outer tag (RFC 8410).
#[must_use]
pub(super) fn public_key_info(key: &[u8; 32]) -> Vec<u8> {
    [&[0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70, 0x03, 33, 0][..], key].concat()
}

/// What the node key signs with, and the certificate of it for those who need a file: `curl --cacert`, a browser.
fn authority(institution: InstitutionId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{ISSUER}{institution}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// The node key's own certificate, PEM. It is as good as the key: it has no end that anybody must watch.
///
/// # Errors
///
/// The certificate cannot be encoded.
pub fn authority_pem(institution: InstitutionId, key: &SigningKey) -> anyhow::Result<String> {
    let certificate = authority(institution).self_signed(&NodeKey(key, key.verifying_key().to_bytes()));
    Ok(certificate.context("the node key's own certificate")?.pem())
}

/// A certificate with its private key, and until when it holds.
#[derive(Debug)]
pub struct Issued {
    /// For rustls.
    pub certified: CertifiedKey,
    /// Until when, by the machine's clock.
    pub not_after: SystemTime,
}

/// Makes a TLS key and certifies it for these names, from `now` on.
///
/// # Errors
///
/// A name that is none, or randomness that cannot be had.
pub fn issue(
    institution: InstitutionId,
    key: &SigningKey,
    names: &[String],
    now: SystemTime,
) -> anyhow::Result<Issued> {
    let tls_key = KeyPair::generate().context("a TLS key")?;
    let since_epoch = now.duration_since(UNIX_EPOCH).context("the machine's clock is before 1970")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, institution.as_str());
    params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<anyhow::Result<_>>()?;
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(EARLIER);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch + VALID;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let issuer = Issuer::new(authority(institution), NodeKey(key, key.verifying_key().to_bytes()));
    let certificate = params.signed_by(&tls_key, &issuer).context("a certificate")?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(tls_key.serialize_der()));
    let certified = CertifiedKey::new(chain, any_supported_type(&private).context("the TLS key")?);
    Ok(Issued { certified, not_after: now + VALID })
}

fn alternative(name: &str) -> anyhow::Result<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    Ok(SanType::DnsName(name.try_into().with_context(|| format!("{name} is no host name"))?))
}

/// Reads a certificate chain and its key, PEM; until when the first of the chain holds.
///
/// # Errors
///
/// A file cannot be read, has no certificate or key, or the two do not fit.
pub fn load(chain: &std::path::Path, key: &std::path::Path) -> anyhow::Result<Issued> {
    use rustls::pki_types::pem::PemObject as _;
    for path in [chain, key] {
        // To open a pipe would wait for whoever writes to it, for ever.
        let is_other = std::fs::metadata(path).is_ok_and(|kind| !kind.is_file());
        anyhow::ensure!(!is_other, "{} is no regular file", path.display());
    }
    let certificates = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.with_context(|| chain.display().to_string())?;
    let first = certificates.first().with_context(|| format!("{}: no certificate in it", chain.display()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first).with_context(|| chain.display().to_string())?;
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    let mode = std::fs::metadata(key).with_context(|| key.display().to_string())?.permissions().mode();
    anyhow::ensure!(mode & 0o007 == 0, "{} is open to everybody (mode {:o}): chmod o= it", key.display(), mode & 0o777);
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
    let private = any_supported_type(&private).with_context(|| key.display().to_string())?;
    let certified = CertifiedKey::new(certificates, private);
    certified.keys_match().with_context(|| format!("{} is not the key of {}", key.display(), chain.display()))?;
    Ok(Issued { certified, not_after: UNIX_EPOCH + Duration::from_secs(not_after) })
}
