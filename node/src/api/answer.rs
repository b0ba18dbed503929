//! From a request to a command and back: the one way in which every handler reads, asks and answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{BytesMut, Data};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, dev::Payload};
use actors::role::{Ask, Rules};
use actors::writer::{Act, Done, Refused};
use domain::ids::{RecordName, VoucherId};
use domain::reason_texts::Language;
use domain::reasons::Reason;
use domain::record::{Body, Idempotency, Record};
use futures_util::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{self, Access, Opened};
use super::access_log;
use super::caller::{self, Caller};
use super::edge;
use super::json;
use super::problem::Problem;
use crate::door::Connection;
use crate::node::Node;
use crate::pages::table;

/// Longest JSON body, in bytes.
pub const MAX_JSON_BYTES: usize = 256 * 1024;

/// How long a body may take to come.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest `Idempotency-Key`, in characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;

/// Items on a page unless the caller asks otherwise.
pub const DEFAULT_LIMIT: usize = 100;

/// Most items on a page.
pub const MAX_LIMIT: usize = 1_000;

/// A request that may change something: who, with which key, and the body read.
pub struct Post<T> {
    /// Who calls.
    pub caller: Caller,
    /// The request, so that its repetition is recognised.
    pub idempotency: Idempotency,
    /// What is asked.
    pub body: T,
    /// In which language to answer.
    pub language: Language,
}

/// The same with a body that has a length limit of its own.
pub struct LongPost<T, const MAX_BYTES: usize>(pub Post<T>);

/// A request that changes accounts and not the ledger: a body without a key, since nothing that is written is repeated.
pub struct Plain<T> {
    /// Who calls.
    pub caller: Caller,
    /// What is asked.
    pub body: T,
    /// In which language to answer.
    pub language: Language,
}

/// A request without a body.
pub struct Get {
    /// Who calls.
    pub caller: Caller,
    /// The caller is on this machine, and is told how the node stands for that.
    pub is_here: bool,
    /// In which language to answer.
    pub language: Language,
}

/// Reads a body, up to a limit and within a time.
///
/// # Errors
///
/// As [`bytes`].
pub(crate) async fn read_body(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    within: Duration,
) -> Result<BytesMut, Problem> {
    // Nothing is unpacked here: a limit in bytes says nothing of what comes out.
    let encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if !encodings.into_iter().all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(Reason::UnsupportedMedia).detail("a body without Content-Encoding"));
    }
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if declared.and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n > limit) {
        return Err(Problem::new(Reason::TooLarge).detail(format!("at most {limit} bytes")));
    }
    take(payload, limit, within).await
}

