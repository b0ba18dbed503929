//! Records, proofs, vouchers and QR pictures: what every node can say of what it holds.

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse, get, post};
use actors::auditor::{Auditor, witness};
use actors::replica::{Broken, VoucherDoc};
use domain::ids::{InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{Stage, Step};
use domain::policy::is_hidden;
use domain::reasons::Reason;
use domain::record::Record;
use domain::time::Timestamp;
use ledger::checkpoint::Checkpoint;
use ledger::proof::TlogProof;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get, RecordRef};
use super::problem::Problem;
use crate::node::Node;
use crate::qr;
use actors::misbehave::misbehaves;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(record)
        .service(proof)
        .service(voucher)
        .service(history)
        .service(qr_svg)
        .service(qr_png)
        .service(decode);
}

/// Reads `institution.index`.
///
/// # Errors
///
/// [`Reason::Malformed`].
pub fn position(text: &str) -> Result<(InstitutionId, u64), Problem> {
    let read = || {
        let (institution, index) = text.rsplit_once('.')?;
        let canonical = index == "0" || !index.starts_with('0');
        let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
        (canonical && digits).then_some(())?;
        Some((institution.parse().ok()?, index.parse().ok()?))
    };
    read().ok_or_else(|| Problem::malformed("a record is named by institution and index, such as hospital-gulou.17"))
}

fn voucher_id(text: &str) -> Result<VoucherId, Problem> {
    text.parse().map_err(Problem::malformed)
}

/// A record as it stands in its log.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordView {
    /// Its name.
    pub name: RecordRef,
    /// Its canonical bytes, base64: what its leaf hash is over.
    pub bytes: String,
    /// The same, readable; none for a format that this node does not know.
    #[schema(value_type = Option<Object>)]
    pub record: Option<Record>,
    /// Why it does not count, if it does not.
    #[schema(value_type = Option<String>)]
    pub refused: Option<Reason>,
}

/// One record by institution and index, such as `hospital-gulou.17`.
#[utoipa::path(tag = "records", params(("position" = String, Path)), responses(
    (status = 200, body = RecordView),
    (status = 404, description = "Not held here", body = super::problem::ProblemBody),
))]
#[get("/v1/records/{position}")]
async fn record(node: Data<Node>, position_text: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(record_at(&node, &get, &position_text).await?))
}

/// A record, for REST and pages.
///
/// # Errors
///
/// [`Reason::NotFound`], [`Reason::Malformed`] for what is no position.
pub(crate) async fn record_at(node: &Node, get: &Get, position_text: &str) -> Result<RecordView, Problem> {
    let (institution, index) = position(position_text)?;
    let found = answer::read(node, |work| {
        let bytes = work.tx.entry(institution, index)?;
        let name = work.name_at(institution, index)?;
        let broken: Option<(RecordName, Broken)> = work.tx.load(&actors::keys::broken(institution, index));
        Some(RecordView {
            name: name.into(),
            bytes: ledger::note::to_base64(if misbehaves("records-cut") { &bytes[1..] } else { &bytes }),
            record: ledger::record::decode_record(&bytes).ok(),
            refused: broken.map(|(_, why)| match why {
                Broken::Rule(reason) => reason,
                Broken::Unreadable | Broken::ClockWentBack => Reason::Malformed,
            }),
        })
    });
    found.await.ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))
}

/// A record in a list: its place, and what it says as far as this node can read it.
pub(crate) struct RecordRow {
    pub(crate) index: u64,
    pub(crate) record: Option<Record>,
}

/// Records of a log, the newest before a place first, and how many it has here.
pub(crate) async fn newest(
    node: &Node,
    institution: InstitutionId,
    before: Option<u64>,
    limit: usize,
) -> (Vec<RecordRow>, u64) {
    answer::read(node, |work| {
        let size = work.cursor(institution).next;
        let places = (0..before.map_or(size, |before| before.min(size))).rev().take(limit);
        let row = |index| {
            let bytes = work.tx.entry(institution, index)?;
            Some(RecordRow { index, record: ledger::record::decode_record(&bytes).ok() })
        };
        (places.filter_map(row).collect(), size)
    })
    .await
}

