//! A canary lives through a federation and asks to be forgotten: its name, documents and telephone number stand in no file
//! in plain, open with the node's keys before, and open nowhere after.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::clock::Clock as _;
use actors::token::{HolderKey, vp1};
use actors::vault::format::{ROW_MAGIC, SLOT_BYTES, SLOT_MAGIC, Sealed, SlotRef, unwrap};
use domain::member::Role;
use domain::time::Millis;
use node::clock::NodeClock;
use serde_json::{Value, json};

use crate::support::phone::Phone;
use crate::support::{TestNode, desk, eventually};

/// What must not be found. Two documents: the terminal's is another than the desk's.
const NAME: &str = "金丝雀一号";
const DOCUMENT: &str = "CANARY7731905";
const OTHER_DOCUMENT: &str = "CANARY8842016";
const TELEPHONE: &str = "+86-25-7731905";

/// What a hospital found.
const FINDING: &str = "canary finding 9953127";

const CANARY: [&str; 4] = [NAME, DOCUMENT, OTHER_DOCUMENT, TELEPHONE];

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            // The store may drop a file of its own between listing and reading.
            found.extend(fs::read(&path).ok().map(|bytes| (path, bytes)));
        }
    }
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Every spelling in which a text might stand: as it is, in UTF-16, in base64 at each of three offsets, in hexadecimal.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let mut all = vec![text.as_bytes().to_vec()];
    all.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    all.push(text.bytes().flat_map(|b| format!("{b:02x}").into_bytes()).collect());
    for shift in 0..3 {
        let encoded = ledger::note::to_base64(&[vec![0; shift], text.as_bytes().to_vec()].concat());
        // The first and the last characters depend on what stands around.
        let (from, until) = ([0, 2, 3][shift], (shift + text.len()) * 8 / 6);
        all.push(encoded.as_bytes()[from..until].to_vec());
    }
    all
}

/// Everything that somebody opens who has each file of a node: every key of every slot is tried on every sealed row, at
/// every offset of every file.
struct Burglar {
    files: Vec<(PathBuf, Vec<u8>)>,
    keys: Vec<[u8; 32]>,
    opened: Vec<Vec<u8>>,
    sealed: usize,
}

impl Burglar {
    fn breaks_into(node: &TestNode) -> Self {
        let files = files(&node.dir);
        let data_key = node.keys().vault_key();
        let (mut keys, mut opened, mut sealed) = (Vec::new(), Vec::new(), 0);
        for (_, bytes) in &files {
            for at in places(bytes, &SLOT_MAGIC) {
                let slot = &bytes[at..bytes.len().min(at + SLOT_BYTES)];
                let number = u32::try_from(at / SLOT_BYTES).unwrap();
                keys.extend(unwrap(&data_key, number, slot).map(|(of, key): (SlotRef, _)| (of, *key)));
            }
        }
        for (_, bytes) in &files {
            for at in places(bytes, &ROW_MAGIC) {
                let Some(row) = Sealed::read(&bytes[at..]) else { continue };
                sealed += 1;
                // Those of its slot first; then all, if it is not too much for a test.
                let (near, far): (Vec<_>, Vec<_>) = keys.iter().partition(|(of, _)| of.slot == row.key.slot);
                opened.extend(near.iter().chain(&far).find_map(|(_, key)| row.open(key)).map(|plain| plain.to_vec()));
            }
        }
        Self { files, keys: keys.into_iter().map(|(_, key)| key).collect(), opened, sealed }
    }

    /// In which files a text stands in plain.
    fn finds(&self, text: &str) -> Vec<&Path> {
        let spellings = spellings(text);
        let has = |bytes: &[u8]| spellings.iter().any(|s| bytes.windows(s.len()).any(|window| window == s.as_slice()));
        self.files.iter().filter(|(_, bytes)| has(bytes)).map(|(path, _)| path.as_path()).collect()
    }

    /// How many sealed rows open and tell a text.
    fn opens(&self, text: &str) -> usize {
        self.opened.iter().filter(|plain| contains(plain, text)).count()
    }
}

