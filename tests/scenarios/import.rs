//! Tables of an office, brought into real nodes by the command that an office uses.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domain::member::Role;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually, program};

const WITHIN: Duration = Duration::from_secs(15);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// What the command said: exit code, and its JSON or its page.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// The numbers of all answers together: added, known, updated, refused.
    fn counts(&self) -> [u64; 4] {
        let json: Value = serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err));
        let sum = |name: &str| {
            json["answers"].as_array().unwrap().iter().map(|a| a["result"][name].as_u64().unwrap()).sum::<u64>()
        };
        ["added", "known", "updated", "refused"].map(sum)
    }
}

fn import(node: &TestNode, table: &str, file: &Path, options: &[&str]) -> Said {
    let mut command = Command::new(program());
    let token = node.dir.join("import.token");
    std::fs::write(&token, &node.token).unwrap();
    command.args(["import", table]).arg(file).args(["--url", &node.url, "--token-file"]).arg(token).args(options);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A registrar with its programmes, and the nodes that the tables of `tests/data` are for.
async fn federation(root: &Path) -> (TestNode, TestNode, TestNode) {
    let mut issuer = TestNode::new(root, "nanjing-health", &[Role::Issuer], None);
    issuer.start().await;
    let roles = [Role::Community, Role::Voucher];
    let mut community = TestNode::new(root, "community-xuanwu", &roles, Some(&issuer));
    let mut hospital = TestNode::new(root, "hospital-gulou", &[Role::Hospital], Some(&issuer));
    let elsewhere = TestNode::new(root, "community-qinhuai", &[Role::Community], Some(&issuer));
    for node in [&community, &hospital, &elsewhere] {
        desk::register(&issuer, node).await;
    }
    // Each asks all members how long its log is, so they start together.
    community.spawn();
    hospital.start().await;
    community.ready().await;
    (issuer, community, hospital)
}

async fn listed(community: &TestNode, number: &str) -> (u16, Value) {
    let document = json!({ "document_type": "resident-id", "document_number": number, "whole": true });
    community.post("/v1/community/desk/resident", &document).await
}

/// Somebody of `residents-dirty.csv` whose row is good, and of this community.
const GOOD: &str = "990008198311046468";

#[tokio::test(flavor = "multi_thread")]
async fn residents_come_in_row_by_row_and_are_confirmed_at_the_desk() {
    let root = tempfile::tempdir().unwrap();
    let (issuer, community, _hospital) = federation(root.path()).await;
    let size = community.folded("community-xuanwu").await;
    let dirty = data("residents-dirty.csv");

    // A dry run of a file in GB18030 says what is wrong with which line, and sends nothing.
    let dry = import(&community, "residents", &dirty, &[]);
    assert_eq!(dry.code, 1, "{}{}", dry.out, dry.err);
    let told: Vec<[&str; 3]> =
        dry.out.lines().filter_map(|line| line.split_whitespace().collect::<Vec<_>>().first_chunk().copied()).collect();
    for fault in [["5", "document_number", "check-digit"], ["7", "-", "duplicate-row"], ["22", "-", "short-row"]] {
        assert!(told.contains(&fault), "{fault:?}: {}", dry.out);
    }
    assert!(dry.out.contains("nothing was sent; with --yes"), "{}", dry.out);
    assert_eq!(listed(&community, GOOD).await.0, 404);

    // The same for good: the good rows of this community are taken, and the exit code says that some are not.
    let first = import(&community, "residents", &dirty, &["--yes", "--json"]);
    let again = import(&community, "residents", &dirty, &["--yes", "--json"]);
    assert_eq!((first.code, first.counts()), (1, [2, 0, 0, 0]), "{}", first.out);
    assert_eq!((again.code, again.counts()), (1, [0, 2, 0, 0]), "{}", again.out);
    let (status, person) = listed(&community, GOOD).await;
    assert_eq!((status, &person["name"], &person["class"]), (200, &json!("谭飞辉"), &json!("chronic")), "{person}");

    // The whole table: in UTF-8, then with a byte order mark, then in GB18030 those that are there twice.
    let file = data("residents.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    let all = text.lines().filter(|line| line.contains(",community-xuanwu,")).count() as u64;
    let whole = import(&community, "residents", &file, &["--yes", "--json"]);
    assert_eq!((whole.code, whole.counts()), (0, [all - 2, 2, 0, 0]), "{}", whole.out);
    let marked = root.path().join("marked.csv");
    std::fs::write(&marked, format!("\u{feff}{text}")).unwrap();
    let whole = import(&community, "residents", &marked, &["--yes", "--json"]);
    assert_eq!((whole.code, whole.counts()), (0, [0, all, 0, 0]), "{}", whole.out);

    // A newer table: another telephone number is taken, another name under the same document is told by its line.
    let newer = root.path().join("newer.csv");
    let lines: Vec<&str> = text.lines().collect();
    let changed = [lines[0], &lines[1].replace("12053493880", "12053493881"), &lines[3].replace("姚强永", "姚强勇")];
    std::fs::write(&newer, changed.join("\n")).unwrap();
    let said = import(&community, "residents", &newer, &["--yes"]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("refused 1") && said.out.contains("updated 1"), "{}", said.out);
    assert!(said.out.contains("      3  resident-differs  "), "{}", said.out);
    assert_eq!(listed(&community, GOOD).await.1["phone"], "12053493881");

    assert_eq!(community.folded("community-xuanwu").await, size, "nothing of it is in the ledger");
    confirmed_at_the_desk(&issuer, &community).await;
    refused_at_the_door(&community).await;
    repeated_late(&community).await;
}

/// Who is on the list is registered by the document alone; a form that says something else is refused.
async fn confirmed_at_the_desk(issuer: &TestNode, community: &TestNode) {
    let said = import(issuer, "programmes", &data("programmes.csv"), &["--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    eventually("the programmes are known", WITHIN, || async {
        let (_, programmes) = community.get("/v1/programmes").await;
        programmes["items"].as_array().is_some_and(|items| items.len() == 4)
    })
    .await;
    let path = "/v1/community/registrations/without-phone";
    let document = json!({ "document_type": "resident-id", "document_number": GOOD });
    let with = |field: &str, value: Value| {
        let mut form = document.clone();
        form[field] = value;
        form
    };
    for (field, value) in [("name", json!("谭飞飞")), ("class", json!("elderly")), ("sex", json!("M"))] {
        let (status, answer) = community.post(path, &with(field, value)).await;
        assert_eq!((status, answer["code"].as_str()), (409, Some("resident-differs")), "{field}: {answer}");
    }
    let (status, answer) = community.post(path, &with("document_number", json!("11010519491231002X"))).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("resident-unknown")), "{answer}");
    let (status, answer) = community.post(path, &document).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["result"]["enrolments"][0]["programme"], "chronic-followup-2026", "{answer}");
    let (status, answer) = community.post(path, &document).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("document-registered")), "{answer}");

    // Who is taken off the list is not confirmed by it any more.
    let off = "/v1/community/residents/removals";
    let other = json!({ "document_type": "resident-id", "document_number": "990019193902131310" });
    assert_eq!(community.post(off, &other).await.0, 201);
    assert_eq!(community.post(off, &other).await.1["code"], "resident-unknown");
    assert_eq!(community.post(path, &other).await.1["code"], "resident-unknown");
}

