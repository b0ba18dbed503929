//! Registration: a phone announces its keys, the desk sees the document, the registrar registers each once.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, get, post};
use actors::community::Community;
use actors::community::command::{Answer, Command, Granted, Known, Registered};
use actors::community::people::{self, Form, Person, Sex};
use actors::community::registration::{self, Application, CardKeys, Carrier};
use actors::community::residents::{self, Draft};
use actors::document;
use actors::presented;
use actors::token::vc1::Card;
use actors::token::{PublicKey, vp1};
use actors::voucher::letters::{Enrolled, KeyText};
use domain::holder::BlockReason;
use domain::ids::{CardId, Digest, HolderId, InstitutionId, ShortName};
use domain::policy::Class;
use domain::reasons::Reason;
use domain::time::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::{answered, clerk, clerk_reads, holder_id, key_of, received, registrar, registrar_shows, send};
use crate::api::answer::{self, Get, Listed, Nothing, Post, Receipt};
use crate::api::caller::{self, Caller};
use crate::api::json;
use crate::api::looked::{self, Shown};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

/// How long a desk waits until the enrolments are here that the registrar has written: then the person can be issued to.
const WAIT_FOR_ENROLMENTS: Duration = Duration::from_secs(3);

/// Rest between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What requests under way are about, so that there is one at a time: the registrar puts the newest card in someone's
/// name, and of two cards made at once one would be printed dead.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<HashSet<About>>);

/// What a request is about that makes a card or a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    /// A document, in one spelling.
    Document(Digest),
    /// Somebody who is registered.
    Holder(HolderId),
}

/// Nobody else begins the same until this is dropped, also where a request breaks off.
struct Alone<'a> {
    under_way: &'a UnderWay,
    about: About,
}

impl UnderWay {
    /// # Errors
    ///
    /// [`Reason::Busy`] while another request is about the same.
    fn begin(&self, about: About) -> Result<Alone<'_>, Problem> {
        if self.0.lock().insert(about) {
            Ok(Alone { under_way: self, about })
        } else {
            Err(Problem::new(Reason::Busy).detail("another request about this person is under way"))
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.under_way.0.lock().remove(&self.about);
    }
}

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(announce)
        .service(announce_for)
        .service(without_phone)
        .service(complete)
        .service(new_card)
        .service(look_up)
        .service(block)
        .service(new_phone)
        .service(more_programmes);
}

/// What a phone announces.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Announcement {
    /// Text of the VP1 with step *register*, not older than 60 s.
    main_key: String,
    /// A key for each programme: `ed25519:` or `es256:` and base64.
    #[schema(value_type = Object)]
    enrolment_keys: BTreeMap<ShortName, KeyText>,
}

/// Where an announcement waits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Announced {
    /// SHA-256 of the main key's bytes, hexadecimal.
    pub thumbprint: String,
}

/// What a phone announces by way of a voucher module, whose page it has open: no page calls two nodes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PassedOn {
    /// The body of `POST /v1/community/registrations`, as the phone signed it.
    pub announcement: String,
    /// The phone's signature over that request to the community's node: what `Authorization` has behind `VP1`.
    pub signature: String,
}

/// What a phone announces by another node's way, once that is known to be its own word.
pub struct Heard {
    announcement: Announcement,
    proof: vp1::Unverified,
    /// The main key that it announces, which signed.
    pub main_key: PublicKey,
}

impl PassedOn {
    /// The route whose request the phone signs.
    const ROUTE: &str = "/v1/community/registrations";

    /// Reads it, as sent to this community.
    ///
    /// # Errors
    ///
    /// [`Reason::Unauthenticated`] if another key signed than the one that is announced; what is wrong with the signature.
    pub fn read(&self, community: InstitutionId, now: Timestamp) -> Result<Heard, Problem> {
        let bytes = self.announcement.as_bytes();
        let announcement: Announcement = json::read(bytes).map_err(Problem::malformed)?;
        let malformed = |error| Problem::new(Reason::PresentationMalformed).detail(error);
        let proof = vp1::parse(&self.signature).map_err(malformed)?;
        caller::is_over(&proof, community, "POST", Self::ROUTE, bytes, now)?;
        let main_key = presented::read(&announcement.main_key)?.main_key()?;
        if !proof.verify(&main_key) {
            return Err(Reason::Unauthenticated.into());
        }
        Ok(Heard { announcement, proof, main_key })
    }
}

