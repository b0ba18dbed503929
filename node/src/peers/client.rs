//! Calls to other nodes, bounded in time and size.

use std::time::{Duration, Instant};

use domain::ids::InstitutionId;
use domain::reasons::Reason;
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clocks::Clocks;

/// Longest answer of a peer, in bytes: a full entry bundle of the largest records is below 2 MiB.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for an ordinary call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for other nodes.
#[derive(Debug, Clone)]
pub struct PeerClient {
    http: reqwest::Client,
    me: InstitutionId,
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
    #[error("{0}")]
    Unreachable(#[from] reqwest::Error),
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

impl PeerClient {
    /// A client that says whose it is.
    ///
    /// # Errors
    ///
    /// The TLS library cannot be set up.
    pub fn new(me: InstitutionId) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, me, clocks: Clocks::default() })
    }

    /// What the clocks of those showed who answered.
    #[must_use]
    pub const fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Answer, CallError> {
        let asked = Instant::now();
        let response = request.header("Institution", self.me.as_str()).send().await?;
        self.clocks.hear(response.url(), response.headers(), asked);
        read(response).await
    }

    /// GETs bytes.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a status is not an error.
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<Answer, CallError> {
        self.ask(self.http.get(url).timeout(timeout)).await
    }

    /// GETs JSON.
    ///
    /// # Errors
    ///
    /// [`CallError`], also for a status other than 2xx.
    pub async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, CallError> {
        good(self.get(url, CALL_TIMEOUT).await?)
    }

    /// POSTs bytes of JSON under an idempotency key.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a status is not an error.
    pub async fn post(&self, url: &str, key: &str, body: Vec<u8>) -> Result<Answer, CallError> {
        let request = self
            .http
            .post(url)
            .header("Idempotency-Key", key)
            .header("Content-Type", "application/json")
            .timeout(CALL_TIMEOUT)
            .body(body);
        self.ask(request).await
    }

    /// POSTs a value and reads one.
    ///
    /// # Errors
    ///
    /// [`CallError`], also for a status other than 2xx.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        url: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        good(self.post(url, key, serde_json::to_vec(body)?).await?)
    }
}

async fn read(response: reqwest::Response) -> Result<Answer, CallError> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(CallError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
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
