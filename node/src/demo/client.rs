//! How the demo calls the nodes: REST alone, again while a node says "not now", and who calls in one header.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::time::Timestamp;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::desks::{Desks, Open};
use super::phone::Phone;
use super::report::Named;

/// Longest answer that the demo reads, in bytes: a page of a thousand items.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long a call waits for its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a call is repeated at most while the node cannot answer now.
const REPEAT_FOR: Duration = Duration::from_secs(15);

/// Rest between two tries.
const REST: Duration = Duration::from_millis(100);

/// Who calls.
#[derive(Clone, Copy)]
pub(super) enum As<'a> {
    /// Nobody in particular.
    Anyone,
    /// A clerk, by the name of the account.
    Operator(&'a str),
    /// A holder, who signs the request with the phone's main key.
    Holder(&'a Phone),
}

/// What a node answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// The body: JSON, or the text as a JSON string.
    pub(super) body: Value,
    /// The body as it came, for what is no JSON.
    pub(super) raw: Vec<u8>,
    /// The header `Node-Time`.
    pub(super) node_time: Option<Timestamp>,
    asked: String,
}

/// An answer that the story cannot go on with.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody answered.
    #[error("{asked}: no answer: {error}")]
    Silent {
        /// What was asked.
        asked: String,
        /// Why there is no answer.
        error: String,
    },
    /// The node said no.
    #[error("{asked}: {status} {code}{}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Refused {
        /// What was asked.
        asked: String,
        /// HTTP status.
        status: u16,
        /// Reason code.
        code: String,
        /// What exactly.
        detail: Option<String>,
    },
    /// Something is missing in the answer.
    #[error("{asked}: the answer has no {what}")]
    Missing {
        /// What was asked.
        asked: String,
        /// What is missing.
        what: String,
    },
    /// No node of that name.
    #[error("no institution {0} in this federation")]
    Nobody(String),
}

impl Answer {
    /// Whether the node said yes.
    #[must_use]
    pub(super) const fn is_good(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// The answer, if the node said yes.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] with status and reason.
    pub(super) fn good(self) -> Result<Self, CallError> {
        if self.is_good() {
            return Ok(self);
        }
        let detail = self.body["detail"].as_str().map(str::to_owned);
        let code = self.code().to_owned();
        Err(CallError::Refused { asked: self.asked, status: self.status, code, detail })
    }

    /// The reason code of a problem; empty if it is none.
    #[must_use]
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Whether the node refused for this reason.
    #[must_use]
    pub(super) fn is_refused(&self, code: &str) -> bool {
        !self.is_good() && self.code() == code
    }

    /// The records that were written.
    #[must_use]
    pub(super) fn records(&self) -> Vec<Named> {
        self.body["records"].as_array().into_iter().flatten().filter_map(named).collect()
    }

    /// A text at a JSON pointer.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`].
    pub(super) fn text(&self, pointer: &str) -> Result<&str, CallError> {
        self.body.pointer(pointer).and_then(Value::as_str).ok_or_else(|| self.missing(pointer))
    }

    /// A list at a JSON pointer.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`].
    pub(super) fn list(&self, pointer: &str) -> Result<&Vec<Value>, CallError> {
        self.body.pointer(pointer).and_then(Value::as_array).ok_or_else(|| self.missing(pointer))
    }

    /// What to say about something that the answer should have.
    #[must_use]
    pub(super) fn missing(&self, what: &str) -> CallError {
        CallError::Missing { asked: self.asked.clone(), what: what.to_owned() }
    }
}

/// Status and reason, in a word or two.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, if self.is_good() { "done" } else { self.code() })
    }
}

/// A record's name in an answer.
#[must_use]
pub(super) fn named(value: &Value) -> Option<Named> {
    Some(Named {
        institution: value["institution"].as_str()?.to_owned(),
        index: value["index"].as_u64()?,
        id: value["id"].as_str()?.to_owned(),
    })
}

/// Calls the nodes of the federation.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    repeat_for: Duration,
    urls: Arc<BTreeMap<String, String>>,
    desks: Desks,
    /// One lock for all: who waits for it finds the session that somebody else has just opened.
    sessions: Arc<tokio::sync::Mutex<Open>>,
}

impl Client {
    /// A client for these base URLs, by institution, that gives up after the demo's patience.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be set up.
    pub(super) fn new(
        urls: BTreeMap<String, String>,
        desks: Desks,
        patience: Duration,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let sessions = Arc::default();
        Ok(Self { http, repeat_for: REPEAT_FOR.min(patience), urls: Arc::new(urls), desks, sessions })
    }

    /// The institutions, in the order of their names.
    pub(super) fn institutions(&self) -> impl Iterator<Item = &str> {
        self.urls.keys().map(String::as_str)
    }

    /// The base URL of an institution's node.
    ///
    /// # Errors
    ///
    /// [`CallError::Nobody`].
    pub(super) fn url(&self, institution: &str) -> Result<&str, CallError> {
        self.urls.get(institution).map(String::as_str).ok_or_else(|| CallError::Nobody(institution.to_owned()))
    }

    /// GETs.
    ///
    /// # Errors
    ///
    /// [`CallError::Silent`]; a refusal is an answer.
    pub(super) async fn get(&self, who: As<'_>, institution: &str, path: &str) -> Result<Answer, CallError> {
        self.call(who, "GET", institution, path, &Value::Null, "").await
    }

