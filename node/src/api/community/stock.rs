//! Stock: what came (C2), what has its QR (C3, C4), and giving back.

use actix_web::web::{Data, Query};
use actix_web::{HttpResponse, get, post};
use actors::community::command::Command;
use actors::community::store;
use domain::ids::{ShortName, VoucherId};
use domain::lifecycle::{ReturnReason, Stage};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{clerk, clerk_reads, received, send};
use crate::api::answer::{self, Get, Listed, Nothing, Page, Post, Receipt};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(stock).service(vouchers).service(give_back);
}

/// Stock of one programme.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockRow {
    /// The programme.
    #[schema(value_type = String)]
    pub programme: ShortName,
    /// Its title in Chinese.
    pub title_zh: String,
    /// Its title in English.
    pub title_en: String,
    /// On the way: their QR is not made yet.
    pub sent: i64,
    /// Ready to be issued.
    pub encoded: i64,
}

/// What is in stock, by programme.
#[utoipa::path(tag = "community", responses((status = 200, body = Listed<StockRow>)))]
#[get("/v1/community/stock")]
async fn stock(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    clerk_reads(&node, &get)?;
    let rows = in_stock(&node).await;
    let limit = rows.len();
    Ok(HttpResponse::Ok().json(Listed::new(rows, limit, |row| row.programme.to_string())))
}

/// What is in stock, by programme.
pub async fn in_stock(node: &Node) -> Vec<StockRow> {
    answer::read(node, |work| {
        let row = |(name, held): (domain::ids::RecordName, store::Stock)| {
            let programme = work.programme(&name)?;
            let policy = programme.newest()?;
            Some(StockRow {
                programme: policy.programme.clone(),
                title_zh: policy.title_zh.clone(),
                title_en: policy.title_en.clone(),
                sent: held.sent,
                encoded: held.encoded,
            })
        };
        store::stock(work).into_iter().filter_map(row).collect::<Vec<_>>()
    })
    .await
}

/// Which vouchers to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Of this programme alone.
    #[param(value_type = Option<String>)]
    programme: Option<ShortName>,
    /// Most items looked at, 1 to 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A voucher in stock.
#[derive(Debug, Serialize, ToSchema)]
pub struct InStock {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub voucher: VoucherId,
    /// The programme.
    #[schema(value_type = Option<String>)]
    pub programme: Option<ShortName>,
    /// First moment of validity.
    #[schema(value_type = Option<String>)]
    pub valid_from: Option<Timestamp>,
    /// First moment after it.
    #[schema(value_type = Option<String>)]
    pub valid_until: Option<Timestamp>,
    /// Whether its QR is kept here (C4).
    pub has_qr: bool,
}

/// Vouchers that are ready to be issued, page by page.
#[utoipa::path(tag = "community", params(Which), responses((status = 200, body = Listed<InStock>)))]
#[get("/v1/community/stock/vouchers")]
async fn vouchers(node: Data<Node>, get: Get, which: Query<Which>) -> Result<HttpResponse, Problem> {
    clerk_reads(&node, &get)?;
    let Which { programme, limit, cursor } = which.into_inner();
    let page = Page { limit, cursor };
    let (limit, after) = (page.limit()?, page.after::<VoucherId>()?);
    Ok(HttpResponse::Ok().json(shelf(&node, programme.as_ref(), after, limit).await))
}

/// Vouchers that are ready to be issued, after one, of a programme or of all.
pub async fn shelf(
    node: &Node,
    programme: Option<&ShortName>,
    after: Option<VoucherId>,
    limit: usize,
) -> Listed<InStock> {
    answer::read(node, |work| {
        let ids = work.mine(Stage::Encoded, after, limit + 1);
        let mut listed = Listed::new(ids, limit, ToString::to_string);
        let row = |id: VoucherId| {
            let doc = work.voucher(id);
            let state = doc.as_ref().and_then(|d| d.state());
            let policy = state.and_then(|v| work.programme(&v.programme));
            InStock {
                voucher: id,
                programme: policy.and_then(|p| p.newest().map(|p| p.programme.clone())),
                valid_from: state.map(|v| v.valid_from),
                valid_until: state.map(|v| v.valid_until),
                has_qr: store::stored(&work.tx, id).is_some_and(|qr| qr.token.is_some()),
            }
        };
        let rows = std::mem::take(&mut listed.items).into_iter().map(row);
        let wanted = |row: &InStock| programme.is_none() || row.programme.as_ref() == programme;
        Listed { items: rows.filter(wanted).collect(), next: listed.next }
    })
    .await
}

/// Vouchers to give back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Returns {
    /// At most 250, each `issuer.uuid`.
    #[schema(value_type = Vec<String>)]
    pub vouchers: Vec<VoucherId>,
    /// `void-requested`, `not-needed`, `holder-gave-back` or `leaving`.
    #[schema(value_type = String)]
    pub reason: ReturnReason,
}

/// Give vouchers back to the issuer, all or none.
///
/// `201`; `409` `not-custodian`, `wrong-state`, `already-booked`, `expired`.
#[utoipa::path(tag = "community", request_body = Returns, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/returns")]
async fn give_back(node: Data<Node>, post: Post<Returns>) -> Result<HttpResponse, Problem> {
    Ok(answer::told(given_back(&node, &post).await?))
}

/// Gives vouchers back; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn given_back(node: &Node, post: &Post<Returns>) -> Result<Receipt<Nothing>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        if let Some(again) = answer::again::<_, Nothing>(node, post).await? {
            return Ok(again);
        }
        let command = Command::Return { vouchers: post.body.vouchers.clone(), reason: post.body.reason };
        let done = send(node, post, command).await?;
        Ok(answer::receipt(node, &done.records, Some(Nothing {})))
    })
    .await
}