/// A phone announces its keys; a desk completes the registration within 24 hours. The request is signed by the new main key.
///
/// `201` with the thumbprint; `401` if another key signed; `409` `presentation-stale`, `presentation-forged`, `key-unfit`.
#[utoipa::path(tag = "community", request_body = Announcement, responses(
    (status = 201, body = Receipt<Announced>), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/registrations")]
async fn announce(node: Data<Node>, post: Post<Announcement>) -> Result<HttpResponse, Problem> {
    answered(&node, &post, async {
        node.role::<Community>()?;
        let Caller::Holder(proof) = &post.caller else { return Err(Reason::Unauthenticated.into()) };
        let main_key = presented::read(&post.body.main_key)?.main_key()?;
        if !proof.verify(&main_key) {
            return Err(Reason::Unauthenticated.into());
        }
        keep(&node, &post, &post.body, proof).await
    })
    .await
}

/// Keep what a phone announces by way of its voucher module, as if it had called here: the phone's own signature says so.
///
/// `201` with the thumbprint; `401` if another key signed; `409` `presentation-…`, `key-unfit`.
#[utoipa::path(tag = "community", request_body = PassedOn, responses(
    (status = 201, body = Receipt<Announced>), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/announcements")]
async fn announce_for(node: Data<Node>, post: Post<PassedOn>) -> Result<HttpResponse, Problem> {
    answered(&node, &post, async {
        let heard = post.body.read(node.config.institution, node.writer.now())?;
        hear(&node, &post, &heard).await
    })
    .await
}

/// Keeps what a phone announces by another way than its own call.
///
/// # Errors
///
/// As `POST /v1/community/registrations`.
pub async fn hear<T>(node: &Node, post: &Post<T>, heard: &Heard) -> Result<HttpResponse, Problem> {
    node.role::<Community>()?;
    keep(node, post, &heard.announcement, &heard.proof).await
}

async fn keep<T>(
    node: &Node,
    post: &Post<T>,
    announcement: &Announcement,
    proof: &vp1::Unverified,
) -> Result<HttpResponse, Problem> {
    node.announced.once(&proof.claims, node.writer.now())?;
    let Announcement { main_key, enrolment_keys } = announcement;
    let command = Command::Announce { register: main_key.clone(), enrolment_keys: enrolment_keys.clone() };
    let done = send(node, post, command).await?;
    let Answer::Announced(thumbprint) = done.answer else { return Err(Reason::Internal.into()) };
    Ok(answer::created(node, &done.records, Some(Announced { thumbprint: hex::encode(thumbprint) })))
}

/// A person as the desk reads the document. Personal data. Of somebody on the list of residents the document is enough: what
/// is left out is taken from the list, what is given must agree with it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonForm {
    /// Kind of document, such as `resident-id`.
    #[schema(value_type = String)]
    pub document_type: ShortName,
    /// Its number.
    pub document_number: String,
    /// As in the document.
    pub name: Option<String>,
    /// Date of birth, `YYYY-MM-DD`.
    pub born: Option<chrono::NaiveDate>,
    /// `F` or `M`, as in the document.
    #[schema(value_type = Option<String>)]
    pub sex: Option<Sex>,
    /// Telephone number.
    pub phone: Option<String>,
    /// `elderly`, `chronic`, `pregnant` or `disabled`.
    #[schema(value_type = Option<String>)]
    pub class: Option<Class>,
    /// Who looks after the vouchers; this node or the first voucher module unless it is named.
    #[schema(value_type = Option<String>)]
    pub voucher_module: Option<InstitutionId>,
    /// Text of the VP1 with step *register* that the phone shows now; absent without a phone.
    pub qr: Option<String>,
}

impl PersonForm {
    /// The document, spelled as the registrar finds it again. In memory alone: nothing is secret from this node.
    fn about(&self) -> About {
        About::Document(document::digest(&[0; 32], &self.document_type, &self.document_number))
    }

    /// The whole form, with what the list of residents knows.
    async fn form(&self, node: &Node) -> Result<Form, Reason> {
        let draft = Draft {
            document_type: self.document_type.clone(),
            document_number: self.document_number.trim().to_owned(),
            name: self.name.as_ref().map(|name| name.trim().to_owned()),
            born: self.born,
            sex: self.sex,
            phone: self.phone.clone(),
            class: self.class,
        };
        answer::read(node, |work| residents::fill(work, draft)).await
    }
}