/// Takes all of a body that is no longer than a limit.
///
/// # Errors
///
/// As [`bytes`].
pub(super) async fn take(payload: &mut Payload, limit: usize, within: Duration) -> Result<BytesMut, Problem> {
    let read = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
            if body.len() + chunk.len() > limit {
                return Err(Problem::new(Reason::TooLarge).detail(format!("at most {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    // Who sends a byte now and then would hold a connection for ever: the whole body has one time.
    let too_slow = |_| Problem::new(Reason::TooSlow).detail(format!("a body comes within {} s", within.as_secs()));
    tokio::time::timeout(within, read).await.map_err(too_slow)?
}

/// Reads a body of any kind, up to a limit.
///
/// # Errors
///
/// [`Reason::TooLarge`], [`Reason::TooSlow`], [`Reason::UnsupportedMedia`] if it is encoded, or [`Reason::Malformed`] if it
/// broke off.
pub async fn bytes(request: &HttpRequest, payload: &mut Payload, limit: usize) -> Result<Vec<u8>, Problem> {
    read_body(request, payload, limit, BODY_TIMEOUT).await.map(|b| b.to_vec())
}

/// The node that answers.
pub(crate) fn node(request: &HttpRequest) -> Result<&Data<Node>, Problem> {
    request.app_data::<Data<Node>>().ok_or_else(|| Problem::new(Reason::Internal))
}

fn idempotency_key(request: &HttpRequest) -> Result<&str, Problem> {
    let key = caller::header(request, "Idempotency-Key")?.ok_or(Reason::IdempotencyKeyMissing)?;
    must_be_key(key)?;
    Ok(key)
}

/// Whether a request came through the door that only this machine reaches, and the configuration takes that for a reason to
/// tell how the node stands. A proxy there hands in requests of strangers.
fn is_here(node: &Node, request: &HttpRequest) -> bool {
    let connection = request.conn_data::<Arc<Connection>>();
    node.config.status.local && connection.is_some_and(|connection| !connection.is_over_tls())
}

/// Refuses a key that is none.
pub(crate) fn must_be_key(key: &str) -> Result<(), Problem> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Problem::malformed(format!("Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} visible characters")));
    }
    Ok(())
}

/// Who calls, if the route is for them: before anything is made of the body.
pub(crate) fn admitted(node: &Node, request: &HttpRequest, body: &[u8]) -> Result<Caller, Problem> {
    let known = request.extensions().get::<edge::Route>().map(|route| route.0.clone());
    let pattern = known.or_else(|| request.match_pattern()).unwrap_or_default();
    // A route that nobody put into the table is nobody's.
    let access = access::access(request.method(), &pattern).ok_or(Reason::Forbidden)?;
    if access == Access::SignIn {
        return Ok(Caller::Anonymous);
    }
    let caller = caller::decide(node, request, body)?;
    if matches!(caller, Caller::Operator(_) | Caller::Peer(_))
        && let Some(connection) = request.conn_data::<Arc<Connection>>()
    {
        connection.is_of_somebody_known();
    }
    access_log::remember(request, &caller);
    node.limits.by(&caller)?;
    access.admit(&caller, Opened { logs: node.config.log.public, status: is_here(node, request) })?;
    table::must_run_here(node, request.method(), &pattern)?;
    Ok(caller)
}

/// Whether a refusal of [`admitted`] would be the same with the body.
pub(super) const fn is_known_without_body(reason: Reason) -> bool {
    matches!(reason, Reason::Unauthenticated | Reason::SessionOver | Reason::Forbidden | Reason::PasswordChangeNeeded)
}

fn must_be_json(request: &HttpRequest) -> Result<(), Problem> {
    let kind = caller::header(request, "Content-Type")?.unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(Reason::UnsupportedMedia).detail("application/json"))
}

async fn plain<T: DeserializeOwned>(request: HttpRequest, mut payload: Payload) -> Result<Plain<T>, Problem> {
    let language = caller::language(&request);
    let read = async {
        let body = read_body(&request, &mut payload, MAX_JSON_BYTES, BODY_TIMEOUT).await?;
        let caller = admitted(node(&request)?, &request, &body)?;
        must_be_json(&request)?;
        Ok(Plain { caller, body: json::read(&body).map_err(Problem::malformed)?, language })
    };
    read.await.map_err(|problem: Problem| problem.language(language))
}

impl<T: DeserializeOwned + 'static> FromRequest for Plain<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        Box::pin(plain(request.clone(), payload.take()))
    }
}

/// What a request is known by. Everybody reads it in the record: it is keyed, so that nobody tries names and numbers
/// against it.
fn request_digest(
    under: &actors::vault::format::Key,
    about: [&str; 4],
    body: &[u8],
) -> Result<domain::ids::Digest, Problem> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(under.as_slice()).map_err(|_| Reason::Internal)?;
    for part in about {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    mac.update(body);
    Ok(domain::ids::Digest(mac.finalize().into_bytes().into()))
}

/// The idempotency of one part of a bulk request: the same request goes on where it stopped.
pub(super) fn part(whole: &Idempotency, number: u64) -> Idempotency {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for bytes in [b"voucher-node/v1/part\0".as_slice(), &whole.key.0, &number.to_be_bytes()] {
        hash.update(bytes);
    }
    Idempotency { key: domain::ids::Digest(hash.finalize().into()), request: whole.request }
}

