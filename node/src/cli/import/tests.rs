//! `import` against a node that is played: what is asked, what is sent, under which keys, and what is kept back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::*;

const PROGRAMMES: &[u8] = include_bytes!("../../../../tests/data/programmes.csv");
const RESIDENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/residents.csv");
const SCHEDULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/schedule.csv");

/// A request as it came.
#[derive(Debug, Clone)]
struct Came {
    path: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

type Answer = dyn Fn(usize, &Came) -> (u16, Value) + Send + Sync;

/// A node that is played: it answers GETs from a table, and POSTs as the test says, and remembers these.
struct Played {
    url: String,
    posts: Arc<Mutex<Vec<Came>>>,
    token: tempfile::NamedTempFile,
}

impl Played {
    fn new(
        institution: &str,
        role: &str,
        answer: impl Fn(usize, &Came) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posts = Arc::new(Mutex::new(Vec::new()));
        let kept = posts.clone();
        let status = json!({
            "institution": institution, "roles": [role], "time": "2026-11-23T00:00:00.000Z", "clock": "real",
            "ready": true, "logs": []
        });
        let answer: Arc<Answer> = Arc::new(answer);
        // The thread ends with the test process; each request has a connection of its own.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &status, &kept, &*answer);
            }
        });
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "vnt_wang\n").unwrap();
        Self { url, posts, token }
    }

    fn args(&self, table: Table, file: impl Into<PathBuf>, yes: bool) -> ImportArgs {
        let token_file = Some(self.token.path().to_owned());
        let file = file.into();
        ImportArgs {
            table,
            file,
            url: self.url.clone(),
            ca: None,
            token_file,
            yes,
            utc_offset_minutes: 480,
            json: false,
        }
    }

    fn posts(&self) -> Vec<Came> {
        self.posts.lock().clone()
    }
}

fn serve(stream: TcpStream, status: &Value, posts: &Mutex<Vec<Came>>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |n| n.parse().unwrap_or(0))];
    reader.read_exact(&mut body).ok()?;
    let members = json!({"items": [
        {"institution": "community-xuanwu", "roles": ["community", "voucher"]},
        {"institution": "community-qinhuai", "roles": ["community"]},
        {"institution": "hospital-gulou", "roles": ["hospital"]},
    ]});
    let old = json!({
        "programme": "rehab-2026", "title_zh": "旧", "title_en": "old", "service": "old", "issuing_department": "old",
        "classes": ["disabled"], "validity_days": 1, "vouchers_per_holder": 1, "departments": ["old"], "card_allowed": true
    });
    let same = json!({
        "programme": "prenatal-2026", "title_zh": "产前检查优先券", "title_en": "Priority prenatal examination",
        "service": "prenatal-exam", "issuing_department": "妇幼健康处", "classes": ["pregnant"], "validity_days": 280,
        "vouchers_per_holder": 5, "departments": ["obstetrics"], "card_allowed": false
    });
    let by =
        |issuer: &str, policy: &Value| json!({"name": {"institution": issuer, "index": 1, "id": ""}, "policy": policy});
    let (code, said) = match (method.as_str(), path.as_str()) {
        ("GET", "/v1/status") => (200, status.clone()),
        ("GET", "/v1/members") => (200, members),
        ("GET", "/v1/programmes") => {
            (200, json!({"items": [by("nanjing-health", &old), by("nanjing-health", &same), by("another", &same)]}))
        }
        _ => {
            let came = Came { path, headers, body: serde_json::from_slice(&body).unwrap_or_default() };
            let answered = answer(posts.lock().len(), &came);
            posts.lock().push(came);
            answered
        }
    };
    let said = said.to_string();
    let mut stream = stream;
    let head = "Content-Type: application/json\r\nRetry-After: 0\r\nConnection: close";
    write!(stream, "HTTP/1.1 {code} X\r\n{head}\r\nContent-Length: {}\r\n\r\n{said}", said.len()).ok()
}

fn receipt(_: usize, _: &Came) -> (u16, Value) {
    (201, json!({"records": [], "repeated": false, "result": {"registered": 3}}))
}

/// The number in an exit code, which does not give it away.
fn code(done: anyhow::Result<ExitCode>) -> u8 {
    let done = done.unwrap();
    (0..=2).find(|n| format!("{done:?}") == format!("{:?}", ExitCode::from(*n))).unwrap()
}

