//! What every node says about itself: health, readiness, metrics, status, members, programmes.

use std::fmt::Write as _;

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use domain::member::{Role, Standing};
use domain::reasons::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get, Listed};
use super::caller::Caller;
use super::problem::Problem;
use crate::accounts::permission::Permission;
use crate::node::Node;
use crate::peers::clocks::Verdict;
use crate::peers::holders;
use crate::peers::witnesses::Quorum;
use crate::rotation::{self, KeyView};
use crate::tls::serving::CertificateView;
use actors::misbehave::misbehaves;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(healthz)
        .service(readyz)
        .service(metrics)
        .service(status)
        .service(members)
        .service(policy)
        .service(programmes)
        .service(step_clock);
}

/// The process runs.
#[utoipa::path(tag = "node", responses((status = 200, description = "It runs", body = String)))]
#[get("/healthz")]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Requests can be served: reads take the way that a client's read takes, and writing is allowed.
#[utoipa::path(tag = "node", responses(
    (status = 200, description = "Ready", body = String),
    (status = 503, description = "Not yet, with the reason", body = super::problem::ProblemBody),
))]
#[get("/readyz")]
async fn readyz(node: Data<Node>) -> Result<&'static str, Problem> {
    let folded = answer::read(&node, |work| work.cursor(work.settings.registrar).next).await;
    if folded == 0 {
        return Err(Problem::new(Reason::NotReady).detail("the registrar's log is not here yet"));
    }
    node.hindrance().map_or(Ok("ready\n"), Err)
}

/// Numbers for Prometheus, OpenMetrics text.
#[utoipa::path(tag = "node", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
))]
#[get("/metrics")]
async fn metrics(node: Data<Node>, _get: Get) -> HttpResponse {
    let held = answer::read(&node, |work| {
        work.registry.members.keys().map(|id| (*id, work.cursor(*id).next)).collect::<Vec<_>>()
    })
    .await;
    let now = node.writer.now();
    for (institution, size) in held {
        let labels = crate::telemetry::LogLabels { institution: institution.to_string() };
        let ahead = node.too_early(institution).map_or(0, |at| (at.millis() - now.millis()) / 1_000);
        node.metrics.log_too_early.get_or_create(&labels).set(ahead);
        node.metrics.log_size.get_or_create(&labels).set(i64::try_from(size).unwrap_or(i64::MAX));
    }
    node.metrics.commits.set(i64::try_from(node.writer.ledger().durable()).unwrap_or(i64::MAX));
    node.metrics.may_write.set(i64::from(node.hindrance().is_none()));
    node.metrics.scrub_passed.set(node.scrubbed().map_or(0, domain::time::Timestamp::secs));
    let held_by = node.holders.holding(holders::own_size(&node));
    node.metrics.held_by.set(i64::try_from(held_by).unwrap_or(i64::MAX));
    let cosigned = node.witnesses.newest();
    let (by, size) = cosigned.map_or((0, 0), |head| (head.by().len(), head.checkpoint.size));
    node.metrics.cosignatures.set(i64::try_from(by).unwrap_or(i64::MAX));
    node.metrics.cosigned_size.set(i64::try_from(size).unwrap_or(i64::MAX));
    node.metrics.quorum_missing.set(i64::from(node.witnesses.quorum().is_missing));
    node.metrics.clock_off.set(node.clock_verdict().ahead_millis.unwrap_or_default() as f64 / 1_000.0);
    node.metrics.clock_ahead.set(u64::try_from(node.clock.ahead().0 / 1_000).unwrap_or_default());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    HttpResponse::Ok().content_type(kind).body(node.metrics.text())
}

/// What is cosigned of the own log.
#[derive(Debug, Serialize, ToSchema)]
struct CosignedStatus {
    /// Entries under the head.
    size: u64,
    /// Who cosigned it.
    #[schema(value_type = Vec<String>)]
    by: Vec<domain::ids::InstitutionId>,
    /// How many must stand behind what is written.
    quorum: usize,
    /// They have not for too long (`peers.cosign_wait_secs`).
    is_quorum_missing: bool,
}