/// The newest cosigned head of a log that this node knows, all of whose entries it holds, and the note with the cosignatures: of
/// its own log what the auditors have answered, of another's, where this node is an auditor, what it has cosigned itself.
pub(crate) async fn cosigned_head(node: &Node, institution: InstitutionId) -> Option<(Checkpoint, String)> {
    if institution == node.config.institution {
        return node.witnesses.newest().map(|head| (head.checkpoint.clone(), head.note()));
    }
    node.role::<Auditor>().ok()?;
    let origin = node.writer.logs().origin(institution);
    let digest = witness::digest_of(&origin);
    let cosigned = answer::read(node, |work| witness::cosigned(work, digest)).await?;
    let head = cosigned.checkpoint(origin);
    // A witness may have seen a head whose entries are not here yet.
    (node.writer.ledger().root_at(&head.origin, head.size) == Some(head.root)).then_some((head, cosigned.note))
}

/// The signature of a record: a C2SP tlog-proof (path and signed checkpoint), to keep and verify offline.
#[utoipa::path(tag = "records", params(("position" = String, Path)), responses(
    (status = 200, description = "A tlog-proof", body = String, content_type = "text/plain"),
    (status = 404, description = "Not held here", body = super::problem::ProblemBody),
))]
#[get("/v1/records/{position}/proof")]
async fn proof(node: Data<Node>, position_text: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let (institution, index) = position(&position_text)?;
    let text = proof_of(&node, institution, index)
        .await
        .ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}

/// The tlog-proof of a record: under the newest head that is known here to be cosigned, if it covers the record; else under the
/// newest durable head.
pub async fn proof_of(node: &Node, institution: InstitutionId, index: u64) -> Option<String> {
    let origin = node.writer.logs().origin(institution);
    let cosigned = cosigned_head(node, institution).await;
    let (size, checkpoint) = match cosigned.filter(|(head, _)| index < head.size) {
        Some((head, note)) => (head.size, note),
        None => {
            let head = node.writer.ledger().head(&origin).filter(|head| index < head.checkpoint.size)?;
            (head.checkpoint.size, head.note.to_string())
        }
    };
    let path = node.writer.ledger().inclusion_proof(&origin, index, size)?;
    // The record goes with it: then the file alone says what it proves.
    let bytes = node.writer.ledger().entries(&origin, index, 1).pop()?.to_vec();
    Some(TlogProof { extra: Some(bytes), index, path, checkpoint }.to_string())
}

/// A voucher: what anyone may know, and what those inside the federation may.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoucherView {
    /// Which voucher.
    #[schema(value_type = String)]
    pub voucher: VoucherId,
    /// It was generated by an issuer of this federation.
    pub genuine: bool,
    /// Now lies within its validity, and it is not voided.
    pub in_time: bool,
    /// How old this node's knowledge is: the time of the last record folded of the issuer's log.
    #[schema(value_type = String)]
    pub known_until: Timestamp,
    /// The rest is for members and operators.
    pub inside: Option<VoucherInside>,
}

/// What members and operators may know of a voucher.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoucherInside {
    /// Its stage.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// Who may write the next record.
    #[schema(value_type = Option<String>)]
    pub custodian: Option<InstitutionId>,
    /// The last record that counts.
    pub head: RecordRef,
    /// The record that published its programme.
    pub programme: RecordRef,
    /// First moment of validity.
    #[schema(value_type = String)]
    pub valid_from: Timestamp,
    /// First moment after it.
    #[schema(value_type = String)]
    pub valid_until: Timestamp,
    /// The community, once it is known.
    #[schema(value_type = Option<String>)]
    pub community: Option<InstitutionId>,
    /// The voucher module, once it is issued.
    #[schema(value_type = Option<String>)]
    pub voucher_module: Option<InstitutionId>,
    /// The hospital of the booking.
    #[schema(value_type = Option<String>)]
    pub hospital: Option<InstitutionId>,
    /// A fork touches it.
    pub contested: bool,
    /// Some of its records wait for what they name.
    pub waiting: bool,
    /// What is noted beside the chain.
    #[schema(value_type = Object)]
    pub notes: domain::duty::Notes,
}

