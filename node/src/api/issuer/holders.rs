//! Persons (unit B1): registering them once, blocking, new phones, cards, moving. For the registrar alone.

use std::collections::BTreeMap;

use actix_web::web::{self, Data, Path, Query};
use actix_web::{HttpResponse, get, post};
use actors::issuer::{self, Answer, Command, Document, Issuer, Person, Registration, Wanted};
use actors::token::PublicKey;
use domain::holder::{BlockReason, RegistrarEvent};
use domain::ids::{CardId, EnrolmentId, HolderId, InstitutionId, RecordName, ShortName};
use domain::policy::Class;
use domain::reasons::Reason;
use domain::record::{Body, Record};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::{by_home, bytes, home};
use crate::api::answer::{self, Get, Listed, Nothing, Page, Post, Receipt};
use crate::api::document;
use crate::api::looked::{self, Shown};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(register)
        .service(show)
        .service(shared)
        .service(enrol)
        .service(block)
        .service(change_key)
        .service(issue_card)
        .service(move_home);
}

/// People who often have one telephone: a couple, or a parent and a child.
const USUAL_FAMILY: usize = 2;

/// A printed card's keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CardKeys {
    /// The card's random id.
    #[schema(value_type = String)]
    card: CardId,
    /// Ed25519 public key by programme, 32 bytes in base64.
    #[schema(value_type = Object)]
    keys: BTreeMap<ShortName, String>,
}

/// A person to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Application {
    /// Kind of document, such as `resident-id`.
    #[schema(value_type = String)]
    document_type: ShortName,
    /// Its number.
    document_number: String,
    /// Date of birth, `YYYY-MM-DD`.
    born: chrono::NaiveDate,
    /// `F` or `M`, as in the document.
    sex: String,
    /// As in the document.
    name: String,
    /// Telephone number.
    phone: Option<String>,
    /// `elderly`, `chronic`, `pregnant` or `disabled`.
    #[schema(value_type = String)]
    class: Class,
    /// The home community.
    #[schema(value_type = String)]
    community: InstitutionId,
    /// Who looks after the vouchers.
    #[schema(value_type = String)]
    voucher_module: InstitutionId,
    /// Text of a VP1 with step *register*; absent without a phone.
    main_key: Option<String>,
    /// The phone's key for each programme: `ed25519:` or `es256:` and base64.
    #[schema(value_type = Object)]
    #[serde(default)]
    enrolment_keys: BTreeMap<ShortName, String>,
    /// Random ids of the enrolments, by programme.
    #[schema(value_type = Object)]
    enrolment_ids: BTreeMap<ShortName, EnrolmentId>,
    /// The printed card, for somebody without a phone.
    card: Option<CardKeys>,
}

/// Enrolments as they were written.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct Granted {
    holder: String,
    enrolments: Vec<GrantedEnrolment>,
}

/// One enrolment.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct GrantedEnrolment {
    programme: String,
    id: String,
    name: answer::RecordRef,
}

fn public_key(text: &str) -> Result<PublicKey, Problem> {
    text.parse().map_err(|_| Problem::new(Reason::KeyUnfit))
}

fn wanted(
    ids: BTreeMap<ShortName, EnrolmentId>,
    mut keys: BTreeMap<ShortName, String>,
    mut cards: BTreeMap<ShortName, String>,
) -> Result<Vec<Wanted>, Problem> {
    let mut all = Vec::with_capacity(ids.len());
    for (programme, id) in ids {
        let key = keys.remove(&programme).map(|text| public_key(&text)).transpose()?;
        let card_key = cards.remove(&programme).map(|text| bytes("a card's key", &text)).transpose()?;
        all.push(Wanted { programme, id, key, card_key });
    }
    if let Some(programme) = keys.keys().chain(cards.keys()).next() {
        return Err(Problem::malformed(format!("a key for {programme}, and no enrolment id")));
    }
    Ok(all)
}

fn registration(body: Application) -> Result<Registration, Problem> {
    let number = document::checked(&body.document_type, body.document_number, body.born)?;
    let (card, card_keys) = body.card.map_or((None, BTreeMap::new()), |c| (Some(c.card), c.keys));
    Ok(Registration {
        holder: Uuid::new_v4(),
        secret: rand::random(),
        document: Document { kind: body.document_type, number },
        person: Person { name: body.name, born: body.born, sex: body.sex, phone: body.phone },
        class: body.class,
        community: body.community,
        voucher_module: body.voucher_module,
        main_key: body.main_key,
        card,
        enrolments: wanted(body.enrolment_ids, body.enrolment_keys, card_keys)?,
    })
}

