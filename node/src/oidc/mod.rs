//! Operators of an identity provider (docs/decisions/0021-oidc.md): signing in with a code and PKCE, and JWTs of machines.
//!
//! The provider says who somebody is, and nothing else: which account that is, and what it may do, stands in this node's
//! file of accounts. What is decided here goes by the machine's time, because a provider knows no federation's clock.

pub mod client;
pub mod jwk;
pub mod jwt;
pub mod known;
pub mod login;
pub mod metadata;
pub mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::clock::Clock as _;
use domain::reasons::Reason;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::accounts::Subject;
use crate::accounts::password::Secret;
use crate::accounts::permission::Permissions;
use crate::clock::NodeClock;
use crate::keyfile::{self, KeyFileError};
use client::{CallError, Client};
use jwt::Untrusted;
use known::{Hope, Known, Provider, REFRESH};
use login::{Logins, Waiting};
use settings::Settings;

/// Longest code, in bytes.
pub const MAX_CODE_BYTES: usize = 4 * 1024;

/// How long a sign-in waits for keys that are being asked for.
const KEYS_WAIT: Duration = Duration::from_secs(10);

/// First rest after a provider did not answer; each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(1);

/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Why a provider cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file of the secret cannot be used.
    #[error("oidc.client_secret_file: {0}")]
    Secret(#[from] KeyFileError),
    /// It has no secret.
    #[error("oidc.client_secret_file: the first line of {} is the secret, and it is empty", .0.display())]
    NoSecret(PathBuf),
    /// The file of authorities cannot be read.
    #[error("oidc.ca_file: {}: {why}", .path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The TLS library cannot be set up.
    #[error("the client of the identity provider: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why somebody is not who a provider is said to say.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The provider does not answer, or says what cannot be used.
    #[error("the identity provider does not answer")]
    Unreachable,
    /// It is being asked for a key.
    #[error("the identity provider is being asked for its keys")]
    Asking,
    /// It says no.
    #[error("the identity provider says: {0}")]
    Denied(String),
    /// What it said to have said is not believed.
    #[error("{0}")]
    Untrusted(#[from] Untrusted),
    /// What came back names another provider.
    #[error("the answer names another identity provider")]
    OtherProvider,
    /// No JWT is taken here.
    #[error("no audience is configured: JWTs are not taken")]
    NoAudience,
}

impl Refused {
    /// The reason code of it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unreachable => Reason::ProviderUnreachable,
            Self::Asking => Reason::Busy,
            Self::Denied(_) => Reason::ProviderRefused,
            Self::Untrusted(_) | Self::OtherProvider => Reason::ProviderTokenInvalid,
            Self::NoAudience => Reason::SessionOver,
        }
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(said) => Self::Denied(said),
            error => {
                tracing::warn!(%error, "the identity provider redeems no code");
                Self::Unreachable
            }
        }
    }
}

/// The secret in the first line of a file.
fn secret_of(path: &Path) -> Result<Secret, OpenError> {
    let line = keyfile::first_line(path)?;
    if line.is_empty() { Err(OpenError::NoSecret(path.to_owned())) } else { Ok(Secret::from(line.to_string())) }
}

/// Where a browser goes to sign in, and what it keeps meanwhile.
#[derive(Debug)]
pub struct Outward {
    /// At the provider.
    pub url: String,
    /// The value of its cookie.
    pub browser: String,
}

/// What a browser brings back from the provider.
#[derive(Debug)]
pub struct Returned<'a> {
    /// The code.
    pub code: Option<&'a str>,
    /// Which provider says that it is.
    pub iss: Option<&'a str>,
    /// Why there is no code.
    pub error: Option<&'a str>,
}

/// The identity provider of a node's operators.
#[derive(Debug)]
pub struct Oidc {
    settings: Settings,
    client: Client,
    clock: NodeClock,
    logins: Mutex<Logins>,
    known: Mutex<Known>,
    asked: Notify,
    answers: watch::Sender<u64>,
}

