//! Calls to other nodes: signed, over TLS pinned to the registry, bounded in time and size.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::writer::Writer;
use domain::ids::InstitutionId;
use domain::member::Purpose;
use domain::reasons::Reason;
use ed25519_dalek::SigningKey;
use parking_lot::Mutex;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clocks::Clocks;
use super::signature::{self, Parameters};
use crate::config::{Config, is_loopback};
use crate::http::{self, ReadError};
use crate::keys::NodeKeys;
use crate::tls::pin::{Pin, pinned_to};

/// Longest answer of a peer, in bytes: a full entry bundle of the largest records is below 2 MiB.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection is kept without a call: the other side keeps it longer, so that no call meets its end.
const IDLE: Duration = Duration::from_secs(10);

/// Time for an ordinary call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Questions of the start rule tell nothing about anybody.
const START: &str = "/v1/start/";

/// A node that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whose.
    pub institution: InstitutionId,
    /// Its base URL.
    pub url: String,
}

/// A client for other nodes.
pub struct PeerClient {
    me: InstitutionId,
    registrar: InstitutionId,
    keys: NodeKeys,
    /// For the registry: whose certificates may be whose, and the time by which requests are signed.
    writer: Arc<Writer>,
    /// For nodes on this machine.
    plain: reqwest::Client,
    /// A client by institution, and what its connections are pinned to: another key, other connections.
    pinned: Mutex<HashMap<InstitutionId, (Pin, reqwest::Client)>>,
    clocks: Clocks,
}

/// What a peer answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// Why a peer's answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, a time-out, or the connection broke.
    #[error("{}", innermost(.0))]
    Unreachable(#[from] reqwest::Error),
    /// Its URL is none, or would be called without TLS though it is on another machine.
    #[error("{0} is no https URL, and not on this machine")]
    Unprotected(String),
    /// It is no member, so nobody knows its key.
    #[error("{0} is no member: its certificate cannot be checked")]
    NoMember(InstitutionId),
    /// More than [`MAX_ANSWER_BYTES`].
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// The peer said no.
    #[error("the peer answered {status}{}", code.map(|c| format!(" {c}")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason code, where it gave one of the list.
        code: Option<Reason>,
    },
    /// The answer is not what it should be.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl From<ReadError> for CallError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broken(error) => Self::Unreachable(error),
            ReadError::TooLarge(_) => Self::TooLarge,
        }
    }
}

/// The library names the request; the innermost cause says what happened to it, such as a certificate that is another's.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl CallError {
    /// The reason to pass on to whoever called us.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused { code: Some(reason), .. } => *reason,
            _ => Reason::PeerUnreachable,
        }
    }
}

/// What all calls have in common.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// What is sent with a request that changes something.
struct Sent<'a> {
    key: &'a str,
    body: Vec<u8>,
}

/// A request before it is signed.
struct Call<'a> {
    client: &'a reqwest::Client,
    audience: InstitutionId,
    method: Method,
    url: Url,
    sent: Option<Sent<'a>>,
    timeout: Duration,
}

/// Whether the peer does not take the signature for this node's.
fn is_not_believed(answer: &Answer) -> bool {
    let code = || serde_json::from_slice::<Said>(&answer.body).ok().map(|said| said.code);
    answer.status == 401 && code() == Some(Reason::SignatureInvalid)
}

impl PeerClient {
    /// A client that signs as this institution.
    ///
    /// # Errors
    ///
    /// The TLS library cannot be set up.
    pub fn new(config: &Config, keys: &NodeKeys, writer: Arc<Writer>) -> Result<Self, reqwest::Error> {
        let plain = builder().tls_backend_preconfigured(crate::tls::nobody()).build()?;
        let (me, registrar, keys) = (config.institution, config.registrar.institution, keys.clone());
        Ok(Self { me, registrar, keys, writer, plain, pinned: Mutex::default(), clocks: Clocks::default() })
    }

    /// What the clocks of those showed who answered.
    #[must_use]
    pub const fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Whose certificates an institution's node may show.
    ///
    /// The registrar's log is its own proof, by the key of the configuration: before anything of it is here, it is taken
    /// from whoever answers. Nothing else is sent to somebody whose key is not known.
    fn pin(&self, institution: InstitutionId) -> Result<Pin, CallError> {
        let registry = self.writer.registry();
        match registry.member(institution) {
            Some(member) => Ok(Pin::Key { institution, key: member.entry.keys[Purpose::Node as usize] }),
            None if institution == self.registrar => Ok(Pin::FirstContact),
            None => Err(CallError::NoMember(institution)),
        }
    }