/// Register a person, who is registered once by document and by key.
///
/// `201` with the enrolments, also when the request is repeated; `409` `document-registered`, `key-registered`,
/// `not-entitled`, `document-invalid`; `403` if a community asks for another one's people.
#[utoipa::path(tag = "issuer", request_body = Application, responses(
    (status = 201, body = Receipt<Granted>), (status = 409, body = ProblemBody), (status = 403, body = ProblemBody),
))]
#[post("/v1/issuer/holders")]
async fn register(node: Data<Node>, post: Post<Application>) -> Result<HttpResponse, Problem> {
    let Post { caller, idempotency, body, language } = post;
    let answered = async {
        let by = home(&caller)?;
        if by.is_some_and(|community| community != body.community) {
            return Err(Problem::new(Reason::Forbidden));
        }
        node.role::<Issuer>()?;
        let post = Post { caller, idempotency, body: (), language };
        if let Some(again) = granted_before(&node, &post).await? {
            return Ok(again);
        }
        let command = Command::Register(Box::new(registration(body)?));
        answer::ask::<Issuer, _, Answer>(&node, &post, command, Some).await
    };
    answered.await.map_err(|problem| problem.language(language))
}

/// The same answer to the same request: whoever lost it could not go on without the enrolments' names.
async fn granted_before(node: &Node, post: &Post<()>) -> Result<Option<HttpResponse>, Problem> {
    let Some(receipt) = answer::again(node, post).await? else { return Ok(None) };
    let written: Vec<RecordName> = receipt.records.iter().cloned().map(Into::into).collect();
    let result = answer::read(node, |work| {
        let first = written.first()?;
        let record: Record = ledger::record::decode_record(&work.tx.entry(first.institution, first.index)?).ok()?;
        let Body::Registrar(RegistrarEvent::Enrolled { id, .. }) = record.body else { return None };
        let holder = issuer::holder_of(work, id)?;
        let mut enrolments = issuer::holder(work, holder)?.enrolments;
        enrolments.retain(|e| written.contains(&e.name));
        Some(Answer::Enrolled { holder, enrolments })
    });
    let receipt = Receipt { result: result.await, ..receipt };
    Ok(Some(HttpResponse::Created().json(receipt)))
}

/// A registered person, masked: for operators, and for the home community.
#[utoipa::path(tag = "issuer", params(("holder" = String, Path)), responses(
    (status = 200, body = Object), (status = 404, body = ProblemBody),
))]
#[get("/v1/issuer/holders/{holder}")]
async fn show(node: Data<Node>, get: Get, holder: Path<Uuid>) -> Result<HttpResponse, Problem> {
    node.role::<Issuer>().map_err(|problem| problem.language(get.language))?;
    let by = home(&get.caller).map_err(|problem| problem.language(get.language))?;
    let found = answer::read(&node, |work| issuer::holder(work, *holder)).await;
    // Who may not see a person does not learn that there is one.
    let seen = found.filter(|h| by.is_none_or(|community| community == h.community));
    if let Some(operator) = get.caller.operator() {
        looked::note(operator, "person", Some(HolderId(*holder)), Shown::Masked, seen.is_some());
    }
    let shown = seen.ok_or_else(|| Problem::new(Reason::HolderUnknown).language(get.language))?;
    Ok(HttpResponse::Ok().json(shown))
}

/// How many people a list of shared telephones begins with.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Sharing {
    /// Fewest people, 2 or more; 3 if nothing else is asked for: two are mostly a couple, or a parent and a child.
    at_least: Option<usize>,
    /// Most telephones, 1 to 1,000.
    limit: Option<usize>,
}

/// Telephones that several registered people have given, those of most people first: somebody may have registered people who know
/// nothing of it. For the registrar's operators; masked, and in no log.
///
/// `200`; `400`; `404` `not-my-role`.
#[utoipa::path(tag = "issuer", params(Sharing), responses(
    (status = 200, body = Object), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody),
))]
#[get("/v1/issuer/shared-contacts")]
async fn shared(node: Data<Node>, get: Get, asked: Query<Sharing>) -> Result<HttpResponse, Problem> {
    let in_language = |problem: Problem| problem.language(get.language);
    node.role::<Issuer>().map_err(in_language)?;
    let limit = Page { limit: asked.limit, cursor: None }.limit().map_err(in_language)?;
    let at_least = asked.at_least.unwrap_or(USUAL_FAMILY + 1);
    if at_least < 2 {
        return Err(in_language(Problem::malformed("`at_least` is 2 or more")));
    }
    // Reading every person takes long: not on a thread that answers requests.
    let reading = node.clone();
    let read = web::block(move || issuer::shared_contacts(reading.writer.logs(), at_least, limit)).await;
    let found = read.map_err(|_| in_language(Reason::Busy.into()))?;
    if let Some(operator) = get.caller.operator() {
        looked::note(operator, "shared-contacts", None, Shown::Masked, !found.is_empty());
    }
    Ok(HttpResponse::Ok().json(Listed { items: found, next: None }))
}

