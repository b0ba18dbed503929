//! What a form of a page sends: `application/x-www-form-urlencoded`, with hidden `csrf` and `key`
//! (node/templates/form-fields.html). It becomes what a REST handler gets, so that both call the same functions.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use domain::reasons::Reason;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::answer::{self, BODY_TIMEOUT, Plain, Post};
use crate::api::caller::{self, Caller};
use crate::api::problem::Problem;

/// Longest form, in bytes.
pub const MAX_FORM_BYTES: usize = 64 * 1024;

/// A form that may write to the ledger: sent twice, it is done once.
pub struct Form<T>(pub Post<T>);

/// A form that writes nothing to the ledger.
pub struct PlainForm<T>(pub Plain<T>);

/// The key of a form.
#[derive(Deserialize)]
struct Key {
    key: Option<String>,
}

/// Who sends a form, and its text.
async fn sent(request: &HttpRequest, payload: &mut Payload) -> Result<(Caller, String), Problem> {
    // No browser lets a page of another site say that it is ours; signing in has no session whose token could be asked for.
    let site = caller::header(request, "Sec-Fetch-Site")?;
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Reason::CsrfTokenWrong.into());
    }
    if !caller::is_form(request) {
        return Err(Problem::new(Reason::UnsupportedMedia).detail(caller::FORM));
    }
    let body = answer::read_body(request, payload, MAX_FORM_BYTES, BODY_TIMEOUT).await?;
    let caller = answer::admitted(answer::node(request)?, request, &body)?;
    let text = String::from_utf8(body.to_vec()).map_err(Problem::malformed)?;
    Ok((caller, text))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    Query::from_query(text).map(Query::into_inner).map_err(Problem::malformed)
}

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let (caller, text) = sent(&request, &mut payload).await?;
            let Key { key } = read(&text)?;
            let key = key.ok_or(Reason::IdempotencyKeyMissing)?;
            answer::must_be_key(&key)?;
            // What is asked is the same in another session of the same person.
            let asked: Vec<&str> = text.split('&').filter(|pair| !pair.starts_with("csrf=")).collect();
            let node = answer::node(&request)?;
            let idempotency = answer::idempotency(node, &request, &caller, &key, asked.join("&").as_bytes())?;
            Ok(Self(Post { caller, idempotency, body: read(&text)?, language: caller::language(&request) }))
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for PlainForm<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let (caller, text) = sent(&request, &mut payload).await?;
            Ok(Self(Plain { caller, body: read(&text)?, language: caller::language(&request) }))
        })
    }
}