/// By what a repetition of a request is recognised.
pub(crate) fn idempotency(
    node: &Node,
    request: &HttpRequest,
    caller: &Caller,
    key: &str,
    body: &[u8],
) -> Result<Idempotency, Problem> {
    let about = [key, request.method().as_str(), request.uri().path(), request.uri().query().unwrap_or_default()];
    let digest = |under: &actors::vault::format::Key| request_digest(under, about, body);
    let now = Idempotency { key: caller::idempotency_digest(caller, key), request: digest(&node.keys.request_key())? };
    // What was done under the data key before is known by the digest that it has from then.
    if let Some(before) = node.keys.request_key_before() {
        let before = Idempotency { request: digest(&before)?, ..now };
        let was_done = |by: &Idempotency| matches!(node.writer.repeated(by), Ok(Some(_)));
        if was_done(&before) || was_done(&part(&before, 0)) {
            return Ok(before);
        }
    }
    Ok(now)
}

async fn post<T: DeserializeOwned>(
    request: HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> Result<Post<T>, Problem> {
    let language = caller::language(&request);
    let read = async {
        let node = node(&request)?;
        // Who calls is looked at before a body takes memory, unless the body is signed.
        let early = if caller::signs(&request) { None } else { Some(admitted(node, &request, &[])?) };
        let body = read_body(&request, &mut payload, limit, BODY_TIMEOUT).await?;
        let caller = early.map_or_else(|| admitted(node, &request, &body), Ok)?;
        let key = idempotency_key(&request)?;
        must_be_json(&request)?;
        let idempotency = idempotency(node, &request, &caller, key, &body)?;
        let body = json::read(&body).map_err(Problem::malformed)?;
        Ok(Post { caller, idempotency, body, language })
    };
    read.await.map_err(|problem: Problem| problem.language(language))
}

impl<T: DeserializeOwned + 'static> FromRequest for Post<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        Box::pin(post(request.clone(), payload.take(), MAX_JSON_BYTES))
    }
}

impl<T: DeserializeOwned + 'static, const MAX_BYTES: usize> FromRequest for LongPost<T, MAX_BYTES> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let read = post(request.clone(), payload.take(), MAX_BYTES);
        Box::pin(async { read.await.map(Self) })
    }
}

impl FromRequest for Get {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let language = caller::language(request);
        let get = node(request).and_then(|node| {
            let caller = admitted(node, request, &[])?;
            Ok(Self { caller, is_here: is_here(node, request), language })
        });
        std::future::ready(get.map_err(|problem| problem.language(language)))
    }
}

impl<T> Post<T> {
    /// The same request with its body in other words: a page's form as REST has it.
    ///
    /// # Errors
    ///
    /// What is wrong with the form.
    pub fn in_words<U>(self, words: impl FnOnce(T) -> Result<U, Problem>) -> Result<Post<U>, Problem> {
        let Self { caller, idempotency, body, language } = self;
        let body = words(body).map_err(|problem| problem.language(language))?;
        Ok(Post { caller, idempotency, body, language })
    }

    /// Who acts, by this request.
    #[must_use]
    pub const fn act(&self) -> Act {
        Act { operator: self.caller.operator(), idempotency: Some(self.idempotency) }
    }
}

/// A record's name in an answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordRef {
    /// Whose log.
    #[schema(value_type = String)]
    pub institution: domain::ids::InstitutionId,
    /// Index in it.
    pub index: u64,
    /// RFC 6962 leaf hash, hexadecimal.
    #[schema(value_type = String)]
    pub id: domain::ids::Digest,
}

impl From<RecordName> for RecordRef {
    fn from(name: RecordName) -> Self {
        Self { institution: name.institution, index: name.index, id: name.id }
    }
}