/// An answer that was lost is asked for again, late: what was done since is not undone.
async fn repeated_late(community: &TestNode) {
    let path = "/v1/community/residents";
    let row = json!({
        "document_type": "passport", "document_number": "E0000001", "name": "Ann", "born": "1949-12-31", "sex": "F",
        "phone": null, "class": "elderly", "smartphone": false,
    });
    let (list, document) =
        (json!({ "residents": [row] }), json!({ "document_type": "passport", "document_number": "E0000001" }));
    assert_eq!(community.post_as(path, "list-1", &list).await.unwrap().1["result"]["added"], 1);
    let removals = "/v1/community/residents/removals";
    assert_eq!(community.post_as(removals, "list-1", &document).await.unwrap().1["code"], "idempotency-key-reused");
    assert_eq!(community.post_as(removals, "off-1", &document).await.unwrap().0, 201);
    let again = community.post_as(path, "list-1", &list).await.unwrap();
    assert_eq!((again.0, &again.1["repeated"]), (201, &json!(true)), "{}", again.1);
    assert_eq!(community.post_as(removals, "off-1", &document).await.unwrap().1["repeated"], true);
    assert_eq!(community.post(removals, &document).await.1["code"], "resident-unknown");
}

async fn refused_at_the_door(community: &TestNode) {
    let path = "/v1/community/residents";
    let good = json!({
        "document_type": "resident-id", "document_number": "11010519491231002x", "name": "王秀英", "born": "1949-12-31",
        "sex": "F", "phone": null, "class": "elderly", "smartphone": false,
    });
    let with = |field: &str, value: Value| {
        let mut row = good.clone();
        row[field] = value;
        row
    };
    let rows = [
        (json!("no row"), "malformed"),
        (with("class", json!("vip")), "malformed"),
        (with("unknown", json!(1)), "malformed"),
        (with("name", json!(" ")), "malformed"),
        (with("name", json!("长".repeat(41))), "malformed"),
        (with("name", json!("王\u{1b}[31m秀英")), "malformed"),
        (with("phone", json!("138\u{0}0000")), "malformed"),
        (json!(["passport", "E0000002", "Ann", "1949-12-31", "F", null, "elderly", false]), "malformed"),
        (with("phone", json!("1".repeat(33))), "malformed"),
        (with("document_number", json!("110105194912310021")), "document-invalid"),
        (with("born", json!("1949-12-30")), "document-invalid"),
        (good.clone(), "added"),
        (good.clone(), "known"),
    ];
    let (rows, expected): (Vec<Value>, Vec<&str>) = rows.into_iter().unzip();
    let (status, answer) = community.post(path, &json!({ "residents": rows })).await;
    assert_eq!(status, 201, "{answer}");
    let outcomes = answer["result"]["rows"].as_array().unwrap();
    for ((place, outcome), expected) in (1..).zip(outcomes).zip(expected) {
        let said = outcome["code"].as_str().or(outcome["outcome"].as_str());
        assert_eq!((outcome["row"].as_u64(), said), (Some(place), Some(expected)), "{outcome}");
        assert_eq!(outcome["holder"].is_string() && outcome["desk"].is_string(), outcome["code"].is_string());
    }
    for (body, status, code) in [
        (json!({ "residents": vec![&good; 201] }), 413, "too-large"),
        (json!({ "residents": {} }), 400, "malformed"),
        (json!({ "residents": [], "more": 1 }), 400, "malformed"),
    ] {
        let (answered, problem) = community.post(path, &body).await;
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programmes_and_hours_come_in_once() {
    let root = tempfile::tempdir().unwrap();
    let (issuer, community, hospital) = federation(root.path()).await;
    let programmes = data("programmes.csv");
    let dry = import(&issuer, "programmes", &programmes, &[]);
    assert_eq!(
        (dry.code, issuer.get("/v1/programmes").await.1["items"].as_array().unwrap().len()),
        (0, 0),
        "{}",
        dry.out
    );
    for round in 0..2 {
        let said = import(&issuer, "programmes", &programmes, &["--yes"]);
        assert_eq!(said.code, 0, "round {round}: {}{}", said.out, said.err);
        let (_, known) = issuer.get("/v1/programmes").await;
        assert_eq!(known["items"].as_array().unwrap().len(), 4, "round {round}");
    }

    let hours = data("schedule.csv");
    let count = std::fs::read_to_string(&hours).unwrap().lines().filter(|l| l.starts_with("hospital-gulou,")).count();
    for round in 0..2 {
        let said = import(&hospital, "schedule", &hours, &["--yes"]);
        assert_eq!(said.code, 0, "round {round}: {}{}", said.out, said.err);
        let (_, held) = hospital.get("/v1/hospital/schedules?limit=1000").await;
        assert_eq!(held["items"].as_array().unwrap().len(), count, "round {round}");
    }

    // A table for another role, and a file that is none.
    assert_eq!(import(&community, "schedule", &hours, &["--yes"]).code, 2);
    assert_eq!(import(&hospital, "schedule", &programmes, &["--yes"]).code, 2);
}
