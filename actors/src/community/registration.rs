//! Registration at the community's desk: a phone announces its keys, the desk checks the document, the registrar answers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::ids::{CardId, EnrolmentId, HolderId, InstitutionId, ShortName};
use domain::member::Role;
use domain::policy::Class;
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::{Answer, Registered};
use super::people::{self, Form, Person};
use super::residents;
use crate::keys::Key;
use crate::kv::{self, Space};
use crate::presented;
use crate::replica::Work;
use crate::token::PublicKey;
use crate::token::vc1::Card;
use crate::voucher::letters::{self, Enrolled, HolderLetter, KeyText, MAX_ENROLMENTS};
use crate::writer::{Desk, Refused};

/// How long an announcement waits for the desk.
pub const WAITS: Millis = Millis::hours(24);

/// Most announcements that wait.
pub const MAX_PENDING: usize = 10_000;

/// Old announcements that are forgotten in one go.
const SWEPT_AT_ONCE: usize = 256;

/// What a phone announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The phone's main key.
    pub main_key: PublicKey,
    /// A key for each programme.
    pub enrolment_keys: BTreeMap<ShortName, PublicKey>,
    /// When it came.
    pub at: Timestamp,
}

/// What a community asks of the registrar, as JSON: the body of `POST /v1/issuer/holders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Kind of document.
    pub document_type: ShortName,
    /// Its number.
    pub document_number: String,
    /// Date of birth.
    pub born: chrono::NaiveDate,
    /// As in the document.
    pub sex: people::Sex,
    /// As in the document.
    pub name: String,
    /// Telephone number.
    pub phone: Option<String>,
    /// Why this person is entitled.
    pub class: Class,
    /// The home community.
    pub community: InstitutionId,
    /// Who looks after the vouchers.
    pub voucher_module: InstitutionId,
    /// The VP1 of step *register* that the desk scanned; none without a phone.
    pub main_key: Option<String>,
    /// The phone's key for each programme.
    pub enrolment_keys: BTreeMap<ShortName, KeyText>,
    /// Random ids for the enrolments.
    pub enrolment_ids: BTreeMap<ShortName, EnrolmentId>,
    /// The printed card's keys.
    pub card: Option<CardKeys>,
}

/// A printed card's keys, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardKeys {
    /// The card's random id.
    pub card: CardId,
    /// Ed25519 public key by programme, 32 bytes in base64.
    pub keys: BTreeMap<ShortName, String>,
}

impl CardKeys {
    /// The public keys of a card for enrolments.
    #[must_use]
    pub fn of<'a>(card: &Card, enrolments: impl Iterator<Item = (&'a ShortName, EnrolmentId)>) -> Self {
        let key = |id: EnrolmentId| BASE64.encode(card.key_for(*id.0.as_bytes()).public().as_bytes());
        let keys = enrolments.map(|(programme, id)| (programme.clone(), key(id))).collect();
        Self { card: CardId(uuid::Uuid::from_bytes(card.id())), keys }
    }
}

fn pending_key(thumbprint: &[u8; 32]) -> Vec<u8> {
    Key::new(b'c').bytes(b"p").bytes(thumbprint).done()
}

fn by_time(at: Timestamp, thumbprint: &[u8; 32]) -> Vec<u8> {
    Key::new(b'c').bytes(b"o").time(at).bytes(thumbprint).done()
}

/// What a phone announced, if it is not older than a day.
#[must_use]
pub fn pending(work: &Work<'_>, thumbprint: &[u8; 32], now: Timestamp) -> Option<Pending> {
    work.tx.load_private(&pending_key(thumbprint)).filter(|p: &Pending| now < p.at + WAITS)
}