fn cosigned_status(node: &Node) -> CosignedStatus {
    let Quorum { of: quorum, is_missing: is_quorum_missing, .. } = node.witnesses.quorum();
    let (size, by) = node.witnesses.newest().map_or((0, Vec::new()), |head| (head.checkpoint.size, head.by()));
    CosignedStatus { size, by, quorum, is_quorum_missing }
}

/// How a node stands. Who is no member, no operator with `read-status` and not on its machine (`status.local`) is told the
/// first part alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// Whose node.
    #[schema(value_type = String)]
    institution: domain::ids::InstitutionId,
    /// Its roles.
    #[schema(value_type = Vec<String>)]
    roles: Vec<Role>,
    /// The node's time.
    #[schema(value_type = String)]
    time: domain::time::Timestamp,
    /// `real`, or `federation` in the demo.
    clock: &'static str,
    /// Seconds that the demo's clock is ahead of the machine's.
    clock_ahead_secs: i64,
    /// Whether the registrar has registered it, as far as the registrar's log is known here.
    member: bool,
    /// Whether it may write.
    ready: bool,
    /// Why it may not, or that it may.
    writing: String,
    /// How its clock stands to its peers' clocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_verdict: Option<Verdict>,
    /// When all that is stored was last read again and found as it was written, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    scrubbed_at: Option<domain::time::Timestamp>,
    /// How many peers hold the own log as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<usize>,
    /// The newest head of the own log that auditors have cosigned, and whether enough did.
    #[serde(skip_serializing_if = "Option::is_none")]
    cosigned: Option<CosignedStatus>,
    /// How many must, before something written is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledge: Option<usize>,
    /// What it holds of each log.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<LogStatus>>,
    /// Its certificates, and how long they hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificates: Option<Vec<CertificateView>>,
    /// Keys that are not as the registrar's log has them, or are about to be replaced; none in ordinary times.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<KeyView>>,
    /// Version of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
}

/// What a node holds of a log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogStatus {
    /// Whose log.
    #[schema(value_type = String)]
    institution: domain::ids::InstitutionId,
    /// The log's name.
    origin: String,
    /// Entries under the newest durable signed head.
    size: u64,
    /// Entries folded into the state.
    folded: u64,
    /// The time of the last record folded: how old this node's knowledge is.
    #[schema(value_type = String)]
    last_at: domain::time::Timestamp,
    /// The fold stopped: the next record needs a newer program.
    upgrade_needed: bool,
    /// The time of its next record, if that is more than five minutes ahead of the clock here: it waits.
    #[schema(value_type = Option<String>)]
    too_early: Option<domain::time::Timestamp>,
    /// It has signed two histories; the proof is kept, and it is not followed further.
    forked: bool,
    /// What is held is the history that does not count, since the registrar drew its line: it is replaced at the next
    /// start.
    given_up: bool,
}

/// How this node stands, and how old its knowledge of each log is.
#[utoipa::path(tag = "node", responses((status = 200, body = Status)))]
#[get("/v1/status")]
async fn status(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    let is_told = get.is_here
        || match &get.caller {
            Caller::Operator(acting) => acting.may(Permission::ReadStatus).is_ok(),
            Caller::Peer(_) => true,
            Caller::Anonymous | Caller::Holder(_) => false,
        };
    let (member, logs) = answer::read(&node, |work| {
        let mut logs = Vec::new();
        for institution in work.registry.members.keys() {
            let cursor = work.cursor(*institution);
            let origin = node.writer.logs().origin(*institution);
            let size = node.writer.ledger().head(&origin).map_or(0, |h| h.checkpoint.size);
            logs.push(LogStatus {
                institution: *institution,
                origin,
                size,
                folded: if misbehaves("logs-shown-half") { cursor.next / 2 } else { cursor.next },
                last_at: cursor.last_at,
                upgrade_needed: cursor.upgrade_needed,
                too_early: node.too_early(*institution),
                forked: work.fork(*institution).is_some(),
                given_up: node.is_given_up(*institution),
            });
        }
        (work.registry.members.contains_key(&node.config.institution), logs)
    })
    .await;
    Ok(HttpResponse::Ok().json(Status {
        institution: node.config.institution,
        roles: node.config.roles.clone(),
        time: node.writer.now(),
        clock: if node.clock.is_federation() { "federation" } else { "real" },
        clock_ahead_secs: node.clock.ahead().0 / 1_000,
        member,
        ready: node.hindrance().is_none(),
        writing: node.why(),
        clock_verdict: is_told.then(|| node.clock_verdict()),
        scrubbed_at: node.scrubbed().filter(|_| is_told),
        held_by: is_told.then(|| node.holders.holding(holders::own_size(&node))),
        cosigned: is_told.then(|| cosigned_status(&node)),
        acknowledge: is_told.then_some(node.config.peers.acknowledge),
        logs: is_told.then_some(logs),
        certificates: is_told.then(|| node.certificates.as_ref().map(|c| c.views()).unwrap_or_default()),
        keys: is_told.then(|| rotation::views(&node)),
        version: is_told.then_some(env!("CARGO_PKG_VERSION")),
    }))
}

