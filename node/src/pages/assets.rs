//! Files of pages (node/assets), inside the program: style, scripts, pictures. Their address changes whenever one of them does,
//! so that a browser keeps them for good.

use std::borrow::Cow;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use domain::reasons::Reason;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest as _, Sha256};

use crate::api::access::Access;
use crate::api::answer::Get;
use crate::api::problem::Problem;
use crate::pages;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

pages! {
    GET "/assets/{version}/{name:.*}", Access::Anyone, None, None => file;
}

/// One version for all files, since scripts name each other by where they lie.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Assets::iter().collect();
    names.sort_unstable();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update(Assets::get(&name).map(|file| file.metadata.sha256_hash()).unwrap_or_default());
    }
    hex::encode(&hash.finalize()[..8])
});

/// The address of a file.
#[must_use]
pub fn address(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// A file's text, for what is put together here.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    String::from_utf8(Assets::get(name)?.data.into_owned()).ok()
}

/// A file under an address that changes with it.
async fn file(request: HttpRequest, path: Path<(String, String)>, _get: Get) -> Result<HttpResponse, Problem> {
    let (version, name) = path.into_inner();
    // A page of the version before may still be open: it gets today's file, and asks again next time.
    let kept = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer(&request, &name, kept)
}

/// A file under another address, such as a service worker's: a browser asks each time whether it is still the same.
///
/// # Errors
///
/// [`Reason::NotFound`].
pub fn fresh(request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    answer(request, name, "no-cache")
}

fn answer(request: &HttpRequest, name: &str, kept: &'static str) -> Result<HttpResponse, Problem> {
    let EmbeddedFile { data, metadata } = Assets::get(name).ok_or(Reason::NotFound)?;
    let tag = format!("\"{}\"", hex::encode(&metadata.sha256_hash()[..16]));
    let mut known = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    // A packed answer's tag may have come back marked as weak.
    let is_known = known.any(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, kept));
    if is_known {
        return Ok(answer.finish());
    }
    answer.content_type(kind(name));
    Ok(match data {
        Cow::Borrowed(bytes) => answer.body(bytes),
        Cow::Owned(bytes) => answer.body(bytes),
    })
}

/// The media type of a file, by the ending of its name.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webmanifest") => "application/manifest+json",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, call_service, init_service};
    use domain::member::Role;

    use super::*;

    #[test]
    fn every_file_has_a_type_and_takes_nothing_from_elsewhere() {
        for name in Assets::iter() {
            assert_ne!(kind(&name), "application/octet-stream", "{name}");
            let bytes = Assets::get(&name).unwrap().data;
            // A namespace is asked of nobody, nor is what stands in a comment.
            let text = String::from_utf8_lossy(&bytes).replace("http://www.w3.org/", "");
            let text: String = text.lines().filter(|line| !line.starts_with("//")).collect();
            assert!(!text.contains("://"), "{name} names another host");
        }
    }

    #[actix_web::test]
    async fn a_file_is_kept_for_good_under_its_own_address() {
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let node = crate::api::wallet::tests::node(dir.path(), &[Role::Issuer]);
        let app = init_service(App::new().app_data(node).configure(configure)).await;
        let ask = async |path: &str, tag: &str| {
            let request = TestRequest::get().uri(path).insert_header((header::IF_NONE_MATCH, tag)).to_request();
            let response = call_service(&app, request).await;
            let header = |name| response.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
            let (kept, kind, tag) = (header(header::CACHE_CONTROL), header(header::CONTENT_TYPE), header(header::ETAG));
            let status = response.status().as_u16();
            (status, kept, kind, tag, to_bytes(response.into_body()).await.unwrap().len())
        };
        let (status, kept, kind, tag, bytes) = ask(&address("pages.css"), "\"other\"").await;
        assert_eq!((status, kind.as_str()), (200, "text/css; charset=utf-8"));
        assert!(kept.contains("immutable") && bytes > 0, "{kept}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let again = ask(&address("pages.css"), &known).await;
            assert_eq!((again.0, again.4), (304, 0), "{known}");
        }
        assert_eq!(ask("/assets/0123456789abcdef/pages.css", "").await.1, "no-cache");
        for path in [address("nothing.css"), address("../Cargo.toml"), address("")] {
            assert_eq!(ask(&path, "").await.0, 404, "{path}");
        }
    }
}
