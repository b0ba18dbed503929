//! The access log: who asked for what, from which network, and what came of it. It names pseudonyms and routes, never a person, an
//! id in a path or a secret. Target `access`, so that it can be kept apart: `RUST_LOG=info,access=info`.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::Method;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};

use super::caller::Caller;
use super::methods;
use super::problem::Problem;
use crate::accounts::Credential;

/// Who called, as the access log says it.
#[derive(Debug, Clone)]
struct Who {
    kind: &'static str,
    /// An operator's pseudonym, or an institution.
    id: String,
    /// The session or token.
    by: String,
}

/// Keeps who calls until the answer is known.
pub fn remember(request: &HttpRequest, caller: &Caller) {
    let who = match caller {
        Caller::Anonymous => return,
        Caller::Operator(acting) => {
            let by = match acting.by {
                Credential::Session(id) => format!("session {id}"),
                Credential::Token(id) => format!("token {id}"),
                Credential::Jwt => "jwt".to_owned(),
            };
            Who { kind: "operator", id: acting.operator.0.to_string(), by }
        }
        Caller::Peer(institution) => Who { kind: "peer", id: institution.to_string(), by: String::new() },
        // A holder's key would let requests of one person be put together.
        Caller::Holder(_) => Who { kind: "holder", id: String::new(), by: String::new() },
    };
    request.extensions_mut().insert(who);
}

/// The pseudonym of a second person, or of somebody who has just signed in.
pub fn also(request: &HttpRequest, kind: &'static str, operator: domain::ids::Operator, by: String) {
    request.extensions_mut().insert(Who { kind, id: operator.0.to_string(), by });
}

/// From where a request came: the network, not the machine. It finds who tries passwords, and follows nobody around.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// Writes what came of a request. What operators do and what is refused for want of proof is told always, the rest at
/// level debug: nodes and phones ask all day, and who asks too often is counted in the metrics.
pub fn tell(request: &HttpRequest, response: &HttpResponse, route: &str) {
    let who = request.extensions().get::<Who>().cloned();
    let (method, status) = (methods::label(request.method()), response.status().as_u16());
    let outcome = response.error().and_then(|e| e.as_error::<Problem>()).map_or("done", |p| p.reason.code());
    let is_told = matches!(status, 401 | 403)
        || who.as_ref().is_some_and(|who| who.kind != "peer" && who.kind != "holder")
        || (route == "/v1/sessions" && request.method() == Method::POST)
        || route.starts_with("/v1/sessions/oidc/");
    let from = request.peer_addr().map(|address| network(address.ip())).unwrap_or_default();
    let Who { kind, id, by } = who.unwrap_or_else(|| Who { kind: "nobody", id: String::new(), by: String::new() });
    if is_told {
        tracing::info!(target: "access", who = kind, id, by, from, method, route, status, outcome);
    } else {
        tracing::debug!(target: "access", who = kind, id, by, method, route, status, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_by_its_network() {
        let table = [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("127.0.0.1", "127.0.0.0/24"),
        ];
        for (address, told) in table {
            assert_eq!(network(address.parse().unwrap()), told);
        }
    }
}
