//! What stands around every page: its language, who is signed in, its texts, and the addresses of its files.

use actix_web::HttpRequest;
use actix_web::http::Method;
use domain::reason_texts::Language;
use uuid::Uuid;

use super::table::Page;
use super::text::{self, Argument};
use super::{assets, table};
use crate::api::caller::{self, Caller};
use crate::node::Node;

/// What a template needs beside its own subject. Its name in templates is `frame`.
#[derive(Debug)]
pub struct Frame {
    /// The language of the page.
    pub language: Language,
    /// Whose node it is.
    pub institution: String,
    /// The account that is signed in.
    pub account: Option<String>,
    /// What its forms and scripts send back.
    pub csrf: Option<String>,
    /// Where this page can be got again, for the switch of languages.
    pub path: String,
}

impl Frame {
    /// The frame of a page for a caller.
    #[must_use]
    pub fn new(node: &Node, request: &HttpRequest, caller: &Caller) -> Self {
        let acting = caller.acting().ok();
        let mut accounts = node.accounts.all().into_iter();
        let account = acting.and_then(|acting| accounts.find(|account| account.id == acting.account));
        Self {
            language: language(request),
            institution: node.config.institution.to_string(),
            account: account.map(|account| account.name),
            csrf: acting.and_then(|acting| acting.csrf.clone()),
            path: path(request),
        }
    }

    /// A text by its key.
    #[must_use]
    pub fn t(&self, key: &str) -> String {
        text::text(self.language, key, &[])
    }

    /// A text with an argument.
    #[must_use]
    pub fn tx(&self, key: &str, name: &'static str, value: impl Argument) -> String {
        text::text(self.language, key, &[(name, &value)])
    }

    /// A text with two arguments.
    #[must_use]
    pub fn tx2(
        &self,
        key: &str,
        name: &'static str,
        value: impl Argument,
        other: &'static str,
        other_value: impl Argument,
    ) -> String {
        text::text(self.language, key, &[(name, &value), (other, &other_value)])
    }

    /// Whether the page is that of a path.
    #[must_use]
    pub fn is_at(&self, path: &str) -> bool {
        self.path.split('?').next() == Some(path)
    }

    /// The words under which the start page offers a page.
    #[must_use]
    pub fn title_of(&self, page: &Page) -> String {
        page.title.map(|key| self.t(key)).unwrap_or_default()
    }

    /// What the start page says of a page.
    #[must_use]
    pub fn about(&self, page: &Page) -> String {
        page.title.map(|key| self.t(&format!("{key}-about"))).unwrap_or_default()
    }

    /// The language as `lang` has it.
    #[must_use]
    pub const fn lang(&self) -> &'static str {
        text::tag(self.language)
    }

    /// Whether the page is in the language of a tag.
    #[must_use]
    pub fn is_in(&self, tag: &str) -> bool {
        self.lang() == tag
    }

    /// The address of a file of node/assets.
    #[must_use]
    pub fn asset(&self, name: &str) -> String {
        assets::address(name)
    }

    /// A new idempotency key, for one form.
    #[must_use]
    pub fn key(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// The language of a page: what was chosen here, else what the browser asks for, else Chinese.
#[must_use]
pub fn language(request: &HttpRequest) -> Language {
    caller::wished_language(request).unwrap_or(Language::Zh)
}

/// Where the page of a request can be got again: what a form was sent to cannot, unless it is a page too.
pub(super) fn path(request: &HttpRequest) -> String {
    let uri = request.uri();
    if request.method() == Method::GET {
        return local(uri.path_and_query().map_or("/", |path| path.as_str())).to_owned();
    }
    match table::find(&Method::GET, &request.match_pattern().unwrap_or_default()) {
        Some(_) => local(uri.path()).to_owned(),
        None => "/".to_owned(),
    }
}

/// A place on this node, as a request names it; the start page for everything else.
#[must_use]
pub fn local(place: &str) -> &str {
    let is_path = place.starts_with('/') && !place.starts_with("//");
    let is_plain = place.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain { place } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_host() {
        for (place, expected) in [
            ("/desk/hospital?day=2026-03-02", "/desk/hospital?day=2026-03-02"),
            ("//elsewhere.example/", "/"),
            ("/\\elsewhere.example/", "/"),
            ("https://elsewhere.example/", "/"),
            ("javascript:alert(1)", "/"),
            ("/\r\nSet-Cookie: x=y", "/"),
            ("/\t/elsewhere.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(local(place), expected, "{place:?}");
        }
    }
}
