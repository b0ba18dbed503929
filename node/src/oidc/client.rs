//! Calls to the provider, bounded in time and size. No redirect is followed: a secret goes where the document says.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;

use super::OpenError;
use super::jwk::{KeySet, Unusable};
use super::known::Provider;
use super::metadata::{Metadata, Unfit, well_known};
use super::settings::Settings;
use crate::accounts::password::Secret;
use crate::api::json;
use crate::http::{self, ReadError};

/// Longest answer of a provider, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Longest file of authorities, in bytes.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for a whole call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a provider's answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, a time-out, or the connection broke.
    #[error("{0}")]
    Unreachable(#[from] reqwest::Error),
    /// More than [`MAX_ANSWER_BYTES`].
    #[error("its answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// It said something else than what was asked for.
    #[error("it answered {0}")]
    Status(u16),
    /// The answer is not what it should be.
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Its document cannot be used.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Its keys cannot be used.
    #[error("its keys cannot be used: {0}")]
    Unusable(#[from] Unusable),
    /// It does not take the code.
    #[error("it refused the code: {0}")]
    Refused(String),
}

impl From<ReadError> for CallError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broken(error) => Self::Unreachable(error),
            ReadError::TooLarge(_) => Self::TooLarge,
        }
    }
}

/// The client of one provider.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    secret: Option<Secret>,
}

/// What a code is redeemed for; the access token is not needed.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// What a provider says that refuses (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The connections to the provider. Trusted for them are the authorities of the file, without one those of the system, and
/// none where nothing is encrypted, since the provider is on this machine.
fn http(settings: &Settings) -> Result<reqwest::Client, OpenError> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let builder = match &settings.ca_file {
        Some(path) => builder.tls_certs_only(authorities(path)?),
        None if settings.issuer.starts_with("http:") => builder.tls_certs_only([]),
        None => builder,
    };
    Ok(builder.build()?)
}

/// The certificates of a file.
fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, OpenError> {
    let bad = |why: String| OpenError::Authorities { path: path.to_owned(), why };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    file.take(MAX_CA_BYTES).read_to_end(&mut pem).map_err(|error| bad(error.to_string()))?;
    let all = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
    if all.is_empty() { Err(bad("it has no certificate (PEM)".to_owned())) } else { Ok(all) }
}

/// Pairs as a form (`application/x-www-form-urlencoded`), which is what a URL's query is.
fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// Name and secret as a header carries them (RFC 6749, section 2.3.1): each encoded as in a form first.
fn basic(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| form(&[("", text)])[1..].to_owned();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret))))
}

impl Client {
    /// A client.
    ///
    /// # Errors
    ///
    /// The file of authorities cannot be read, or the TLS library cannot be set up.
    pub fn new(settings: &Settings, secret: Option<Secret>) -> Result<Self, OpenError> {
        Ok(Self { http: http(settings)?, secret })
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, CallError> {
        match read(self.http.get(url).header(ACCEPT, "application/json").send().await?).await? {
            (200, body) => Ok(body),
            (status, _) => Err(CallError::Status(status)),
        }
    }

    /// Asks the provider for its document and keys.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn provider(&self, issuer: &str) -> Result<Provider, CallError> {
        let metadata = Metadata::parse(&self.get(&well_known(issuer)).await?, issuer)?;
        let keys = KeySet::parse(&self.get(&metadata.jwks_uri).await?)?;
        Ok(Provider { metadata, keys })
    }

    /// Redeems a code for an ID token, which is not verified yet.
    ///
    /// # Errors
    ///
    /// [`CallError`], [`CallError::Refused`] if the provider does not take the code.
    pub async fn redeem(
        &self,
        metadata: &Metadata,
        settings: &Settings,
        code: &str,
        verifier: &str,
    ) -> Result<String, CallError> {
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &settings.redirect_url),
            ("client_id", &settings.client_id),
            ("code_verifier", verifier),
        ];
        let mut request = self.http.post(&metadata.token_endpoint).header(ACCEPT, "application/json");
        match &self.secret {
            Some(secret) if metadata.takes_secret_in_body_alone() => pairs.push(("client_secret", &secret[..])),
            Some(secret) => request = request.header(AUTHORIZATION, basic(&settings.client_id, secret)),
            None => {}
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form(&pairs));
        match read(request.send().await?).await? {
            (200, body) => Ok(json::read::<Tokens>(&body)?.id_token),
            (400 | 401, body) => {
                let said = json::read::<Refusal>(&body).map(|refusal| plain(&refusal.error)).unwrap_or_default();
                Err(CallError::Refused(said))
            }
            (status, _) => Err(CallError::Status(status)),
        }
    }
}

/// A provider's error code, if it is one: whatever else stands there is told to nobody.
#[must_use]
pub fn plain(error: &str) -> String {
    let is_code = error.len() <= 64 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_code { error.to_owned() } else { "an error of its own".to_owned() }
}

async fn read(response: reqwest::Response) -> Result<(u16, Vec<u8>), CallError> {
    let status = response.status().as_u16();
    let body = http::body(response, MAX_ANSWER_BYTES).await?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_encoded_as_the_standard_says() {
        assert_eq!(form(&[("a", "b c&d=é"), ("e", "")]), "a=b+c%26d%3D%C3%A9&e=");
        assert_eq!(basic("node", "a:b %"), format!("Basic {}", STANDARD.encode("node:a%3Ab+%25")));
        assert_eq!(plain("invalid_grant"), "invalid_grant");
        assert_eq!(plain("<script>"), "an error of its own");
    }

    #[test]
    fn authorities_that_are_none_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let opened = || {
            let settings = Settings { ca_file: Some(path.clone()), ..super::super::settings::tests::settings() };
            Client::new(&settings, None).map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(opened().unwrap_err().starts_with("oidc.ca_file: "), "it is missing");
        for text in ["", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(opened().is_err(), "{text}");
        }
    }
}
