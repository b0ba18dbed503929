//! Vouchers (units B2, B3, B4): generated and sent in bulk, voided, taken back; and lists of them.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, get, post};
use actors::issuer::{Answer, Command, Issuer, MAX_CHUNK, batch_ids};
use actors::replica::{VoucherDoc, Work};
use actors::role::Ask;
use actors::writer::{Act, Done, Refused};
use domain::ids::{InstitutionId, RecordName, ShortName, VoucherId};
use domain::lifecycle::Stage;
use domain::reasons::Reason;
use domain::record::{Idempotency, VoidReason};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{asked_of_two, done_by_operator, operator_reads, voucher_id};
use crate::accounts::permission::Permission;
use crate::api::answer::{self, Get, Listed, Nothing, Page, Post, Receipt, RecordRef};
use crate::api::approvals::{self, Asked, Came};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

/// Most vouchers that one request generates or sends.
pub(crate) const MAX_COUNT: usize = 100_000;

/// Most vouchers that one page of a list looks at.
pub(crate) const MAX_LOOKED_AT: usize = 5_000;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(generate).service(list).service(dispatch).service(void).service(reclaim).service(hand_over);
}

/// What a bulk request did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Bulk {
    /// How many vouchers.
    pub(crate) count: usize,
    /// Index of the first record in this institution's log.
    pub(crate) first: Option<u64>,
    /// Index of the last one. Others may stand in between.
    pub(crate) last: Option<u64>,
}

/// The records that a part made before.
async fn done_before(node: &Node, part: &Idempotency) -> Result<Option<Vec<RecordName>>, Problem> {
    let Some(before) = node.writer.repeated(part)? else { return Ok(None) };
    node.writer.durable(before.ticket).await;
    Ok(Some(before.records))
}

/// Asks for many in parts, other requests in between. Parts that were answered before are not done again.
async fn in_parts<T>(
    node: &Node,
    post: &Post<T>,
    count: usize,
    make: impl Fn(usize) -> Command,
    progress: impl Fn(usize),
) -> Result<Receipt<Bulk>, Problem> {
    let role = node.role::<Issuer>()?;
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(Problem::malformed(format!("count is 1 to {MAX_COUNT}")));
    }
    let (mut first, mut last, mut done, mut repeated): (Option<RecordName>, _, usize, _) = (None, None, 0, true);
    for number in 0_u64.. {
        let size = (count - done).min(MAX_CHUNK);
        if size == 0 {
            break;
        }
        let idempotency = answer::part(&post.idempotency, number);
        let records = match done_before(node, &idempotency).await? {
            Some(records) => records,
            None => {
                let act = Act { operator: post.caller.operator(), idempotency: Some(idempotency) };
                match role.send(Ask::<Issuer> { act, command: make(size) }).await? {
                    Ok(Done { records, .. }) => {
                        repeated = false;
                        records
                    }
                    // The same request came twice at once, and the other one did this part.
                    Err(Refused::Repeated) => done_before(node, &idempotency).await?.ok_or(Reason::Busy)?,
                    Err(refused) if done == 0 => return Err(refused.into()),
                    Err(refused) => {
                        return Err(Problem::from(refused).detail(format!("{done} are done; the same key goes on")));
                    }
                }
            }
        };
        first = first.or_else(|| records.first().copied());
        last = records.last().copied().or(last);
        done += size;
        progress(done);
    }
    let (first_index, last_index) = (first.map(|r| r.index), last.map(|r: RecordName| r.index));
    let mut records: Vec<RecordRef> = first.into_iter().chain(last).map(Into::into).collect();
    records.dedup_by_key(|r| r.index);
    let result = Some(Bulk { count, first: first_index, last: last_index });
    Ok(Receipt { records, voucher: None, repeated, result })
}

/// What to generate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generation {
    /// Short name of a programme of this issuer.
    #[schema(value_type = String)]
    pub(crate) programme: ShortName,
    /// How many, 1 to 100,000.
    pub(crate) count: usize,
    /// First moment of validity, RFC 3339; now if it is absent.
    #[schema(value_type = Option<String>)]
    pub(crate) valid_from: Option<Timestamp>,
}

