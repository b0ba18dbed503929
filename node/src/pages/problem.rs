//! Refusals as pages, for who prefers HTML: what is wrong, what to do, and a way on. Their texts are those of the reasons.

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::reason_texts::{Texts, texts};
use domain::reasons::Reason;

use super::frame::{self, Frame};
use super::{answer, table};
use crate::api::caller::{self, Caller};
use crate::api::edge::Route;
use crate::api::problem::Problem;
use crate::node::Node;

/// What is wrong, inside a page or as one.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The reason's code.
    pub code: &'static str,
    /// What it says to the person in front of this page.
    pub text: &'static str,
    /// What exactly, for who looks after the node.
    pub detail: Option<String>,
}

impl Notice {
    /// A problem as the page of a frame says it: to the holder on the terminal, to the desk everywhere else.
    #[must_use]
    pub fn of(problem: &Problem, frame: &Frame) -> Self {
        let Texts { holder, desk } = texts(problem.reason, frame.language);
        let text = if frame.path.starts_with("/terminal") { holder } else { desk };
        Self { code: problem.reason.code(), text, detail: problem.detail.clone() }
    }
}

/// A refusal as a page.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: &'a Frame,
    title: String,
    notice: &'a Notice,
    retry_secs: Option<u32>,
}

/// Whether an answer should be a page: HTML is named, and JSON is not wanted more.
#[must_use]
pub fn wants_page(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let (mut html, mut json) = (0.0, 0.0);
    for part in accepted.flat_map(|value| value.split(',')) {
        let mut words = part.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default().to_ascii_lowercase();
        let weight = words.find_map(|word| word.strip_prefix("q=")).map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        match kind.as_str() {
            "text/html" | "application/xhtml+xml" => html = weight.max(html),
            "application/json" | "application/problem+json" => json = weight.max(json),
            _ => {}
        }
    }
    html > 0.0 && html >= json
}

/// The page in place of a refusal.
#[must_use]
pub fn instead(node: &Node, request: &HttpRequest, problem: &Problem) -> HttpResponse {
    let route = request.extensions().get::<Route>().map(|route| route.0.clone()).unwrap_or_default();
    let is_page = table::find(request.method(), &route).is_some();
    match problem.reason {
        Reason::Unauthenticated | Reason::SessionOver if is_page => sign_in_first(request),
        Reason::PasswordChangeNeeded if is_page => answer::see_other("/password").finish(),
        _ => page(node, request, problem),
    }
}

/// To the sign-in, and back afterwards.
fn sign_in_first(request: &HttpRequest) -> HttpResponse {
    let path = frame::path(request);
    if request.method() == Method::GET && is_from_elsewhere(request) {
        return again(&path);
    }
    let next = askama::filters::urlencode_strict(&path).map(|next| next.to_string()).unwrap_or_default();
    answer::see_other(&format!("/sign-in?next={next}")).finish()
}

/// Whether a link of another site, or the identity provider, led here: the browser then keeps the session's cookie back.
#[must_use]
pub fn is_from_elsewhere(request: &HttpRequest) -> bool {
    matches!(caller::header(request, "Sec-Fetch-Site"), Ok(Some("cross-site" | "same-site")))
}

/// The same page once more, now asked for by this node: with the cookie, if there is one.
#[must_use]
pub fn again(path: &str) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer.insert_header(("refresh", format!("0;url={path}"))).insert_header((header::CACHE_CONTROL, "no-store"));
    answer.content_type("text/html; charset=utf-8").finish()
}

fn page(node: &Node, request: &HttpRequest, problem: &Problem) -> HttpResponse {
    let frame = Frame::new(node, request, &Caller::Anonymous);
    let status = problem.status_code();
    let title = match status {
        StatusCode::UNAUTHORIZED => frame.t("problem-sign-in"),
        StatusCode::FORBIDDEN => frame.t("problem-forbidden"),
        StatusCode::NOT_FOUND => frame.t("problem-not-found"),
        StatusCode::TOO_MANY_REQUESTS => frame.t("problem-too-often"),
        status if status.is_server_error() => frame.t("problem-node"),
        _ => frame.t("problem-refused"),
    };
    let plain = problem.error_response();
    let notice = Notice::of(problem, &frame);
    let retry_after = plain.headers().get(header::RETRY_AFTER);
    let retry_secs = retry_after.and_then(|secs| secs.to_str().ok()?.parse().ok());
    let page = ProblemPage { frame: &frame, title, notice: &notice, retry_secs };
    match answer::show_as(&page, status) {
        Ok(mut page) => {
            if let Some(secs) = retry_after {
                page.headers_mut().insert(header::RETRY_AFTER, secs.clone());
            }
            page
        }
        Err(_) => plain,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_browser_gets_a_page_and_a_program_json() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json", false),
            ("*/*", false),
            ("", false),
            ("application/json, text/html;q=0.5", false),
            ("text/html;q=0", false),
            ("TEXT/HTML", true),
        ] {
            let request = TestRequest::get().insert_header((header::ACCEPT, accept)).to_http_request();
            assert_eq!(wants_page(&request), expected, "{accept}");
        }
    }
}
