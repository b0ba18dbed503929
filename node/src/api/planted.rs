//! Requests for tests of the interface, as each kind of caller makes them.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use domain::ids::InstitutionId;

use crate::keys::NodeKeys;
use crate::node::Node;
use crate::peers::signature::{self, Parameters};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Nobody in particular.
    Nobody,
    /// Who is named by a header.
    Header((&'static str, &'static str)),
    /// The node of an institution; its keys lie beside those of the node that is asked.
    Peer(&'static str),
}

/// A request without a body, or with one that is JSON.
pub(crate) fn request(
    node: &Node,
    who: Who,
    method: Method,
    path: &str,
    key: &str,
    body: Option<&[u8]>,
) -> TestRequest {
    let mut request = TestRequest::default().method(method.clone()).uri(path);
    if let Some(body) = body {
        request = request.insert_header(("Idempotency-Key", key)).insert_header(("Content-Type", "application/json"));
        request = request.set_payload(body.to_vec());
    }
    match who {
        Who::Nobody => request,
        Who::Header(header) => request.insert_header(header),
        Who::Peer(institution) => {
            let headers = signed(node, institution, &method, path, body.map(|body| (key, body)));
            headers.into_iter().fold(request, TestRequest::insert_header)
        }
    }
}

/// The headers with which an institution's node signs a request.
pub(crate) fn signed(
    node: &Node,
    institution: &str,
    method: &Method,
    path: &str,
    sent: Option<(&str, &[u8])>,
) -> Vec<(&'static str, String)> {
    let institution: InstitutionId = institution.parse().unwrap();
    let key = if institution == node.config.institution {
        node.keys.node_key()
    } else {
        let keys = node.config.store.keys.with_file_name(institution.as_str());
        NodeKeys::load_or_make(&keys).unwrap().node_key()
    };
    let parameters = Parameters { institution, created: node.writer.now(), nonce: rand::random() };
    let audience = node.config.institution.as_str();
    signature::headers(&key, parameters, audience, method.as_str(), path, sent).unwrap()
}