/// Generate vouchers of a programme.
///
/// `201` with the place of the first and last record; `409` `programme-unknown`. If it stops half way, the same request
/// with the same key goes on.
#[utoipa::path(tag = "issuer", request_body = Generation, responses(
    (status = 201, body = Receipt<Bulk>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/vouchers")]
async fn generate(node: Data<Node>, post: Post<Generation>) -> Result<HttpResponse, Problem> {
    generated(&node, &post, |_| {}).await.map(answer::told)
}

/// Generates vouchers, for REST and pages; `progress` is told how many are done.
///
/// # Errors
///
/// As above.
pub(crate) async fn generated(
    node: &Node,
    post: &Post<Generation>,
    progress: impl Fn(usize),
) -> Result<Receipt<Bulk>, Problem> {
    let generated = async {
        post.caller.must_be_operator()?;
        let Generation { programme, count, valid_from } = &post.body;
        let make = |size| Command::Generate {
            programme: programme.clone(),
            uuids: batch_ids(size, rand::random),
            valid_from: *valid_from,
        };
        in_parts(node, post, *count, make, progress).await
    };
    generated.await.map_err(|problem| problem.language(post.language))
}

/// Whether that many vouchers of a programme can be sent. An unknown programme is for the role to say.
async fn in_stock(node: &Node, programme: &ShortName, count: usize) -> bool {
    let now = node.writer.now();
    answer::read(node, |work| {
        let Some(programme) = work.programme_named(work.settings.me, programme.as_str()) else { return true };
        count > MAX_COUNT || work.on_shelf(Stage::Generated, &programme.name, now, count).len() >= count
    })
    .await
}

/// What to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dispatch {
    /// To which community.
    #[schema(value_type = String)]
    pub(crate) community: InstitutionId,
    /// Short name of a programme of this issuer.
    #[schema(value_type = String)]
    pub(crate) programme: ShortName,
    /// How many, 1 to 100,000.
    pub(crate) count: usize,
}

