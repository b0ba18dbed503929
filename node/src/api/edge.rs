//! What every request passes on its way in, and every answer on its way out: limits, languages, counts, headers.

use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpResponse};
use domain::reason_texts::Language;

use super::problem::Problem;
use super::{access, access_log, answer, caller, methods};
use crate::door::Connection;
use crate::limits::{Queue, UnderWay};
use crate::node::Node;
use crate::pages;
use crate::peers::{self, clocks};
use crate::telemetry::RequestLabels;

/// What an operator looks at first when all is busy: answered beside all limits but that of the address.
const ALWAYS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// From so many bytes on a body is packed for who can unpack it.
const WORTH_PACKING: u64 = 4_096;

/// How a body is marked that is not to be packed.
const IDENTITY: &str = "identity";

/// Headers of every answer. Nothing here is to be framed, guessed at, or told where somebody came from; pages take nothing from
/// elsewhere. The browsable description styles itself.
const HEADERS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
];

/// The route of a request, by its pattern: looked for once.
#[derive(Debug)]
pub struct Route(pub String);

/// Places of one request.
type Places = [Option<UnderWay>; 2];

/// A body up to so many bytes is read before anything else is looked at. A refusal that leaves a body unread ends the
/// connection, and to open another costs the node more than the refusal; and who sends slowly holds no place meanwhile.
pub const SMALL_BODY_BYTES: usize = 64 * 1024;

/// A request that came in.
struct Entered {
    /// Places among those that are being answered, none for what is always answered; or why there is none.
    places: Result<Places, Problem>,
    began: Instant,
    language: Language,
    method: &'static str,
    route: String,
    is_recorded: bool,
    is_over_tls: bool,
    wants_page: bool,
}

/// What every request and every answer passes.
///
/// # Errors
///
/// What the server itself finds wrong with a request.
pub async fn pass(
    node: Data<Node>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.request().conn_data::<Arc<Connection>>().cloned();
    let asking = connection.as_ref().map(Connection::asks);
    let entered = enter(&node, &mut request).await;
    let answer = match &entered.places {
        Ok(_) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(HttpResponse::from_error(problem.clone())),
    };
    let answer = leave(&node, entered, answer).await;
    drop(asking);
    Ok(answer)
}

/// Takes a request in, or refuses it before it costs anything.
async fn enter(node: &Node, request: &mut ServiceRequest) -> Entered {
    let wants_page = pages::problem::wants_page(request.request());
    let language =
        if wants_page { pages::frame::language(request.request()) } else { caller::language(request.request()) };
    let method = methods::label(request.method());
    if request.method() == Method::HEAD {
        // Answered as a GET would be; the server leaves the body away.
        request.head_mut().method = Method::GET;
    }
    // More may come from there now, or not.
    let came = request.peer_addr().map_or(Ok(()), |address| node.limits.from_address(address.ip()));
    // Also of who is refused: the connection stays.
    let read = read_small(request).await;
    let places = came.and(read).and_then(|is_long| places(node, request, is_long));
    let places = places.map_err(|problem| problem.language(language));
    // To look for the route costs as much as all of a refusal. It has one spelling: with letters of its own encoded it is
    // nobody's (node/src/api/access.rs).
    let route = if places.is_ok() { request.match_pattern() } else { Some("refused".to_owned()) };
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    request.extensions_mut().insert(Route(route.clone()));
    let is_recorded = request.method() == Method::POST && access::is_recorded(&route);
    let is_over_tls =
        request.request().conn_data::<Arc<Connection>>().is_some_and(|connection| connection.is_over_tls());
    Entered { places, began: Instant::now(), language, method, route, is_recorded, is_over_tls, wants_page }
}

/// Reads a body that is small, and says whether there is one that is not.
async fn read_small(request: &mut ServiceRequest) -> Result<bool, Problem> {
    let mut payload = match request.take_payload() {
        Payload::None => return Ok(false),
        payload => payload,
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse().ok()).is_none_or(|bytes: usize| bytes > SMALL_BODY_BYTES) {
        request.set_payload(payload);
        return Ok(true);
    }
    let bytes = answer::take(&mut payload, SMALL_BODY_BYTES, answer::BODY_TIMEOUT).await?;
    request.set_payload(bytes.freeze().into());
    Ok(false)
}

