//! Who is answered which page: every page by every kind of caller; and the story of signing in, without a browser.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use actix_web::{App, Error};
use domain::member::Role;

use super::ALL;
use crate::accounts::permission::AccountRole;
use crate::accounts::planted::{self, PASSWORD};
use crate::api::caller::SESSION_COOKIE;
use crate::api::edge;
use crate::api::methods::{self, Allowed};
use crate::api::wallet::tests::node;
use crate::node::Node;

/// Every page and who is let in: `everyone`, `operators` (each account), or the roles of accounts.
const TABLE: &str = "
    GET  /                           everyone
    GET  /sign-in                    everyone
    POST /sign-in                    everyone
    POST /sign-out                   operators
    GET  /password                   operators
    POST /password                   operators
    GET  /issuer                                 statistician auditor
    GET  /issuer/figures.csv                     statistician auditor
    GET  /issuer/figures.xlsx                    statistician auditor
    GET  /issuer/claims                          claims-officer
    POST /issuer/claims/{voucher}/settlement     claims-officer
    POST /issuer/claims/{voucher}/rejection      claims-officer
    GET  /issuer/supply                          issuing-officer
    POST /issuer/supply/generations              issuing-officer
    POST /issuer/supply/dispatches               issuing-officer
    GET  /issuer/supply/{work}                   issuing-officer
    GET  /issuer/vouchers                        issuing-officer reader
    GET  /issuer/expiring                        issuing-officer reader
    GET  /issuer/voids                           issuing-officer
    POST /issuer/voids                           issuing-officer
    GET  /issuer/corrections                     issuing-officer claims-officer
    POST /issuer/corrections/reversal            claims-officer
    POST /issuer/corrections/resolution          claims-officer
    POST /issuer/corrections/compensation        claims-officer
    POST /issuer/corrections/reclaim             issuing-officer
    POST /issuer/corrections/handover            issuing-officer
    GET  /issuer/publications                    statistician auditor
    POST /issuer/publications                    statistician
    GET  /issuer/parameters                      registrar-officer
    POST /issuer/parameters                      registrar-officer
    POST /issuer/members/{id}/key                registrar-officer
    GET  /issuer/programmes                      programme-officer
    POST /issuer/programmes                      programme-officer
    GET  /issuer/programmes/new                  programme-officer
    GET  /issuer/programmes/{short}/changes      programme-officer
    POST /issuer/programmes/{short}/changes      programme-officer
    GET  /issuer/members                         registrar-officer
    POST /issuer/members                         registrar-officer
    POST /issuer/members/{id}/standing           registrar-officer
    GET  /issuer/approvals                       registrar-officer issuing-officer claims-officer
    POST /issuer/approvals/{id}/consent          operators
    POST /issuer/approvals/{id}/refusal          operators
    GET  /audit                                  auditor
    GET  /audit/evidence/{digest}                auditor
    GET  /audit/check                            everyone
    POST /audit/check                            everyone
    GET  /records                                registrar-officer programme-officer issuing-officer claims-officer community-clerk receptionist hospital-officer auditor reader
    GET  /records/{position}                     registrar-officer programme-officer issuing-officer claims-officer community-clerk receptionist hospital-officer auditor reader
    GET  /records/vouchers/{voucher}             registrar-officer programme-officer issuing-officer claims-officer community-clerk receptionist hospital-officer auditor reader
    GET  /language/{language}        everyone
    GET  /assets/{version}/{name}    everyone
    GET  /desk/community             community-clerk community-manager
    POST /desk/community             community-clerk community-manager
    GET  /desk/community/people/{holder}             community-clerk community-manager
    POST /desk/community/document    community-clerk community-manager
    POST /desk/community/residents   community-clerk community-manager
    GET  /desk/community/register    community-clerk
    POST /desk/community/register    community-clerk
    POST /desk/community/phones      community-clerk
    POST /desk/community/cards       community-clerk
    POST /desk/community/people/{holder}/programmes  community-clerk
    POST /desk/community/people/{holder}/block       community-clerk
    POST /desk/community/people/{holder}/erasure     community-clerk
    POST /desk/community/issue       community-clerk
    GET  /desk/community/vouchers/{voucher}          community-clerk community-manager
    POST /desk/community/slots       community-clerk
    POST /desk/community/help        community-clerk
    GET  /desk/community/stock       community-clerk community-manager
    POST /desk/community/returns     community-manager
    GET  /desk/hospital              receptionist examiner hospital-officer
    POST /desk/hospital              receptionist
    POST /desk/hospital/bookings/{voucher}/no-show   receptionist
    POST /desk/hospital/bookings/{voucher}/release   receptionist
    GET  /desk/hospital/visits       receptionist examiner hospital-officer
    GET  /desk/hospital/visits/{voucher}             receptionist examiner hospital-officer
    POST /desk/hospital/visits/{voucher}/completion  examiner
    POST /desk/hospital/visits/{voucher}/undo        receptionist
    GET  /desk/hospital/claims       receptionist examiner hospital-officer
    POST /desk/hospital/claims/{voucher}/answer      hospital-officer
    GET  /desk/hospital/hours        hospital-officer
    POST /desk/hospital/hours        hospital-officer
    POST /desk/hospital/closures     hospital-officer
    GET  /terminal                   everyone
    GET  /terminal/worker.js         everyone
    GET  /terminal/{language}        everyone
    GET  /terminal/{language}/manifest.webmanifest everyone
