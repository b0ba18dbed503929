//! Who may ask for what, by the description of the interface itself; and stories of signing in.

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use domain::member::Role;
use domain::time::Millis;
use serde_json::{Value, json};
use utoipa::{Modify as _, OpenApi as _};
use utoipa_actix_web::AppExt as _;

use super::access::{Access, Opened, TABLE, access};
use super::planted::signed;
use super::wallet::tests::node;
use crate::accounts::permission::Permission;
use crate::accounts::planted::{CLERK, PASSWORD, POWERLESS};
use crate::api;

/// A response as a test looks at it.
struct Said {
    status: u16,
    cookie: Option<String>,
    retry_after: Option<String>,
    body: Value,
}

impl Said {
    fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.body["code"] == code
    }
}

macro_rules! serve {
    ($node:expr) => {{
        let app = App::new().app_data($node.clone()).into_utoipa_app().openapi(api::ApiDoc::openapi());
        let (app, mut openapi) = app.configure(api::configure).split_for_parts();
        api::openapi::Common.modify(&mut openapi);
        let served = init_service(app.configure(api::extractors)).await;
        (served, serde_json::to_value(openapi).unwrap())
    }};
}

macro_rules! ask {
    ($app:expr, $method:expr, $path:expr, $headers:expr, $body:expr) => {{
        let body: Value = $body;
        let mut request = TestRequest::default().method($method).uri($path);
        for (name, value) in $headers.iter() {
            let (name, value): (&str, &str) = (name, value);
            request = request.insert_header((name, value));
        }
        if !body.is_null() {
            request = request.set_json(body);
        }
        let response = call_service(&$app, request.to_request()).await;
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (status, cookie, retry_after) = (response.status().as_u16(), header("set-cookie"), header("retry-after"));
        let bytes = to_bytes(response.into_body()).await.unwrap();
        Said { status, cookie, retry_after, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }};
}

/// No header at all.
const NOBODY: [(&str, &str); 0] = [];

#[actix_web::test]
async fn every_operation_is_in_the_table_and_answers_only_whom_it_is_for() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let (app, openapi) = serve!(node);
    let (mut operations, mut for_operators) = (0, 0);
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            let method: Method = verb.to_uppercase().parse().unwrap();
            let what = format!("{method} {path}");
            let access = access(&method, path).unwrap_or_else(|| panic!("{what} is not in the table"));
            operations += 1;
            let (Access::Operator(_) | Access::Inside(_) | Access::PersonWith(_) | Access::SignedIn | Access::Person) =
                access
            else {
                continue;
            };
            for_operators += 1;
            for scheme in ["bearer", "session"] {
                let named = operation["security"].as_array().unwrap().iter().any(|s| s.get(scheme).is_some());
                assert!(named, "{what}: {scheme}");
            }
            for status in ["401", "403"] {
                assert!(operation["responses"].get(status).is_some(), "{what}: {status} is not described");
            }
            let mut filled = path.clone();
            while let (Some(open), Some(close)) = (filled.find('{'), filled.find('}')) {
                filled.replace_range(open..=close, "6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b");
            }
            if path == "/v1/issuer/statistics" {
                filled.push_str("?from=2026-01-01&until=2026-01-01");
            }
            // The body is not even looked at before it is clear who asks.
            let body = if method == Method::GET { Value::Null } else { json!({ "no-such-field": 1 }) };
            let anonymous = ask!(app, method.clone(), &filled, NOBODY, body.clone());
            assert!(anonymous.is(401, "unauthenticated"), "{what}: {} {}", anonymous.status, anonymous.body);
            let over = ask!(app, method.clone(), &filled, [("Authorization", "Bearer vns_gone")], body.clone());
            assert!(over.is(401, "session-over"), "{what}: {} {}", over.status, over.body);
            if let Some(permission) = access.permission() {
                let said = operation["description"].as_str().unwrap_or_default();
                assert!(said.contains(permission.code()), "{what}: {said}");
                let powerless = ask!(app, method.clone(), &filled, [POWERLESS], body.clone());
                assert!(powerless.is(403, "forbidden"), "{what}: {} {}", powerless.status, powerless.body);
            }
            if !matches!(access, Access::Inside(_)) {
                let peer = {
                    let sent = serde_json::to_vec(&body).unwrap();
                    let sent = (!body.is_null()).then_some(("key", sent.as_slice()));
                    let headers = signed(&node, "xuanwu", &method, &filled, sent);
                    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    ask!(app, method.clone(), &filled, headers, body.clone())
                };
                assert!(peer.is(403, "forbidden"), "{what}: {} {}", peer.status, peer.body);
            }
        }
    }
    assert_eq!(operations, TABLE.len(), "the table names a route that is not there");
    assert!(for_operators > 60, "{for_operators}");
}

