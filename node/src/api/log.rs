//! Logs as any transparency-log tool reads them: checkpoint, tiles, bundles (C2SP tlog-tiles), own and mirrored.

use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get, post};
use domain::ids::InstitutionId;
use domain::reasons::Reason;
use ledger::tile::{TileKind, TilePath};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{Get, Listed};
use super::caller::Caller;
use super::problem::Problem;
use super::records::cosigned_head;
use crate::config::MAX_POLL_WAIT_SECS;
use crate::node::Node;

/// Longest wait for a newer checkpoint, in seconds.
pub const MAX_WAIT_SECS: u64 = 30;

/// Longest wait that may be asked for, in seconds: what a node may be configured to ask its peers.
pub const MAX_WAIT_ASKED_SECS: u64 = MAX_POLL_WAIT_SECS;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(own_checkpoint)
        .service(own_tile)
        .service(mirror_checkpoint)
        .service(mirror_tile)
        .service(longest)
        .service(checkpoints);
}

/// Waits for a newer checkpoint.
#[derive(Debug, Deserialize, IntoParams)]
pub struct Newer {
    /// Answer as soon as the log is larger than this.
    pub newer_than: Option<u64>,
    /// Wait at most so long; nobody waits longer than 30 seconds.
    #[param(maximum = 300)]
    pub wait_secs: Option<u64>,
    /// The newest that witnesses have cosigned, which may be older: of this institution's own log, and of others' where it is an
    /// auditor.
    #[serde(default)]
    pub cosigned: bool,
}

/// The newest signed checkpoint of this institution's log.
///
/// It carries the cosignatures that it has; under load the newest has none yet, and `cosigned=true` asks for one that has.
/// With `newer_than` the answer waits until the log is larger, at most `wait_secs`; then the newest is answered all the same.
/// A node that stops meanwhile answers `503` `closing` at once.
#[utoipa::path(tag = "log", params(Newer), responses(
    (status = 200, description = "A signed note", body = String, content_type = "text/plain"),
    (status = 404, description = "Nothing is written yet", body = super::problem::ProblemBody),
    (status = 503, description = "The node stops", body = super::problem::ProblemBody),
))]
#[get("/log/checkpoint")]
async fn own_checkpoint(node: Data<Node>, get: Get, newer: Query<Newer>) -> Result<HttpResponse, Problem> {
    if let (Some(held), Caller::Peer(member)) = (newer.newer_than, get.caller) {
        crate::peers::holders::asked(&node, member, held);
    }
    checkpoint(&node, node.config.institution, &newer).await
}

/// A tile or entry bundle of this institution's log, such as `0/x001/067`, `0/000.p/5` or `entries/000`.
#[utoipa::path(tag = "log", params(("path" = String, Path, description = "C2SP tile path")), responses(
    (status = 200, description = "Hashes, or entries with their lengths", content_type = "application/octet-stream"),
    (status = 404, description = "No such tile for any published checkpoint", body = super::problem::ProblemBody),
))]
#[get("/log/tile/{path:.*}")]
async fn own_tile(node: Data<Node>, _: Get, path: Path<String>) -> Result<HttpResponse, Problem> {
    tile(&node, node.config.institution, &path)
}

/// The newest signed checkpoint of another institution's log that this node holds in full.
#[utoipa::path(tag = "log", params(Newer, ("institution" = String, Path)), responses(
    (status = 200, description = "A signed note", body = String, content_type = "text/plain"),
    (status = 404, description = "Not mirrored here; at once for who is no member", body = super::problem::ProblemBody),
))]
#[get("/mirrors/{institution}/checkpoint")]
async fn mirror_checkpoint(
    node: Data<Node>,
    _: Get,
    institution: Path<String>,
    newer: Query<Newer>,
) -> Result<HttpResponse, Problem> {
    let institution = known(&institution)?;
    // The log of a member may still come; whoever else is asked for is not waited for.
    let is_own = institution == node.config.institution;
    if !is_own && node.writer.registry().member(institution).is_none() {
        return Err(Reason::NotFound.into());
    }
    checkpoint(&node, institution, &newer).await
}

/// A tile or entry bundle of a mirrored log.
#[utoipa::path(
    tag = "log",
    params(("institution" = String, Path), ("path" = String, Path, description = "C2SP tile path")),
    responses(
        (status = 200, description = "Hashes, or entries with their lengths", content_type = "application/octet-stream"),
        (status = 404, description = "Not held here", body = super::problem::ProblemBody),
    )
)]
#[get("/mirrors/{institution}/tile/{path:.*}")]
async fn mirror_tile(node: Data<Node>, _: Get, path: Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let (institution, path) = path.into_inner();
    tile(&node, known(&institution)?, &path)
}