";

/// What a browser sends along when somebody opens a page.
const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// What came back.
#[derive(Debug)]
struct Said {
    status: u16,
    location: String,
    cookie: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// The pages as they are served: with what every request passes on its way in and out.
macro_rules! serve {
    ($node:expr) => {{
        let answering = $node.clone();
        let app = init_service(
            App::new()
                .app_data($node.clone())
                .app_data(Data::new(Allowed::default()))
                .configure(crate::api::extractors)
                .configure(super::configure)
                .default_service(actix_web::web::to(methods::nothing_here))
                .wrap(from_fn(move |request, next| edge::pass(answering.clone(), request, next))),
        )
        .await;
        Served { app, finish: |request| request.to_request() }
    }};
}

/// The served pages, and how a request for them is finished.
struct Served<S, R> {
    app: S,
    finish: fn(TestRequest) -> R,
}

impl<R, B: MessageBody, S: Service<R, Response = ServiceResponse<B>, Error = Error>> Served<S, R> {
    /// Asks as a browser does; a form is sent where there is one.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], form: Option<&str>) -> Said {
        let method: Method = method.parse().unwrap();
        let mut request = TestRequest::default().method(method).uri(path).insert_header(BROWSER);
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        if let Some(form) = form {
            request = request.insert_header(("Content-Type", "application/x-www-form-urlencoded"));
            request = request.set_payload(form.to_owned());
        }
        let response = call_service(&self.app, (self.finish)(request)).await;
        let told = response.headers().iter();
        let headers: BTreeMap<_, _> =
            told.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let (status, location, cookie) = (response.status().as_u16(), header("location"), header("set-cookie"));
        let Ok(body) = to_bytes(response.into_body()).await else { panic!("{path}: the body broke off") };
        Said { status, location, cookie, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }
}

/// A session as a browser has it: its cookie, and what a form sends back.
fn session(node: &Node, name: &str, roles: &[AccountRole]) -> (String, String) {
    let now = node.writer.now();
    let secret = planted::session(&node.accounts, name, roles, now);
    let csrf = node.accounts.who(&secret, now).unwrap().csrf.unwrap();
    (format!("{SESSION_COOKIE}={secret}"), csrf)
}

/// A path with something in the place of each name.
fn filled(path: &str) -> String {
    let mut filled = path.replace(":.*", "");
    while let (Some(open), Some(close)) = (filled.find('{'), filled.find('}')) {
        let is_id = &filled[open..=close] == "{id}";
        filled.replace_range(open..=close, if is_id { "00000000-0000-4000-8000-000000000000" } else { "en" });
    }
    filled
}

#[actix_web::test]
async fn every_page_is_shown_to_whom_the_table_says() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let app = serve!(node);
    let mut table = BTreeMap::new();
    for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let mut words = row.split_whitespace();
        let page = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        table.insert(page, words.collect::<BTreeSet<_>>());
    }
    for page in ALL.iter().copied().flatten() {
        let (method, path) = (page.method, page.path.replace(":.*", ""));
        let who = table.remove(&(method.to_owned(), path.clone()));
        let who = who.unwrap_or_else(|| panic!("{method} {path} is not in the table of this test"));
        let path = filled(&path);
        let everyone = who.contains("everyone");
        let nobody = app.ask(method, &path, &[], (method == "POST").then_some("")).await;
        let turned_away = nobody.status == 303 && nobody.location.starts_with("/sign-in");
        assert_eq!(turned_away && path != "/sign-in", !everyone, "{method} {path} by nobody: {nobody:?}");
        // Who is not signed in learns nothing about ids, not even which are none.
        let odd = path.replace("00000000-0000-4000-8000-000000000000", "no-id");
        let nobody = app.ask(method, &odd, &[], (method == "POST").then_some("")).await;
        assert!(everyone || nobody.location.starts_with("/sign-in"), "{method} {odd} by nobody: {nobody:?}");
        for role in AccountRole::ALL {
            let (cookie, csrf) = session(&node, &format!("one-{role}"), &[*role]);
            let form = format!("csrf={csrf}&key=k");
            let said = app.ask(method, &path, &[("Cookie", &cookie)], (method == "POST").then_some(&form)).await;
            let is_let_in = everyone || who.contains("operators") || who.contains(role.code());
            assert_eq!(said.status == 403, !is_let_in, "{method} {path} by {role}: {said:?}");
            assert!(said.status < 500 && said.status != 401, "{method} {path} by {role}: {said:?}");
            if method == "POST" && !everyone {
                let (cookie, _) = session(&node, &format!("one-{role}"), &[*role]);
                let forged = app.ask(method, &path, &[("Cookie", &cookie)], Some("csrf=vnc_guess&key=k")).await;
                assert_eq!(forged.status, 403, "{method} {path} without the session's token: {forged:?}");
            }
        }
    }
    assert!(table.is_empty(), "pages that are not there: {table:?}");
}