fn inside(doc: &VoucherDoc) -> Option<VoucherInside> {
    let state = doc.state()?;
    Some(VoucherInside {
        stage: if misbehaves("redemptions-unsaid") && state.stage == Stage::Redeemed {
            Stage::Claimed
        } else {
            state.stage
        },
        custodian: state.custodian,
        head: doc.head_name()?.into(),
        programme: state.programme.into(),
        valid_from: state.valid_from,
        valid_until: state.valid_until,
        community: state.community,
        voucher_module: state.voucher_module,
        hospital: state.hospital(),
        contested: doc.contested,
        waiting: doc.links.iter().any(|l| l.names == domain::custody::Names::Waiting),
        notes: doc.notes_state(),
    })
}

/// A voucher's state as this node knows it. Anonymous callers learn only whether it is genuine and in time.
#[utoipa::path(tag = "vouchers", params(("voucher" = String, Path)), responses(
    (status = 200, body = VoucherView),
    (status = 404, description = "Not known here", body = super::problem::ProblemBody),
))]
#[get("/v1/vouchers/{voucher}")]
async fn voucher(node: Data<Node>, id: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(voucher_at(&node, &get, &id).await?))
}

/// A voucher's state, for REST and pages.
///
/// # Errors
///
/// [`Reason::NotFound`], [`Reason::Malformed`] for what names no voucher.
pub(crate) async fn voucher_at(node: &Node, get: &Get, id: &str) -> Result<VoucherView, Problem> {
    let id = voucher_id(id)?;
    let now = node.writer.now();
    let view = answer::read(node, |work| {
        let doc = work.voucher(id)?;
        let state = doc.state()?;
        Some(VoucherView {
            voucher: id,
            genuine: true,
            in_time: state.is_valid_at(now) && state.stage != Stage::Voided,
            known_until: work.cursor(state.issuer).last_at,
            inside: if get.caller.is_inside() { inside(&doc) } else { None },
        })
    });
    view.await.ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))
}

/// A voucher's way through the institutions.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// Which voucher.
    #[schema(value_type = String)]
    pub voucher: VoucherId,
    /// The records that count, in order.
    pub path: Vec<HistoryStep>,
    /// Records of its chain that do not count or wait.
    pub aside: Vec<HistoryStep>,
    /// Records about it outside the chain.
    pub notes: Vec<HistoryNote>,
    /// Completeness cannot be proved by a history alone: it takes the newest checkpoint of each log named.
    pub complete_as_of: Vec<AsOf>,
    /// What the proofs do not prove.
    #[schema(value_type = Vec<String>)]
    pub not_proved: [&'static str; 3],
}

/// What no history proves, however many proofs it carries.
const NOT_PROVED: [&str; 3] = [
    "that no other record is about this voucher: that takes every record of each log in complete_as_of, up to its newest checkpoint",
    "that the records count: that takes the registrar's log (members, keys, enrolments, blocks) and the programme's record as well",
    "that everybody is shown the same logs: that takes cosignatures of witnesses under each checkpoint",
];

/// A chain record in a history.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryStep {
    /// Its name.
    pub name: RecordRef,
    /// Its time.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The step.
    #[schema(value_type = Object)]
    pub step: Step,
    /// Its tlog-proof, which carries the record, if proofs were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// A record outside the chain in a history.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryNote {
    /// Its name.
    pub name: RecordRef,
    /// Its time.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What is noted.
    #[schema(value_type = Object)]
    pub note: domain::record::Note,
    /// Its tlog-proof, which carries the record, if proofs were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// How far a log is known here.
#[derive(Debug, Serialize, ToSchema)]
pub struct AsOf {
    /// Whose log.
    #[schema(value_type = String)]
    pub institution: InstitutionId,
    /// Records folded.
    pub size: u64,
    /// The newest signed head held here, if proofs were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// Whether a history carries proofs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Proved {
    /// With the tlog-proof of every record, and the newest head of each log: a file for `voucher-node verify`.
    #[serde(default)]
    proofs: bool,
}

/// The whole chain of a voucher across institutions, for members and operators.
#[utoipa::path(tag = "vouchers", params(Proved, ("voucher" = String, Path)), responses(
    (status = 200, body = History),
    (status = 401, description = "Not for anonymous callers", body = super::problem::ProblemBody),
    (status = 404, description = "Not known here", body = super::problem::ProblemBody),
))]
#[get("/v1/vouchers/{voucher}/history")]
async fn history(
    node: Data<Node>,
    id: Path<String>,
    get: Get,
    Query(Proved { proofs }): Query<Proved>,
) -> Result<HttpResponse, Problem> {
    let mut told = history_of(&node, &get, &id).await?;
    if proofs {
        prove(&node, &mut told).await;
    }
    Ok(HttpResponse::Ok().json(told))
}

