//! Claims (units B5, B6): openings from hospitals, what an operator decides, and what corrects a settlement.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, get, post};
use actors::issuer::{Answer, Command, Openings, openings};
use domain::booking::{BookingDetails, Evidence};
use domain::ids::{InstitutionId, VoucherId};
use domain::lifecycle::{ClaimReason, Outcome, ReverseReason, Stage, Step};
use domain::record::VoidReason;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{ask, asked_of_two, done_by_operator, operator_reads, voucher_id};
use crate::accounts::permission::Permission;
use crate::api::answer::{self, Get, Listed, Nothing, Page, Post, Receipt, RecordRef};
use crate::api::approvals::{self, Asked, Came};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(receive)
        .service(list)
        .service(settle)
        .service(reject)
        .service(reverse)
        .service(resolve)
        .service(compensate);
}

/// What stands behind the digests of a claim.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Letter {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    voucher: VoucherId,
    /// The opening of the booking.
    #[schema(value_type = Object)]
    booking: BookingDetails,
    /// The opening of the evidence.
    #[schema(value_type = Object)]
    evidence: Evidence,
}

/// What became of a claim.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct Claimed {
    /// `redeemed`, `rejected`, `waiting`, `for-operator` or `answered`.
    claim: String,
    /// Why it was rejected.
    reason: Option<String>,
}

/// Receive the openings of a hospital's claim. A claim that is here already is answered at once.
///
/// `201` with what became of the claim; `404` while the record that they are for is on its way; `403` for another
/// hospital than the one that claims.
#[utoipa::path(tag = "issuer", request_body = Letter, responses(
    (status = 201, body = Receipt<Claimed>), (status = 404, body = ProblemBody), (status = 403, body = ProblemBody),
))]
#[post("/v1/issuer/claims/openings")]
async fn receive(node: Data<Node>, post: Post<Letter>) -> Result<HttpResponse, Problem> {
    ask(&node, post, |Letter { voucher, booking, evidence }, caller| {
        let from = caller.must_be_peer()?;
        Ok(Command::ReceiveOpenings { from, voucher, openings: Box::new(Openings { booking, evidence }) })
    })
    .await
}

/// Which claims to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// `claimed` (the default) or `rejected`.
    #[param(value_type = Option<String>)]
    pub(crate) stage: Option<Stage>,
    /// Most items, 1 to 1,000.
    pub(crate) limit: Option<usize>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A claim as an operator sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimRow {
    /// Which voucher.
    #[schema(value_type = String)]
    pub(crate) voucher: VoucherId,
    /// `claimed`, or `rejected` while the hospital may answer.
    #[schema(value_type = String)]
    pub(crate) stage: Stage,
    /// Who claims.
    #[schema(value_type = Option<String>)]
    pub(crate) hospital: Option<InstitutionId>,
    /// When it was claimed last.
    #[schema(value_type = Option<String>)]
    pub(crate) claimed_at: Option<Timestamp>,
    /// How often it was claimed.
    pub(crate) claims: u8,
    /// Why it was rejected last.
    #[schema(value_type = Option<String>)]
    pub(crate) rejected: Option<ClaimReason>,
    /// The holder denies the use.
    pub(crate) disputed: bool,
    /// The issuer wanted the voucher back.
    pub(crate) void_requested: bool,
    /// What the hospital opened, once it is here.
    #[schema(value_type = Option<Object>)]
    pub(crate) openings: Option<Openings>,
}

/// Claims that stand unanswered, or rejected ones that may be answered again.
#[utoipa::path(tag = "issuer", params(Which), responses((status = 200, body = Listed<ClaimRow>)))]
#[get("/v1/issuer/claims")]
async fn list(node: Data<Node>, get: Get, which: Query<Which>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(listed(&node, &get, which.into_inner()).await?))
}

/// Claims, for REST and pages.
///
/// # Errors
///
/// For who may not read them, and for a page that cannot be.
pub(crate) async fn listed(node: &Node, get: &Get, which: Which) -> Result<Listed<ClaimRow>, Problem> {
    operator_reads(node, get)?;
    let Which { stage, limit, cursor } = which;
    let stage = stage.unwrap_or(Stage::Claimed);
    if !matches!(stage, Stage::Claimed | Stage::Rejected) {
        return Err(Problem::malformed("stage is claimed or rejected").language(get.language));
    }
    let page = Page { limit, cursor };
    let (limit, after) = (page.limit()?, page.after::<VoucherId>()?);
    let listed = answer::read(node, |work| {
        let row = |id: VoucherId| {
            let doc = work.voucher(id)?;
            let (state, notes) = (doc.state()?, doc.notes_state());
            let rejected = doc.last_on_path(|s| matches!(s, Step::ClaimRejected { .. })).map(|l| &l.step);
            Some(ClaimRow {
                voucher: id,
                stage: state.stage,
                hospital: state.hospital(),
                claimed_at: doc.last_on_path(|s| matches!(s, Step::RedemptionClaimed { .. })).map(|l| l.at),
                claims: state.claims,
                rejected: rejected.and_then(|s| match s {
                    Step::ClaimRejected { reason, .. } => Some(*reason),
                    _ => None,
                }),
                disputed: notes.disputed,
                void_requested: notes.void_requested,
                openings: openings(work, id),
            })
        };
        let items = work.mine(stage, after, limit + 1).into_iter().filter_map(row).collect();
        Listed::new(items, limit, |row: &ClaimRow| row.voucher.to_string())
    });
    Ok(listed.await)
}