fn places(node: &Node, request: &ServiceRequest, is_long: bool) -> Result<Places, Problem> {
    if ALWAYS.contains(&request.path()) {
        return Ok([None, None]);
    }
    let long = is_long.then(|| node.limits.enter(Queue::LongBodies)).transpose()?;
    let queue = if request.path().ends_with("/checkpoint") { Queue::Polls } else { Queue::UnderWay };
    Ok([long, Some(node.limits.enter(queue)?)])
}

/// Sends an answer out.
async fn leave(node: &Node, entered: Entered, mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let Entered { places, began, language, method, route, is_recorded, is_over_tls, wants_page } = entered;
    // A refusal is told in the caller's language, wherever it was found out.
    let mut refused = response.response().error().and_then(|e| e.as_error::<Problem>()).cloned();
    if let Some(problem) = refused.as_mut().filter(|p| p.language != language) {
        problem.language = language;
        let told = HttpResponse::from_error(problem.clone());
        response = response.into_response(told);
    }
    if is_recorded && response.status() == StatusCode::CREATED {
        // What was done is acknowledged when as many hold it as the operator asks for.
        if let Err(problem) = peers::holders::acknowledge(node).await {
            response = response.into_response(HttpResponse::from_error(problem.language(language)));
        }
    }
    access_log::tell(response.request(), response.response(), &route);
    // What was refused is told to a person as a page, also where there was no place to look for it.
    refused = refused.or_else(|| places.as_ref().err().cloned());
    if let Some(problem) = refused.filter(|_| wants_page) {
        let page = pages::problem::instead(node, response.request(), &problem);
        response = response.into_response(page);
    }
    let status = response.status().as_u16();
    node.metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    node.metrics.request_seconds.observe(began.elapsed().as_secs_f64());
    // A body without a length that is not read to its end would be taken in for ever.
    let is_endless = response.request().headers().contains_key(header::TRANSFER_ENCODING);
    if node.is_closing() || is_endless {
        // No further request shall come over this connection.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let is_kept_by_nobody = response.request().path().starts_with("/v1/");
    let headers = response.headers_mut();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == IDENTITY) {
        // It told the packer to leave the body alone, and tells a caller nothing.
        headers.remove(header::CONTENT_ENCODING);
    }
    if is_kept_by_nobody && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    tell_the_time(node, headers);
    for (name, value) in HEADERS {
        // Pages have a stricter policy of their own.
        if !headers.contains_key(name) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    // With a certificate that browsers do not know, it would shut them out.
    let is_public = node.config.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
    if is_over_tls && is_public {
        let for_a_year = HeaderValue::from_static("max-age=31536000");
        headers.insert(HeaderName::from_static("strict-transport-security"), for_a_year);
    }
    drop(places);
    response
}

/// Tells the packer to leave a body alone where packing costs more than it saves: its memory is several times a small body,
/// and hashes do not shrink.
///
/// # Errors
///
/// What the server itself finds wrong with a request.
pub async fn mark<B: MessageBody>(
    answer: impl Future<Output = Result<ServiceResponse<B>, Error>>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = answer.await?;
    let is_small = matches!(response.response().body().size(), BodySize::Sized(bytes) if bytes < WORTH_PACKING);
    let is_bytes = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream");
    if is_small || is_bytes && response.status().is_success() {
        let identity = HeaderValue::from_static(IDENTITY);
        response.headers_mut().insert(header::CONTENT_ENCODING, identity);
    }
    Ok(response)
}

/// Every answer says by which time it was given: peers hold their clocks against it, and the demo's is seen everywhere.
fn tell_the_time(node: &Node, headers: &mut HeaderMap) {
    if let Ok(time) = HeaderValue::from_str(&node.writer.now().to_string()) {
        headers.insert(HeaderName::from_static(clocks::TIME_HEADER), time);
    }
    if node.clock.is_federation() {
        headers.insert(HeaderName::from_static(clocks::STEPS_HEADER), HeaderValue::from(node.clock.ahead().0));
    }
}