#[test]
fn a_dry_run_sends_nothing() {
    for (institution, role, table, file) in [
        ("community-xuanwu", "community", Table::Residents, RESIDENTS),
        ("hospital-gulou", "hospital", Table::Schedule, SCHEDULE),
    ] {
        let node = Played::new(institution, role, receipt);
        assert_eq!(code(import(&node.args(table, file, false))), GOOD, "{institution}");
        assert_eq!(node.posts().len(), 0, "{institution}");
    }
}

#[test]
fn residents_go_to_their_community_in_chunks_under_keys_of_the_file() {
    let node = Played::new("community-xuanwu", "community", receipt);
    let args = node.args(Table::Residents, RESIDENTS, true);
    assert_eq!(code(import(&args)), GOOD);
    let posts = node.posts();
    let rows: Vec<&Value> = posts.iter().flat_map(|post| post.body["residents"].as_array().unwrap()).collect();
    let file = std::fs::read_to_string(RESIDENTS).unwrap();
    assert_eq!(rows.len(), file.lines().filter(|line| line.contains(",community-xuanwu,")).count());
    assert_eq!(posts.len(), rows.len().div_ceil(plan::RESIDENTS_AT_ONCE));
    assert_eq!(
        rows[0],
        &json!({
            "document_type": "resident-id", "document_number": "990008198311046468", "name": "谭飞辉",
            "born": "1983-11-04", "sex": "F", "phone": "12053493880", "class": "chronic", "smartphone": true
        })
    );
    for (number, post) in (1..).zip(&posts) {
        assert_eq!(post.path, "/v1/community/residents");
        assert_eq!(post.headers["authorization"], "Bearer vnt_wang");
        let key = &post.headers["idempotency-key"];
        assert!(key.starts_with("import-residents-") && key.ends_with(&format!("-{number}")), "{key}");
        assert!(post.body["residents"].as_array().unwrap().len() <= plan::RESIDENTS_AT_ONCE);
    }

    // A second run says the same anew: people may have been taken off the list in between.
    assert_eq!(code(import(&args)), GOOD);
    assert_ne!(node.posts()[posts.len()].headers["idempotency-key"], posts[0].headers["idempotency-key"]);
    assert_eq!(node.posts()[posts.len()].body, posts[0].body);
}

#[test]
fn hours_go_to_their_hospital_whole_or_not_at_all() {
    let node = Played::new("hospital-gulou", "hospital", receipt);
    assert_eq!(code(import(&node.args(Table::Schedule, SCHEDULE, true))), GOOD);
    let posts = node.posts();
    assert_eq!((posts.len(), posts[0].path.as_str()), (1, "/v1/hospital/schedules"));
    let file = std::fs::read_to_string(SCHEDULE).unwrap();
    let hours = posts[0].body["hours"].as_array().unwrap();
    assert_eq!(hours.len(), file.lines().filter(|line| line.starts_with("hospital-gulou,")).count());
    assert_eq!(
        hours[0],
        json!({
            "department": "obstetrics", "department_name": "产科", "doctor": "gl-1001", "doctor_name": "周玉珍",
            "weekday": "Mon", "start": "08:00", "end": "11:30", "slot_minutes": 15, "capacity": 1
        })
    );

    // More than a hospital may have: told without being sent, as they cannot go in parts.
    let home = tempfile::tempdir().unwrap();
    let many = home.path().join("many.csv");
    let row = |n: usize| format!("hospital-gulou,heart,心内科,gl-{n},王医生,Mon,08:00,12:00,15,1\n");
    let head = file.lines().next().unwrap();
    let rows: String = (0..=actors::hospital::schedule::MAX_HOURS).map(row).collect();
    std::fs::write(&many, format!("{head}\n{rows}")).unwrap();
    assert_eq!(code(import(&node.args(Table::Schedule, many, false))), BAD);
    assert_eq!(node.posts().len(), 1);

    // One row with a fault: what is sent would close its hours, so nothing is.
    let home = tempfile::tempdir().unwrap();
    let faulty = home.path().join("hours.csv");
    std::fs::write(&faulty, file.replacen("11:30", "24:30", 1)).unwrap();
    assert_eq!(code(import(&node.args(Table::Schedule, faulty, true))), BAD);
    assert_eq!(node.posts().len(), 1);
}

