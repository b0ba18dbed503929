//! Malformed, oversized, replayed and contradictory requests.

use domain::member::Role;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{TestNode, desk};

async fn problem(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    assert!(kind.starts_with("application/problem+json"), "{status} {kind}");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"].as_u64(), Some(u64::from(status)));
    assert!(!body["holder"].as_str().unwrap().is_empty() && !body["desk"].as_str().unwrap().is_empty(), "{body}");
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_reason_and_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    desk::publish(&node, "checkup").await;
    let size = node.folded("health").await;
    let client = Client::new();
    let post = |path: &str| client.post(format!("{}{path}", node.url)).bearer_auth(&node.token);
    let good = json!({ "programme": "checkup", "count": 1 });

    let path = "/v1/issuer/vouchers";
    let table = [
        ("no key", post(path).json(&good), 400, "idempotency-key-missing"),
        ("empty key", post(path).header("Idempotency-Key", "").json(&good), 400, "malformed"),
        ("long key", post(path).header("Idempotency-Key", "k".repeat(129)).json(&good), 400, "malformed"),
        ("no type", post(path).header("Idempotency-Key", "a").body(good.to_string()), 415, "unsupported-media"),
        (
            "no JSON",
            post(path).header("Idempotency-Key", "a").header("Content-Type", "application/json").body("{"),
            400,
            "malformed",
        ),
        (
            "unknown field",
            post(path).header("Idempotency-Key", "a").json(&json!({ "programme": "checkup", "count": 1, "x": 1 })),
            400,
            "malformed",
        ),
        (
            "negative",
            post(path).header("Idempotency-Key", "a").json(&json!({ "programme": "checkup", "count": -1 })),
            400,
            "malformed",
        ),
        (
            "a list for an object",
            post(path).header("Idempotency-Key", "a").json(&json!(["checkup", 1])),
            400,
            "malformed",
        ),
        (
            "a name twice",
            post(path)
                .header("Idempotency-Key", "a")
                .header("Content-Type", "application/json")
                .body(r#"{"programme":"checkup","count":1,"count":1}"#),
            400,
            "malformed",
        ),
        (
            "packed",
            post(path).header("Idempotency-Key", "a").header("Content-Encoding", "gzip").json(&good),
            415,
            "unsupported-media",
        ),
        (
            "unknown programme",
            post(path).header("Idempotency-Key", "a").json(&json!({ "programme": "nothing", "count": 1 })),
            409,
            "programme-unknown",
        ),
        (
            "too large",
            post(path)
                .header("Idempotency-Key", "a")
                .header("Content-Type", "application/json")
                .body(" ".repeat(300_000)),
            413,
            "too-large",
        ),
        (
            "two callers",
            post(path).header("Signature-Input", "node=()").header("Idempotency-Key", "a").json(&good),
            400,
            "malformed",
        ),
        (
            "the old header",
            client
                .post(format!("{}{path}", node.url))
                .header("Operator", "test")
                .header("Idempotency-Key", "a")
                .json(&good),
            401,
            "unauthenticated",
        ),
        (
            "not my role",
            post("/v1/hospital/schedules").header("Idempotency-Key", "a").json(&json!({ "hours": [] })),
            404,
            "not-my-role",
        ),
        ("nobody there", post("/v1/nothing").header("Idempotency-Key", "a").json(&good), 404, "not-found"),
        (
            "bad record",
            client.get(format!("{}/v1/records/health.01", node.url)).bearer_auth(&node.token),
            400,
            "malformed",
        ),
        (
            "no record",
            client.get(format!("{}/v1/records/health.999999", node.url)).bearer_auth(&node.token),
            404,
            "not-found",
        ),
        ("bad tile", client.get(format!("{}/log/tile/0/1", node.url)), 404, "not-found"),
        ("huge tile", client.get(format!("{}/log/tile/0/x999/x999/x999/999", node.url)), 404, "not-found"),
        ("not a voucher", client.get(format!("{}/v1/vouchers/abc", node.url)), 400, "malformed"),
        (
            "not a picture",
            post("/v1/qr/decode").header("Content-Type", "image/png").body("rubbish"),
            422,
            "picture-unreadable",
        ),
    ];
    for (what, request, status, code) in table {
        let answer = problem(request.send().await.unwrap()).await;
        assert_eq!(answer, (status, code.to_owned()), "{what}");
    }
    assert_eq!(node.folded("health").await, size, "something was written");

    let (status, first) = node.post_as(path, "same", &good).await.unwrap();
    assert_eq!((status, first["repeated"].as_bool()), (201, Some(false)));
    let programme = node.post("/v1/issuer/programmes", &desk::programme("other")).await.1;
    assert_eq!(programme.get("voucher"), None, "no voucher, no null: {programme}");
    let size = size + 1;
    let (_, again) = node.post_as(path, "same", &good).await.unwrap();
    assert_eq!((again["repeated"].as_bool(), &again["records"]), (Some(true), &first["records"]));
    let (status, other) = node.post_as(path, "same", &json!({ "programme": "checkup", "count": 2 })).await.unwrap();
    assert_eq!((status, other["code"].as_str()), (422, Some("idempotency-key-reused")));
    assert_eq!(node.folded("health").await, size + 1);

    // Where a problem says that it is explained, it is.
    let unknown: Value = client.get(format!("{}/v1/nothing", node.url)).send().await.unwrap().json().await.unwrap();
    let (page, place) = unknown["type"].as_str().unwrap().split_once('#').unwrap();
    let page = client.get(format!("{}{page}", node.url)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains(&format!("id=\"{place}\"")) && page.contains("id=\"idempotency-key-reused\""), "{page}");

    let zh = client.get(format!("{}/v1/vouchers/abc", node.url)).header("Accept-Language", "zh-CN,en;q=0.5");
    let body: Value = zh.send().await.unwrap().json().await.unwrap();
    assert!(body["desk"].as_str().unwrap().chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c)), "{body}");
}