#[actix_web::test]
async fn a_page_of_a_role_that_does_not_run_here_is_not_shown() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer]);
    let app = serve!(node);
    let (cookie, _) = session(&node, "everybody", AccountRole::ALL);
    let start = app.ask("GET", "/", &[("Cookie", &cookie)], None).await;
    for page in ALL.iter().copied().flatten().filter(|page| page.role.is_some_and(|role| role != Role::Issuer)) {
        assert!(!start.body.contains(&format!("href=\"{}\"", page.path)), "{} is offered", page.path);
        if page.method == "GET" {
            let said = app.ask("GET", &filled(page.path), &[("Cookie", &cookie)], None).await;
            assert!(said.status >= 400 && said.body.contains("not-my-role"), "{}: {said:?}", page.path);
        }
    }
}

#[actix_web::test]
async fn an_operator_signs_in_reads_either_language_and_signs_out() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let app = serve!(node);

    // The language: what was chosen, else what the browser asks for, else Chinese.
    let chosen = app.ask("GET", "/language/en?back=/sign-in", &[], None).await;
    assert_eq!((chosen.status, chosen.location.as_str()), (303, "/sign-in"));
    let english = chosen.cookie.split(';').next().unwrap().to_owned();
    for (headers, lang) in [
        (vec![], "zh-CN"),
        (vec![("Accept-Language", "fr")], "zh-CN"),
        (vec![("Accept-Language", "en-GB,zh;q=0.5")], "en"),
        (vec![("Accept-Language", "zh-CN"), ("Cookie", english.as_str())], "en"),
    ] {
        let page = app.ask("GET", "/sign-in", &headers, None).await;
        assert!(page.body.contains(&format!("<html lang=\"{lang}\">")), "{headers:?}: {}", page.body);
        let policy = &page.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers["cache-control"], "no-store");
    }
    assert_eq!(app.ask("GET", "/language/fr", &[], None).await.status, 404);
    let elsewhere = app.ask("GET", "/language/en?back=//mallory.example", &[], None).await;
    assert_eq!(elsewhere.location, "/");

    // What is refused is said in the page, in words, with the name still there and the password gone.
    let wrong = app.ask("POST", "/sign-in", &[], Some("name=li&password=wrong+password&next=%2Fpassword")).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("role=\"alert\"") && wrong.body.contains("value=\"li\""), "{}", wrong.body);
    assert!(wrong.body.contains("value=\"/password\"") && !wrong.body.contains("wrong password"), "{}", wrong.body);
    let form = format!("name=li&password={}&next=%2Fpassword", PASSWORD.replace(' ', "+"));
    let other_site = app.ask("POST", "/sign-in", &[("Sec-Fetch-Site", "cross-site")], Some(&form)).await;
    assert_eq!(other_site.status, 403, "{other_site:?}");
    let signed_in = app.ask("POST", "/sign-in", &[("Sec-Fetch-Site", "same-origin")], Some(&form)).await;
    assert_eq!((signed_in.status, signed_in.location.as_str()), (303, "/password"), "{signed_in:?}");
    let cookie = signed_in.cookie.split(';').next().unwrap().to_owned();
    let cookie = ("Cookie", cookie.as_str());

    // The start page offers what this person may, and names who it is.
    let start = app.ask("GET", "/", &[cookie], None).await;
    assert!(start.status == 200 && start.body.contains("li，您好") && start.body.contains("href=\"/password\""));
    let nobody = app.ask("GET", "/", &[], None).await;
    assert!(!nobody.body.contains("href=\"/password\"") && nobody.body.contains("href=\"/sign-in\""));

    // Another password, and out.
    let hidden = |body: &str, name: &str| {
        let field = body.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        field.split('"').next().unwrap().to_owned()
    };
    let csrf = hidden(&start.body, "csrf");
    let short = format!("csrf={csrf}&current={}&new=short", PASSWORD.replace(' ', "+"));
    let unfit = app.ask("POST", "/password", &[cookie], Some(&short)).await;
    assert!(unfit.status == 422 && unfit.body.contains("role=\"alert\""), "{unfit:?}");
    let out = app.ask("POST", "/sign-out", &[cookie], Some(&format!("csrf={csrf}"))).await;
    assert_eq!((out.status, out.location.as_str()), (303, "/sign-in"), "{out:?}");
    assert!(out.cookie.contains("Max-Age=0"), "{}", out.cookie);
    let over = app.ask("GET", "/password?done=1", &[cookie], None).await;
    assert_eq!((over.status, over.location.as_str()), (303, "/sign-in?next=%2Fpassword%3Fdone%3D1"));

    // A link of another site comes without the cookie: the page is asked for once more, from here.
    let linked = app.ask("GET", "/password", &[("Sec-Fetch-Site", "cross-site")], None).await;
    assert_eq!((linked.status, linked.headers["refresh"].as_str()), (200, "0;url=/password"));
}

