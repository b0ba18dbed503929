//! Who asks too much, too slowly or from too many connections is told so, and nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use domain::member::Role;
use reqwest::header::RETRY_AFTER;

use crate::support::TestNode;

async fn node(root: &std::path::Path, limits: &[(&str, &str)]) -> TestNode {
    let mut node = TestNode::new(root, "health", &[Role::Issuer], None);
    // Tests come from this machine, whose addresses are otherwise not counted.
    node.env.push(("VOUCHER__LIMITS__LOOPBACK".to_owned(), "true".to_owned()));
    node.env.extend(limits.iter().map(|(name, value)| (format!("VOUCHER__LIMITS__{name}"), (*value).to_owned())));
    node.start().await;
    node
}

/// The answer to a bare request over a connection of its own; empty if the other side hung up.
fn asked(port: &str, text: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(port).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = [0; 4_096];
    let read = stream.read(&mut bytes).unwrap_or(0);
    (stream, String::from_utf8_lossy(&bytes[..read]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_slowed_down_and_told_for_how_long() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path(), &[("ADDRESS_PER_SEC", "20"), ("ADDRESS_BURST", "60")]).await;
    let client = reqwest::Client::new();
    let mut refused = None;
    for _ in 0..200 {
        let answer = client.get(format!("{}/v1/members", node.url)).send().await.unwrap();
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 200);
    }
    let refused = refused.expect("two hundred at once are too many");
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
    assert_eq!(refused.json::<serde_json::Value>().await.unwrap()["code"], "too-many-requests");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(client.get(format!("{}/v1/members", node.url)).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_slowed_down_and_others_are_not() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path(), &[("OPERATOR_PER_SEC", "1"), ("OPERATOR_BURST", "5")]).await;
    for _ in 0..5 {
        assert_eq!(node.get("/v1/issuer/vouchers").await.0, 200);
    }
    let (status, body) = node.get("/v1/issuer/vouchers").await;
    assert_eq!((status, &body["code"]), (429, &serde_json::json!("too-many-requests")));
    let anonymous = reqwest::get(format!("{}/v1/members", node.url)).await.unwrap();
    assert_eq!(anonymous.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_bounded_and_health_is_answered_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path(), &[("POLLS", "1")]).await;
    let poll = format!("{}/log/checkpoint?newer_than=1000000&wait_secs=3", node.url);
    let waiting = tokio::spawn(reqwest::get(poll.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = reqwest::get(poll.clone()).await.unwrap();
    assert_eq!((second.status().as_u16(), second.headers()[RETRY_AFTER].to_str().unwrap()), (503, "1"));
    assert_eq!(second.json::<serde_json::Value>().await.unwrap()["code"], "busy");
    let encoded = reqwest::get(poll.replace("/checkpoint", "/%63heckpoint")).await.unwrap();
    assert_eq!(encoded.status(), 403, "by another spelling it is no route, and waits for nothing");
    for path in ["/healthz", "/readyz", "/metrics", "/v1/members"] {
        assert_eq!(reqwest::get(format!("{}{path}", node.url)).await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(reqwest::get(poll.replace("1000000", "0")).await.unwrap().status(), 200, "the place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_and_slow_ones_are_dropped() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path(), &[("CONNECTIONS_PER_ADDRESS", "20")]).await;
    let port = node.url.trim_start_matches("http://").to_owned();
    let stalled = "GET /v1/members HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    let whole = "GET /v1/members HTTP/1.1\r\nHost: x\r\n\r\n";
    tokio::task::spawn_blocking(move || {
        // Half a header, and then nothing.
        let mut slow = TcpStream::connect(&port).unwrap();
        slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        slow.write_all(stalled.as_bytes()).unwrap();
        let began = Instant::now();
        let kept: Vec<_> = (0..19).map(|_| asked(&port, whole)).collect();
        assert!(kept.iter().all(|(_, said)| said.starts_with("HTTP/1.1 200")), "{:?}", kept.last());
        assert_eq!(asked(&port, whole).1, "", "one too many is not let in");
        let mut said = String::new();
        let _ = slow.read_to_string(&mut said);
        assert!(began.elapsed() < Duration::from_secs(15), "it was dropped after {:?}", began.elapsed());
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        drop(kept);
        std::thread::sleep(Duration::from_millis(200));
        assert!(asked(&port, whole).1.starts_with("HTTP/1.1 200"));
        // What no request has is not read for ever either.
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
        let mut stream = TcpStream::connect(&port).unwrap();
        let _ = stream.write_all(long.as_bytes());
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    })
    .await
    .unwrap();
}

/// What still comes over a connection until the other side ends it, and after how long it does.
fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let (began, mut bytes, mut more) = (Instant::now(), Vec::new(), [0; 65_536]);
    while let Ok(read) = stream.read(&mut more) {
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&more[..read]);
    }
    (String::from_utf8_lossy(&bytes).into_owned(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_held_as_long_as_there_is_progress() {
    let root = tempfile::tempdir().unwrap();
    let limits = [("HEAD_SECS", "1"), ("IDLE_SECS", "2"), ("UNREAD_SECS", "1")];
    let node = node(root.path(), &limits).await;
    let port = node.url.trim_start_matches("http://").to_owned();
    let whole = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let stalled = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    tokio::task::spawn_blocking(move || {
        // The headers of a second request, a letter now and then.
        let (mut stream, said) = asked(&port, whole);
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        let mut slow = stream.try_clone().unwrap();
        slow.write_all(stalled.as_bytes()).unwrap();
        let dripping = std::thread::spawn(move || {
            while slow.write_all(b"a").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let (_, held) = rest(&mut stream);
        assert!(held < Duration::from_secs(10), "{held:?}");
        drop(stream);
        dripping.join().unwrap();
        // The same in one breath with the first, and nothing at all after it.
        for text in [format!("{whole}{stalled}"), whole.to_owned()] {
            let (mut stream, _) = asked(&port, &text);
            let (_, held) = rest(&mut stream);
            assert!(held < Duration::from_secs(10), "{held:?}");
        }
        // Answers without end, which nobody reads.
        let many = 400;
        let mut stream = TcpStream::connect(&port).unwrap();
        let ask = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(many);
        stream.write_all(ask.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_secs(4));
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let answered = rest(&mut stream).0.matches("HTTP/1.1 200").count();
        assert!((1..many).contains(&answered), "{answered}");
        // Who reads has them all.
        let mut stream = TcpStream::connect(&port).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
        assert_eq!(rest(&mut stream).0.matches("HTTP/1.1 200").count(), many);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_takes_no_place_and_who_is_refused_keeps_the_connection() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path(), &[("UNDER_WAY", "2"), ("LONG_BODIES", "1"), ("OPERATOR_BURST", "1")]).await;
    let (port, token) = (node.url.trim_start_matches("http://").to_owned(), node.token.clone());
    let ask = move |length: usize, body: &str| {
        format!(
            "POST /v1/issuer/vouchers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nIdempotency-Key: k\r\n\r\n{body}"
        )
    };
    let members = "GET /v1/members HTTP/1.1\r\nHost: x\r\n\r\n";
    tokio::task::spawn_blocking(move || {
        let begun = |length| {
            let mut stream = TcpStream::connect(&port).unwrap();
            stream.write_all(ask(length, "{").as_bytes()).unwrap();
            stream
        };
        let slow: Vec<_> = (0..5).map(|_| begun(100)).collect();
        let long = begun(200_000);
        std::thread::sleep(Duration::from_millis(300));
        assert!(asked(&port, members).1.starts_with("HTTP/1.1 200"));
        let (_, said) = asked(&port, &ask(200_000, "{"));
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 1"), "{said}");
        assert!(asked(&port, members).1.starts_with("HTTP/1.1 200"));
        drop((slow, long));
        // Refused with a body, and asked again over the same connection.
        let mut stream = TcpStream::connect(&port).unwrap();
        for _ in 0..3 {
            stream.write_all(ask(2, "{}").as_bytes()).unwrap();
            let mut bytes = [0; 4_096];
            let read = stream.read(&mut bytes).unwrap();
            let said = String::from_utf8_lossy(&bytes[..read]);
            assert!(said.starts_with("HTTP/1.1 4") && !said.contains("connection: close"), "{said}");
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_its_headers_and_no_other_site_is_let_in() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path(), &[]).await;
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let origin = "https://elsewhere.example";
    let table = [
        ("GET", "/docs/", "identity", 200, None),
        ("GET", "/problems", "gzip", 200, Some("gzip")),
        ("GET", "/v1/status", "gzip", 200, None),
        ("GET", "/v1/nothing", "gzip", 404, None),
        ("OPTIONS", "/v1/wallet", "gzip", 405, None),
        // Also what no part of the interface sees.
        ("GET", "/v1/status", "identity;q=0, *;q=0", 406, None),
    ];
    for (method, path, packing, status, packed) in table {
        let request = client.request(method.parse().unwrap(), format!("{}{path}", node.url));
        let request = request.header("Accept-Encoding", packing);
        let request = request.header("Origin", origin).header("Access-Control-Request-Method", "POST");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path} {packing}");
        let headers = answer.headers();
        assert_eq!(headers.get("content-encoding").map(|value| value.to_str().unwrap()), packed, "{path} {packing}");
        if path.starts_with("/v1/") {
            assert_eq!(headers["cache-control"], "no-store", "{method} {path}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value, "{method} {path}: {name}");
        }
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(
            !headers.keys().any(|name| name.as_str().starts_with("access-control-")),
            "{method} {path}: {headers:?}"
        );
    }
}