/// A printed card. Its text is a secret: print it, and keep it nowhere.
#[derive(Serialize, ToSchema)]
pub struct PrintedCard {
    /// Text of the VC1.
    pub text: String,
    /// Twelve digits, printed below it.
    pub lookup_number: String,
    /// Random id.
    #[schema(value_type = String)]
    pub card_id: CardId,
}

impl From<&Card> for PrintedCard {
    fn from(card: &Card) -> Self {
        let card_id = CardId(Uuid::from_bytes(card.id()));
        Self { text: card.text().to_string(), lookup_number: card.lookup_number(), card_id }
    }
}

/// A registered person.
#[derive(Serialize, ToSchema)]
pub struct Completed {
    /// Random id.
    #[schema(value_type = String)]
    pub holder: HolderId,
    /// One for each programme that is open to the class.
    #[schema(value_type = Vec<Object>)]
    pub enrolments: Vec<Enrolled>,
    /// The printed card, for somebody without a phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<PrintedCard>,
}

/// The part of the registrar's receipt that is needed.
#[derive(Deserialize)]
struct Receipted {
    result: Option<Granted>,
}

/// Complete the registration of somebody whose phone announced itself: the document is checked, the phone is shown.
///
/// `201` with the enrolments; `404` if the phone has not announced itself within 24 hours, `resident-unknown` if the form is
/// not whole and the person is not on the list of residents; `409` `resident-differs` if the list says something else,
/// `presentation-forged`, `presentation-stale`, `document-registered`, `key-registered`, `not-entitled`,
/// `document-invalid`; `503` if the registrar does not answer, or while the same document is registered by another request.
#[utoipa::path(tag = "community", params(("thumbprint" = String, Path)), request_body = PersonForm, responses(
    (status = 201, body = Receipt<Completed>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
#[post("/v1/community/registrations/{thumbprint}/completion")]
async fn complete(node: Data<Node>, thumbprint: Path<String>, post: Post<PersonForm>) -> Result<HttpResponse, Problem> {
    let mut print = [0; 32];
    let read = hex::decode_to_slice(thumbprint.as_str(), &mut print);
    read.map_err(|error| Problem::malformed(error).language(post.language))?;
    Ok(answer::told(completed(&node, print, &post).await?))
}

/// Completes the registration of a phone by its main key's thumbprint; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn completed(node: &Node, print: [u8; 32], post: &Post<PersonForm>) -> Result<Receipt<Completed>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        let qr = post.body.qr.as_deref().ok_or_else(|| Problem::malformed("qr: the phone shows its code"))?;
        let _alone = node.registering.begin(post.body.about())?;
        let form = post.body.form(node).await?;
        let now = node.writer.now();
        let (pending, known) = answer::read(node, |work| {
            (registration::pending(work, &print, now), completed_before(work, &print, &form))
        })
        .await;
        if let (None, Some(person)) = (&pending, known) {
            // The answer to the desk was lost: it is given again.
            let Person { holder, enrolments, .. } = person;
            let completed = Some(Completed { holder, enrolments, card: None });
            return Ok(match answer::again(node, post).await? {
                Some(receipt) => Receipt { result: completed, ..receipt },
                None => answer::receipt(node, &[], completed),
            });
        }
        if let Some(again) = answer::again::<_, Completed>(node, post).await? {
            return Ok(again);
        }
        let pending =
            pending.ok_or_else(|| Problem::new(Reason::NotFound).detail("no phone of that thumbprint waits"))?;
        let application = answer::read(node, |work| {
            let carrier = Carrier::Phone(qr, &pending);
            registration::application(work, &form, post.body.voucher_module, &carrier, Uuid::new_v4, now)
        })
        .await?;
        register(node, post, form, application, Some(pending.main_key), None).await
    })
    .await
}

fn completed_before(work: &actors::replica::Work<'_>, thumbprint: &[u8; 32], form: &Form) -> Option<Person> {
    let kid = *thumbprint.first_chunk::<8>()?;
    people::by_main_key_id(&work.tx, kid)
        .into_iter()
        .find(|p| p.form == *form && p.main_key.is_some_and(|key| key.thumbprint() == *thumbprint))
}

