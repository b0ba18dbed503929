//! Methods of HTTP: which ones a path has, what another one is answered, and by which names they are counted.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use domain::reasons::Reason;
use utoipa::openapi::OpenApi;

use super::caller;
use super::problem::Problem;
use crate::pages;

/// The `Allow` header of each path, by its pattern without names.
#[derive(Debug, Default)]
pub struct Allowed(BTreeMap<String, String>);

impl Allowed {
    /// As the description of the interface has it.
    #[must_use]
    pub fn by(openapi: &OpenApi) -> Self {
        let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (path, item) in &openapi.paths.paths {
            let methods = all.entry(shape(path)).or_default();
            let known = [
                (item.get.is_some(), ["GET", "HEAD"].as_slice()),
                (item.post.is_some(), &["POST"]),
                (item.put.is_some(), &["PUT"]),
                (item.delete.is_some(), &["DELETE"]),
            ];
            methods.extend(known.into_iter().filter(|(has, _)| *has).flat_map(|(_, names)| names));
        }
        for page in pages::ALL.iter().copied().flatten() {
            let methods = all.entry(shape(page.path)).or_default();
            methods.extend(if page.method == "GET" { ["GET", "HEAD"].as_slice() } else { &["POST"] });
        }
        Self(all.into_iter().map(|(path, methods)| (path, methods.join(", "))).collect())
    }

    fn of(&self, pattern: &str) -> &str {
        // What is beside the interface, such as its description, is only read.
        self.0.get(&shape(pattern)).map_or("GET, HEAD", String::as_str)
    }
}

/// A pattern whose names are left away: the same path may name its parts differently by method.
fn shape(pattern: &str) -> String {
    let mut depth = 0;
    let mut shape = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        depth -= i32::from(c == '}');
        if depth == 0 {
            shape.push(c);
        }
        depth += i32::from(c == '{');
    }
    shape
}

/// Answers what no route took: `405` with `Allow` where the path has other methods, else `404`.
///
/// # Errors
///
/// [`Reason::NotFound`].
pub async fn nothing_here(request: HttpRequest, allowed: Data<Allowed>) -> Result<HttpResponse, Problem> {
    let language = caller::language(&request);
    let Some(pattern) = request.match_pattern() else {
        return Err(Problem::new(Reason::NotFound).language(language));
    };
    let mut answer = Problem::new(Reason::MethodNotAllowed).language(language).error_response();
    if let Ok(methods) = HeaderValue::from_str(allowed.of(&pattern)) {
        answer.headers_mut().insert(header::ALLOW, methods);
    }
    Ok(answer)
}

/// The name by which a method is counted. A client may make up any method, and each name counted is kept for good.
#[must_use]
pub fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, call_service, init_service};
    use utoipa_actix_web::AppExt as _;

    use super::*;

    #[test]
    fn methods_that_nobody_knows_are_counted_as_one() {
        for (name, counted) in [("GET", "GET"), ("PUT", "PUT"), ("DELETE", "other"), ("get", "other"), ("X1", "other")]
        {
            assert_eq!(label(&Method::from_bytes(name.as_bytes()).unwrap()), counted, "{name}");
        }
    }

    #[actix_web::test]
    async fn another_method_is_told_which_ones_there_are() {
        let (app, openapi) = App::new().into_utoipa_app().configure(crate::api::configure).split_for_parts();
        let app = app.app_data(Data::new(Allowed::by(&openapi))).default_service(actix_web::web::to(nothing_here));
        let app = init_service(app).await;
        let table = [
            (Method::OPTIONS, "/v1/sessions/password", 405, "POST"),
            (Method::OPTIONS, "/v1/sessions/current", 405, "GET, HEAD, DELETE"),
            (Method::DELETE, "/v1/status", 405, "GET, HEAD"),
            (Method::GET, "/v1/qr/decode", 405, "POST"),
            (Method::PUT, "/v1/hospital/schedules", 405, "GET, HEAD, POST"),
            (Method::POST, "/v1/vouchers/x.y/qr.svg", 405, "GET, HEAD"),
            (Method::OPTIONS, "/v1/wallet/profile", 405, "PUT"),
            (Method::GET, "/v1/nothing", 404, ""),
            (Method::DELETE, "/", 404, ""),
        ];
        for (method, path, status, allow) in table {
            let request = TestRequest::default().method(method.clone()).uri(path).to_request();
            let response = call_service(&app, request).await;
            let seen = response.headers().get(header::ALLOW).map_or("", |v| v.to_str().unwrap()).to_owned();
            assert_eq!((response.status().as_u16(), seen.as_str()), (status, allow), "{method} {path}");
            assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "application/problem+json");
            let body: serde_json::Value =
                serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap();
            assert_eq!(body["code"], if status == 405 { "method-not-allowed" } else { "not-found" });
        }
    }
}
