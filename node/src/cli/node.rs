//! Calls to a running node, as an operator makes them: bounded in time and size, and in words that say what to do.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use domain::ids::InstitutionId;
use domain::member::Role;
use domain::time::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use voucher_node::accounts::password::Secret;
use voucher_node::config::check_url;
use voucher_node::http::{self, ReadError};

/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Time for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a call is repeated that a node cannot answer now.
const REPEATS: u32 = 5;

/// Longest rest before a repetition, in seconds, whatever the node asks for.
const MAX_REST_SECS: u64 = 10;

/// Where a node is asked unless the operator says otherwise: the first of the example configurations.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:7101";

/// Why a node's answer could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No connection, or it broke.
    #[error("the node at {url} cannot be reached ({error}); is it running, and is --url right?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection says.
        error: String,
    },
    /// It answered, and said no.
    #[error("the node says no ({status} {code}): {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The reason's code; empty where none was given.
        code: String,
        /// What to do, and what exactly.
        text: String,
    },
    /// It answered something else than a node does.
    #[error("what answers at {url} is no voucher node of this version: {why}")]
    Unreadable {
        /// Where.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
}

/// How a node stands, as it says itself; fields that a newer node adds are passed over.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    /// Whose node.
    pub institution: InstitutionId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its time.
    pub time: Timestamp,
    /// `real` or `federation`.
    pub clock: String,
    /// Seconds that a federation clock is ahead.
    #[serde(default)]
    pub clock_ahead_secs: i64,
    /// Whether the registrar has registered it, as far as it knows.
    #[serde(default = "yes")]
    pub member: bool,
    /// Whether it may write.
    pub ready: bool,
    /// Why it may not.
    #[serde(default)]
    pub writing: String,
    /// What it holds of each log; none where it does not say so to this caller.
    #[serde(default)]
    pub logs: Option<Vec<LogStatus>>,
    /// Version of its program.
    #[serde(default)]
    pub version: Option<String>,
    /// Its certificates.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Its keys that are not as they should stay.
    #[serde(default)]
    pub keys: Vec<KeyStatus>,
}

/// How a key of a node stands.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct KeyStatus {
    /// `log`, `node` or `witness`.
    pub purpose: String,
    /// `next-waits` or `other`.
    pub state: String,
}

/// A node of an older version says nothing.
const fn yes() -> bool {
    true
}

/// How long a certificate of a node still holds.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CertificateStatus {
    /// `node` or `public`.
    pub kind: String,
    /// Whole days that are left.
    pub days_left: i64,
    /// Somebody must do something.
    pub is_ending: bool,
}

/// What a node holds of one log.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LogStatus {
    /// Whose log.
    pub institution: InstitutionId,
    /// Entries held.
    pub size: u64,
    /// Entries folded into its state.
    pub folded: u64,
    /// Time of the last one folded.
    pub last_at: Timestamp,
    /// Whether it needs a newer program to go on.
    #[serde(default)]
    pub upgrade_needed: bool,
    /// The time of its next record, where that is too far ahead of the node's clock.
    #[serde(default)]
    pub too_early: Option<Timestamp>,
    /// It has signed two histories.
    #[serde(default)]
    pub forked: bool,
    /// What is held is the history that does not count.
    #[serde(default)]
    pub given_up: bool,
}

/// A node, called from the command line.
pub(super) struct Node {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    url: String,
    token: Option<Secret>,
}

impl Node {
    /// A node at a base URL, whose certificate is of the authority in a file or, without one, of those that this machine
    /// trusts; `token` says who writes to it.
    pub(super) fn at(url: &str, authority: Option<&Path>, token: Option<Secret>) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/');
        check_url(url).map_err(|why| anyhow::anyhow!("--url {url}: {why}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut http =
            reqwest::Client::builder().timeout(CALL_TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
        if let Some(file) = authority {
            let pem = std::fs::read(file).with_context(|| file.display().to_string())?;
            let trusted = reqwest::Certificate::from_pem(&pem).with_context(|| file.display().to_string())?;
            http = http.tls_certs_only([trusted]);
        }
        let http = http.build()?;
        Ok(Self { runtime, http, url: url.to_owned(), token })
    }

    /// How it stands.
    pub(super) fn status(&self) -> Result<Status, CallError> {
        self.get("/v1/status")
    }

    /// GETs JSON.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let answer = self.call(self.known(self.http.get(format!("{}{path}", self.url))))?;
        serde_json::from_slice(&answer).map_err(|error| self.unreadable(error))
    }

    /// GETs bytes as they are.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, CallError> {
        self.call(self.known(self.http.get(format!("{}{path}", self.url))))
    }

    /// POSTs JSON under an idempotency key, so that a repetition does nothing twice.
    pub(super) fn post(&self, path: &str, key: &str, body: &Value) -> Result<Value, CallError> {
        let request = self.http.post(format!("{}{path}", self.url)).header("Idempotency-Key", key).json(body);
        let answer = self.call(self.known(request))?;
        serde_json::from_slice(&answer).map_err(|error| self.unreadable(error))
    }

    /// A request that says who asks.
    fn known(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(&token[..]),
            None => request,
        }
    }

    /// The body of a good answer. Where the node is busy or not ready, it is asked again a few times.
    fn call(&self, request: RequestBuilder) -> Result<Vec<u8>, CallError> {
        self.runtime.block_on(async {
            for repeat in 0.. {
                // Every body here is in memory, so a request can always be copied.
                let Some(copy) = request.try_clone() else { break };
                let response = copy.send().await.map_err(|error| self.unreachable(&error))?;
                let status = response.status();
                let later = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
                let rest = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                let body = self.read(response).await?;
                if status.is_success() {
                    return Ok(body);
                }
                if !later || repeat >= REPEATS {
                    return Err(refused(status, &body));
                }
                tokio::time::sleep(Duration::from_secs(rest.unwrap_or(1).min(MAX_REST_SECS))).await;
            }
            Err(self.unreadable("it cannot be asked twice"))
        })
    }

    async fn read(&self, response: reqwest::Response) -> Result<Vec<u8>, CallError> {
        http::body(response, MAX_ANSWER_BYTES).await.map_err(|error| match error {
            ReadError::Broken(error) => self.unreachable(&error),
            ReadError::TooLarge(_) => self.unreadable(error),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        // reqwest names the request; the innermost cause says what happened to it.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CallError::Unreachable { url: self.url.clone(), error: cause.to_string() }
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> CallError {
        CallError::Unreadable { url: self.url.clone(), why: why.to_string() }
    }
}

/// A problem as a node says it (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    desk: String,
    detail: Option<String>,
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let text = match (problem.desk.is_empty(), problem.detail) {
        (true, None) => "it gives no reason".to_owned(),
        (true, Some(detail)) => detail,
        (false, None) => problem.desk,
        (false, Some(detail)) => format!("{} ({detail})", problem.desk),
    };
    CallError::Refused { status: status.as_u16(), code: problem.code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_told_at_once() {
        for bad in ["foo", "ftp://host", "http://u:p@host", "http://host?x"] {
            let error = Node::at(bad, None, None).err().unwrap().to_string();
            assert!(error.starts_with(&format!("--url {bad}: a base URL")), "{error}");
        }
        assert!(Node::at("http://127.0.0.1:7101/", None, None).is_ok());
    }
}