/// Register somebody without a phone: the document is checked, a card is printed.
///
/// `201` with enrolments and card, which is shown this once: repeated, the receipt has no result. `404` `resident-unknown`,
/// `409` as for a phone; `503` if the registrar does not answer, or while the same document is registered by another request.
#[utoipa::path(tag = "community", request_body = PersonForm, responses(
    (status = 201, body = Receipt<Completed>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
#[post("/v1/community/registrations/without-phone")]
async fn without_phone(node: Data<Node>, post: Post<PersonForm>) -> Result<HttpResponse, Problem> {
    Ok(answer::told(registered_without_phone(&node, &post).await?))
}

/// Registers somebody without a phone; the receipt, with the card this once, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn registered_without_phone(node: &Node, post: &Post<PersonForm>) -> Result<Receipt<Completed>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        if post.body.qr.is_some() {
            return Err(Problem::malformed("qr: a phone completes its own registration"));
        }
        let _alone = node.registering.begin(post.body.about())?;
        if let Some(again) = answer::again::<_, Completed>(node, post).await? {
            return Ok(again);
        }
        let form = post.body.form(node).await?;
        let card = Card::generate(&mut rand::rng());
        let now = node.writer.now();
        let application = answer::read(node, |work| {
            let carrier = Carrier::Card(&card);
            registration::application(work, &form, post.body.voucher_module, &carrier, Uuid::new_v4, now)
        })
        .await?;
        register(node, post, form, application, None, Some(&card)).await
    })
    .await
}

async fn register(
    node: &Node,
    post: &Post<PersonForm>,
    form: Form,
    application: Application,
    main_key: Option<PublicKey>,
    card: Option<&Card>,
) -> Result<Receipt<Completed>, Problem> {
    // Ids and keys are fresh each time, so each application is a request of its own.
    let key = format!("registration-{}", Uuid::new_v4());
    let receipted: Receipted = registrar(node, "/v1/issuer/holders", &key, &application).await?;
    let granted = receipted.result.ok_or_else(|| {
        Problem::new(Reason::PeerUnreachable).detail("the registrar's answer does not name the enrolments")
    })?;
    let is_again = granted.enrolments.iter().any(|e| application.enrolment_ids.get(&e.programme) != Some(&e.id));
    if let (true, Some(card)) = (is_again, card) {
        // It was registered before, and the answer did not come or was not kept: no card of those keys is printed.
        if answer::read(node, |work| people::of(&work.tx, granted.holder)).await.is_some() {
            return Err(Problem::new(Reason::DocumentRegistered));
        }
        put_card(node, granted.holder, card, &granted.enrolments).await?;
    }
    let registered = Registered {
        form,
        granted: granted.clone(),
        main_key,
        voucher_module: application.voucher_module,
        card: card.map(|card| (CardId(Uuid::from_bytes(card.id())), card.lookup_number())),
        secret: rand::random(),
    };
    let done = send(node, post, Command::Keep(Box::new(registered))).await?;
    node.wake();
    until_here(node, &granted.enrolments).await;
    let Granted { holder, enrolments } = granted;
    let result = Completed { holder, enrolments, card: card.map(Into::into) };
    Ok(answer::receipt(node, &done.records, Some(result)))
}

/// Waits a little until the registrar's records are here. If they are not, they come later all the same.
async fn until_here(node: &Node, enrolments: &[Enrolled]) {
    let here = || node.writer.read(|work| enrolments.iter().all(|e| work.enrolment(&e.name).is_some())).answer;
    let all = async {
        while !here() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(WAIT_FOR_ENROLMENTS, all).await;
}

/// Whose card.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhoseCard {
    /// Random id of the person.
    #[schema(value_type = String)]
    pub holder: HolderId,
}

/// A new card.
#[derive(Serialize, ToSchema)]
pub struct NewCard {
    /// It is shown this once.
    pub card: PrintedCard,
}

/// Print a card for somebody of this community, with or without a phone. It replaces an earlier one.
///
/// `201` with the card, which is shown this once: repeated, the receipt has no result. `404` `holder-unknown`; `409` what the
/// registrar refuses; `503` while another card of theirs is made.
#[utoipa::path(tag = "community", request_body = WhoseCard, responses(
    (status = 201, body = Receipt<NewCard>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/cards")]
async fn new_card(node: Data<Node>, post: Post<WhoseCard>) -> Result<HttpResponse, Problem> {
    Ok(answer::told(card_made(&node, &post).await?))
}

/// Makes a new card; the receipt, with the card this once, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn card_made(node: &Node, post: &Post<WhoseCard>) -> Result<Receipt<NewCard>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        let holder = post.body.holder;
        let _alone = node.registering.begin(About::Holder(holder))?;
        if let Some(again) = answer::again::<_, NewCard>(node, post).await? {
            return Ok(again);
        }
        let person = answer::read(node, |work| people::of(&work.tx, holder)).await.ok_or(Reason::HolderUnknown)?;
        let card = Card::generate(&mut rand::rng());
        let id = put_card(node, holder, &card, &person.enrolments).await?;
        let command = Command::KeepCard { holder, card: (id, card.lookup_number()) };
        let done = send(node, post, command).await?;
        Ok(answer::receipt(node, &done.records, Some(NewCard { card: (&card).into() })))
    })
    .await
}

