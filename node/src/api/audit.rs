//! `/v1/audit`: what was found, how everything stands, and whether a text is genuine.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get, post};
use actors::auditor::{Auditor, Command, check, evidence, recount, report};
use actors::role::Ask;
use actors::writer::Act;
use domain::ids::{Digest, InstitutionId, VoucherId};
use domain::reasons::Reason;
use domain::record::FindingKind;
use ledger::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get, Listed, Page, Post, RecordRef};
use super::caller::Caller;
use super::problem::{Problem, ProblemBody};
use crate::node::Node;

/// How often the node looks for published figures that nobody here has counted again, when no record comes.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Shortest rest between two looks, however many records come.
const REST: Duration = Duration::from_secs(1);

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(findings).service(whole).service(look).service(proof);
}

/// This node plays an auditor. Whoever asks belongs to the federation, or the route would not have let them in.
fn inside(node: &Node, get: &Get) -> Result<(), Problem> {
    node.role::<Auditor>().map(drop).map_err(|problem| problem.language(get.language))
}

/// Something that an auditor found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Found {
    /// Which auditor found it.
    #[schema(value_type = String)]
    pub(crate) by: InstitutionId,
    /// Where in that auditor's log.
    pub(crate) index: u64,
    /// What is wrong.
    #[schema(value_type = String)]
    pub(crate) kind: FindingKind,
    /// Whose log or act it is about.
    #[schema(value_type = String)]
    pub(crate) institution: InstitutionId,
    /// The voucher, if it is about one.
    #[schema(value_type = Option<String>)]
    pub(crate) voucher: Option<VoucherId>,
    /// The first of the records that show it.
    pub(crate) records: Vec<RecordRef>,
    /// How many like it.
    pub(crate) count: u64,
    /// SHA-256 of the evidence, served under `/v1/audit/evidence/{digest}` by the auditor who found it.
    #[schema(value_type = Option<String>)]
    pub(crate) evidence: Option<Digest>,
}

/// Reads `institution.index`.
fn read_cursor(text: &str) -> Option<(InstitutionId, u64)> {
    let (by, index) = text.rsplit_once('.')?;
    Some((by.parse().ok()?, index.parse().ok()?))
}

/// What was found, by all auditors of the federation, in the order of their logs.
///
/// `200`; `401` for callers from outside; `404` `not-my-role`.
#[utoipa::path(tag = "audit", params(Page), responses(
    (status = 200, body = Listed<Found>), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
))]
#[get("/v1/audit/findings")]
async fn findings(node: Data<Node>, get: Get, page: Query<Page>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(found(&node, &get, &page).await?))
}

/// What was found, for REST and pages.
///
/// # Errors
///
/// As above, and for a page that cannot be.
pub(crate) async fn found(node: &Node, get: &Get, page: &Page) -> Result<Listed<Found>, Problem> {
    inside(node, get)?;
    let limit = page.limit()?;
    let invalid = || Problem::new(Reason::CursorInvalid).language(get.language);
    let after = page.cursor.as_deref().map(|text| read_cursor(text).ok_or_else(invalid)).transpose()?;
    let found = answer::read(node, |work| report::findings(work, after, limit + 1)).await;
    let items = found.into_iter().map(|(by, index, f)| Found {
        by,
        index,
        kind: f.kind,
        institution: f.institution,
        voucher: f.voucher,
        records: f.records.into_iter().map(Into::into).collect(),
        count: f.count,
        evidence: f.evidence,
    });
    Ok(Listed::new(items.collect(), limit, |f: &Found| format!("{}.{}", f.by, f.index)))
}

/// How everything stands: each log with its verdict, each programme with its conservation, each published table with whether
/// it was counted again and what differed, vouchers by stage.
///
/// `200`; `401` for callers from outside; `404` `not-my-role`.
#[utoipa::path(tag = "audit", responses(
    (status = 200, body = Object), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
))]
#[get("/v1/audit/report")]
async fn whole(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(reported(&node, &get).await?))
}

/// How everything stands, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn reported(node: &Node, get: &Get) -> Result<report::Report, Problem> {
    inside(node, get)?;
    Ok(answer::read(node, report::report).await)
}

/// A text to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    /// A personal QR (`VP1:`), a voucher QR (`VQ1:`), a tlog-proof, a signed checkpoint, or a record in hexadecimal.
    text: String,
}