fn places(bytes: &[u8], magic: &[u8; 8]) -> Vec<usize> {
    let found = bytes.windows(8).enumerate().filter(|(_, window)| window == magic);
    found.map(|(at, _)| at).collect()
}

/// A registrar, and a community with a voucher module that knows its programme.
async fn federation(root: &Path) -> (TestNode, TestNode) {
    let mut issuer = TestNode::new(root, "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut community = TestNode::new(root, "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    desk::register(&issuer, &community).await;
    desk::publish(&issuer, "checkup").await;
    community.start().await;
    let size = issuer.folded("health").await;
    eventually("the community knows the programme", Duration::from_secs(20), || async {
        community.folded("health").await == size
    })
    .await;
    (issuer, community)
}

async fn register(community: &TestNode, phone: &Phone) -> Value {
    let person = json!({
        "document_type": "passport", "document_number": DOCUMENT, "born": "1949-12-31", "sex": "F", "name": NAME,
        "phone": TELEPHONE, "class": "elderly", "smartphone": true,
    });
    phone.register(community, person).await
}

/// The list names the person only masked, unless a clerk asks for the whole; both are on record, without the person.
async fn look_up(community: &TestNode) {
    let document = json!({ "document_type": "passport", "document_number": DOCUMENT });
    let (_, masked) = community.post("/v1/community/desk/resident", &document).await;
    let text = masked.to_string();
    assert!(CANARY.iter().all(|canary| !text.contains(canary)), "{masked}");
    assert_eq!((&masked["name"], &masked["document_number"]), (&json!("金**"), &json!("…1905")), "{masked}");
    let whole = json!({ "document_type": "passport", "document_number": DOCUMENT, "whole": true });
    let (_, whole) = community.post("/v1/community/desk/resident", &whole).await;
    assert_eq!((&whole["name"], &whole["document_number"]), (&json!(NAME), &json!(DOCUMENT)), "{whole}");
    let log = community.log();
    let seen = |word: &str| log.lines().filter(|l| l.contains("access") && l.contains(word)).count();
    assert!(seen("masked") >= 1 && seen("whole") >= 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_opened_before_its_erasure_and_never_after() {
    let root = tempfile::tempdir().unwrap();
    let (mut issuer, mut community) = federation(root.path()).await;
    let phone = Phone { main: HolderKey::ed25519(&[1; 32]), checkup: HolderKey::ed25519(&[2; 32]) };
    let holder = register(&community, &phone).await;
    look_up(&community).await;
    let path = "/v1/wallet/profile";
    let profile =
        json!({ "phone": TELEPHONE, "document_type": "passport", "document_number": OTHER_DOCUMENT, "tokens": [] });
    // The community's letter tells the voucher module whose phone this is.
    eventually("the voucher module knows the phone", Duration::from_secs(20), || async {
        phone.send(&community, reqwest::Method::PUT, path, &profile).await.0 == 201
    })
    .await;

    let scan = |node: &TestNode| Burglar::breaks_into(node);
    let (at_issuer, at_community) = (scan(&issuer), scan(&community));
    for burglar in [&at_issuer, &at_community] {
        assert!(!burglar.keys.is_empty() && burglar.sealed > 0);
        for canary in CANARY {
            assert_eq!(burglar.finds(canary), Vec::<&Path>::new(), "{canary} stands in plain");
        }
    }
    for canary in CANARY {
        assert!(at_community.opens(canary) > 0, "the community's keys open {canary}");
    }
    assert!(at_issuer.opens(NAME) > 0 && at_issuer.opens(TELEPHONE) > 0, "the registrar's keys open the person");

    let everywhere = json!({ "everywhere": true });
    let (status, erased) = phone.send(&community, reqwest::Method::POST, "/v1/wallet/erasure", &everywhere).await;
    assert_eq!(status, 201, "{erased}");
    // What was answered is erased: nothing of the terminal's word is left at this moment.
    assert_eq!(scan(&community).opens(OTHER_DOCUMENT), 0, "the answer came after the erasure");
    let path = format!("/v1/issuer/holders/{}", holder.as_str().unwrap());
    eventually("the registrar was told", Duration::from_secs(20), || async {
        let (_, known) = issuer.get(&path).await;
        known["blocked"] == "holder-asked" && known["name"].is_null()
    })
    .await;
    eventually("the last letter is out of the outbox", Duration::from_secs(20), || async {
        let burglar = Burglar::breaks_into(&community);
        CANARY.iter().all(|canary| burglar.opens(canary) == 0)
    })
    .await;

    // Running, stopped, and started again: it is not there.
    let nothing_left = |node: &TestNode| {
        let burglar = Burglar::breaks_into(node);
        for canary in CANARY {
            assert_eq!(burglar.finds(canary), Vec::<&Path>::new(), "{canary} stands in plain");
            assert_eq!(burglar.opens(canary), 0, "{canary} opens at {}", node.id);
        }
        assert!(burglar.sealed > burglar.opened.len(), "there are rows that nobody opens any more");
    };
    nothing_left(&issuer);
    nothing_left(&community);
    for node in [&mut issuer, &mut community] {
        node.terminate();
        nothing_left(node);
        let verified = std::process::Command::new(crate::support::program())
            .args(["verify", "--config"])
            .arg(node.config_path())
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
    for node in [&mut issuer, &mut community] {
        node.spawn();
    }
    for node in [&mut issuer, &mut community] {
        node.ready().await;
        nothing_left(node);
    }
}

/// Everybody who has to do with a visit keeps what they need of it, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_passes_every_desk_and_each_erases_it_in_its_time() {
    let root = tempfile::tempdir().unwrap();
    // A clock that can be moved: what is kept for days is erased within the test.
    let in_the_demo = |node: &mut TestNode| {
        node.args = ["--federation-clock", "0"].map(str::to_owned).to_vec();
        let days = |what: &str| (format!("VOUCHER__RETENTION__{what}_DAYS"), "1".to_owned());
        node.env.extend(["OPENING", "CLAIM", "RESULT"].map(days));
    };
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    in_the_demo(&mut issuer);
    issuer.start().await;
    let mut community = TestNode::new(root.path(), "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    let mut hospital = TestNode::new(root.path(), "gulou", &[Role::Hospital], Some(&issuer));
    for node in [&mut community, &mut hospital] {
        in_the_demo(node);
        desk::register(&issuer, node).await;
        node.start().await;
    }
    desk::publish(&issuer, "checkup").await;
    let week = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map(|weekday| {
        json!({ "department": "imaging", "department_name": "影像科", "doctor": "d-1", "doctor_name": "周", "weekday": weekday,
                "start": "00:00", "end": "24:00", "slot_minutes": 30, "capacity": 5 })
    });
    let good = |(status, answer): (u16, Value)| {
        assert!((200..300).contains(&status), "{status} {answer}");
        answer
    };
    good(hospital.post("/v1/hospital/schedules", &json!({ "hours": week })).await);
    good(issuer.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 1 })).await);
    let dispatch = json!({ "community": "xuanwu", "programme": "checkup", "count": 1 });
    good(issuer.post("/v1/issuer/dispatches", &dispatch).await);
    let soon = Duration::from_secs(20);
    eventually("a voucher is on the shelf", soon, || async {
        community.get("/v1/community/stock/vouchers").await.1["items"].as_array().is_some_and(|v| !v.is_empty())
    })
    .await;

    // Registered, issued, booked, used, examined: with all that is personal on its way.
    let phone = Phone { main: HolderKey::ed25519(&[3; 32]), checkup: HolderKey::ed25519(&[4; 32]) };
    let holder = register(&community, &phone).await;
    eventually("the voucher module knows the phone", soon, || async {
        !phone.get(&community, "/v1/wallet").await["enrolments"][0]["id"].is_null()
    })
    .await;
    let enrolment: uuid::Uuid =
        phone.get(&community, "/v1/wallet").await["enrolments"][0]["id"].as_str().unwrap().parse().unwrap();
    let receive = vp1::Step::Receive { community: "xuanwu".into(), programme: "checkup".into() };
    let issued =
        good(community.post("/v1/community/desk/issue", &json!({ "qr": phone.show(enrolment, receive) })).await);
    let (id, token) = (issued["result"]["voucher"].as_str().unwrap(), &issued["result"]["token"]);
    let profile = json!({ "phone": TELEPHONE, "document_type": "passport", "document_number": OTHER_DOCUMENT, "tokens": [token] });
    good(phone.send(&community, reqwest::Method::PUT, "/v1/wallet/profile", &profile).await);
    let name = || {
        let id: domain::ids::VoucherId = id.parse().unwrap();
        actors::token::VoucherName { issuer: id.issuer.to_string(), id: id.uuid }
    };
    let from = NodeClock::real().now() + Millis::minutes(15);
    let slots = hospital.get(&format!("/v1/hospital/slots?department=imaging&doctor=d-1&limit=1&from={from}")).await.1;
    let booking = json!({ "voucher": id, "hospital": "gulou", "department": "imaging", "doctor": "d-1",
                          "start": slots["items"][0]["start"] });
    good(phone.send(&community, reqwest::Method::POST, "/v1/wallet/bookings", &booking).await);
    let stage = |node: &TestNode| {
        let (url, token, path) = (node.url.clone(), node.token.clone(), format!("/v1/vouchers/{id}"));
        async move {
            let asked = reqwest::Client::new().get(format!("{url}{path}")).bearer_auth(token).send().await.unwrap();
            asked.json::<Value>().await.unwrap_or_default()["inside"]["stage"].as_str().unwrap_or_default().to_owned()
        }
    };
    eventually("it is booked", soon, || async { stage(&hospital).await == "booked" }).await;
    let slot = |list: Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|item| item["voucher"] == id).map(|item| item["slot"].clone())
    };
    let arrive = phone.show(enrolment, vp1::Step::Arrive { audience: "gulou".into(), voucher: name() });
    good(hospital.post("/v1/hospital/visits", &json!({ "personal_qr": arrive, "voucher_qr": token })).await);
    let visits = hospital.get("/v1/hospital/visits").await.1;
    assert!(slot(visits).is_some_and(|slot| slot["doctor"] == "d-1"), "who is in is seen with the appointment");
    let began = NodeClock::real().now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let complete = phone.show(enrolment, vp1::Step::Complete { audience: "gulou".into(), voucher: name() });
    let items = json!([{ "code": "ct", "done": true, "result": FINDING }]);
    let examination = json!({ "performer": "d-1", "started_at": began, "ended_at": began, "items": items });
    let completion = json!({ "personal_qr": complete, "examination": examination });
    good(hospital.post(&format!("/v1/hospital/visits/{id}/completion"), &completion).await);
    eventually("it is redeemed", soon, || async { stage(&hospital).await == "redeemed" }).await;

    // Claimed, no desk sees when, where and with whom; redeemed, telephone and document go at the voucher module.
    assert_eq!(slot(hospital.get("/v1/hospital/claims").await.1), Some(Value::Null));
    assert!(!hospital.get("/v1/hospital/bookings").await.1.to_string().contains("\"d-1\""));
    eventually("the voucher module has removed its record", soon, || async {
        Burglar::breaks_into(&community).opens(OTHER_DOCUMENT) == 0
    })
    .await;
    eventually("the result is with its holder, and what the claim says with the issuer", soon, || async {
        phone.get(&community, &format!("/v1/wallet/results/{id}")).await.to_string().contains(FINDING)
            && Burglar::breaks_into(&issuer).opens(FINDING) > 0
    })
    .await;
    assert!(
        Burglar::breaks_into(&hospital).opens(FINDING) > 0,
        "the hospital keeps evidence as long as it may be asked"
    );
    for node in [&issuer, &community, &hospital] {
        let burglar = Burglar::breaks_into(node);
        for canary in CANARY.into_iter().chain([FINDING]) {
            assert_eq!(burglar.finds(canary), Vec::<&Path>::new(), "{canary} stands in plain at {}", node.id);
        }
    }

    // The holder's word erases at module, community and registrar; the days erase at hospital and issuer.
    let (status, erased) =
        phone.send(&community, reqwest::Method::POST, "/v1/wallet/erasure", &json!({ "everywhere": true })).await;
    assert_eq!(status, 201, "{erased}");
    assert_eq!(Burglar::breaks_into(&community).opens(FINDING), 0, "the result at the voucher module");
    let path = format!("/v1/issuer/holders/{}", holder.as_str().unwrap());
    eventually("the registrar was told", soon, || async { issuer.get(&path).await.1["name"].is_null() }).await;
    let ahead = json!({ "ahead_millis": Millis::days(250).0 });
    for node in [&issuer, &community, &hospital] {
        good(node.post("/v1/clock", &ahead).await);
    }
    for node in [&issuer, &community, &hospital] {
        eventually(&format!("{} keeps nothing", node.id), Duration::from_secs(40), || async {
            let burglar = Burglar::breaks_into(node);
            CANARY.into_iter().chain([FINDING]).all(|canary| burglar.opens(canary) == 0)
        })
        .await;
    }
    for node in [&mut issuer, &mut community, &mut hospital] {
        node.terminate();
        let verified = std::process::Command::new(crate::support::program())
            .args(["verify", "--config"])
            .arg(node.config_path())
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}