/// Each operation names the headers that it reads and the problems that it may answer.
fn what_is_common(what: &str, operation: &Value) {
    let named = |header: &str| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().find(|p| p["in"] == "header" && p["name"] == header)
    };
    assert!(named("Accept-Language").is_some(), "{what}: {operation}");
    let has_body = !what.starts_with("get") && !what.starts_with("delete");
    // A picture is read, and nothing is changed; a witness is asked as C2SP says; accounts are not in the ledger: bodies without a key.
    let unkeyed = ["post /v1/qr/decode", "post /witness/add-checkpoint"];
    let is_keyed = has_body && !unkeyed.contains(&what) && operation["tags"][0] != "accounts";
    let key = named("Idempotency-Key").map(|parameter| parameter["required"] == true);
    assert_eq!(key, is_keyed.then_some(true), "{what}");
    assert!(!operation["security"].as_array().unwrap().is_empty(), "{what}");
    let responses = operation["responses"].as_object().unwrap();
    assert!(responses.contains_key("default"), "{what}");
    for status in ["400", "401", "403", "503"] {
        assert!(!what.contains(" /v1/") || responses.contains_key(status), "{what}: {status}");
    }
    for status in ["409", "415", "422", "429"] {
        assert!(!has_body || responses.contains_key(status), "{what}: {status}");
    }
    for (status, response) in responses.iter().filter(|(status, _)| status.starts_with(['4', '5'])) {
        let kind = if what == unkeyed[1] && status == "409" { "text/x.tlog.size" } else { "application/problem+json" };
        let inline = response["content"].as_object().map(|content| content.contains_key(kind));
        assert!(inline.unwrap_or_else(|| response["$ref"].is_string()), "{what}: {status}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_is_described_and_browsable_offline() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    let spec: Value = reqwest::get(format!("{}/openapi.json", node.url)).await.unwrap().json().await.unwrap();
    assert!(spec["openapi"].as_str().unwrap().starts_with("3.1"), "{}", spec["openapi"]);
    let paths = spec["paths"].as_object().unwrap();
    for path in ["/healthz", "/v1/members", "/log/checkpoint", "/v1/vouchers/{voucher}/history"] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            what_is_common(&format!("{method} {path}"), operation);
        }
    }
    let schemes = &spec["components"]["securitySchemes"];
    for name in ["csrf", "node", "holder"] {
        assert_eq!(schemes[name]["in"], "header", "{name}");
    }
    assert_eq!((&schemes["bearer"]["scheme"], &schemes["session"]["in"]), (&json!("bearer"), &json!("cookie")));
    for (name, response) in spec["components"]["responses"].as_object().unwrap() {
        assert!(response["content"]["application/problem+json"]["schema"]["$ref"].is_string(), "{name}: {response}");
    }
    let client = reqwest::Client::new();
    let head = client.head(format!("{}/v1/members", node.url)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-type"]), (200, &"application/json".parse().unwrap()));
    assert!(head.bytes().await.unwrap().is_empty());
    let delete = client.delete(format!("{}/v1/members", node.url)).send().await.unwrap();
    assert_eq!((delete.status().as_u16(), &delete.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    let page = reqwest::get(format!("{}/docs/", node.url)).await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(!page.contains("https://"), "the page fetches from elsewhere");
    let metrics = reqwest::get(format!("{}/metrics", node.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("voucher_node_log_entries") && metrics.ends_with("# EOF\n"), "{metrics}");
}