    /// GETs once, whatever comes of it.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) async fn try_get(&self, institution: &str, path: &str) -> Result<Answer, CallError> {
        let url = format!("{}{path}", self.url(institution)?);
        let asked = format!("GET {institution}{path}");
        match self.send(As::Anyone, "GET", institution, path, &url, &[], "", None).await {
            Ok(answer) => Ok(Answer { asked, ..answer }),
            Err(error) => Err(CallError::Silent { asked, error: error.to_string() }),
        }
    }

    /// POSTs under a fresh idempotency key.
    ///
    /// # Errors
    ///
    /// [`CallError::Silent`]; a refusal is an answer.
    pub(super) async fn post(
        &self,
        who: As<'_>,
        institution: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, CallError> {
        self.post_as(who, institution, path, body, &uuid::Uuid::new_v4().to_string()).await
    }

    /// PUTs under a fresh idempotency key.
    ///
    /// # Errors
    ///
    /// [`CallError::Silent`]; a refusal is an answer.
    pub(super) async fn put(
        &self,
        who: As<'_>,
        institution: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, CallError> {
        let key = uuid::Uuid::new_v4().to_string();
        self.call(who, "PUT", institution, path, body, &key).await
    }

    /// POSTs under a key of the caller's choice, so that it can be sent again.
    ///
    /// # Errors
    ///
    /// [`CallError::Silent`]; a refusal is an answer.
    pub(super) async fn post_as(
        &self,
        who: As<'_>,
        institution: &str,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Answer, CallError> {
        self.call(who, "POST", institution, path, body, key).await
    }

    async fn call(
        &self,
        who: As<'_>,
        method: &'static str,
        institution: &str,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Answer, CallError> {
        let url = format!("{}{path}", self.url(institution)?);
        let asked = format!("{method} {institution}{path}");
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let began = Instant::now();
        loop {
            let sent = match self.session(who, institution).await {
                Ok(session) => {
                    let sent = self.send(who, method, institution, path, &url, &bytes, key, session.as_deref());
                    sent.await.map(|answer| (answer, session))
                }
                Err(error) => Err(error),
            };
            let again = match &sent {
                // The clock went on, or the node was started again: the desk signs in anew.
                Ok((answer, Some(session))) if answer.is_refused("session-over") => {
                    self.sessions.lock().await.retain(|_, known| known != session);
                    true
                }
                Ok((answer, _)) => answer.status == 503,
                Err(_) => true,
            };
            let sent = sent.map(|(answer, _)| answer);
            if !again || began.elapsed() > self.repeat_for {
                return match sent {
                    Ok(answer) => Ok(Answer { asked, ..answer }),
                    Err(error) => Err(CallError::Silent { asked, error: error.to_string() }),
                };
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// The session of a desk, opened if there is none; none for whoever needs none.
    async fn session(&self, who: As<'_>, institution: &str) -> Result<Option<String>, reqwest::Error> {
        let As::Operator(name) = who else { return Ok(None) };
        let mut sessions = self.sessions.lock().await;
        let desk = (institution.to_owned(), name.to_owned());
        if let Some(session) = sessions.get(&desk) {
            return Ok(Some(session.clone()));
        }
        let Some(url) = self.urls.get(institution) else { return Ok(None) };
        let request = self.http.post(format!("{url}/v1/sessions")).json(&self.desks.sign_in(institution, name));
        let answer: Value = request.send().await?.json().await?;
        // Without one, the call itself says what is wrong.
        let Some(session) = answer["bearer"].as_str() else { return Ok(None) };
        sessions.insert(desk, session.to_owned());
        Ok(Some(session.to_owned()))
    }

    #[allow(clippy::too_many_arguments)]
    async fn send(
        &self,
        who: As<'_>,
        method: &'static str,
        institution: &str,
        path: &str,
        url: &str,
        bytes: &[u8],
        key: &str,
        session: Option<&str>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = match method {
            "GET" => self.http.get(url),
            "PUT" => self.http.put(url),
            _ => self.http.post(url),
        };
        if method != "GET" {
            request = request.header("Idempotency-Key", key).header("Content-Type", "application/json");
            request = request.body(bytes.to_vec());
        }
        request = match who {
            As::Anyone => request,
            As::Operator(_) => session.into_iter().fold(request, |request, session| request.bearer_auth(session)),
            // Signed anew for each try: a node takes a signature once.
            As::Holder(phone) => {
                request.header("Authorization", format!("VP1 {}", phone.wallet_token(institution, method, path, bytes)))
            }
        };
        let response = request.send().await?;
        let status = response.status().as_u16();
        let header = response.headers().get("Node-Time").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let node_time = header.and_then(|text| serde_json::from_value(Value::String(text)).ok());
        let mut raw = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if raw.len() + chunk.len() > MAX_ANSWER_BYTES {
                break;
            }
            raw.extend_from_slice(&chunk);
        }
        let body =
            serde_json::from_slice(&raw).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&raw).into_owned()));
        Ok(Answer { status, body, raw, node_time, asked: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_code_and_a_good_answer_by_its_records() {
        let answer =
            |status, body| Answer { status, body, raw: Vec::new(), node_time: None, asked: "POST a/v1".into() };
        let no = answer(409, json!({"code": "expired", "detail": "since noon"}));
        assert!(no.is_refused("expired") && !no.is_refused("voided"));
        assert_eq!(no.good().unwrap_err().to_string(), "POST a/v1: 409 expired (since noon)");
        let yes = answer(201, json!({"records": [{"institution": "a", "index": 3, "id": "ff"}], "code": "expired"}));
        assert!(!yes.is_refused("expired"), "a yes is no refusal, whatever else it says");
        assert_eq!(yes.records()[0].to_string(), "a.3 ff");
        assert!(yes.text("/result/holder").is_err());
    }
}