/// More programmes for a registered person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct More {
    /// Random ids of the enrolments, by programme.
    #[schema(value_type = Object)]
    enrolment_ids: BTreeMap<ShortName, EnrolmentId>,
    /// The phone's key for each programme: `ed25519:` or `es256:` and base64.
    #[schema(value_type = Object)]
    #[serde(default)]
    enrolment_keys: BTreeMap<ShortName, String>,
}

/// Enrol a registered person in more programmes, such as one published since.
#[utoipa::path(tag = "issuer", params(("holder" = String, Path)), request_body = More, responses(
    (status = 201, body = Receipt<Granted>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/holders/{holder}/enrolments")]
async fn enrol(node: Data<Node>, post: Post<More>, holder: Path<Uuid>) -> Result<HttpResponse, Problem> {
    by_home(&node, post, |More { enrolment_ids, enrolment_keys }, by| {
        let enrolments = wanted(enrolment_ids, enrolment_keys, BTreeMap::new())?;
        Ok(Command::Enrol { holder: *holder, by, enrolments })
    })
    .await
}

/// Why a person is blocked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Block {
    /// `lost-or-stolen`, `died`, `entitlement-ended` or `holder-asked`.
    #[schema(value_type = String)]
    reason: BlockReason,
}

/// Block all enrolments of a person, with phone and card, in one act and for good.
#[utoipa::path(tag = "issuer", params(("holder" = String, Path)), request_body = Block, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/holders/{holder}/block")]
async fn block(node: Data<Node>, post: Post<Block>, holder: Path<Uuid>) -> Result<HttpResponse, Problem> {
    by_home(&node, post, |Block { reason }, by| Ok(Command::Block { holder: *holder, by, reason })).await
}

/// Another phone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPhone {
    /// Text of a VP1 with step *register*; absent if only a card is left.
    main_key: Option<String>,
    /// The phone's key for each programme: `ed25519:` or `es256:` and base64. Others have no phone key from then on.
    #[schema(value_type = Object)]
    #[serde(default)]
    enrolment_keys: BTreeMap<ShortName, String>,
}

/// Put another phone in the place of the old one.
///
/// `201`; `409` `key-registered`, `enrolment-unknown`, `presentation-forged`; nothing that the old phone signs counts.
#[utoipa::path(tag = "issuer", params(("holder" = String, Path)), request_body = NewPhone, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/holders/{holder}/key")]
async fn change_key(node: Data<Node>, post: Post<NewPhone>, holder: Path<Uuid>) -> Result<HttpResponse, Problem> {
    by_home(&node, post, |NewPhone { main_key, enrolment_keys }, by| {
        let key = |(programme, text): (ShortName, String)| Ok((programme, public_key(&text)?));
        let keys = enrolment_keys.into_iter().map(key).collect::<Result<Vec<_>, Problem>>()?;
        Ok(Command::ChangeKey { holder: *holder, by, main_key, keys })
    })
    .await
}

/// Register a printed card. It replaces an earlier one.
#[utoipa::path(tag = "issuer", params(("holder" = String, Path)), request_body = CardKeys, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/holders/{holder}/card")]
async fn issue_card(node: Data<Node>, post: Post<CardKeys>, holder: Path<Uuid>) -> Result<HttpResponse, Problem> {
    by_home(&node, post, |CardKeys { card, keys }, by| {
        let key = |(programme, text): (ShortName, String)| Ok((programme, bytes("a card's key", &text)?));
        let keys = keys.into_iter().map(key).collect::<Result<Vec<_>, Problem>>()?;
        Ok(Command::IssueCard { holder: *holder, by, card, keys })
    })
    .await
}

/// Another home.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Move {
    /// The new home community.
    #[schema(value_type = String)]
    community: InstitutionId,
    /// The new voucher module.
    #[schema(value_type = String)]
    voucher_module: InstitutionId,
}

/// Move a person to another home community or voucher module.
#[utoipa::path(tag = "issuer", params(("holder" = String, Path)), request_body = Move, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/holders/{holder}/move")]
async fn move_home(node: Data<Node>, post: Post<Move>, holder: Path<Uuid>) -> Result<HttpResponse, Problem> {
    by_home(&node, post, |Move { community, voucher_module }, by| {
        Ok(Command::Move { holder: *holder, by, community, voucher_module })
    })
    .await
}
