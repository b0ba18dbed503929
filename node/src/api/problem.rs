//! Problems: the only place where a reason becomes an HTTP status and a text (RFC 9457).

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use actors::misbehave::misbehaves;
use actors::writer::Refused;
use domain::reason_texts::{Language, texts};
use domain::reasons::{Kind, Reason};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::Fault;
use crate::oidc;

/// Seconds after which a caller may ask again when a node cannot answer now.
pub const RETRY_AFTER_SECS: u32 = 1;

/// An answer that says no: why, and in which words.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Why.
    pub reason: Reason,
    /// What exactly, for a developer; never personal data.
    pub detail: Option<String>,
    /// The language of its texts.
    pub language: Language,
    /// The request was done before: its answer is to be given again instead of this.
    pub done_before: bool,
    /// Seconds after which asking again may help, where that is known.
    pub retry_after_secs: Option<u32>,
}

/// The body of a problem, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Where the reason is explained.
    #[serde(rename = "type")]
    kind: String,
    /// The desk's text.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// Reason code from the closed list.
    code: &'static str,
    /// What exactly.
    detail: Option<String>,
    /// What to tell the holder.
    holder: &'static str,
    /// What to do at the desk.
    desk: &'static str,
}

impl Problem {
    /// A problem of a reason, in English until the caller's language is known.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self { reason, detail: None, language: Language::En, done_before: false, retry_after_secs: None }
    }

    /// Says what exactly.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Says after how many seconds asking again may help.
    #[must_use]
    pub const fn retry_after(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    /// In a language.
    #[must_use]
    pub const fn language(mut self, language: Language) -> Self {
        self.language = language;
        self
    }

    /// A request that cannot be read.
    pub fn malformed(detail: impl fmt::Display) -> Self {
        Self::new(Reason::Malformed).detail(detail)
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self { done_before: refused == Refused::Repeated, ..Self::new(refused.reason()) }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (reason, retry_after_secs) = (fault.reason(), fault.retry_after_secs());
        let problem = match fault {
            // Which file, and why, is for the operator's log and not for a caller.
            Fault::File { .. } | Fault::Hashing(_) | Fault::InUse(_) => {
                tracing::error!(%fault, "accounts");
                Self::new(reason)
            }
            Fault::SignInFailed
            | Fault::PasswordUnfit
            | Fault::Exists
            | Fault::Unknown
            | Fault::SubjectTaken
            | Fault::NotLinked => Self::new(reason),
            fault => Self::new(reason).detail(fault),
        };
        Self { retry_after_secs, ..problem }
    }
}

/// What is wrong with a JWT is told: whoever made it needs to know, and it is no secret.
impl From<oidc::Refused> for Problem {
    fn from(refused: oidc::Refused) -> Self {
        Self::new(refused.reason()).detail(refused)
    }
}

/// The mailbox is full, or the actor is gone.
impl From<actix::MailboxError> for Problem {
    fn from(error: actix::MailboxError) -> Self {
        match error {
            actix::MailboxError::Closed => Self::new(Reason::Closing),
            actix::MailboxError::Timeout => Self::new(Reason::Busy),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.code())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.reason.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        if misbehaves("refusals-hidden") && self.reason.kind() == Kind::Rule {
            return HttpResponse::Created().json(serde_json::json!({ "records": [], "repeated": false }));
        }
        let texts = texts(self.reason, self.language);
        let mut answer = HttpResponse::build(self.status_code());
        if matches!(self.reason.kind(), Kind::Unavailable | Kind::TooOften) {
            let secs = self.retry_after_secs.unwrap_or(RETRY_AFTER_SECS);
            answer.insert_header((header::RETRY_AFTER, secs.to_string()));
        }
        if matches!(self.reason.kind(), Kind::Unauthenticated) {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer, VP1"));
        }
        if matches!(self.reason.kind(), Kind::TimedOut) {
            // The rest of the body is not waited for.
            answer.force_close();
        }
        let body = ProblemBody {
            kind: format!("/problems#{}", self.reason.code()),
            title: texts.desk,
            status: self.reason.kind().status(),
            code: self.reason.code(),
            detail: self.detail.clone(),
            holder: texts.holder,
            desk: texts.desk,
        };
        answer.content_type("application/problem+json").json(body)
    }
}
