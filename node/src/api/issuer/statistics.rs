//! Statistics (unit B7): figures now, published ones, and their tables by digest.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, get, post};
use actors::issuer::{Answer, Command, Issuer, publications, table, table_bytes};
use actors::replica::{Work, counters, statistics_rows};
use actors::role::Rules as _;
use actors::writer::{Act, Desk, Done, Refused};
use chrono::NaiveDate;
use domain::ids::{Digest, InstitutionId, RecordName, ShortName};
use domain::lifecycle::Stage;
use domain::reasons::Reason;
use domain::statistics::{Conservation, Counter, Covered, Measure, Row, StatisticsPublished};
use ledger::log::Ledger;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::api::answer::{self, Get, Listed, Post, Receipt, RecordRef};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;
use actors::misbehave::misbehaves;

/// How often the node looks whether the figures of the day before are published.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Published tables in the list.
const LISTED: usize = 100;

/// Entries taken at once to find the root of what is accepted and not yet durable.
const ENTRIES_AT_ONCE: usize = 4_096;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(figures).service(publish).service(listed).service(show_table);
}

fn day_number(day: NaiveDate) -> i32 {
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).unwrap_or(i32::MAX)
}

fn date(day: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(chrono::TimeDelta::try_days(i64::from(day))?)
}

/// A line of a table, readable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    /// The day, in the federation's time zone.
    #[schema(value_type = Option<String>)]
    pub(crate) day: Option<NaiveDate>,
    /// The programme's short name.
    #[schema(value_type = Option<String>)]
    pub(crate) programme: Option<ShortName>,
    /// The community, where one is concerned.
    #[schema(value_type = Option<String>)]
    pub(crate) community: Option<InstitutionId>,
    /// The hospital, where one is concerned.
    #[schema(value_type = Option<String>)]
    pub(crate) hospital: Option<InstitutionId>,
    /// What is counted.
    #[schema(value_type = String)]
    pub(crate) measure: Measure,
    /// How many.
    pub(crate) count: u64,
}

fn lines(work: &Work<'_>, rows: &[Row]) -> Vec<Line> {
    let mut names = std::collections::BTreeMap::new();
    let mut short = |name: RecordName| {
        let find = || work.programme(&name).and_then(|p| Some(p.newest()?.programme.clone()));
        names.entry(name).or_insert_with(find).clone()
    };
    let line = |row: &Row| Line {
        day: date(row.day),
        programme: short(row.programme),
        community: row.community,
        hospital: row.hospital,
        measure: row.measure,
        count: row.count,
    };
    rows.iter().map(line).collect()
}

/// Which days.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Period {
    /// First day, `YYYY-MM-DD` in the federation's time zone.
    #[param(value_type = String)]
    #[schema(value_type = String)]
    pub(crate) from: NaiveDate,
    /// Last day.
    #[param(value_type = String)]
    #[schema(value_type = String)]
    pub(crate) until: NaiveDate,
}

/// Stock of a programme, counted from both ends.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balance {
    /// The programme's short name.
    #[schema(value_type = Option<String>)]
    pub(crate) programme: Option<ShortName>,
    /// What was generated is what stands, was voided and was redeemed.
    pub(crate) holds: bool,
    /// The sums.
    #[schema(value_type = Object)]
    pub(crate) sums: Conservation,
}

/// Figures as this node knows them now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Figures {
    /// By day, programme, community, hospital and measure.
    pub(crate) rows: Vec<Line>,
    /// For each programme, over all time.
    pub(crate) conservation: Vec<Balance>,
}

/// Figures of a period, as this node knows them now.
#[utoipa::path(tag = "issuer", params(Period), responses(
    (status = 200, body = Figures), (status = 400, body = ProblemBody),
))]
#[get("/v1/issuer/statistics")]
async fn figures(node: Data<Node>, get: Get, period: Query<Period>) -> Result<HttpResponse, Problem> {
    let found = figures_of(&node, period.from, period.until).await;
    Ok(HttpResponse::Ok().json(found.map_err(|p| p.language(get.language))?))
}

/// Figures of a period, for REST and pages.
///
/// # Errors
///
/// [`Reason::NotMyRole`], [`Reason::Malformed`] for a period that ends before it begins.
pub(crate) async fn figures_of(node: &Node, from: NaiveDate, until: NaiveDate) -> Result<Figures, Problem> {
    node.role::<Issuer>()?;
    let (from, until) = (day_number(from), day_number(until));
    if until < from {
        return Err(Problem::malformed("until is before from"));
    }
    let counted = answer::read(node, |work| {
        let mut counters = counters(work);
        if misbehaves("issuer-miscounts") {
            counters.retain(|(counter, _)| !matches!(counter, Counter::Settled(_, Stage::Redeemed)));
        }
        let conservation = Conservation::of(counters).into_iter().map(|(name, sums)| Balance {
            programme: work.programme(&name).and_then(|p| Some(p.newest()?.programme.clone())),
            holds: sums.holds(),
            sums,
        });
        Figures { rows: lines(work, &statistics_rows(work, from, until)), conservation: conservation.collect() }
    });
    Ok(counted.await)
}