/// A phone announces its keys: what the QR has no room for.
pub(super) fn announce(
    desk: &mut Desk<'_>,
    register: &str,
    enrolment_keys: BTreeMap<ShortName, KeyText>,
) -> Result<Answer, Refused> {
    let shown = presented::read(register)?;
    shown.is_fresh(desk.now)?;
    let main_key = shown.main_key()?;
    let mut distinct: Vec<&PublicKey> = enrolment_keys.values().map(|k| &k.0).chain([&main_key]).collect();
    distinct.sort_unstable_by_key(|key| key.thumbprint());
    distinct.dedup();
    if enrolment_keys.is_empty() || enrolment_keys.len() > MAX_ENROLMENTS {
        return Err(Reason::Malformed.into());
    }
    if distinct.len() != enrolment_keys.len() + 1 {
        // One key for two programmes would link them for everyone.
        return Err(Reason::KeyUnfit.into());
    }
    let thumbprint = main_key.thumbprint();
    let waiting = desk.work.tx.prefix(Space::Private, b"co", MAX_PENDING);
    let again: Option<Pending> = desk.work.tx.load_private(&pending_key(&thumbprint));
    if waiting.len() >= MAX_PENDING && again.is_none() {
        return Err(Reason::Busy.into());
    }
    if let Some(old) = again {
        desk.work.tx.delete(Space::Private, by_time(old.at, &thumbprint));
    }
    let enrolment_keys = enrolment_keys.into_iter().map(|(programme, key)| (programme, key.0)).collect();
    let pending = Pending { main_key, enrolment_keys, at: desk.now };
    desk.work.tx.store_private(by_time(desk.now, &thumbprint), &thumbprint.to_vec());
    desk.work.tx.store_private(pending_key(&thumbprint), &pending);
    Ok(Answer::Announced(thumbprint))
}

/// Programmes that are open to a class now, by short name.
#[must_use]
pub fn open_to(work: &Work<'_>, class: Class, now: Timestamp) -> Vec<ShortName> {
    let programmes = work.programmes();
    let policies = programmes.iter().filter_map(|p| p.in_force(now)).filter(|p| p.classes.contains(&class));
    let mut names: Vec<ShortName> = policies.map(|p| p.programme.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MAX_ENROLMENTS);
    names
}

/// The voucher module that will look after someone's vouchers: the one asked for, else this node's own, else the first.
///
/// # Errors
///
/// [`Reason::MemberUnknown`] if the one asked for is none, or there is none at all.
pub fn voucher_module(work: &Work<'_>, wanted: Option<InstitutionId>) -> Result<InstitutionId, Reason> {
    let mut playing = work.registry.playing(Role::Voucher).map(|m| m.entry.institution);
    let me = work.settings.me;
    match wanted {
        Some(wanted) => playing.find(|id| *id == wanted),
        None => {
            let all: Vec<InstitutionId> = playing.collect();
            all.iter().copied().find(|id| *id == me).or_else(|| all.first().copied())
        }
    }
    .ok_or(Reason::MemberUnknown)
}

/// What the desk has, for an application.
pub enum Carrier<'a> {
    /// The phone: the personal QR of step *register*, scanned now, and what the phone announced.
    Phone(&'a str, &'a Pending),
    /// A printed card, made now.
    Card(&'a Card),
}

/// What this community asks of the registrar.
///
/// `new_id` gives random ids, one for each programme that is open to the class.
///
/// # Errors
///
/// [`Reason::NotEntitled`] if no programme is open to the class; [`Reason::KeyUnfit`] if the phone has a key for none of those
/// that are; [`Reason::PresentationForged`] if the QR is not of the
/// phone that announced; what is wrong with QR, form or voucher module.
pub fn application(
    work: &Work<'_>,
    form: &Form,
    wanted_module: Option<InstitutionId>,
    carrier: &Carrier<'_>,
    mut new_id: impl FnMut() -> uuid::Uuid,
    now: Timestamp,
) -> Result<Application, Reason> {
    form.check()?;
    let voucher_module = voucher_module(work, wanted_module)?;
    let programmes = open_to(work, form.class, now);
    if programmes.is_empty() {
        return Err(Reason::NotEntitled);
    }
    let mut enrolment_ids: BTreeMap<ShortName, EnrolmentId> =
        programmes.into_iter().map(|programme| (programme, EnrolmentId(new_id()))).collect();
    let (mut main_key, mut enrolment_keys, mut card_keys) = (None, BTreeMap::new(), None);
    match carrier {
        Carrier::Phone(qr, pending) => {
            let shown = presented::read(qr)?;
            shown.is_fresh(now)?;
            if shown.main_key()? != pending.main_key {
                return Err(Reason::PresentationForged);
            }
            // What was opened since the phone announced itself is added later, once it has made a key for it ([`more`]).
            enrolment_ids.retain(|programme, _| pending.enrolment_keys.contains_key(programme));
            if enrolment_ids.is_empty() {
                return Err(Reason::KeyUnfit);
            }
            let keys = enrolment_ids
                .keys()
                .filter_map(|name| Some((name.clone(), KeyText(*pending.enrolment_keys.get(name)?))));
            enrolment_keys.extend(keys);
            main_key = Some((*qr).to_owned());
        }
        Carrier::Card(card) => {
            card_keys = Some(CardKeys::of(card, enrolment_ids.iter().map(|(programme, id)| (programme, *id))));
        }
    }
    let Form { document_type, document_number, name, born, sex, phone, class } = form.clone();
    let community = work.settings.me;
    Ok(Application {
        document_type,
        document_number,
        born,
        sex,
        name,
        phone,
        class,
        community,
        voucher_module,
        main_key,
        enrolment_keys,
        enrolment_ids,
        card: card_keys,
    })
}