/// The desk's word is as good as the phone's, and a start finishes what a kill broke off.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_survives_a_kill_and_is_asked_for_at_the_desk_too() {
    let root = tempfile::tempdir().unwrap();
    let (_issuer, mut community) = federation(root.path()).await;
    let person = json!({
        "document_type": "passport", "document_number": DOCUMENT, "born": "1949-12-31", "sex": "F", "name": NAME,
        "phone": TELEPHONE, "class": "elderly",
    });
    let (status, done) = community.post("/v1/community/registrations/without-phone", &person).await;
    assert_eq!(status, 201, "{done}");
    assert!(Burglar::breaks_into(&community).opens(NAME) > 0);
    let (status, erased) =
        community.post("/v1/community/erasures", &json!({ "holder": done["result"]["holder"] })).await;
    assert_eq!(status, 201, "{erased}");
    community.kill();
    let burglar = Burglar::breaks_into(&community);
    assert_eq!((burglar.opens(NAME), burglar.opens(DOCUMENT)), (0, 0), "what was answered is erased");
    community.start().await;
    eventually("the telephone number at the voucher module is erased", Duration::from_secs(20), || async {
        Burglar::breaks_into(&community).opens(TELEPHONE) == 0
    })
    .await;
}

/// Runs a command of the program with a node's configuration, and says whether it went well and what it said.
fn command(node: &TestNode, words: &[&str], passphrase: Option<&Path>) -> (bool, String) {
    let mut command = std::process::Command::new(crate::support::program());
    command.args(words).arg("--config").arg(node.config_path());
    if let Some(file) = passphrase {
        command.env("VOUCHER_PASSPHRASE_FILE", file);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    // A program that is killed says nothing: then the signal is all that there is to read.
    (output.status.success(), format!("{} ({})", String::from_utf8_lossy(&said), output.status))
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The drill: keys that others may read, a passphrase, a wrong one, a lost vault.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_sealed_and_lost_as_the_manual_says() {
    let root = tempfile::tempdir().unwrap();
    let (_issuer, mut community) = federation(root.path()).await;
    let person = json!({
        "document_type": "passport", "document_number": DOCUMENT, "born": "1949-12-31", "sex": "F", "name": NAME,
        "phone": TELEPHONE, "class": "elderly",
    });
    let (status, done) = community.post("/v1/community/registrations/without-phone", &person).await;
    assert_eq!(status, 201, "{done}");
    let document = json!({ "document_type": "passport", "document_number": DOCUMENT });
    let known = |community: &TestNode| {
        let (url, token, document) = (community.url.clone(), community.token.clone(), document.clone());
        async move {
            let client = reqwest::Client::new().post(format!("{url}/v1/community/desk/person")).json(&document);
            let key = uuid::Uuid::new_v4().to_string();
            client.bearer_auth(token).header("Idempotency-Key", key).send().await.unwrap().status().as_u16()
        }
    };
    assert_eq!(known(&community).await, 200);
    community.terminate();

    // Others may read a key, or the vault: no start.
    for file in ["keys/data.key", "ledger/vault"] {
        mode(&community.dir.join(file), 0o640);
        let (good, said) = command(&community, &["run"], None);
        assert!(!good && said.contains("can be read by others"), "{said}");
        mode(&community.dir.join(file), 0o600);
    }

    // Sealed, it starts with the passphrase alone.
    let (good, other) = (root.path().join("good"), root.path().join("other"));
    for (path, text) in [(&good, "correct horse battery\n"), (&other, "incorrect horse battery\n")] {
        fs::write(path, text).unwrap();
        mode(path, 0o600);
    }
    let (sealed, said) = command(&community, &["keys", "seal"], Some(&good));
    assert!(sealed && said.contains("4 keys sealed"), "{said}");
    let (started, said) = command(&community, &["run"], None);
    assert!(!started && said.contains("is sealed"), "{said}");
    let (started, said) = command(&community, &["run"], Some(&other));
    assert!(!started && said.contains("does not open with this passphrase"), "{said}");
    community.env = vec![("VOUCHER_PASSPHRASE_FILE".into(), good.display().to_string())];
    community.spawn();
    community.ready().await;
    assert_eq!(known(&community).await, 200);
    community.terminate();

    // The vault is lost: it says so, and goes on without those people when it is told to.
    fs::remove_file(community.dir.join("ledger/vault")).unwrap();
    let (started, said) = command(&community, &["run"], Some(&good));
    assert!(!started && said.contains("have no key in the vault"), "{said}");
    let (forgot, said) = command(&community, &["keys", "forget-lost"], Some(&good));
    assert!(forgot && said.contains("rows without keys deleted"), "{said}");
    community.spawn();
    community.ready().await;
    assert_eq!(known(&community).await, 404);
}

/// What docs/operating/recovery.md says of a backup that has the vault. With the node's own vault nobody comes back who was erased since;
/// with the backup's they do, which is said, and they are erased again.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_after_a_backup_comes_back_with_its_vault_alone_and_is_erased_again() {
    let root = tempfile::tempdir().unwrap();
    let (_issuer, mut community) = federation(root.path()).await;
    let person = json!({
        "document_type": "passport", "document_number": DOCUMENT, "born": "1949-12-31", "sex": "F", "name": NAME,
        "phone": TELEPHONE, "class": "elderly",
    });
    let (status, done) = community.post("/v1/community/registrations/without-phone", &person).await;
    assert_eq!(status, 201, "{done}");
    let out = root.path().join("backup");
    let (made, said) = command(&community, &["backup", "--with-vault", "--out", out.to_str().unwrap()], None);
    assert!(made, "{said}");
    let opens = |node: &TestNode| {
        let burglar = Burglar::breaks_into(node);
        [NAME, DOCUMENT, TELEPHONE].map(|text| burglar.opens(text))
    };
    let erase = async |community: &TestNode| {
        let wish = json!({ "holder": done["result"]["holder"] });
        let (status, erased) = community.post("/v1/community/erasures", &wish).await;
        assert_eq!(status, 201, "{erased}");
        eventually("nothing of them opens", Duration::from_secs(20), || async { opens(community) == [0; 3] }).await;
    };
    erase(&community).await;
    for lost in [&["journal", "store"][..], &["journal", "store", "vault"]] {
        let vault_is_lost = lost.contains(&"vault");
        community.terminate();
        for name in lost {
            let path = community.dir.join("ledger").join(name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let (restored, said) = command(&community, &["restore", "--from", out.to_str().unwrap()], None);
        assert!(restored, "{said}");
        assert_eq!(said.contains("WHO WAS ERASED SINCE THEN IS BACK"), vault_is_lost, "{said}");
        if !vault_is_lost {
            // What they had left has no key any more, which looks like a vault that is lost.
            assert!(said.contains("keys forget-lost"), "{said}");
            let (forgot, said) = command(&community, &["keys", "forget-lost"], None);
            assert!(forgot, "{said}");
        }
        community.start().await;
        assert_eq!(opens(&community)[0] > 0, vault_is_lost);
        if vault_is_lost {
            erase(&community).await;
        }
    }
}
