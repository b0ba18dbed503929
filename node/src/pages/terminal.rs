//! `/terminal`: a holder's own page, installed on a phone. The node gives the page and its files; keys, codes and whatever else is
//! the holder's are made on the phone (node/assets/terminal) and by `/v1/wallet`, which takes nothing without its signature.

use actix_web::http::header::{self, ContentType, HeaderName, HeaderValue};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use domain::member::Role;
use domain::reason_texts::Language;
use domain::reasons::Reason;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::answer::{protect, show};
use super::frame::Frame;
use super::{assets, frame, text};
use crate::api::access::Access;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;

pages! {
    GET "/terminal", Access::Anyone, Some(Role::Voucher), Some("terminal") => terminal;
    GET "/terminal/worker.js", Access::Anyone, Some(Role::Voucher), None => worker;
    GET "/terminal/{language}", Access::Anyone, Some(Role::Voucher), None => in_language;
    GET "/terminal/{language}/manifest.webmanifest", Access::Anyone, Some(Role::Voucher), None => manifest;
}

/// The scripts that the page needs, the first first: asked for at once, and not one after another.
const SCRIPTS: [&str; 8] = [
    "terminal/terminal.js",
    "terminal/code.js",
    "terminal/keys.js",
    "terminal/node.js",
    "terminal/store.js",
    "terminal/vp1.js",
    "terminal/words.js",
    "vendor/qrcode-generator.mjs",
];

/// What else lies on the phone.
const FILES: [&str; 5] =
    ["pages.css", "icon.svg", "terminal/terminal.css", "terminal/icon-192.png", "terminal/icon-512.png"];

/// What the scripts say, by their keys behind `terminal-say-`, with the arguments that they fill in.
const SAID: &[(&str, &[&str])] = &[
    ("as-of", &["time"]),
    ("asking", &[]),
    ("asked", &["time", "place"]),
    ("moving", &["time", "place"]),
    ("cancel-sure", &[]),
    ("cancel-yes", &[]),
    ("cancelled", &[]),
    ("checked", &["time"]),
    ("choose-hospital", &[]),
    ("choose-department", &[]),
    ("choose-doctor", &[]),
    ("choose-time", &[]),
    ("code-identify", &[]),
    ("code-register", &[]),
    ("code-receive", &["programme"]),
    ("code-arrive", &["place"]),
    ("code-complete", &["place"]),
    ("code-voucher", &[]),
    ("days-left", &["n"]),
    ("days-left-one", &[]),
    ("denied", &[]),
    ("deny-sure", &[]),
    ("deny-why", &[]),
    ("deny-yes", &[]),
    ("erase-sure", &[]),
    ("erase-here-why", &[]),
    ("erase-everywhere-why", &[]),
    ("erase-yes", &[]),
    ("erased", &[]),
    ("failed", &[]),
    ("keep-proof", &[]),
    ("known-since", &["time"]),
    ("next-arrive", &["time", "place"]),
    ("next-await-answer", &["time"]),
    ("next-await-settlement", &[]),
    ("next-book", &[]),
    ("next-complete", &[]),
    ("next-later", &["time"]),
    ("next-moving", &["time", "place"]),
    ("next-nothing", &[]),
    ("next-released", &[]),
    ("no", &[]),
    ("no-network", &[]),
    ("notice-issued", &[]),
    ("notice-handed-over", &[]),
    ("notice-booking-confirmed", &[]),
    ("notice-booking-declined", &[]),
    ("notice-booking-released", &[]),
    ("notice-booking-lapsed", &[]),
    ("notice-used", &[]),
    ("notice-use-aborted", &[]),
    ("notice-examined", &[]),
    ("notice-redeemed", &[]),
    ("notice-reversed", &[]),
    ("notice-given-back", &[]),
    ("notice-voided", &[]),
    ("notice-taken-back", &[]),
    ("notice-day-before", &["time", "place"]),
    ("notice-expiring", &["n"]),
    ("notice-expiring-one", &[]),
    ("profile-given", &["n"]),
    ("profile-given-one", &[]),
    ("proof-kept", &[]),
    ("received", &[]),
    ("register-where", &["place"]),
    ("seconds-left", &["n"]),
    ("seconds-left-one", &[]),
    ("silent-hospitals", &["places"]),
    ("visit-arrive", &[]),
    ("visit-arrive-about", &[]),
    ("visit-complete", &[]),
    ("visit-complete-about", &[]),
    ("visit-inside", &[]),
    ("visit-inside-about", &[]),
    ("visit-token", &[]),
    ("visit-token-about", &[]),
    ("visit-early", &["time"]),
    ("visit-over", &[]),
    ("yes", &[]),
];

#[derive(Template)]
#[template(path = "terminal/terminal.html")]
struct Terminal<'a> {
    frame: &'a Frame,
    /// Of local time, from UTC.
    offset_minutes: i32,
    scripts: Vec<String>,
    texts: Vec<(&'static str, String)>,
}