/// Send generated vouchers to a community. Those that end first go first.
///
/// `201`; `409` `no-stock`, `member-unknown`, `not-in-good-standing`, `programme-unknown`.
#[utoipa::path(tag = "issuer", request_body = Dispatch, responses(
    (status = 201, body = Receipt<Bulk>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/dispatches")]
async fn dispatch(node: Data<Node>, post: Post<Dispatch>) -> Result<HttpResponse, Problem> {
    dispatched(&node, &post, |_| {}).await.map(answer::told)
}

/// Sends vouchers, for REST and pages; `progress` is told how many are done.
///
/// # Errors
///
/// As above.
pub(crate) async fn dispatched(
    node: &Node,
    post: &Post<Dispatch>,
    progress: impl Fn(usize),
) -> Result<Receipt<Bulk>, Problem> {
    let sent = async {
        post.caller.must_be_operator()?;
        let Dispatch { community, programme, count } = &post.body;
        let begun = node.writer.repeated(&answer::part(&post.idempotency, 0))?.is_some();
        if !begun && !in_stock(node, programme, *count).await {
            return Err(Problem::new(Reason::NoStock)); // all that is asked for, or none
        }
        let make = |count| Command::Dispatch { community: *community, programme: programme.clone(), count };
        in_parts(node, post, *count, make, progress).await
    };
    sent.await.map_err(|problem| problem.language(post.language))
}

/// Which vouchers to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The stage; `generated` if it is absent.
    #[param(value_type = Option<String>)]
    pub(crate) stage: Option<Stage>,
    /// Short name of a programme; all if it is absent.
    #[param(value_type = Option<String>)]
    pub(crate) programme: Option<ShortName>,
    /// Most items, 1 to 1,000.
    pub(crate) limit: Option<usize>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A voucher in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VoucherRow {
    /// Which one.
    #[schema(value_type = String)]
    pub(crate) voucher: VoucherId,
    /// Where it is in its life.
    #[schema(value_type = String)]
    pub(crate) stage: Stage,
    /// Short name of its programme.
    #[schema(value_type = Option<String>)]
    pub(crate) programme: Option<ShortName>,
    /// Who holds it.
    #[schema(value_type = Option<String>)]
    pub(crate) custodian: Option<InstitutionId>,
    /// The community it was sent to.
    #[schema(value_type = Option<String>)]
    pub(crate) community: Option<InstitutionId>,
    /// The hospital of its booking.
    #[schema(value_type = Option<String>)]
    pub(crate) hospital: Option<InstitutionId>,
    /// First moment of validity.
    #[schema(value_type = String)]
    pub(crate) valid_from: Timestamp,
    /// First moment after it.
    #[schema(value_type = String)]
    pub(crate) valid_until: Timestamp,
    /// The issuer wants it back.
    pub(crate) void_requested: bool,
    /// The last record that counts.
    pub(crate) head: Option<RecordRef>,
}

/// A voucher of this issuer, or of one that it has succeeded; none for one of another.
fn row(work: &Work<'_>, voucher: VoucherId, doc: &VoucherDoc) -> Option<VoucherRow> {
    let state = doc.state().filter(|state| state.issuer == work.settings.me)?;
    Some(VoucherRow {
        voucher,
        stage: state.stage,
        programme: work.programme(&state.programme).and_then(|p| Some(p.newest()?.programme.clone())),
        custodian: state.custodian,
        community: state.community,
        hospital: state.hospital(),
        valid_from: state.valid_from,
        valid_until: state.valid_until,
        void_requested: doc.notes_state().void_requested,
        head: doc.head_name().map(Into::into),
    })
}

/// The issuer's vouchers at a stage. A page may hold fewer than asked for and still have a next one.
#[utoipa::path(tag = "issuer", params(Which), responses((status = 200, body = Listed<VoucherRow>)))]
#[get("/v1/issuer/vouchers")]
async fn list(node: Data<Node>, get: Get, which: Query<Which>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(listed(&node, &get, which.into_inner()).await?))
}

/// Vouchers at a stage, for REST and pages.
///
/// # Errors
///
/// For who may not read them, and for a page that cannot be.
pub(crate) async fn listed(node: &Node, get: &Get, which: Which) -> Result<Listed<VoucherRow>, Problem> {
    operator_reads(node, get)?;
    let Which { stage, programme, limit, cursor } = which;
    let page = Page { limit, cursor };
    let (limit, after) = (page.limit()?, page.after::<VoucherId>()?);
    let listed = answer::read(node, |work| {
        let ids = work.mine(stage.unwrap_or(Stage::Generated), after, MAX_LOOKED_AT);
        let (mut items, mut next) = (Vec::new(), None);
        let whole = ids.len() < MAX_LOOKED_AT;
        for (n, id) in ids.iter().enumerate() {
            next = (!whole || n + 1 < ids.len()).then(|| id.to_string());
            let row = work.voucher(*id).and_then(|doc| row(work, *id, &doc));
            let wanted = |r: &VoucherRow| programme.is_none() || r.programme == programme;
            items.extend(row.filter(wanted));
            if items.len() == limit {
                break;
            }
        }
        Listed { items, next }
    });
    Ok(listed.await)
}

/// Stages at which a voucher can still lapse.
const UNUSED: [Stage; 6] =
    [Stage::Generated, Stage::Sent, Stage::Encoded, Stage::Issued, Stage::BookingRequested, Stage::Booked];

