//! The table of pages: a row names a page's route, who may ask for it, where it is offered, and what answers.

use actix_web::http::Method;
use domain::member::Role;
use domain::reasons::Reason;

use super::ALL;
use crate::api::access::{Access, Opened, without_rules};
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::node::Node;

/// A page, or what its forms are sent to.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Pattern of its path.
    pub path: &'static str,
    /// Who may ask for it.
    pub access: Access,
    /// The role that must run here; none for what every node has.
    pub role: Option<Role>,
    /// The text under which the start page offers it; its explanation is the text of the same key with `-about`.
    pub title: Option<&'static str>,
}

impl Page {
    /// Whether the start page offers it to a caller: only what this node does, and what the caller may.
    #[must_use]
    pub fn is_offered(&self, roles: &[Role], caller: &Caller) -> bool {
        let runs = self.role.is_none_or(|role| roles.contains(&role));
        self.title.is_some() && runs && self.access.admit(caller, Opened::default()).is_ok()
    }
}

/// Pages and what answers them. It makes the table `PAGES` and the function `configure` of a file: the only way in which a page
/// is served.
///
/// ```text
/// pages! {
///     GET "/desk/hospital", Operator(P::ReadBookings), Some(Role::Hospital), Some("hospital-today") => today;
///     POST "/desk/hospital/arrivals", Operator(P::AdmitHolders), Some(Role::Hospital), None => arrive;
/// }
/// ```
#[macro_export]
macro_rules! pages {
    ($($method:ident $path:literal, $access:expr, $role:expr, $title:expr => $handler:path;)*) => {
        /// The pages of this file.
        pub const PAGES: &[$crate::pages::table::Page] = &[$($crate::pages::table::Page {
            method: stringify!($method),
            path: $path,
            access: $access,
            role: $role,
            title: $title,
        },)*];

        /// Registers the pages of this file.
        pub fn configure(config: &mut actix_web::web::ServiceConfig) {
            $(config.route($path, actix_web::web::method(actix_web::http::Method::$method).to($handler));)*
        }
    };
}

/// The page of a route, by method and pattern.
#[must_use]
pub fn find(method: &Method, pattern: &str) -> Option<&'static Page> {
    let pattern = without_rules(pattern);
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ALL.iter().copied().flatten().find(|page| page.method == method && without_rules(page.path) == pattern)
}

/// Refuses a page of a role that does not run here.
///
/// # Errors
///
/// [`Reason::NotMyRole`].
pub fn must_run_here(node: &Node, method: &Method, pattern: &str) -> Result<(), Problem> {
    let role = find(method, pattern).and_then(|page| page.role);
    match role.is_none_or(|role| node.config.roles.contains(&role)) {
        true => Ok(()),
        false => Err(Reason::NotMyRole.into()),
    }
}
