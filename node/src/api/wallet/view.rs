//! What a holder's terminal shows (units T1, T2): the wallet, notices and results.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get};
use actors::voucher::rows;
use actors::voucher::wallet::{self, Notice, ResultView};
use domain::reasons::Reason;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{holder_reads, voucher_id};
use crate::api::answer::{self, Get, Listed, Page};
use crate::api::problem::{Problem, ProblemBody};
use crate::api::records;
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(show).service(notices).service(result).service(proof);
}

/// Everything that a terminal shows: enrolments, vouchers with their QRs, states, bookings, results, receipts.
///
/// `200`; `401` for a key that no holder of this module has.
#[utoipa::path(tag = "wallet", responses((status = 200, body = Object), (status = 401, body = ProblemBody)))]
#[get("/v1/wallet")]
async fn show(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    let holder = holder_reads(&node, &get).await?;
    let now = node.writer.now();
    let wallet = answer::read(&node, |work| wallet::wallet(work, holder, now)).await;
    Ok(HttpResponse::Ok().json(wallet.map_err(|reason| Problem::new(reason).language(get.language))?))
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct HowMany {
    /// Most items, 1 to 1,000.
    limit: Option<usize>,
}

/// What happened to the holder's vouchers, newest first.
#[utoipa::path(tag = "wallet", params(HowMany), responses((status = 200, body = Object), (status = 401, body = ProblemBody)))]
#[get("/v1/wallet/notices")]
async fn notices(node: Data<Node>, get: Get, how_many: Query<HowMany>) -> Result<HttpResponse, Problem> {
    let holder = holder_reads(&node, &get).await?;
    let limit = Page { limit: how_many.limit, cursor: None }.limit()?;
    let all = answer::read(&node, |work| wallet::notices(work, holder, limit)).await;
    let all = all.map_err(|reason| Problem::new(reason).language(get.language))?;
    Ok(HttpResponse::Ok().json(Listed::new(all, limit, |n: &Notice| n.record.to_string())))
}

/// The hospital's result of a visit. It waits 30 days for its holder.
///
/// `200`; `404` if there is none, or none any more.
#[utoipa::path(tag = "wallet", params(("voucher" = String, Path)), responses(
    (status = 200, body = Object), (status = 404, body = ProblemBody),
))]
#[get("/v1/wallet/results/{voucher}")]
async fn result(node: Data<Node>, voucher: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let shown = async {
        let holder = holder_reads(&node, &get).await?;
        let voucher = voucher_id(&voucher)?;
        let outcome = answer::read(&node, |work| rows::result(&work.tx, holder, voucher)).await;
        let view: ResultView = outcome.ok_or(Reason::NotFound)?.into();
        Ok(HttpResponse::Ok().json(view))
    };
    shown.await.map_err(|problem: Problem| problem.language(get.language))
}

/// The proof of a record that a notice names: a C2SP tlog-proof, for its holder to keep and verify offline.
///
/// `200`; `404` for a record that is about nobody's or somebody else's voucher.
#[utoipa::path(tag = "wallet", params(("position" = String, Path)), responses(
    (status = 200, description = "A tlog-proof", body = String, content_type = "text/plain"),
    (status = 404, body = ProblemBody),
))]
#[get("/v1/wallet/proofs/{position}")]
async fn proof(node: Data<Node>, position: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let shown = async {
        let holder = holder_reads(&node, &get).await?;
        let (institution, index) = records::position(&position)?;
        let told = answer::read(&node, |work| wallet::notices(work, holder, usize::MAX)).await?;
        let is_own = |n: &Notice| (n.record.institution, n.record.index) == (institution, index);
        if !told.iter().any(is_own) {
            return Err(Reason::NotFound.into());
        }
        let text = records::proof_of(&node, institution, index).await.ok_or(Reason::NotFound)?;
        Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
    };
    shown.await.map_err(|problem: Problem| problem.language(get.language))
}