/// What a script says, with `{name}` where it fills something in.
fn said(language: Language) -> Vec<(&'static str, String)> {
    let open = |name: &&'static str| (*name, format!("{{{name}}}"));
    let say = |(key, names): &(&'static str, &[&'static str])| {
        let open: Vec<_> = names.iter().map(open).collect();
        let arguments: Vec<_> = open.iter().map(|(name, value)| (*name, value as &dyn text::Argument)).collect();
        (*key, text::text(language, &format!("terminal-say-{key}"), &arguments))
    };
    SAID.iter().map(say).collect()
}

/// The page is the same for everybody: who is signed in here, and whose phone it is, it does not know.
fn rendered(node: &Node, request: &HttpRequest, language: Language) -> Frame {
    Frame { language, path: "/terminal".to_owned(), ..Frame::new(node, request, &Caller::Anonymous) }
}

fn page<'a>(node: &Node, frame: &'a Frame) -> Terminal<'a> {
    Terminal {
        frame,
        offset_minutes: node.config.utc_offset_minutes,
        scripts: SCRIPTS.iter().map(|name| assets::address(name)).collect(),
        texts: said(frame.language),
    }
}

async fn terminal(node: Data<Node>, request: HttpRequest, _get: Get) -> Result<HttpResponse, Problem> {
    let frame = rendered(&node, &request, frame::language(&request));
    show(&page(&node, &frame))
}

/// The same in one language, as phones keep it.
async fn in_language(
    node: Data<Node>,
    request: HttpRequest,
    language: Path<String>,
    _get: Get,
) -> Result<HttpResponse, Problem> {
    let language = text::by_tag(&language).ok_or(Reason::NotFound)?;
    show(&page(&node, &rendered(&node, &request, language)))
}

/// What shows the page where there is no network. Whenever page or files change it is another, and browsers fetch all anew.
async fn worker(node: Data<Node>, request: HttpRequest, _get: Get) -> Result<HttpResponse, Problem> {
    let mut version = Sha256::new();
    let mut pages = serde_json::Map::new();
    for language in [Language::Zh, Language::En] {
        let page = page(&node, &rendered(&node, &request, language)).render();
        version.update(page.map_err(|_| Reason::Internal)?);
        let tag = text::tag(language);
        pages.insert(tag.to_owned(), format!("/terminal/{tag}").into());
    }
    let files: Vec<String> = SCRIPTS.iter().chain(&FILES).map(|name| assets::address(name)).collect();
    let source = assets::text("terminal/worker.js").ok_or(Reason::Internal)?;
    let version = hex::encode(&version.finalize()[..8]);
    let body = format!(
        "const VERSION = {};\nconst PAGES = {};\nconst FILES = {};\n{source}",
        json!(version),
        json!(pages),
        json!(files)
    );
    let mut answer = HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(body);
    protect(answer.headers_mut());
    // It stands for `/terminal` itself, which is above its own place.
    let scope = (HeaderName::from_static("service-worker-allowed"), HeaderValue::from_static("/terminal"));
    answer.headers_mut().insert(scope.0, scope.1);
    Ok(answer)
}

/// What a phone shows of an installed page.
async fn manifest(language: Path<String>, _get: Get) -> Result<HttpResponse, Problem> {
    let language = text::by_tag(&language).ok_or(Reason::NotFound)?;
    let icon = |name: &str, sizes: &str, purpose: &str| {
        let kind = if name.ends_with(".svg") { "image/svg+xml" } else { "image/png" };
        json!({ "src": assets::address(name), "sizes": sizes, "type": kind, "purpose": purpose })
    };
    let title = text::text(language, "terminal", &[]);
    let manifest = json!({
        "name": title, "short_name": title, "description": text::text(language, "terminal-about", &[]),
        "lang": text::tag(language), "id": "/terminal", "start_url": "/terminal", "scope": "/terminal",
        "display": "standalone", "orientation": "portrait", "background_color": "#f2f5f6", "theme_color": "#0b5a6b",
        "icons": [
            icon("terminal/icon-192.png", "192x192", "any maskable"),
            icon("terminal/icon-512.png", "512x512", "any maskable"),
            icon("icon.svg", "any", "any"),
        ],
    });
    let mut answer = HttpResponse::Ok().insert_header(ContentType::json()).body(manifest.to_string());
    protect(answer.headers_mut());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/manifest+json"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_text_of_a_script_is_there_in_both_languages() {
        for language in [Language::Zh, Language::En] {
            for ((key, names), (_, text)) in SAID.iter().zip(said(language)) {
                assert!(!text.starts_with("terminal-say-"), "{key}");
                for name in *names {
                    assert!(text.contains(&format!("{{{name}}}")), "{key}: {text}");
                }
            }
        }
        let known: BTreeSet<&str> = SAID.iter().map(|(key, _)| *key).collect();
        let scripts = SCRIPTS.iter().filter_map(|name| assets::text(name)).collect::<String>();
        let mut named = 0;
        for call in [" t(\"", "(t(\"", "{t(\"", "counted(\""] {
            for rest in scripts.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                assert!(known.contains(key), "{key}");
                named += 1;
            }
        }
        assert!(named > 40, "{named}");
    }
}