fn known(institution: &str) -> Result<InstitutionId, Problem> {
    institution.parse().map_err(Problem::malformed)
}

async fn checkpoint(node: &Node, of: InstitutionId, newer: &Newer) -> Result<HttpResponse, Problem> {
    let origin = node.writer.logs().origin(of);
    if newer.wait_secs.is_some_and(|secs| secs > MAX_WAIT_ASKED_SECS) {
        return Err(Problem::malformed(format!("wait_secs is at most {MAX_WAIT_ASKED_SECS}")));
    }
    let wait = Duration::from_secs(newer.wait_secs.unwrap_or(0).min(MAX_WAIT_SECS));
    if let Some(than) = newer.newer_than {
        let grown = async {
            let mut commits = node.commits();
            while node.writer.ledger().head(&origin).is_none_or(|h| h.checkpoint.size <= than) {
                if commits.changed().await.is_err() {
                    break;
                }
            }
        };
        // Whether it has grown or the wait is over, the newest is answered.
        tokio::select! {
            _ = tokio::time::timeout(wait, grown) => {}
            () = node.closing() => return Err(Reason::Closing.into()),
        }
    }
    let head = node.writer.ledger().head(&origin).ok_or(Reason::NotFound)?;
    let cosigned = cosigned_head(node, of).await;
    let note = match cosigned {
        Some((cosigned, note)) if newer.cosigned || cosigned == head.checkpoint => note,
        None if newer.cosigned => return Err(Reason::NotFound.into()),
        Some(_) | None => head.note.to_string(),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=utf-8")
        .body(note))
}

fn tile(node: &Node, of: InstitutionId, path: &str) -> Result<HttpResponse, Problem> {
    let origin = node.writer.logs().origin(of);
    let path: TilePath = format!("tile/{path}").parse().map_err(|_| Problem::new(Reason::NotFound))?;
    let ledger = node.writer.ledger();
    let bytes = match path.kind {
        TileKind::Hashes(level) => ledger.tile(&origin, level, path.index, path.width),
        TileKind::Entries => ledger.bundle(&origin, path.index, path.width),
    };
    let bytes = bytes.ok_or(Reason::NotFound)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .content_type("application/octet-stream")
        .body(bytes))
}

/// Which log is meant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Longest {
    /// The log's name.
    pub origin: String,
}

/// The longest checkpoint held.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LongestAnswer {
    /// The signed note; none if nothing of that log was ever seen here.
    pub checkpoint: Option<String>,
}

/// The longest checkpoint of a log that this node holds: what a node asks before it writes again (start rule).
///
/// Served also while this node itself may not write. It changes nothing, so it needs no `Idempotency-Key`'s protection.
#[utoipa::path(tag = "log", request_body = Longest, responses((status = 200, body = LongestAnswer)))]
#[post("/v1/start/longest")]
async fn longest(node: Data<Node>, post: super::answer::Post<Longest>) -> Result<HttpResponse, Problem> {
    // The newest that was seen, also where its entries are still on their way.
    let checkpoint = node.writer.ledger().edge(&post.body.origin).newest.map(|h| h.note.to_string());
    Ok(HttpResponse::Ok().json(LongestAnswer { checkpoint }))
}

/// The newest signed head of one log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HeadView {
    /// Whose log.
    #[schema(value_type = String)]
    pub institution: InstitutionId,
    /// The signed note.
    pub note: String,
}

/// The newest signed head of every log that this node knows of, its own included: what peers compare.
#[utoipa::path(tag = "log", responses((status = 200, body = Listed<HeadView>)))]
#[get("/v1/checkpoints")]
async fn checkpoints(node: Data<Node>, _: Get) -> HttpResponse {
    let items = heads(&node);
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Listed { items, next: None })
}

/// The newest signed heads, for REST and pages.
pub(crate) fn heads(node: &Node) -> Vec<HeadView> {
    let registry = node.writer.registry();
    let head = |institution: &InstitutionId| {
        let newest = node.writer.ledger().edge(&node.writer.logs().origin(*institution)).newest?;
        Some(HeadView { institution: *institution, note: newest.note.to_string() })
    };
    registry.members.keys().filter_map(head).take(crate::peers::compare::MAX_HEADS).collect()
}