    /// The client for a node, its connections protected as they must be.
    fn towards(&self, peer: &Peer, url: &Url, is_told_something: bool) -> Result<reqwest::Client, CallError> {
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(url) => return Ok(self.plain.clone()),
            _ => return Err(CallError::Unprotected(peer.url.clone())),
        }
        let pin = self.pin(peer.institution)?;
        if is_told_something && pin == Pin::FirstContact {
            return Err(CallError::NoMember(peer.institution));
        }
        let mut pinned = self.pinned.lock();
        if let Some((_, client)) = pinned.get(&peer.institution).filter(|(held, _)| *held == pin) {
            return Ok(client.clone());
        }
        let client = builder().tls_backend_preconfigured(pinned_to(&pin)).build()?;
        pinned.insert(peer.institution, (pin, client.clone()));
        Ok(client)
    }

    async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
        sent: Option<Sent<'_>>,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let url: Url = format!("{}{path}", peer.url).parse().map_err(|_| CallError::Unprotected(peer.url.clone()))?;
        let is_told_something = sent.is_some() && !path.starts_with(START);
        let client = self.towards(peer, &url, is_told_something)?;
        let call = Call { client: &client, audience: peer.institution, method, url, sent, timeout };
        let answer = self.send(&call, &self.keys.node_key()).await?;
        // While a node key is replaced, others may have another copy of the registrar's log than this node has.
        let other = self.keys.other_node_key().filter(|_| is_not_believed(&answer));
        match other {
            Some(other) => self.send(&call, &other).await,
            None => Ok(answer),
        }
    }

    async fn send(&self, call: &Call<'_>, key: &SigningKey) -> Result<Answer, CallError> {
        let Call { client, audience, method, url, sent, timeout } = call;
        let parameters = Parameters { institution: self.me, created: self.writer.now(), nonce: rand::random() };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let (path, audience) = (format!("{}{query}", url.path()), audience.as_str());
        let carried = sent.as_ref().map(|sent| (sent.key, sent.body.as_slice()));
        let headers = signature::headers(key, parameters, audience, method.as_str(), &path, carried);
        let mut request = client.request(method.clone(), url.clone()).timeout(*timeout);
        for (name, value) in headers.ok_or_else(|| CallError::Unprotected(url.to_string()))? {
            request = request.header(name, value);
        }
        if let Some(Sent { body, .. }) = sent {
            request = request.body(body.clone());
        }
        let asked = Instant::now();
        let response = request.send().await?;
        self.clocks.hear(response.url(), response.headers(), asked);
        read(response).await
    }

    /// GETs bytes.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a status is not an error.
    pub async fn get(&self, peer: &Peer, path: &str, timeout: Duration) -> Result<Answer, CallError> {
        self.ask(peer, Method::GET, path, None, timeout).await
    }

    /// GETs JSON.
    ///
    /// # Errors
    ///
    /// [`CallError`], also for a status other than 2xx.
    pub async fn get_json<T: DeserializeOwned>(&self, peer: &Peer, path: &str) -> Result<T, CallError> {
        good(self.get(peer, path, CALL_TIMEOUT).await?)
    }

    /// POSTs bytes of JSON under an idempotency key.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a status is not an error.
    pub async fn post(&self, peer: &Peer, path: &str, key: &str, body: Vec<u8>) -> Result<Answer, CallError> {
        self.ask(peer, Method::POST, path, Some(Sent { key, body }), CALL_TIMEOUT).await
    }

    /// POSTs a value and reads one.
    ///
    /// # Errors
    ///
    /// [`CallError`], also for a status other than 2xx.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        peer: &Peer,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        good(self.post(peer, path, key, serde_json::to_vec(body)?).await?)
    }
}

async fn read(response: reqwest::Response) -> Result<Answer, CallError> {
    let status = response.status().as_u16();
    let body = http::body(response, MAX_ANSWER_BYTES).await?;
    Ok(Answer { status, body })
}

#[derive(serde::Deserialize)]
struct Said {
    code: Reason,
}

fn good<T: DeserializeOwned>(answer: Answer) -> Result<T, CallError> {
    if (200..300).contains(&answer.status) {
        return Ok(serde_json::from_slice(&answer.body)?);
    }
    let code = serde_json::from_slice::<Said>(&answer.body).ok().map(|said| said.code);
    Err(CallError::Refused { status: answer.status, code })
}
