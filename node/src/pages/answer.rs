//! A template becomes an answer, with the headers that every page has.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{StatusCode, header::ContentType};
use actix_web::{HttpResponse, HttpResponseBuilder};
use askama::Template;
use domain::reasons::Reason;

use crate::api::problem::Problem;

/// What a page may load and do: its own files by address, the node, pictures that a script made. Nothing stands inside it that
/// runs or styles.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                          font-src 'self'; connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; \
                          worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a page may ask of the machine: the camera, for QR codes.
const DEVICES: &str = "camera=(self), microphone=(), geolocation=(), payment=(), usb=(), serial=(), hid=(), midi=(), \
                       display-capture=()";

/// A page.
///
/// # Errors
///
/// [`Reason::Internal`] if a template cannot be rendered.
pub fn show(page: &impl Template) -> Result<HttpResponse, Problem> {
    show_as(page, StatusCode::OK)
}

/// A page with another status: a form with what is wrong in it.
///
/// # Errors
///
/// As above.
pub fn show_as(page: &impl Template, status: StatusCode) -> Result<HttpResponse, Problem> {
    let body = page.render().map_err(|error| {
        tracing::error!(%error, "a template");
        Problem::new(Reason::Internal)
    })?;
    let mut answer = HttpResponse::build(status).content_type(ContentType::html()).body(body);
    protect(answer.headers_mut());
    Ok(answer)
}

/// The headers of a page, and of what is made for one.
pub fn protect(headers: &mut HeaderMap) {
    let own = [("content-security-policy", POLICY), ("permissions-policy", DEVICES), ("cache-control", "no-store")];
    for (name, value) in own {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// Sends a browser on, after a form was done: going back or loading again sends it no second time.
#[must_use]
pub fn see_other(to: &str) -> HttpResponseBuilder {
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((header::LOCATION, to)).insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}