/// Vouchers of this issuer that nobody has used and that end before a time, those that end first coming first: at most `limit`,
/// and whether more of them may be there than were looked at.
pub(crate) async fn expiring(node: &Node, before: Timestamp, limit: usize) -> (Vec<VoucherRow>, bool) {
    let now = node.writer.now();
    answer::read(node, |work| {
        let (mut rows, mut is_whole) = (Vec::new(), true);
        for stage in UNUSED {
            let ids = work.mine(stage, None, MAX_LOOKED_AT);
            is_whole &= ids.len() < MAX_LOOKED_AT;
            let found = ids.into_iter().filter_map(|id| row(work, id, &work.voucher(id)?));
            let ends = |r: &VoucherRow| now < r.valid_until && r.valid_until <= before;
            rows.extend(found.filter(ends));
        }
        rows.sort_by_key(|r| (r.valid_until, r.voucher));
        is_whole &= rows.len() <= limit;
        rows.truncate(limit);
        (rows, is_whole)
    })
    .await
}

/// How many generated vouchers of each of this issuer's programmes can be sent now: at most [`MAX_COUNT`] are counted.
pub(crate) async fn on_shelf(node: &Node) -> Vec<(domain::policy::Policy, usize)> {
    let now = node.writer.now();
    answer::read(node, |work| {
        let own = work.programmes().into_iter().filter(|p| p.name.institution == work.settings.me);
        let counted = own.filter_map(|p| {
            let stock = work.on_shelf(Stage::Generated, &p.name, now, MAX_COUNT).len();
            Some((p.newest()?.clone(), stock))
        });
        counted.collect()
    })
    .await
}

/// A voucher to void.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Void {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub(crate) voucher: VoucherId,
    /// `issuer-decision`, `entitlement-ended`, `holder-died`, `mistake` or `suspected-fraud`.
    #[schema(value_type = String)]
    pub(crate) reason: VoidReason,
}

/// Whether a voucher is voided already.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct Voided {
    voided: bool,
}

/// Void a voucher. What somebody else holds is asked back first.
///
/// `202` until a second person consents, then there `201` with `voided` true, or false while its custodian is asked; `409` `voided`, `already-redeemed`, `void-requested`.
#[utoipa::path(tag = "issuer", request_body = Void, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Voided>), (status = 409, body = ProblemBody),
    (status = 404, body = ProblemBody),
))]
#[post("/v1/issuer/voids")]
async fn void(node: Data<Node>, request: HttpRequest, post: Post<Void>) -> Result<HttpResponse, Problem> {
    voided(&node, request.uri().path(), post).await.map(approvals::told)
}

/// Asks for a voucher to be voided, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn voided(node: &Node, path: &str, post: Post<Void>) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::VoidVouchers, post, |wish, _| {
        let Void { voucher, reason } = *wish;
        Ok(Command::Void { voucher, reason })
    })
    .await
}

/// One voucher.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct One {
    /// `issuer.uuid`.
    pub(crate) voucher: String,
}

/// Take a voucher back from a custodian that is silent past its grace, or not in good standing.
///
/// `201`; `409` `grace-not-over`.
#[utoipa::path(tag = "issuer", request_body = One, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/reclaims")]
async fn reclaim(node: Data<Node>, post: Post<One>) -> Result<HttpResponse, Problem> {
    reclaimed(&node, post).await.map(answer::told)
}

/// Takes a voucher back, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn reclaimed(node: &Node, post: Post<One>) -> Result<Receipt<Answer>, Problem> {
    done_by_operator(node, post, |_, One { voucher }| Ok(Command::Reclaim { voucher: voucher_id(&voucher)? })).await
}

/// Hand a voucher to the holder's new voucher module when the old one is gone.
///
/// `201`; `409` `not-custodian` while the old one can do it itself.
#[utoipa::path(tag = "issuer", request_body = One, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/handovers")]
async fn hand_over(node: Data<Node>, post: Post<One>) -> Result<HttpResponse, Problem> {
    handed_over(&node, post).await.map(answer::told)
}

/// Hands a voucher to the holder's new module, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn handed_over(node: &Node, post: Post<One>) -> Result<Receipt<Answer>, Problem> {
    done_by_operator(node, post, |_, One { voucher }| Ok(Command::HandOver { voucher: voucher_id(&voucher)? })).await
}