/// Each permission opens the routes that name it, and no other: every permission against every route.
#[actix_web::test]
async fn a_permission_opens_its_own_routes_alone() {
    use crate::accounts::permission::Permissions;
    use crate::accounts::{Acting, Credential};
    use crate::api::caller::Caller;
    for held in Permission::ALL {
        let acting = |by, one_time| {
            let permissions: Permissions = [*held].into_iter().collect();
            let (account, operator) = (uuid::Uuid::nil(), domain::ids::Operator(uuid::Uuid::nil()));
            Caller::Operator(Box::new(Acting { account, operator, permissions, by, one_time, csrf: None }))
        };
        let session = acting(Credential::Session(uuid::Uuid::nil()), false);
        let token = acting(Credential::Token(uuid::Uuid::nil()), false);
        let jwt = acting(Credential::Jwt, false);
        let fresh = acting(Credential::Session(uuid::Uuid::nil()), true);
        for (method, path, access) in TABLE {
            let what = format!("{held}: {method} {path}");
            let opens =
                |caller: &Caller| access.admit(caller, Opened::default()).map_err(|problem| problem.reason.code());
            match access.permission() {
                Some(needed) => {
                    assert_eq!(opens(&session).is_ok(), needed == *held, "{what}");
                    let by_token = needed == *held && !matches!(access, Access::PersonWith(_));
                    assert_eq!((opens(&token).is_ok(), opens(&jwt).is_ok()), (by_token, by_token), "{what}");
                    assert_eq!(opens(&fresh), Err("password-change-needed"), "{what}");
                }
                None if *access == Access::Person => {
                    assert_eq!((opens(&token), opens(&session)), (Err("person-needed"), Ok(())), "{what}");
                    assert_eq!(opens(&jwt), Err("person-needed"), "{what}");
                }
                None => {}
            }
        }
    }
}

#[actix_web::test]
async fn a_page_signs_in_acts_and_signs_out() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let (app, _) = serve!(node);
    let sign_in = |name: &str, password: &str| json!({ "name": name, "password": password });
    for (name, password) in [("li", "wrong password"), ("nobody-here", PASSWORD)] {
        let said = ask!(app, Method::POST, "/v1/sessions", NOBODY, sign_in(name, password));
        assert!(said.is(401, "sign-in-failed") && said.body["detail"].is_null(), "{name}: {}", said.body);
    }
    let said = ask!(app, Method::POST, "/v1/sessions", NOBODY, sign_in("li", PASSWORD));
    assert_eq!(said.status, 201, "{}", said.body);
    let set = said.cookie.unwrap();
    for part in ["__Host-voucher-session=vns_", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    let (cookie, csrf) =
        (set.split(';').next().unwrap().to_owned(), said.body["csrf_token"].as_str().unwrap().to_owned());
    let cookie = ("Cookie", cookie.as_str());
    let current = ask!(app, Method::GET, "/v1/sessions/current", [cookie], Value::Null);
    assert_eq!((current.status, &current.body["name"], &current.body["csrf_token"]), (200, &json!("li"), &json!(csrf)));

    // Another site can make the browser send the cookie, and nothing else.
    let wish = json!({ "label": "importer", "scope": ["read-stock"], "expires_in_secs": 60 });
    for headers in [vec![cookie], vec![cookie, ("X-CSRF-Token", "vnc_guess")]] {
        let forged = ask!(app, Method::POST, "/v1/tokens", headers, wish.clone());
        assert!(forged.is(403, "csrf-token-wrong"), "{}", forged.body);
        let forged = ask!(app, Method::DELETE, "/v1/sessions/current", headers, Value::Null);
        assert!(forged.is(403, "csrf-token-wrong"), "{}", forged.body);
    }
    let page = [cookie, ("X-CSRF-Token", csrf.as_str())];
    let token = ask!(app, Method::POST, "/v1/tokens", page, wish);
    assert_eq!(token.status, 201, "{}", token.body);
    let bearer = format!("Bearer {}", token.body["bearer"].as_str().unwrap());
    let machine = [("Authorization", bearer.as_str())];
    assert_eq!(ask!(app, Method::GET, "/v1/community/stock", machine, Value::Null).status, 200);
    assert!(ask!(app, Method::GET, "/v1/issuer/vouchers", machine, Value::Null).is(403, "forbidden"));
    assert!(ask!(app, Method::GET, "/v1/tokens", machine, Value::Null).is(403, "person-needed"));
    let listed = ask!(app, Method::GET, "/v1/tokens", page, Value::Null);
    assert_eq!(
        (&listed.body["items"][0]["label"], &listed.body["items"][0]["bearer"]),
        (&json!("importer"), &Value::Null)
    );
    let revoke = format!("/v1/tokens/{}", token.body["id"].as_str().unwrap());
    assert_eq!(ask!(app, Method::DELETE, &revoke, page, Value::Null).status, 204);
    assert!(ask!(app, Method::GET, "/v1/community/stock", machine, Value::Null).is(401, "session-over"));

    assert_eq!(ask!(app, Method::DELETE, "/v1/sessions/current", page, Value::Null).status, 204);
    assert!(ask!(app, Method::GET, "/v1/sessions/current", [cookie], Value::Null).is(401, "unauthenticated"));
}