#[test]
fn only_programmes_that_are_new_are_published() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("programmes.csv");
    std::fs::write(&file, PROGRAMMES).unwrap();
    let node = Played::new("nanjing-health", "issuer", receipt);
    let args = node.args(Table::Programmes, &file, true);
    // rehab-2026 is there with another policy: that is for the operator to settle.
    assert_eq!(code(import(&args)), BAD);
    let posts = node.posts();
    let names: Vec<&str> = posts.iter().filter_map(|post| post.body["programme"].as_str()).collect();
    assert_eq!(names, ["elderly-checkup-2026", "chronic-followup-2026"]);
    assert_eq!(posts[1].body["classes"], json!(["chronic", "elderly"]));
    assert_eq!(posts[1].body["card_allowed"], true);
    assert!(posts[1].headers["idempotency-key"].ends_with("-chronic-followup-2026"));

    let plan = Plan::make(&args, PROGRAMMES, &Node::at(&node.url, None, None).unwrap()).unwrap();
    assert_eq!(plan.left.len(), 2);
    assert!(plan.left[0].contains("prenatal-2026 is published already"), "{:?}", plan.left);
    assert!(plan.left[1].contains("/v1/issuer/programmes/rehab-2026/changes"), "{:?}", plan.left);
}

#[test]
fn faults_are_told_and_the_good_rows_sent() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("residents.csv");
    let header_and_two: Vec<String> =
        std::fs::read_to_string(RESIDENTS).unwrap().lines().take(4).map(str::to_owned).collect();
    std::fs::write(&file, header_and_two.join("\n").replacen(",F,", ",X,", 1)).unwrap();
    let node = Played::new("community-xuanwu", "community", receipt);
    assert_eq!(code(import(&node.args(Table::Residents, &file, true))), BAD);
    assert_eq!(node.posts()[0].body["residents"].as_array().unwrap().len(), 1);
}

#[test]
fn rows_that_the_node_refuses_are_told_by_their_lines() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("residents.csv");
    let first = std::fs::read_to_string(RESIDENTS).unwrap().lines().take(4).collect::<Vec<_>>().join("\n");
    std::fs::write(&file, first).unwrap();
    let node = Played::new("community-xuanwu", "community", |_, _| {
        let refused = json!({"row": 2, "outcome": "refused", "code": "resident-differs", "desk": "Look."});
        let rows = json!([{"row": 1, "outcome": "added"}, refused]);
        (201, json!({"records": [], "repeated": false, "result": {"added": 1, "refused": 1, "rows": rows}}))
    });
    let args = node.args(Table::Residents, &file, true);
    assert_eq!(code(import(&args)), BAD);
    let file = read(&file).unwrap();
    let asked = Node::at(&node.url, None, Some("vnt_wang".to_owned().into())).unwrap();
    let plan = Plan::make(&args, &file, &asked).unwrap();
    let answers = send(&args, &plan, &run_of(Table::Residents, &file), &asked).unwrap();
    assert_eq!(taken(&answers[0]), "taken, added 1, refused 1");
    // The person of line 3 belongs to another community.
    assert_eq!(not_taken(&plan.requests[0], &answers[0]), "      4  resident-differs  Look.\n");
}

#[test]
fn a_busy_node_is_asked_again_and_a_no_ends_it() {
    let busy = Played::new("hospital-gulou", "hospital", |n, came| match n {
        0 | 1 => (503, json!({"code": "busy"})),
        _ => receipt(n, came),
    });
    assert_eq!(code(import(&busy.args(Table::Schedule, SCHEDULE, true))), GOOD);
    let keys: Vec<_> = busy.posts().iter().map(|p| p.headers["idempotency-key"].clone()).collect();
    assert_eq!((keys.len(), &keys[0]), (3, &keys[2]));

    let no = Played::new("hospital-gulou", "hospital", |_, _| {
        (409, json!({"code": "doctor-overlap", "desk": "Two of these hours overlap.", "detail": "gl-1001"}))
    });
    let error = import(&no.args(Table::Schedule, SCHEDULE, true)).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("(409 doctor-overlap): Two of these hours overlap. (gl-1001)"), "{said}");
    assert_eq!(crate::cli::code_of(&error), BAD);

    let old = Played::new("hospital-gulou", "hospital", |_, _| (404, json!({"code": "not-found"})));
    let error = import(&old.args(Table::Schedule, SCHEDULE, true)).unwrap_err();
    assert!(format!("{error:#}").contains("this node takes no such table"), "{error:#}");
}

#[test]
fn the_wrong_node_and_no_node_are_told_apart() {
    let node = Played::new("hospital-gulou", "hospital", receipt);
    let error = import(&node.args(Table::Residents, RESIDENTS, true)).unwrap_err();
    assert!(error.to_string().contains("hospital-gulou is no community"), "{error}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut args = node.args(Table::Residents, RESIDENTS, true);
    args.url = format!("http://{gone}");
    let error = import(&args).unwrap_err();
    assert!(error.to_string().contains("is it running, and is --url right?"), "{error}");
}