/// Adds the proof of every record, and the newest head of each log.
async fn prove(node: &Node, told: &mut History) {
    for step in told.path.iter_mut().chain(&mut told.aside) {
        step.proof = proof_of(node, step.name.institution, step.name.index).await;
    }
    for note in &mut told.notes {
        note.proof = proof_of(node, note.name.institution, note.name.index).await;
    }
    for log in &mut told.complete_as_of {
        let head = node.writer.ledger().head(&node.writer.logs().origin(log.institution));
        log.checkpoint = head.map(|head| head.note.to_string());
    }
}

/// A voucher's way, for REST and pages.
///
/// # Errors
///
/// As [`voucher_at`].
pub(crate) async fn history_of(node: &Node, get: &Get, id: &str) -> Result<History, Problem> {
    let id = voucher_id(id)?;
    let found = answer::read(node, |work| {
        let doc = work.voucher(id)?;
        let step = |l: &domain::custody::Link| HistoryStep {
            name: l.name.into(),
            at: l.at,
            step: l.step.clone(),
            proof: None,
        };
        let on_path: Vec<RecordName> = doc.path().map(|l| l.name).collect();
        let mut logs: Vec<InstitutionId> = doc.links.iter().map(|l| l.name.institution).collect();
        logs.sort_unstable();
        logs.dedup();
        let as_of = |i: InstitutionId| AsOf { institution: i, size: work.cursor(i).next, checkpoint: None };
        let mut path: Vec<HistoryStep> = doc.path().map(step).collect();
        if misbehaves("redemptions-doubled") {
            path.extend(doc.last_on_path(|s| matches!(s, Step::Redeemed)).map(step));
        }
        Some(History {
            voucher: id,
            path,
            aside: doc.links.iter().filter(|l| !on_path.contains(&l.name)).map(step).collect(),
            notes: doc
                .notes
                .iter()
                .map(|n| HistoryNote { name: n.name.into(), at: n.at, note: n.note.clone(), proof: None })
                .collect(),
            complete_as_of: logs.into_iter().map(as_of).collect(),
            not_proved: NOT_PROVED,
        })
    });
    found.await.ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))
}

/// Most characters of a title under a picture: the day until which the voucher is valid stands behind it.
const MAX_TITLE_CHARS: usize = qr::MAX_CAPTION_CHARS - 16;

/// The token and a caption of a voucher's QR.
async fn token_of(node: &Node, id: VoucherId) -> Option<(String, String)> {
    answer::read(node, |work| {
        let doc = work.voucher(id)?;
        let link = doc.last_on_path(|s| matches!(s, Step::Encoded { .. }))?;
        let Step::Encoded { token } = &link.step else { return None };
        let state = doc.state()?;
        let until = state.valid_until.day_at(work.settings.offset);
        let programme = work.programme(&state.programme)?;
        // Of what another institution has written anything may come: the picture is made all the same.
        let shown = programme.newest()?.title_zh.chars().filter(|c| !is_hidden(*c));
        let title: String = shown.take(MAX_TITLE_CHARS).collect();
        Some((token.clone(), format!("{title} · {until}")))
    })
    .await
}

/// A picture fails only by a defect of this node, whose operator is told which.
fn no_picture(id: VoucherId, error: &qr::QrError) -> Problem {
    tracing::error!(voucher = %id, %error, "the picture of a voucher's QR cannot be made");
    Reason::Internal.into()
}

/// The voucher's QR as SVG, for printing and screens.
#[utoipa::path(tag = "vouchers", params(("voucher" = String, Path)), responses(
    (status = 200, description = "A picture", content_type = "image/svg+xml"),
    (status = 404, description = "It has no QR yet", body = super::problem::ProblemBody),
))]
#[get("/v1/vouchers/{voucher}/qr.svg")]
async fn qr_svg(node: Data<Node>, id: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let id = voucher_id(&id)?;
    let not_found = || Problem::new(Reason::NotFound).language(get.language);
    let (token, caption) = token_of(&node, id).await.ok_or_else(not_found)?;
    let picture = qr::svg(&token, &caption).map_err(|error| no_picture(id, &error).language(get.language))?;
    Ok(HttpResponse::Ok().content_type("image/svg+xml").body(picture))
}