#[actix_web::test]
async fn a_password_of_somebody_else_is_changed_before_anything_else() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let app = serve!(node);
    let now = node.writer.now();
    node.accounts.create("new-clerk", &[AccountRole::CommunityClerk], PASSWORD, true, now).unwrap();
    let form = format!("name=new-clerk&password={}", PASSWORD.replace(' ', "+"));
    let signed_in = app.ask("POST", "/sign-in", &[], Some(&form)).await;
    let cookie = signed_in.cookie.split(';').next().unwrap().to_owned();
    let cookie = ("Cookie", cookie.as_str());
    let start = app.ask("GET", "/", &[cookie], None).await;
    assert_eq!((start.status, start.location.as_str()), (303, "/password"));
    let page = app.ask("GET", "/password", &[cookie], None).await;
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = format!("csrf={csrf}&current={}&new=quiet+river+stone", PASSWORD.replace(' ', "+"));
    let set = app.ask("POST", "/password", &[cookie], Some(&form)).await;
    assert_eq!((set.status, set.location.as_str()), (303, "/"), "{set:?}");
    assert_eq!(app.ask("GET", "/", &[cookie], None).await.status, 200);
}

#[actix_web::test]
async fn a_refusal_is_a_page_for_people_and_json_for_programs() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let app = serve!(node);
    let page = app.ask("GET", "/no/such/page", &[("Accept-Language", "en")], None).await;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (404, "text/html; charset=utf-8"));
    assert!(page.body.contains("Not found") && page.body.contains("not-found"), "{}", page.body);
    let json = app.ask("GET", "/no/such/page", &[("Accept", "application/json")], None).await;
    assert_eq!((json.status, json.headers["content-type"].as_str()), (404, "application/problem+json"));
}
