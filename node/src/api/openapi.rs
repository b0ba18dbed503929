//! What all operations have in common, added to their descriptions in one place: headers, who calls, problems.

use actix_web::http::Method;
use domain::reasons::{Kind, Reason};
use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};

use super::access::{Access, access};
use super::answer::MAX_IDEMPOTENCY_KEY;
use super::caller::{CSRF_HEADER, SESSION_COOKIE};

/// The media type of a problem.
const PROBLEM: &str = "application/problem+json";

/// Who may call, each by a header; a request has one of them or none.
const CALLERS: [(&str, &str, &str); 3] = [
    ("csrf", CSRF_HEADER, "With the cookie, on whatever changes something: the session's own token."),
    ("node", "Signature", "An HTTP message signature (RFC 9421) by the node key of the institution whose node calls."),
    ("holder", "Authorization", "`VP1 …`: the holder's signature over this very request."),
];

/// An operator's session or token.
const BEARER: &str = "bearer";

/// An operator's session as a page has it.
const COOKIE: &str = "session";

/// Kinds of problem that any request of the interface may meet.
const OF_ALL: [Kind; 5] = [Kind::Malformed, Kind::Unauthenticated, Kind::Forbidden, Kind::TooOften, Kind::Unavailable];

/// Kinds of problem that any request with a body may meet beside those.
const OF_BODIES: [Kind; 5] = [Kind::TimedOut, Kind::Rule, Kind::TooLarge, Kind::UnsupportedMedia, Kind::Unprocessable];

/// Adds what is common once the routes are known.
#[derive(Debug)]
pub struct Common;

impl Modify for Common {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_with(Components::new);
        for (name, header, text) in CALLERS {
            let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(header, text)));
            components.security_schemes.insert(name.to_owned(), scheme.into());
        }
        let text = "The text of a session (`POST /v1/sessions`) or of a token (`POST /v1/tokens`), or a JWT of the identity \
                    provider where one is configured.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text)).build();
        components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(bearer).into());
        let text = "The cookie of a session. What changes something carries the session's token too (`csrf`).";
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(SESSION_COOKIE, text));
        components.security_schemes.insert(COOKIE.to_owned(), SecurityScheme::ApiKey(cookie).into());
        for kind in OF_ALL.into_iter().chain(OF_BODIES) {
            components.responses.insert(name_of(kind), problem(described(kind)).into());
        }
        // A request that is repeated is answered without what it had to say.
        for (_, schema) in components.schemas.iter_mut().filter(|(name, _)| name.starts_with("Receipt")) {
            if let RefOr::T(Schema::Object(receipt)) = schema
                && let Some(result) = receipt.properties.get_mut("result")
            {
                let null = ObjectBuilder::new().schema_type(Type::Null);
                *result = OneOfBuilder::new().item(null).item(result.clone()).into();
            }
        }
        components.responses.insert("problem".to_owned(), problem("Any other problem.".to_owned()).into());
        for (path, item) in &mut openapi.paths.paths {
            // What is beside the interface itself, such as logs and metrics, is for everybody.
            let kinds = if path.starts_with("/v1/") { OF_ALL.as_slice() } else { &[] };
            for (method, operation) in [
                (Method::GET, item.get.as_mut()),
                (Method::POST, item.post.as_mut()),
                (Method::PUT, item.put.as_mut()),
                (Method::DELETE, item.delete.as_mut()),
            ] {
                if let (Some(operation), Some(access)) = (operation, access(&method, path)) {
                    say_who(operation, access, method.is_safe());
                }
            }
            item.get.iter_mut().chain(&mut item.delete).for_each(|operation| complete(operation, kinds));
            for operation in item.post.iter_mut().chain(&mut item.put) {
                complete(operation, &[OF_ALL.as_slice(), &OF_BODIES].concat());
                // Accounts are not in the ledger, so nothing of them is recognised when it is repeated.
                let is_keyed = operation.tags.as_ref().is_none_or(|tags| !tags.iter().any(|tag| tag == "accounts"));
                if is_keyed && takes_json(operation) {
                    operation.parameters.get_or_insert_default().push(idempotency_key());
                }
            }
        }
    }
}

/// Who may ask for it: as schemes, and the permission in words.
fn say_who(operation: &mut Operation, access: Access, is_safe: bool) {
    let one = |name: &str| SecurityRequirement::new(name, [""; 0]);
    let page = if is_safe { one(COOKIE) } else { one(COOKIE).add("csrf", [""; 0]) };
    operation.security = Some(match access {
        Access::Anyone => {
            vec![SecurityRequirement::default(), one(BEARER), page, one("node"), one("holder")]
        }
        Access::SignIn => vec![SecurityRequirement::default()],
        Access::Holder => vec![one("holder")],
        Access::Peer => vec![one("node")],
        // Where the configuration makes logs public, anybody; how the node stands, anybody on its machine.
        Access::Log | Access::Status(_) => vec![SecurityRequirement::default(), one(BEARER), page, one("node")],
        Access::Inside(_) => vec![one(BEARER), page, one("node")],
        Access::Operator(_) | Access::OneOf(_) | Access::SignedIn | Access::Person | Access::PersonWith(_) => {
            vec![one(BEARER), page]
        }
    });
    if let Some(permission) = access.permission() {
        let text = operation.description.get_or_insert_default();
        let persons = if permission.needs_two_persons() { ", of two persons" } else { "" };
        text.push_str(&format!("\n\nPermission: `{permission}`{persons}."));
    }
}

fn complete(operation: &mut Operation, kinds: &[Kind]) {
    operation.parameters.get_or_insert_default().push(language());
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let (true, RefOr::T(response)) = (status.starts_with(['4', '5']), response)
            && let Some(body) = response.content.swap_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), body);
        }
    }
    for kind in kinds {
        responses.entry(kind.status().to_string()).or_insert_with(|| Ref::from_response_name(name_of(*kind)).into());
    }
    responses.entry("default".to_owned()).or_insert_with(|| Ref::from_response_name("problem").into());
}

/// Pictures are read without a key: nothing is changed by them.
fn takes_json(operation: &Operation) -> bool {
    match &operation.request_body {
        Some(RefOr::T(body)) => body.content.contains_key("application/json"),
        _ => true,
    }
}

fn name_of(kind: Kind) -> String {
    format!("problem-{}", kind.status())
}

/// The reasons of a kind, by their codes.
fn described(kind: Kind) -> String {
    let codes: Vec<String> =
        Reason::ALL.iter().filter(|reason| reason.kind() == kind).map(|reason| format!("`{reason}`")).collect();
    format!("Codes: {}.", codes.join(", "))
}

fn problem(text: String) -> Response {
    let body = Content::new(Some(Ref::from_schema_name("ProblemBody")));
    ResponseBuilder::new().description(text).content(PROBLEM, body).build()
}

fn header(name: &str, text: &str, required: bool, longest: Option<usize>) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(longest.map(|_| 1)).max_length(longest);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(text))
        .required(if required { Required::True } else { Required::False })
        .schema(Some(schema.build()))
        .build()
}

fn idempotency_key() -> RefOr<Parameter> {
    let text = "Made up for each request, visible ASCII. The same key with the same request does nothing twice.";
    header("Idempotency-Key", text, true, Some(MAX_IDEMPOTENCY_KEY)).into()
}

fn language() -> RefOr<Parameter> {
    header("Accept-Language", "`zh-CN` or `en`: the language of a problem's texts.", false, None).into()
}