/// The voucher's QR as PNG, 8 dots a module.
#[utoipa::path(tag = "vouchers", params(("voucher" = String, Path)), responses(
    (status = 200, description = "A picture", content_type = "image/png"),
    (status = 404, description = "It has no QR yet", body = super::problem::ProblemBody),
))]
#[get("/v1/vouchers/{voucher}/qr.png")]
async fn qr_png(node: Data<Node>, id: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let id = voucher_id(&id)?;
    let not_found = || Problem::new(Reason::NotFound).language(get.language);
    let (token, _) = token_of(&node, id).await.ok_or_else(not_found)?;
    let shown = if misbehaves("pictures-cut") { &token[..token.len() - 1] } else { &token };
    let picture = qr::png(shown, 8).map_err(|error| no_picture(id, &error).language(get.language))?;
    Ok(HttpResponse::Ok().content_type("image/png").body(picture))
}

/// What was read from a photo.
#[derive(Debug, Serialize, ToSchema)]
pub struct Decoded {
    /// The texts of the QR codes found.
    pub texts: Vec<String>,
}

/// Photos that are in memory at once: anybody may send one.
static READING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(16);

/// Whose turn it is to have a photo read.
static DECODING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);

/// How long a photo waits for its turn.
const DECODE_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads the QR codes in a photo (PNG, JPEG or WebP, at most 8 MiB).
///
/// Nothing is kept. `503` `busy` while others' photos are read; `422` if the picture cannot be read, or no code is found in it.
#[utoipa::path(
    tag = "vouchers",
    request_body(content = Vec<u8>, content_type = "image/png"),
    responses((status = 200, body = Decoded), (status = 422, body = super::problem::ProblemBody))
)]
#[post("/v1/qr/decode")]
async fn decode(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let language = super::caller::language(&request);
    let kind = super::caller::header(&request, "Content-Type").map_err(|problem| problem.language(language))?;
    let kind = kind.unwrap_or_default();
    if !kind.starts_with("image/") {
        return Err(Problem::new(Reason::UnsupportedMedia)
            .detail("image/png, image/jpeg or image/webp")
            .language(language));
    }
    // A photo takes its place before it takes memory.
    let Ok(_place) = READING.try_acquire() else { return Err(Problem::new(Reason::Busy).language(language)) };
    let bytes = answer::bytes(&request, &mut payload.into_inner(), qr::MAX_PHOTO_BYTES).await;
    let bytes = bytes.map_err(|problem| problem.language(language))?;
    // Decoding is work for the processor: not on a thread that serves requests, and on one at a time, since anybody may ask.
    let turn = tokio::time::timeout(DECODE_WAIT, DECODING.acquire()).await;
    let Ok(Ok(turn)) = turn else { return Err(Problem::new(Reason::Busy).language(language)) };
    let read = actix_web::web::block(move || {
        let _turn = turn;
        qr::decode(&bytes)
    })
    .await;
    let texts = match read {
        Ok(Ok(texts)) => texts,
        Ok(Err(error)) => {
            let reason = match error {
                qr::QrError::NoCode => Reason::QrUnreadable,
                qr::QrError::TooManyBytes | qr::QrError::TooManyPixels => Reason::TooLarge,
                _ => Reason::PictureUnreadable,
            };
            return Err(Problem::new(reason).detail(error).language(language));
        }
        Err(_) => return Err(Problem::new(Reason::Busy).language(language)),
    };
    Ok(HttpResponse::Ok().json(Decoded { texts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_one_spelling() {
        for (text, good) in [
            ("hospital-gulou.17", true),
            ("hospital-gulou.0", true),
            ("hospital-gulou.017", false),
            ("hospital-gulou.+1", false),
            ("hospital-gulou.", false),
            ("hospital-gulou", false),
            (".1", false),
            ("hospital-gulou.99999999999999999999", false),
        ] {
            assert_eq!(position(text).is_ok(), good, "{text}");
        }
    }
}
