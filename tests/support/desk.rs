//! What desks ask in many tests.

use serde_json::{Value, json};

use super::TestNode;

/// The body with which a node asks to be registered.
pub fn join(node: &TestNode) -> Value {
    let entry = node.keys().entry(node.id.parse().unwrap(), &node.roles, &node.peer_url(), &node.origin());
    let base64 = |bytes: &[u8]| ledger::note::to_base64(bytes);
    let key = |i: usize| base64(&entry.keys[i]);
    let proof = |i: usize| base64(&actors::replica::signature_bytes(&entry.proofs[i]));
    json!({
        "institution": entry.institution, "roles": entry.roles, "url": entry.url, "origin": entry.origin,
        "keys": { "log": key(0), "node": key(1), "witness": key(2) },
        "proofs": { "log": proof(0), "node": proof(1), "witness": proof(2) },
    })
}

/// Registers a node.
pub async fn register(registrar: &TestNode, node: &TestNode) {
    let (status, body) = registrar.post_by_two("/v1/issuer/members", &join(node)).await;
    assert_eq!(status, 201, "{body}");
}

/// A programme that every test may use.
pub fn programme(name: &str) -> Value {
    json!({
        "programme": name, "title_zh": "老年人年度健康体检券", "title_en": "Annual health check", "service": "health-check",
        "issuing_department": "公共卫生处", "classes": ["elderly"], "validity_days": 90, "vouchers_per_holder": 1,
        "departments": ["geriatrics", "imaging"], "card_allowed": true,
    })
}

/// Publishes a programme.
pub async fn publish(issuer: &TestNode, name: &str) {
    let (status, body) = issuer.post("/v1/issuer/programmes", &programme(name)).await;
    assert_eq!(status, 201, "{body}");
}