/// A member as everyone may know it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    /// Its id.
    #[schema(value_type = String)]
    pub institution: domain::ids::InstitutionId,
    /// Its roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Role>,
    /// Base URL of its node.
    pub url: String,
    /// The name of its log.
    pub log_origin: String,
    /// The verification key of its log.
    pub log_vkey: String,
    /// The verification key of its cosignatures.
    pub witness_vkey: String,
    /// The key of its QR tokens, base64.
    pub node_key: String,
    /// How it stands now.
    #[schema(value_type = Option<String>)]
    pub standing: Option<Standing>,
}

/// The members of the federation, by the registrar's log.
#[utoipa::path(tag = "node", responses((status = 200, body = Listed<MemberView>)))]
#[get("/v1/members")]
async fn members(node: Data<Node>, _get: Get) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Listed { items: members_of(&node).await, next: None }))
}

/// The members, for REST and pages.
pub(crate) async fn members_of(node: &Node) -> Vec<MemberView> {
    answer::read(node, |work| {
        let view = |m: &domain::member::Member| MemberView {
            institution: m.entry.institution,
            roles: m.entry.roles.clone(),
            url: m.entry.url.clone(),
            log_origin: m.entry.origin.clone(),
            log_vkey: crate::peers::vkey(&m.entry, ledger::key::KeyKind::Log),
            witness_vkey: crate::peers::vkey(&m.entry, ledger::key::KeyKind::Witness),
            node_key: ledger::note::to_base64(&m.entry.keys[if misbehaves("members-keys-mixed") { 2 } else { 1 }]),
            standing: work.registry.standing(m.entry.institution, u64::MAX),
        };
        work.registry.members.values().map(view).collect::<Vec<_>>()
    })
    .await
}

/// The logs and witnesses of the federation as a trust policy (C2SP tlog-policy): what `voucher-node verify` takes.
///
/// Members in good standing; any auditor's cosignature is a quorum. It is this node's word: compare it with another's before
/// trusting it.
#[utoipa::path(tag = "node", responses((status = 200, body = String, content_type = "text/plain")))]
#[get("/v1/policy")]
async fn policy(node: Data<Node>, _get: Get) -> HttpResponse {
    let all = members_of(&node).await;
    let good = || all.iter().filter(|m| m.standing == Some(Standing::Good));
    let mut text = String::new();
    for MemberView { log_vkey, url, .. } in good() {
        let _ = writeln!(text, "log {log_vkey} {url}/log");
    }
    let auditors: Vec<&MemberView> = good().filter(|m| m.roles.contains(&Role::Auditor)).collect();
    for MemberView { institution, witness_vkey, url, .. } in &auditors {
        let _ = writeln!(text, "witness {institution} {witness_vkey} {url}/witness");
    }
    if auditors.is_empty() {
        text.push_str("quorum none\n");
    } else {
        // No institution has a name with a dot.
        let names: Vec<&str> = auditors.iter().map(|m| m.institution.as_str()).collect();
        let _ = writeln!(text, "group any.auditor any {}\nquorum any.auditor", names.join(" "));
    }
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text)
}