/// What a check says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckedText {
    /// `personal-qr`, `voucher-qr`, `proof`, `checkpoint`, `record` or `unknown`.
    #[schema(value_type = String)]
    pub(crate) kind: check::TextKind,
    /// The signature, or the place in the log, is proved by what this node holds.
    pub(crate) genuine: bool,
    /// What can be said of it, in order; callers from outside learn only what it is and whether it is genuine.
    pub(crate) facts: Vec<Fact>,
}

/// One thing that can be said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Check a text. Nothing is written.
///
/// `200`, also for a text that is not genuine; `413`.
#[utoipa::path(tag = "audit", request_body = Text, responses(
    (status = 200, body = CheckedText), (status = 413, body = ProblemBody),
))]
#[post("/v1/audit/check")]
async fn look(node: Data<Node>, post: Post<Text>) -> Result<HttpResponse, Problem> {
    let said = checked(&node, &post.caller, &post.body.text).await;
    Ok(HttpResponse::Ok().json(said.map_err(|problem| problem.language(post.language))?))
}

/// What can be said of a text, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn checked(node: &Node, caller: &Caller, text: &str) -> Result<CheckedText, Problem> {
    node.role::<Auditor>()?;
    if text.len() > check::MAX_CHARS {
        return Err(Problem::new(Reason::TooLarge).detail(format!("at most {} characters", check::MAX_CHARS)));
    }
    let now = node.writer.now();
    let checked = answer::read(node, |work| check::check(work, text, now)).await;
    let held = |(id, head): &(_, Checkpoint)| node.writer.ledger().root_at(&node.writer.logs().origin(*id), head.size);
    let held = checked.head.as_ref().and_then(held);
    let checked = checked.against(held);
    let facts = if caller.is_inside() { checked.facts } else { Vec::new() };
    let facts = facts.into_iter().map(|(name, value)| Fact { name, value }).collect();
    Ok(CheckedText { kind: checked.kind, genuine: checked.genuine, facts })
}

/// The evidence of a finding of this auditor, JSON: two signed heads, or figures that differ.
///
/// Of a fork: `held` and `offered`, two notes; `size`; for each of them `…_root`, the root of its first `size` entries, and `…_proof`, the
/// RFC 6962 consistency proof from there to the head, all base64. Both proofs verify and the roots differ: that no one log has.
///
/// `200`; `401` for callers from outside; `404`.
#[utoipa::path(tag = "audit", params(("digest" = String, Path)), responses(
    (status = 200, body = Object), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
))]
#[get("/v1/audit/evidence/{digest}")]
async fn proof(node: Data<Node>, digest: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let found = evidence_of(&node, &get, &digest).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(found))
}

/// The evidence of a finding, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn evidence_of(node: &Node, get: &Get, digest: &str) -> Result<Vec<u8>, Problem> {
    inside(node, get)?;
    let digest: Digest = digest.parse().map_err(|e| Problem::malformed(e).language(get.language))?;
    let found = answer::read(node, |work| evidence(&work.tx, digest)).await;
    found.ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))
}

/// Counts published figures again, one table after the other, until the node stops. Does nothing where no auditor runs.
pub async fn recount_periodically(node: Arc<Node>) {
    if node.role::<Auditor>().is_err() {
        return;
    }
    let mut commits = node.commits();
    loop {
        while recount_one(&node).await {}
        tokio::time::sleep(REST).await;
        let _ = tokio::time::timeout(LOOK_EVERY, commits.changed()).await;
    }
}

/// Counts the oldest table again that nobody here has counted. False if there is none, or if it cannot be done now.
async fn recount_one(node: &Arc<Node>) -> bool {
    let waiting = node.writer.read(|work| recount::to_recount(work, 1)).answer;
    let Some((issuer, index, published)) = waiting.into_iter().next() else { return false };
    let counting = node.clone();
    // Folding whole logs again takes long: not on a thread that answers requests.
    let counted = tokio::task::spawn_blocking(move || {
        recount::recount(counting.writer.logs(), counting.writer.settings(), &published)
    });
    let difference = match counted.await {
        Ok(Ok(difference)) => difference,
        Ok(Err(missing)) => {
            tracing::debug!(%issuer, index, %missing, "published figures cannot be counted again yet");
            return false;
        }
        Err(error) => {
            tracing::error!(%issuer, index, %error, "published figures could not be counted again");
            return false;
        }
    };
    if let Some(difference) = &difference {
        tracing::error!(%issuer, index, ?difference, "published figures are not what the logs say");
    }
    let Ok(role) = node.role::<Auditor>() else { return false };
    let command = Command::Recounted { issuer, index, difference };
    matches!(role.send(Ask::<Auditor> { act: Act::default(), command }).await, Ok(Ok(_)))
}