impl From<RecordRef> for RecordName {
    fn from(name: RecordRef) -> Self {
        Self { institution: name.institution, index: name.index, id: name.id }
    }
}

/// What a request made.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt<T> {
    /// The records written, in order. They are on disk.
    pub records: Vec<RecordRef>,
    /// The voucher that they are about, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub voucher: Option<VoucherId>,
    /// The same request was answered before; nothing was done again.
    pub repeated: bool,
    /// What else there is to say; not given again when repeated.
    pub result: Option<T>,
}

/// An empty result.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nothing {}

/// A receipt as REST says it: `201`.
pub fn told<T: Serialize>(receipt: Receipt<T>) -> HttpResponse {
    HttpResponse::Created().json(receipt)
}

/// Asks a role and answers `201` with a receipt.
///
/// # Errors
///
/// As [`asked`].
pub async fn ask<R: Rules, B, T: Serialize>(
    node: &Node,
    post: &Post<B>,
    command: R::Command,
    result: impl FnOnce(R::Answer) -> Option<T>,
) -> Result<HttpResponse, Problem> {
    asked::<R, B, T>(node, post, command, result).await.map(told)
}

/// Asks a role; the receipt, for REST and pages.
///
/// # Errors
///
/// The role's reason; [`Reason::NotMyRole`] if this node does not play it.
pub async fn asked<R: Rules, B, T>(
    node: &Node,
    post: &Post<B>,
    command: R::Command,
    result: impl FnOnce(R::Answer) -> Option<T>,
) -> Result<Receipt<T>, Problem> {
    let asked = asked_as::<R, T>(node, post.act(), command, result);
    asked.await.map_err(|problem: Problem| problem.language(post.language))
}

/// The same in somebody's name, who is not the caller.
///
/// # Errors
///
/// As above.
pub async fn asked_as<R: Rules, T>(
    node: &Node,
    act: Act,
    command: R::Command,
    result: impl FnOnce(R::Answer) -> Option<T>,
) -> Result<Receipt<T>, Problem> {
    let role = node.role::<R>()?;
    if let Some(idempotency) = &act.idempotency
        && let Some(receipt) = again_by::<T>(node, idempotency).await?
    {
        return Ok(receipt);
    }
    let done = match (role.send(Ask::<R> { act, command }).await?, &act.idempotency) {
        // The same request came twice at once, and the other one was done.
        (Err(Refused::Repeated), Some(idempotency)) => {
            return again_by::<T>(node, idempotency).await?.ok_or_else(|| Reason::Busy.into());
        }
        (done, _) => done?,
    };
    let Done { answer, records, .. } = done;
    Ok(receipt(node, &records, result(answer)))
}

/// What came of a request, in the caller's language; where the same request was done meanwhile, what came of that.
///
/// # Errors
///
/// The problem that it is.
pub async fn or_again<B, T: Serialize>(
    node: &Node,
    post: &Post<B>,
    came: Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    let came = match came {
        Err(problem) if problem.done_before => {
            repeated::<B, T>(node, post).await.and_then(|again| again.ok_or(problem))
        }
        came => came,
    };
    came.map_err(|problem| problem.language(post.language))
}

/// The same of a receipt.
///
/// # Errors
///
/// The problem that it is.
pub async fn receipt_or_again<B, T>(
    node: &Node,
    post: &Post<B>,
    came: Result<Receipt<T>, Problem>,
) -> Result<Receipt<T>, Problem> {
    let came = match came {
        Err(problem) if problem.done_before => {
            again::<B, T>(node, post).await.and_then(|receipt| receipt.ok_or(problem))
        }
        came => came,
    };
    came.map_err(|problem| problem.language(post.language))
}

