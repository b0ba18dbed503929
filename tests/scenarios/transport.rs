//! Nodes that meet over TLS and sign what they ask: who is let in, who is not believed, and what stays closed.

use std::time::Duration;

use actors::clock::Clock as _;
use domain::member::Role;
use domain::time::Millis;
use node::clock::NodeClock;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually, program};

/// How long two nodes may take to meet.
const SOON: Duration = Duration::from_secs(15);

async fn anonymous(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_meet_over_tls_and_sign_what_they_ask() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::protected(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut hospital = TestNode::protected(root.path(), "gulou", &[Role::Hospital], Some(&issuer));
    // Before it is a member it learns nothing: not even the log that will name it.
    hospital.spawn();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hospital.folded("health").await, 0, "{}", hospital.log());
    desk::register(&issuer, &hospital).await;
    hospital.ready().await;
    let size = issuer.folded("health").await;
    eventually("the hospital has the registrar's log", SOON, || async { hospital.folded("health").await == size })
        .await;

    // What each caller is told of the log.
    for path in ["/log/checkpoint", "/log/tile/0/000.p/2", "/v1/checkpoints", "/v1/records/health.0/proof"] {
        let told = anonymous(&format!("{}{path}", issuer.url)).await;
        assert_eq!(code(&told), (401, "unauthenticated"), "{path}");
        assert_eq!(issuer.get(path).await.0, 200, "an operator who reads records: {path}");
        let signed = hospital.signed_to(&issuer, "GET", path, None, NodeClock::real().now());
        assert_eq!(signed.send().await.0, 200, "a member: {path}");
        let again = signed.send().await;
        assert_eq!(code(&again), (401, "signature-replayed"), "{path}");
    }

    // Signed, and not to be believed.
    let now = NodeClock::real().now();
    let path = "/v1/start/longest";
    let (body, other) = (json!({ "origin": issuer.origin() }), json!({ "origin": "town/other" }));
    let signed = |at| hospital.signed_to(&issuer, "POST", path, Some(("k", &body)), at);
    let stranger = TestNode::new(root.path(), "stranger", &[Role::Hospital], Some(&issuer));
    let with = |change: &dyn Fn(&mut crate::support::Signed)| {
        let mut request = signed(now);
        change(&mut request);
        request
    };
    let header = |name: &'static str, value: &'static str| {
        with(&|request| request.headers.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, v)| *v = value.to_owned()))
    };
    let table = [
        ("five minutes and more ago", signed(now + Millis(-310_000)), "signature-stale"),
        ("that much ahead", signed(now + Millis(310_000)), "signature-stale"),
        ("for another node", header("Audience", "gulou"), "signature-invalid"),
        ("another idempotency key", header("Idempotency-Key", "l"), "signature-invalid"),
        ("another body", with(&|request| request.body = other.to_string().into_bytes()), "signature-invalid"),
        ("another path", with(&|request| request.url.push_str("?x=1")), "signature-invalid"),
        ("another method", with(&|request| request.method = "PUT".to_owned()), "method-not-allowed"),
        ("not a member", stranger.signed_to(&issuer, "POST", path, Some(("k", &body)), now), "signature-invalid"),
        ("no signature", header("Signature", "node=:AA==:"), "signature-invalid"),
        ("a header that cannot be read", header("Signature-Input", "node=("), "signature-invalid"),
    ];
    for (what, request, expected) in table {
        let told = request.send().await;
        assert_eq!(told.1["code"], expected, "{what}: {told:?}");
    }
    assert_eq!(signed(now).send().await.0, 200);
    assert_eq!(issuer.folded("health").await, size, "none of it wrote anything");

    // A person at another machine, with the authority's file.
    let (certificate, url) = (issuer.dir.join("keys/authority.pem"), issuer.peer_url());
    let status = |ca: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new(program());
        let output = command.args(["status", "--url", &url]).args(ca).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (exit, said) = status(&["--ca".as_ref(), certificate.as_os_str()]);
    assert!(exit == Some(0) && said.contains("may write"), "{said}");
    let (exit, said) = status(&[]);
    assert!(exit == Some(2) && said.contains("certificate"), "{said}");
    let (_, status) = issuer.get("/v1/status").await;
    assert_eq!(
        (&status["certificates"][0]["kind"], &status["certificates"][0]["is_ending"]),
        (&json!("node"), &json!(false))
    );
    let metrics = reqwest::get(format!("{}/metrics", issuer.url)).await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("voucher_node_certificate_not_after_timestamp_seconds{certificate=\"node\"}"),
        "{metrics}"
    );

    // From elsewhere a stranger learns that it runs and may write.
    let authority = reqwest::Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    let elsewhere = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    for (path, stranger, field) in [("/v1/status", 200, "logs"), ("/v1/status", 200, "version"), ("/metrics", 401, "")]
    {
        let ask = |token: Option<&str>| {
            let request = elsewhere.get(format!("{url}{path}"));
            token.iter().fold(request, |request, token| request.bearer_auth(token)).send()
        };
        let told = ask(None).await.unwrap();
        assert_eq!(told.status(), stranger, "{path}");
        let told: Value = told.json().await.unwrap();
        assert!(told[field].is_null() && (path == "/metrics" || told["ready"] == true), "{told}");
        let told = ask(Some(&issuer.token)).await.unwrap();
        assert_eq!(told.status(), 200, "an operator: {path}");
        let told: Value = told.json().await.unwrap_or_default();
        assert!(path == "/metrics" || !told[field].is_null(), "{told}");
        let signed = hospital.signed_to(&issuer, "GET", path, None, NodeClock::real().now());
        assert_eq!(signed.send().await.0, 200, "a member: {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_silent_at_the_tls_door_keeps_nobody_from_the_other() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::protected(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let address = issuer.peer_url().trim_start_matches("https://").to_owned();
    let silent: Vec<_> = (0..800).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    for path in ["/healthz", "/readyz"] {
        let asked = reqwest::get(format!("{}{path}", issuer.url));
        let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.expect("it is answered meanwhile");
        assert_eq!(answer.unwrap().status(), 200, "{path}");
    }
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_make_room_at_the_tls_door() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::protected(root.path(), "health", &[Role::Issuer], None);
    let limits = [("CONNECTIONS", "8"), ("HANDSHAKE_SECS", "600"), ("IDLE_SECS", "600")];
    issuer.env.extend(limits.map(|(name, value)| (format!("VOUCHER__LIMITS__{name}"), value.to_owned())));
    issuer.start().await;
    let address = issuer.peer_url().trim_start_matches("https://").to_owned();
    let ca = std::fs::read(issuer.dir.join("keys/authority.pem")).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    let operator = reqwest::Client::builder().tls_certs_only([ca]).pool_max_idle_per_host(1).build().unwrap();
    for round in 0..4 {
        // They have more than all places, and would keep them for ten minutes.
        let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let asked = operator.get(format!("{}/v1/issuer/vouchers", issuer.peer_url())).bearer_auth(&issuer.token);
        let answer = tokio::time::timeout(Duration::from_secs(5), asked.send()).await.expect("there is room");
        assert_eq!(answer.unwrap().status(), 200, "{round}");
        drop(silent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sits_at_a_members_address_with_another_key_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::protected(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut hospital = TestNode::protected(root.path(), "gulou", &[Role::Hospital], Some(&issuer));
    desk::register(&issuer, &hospital).await;
    hospital.start().await;
    let size = issuer.folded("health").await;
    eventually("the hospital has the registrar's log", SOON, || async { hospital.folded("health").await == size })
        .await;

    // The same log under another node key: its certificate is not the one that the registry has.
    issuer.terminate();
    let key = issuer.dir.join("keys/node.key");
    let kept = std::fs::read(&key).unwrap();
    node::keys::NodeKeys::load_or_make(&root.path().join("other")).unwrap();
    std::fs::copy(root.path().join("other/node.key"), &key).unwrap();
    issuer.start().await;
    desk::publish(&issuer, "checkup").await;
    eventually("the operator is told why", SOON, || async { hospital.log().contains("certificate") }).await;
    assert_eq!(hospital.folded("health").await, size, "{}", hospital.log());

    // With its own key back, all goes on.
    issuer.terminate();
    std::fs::write(&key, kept).unwrap();
    issuer.start().await;
    eventually("it is followed again", SOON, || async { hospital.folded("health").await > size }).await;
}