#[actix_web::test]
async fn whoever_guesses_is_told_to_wait_and_learns_nothing() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer]);
    let (app, _) = serve!(node);
    for name in ["li", "nobody-here"] {
        for n in 0..6 {
            let said = ask!(app, Method::POST, "/v1/sessions", NOBODY, json!({ "name": name, "password": "guess" }));
            match n {
                0..5 => assert!(said.is(401, "sign-in-failed"), "{name} {n}: {}", said.body),
                _ => {
                    assert!(said.is(429, "sign-in-throttled"), "{name}: {}", said.body);
                    let secs: i64 = said.retry_after.unwrap().parse().unwrap();
                    assert!((1..=30).contains(&secs), "{secs}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn accounts_are_kept_by_who_may_and_nothing_else() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer]);
    let (app, _) = serve!(node);
    let wish = json!({ "name": "chen", "roles": ["issuing-officer"] });
    let made = ask!(app, Method::POST, "/v1/accounts", [CLERK], wish.clone());
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(ask!(app, Method::POST, "/v1/accounts", [CLERK], wish).is(409, "account-exists"));
    let (id, given) = (made.body["id"].as_str().unwrap(), made.body["one_time_password"].as_str().unwrap());
    let signed = ask!(app, Method::POST, "/v1/sessions", NOBODY, json!({ "name": "chen", "password": given }));
    assert_eq!((signed.status, &signed.body["password_change_needed"]), (201, &json!(true)), "{}", signed.body);
    let bearer = format!("Bearer {}", signed.body["bearer"].as_str().unwrap());
    let chen = [("Authorization", bearer.as_str())];
    assert!(ask!(app, Method::GET, "/v1/issuer/vouchers", chen, Value::Null).is(403, "password-change-needed"));
    assert!(ask!(app, Method::GET, "/v1/tokens", chen, Value::Null).is(403, "password-change-needed"));
    let change = json!({ "current": given, "new": "chen's own words" });
    assert!(ask!(app, Method::POST, "/v1/sessions/password", chen, change).is(422, "password-unfit"), "own name");
    let change = json!({ "current": given, "new": "some other words" });
    assert_eq!(ask!(app, Method::POST, "/v1/sessions/password", chen, change).status, 204);
    assert_eq!(ask!(app, Method::GET, "/v1/issuer/vouchers", chen, Value::Null).status, 200);
    assert!(ask!(app, Method::GET, "/v1/accounts", chen, Value::Null).is(403, "forbidden"));

    let set = ask!(app, Method::POST, &format!("/v1/accounts/{id}/roles"), [CLERK], json!({ "roles": ["reader"] }));
    assert_eq!(set.body["permissions"], json!(["read-status", "read-records", "read-vouchers"]), "{}", set.body);
    let vouchers = json!({ "programme": "ecg", "count": 1 });
    let refused = ask!(app, Method::POST, "/v1/issuer/vouchers", [chen[0], ("Idempotency-Key", "a")], vouchers);
    assert!(refused.is(403, "forbidden"), "other roles act at once: {}", refused.body);
    let locked = ask!(app, Method::POST, &format!("/v1/accounts/{id}/disabled"), [CLERK], json!({ "disabled": true }));
    assert_eq!(locked.status, 200, "{}", locked.body);
    assert!(ask!(app, Method::GET, "/v1/issuer/vouchers", chen, Value::Null).is(401, "session-over"));
    let again = json!({ "name": "chen", "password": "some other words" });
    assert!(ask!(app, Method::POST, "/v1/sessions", NOBODY, again).is(401, "sign-in-failed"));
    let all = ask!(app, Method::GET, "/v1/accounts", [CLERK], Value::Null);
    let chen = all.body["items"].as_array().unwrap().iter().find(|a| a["name"] == "chen").unwrap();
    let id: uuid::Uuid = id.parse().unwrap();
    assert_eq!(chen["operator"], json!(node.accounts.pseudonym(id).0), "who did what is answerable");
    assert!(chen.get("hash").is_none() && !all.body.to_string().contains("argon2"), "{chen}");
    let nobody = ask!(app, Method::POST, &format!("/v1/accounts/{}/password", uuid::Uuid::nil()), [CLERK], json!({}));
    assert!(nobody.is(404, "not-found"), "{}", nobody.body);
    assert!(node.accounts.limits().idle == Millis::minutes(30));
}