impl Oidc {
    /// A provider that was not asked yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the file of the secret is missing, empty, or can be read by others; that of authorities has none.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let secret = settings.client_secret_file.as_deref().map(secret_of).transpose()?;
        let client = Client::new(&settings, secret)?;
        Ok(Self {
            settings,
            client,
            clock: NodeClock::real(),
            logins: Mutex::default(),
            known: Mutex::default(),
            asked: Notify::new(),
            answers: watch::Sender::new(0),
        })
    }

    /// Keeps the provider's document and keys fresh, for ever.
    pub async fn keep_fresh(&self) {
        let mut rest = FIRST_REST;
        loop {
            match self.client.provider(&self.settings.issuer).await {
                Ok(provider) => {
                    self.known.lock().keep(provider, Instant::now());
                    self.answers.send_modify(|n| *n += 1);
                    rest = FIRST_REST;
                    let _ = tokio::time::timeout(REFRESH, self.asked.notified()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, issuer = self.settings.issuer, "the identity provider does not say its keys");
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    fn provider(&self) -> Result<Arc<Provider>, Refused> {
        self.known.lock().provider(Instant::now()).ok_or(Refused::Unreachable)
    }

    /// Somebody names a key that is not held: whether it may come.
    fn miss(&self) -> Hope {
        let hope = self.known.lock().misses_a_key(Instant::now());
        if hope == Hope::Ask {
            self.asked.notify_one();
        }
        hope
    }

    /// Sends a browser to the provider.
    ///
    /// # Errors
    ///
    /// [`Refused::Unreachable`] as long as the provider has said nothing of itself.
    pub fn begin(&self) -> Result<Outward, Refused> {
        let provider = self.provider()?;
        let endpoint = &provider.metadata.authorization_endpoint;
        let mut url = reqwest::Url::parse(endpoint).map_err(|_| Refused::Unreachable)?;
        let begun = self.logins.lock().begin(self.clock.now());
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_url),
            ("scope", &self.settings.scopes),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &begun.challenge),
            ("code_challenge_method", "S256"),
        ]);
        if let Some(secs) = self.settings.max_age_secs {
            url.query_pairs_mut().append_pair("max_age", &secs.to_string());
        }
        if let Some(acr) = &self.settings.acr {
            url.query_pairs_mut().append_pair("acr_values", acr);
        }
        Ok(Outward { url: url.into(), browser: begun.browser })
    }

    /// The sign-in of a state, if this browser began it. It is over with that, whatever comes of it.
    #[must_use]
    pub fn take(&self, state: &str, browser: Option<&str>) -> Option<Waiting> {
        self.logins.lock().take(state, browser, self.clock.now())
    }

    /// Ends a sign-in: who came back.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub async fn finish(&self, waiting: &Waiting, returned: &Returned<'_>) -> Result<Subject, Refused> {
        let provider = self.provider()?;
        // Before anything else: a code of another provider is shown to nobody.
        if !provider.metadata.is_named_by(returned.iss) {
            return Err(Refused::OtherProvider);
        }
        if let Some(error) = returned.error {
            return Err(Refused::Denied(client::plain(error)));
        }
        let code = returned.code.filter(|code| !code.is_empty() && code.len() <= MAX_CODE_BYTES);
        let code = code.ok_or_else(|| Refused::Denied("no code".to_owned()))?;
        let token = self.client.redeem(&provider.metadata, &self.settings, code, &waiting.verifier).await?;
        self.subject_of(&token, &waiting.nonce).await
    }

    async fn subject_of(&self, token: &str, nonce: &str) -> Result<Subject, Refused> {
        let names = [self.settings.issuer.as_str(), &self.settings.client_id, nonce];
        let mut answers = self.answers.subscribe();
        let verified = |provider: &Provider| jwt::id_token(token, &provider.keys, names, self.clock.now());
        let claims = match verified(&*self.provider()?) {
            Err(Untrusted::UnknownKey) if self.miss() != Hope::None => {
                let answered = tokio::time::timeout(KEYS_WAIT, answers.changed()).await;
                answered.map_err(|_| Refused::Unreachable)?.map_err(|_| Refused::Unreachable)?;
                verified(&*self.provider()?)?
            }
            verified => verified?,
        };
        claims.must_be_proved(self.settings.max_age_secs, self.settings.acr.as_deref())?;
        Ok(self.subject(claims.sub))
    }

    /// Whom a machine's JWT speaks of, and to what it narrows itself.
    ///
    /// # Errors
    ///
    /// [`Refused`], [`Refused::Asking`] while the provider is asked for a key that is not held.
    pub fn bearer(&self, text: &str) -> Result<(Subject, Option<Permissions>), Refused> {
        let audience = self.settings.audience.as_deref().ok_or(Refused::NoAudience)?;
        let (provider, now) = (self.provider()?, self.clock.now());
        match jwt::access_token(text, &provider.keys, &self.settings.issuer, audience, now) {
            Ok(claims) => {
                let scope = claims.scope();
                Ok((self.subject(claims.sub), scope))
            }
            Err(Untrusted::UnknownKey) if self.miss() != Hope::None => Err(Refused::Asking),
            Err(untrusted) => Err(untrusted.into()),
        }
    }

    /// A subject of this provider.
    fn subject(&self, sub: String) -> Subject {
        Subject { issuer: self.settings.issuer.clone(), sub }
    }
}
