//! Vouchers from generation to redemption over REST: one node with all roles as a process, holders with phones as its
//! clients.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actors::clock::Clock as _;
use actors::token::{HolderKey, VoucherName, vp1};
use anyhow::{Context as _, bail, ensure};
use domain::ids::VoucherId;
use domain::time::{Millis, Timestamp};
use node::accounts::Accounts;
use node::accounts::permission::{AccountRole, Permission};
use node::clock::NodeClock;
use node::config::Config;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::report::{Line, Times};

const NODE: &str = "nanjing-health";
pub(crate) const PROGRAMME: &str = "heart-check";
const HOLDERS: usize = 64;

/// Bookings of one doctor's hour; each holder has a doctor, so that no appointment is ever full.
const SLOT_TAKES: usize = 100;

/// From a booking to its appointment: more than the voucher module asks for, less than the arrival window.
const NOTICE: Millis = Millis::minutes(15);

/// How long anything may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rest before something is looked at again.
const REST: Duration = Duration::from_millis(10);

/// The node's process; it ends with this.
pub(crate) struct Town {
    child: Child,
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Drop for Town {
    fn drop(&mut self) {
        // It may have ended by itself, which the run has noticed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody with a phone.
struct Holder {
    nth: usize,
    main: HolderKey,
    own: HolderKey,
    enrolment: Uuid,
}

/// Who asks.
enum As<'a> {
    Desk(&'a str),
    Phone(&'a HolderKey),
}

/// Vouchers a second from their generation to their redemption, `each` for every one of 64 holders who use theirs one
/// after another; p50 and p99 from the desk that issues one to the issuer's redemption.
pub(crate) async fn lifecycle(dir: &Path, each: usize) -> anyhow::Result<Line> {
    ensure!(each <= SLOT_TAKES, "an appointment takes {SLOT_TAKES} bookings");
    let town = Town::open(dir).await?;
    town.furnish().await?;
    let mut holders = Vec::new();
    for nth in 0..HOLDERS {
        holders.push(town.register(nth).await?);
    }
    let began = Instant::now();
    let count = HOLDERS * each;
    town.desk("/v1/issuer/vouchers", json!({ "programme": PROGRAMME, "count": count })).await?;
    town.desk("/v1/issuer/dispatches", json!({ "community": NODE, "programme": PROGRAMME, "count": count })).await?;
    let lives = holders.iter().map(|holder| town.lives(holder, each));
    let mut times = Times::default();
    for lived in futures_util::future::try_join_all(lives).await? {
        times.extend(lived);
    }
    Ok(Line::rate("lifecycle", "vouchers/s", count as u64, began.elapsed(), times))
}

impl Town {
    /// Starts it.
    pub(crate) async fn open(dir: &Path) -> anyhow::Result<Self> {
        let program = program()?;
        let bind = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (url, shown) = (format!("http://{bind}"), dir.display());
        let config = format!(
            "version = 1\ninstitution = \"{NODE}\"\nfederation = \"bench\"\n\
             roles = [\"issuer\", \"community\", \"voucher\", \"hospital\", \"auditor\"]\n\
             [http]\nbind = \"{bind}\"\nurl = \"{url}\"\n\
             [store]\ndir = \"{shown}/ledger\"\nkeys = \"{shown}/keys\"\nmarker_dir = \"{shown}\"\n\
             [registrar]\ninstitution = \"{NODE}\"\nurl = \"{url}\"\nlog_vkey = \"\"\n\
             [limits]\noperator_per_sec = 1000000\noperator_burst = 1000000\n"
        );
        let (file, log) = (dir.join("node.toml"), std::fs::File::create(dir.join("node.log"))?);
        std::fs::write(&file, config)?;
        let token = desk_token(&Config::load(&file)?)?;
        let mut command = Command::new(&program);
        command.arg("run").arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let town = Self { child, http, url, token };
        until("the node is ready", async || {
            let asked = town.http.get(format!("{}/readyz", town.url)).send().await;
            Ok(asked.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await?;
        Ok(town)
    }

    /// A programme, and a doctor for each holder who sees people at any time.
    pub(crate) async fn furnish(&self) -> anyhow::Result<()> {
        let programme = json!({
            "programme": PROGRAMME, "title_zh": "心脏检查", "title_en": "Heart check", "service": "ecg",
            "issuing_department": "市卫健委", "classes": ["elderly"], "validity_days": 30, "vouchers_per_holder": SLOT_TAKES,
            "departments": ["cardiology"], "card_allowed": false,
        });
        self.desk("/v1/issuer/programmes", programme).await?;
        let row = |nth: usize, weekday: &str| {
            json!({
                "department": "cardiology", "department_name": "心内科", "doctor": doctor(nth), "doctor_name": "陈静",
                "weekday": weekday, "start": "00:00", "end": "24:00", "slot_minutes": 30, "capacity": SLOT_TAKES,
            })
        };
        let week = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let hours: Vec<Value> = (0..HOLDERS).flat_map(|nth| week.iter().map(move |day| row(nth, day))).collect();
        self.desk("/v1/hospital/schedules", json!({ "hours": hours })).await?;
        Ok(())
    }

    async fn register(&self, nth: usize) -> anyhow::Result<Holder> {
        let (main, own) = (HolderKey::ed25519(&rand::random()), HolderKey::ed25519(&rand::random()));
        let code = show(main.public().key_id(), vp1::Step::Register { key: main.public() }, &main)?;
        let path = "/v1/community/registrations";
        let keys = json!({ "main_key": code, "enrolment_keys": { PROGRAMME: own.public().to_string() } });
        self.post(&As::Phone(&main), path, &keys).await?;
        let form = json!({
            "document_type": "passport", "document_number": format!("E{nth:08}"), "name": "陈静", "born": "1940-05-01",
            "sex": "F", "phone": "12053493880", "class": "elderly", "qr": code, "voucher_module": NODE,
        });
        let thumbprint: String = main.public().thumbprint().iter().map(|byte| format!("{byte:02x}")).collect();
        self.desk(&format!("{path}/{thumbprint}/completion"), form).await?;
        let enrolment = until("the enrolment is known", async || {
            let wallet = self.get(&As::Phone(&main), "/v1/wallet").await;
            Ok(wallet.ok().and_then(|w| w.pointer("/enrolments/0/id")?.as_str()?.parse().ok()))
        })
        .await?;
        Ok(Holder { nth, main, own, enrolment })
    }

    /// One holder's vouchers, one after another.
    async fn lives(&self, holder: &Holder, each: usize) -> anyhow::Result<Times> {
        let (doctor, from) = (doctor(holder.nth), now() + NOTICE);
        let path = format!("/v1/hospital/slots?department=cardiology&limit=1&doctor={doctor}&from={from}");
        let slots = self.get(&As::Desk(&self.token), &path).await?;
        let start = slots.pointer("/items/0/start").cloned().context("an appointment is free")?;
        let mut times = Times::default();
        for _ in 0..each {
            let asked = Instant::now();
            self.live(holder, &start).await?;
            times.since(asked);
        }
        Ok(times)
    }

    async fn live(&self, holder: &Holder, start: &Value) -> anyhow::Result<()> {
        let audience = || NODE.to_owned();
        let receive = || vp1::Step::Receive { community: audience(), programme: PROGRAMME.into() };
        let issued = until("a voucher is on the shelf", async || {
            let qr = holder.shows(receive())?;
            match self.post(&As::Desk(&self.token), "/v1/community/desk/issue", &json!({ "qr": qr })).await {
                Err(error) if error.to_string().contains("no-stock") => Ok(None),
                other => other.map(Some),
            }
        })
        .await?;
        let id = issued.pointer("/result/voucher").and_then(Value::as_str).context("a voucher")?.to_owned();
        let voucher = || -> anyhow::Result<VoucherName> {
            let id: VoucherId = id.parse()?;
            Ok(VoucherName { issuer: id.issuer.to_string(), id: id.uuid })
        };
        let phone = As::Phone(&holder.main);
        self.post(&phone, "/v1/wallet/checks", &json!({ "voucher": id })).await?;
        let booking = json!({
            "voucher": id, "hospital": NODE, "department": "cardiology", "doctor": doctor(holder.nth), "start": start,
        });
        self.post(&phone, "/v1/wallet/bookings", &booking).await?;
        self.until_stage(&id, "booked").await?;

        let arrive = holder.shows(vp1::Step::Arrive { audience: audience(), voucher: voucher()? })?;
        let visit = json!({ "personal_qr": arrive, "voucher_qr": issued.pointer("/result/token") });
        self.desk("/v1/hospital/visits", visit).await?;
        let began = now();
        tokio::time::sleep(REST).await;
        let complete = holder.shows(vp1::Step::Complete { audience: audience(), voucher: voucher()? })?;
        let examination = json!({
            "performer": doctor(holder.nth), "started_at": began, "ended_at": began,
            "items": [{ "code": "ecg", "done": true, "result": "no findings" }],
        });
        let completion = json!({ "personal_qr": complete, "examination": examination });
        self.desk(&format!("/v1/hospital/visits/{id}/completion"), completion).await?;
        self.until_stage(&id, "redeemed").await
    }

    async fn until_stage(&self, id: &str, stage: &str) -> anyhow::Result<()> {
        let path = format!("/v1/vouchers/{id}");
        let what = format!("{id} is {stage}");
        until(&what, async || {
            let seen = self.get(&As::Desk(&self.token), &path).await?;
            Ok((seen.pointer("/inside/stage") == Some(&json!(stage))).then_some(()))
        })
        .await
    }

    pub(crate) async fn desk(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.post(&As::Desk(&self.token), path, &body).await
    }

    async fn post(&self, who: &As<'_>, path: &str, body: &Value) -> anyhow::Result<Value> {
        let bytes = body.to_string().into_bytes();
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.header("Idempotency-Key", Uuid::new_v4().to_string());
        let request = request.header("Content-Type", "application/json");
        self.send(who.sign(request, "POST", path, &bytes)?.body(bytes), path).await
    }

    async fn get(&self, who: &As<'_>, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url));
        self.send(who.sign(request, "GET", path, &[])?, path).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<Value> {
        let answer = request.send().await?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if !status.is_success() {
            bail!("{path}: {status} {}", body["code"]);
        }
        Ok(body)
    }
}

/// A token of an account that may do everything.
fn desk_token(config: &Config) -> anyhow::Result<String> {
    let (rules, now) = (&config.accounts, NodeClock::real().now());
    let accounts = Accounts::open(config.institution, &config.accounts_file(), rules.cost(), rules.limits())?;
    let account = accounts.create("bench", AccountRole::ALL, "correct horse battery", false, now)?;
    let scope: Vec<_> = account.permissions().iter().filter(|p| *p != Permission::ManageAccounts).collect();
    Ok(accounts.issue_token(account.id, "bench", &scope, now + Millis::days(1), now)?.0)
}

impl As<'_> {
    fn sign(
        &self,
        request: reqwest::RequestBuilder,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<reqwest::RequestBuilder> {
        Ok(match self {
            Self::Desk(token) => request.bearer_auth(token),
            Self::Phone(key) => {
                let digest = vp1::request_digest(method, path, body);
                let step = vp1::Step::Wallet { audience: NODE.into(), request: digest };
                request.header("Authorization", format!("VP1 {}", show(key.public().key_id(), step, key)?))
            }
        })
    }
}

impl Holder {
    fn shows(&self, step: vp1::Step) -> anyhow::Result<String> {
        let mut kid = [0; 8];
        kid.copy_from_slice(&self.enrolment.as_bytes()[..8]);
        show(kid, step, &self.own)
    }
}

fn show(kid: [u8; 8], step: vp1::Step, key: &HolderKey) -> anyhow::Result<String> {
    let claims = vp1::Claims { kid, iat: now().secs(), cti: rand::random(), step };
    Ok(vp1::sign(&claims, key)?)
}

/// The time by the clock that the node reads.
fn now() -> Timestamp {
    NodeClock::real().now()
}

fn doctor(nth: usize) -> String {
    format!("doctor-{nth}")
}

/// The node's program, built beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("voucher-node");
    ensure!(program.exists(), "{} is not built: `scripts/bench` builds it", program.display());
    Ok(program)
}

async fn until<T>(what: &str, look: impl AsyncFn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(REST).await;
    }
}