/// What was answered to this request before, if it was.
///
/// # Errors
///
/// [`Reason::IdempotencyKeyReused`].
pub async fn repeated<B, T: Serialize>(node: &Node, post: &Post<B>) -> Result<Option<HttpResponse>, Problem> {
    Ok(again::<B, T>(node, post).await?.map(|receipt| HttpResponse::Created().json(receipt)))
}

/// The receipt of a request that was answered before, for who has more to say.
///
/// # Errors
///
/// As above.
pub async fn again<B, T>(node: &Node, post: &Post<B>) -> Result<Option<Receipt<T>>, Problem> {
    again_by(node, &post.idempotency).await
}

/// The same by what makes a request recognisable.
///
/// # Errors
///
/// As above.
pub async fn again_by<T>(node: &Node, idempotency: &Idempotency) -> Result<Option<Receipt<T>>, Problem> {
    let Some(done) = node.writer.repeated(idempotency)? else { return Ok(None) };
    node.writer.durable(done.ticket).await;
    Ok(Some(Receipt {
        voucher: voucher_of(node, &done.records),
        records: done.records.iter().copied().map(Into::into).collect(),
        repeated: true,
        result: None,
    }))
}

/// `201` with a receipt.
pub fn created<T: Serialize>(node: &Node, records: &[RecordName], result: Option<T>) -> HttpResponse {
    told(receipt(node, records, result))
}

/// A receipt of what was done now.
pub fn receipt<T>(node: &Node, records: &[RecordName], result: Option<T>) -> Receipt<T> {
    Receipt {
        voucher: voucher_of(node, records),
        records: records.iter().copied().map(Into::into).collect(),
        repeated: false,
        result,
    }
}

fn voucher_of(node: &Node, records: &[RecordName]) -> Option<VoucherId> {
    let mut vouchers = records.iter().take(8).filter_map(|name| {
        let bytes = node.writer.logs().ledger.entry(&node.writer.logs().origin(name.institution), name.index)?;
        match ledger::record::decode_record::<Record>(&bytes).ok()?.body {
            Body::Chain(chain) => Some(chain.voucher),
            Body::Note(note) => Some(note.voucher),
            _ => None,
        }
    });
    let first = vouchers.next()?;
    (records.len() <= 8 && vouchers.all(|v| v == first)).then_some(first)
}

/// Reads the replica, and answers when everything that the answer depends on is on disk.
pub async fn read<T>(node: &Node, reading: impl FnOnce(&actors::replica::Work<'_>) -> T) -> T {
    let done = node.writer.read(reading);
    node.writer.durable(done.ticket).await;
    done.answer
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Most items, 1 to 1,000.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// Most items.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] outside 1 to 1,000.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(n) if (1..=MAX_LIMIT).contains(&n) => Ok(n),
            Some(_) => Err(Problem::malformed(format!("limit is 1 to {MAX_LIMIT}"))),
        }
    }

    /// The place after which the page begins.
    ///
    /// # Errors
    ///
    /// [`Reason::CursorInvalid`].
    pub fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        self.cursor.as_deref().map(|c| c.parse().map_err(|_| Problem::new(Reason::CursorInvalid))).transpose()
    }
}

/// A page of a list.
#[derive(Debug, Serialize, serde::Deserialize, ToSchema)]
pub struct Listed<T> {
    /// In order.
    pub items: Vec<T>,
    /// Cursor of the next page; none on the last.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of at most `limit` items; `cursor` names an item.
    pub fn new(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use actix_web::web::Bytes;
    use futures_util::stream;

    use super::*;

    #[actix_web::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let request = TestRequest::post().to_http_request();
        let drips = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok(Bytes::from_static(b" ")), ()))
        });
        for slow in [stream::pending().boxed_local(), drips.boxed_local()] {
            let mut payload = Payload::Stream { payload: slow };
            let read = read_body(&request, &mut payload, MAX_JSON_BYTES, Duration::from_millis(50)).await;
            assert_eq!(read.map_err(|problem| problem.reason), Err(Reason::TooSlow));
        }
    }
}