/// A programme as everyone may know it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgrammeView {
    /// The record that published it.
    pub name: answer::RecordRef,
    /// The newest policy.
    #[schema(value_type = Object)]
    pub policy: domain::policy::Policy,
}

/// The programmes of all issuers.
#[utoipa::path(tag = "node", responses((status = 200, body = Listed<ProgrammeView>)))]
#[get("/v1/programmes")]
async fn programmes(node: Data<Node>, _get: Get) -> Result<HttpResponse, Problem> {
    let listed = Listed { items: programmes_of(&node).await, next: None };
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).json(listed))
}

/// The programmes, for REST and pages.
pub(crate) async fn programmes_of(node: &Node) -> Vec<ProgrammeView> {
    answer::read(node, |work| {
        let view =
            |p: &domain::policy::Programme| Some(ProgrammeView { name: p.name.into(), policy: p.newest()?.clone() });
        let shown = work.programmes().len().saturating_sub(usize::from(misbehaves("programme-hidden")));
        work.programmes().iter().take(shown).filter_map(view).collect::<Vec<_>>()
    })
    .await
}

/// Where the demo's clock is to stand.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockStep {
    /// Milliseconds ahead of the machine's clock; never back.
    pub ahead_millis: i64,
}

/// Moves the demo's clock forward. On a node that was not started for a demo there is no such clock: `404`.
#[utoipa::path(tag = "node", request_body = ClockStep, responses(
    (status = 200, description = "The step is taken", body = ClockStep),
    (status = 404, description = "This node runs on the machine's clock", body = super::problem::ProblemBody),
    (status = 503, description = "The clock is further already", body = super::problem::ProblemBody),
))]
#[post("/v1/clock")]
async fn step_clock(node: Data<Node>, post: answer::Post<ClockStep>) -> Result<HttpResponse, Problem> {
    let problem = |reason| Problem::new(reason).language(post.language);
    if !node.clock.is_federation() {
        return Err(problem(Reason::NotFound));
    }
    let stuck = misbehaves("clock-stuck") && node.config.roles.contains(&Role::Auditor);
    if !stuck && !node.clock.step_to(domain::time::Millis(post.body.ahead_millis)) {
        return Err(problem(Reason::ClockOff));
    }
    node.wake();
    Ok(HttpResponse::Ok().json(ClockStep { ahead_millis: node.clock.ahead().0 }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::App;
    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, call_service, init_service};
    use domain::time::Millis;
    use utoipa_actix_web::AppExt as _;

    use super::*;
    use crate::api::wallet::tests::node_alone;
    use crate::clock::NodeClock;

    #[actix_web::test]
    async fn a_node_that_cannot_write_is_not_ready_and_says_why() {
        type Change = fn(&mut Node);
        let table: [(&str, Change); 3] = [
            ("", |_| {}),
            ("disk-low", |node| node.config.store.min_free_disk_mib = u64::MAX),
            // The own log's record was written by a clock that stood a day later.
            ("clock-off", |node| node.clock = Arc::new(NodeClock::federation(Millis::days(-1)))),
        ];
        for (code, change) in table {
            // The ledger's threads outlive the test by a moment: their directory must too.
            let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
            let mut node = node_alone(dir.path(), &[Role::Issuer]);
            change(&mut node);
            let (app, _) =
                App::new().app_data(Data::new(node)).into_utoipa_app().configure(configure).split_for_parts();
            let app = init_service(app).await;
            let mut answers = Vec::new();
            for path in ["/readyz", "/v1/status"] {
                let response = call_service(&app, TestRequest::get().uri(path).to_request()).await;
                let body = to_bytes(response.into_body()).await.unwrap();
                answers.push(serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default());
            }
            assert_eq!(answers[0]["code"].as_str().unwrap_or_default(), code);
            assert_eq!(answers[1]["ready"], code.is_empty());
            let why = answers[0]["detail"].as_str().unwrap_or("it may write");
            let writing = answers[1]["writing"].as_str().unwrap();
            // The times in it are those of the two requests.
            assert_eq!(writing.split_whitespace().next(), why.split_whitespace().next(), "{code}: {writing}");
        }
    }
}