/// Programmes that were opened to somebody since they were registered, by short name.
#[must_use]
pub fn opened_since(work: &Work<'_>, person: &Person, now: Timestamp) -> Vec<ShortName> {
    let mut open = open_to(work, person.form.class, now);
    open.retain(|programme| person.enrolments.iter().all(|enrolled| enrolled.programme != *programme));
    open.truncate(MAX_ENROLMENTS.saturating_sub(person.enrolments.len()));
    open
}

/// More programmes for somebody who is registered, as JSON: the body of `POST /v1/issuer/holders/{holder}/enrolments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct More {
    /// Random ids for the enrolments.
    pub enrolment_ids: BTreeMap<ShortName, EnrolmentId>,
    /// The phone's key for each; none for somebody with a card alone, who is given a new card afterwards.
    pub enrolment_keys: BTreeMap<ShortName, KeyText>,
}

/// What this community asks of the registrar where programmes were opened since somebody was registered. A phone has announced
/// its keys for them: those without are left for another time.
///
/// # Errors
///
/// [`Reason::NotEntitled`] if no other programme is open to the class, [`Reason::KeyUnfit`] if the phone has announced a key for
/// none.
pub fn more(
    work: &Work<'_>,
    person: &Person,
    mut new_id: impl FnMut() -> uuid::Uuid,
    now: Timestamp,
) -> Result<More, Reason> {
    let open = opened_since(work, person, now);
    if open.is_empty() {
        return Err(Reason::NotEntitled);
    }
    let announced = person.main_key.map(|key| {
        let pending = pending(work, &key.thumbprint(), now);
        pending.map(|pending| pending.enrolment_keys).unwrap_or_default()
    });
    let (mut enrolment_ids, mut enrolment_keys) = (BTreeMap::new(), BTreeMap::new());
    for programme in open {
        if let Some(keys) = &announced {
            let Some(key) = keys.get(&programme) else { continue };
            enrolment_keys.insert(programme.clone(), KeyText(*key));
        }
        enrolment_ids.insert(programme, EnrolmentId(new_id()));
    }
    if enrolment_ids.is_empty() { Err(Reason::KeyUnfit) } else { Ok(More { enrolment_ids, enrolment_keys }) }
}

/// Keeps who was registered, and tells the voucher module.
pub(super) fn keep(desk: &mut Desk<'_>, registered: Registered) -> Result<Answer, Refused> {
    let Registered { form, granted, main_key, voucher_module, card, secret } = registered;
    form.check()?;
    if granted.enrolments.is_empty() || granted.enrolments.len() > MAX_ENROLMENTS {
        return Err(Reason::Malformed.into());
    }
    let enrolments: Vec<Enrolled> = granted.enrolments;
    let person = Person { holder: granted.holder, form, main_key, voucher_module, enrolments, card };
    people::secret(&mut desk.work.tx, secret);
    keep_and_tell(desk, &person)
}

/// What a phone announced has come to something.
fn forget_pending(desk: &mut Desk<'_>, main_key: Option<&PublicKey>) {
    let Some(thumbprint) = main_key.map(PublicKey::thumbprint) else { return };
    if let Some(pending) = desk.work.tx.load_private::<Pending>(&pending_key(&thumbprint)) {
        desk.work.tx.delete(Space::Private, by_time(pending.at, &thumbprint));
        desk.work.tx.delete(Space::Private, pending_key(&thumbprint));
    }
}