/// Size and root of every log as it is folded here. The own log's newest entries may not be under a signed head yet.
fn covers(desk: &Desk<'_>, ledger: &Ledger, origin: impl Fn(InstitutionId) -> String) -> Option<Vec<Covered>> {
    let mut all = Vec::new();
    for institution in desk.work.registry.members.keys() {
        let size = desk.work.cursor(*institution).next;
        if size == 0 {
            continue;
        }
        let origin = origin(*institution);
        let mut tiles = ledger.edge(&origin).tiles;
        while tiles.size() < size {
            let entries = ledger.entries(&origin, tiles.size(), ENTRIES_AT_ONCE);
            if entries.is_empty() {
                return None;
            }
            entries.iter().for_each(|entry| tiles.push(ledger::merkle::leaf_hash(entry)));
        }
        let root = if tiles.size() == size { tiles.root() } else { ledger.root_at(&origin, size)? };
        all.push(Covered { institution: *institution, size, root: Digest(root.0) });
    }
    Some(all)
}

/// Publishes the figures of a period. Sizes and roots are taken where it is decided, so that nothing moves in between.
fn publish_now(node: &Node, act: Act, from: i32, until: i32) -> Result<Done<Answer>, Problem> {
    node.role::<Issuer>()?;
    let logs = node.writer.logs();
    let decided = node.writer.decide(act, |desk| {
        let covers = covers(desk, &logs.ledger, |i| logs.origin(i)).ok_or(Refused::Reason(Reason::NotReady))?;
        Issuer::decide(desk, Command::Publish { from, until, covers })
    });
    Ok(decided?)
}

/// Published figures, in an answer.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct Table {
    /// SHA-256 of the table's canonical bytes.
    table: String,
    /// Its rows.
    rows: u32,
}

/// Publish the figures of a period, with the logs that they cover.
///
/// `201` with the digest of the table; `400` for a period that cannot be.
#[utoipa::path(tag = "issuer", request_body = Period, responses(
    (status = 201, body = Receipt<Table>), (status = 400, body = ProblemBody),
))]
#[post("/v1/issuer/statistics/publications")]
async fn publish(node: Data<Node>, post: Post<Period>) -> Result<HttpResponse, Problem> {
    published(&node, &post).await.map(answer::told)
}

/// Publishes the figures of a period, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn published(node: &Node, post: &Post<Period>) -> Result<Receipt<Answer>, Problem> {
    let published = async {
        post.caller.must_be_operator()?;
        if let Some(before) = answer::again(node, post).await? {
            return Ok(before);
        }
        let Period { from, until } = post.body;
        // Of a day that has not begun there are no figures, and their publication would stand for ever.
        if until > node.writer.now().day_at(node.writer.settings().offset) {
            return Err(Problem::malformed("until is a day that has not begun"));
        }
        let done = publish_now(node, post.act(), day_number(from), day_number(until))?;
        node.writer.durable(done.ticket).await;
        Ok(answer::receipt(node, &done.records, Some(done.answer)))
    };
    answer::receipt_or_again(node, post, published.await).await
}

/// Figures that were published.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Publication {
    /// The record.
    pub(crate) name: RecordRef,
    /// Period, covered logs, digest of the table, totals.
    #[schema(value_type = Object)]
    pub(crate) published: StatisticsPublished,
}

/// The newest published figures of this issuer. Anyone may see them.
#[utoipa::path(tag = "issuer", responses((status = 200, body = Listed<Publication>)))]
#[get("/v1/issuer/statistics/publications")]
async fn listed(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    node.role::<Issuer>().map_err(|p| p.language(get.language))?;
    Ok(HttpResponse::Ok().json(Listed { items: newest(&node).await, next: None }))
}

/// The newest published figures, for REST and pages.
pub(crate) async fn newest(node: &Node) -> Vec<Publication> {
    answer::read(node, |work| {
        let all = publications(work, LISTED).into_iter();
        all.map(|(name, published)| Publication { name: name.into(), published }).collect()
    })
    .await
}

/// A published table by its digest: JSON, or with `Accept: application/octet-stream` the bytes that the digest is over.
#[utoipa::path(tag = "issuer", params(("digest" = String, Path)), responses(
    (status = 200, body = Listed<Line>), (status = 404, body = ProblemBody),
))]
#[get("/v1/issuer/statistics/tables/{digest}")]
async fn show_table(
    node: Data<Node>,
    request: HttpRequest,
    digest: Path<String>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    node.role::<Issuer>().map_err(|p| p.language(get.language))?;
    let digest: Digest = digest.parse().map_err(|e| Problem::malformed(e).language(get.language))?;
    let wants = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let missing = || Problem::new(Reason::NotFound).language(get.language);
    if wants.contains("application/octet-stream") {
        let rows = answer::read(&node, |work| table(work, digest)).await.ok_or_else(missing)?;
        return Ok(HttpResponse::Ok().content_type("application/octet-stream").body(table_bytes(&rows)));
    }
    let items = answer::read(&node, |work| table(work, digest).map(|rows| lines(work, &rows)));
    let items = items.await.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(Listed { items, next: None }))
}

/// Publishes the figures of each day once it is over, until the node stops. Does nothing where no issuer runs.
pub async fn publish_periodically(node: Arc<Node>) {
    if node.role::<Issuer>().is_err() {
        return;
    }
    let offset = node.writer.settings().offset;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = node.writer.now();
        let yesterday = day_number(now.day_at(offset)) - 1;
        let newest = node.writer.read(|work| publications(work, LISTED)).answer;
        let is_out = |p: &StatisticsPublished| p.until <= now && day_number(p.until.day_at(offset)) > yesterday;
        if newest.iter().any(|(_, p)| is_out(p)) || !node.may_write() {
            continue;
        }
        match publish_now(&node, Act::default(), yesterday, yesterday) {
            Ok(done) => tracing::info!(records = done.records.len(), "the figures of the day before are published"),
            Err(problem) => tracing::warn!(%problem, "the figures of the day before could not be published yet"),
        }
    }
}