/// Has the registrar put a card in a person's name; the card's id.
async fn put_card(node: &Node, holder: HolderId, card: &Card, enrolments: &[Enrolled]) -> Result<CardId, Problem> {
    let keys = CardKeys::of(card, enrolments.iter().map(|e| (&e.programme, e.id)));
    let (path, key) = (format!("/v1/issuer/holders/{holder}/card"), format!("card-{}", keys.card));
    let _: serde_json::Value = registrar(node, &path, &key, &keys).await?;
    Ok(keys.card)
}

/// Look a card up by the twelve digits printed on it. They open nothing: they only say whose card it is.
///
/// `200` with whom it may belong to; `404` if nobody's; `429` after ten wrong numbers in ten minutes.
#[utoipa::path(tag = "community", params(("lookup_number" = String, Path)), responses(
    (status = 200, body = Object), (status = 404, body = ProblemBody), (status = 429, body = ProblemBody),
))]
#[get("/v1/community/cards/{lookup_number}")]
async fn look_up(node: Data<Node>, lookup_number: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    clerk_reads(&node, &get)?;
    let found = looked_up(&node, &get.caller, lookup_number.into_inner()).await;
    let found = found.map_err(|problem| problem.language(get.language))?;
    let limit = found.len();
    Ok(HttpResponse::Ok().json(Listed::new(found, limit, |k: &Known| k.holder.to_string())))
}

/// Whose card has this number, for REST and pages; the look is on record.
///
/// # Errors
///
/// As the route.
pub async fn looked_up(node: &Node, caller: &Caller, number: String) -> Result<Vec<Known>, Problem> {
    let operator = caller.must_be_operator()?;
    let act = actors::writer::Act { operator: Some(operator), idempotency: None };
    let ask = actors::role::Ask::<Community> { act, command: Command::LookUp { number } };
    let Answer::Cards(found) = node.role::<Community>()?.send(ask).await??.answer else {
        return Err(Reason::Internal.into());
    };
    let whom = found.iter().map(|known| Some(known.holder));
    let looks = whom.chain(found.is_empty().then_some(None));
    looks.for_each(|whom| looked::note(operator, "card", whom, Shown::Masked, whom.is_some()));
    if found.is_empty() {
        return Err(Problem::new(Reason::NotFound).detail("no card of this community has that number"));
    }
    Ok(found)
}

/// Why somebody is blocked.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// `lost-or-stolen`, `died`, `entitlement-ended` or `holder-asked`.
    #[schema(value_type = String)]
    pub reason: BlockReason,
}

/// Block somebody with phone and card, in one act and for good. The registrar writes it.
///
/// `201`; `404` `holder-unknown`; `503` if the registrar does not answer.
#[utoipa::path(tag = "community", params(("holder" = String, Path)), request_body = Block, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 503, body = ProblemBody),
))]
#[post("/v1/community/holders/{holder}/block")]
async fn block(node: Data<Node>, holder: Path<String>, post: Post<Block>) -> Result<HttpResponse, Problem> {
    let holder = holder_id(&holder).map_err(|problem| problem.language(post.language))?;
    Ok(answer::told(blocked(&node, holder, &post).await?))
}

/// Blocks somebody; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn blocked(node: &Node, holder: HolderId, post: &Post<Block>) -> Result<Receipt<Nothing>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        answer::read(node, |work| people::of(&work.tx, holder).map(drop)).await.ok_or(Reason::HolderUnknown)?;
        let path = format!("/v1/issuer/holders/{holder}/block");
        let _: serde_json::Value = registrar(node, &path, &key_of(post), &post.body).await?;
        Ok(answer::receipt(node, &[], Some(Nothing {})))
    })
    .await
}

/// Another phone.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPhone {
    /// Text of the VP1 with step *register* that the new phone shows now; absent if only a card is left.
    pub main_key: Option<String>,
    /// The new phone's key for each programme: `ed25519:` or `es256:` and base64.
    #[schema(value_type = Object)]
    #[serde(default)]
    pub enrolment_keys: BTreeMap<ShortName, KeyText>,
}