/// Nothing more to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// Settle a claim by hand, also one that the holder denies. What its openings say cannot be overruled.
///
/// `201`; `409` `evidence-missing`, `opening-differs`, `department-not-allowed`, `item-not-done`, `claim-unfounded`,
/// `already-redeemed`, `wrong-state`.
#[utoipa::path(tag = "issuer", params(("voucher" = String, Path)), request_body = Empty, responses(
    (status = 201, body = Receipt<Claimed>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/claims/{voucher}/settlement")]
async fn settle(node: Data<Node>, voucher: Path<String>, post: Post<Empty>) -> Result<HttpResponse, Problem> {
    settled(&node, &voucher, post).await.map(answer::told)
}

/// Settles a claim, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn settled(node: &Node, voucher: &str, post: Post<Empty>) -> Result<Receipt<Answer>, Problem> {
    done_by_operator(node, post, |_, Empty {}| Ok(Command::Settle { voucher: voucher_id(voucher)? })).await
}

/// Why a claim is rejected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rejection {
    /// `opening-missing`, `opening-differs`, `department-not-allowed`, `performer-elsewhere`, `times-differ`,
    /// `item-not-done`, `disputed` or `unfounded`.
    #[schema(value_type = String)]
    pub(crate) reason: ClaimReason,
    /// The hospital may not answer.
    pub(crate) is_final: bool,
}

/// Reject a claim by hand. The third rejection is the last.
#[utoipa::path(tag = "issuer", params(("voucher" = String, Path)), request_body = Rejection, responses(
    (status = 201, body = Receipt<Claimed>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/claims/{voucher}/rejection")]
async fn reject(node: Data<Node>, voucher: Path<String>, post: Post<Rejection>) -> Result<HttpResponse, Problem> {
    rejected(&node, &voucher, post).await.map(answer::told)
}

/// Rejects a claim, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn rejected(node: &Node, voucher: &str, post: Post<Rejection>) -> Result<Receipt<Answer>, Problem> {
    done_by_operator(node, post, |_, Rejection { reason, is_final }| {
        Ok(Command::Reject { voucher: voucher_id(voucher)?, reason, is_final })
    })
    .await
}

/// A redemption to correct.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reversal {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub(crate) voucher: VoucherId,
    /// `mistake`, `disputed`, `fraud` or `cut-off`.
    #[schema(value_type = String)]
    pub(crate) reason: ReverseReason,
    /// Whether it goes back to the issuer, and not to the holder.
    pub(crate) void: bool,
}

/// Correct a redemption within the correction period.
///
/// `202` until a second person consents, then there `201`; `409` `correction-over`, `wrong-state`.
#[utoipa::path(tag = "issuer", request_body = Reversal, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/reversals")]
async fn reverse(node: Data<Node>, request: HttpRequest, post: Post<Reversal>) -> Result<HttpResponse, Problem> {
    reversed(&node, request.uri().path(), post).await.map(approvals::told)
}

/// Asks for a redemption to be corrected, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn reversed(node: &Node, path: &str, post: Post<Reversal>) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::ReverseRedemptions, post, |reversal, approver| {
        let Reversal { voucher, reason, void } = *reversal;
        Ok(Command::Reverse { voucher, reason, approver, void })
    })
    .await
}

/// What a fork, a line or a superseded branch left open.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub(crate) voucher: VoucherId,
    /// The head of the branch that is kept; absent to void the voucher.
    pub(crate) keep: Option<RecordRef>,
    /// Why it is voided; not needed where a branch is kept.
    #[schema(value_type = Option<String>)]
    pub(crate) reason: Option<VoidReason>,
}

/// Decide which branch of a voucher stands.
///
/// `202` until a second person consents, then there `201`; `409` `nothing-to-resolve`, `already-redeemed`, `bad-name`.
#[utoipa::path(tag = "issuer", request_body = Resolution, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/resolutions")]
async fn resolve(node: Data<Node>, request: HttpRequest, post: Post<Resolution>) -> Result<HttpResponse, Problem> {
    resolved(&node, request.uri().path(), post).await.map(approvals::told)
}

/// Asks for a branch to be decided, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn resolved(node: &Node, path: &str, post: Post<Resolution>) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::ResolveVouchers, post, |Resolution { voucher, keep, reason }, approver| {
        let outcome = match keep {
            Some(name) => Outcome::Keep(name.clone().into()),
            None => Outcome::Void(reason.ok_or_else(|| Problem::malformed("a reason, or a record to keep"))?),
        };
        Ok(Command::Resolve { voucher: *voucher, outcome, approver })
    })
    .await
}

/// An honest hospital to pay.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compensation {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub(crate) voucher: VoucherId,
    /// The `UseConfirmed` that was superseded.
    pub(crate) superseded: RecordRef,
    /// Why, in the operator's words, at most 500 bytes. Kept here and not in the ledger.
    pub(crate) reason: String,
}

/// Pay a hospital whose use was superseded though it broke no rule. The voucher is not touched.
///
/// `202` until a second person consents, then there `201`; `409` `claim-unfounded`, `already-redeemed` if it was paid before.
#[utoipa::path(tag = "issuer", request_body = Compensation, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/compensations")]
async fn compensate(node: Data<Node>, request: HttpRequest, post: Post<Compensation>) -> Result<HttpResponse, Problem> {
    compensated(&node, request.uri().path(), post).await.map(approvals::told)
}

/// Asks for a hospital to be paid, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn compensated(node: &Node, path: &str, post: Post<Compensation>) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::Compensate, post, |Compensation { voucher, superseded, reason }, approver| {
        let (superseded, reason) = (superseded.clone().into(), reason.clone());
        Ok(Command::Compensate { voucher: *voucher, superseded, reason, approver })
    })
    .await
}