/// The registrar put a new card in someone's name.
pub(super) fn keep_card(desk: &mut Desk<'_>, holder: HolderId, card: (CardId, String)) -> Result<Answer, Refused> {
    let mut person = people::of(&desk.work.tx, holder).ok_or(Reason::HolderUnknown)?;
    person.card = Some(card);
    people::keep(&mut desk.work.tx, &person);
    desk.remember_request();
    Ok(Answer::Done)
}

/// The registrar put another phone in someone's name.
pub(super) fn keep_phone(
    desk: &mut Desk<'_>,
    holder: HolderId,
    main_key: Option<PublicKey>,
) -> Result<Answer, Refused> {
    let mut person = people::of(&desk.work.tx, holder).ok_or(Reason::HolderUnknown)?;
    person.main_key = main_key;
    keep_and_tell(desk, &person)
}

/// The registrar enrolled somebody in more programmes.
pub(super) fn keep_enrolments(
    desk: &mut Desk<'_>,
    holder: HolderId,
    enrolments: Vec<Enrolled>,
) -> Result<Answer, Refused> {
    let mut person = people::of(&desk.work.tx, holder).ok_or(Reason::HolderUnknown)?;
    for enrolled in enrolments {
        if person.enrolments.iter().all(|known| known.programme != enrolled.programme) {
            person.enrolments.push(enrolled);
        }
    }
    if person.enrolments.len() > MAX_ENROLMENTS {
        return Err(Reason::Malformed.into());
    }
    keep_and_tell(desk, &person)
}

/// Keeps somebody as they are registered now, and tells the voucher module; what their phone announced has come to something.
fn keep_and_tell(desk: &mut Desk<'_>, person: &Person) -> Result<Answer, Refused> {
    forget_pending(desk, person.main_key.as_ref());
    people::keep(&mut desk.work.tx, person);
    desk.remember_request();
    let letter = HolderLetter {
        holder: person.holder,
        main_key: person.main_key.map(KeyText),
        class: person.form.class,
        enrolments: person.enrolments.clone(),
        contact: person.form.phone.clone(),
    };
    letters::post(desk, person.voucher_module, letters::HOLDERS_PATH, &letter)?;
    Ok(Answer::Done)
}

/// Forgets a person who asked for it: here, at the registrar, and at the voucher module if that did not ask. Who is not
/// here is forgotten already.
pub(super) fn erase(desk: &mut Desk<'_>, from: Option<InstitutionId>, holder: HolderId) -> Result<Answer, Refused> {
    let Some(person) = people::of(&desk.work.tx, holder) else {
        return if from.is_some() { Ok(Answer::Done) } else { Err(Reason::HolderUnknown.into()) };
    };
    if from.is_some_and(|module| module != person.voucher_module) {
        return Err(Reason::Forbidden.into());
    }
    residents::forget(&mut desk.work.tx, &person.form.document_type, &person.form.document_number);
    people::forget(&mut desk.work.tx, holder);
    // What the registrar keeps of somebody who is blocked for good is a digest, so that nobody is registered twice.
    let block = serde_json::json!({ "reason": domain::holder::BlockReason::HolderAsked });
    let registrar = desk.work.settings.registrar;
    letters::post(desk, registrar, &format!("/v1/issuer/holders/{}/block", holder.0), &block)?;
    if from.is_none() {
        letters::post(desk, person.voucher_module, letters::ERASURES_PATH, &letters::ErasureLetter { holder })?;
    }
    desk.remember_request();
    Ok(Answer::Done)
}

/// Whether an announcement is older than a day.
#[must_use]
pub fn has_old(work: &Work<'_>, now: Timestamp) -> bool {
    !old(work, now, 1).is_empty()
}

fn old(work: &Work<'_>, now: Timestamp, limit: usize) -> Vec<kv::Row> {
    let until = Key::new(b'c').bytes(b"o").time(now - WAITS + Millis(1)).done();
    work.tx.range(Space::Private, b"co", &until, limit)
}

/// Forgets announcements that nobody completed.
pub(super) fn sweep(desk: &mut Desk<'_>) -> Result<Answer, Refused> {
    for (key, thumbprint) in old(&desk.work, desk.now, SWEPT_AT_ONCE) {
        let thumbprint: Vec<u8> = kv::read(&thumbprint);
        desk.work.tx.delete(Space::Private, key);
        if let Ok(thumbprint) = thumbprint.try_into() {
            desk.work.tx.delete(Space::Private, pending_key(&thumbprint));
        }
    }
    Ok(Answer::Done)
}