/// Put another phone in the place of the old one. Nothing that the old one signs counts any more.
///
/// `201`; `404` `holder-unknown`; `409` `key-registered`, `presentation-forged`, `presentation-stale`.
#[utoipa::path(tag = "community", params(("holder" = String, Path)), request_body = NewPhone, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/holders/{holder}/phone")]
async fn new_phone(node: Data<Node>, holder: Path<String>, post: Post<NewPhone>) -> Result<HttpResponse, Problem> {
    let holder = holder_id(&holder).map_err(|problem| problem.language(post.language))?;
    Ok(answer::told(phone_replaced(&node, holder, &post).await?))
}

/// Puts another phone in the place of the old one; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn phone_replaced(node: &Node, holder: HolderId, post: &Post<NewPhone>) -> Result<Receipt<Nothing>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        if let Some(again) = answer::again::<_, Nothing>(node, post).await? {
            return Ok(again);
        }
        answer::read(node, |work| people::of(&work.tx, holder).map(drop)).await.ok_or(Reason::HolderUnknown)?;
        let main_key = match &post.body.main_key {
            Some(text) => {
                let shown = presented::read(text)?;
                shown.is_fresh(node.writer.now())?;
                Some(shown.main_key()?)
            }
            None => None,
        };
        let path = format!("/v1/issuer/holders/{holder}/key");
        let _: serde_json::Value = registrar(node, &path, &key_of(post), &post.body).await?;
        let done = send(node, post, Command::KeepPhone { holder, main_key }).await?;
        node.wake();
        Ok(answer::receipt(node, &done.records, Some(Nothing {})))
    })
    .await
}

/// Nothing more is said than who.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NothingMore {}

/// The part of what the registrar shows of a person that is needed.
#[derive(Deserialize)]
struct Standing {
    enrolments: Vec<Enrolled>,
}

/// Enrol somebody in the programmes that were opened to them since they were registered. A phone announces its keys for them
/// before (`POST /v1/community/registrations`); who has a card alone is given a new one afterwards.
///
/// `201` with the new enrolments; `404` `holder-unknown`; `409` `not-entitled` if there is no such programme, `key-unfit` if
/// the phone has announced a key for none; `503` if the registrar does not answer.
#[utoipa::path(tag = "community", params(("holder" = String, Path)), request_body = NothingMore, responses(
    (status = 201, body = Receipt<Completed>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
#[post("/v1/community/holders/{holder}/enrolments")]
async fn more_programmes(
    node: Data<Node>,
    holder: Path<String>,
    post: Post<NothingMore>,
) -> Result<HttpResponse, Problem> {
    let holder = holder_id(&holder).map_err(|problem| problem.language(post.language))?;
    Ok(answer::told(enrolled_in_more(&node, holder, &post).await?))
}

/// Enrols somebody in the programmes that were opened since; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn enrolled_in_more<T>(node: &Node, holder: HolderId, post: &Post<T>) -> Result<Receipt<Completed>, Problem> {
    received(node, post, async {
        clerk(node, post)?;
        let _alone = node.registering.begin(About::Holder(holder))?;
        if let Some(again) = answer::again::<_, Completed>(node, post).await? {
            return Ok(again);
        }
        let person = answer::read(node, |work| people::of(&work.tx, holder)).await.ok_or(Reason::HolderUnknown)?;
        // What it wrote before, and whose answer did not come, is not asked for again.
        let Standing { mut enrolments } = registrar_shows(node, &format!("/v1/issuer/holders/{holder}")).await?;
        let at_registrar = Person { enrolments: enrolments.clone(), ..person.clone() };
        let now = node.writer.now();
        let asked = answer::read(node, |work| registration::more(work, &at_registrar, Uuid::new_v4, now)).await;
        match asked {
            Ok(more) => {
                let (path, key) = (format!("/v1/issuer/holders/{holder}/enrolments"), Uuid::new_v4().to_string());
                let receipted: Receipted = registrar(node, &path, &key, &more).await?;
                enrolments.extend(receipted.result.into_iter().flat_map(|granted| granted.enrolments));
            }
            Err(_) if enrolments.len() > person.enrolments.len() => {}
            Err(reason) => return Err(reason.into()),
        }
        enrolments.retain(|one| person.enrolments.iter().all(|known| known.programme != one.programme));
        let command = Command::KeepEnrolments { holder, enrolments: enrolments.clone() };
        let done = send(node, post, command).await?;
        node.wake();
        until_here(node, &enrolments).await;
        Ok(answer::receipt(node, &done.records, Some(Completed { holder, enrolments, card: None })))
    })
    .await
}
