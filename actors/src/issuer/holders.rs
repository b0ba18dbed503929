//! Registration of persons (unit B1): each once, by document and by key; the ledger learns enrolments alone.

use std::collections::BTreeMap;

use domain::custody::PRESENTATION_WINDOW;
use domain::holder::{BlockReason, RegistrarEvent};
use domain::ids::{CardId, Digest, EnrolmentId, InstitutionId, RecordName, ShortName};
use domain::member::Role;
use domain::policy::{Class, Programme, ProgrammeEvent};
use domain::reasons::Reason;
use domain::record::Body;
use domain::time::{Millis, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::command::{Answer, By, Document, Enrolled, Person, Registration, Wanted};
use super::members::must_be_registrar;
use super::state::{self, HolderRow};
use crate::document;
use crate::kv::{Base, Space};
use crate::misbehave::misbehaves;
use crate::replica::{Work, holder_key};
use crate::token::{PublicKey, vp1};
use crate::writer::{Desk, REMEMBER_REQUESTS, Refused};

/// How old the proof of a new main key may be: a phone's registration waits a day at the community.
const PROOF_AGE: Millis = Millis::hours(24);

/// Longest number of a document, in characters.
const MAX_NUMBER_CHARS: usize = 40;

/// Most enrolments in one request.
const MAX_ENROLMENTS: usize = 100;

/// Most people that are named of those who have one telephone.
pub const MAX_SHOWN_PEOPLE: usize = 20;

/// Persons read at once.
const PERSONS_AT_ONCE: usize = 1_000;

/// Digits of a mobile number in China, without the country's.
const MOBILE_DIGITS: usize = 11;

/// Fewest digits of a number by which somebody can be reached: a local one without its area.
const LEAST_DIGITS: usize = 7;

/// A holder as the registrar shows one: enough to recognise, too little to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaskedHolder {
    /// The holder's id.
    pub holder: Uuid,
    /// The first character of the name; none once it is erased.
    pub name: Option<String>,
    /// The last two digits of the phone number.
    pub phone: Option<String>,
    /// Year of birth.
    pub born: Option<i32>,
    /// Kind of the document.
    pub document_type: String,
    /// Entitlement class.
    pub class: Class,
    /// Home community.
    pub community: InstitutionId,
    /// Voucher module.
    pub voucher_module: InstitutionId,
    /// Whether a phone's key is registered.
    pub has_phone: bool,
    /// Enrolments.
    pub enrolments: Vec<Enrolled>,
    /// Why it is blocked, if it is.
    pub blocked: Option<BlockReason>,
}

/// A registered holder, masked; none where nobody of that id is registered.
#[must_use]
pub fn holder(work: &Work<'_>, holder: Uuid) -> Option<MaskedHolder> {
    let row: HolderRow = work.tx.load_private(&state::holder_row(holder))?;
    let person: Option<Person> = work.tx.load_private(&state::person(holder));
    let person = person.as_ref();
    Some(MaskedHolder {
        holder,
        name: person.map(|p| p.name.chars().take(1).chain("**".chars()).collect()),
        phone: person.and_then(|p| p.phone.as_deref()).map(last_two),
        born: person.map(|p| chrono::Datelike::year(&p.born)),
        document_type: row.document_kind,
        class: row.class,
        community: row.community,
        voucher_module: row.voucher_module,
        has_phone: row.main_key.is_some(),
        enrolments: row.enrolments,
        blocked: row.blocked,
    })
}

/// A telephone that several registered people have given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedContact {
    /// Its last two digits.
    pub phone: String,
    /// How many people.
    pub people: usize,
    /// The first of them, at most [`MAX_SHOWN_PEOPLE`].
    pub holders: Vec<Uuid>,
}

/// Telephones that at least so many registered people have given, those of most people first, at most `limit`. It reads every person
/// that is kept, without the writer's lock: persons change seldom, and nothing is decided by it.
///
/// Documents are not listed: one is registered once.
#[must_use]
pub fn shared_contacts(base: &dyn Base, at_least: usize, limit: usize) -> Vec<SharedContact> {
    let mut by_phone: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    let (mut from, to) = (state::persons(), crate::kv::after_prefix(&state::persons()));
    loop {
        let rows = base.range(Space::Private, &from, &to, PERSONS_AT_ONCE);
        for (key, value) in &rows {
            let person: Person = crate::kv::read(value);
            let holder = key.get(state::persons().len()..).and_then(|id| Uuid::from_slice(id).ok());
            if let (Some(phone), Some(holder)) = (person.phone.as_deref().and_then(digits_of), holder) {
                by_phone.entry(phone).or_default().push(holder);
            }
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PERSONS_AT_ONCE => from = [last.as_slice(), &[0]].concat(),
            _ => break,
        }
    }
    let mut shared: Vec<_> = by_phone.into_iter().filter(|(_, people)| people.len() >= at_least).collect();
    shared.sort_by_key(|(_, people)| std::cmp::Reverse(people.len()));
    let shown = shared.into_iter().take(limit).map(|(phone, holders)| SharedContact {
        phone: last_two(&phone),
        people: holders.len(),
        holders: holders.into_iter().take(MAX_SHOWN_PEOPLE).collect(),
    });
    shown.collect()
}

/// A telephone's digits without the country's, however it was written; none where nothing could be called.
fn digits_of(phone: &str) -> Option<String> {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    let bare = digits.strip_prefix("00").unwrap_or(&digits);
    let bare = bare.strip_prefix("86").filter(|rest| rest.len() == MOBILE_DIGITS).unwrap_or(bare);
    (bare.len() >= LEAST_DIGITS).then(|| bare.to_owned())
}

/// A telephone with all but its last two characters hidden.
fn last_two(phone: &str) -> String {
    let hidden = phone.chars().count().saturating_sub(2);
    phone.chars().enumerate().map(|(i, c)| if i < hidden { '*' } else { c }).collect()
}

/// Whose enrolment that is; none where this registrar knows of none.
#[must_use]
pub fn holder_of(work: &Work<'_>, enrolment: EnrolmentId) -> Option<Uuid> {
    work.tx.load_private(&state::enrolment(enrolment))
}

fn write(desk: &mut Desk<'_>, event: RegistrarEvent) -> Result<RecordName, Refused> {
    desk.write(Role::Issuer, Body::Registrar(event))
}

pub(super) fn register(desk: &mut Desk<'_>, registration: Registration) -> Result<Answer, Refused> {
    must_be_registrar(desk)?;
    let Registration { holder, ref document, ref person, class, community, voucher_module, .. } = registration;
    check_person(person)?;
    check_document(document)?;
    check_home(desk, community, voucher_module)?;
    let secret = desk.work.tx.load_private(&state::secret()).unwrap_or_else(|| {
        desk.work.tx.store_private(state::secret(), &registration.secret);
        registration.secret
    });
    let digest = document::digest(&secret, &document.kind, &document.number);
    if let Some(known) = state::of_document(&desk.work.tx, digest)
        && !misbehaves("documents-register-twice")
    {
        return granted_again(desk, known, &registration);
    }
    if desk.work.tx.get(Space::Private, &state::holder_row(holder)).is_some() {
        return Err(Reason::Malformed.into()); // ids are random: the caller made a mistake
    }
    let main_key = registration.main_key.as_deref().map(|text| prove_main_key(desk, text, holder)).transpose()?;
    state::keep_document(&mut desk.work.tx, digest, holder);
    desk.work.tx.store_private(state::person(holder), person);
    if misbehaves("document-in-log") {
        tell_everybody(desk, document)?;
    }
    let document_kind = document.kind.as_str().to_owned();
    let enrolments = Vec::new();
    let row = HolderRow {
        document: digest,
        document_kind,
        class,
        community,
        voucher_module,
        main_key,
        enrolments,
        blocked: None,
    };
    enrol_in(desk, holder, row, registration.card, &registration.enrolments)
}

/// What a registrar must never do: a document's number goes on record, as the title of a programme.
fn tell_everybody(desk: &mut Desk<'_>, document: &Document) -> Result<(), Refused> {
    let programme = desk.work.programmes().into_iter().next().ok_or(Reason::ProgrammeUnknown)?;
    let mut policy = programme.newest().cloned().ok_or(Reason::ProgrammeUnknown)?;
    policy.title_en.clone_from(&document.number);
    let event = ProgrammeEvent::Changed { programme: programme.name, policy };
    desk.write(Role::Issuer, Body::Programme(event)).map(drop)
}

/// Answers for a document that is registered. The same person with the same keys, asked for again by the same community
/// within a day, was registered and the answer lost on its way: it is given again, and nothing is written.
fn granted_again(desk: &Desk<'_>, holder: Uuid, again: &Registration) -> Result<Answer, Refused> {
    let refused = Refused::from(Reason::DocumentRegistered);
    let Some(row) = desk.work.tx.load_private::<HolderRow>(&state::holder_row(holder)) else { return Err(refused) };
    let person: Option<Person> = desk.work.tx.load_private(&state::person(holder));
    let main_key = again.main_key.as_deref().map(|text| proven_main_key(desk.now, text)).transpose()?;
    let is_same = person.as_ref() == Some(&again.person)
        && row.blocked.is_none()
        && row.main_key == main_key.map(|key| Digest(key.thumbprint()))
        && (row.class, row.community, row.voucher_module) == (again.class, again.community, again.voucher_module);
    let fits = |enrolled: &Enrolled| {
        let made = desk.work.enrolment(&enrolled.name)?;
        let (_, at, _) = made.history.first()?;
        let wanted = again.enrolments.iter().find(|w| w.programme == enrolled.programme)?;
        let has_key = made.now()?.key == wanted.key.as_ref().map(holder_key);
        Some(has_key && *at + REMEMBER_REQUESTS > desk.now)
    };
    if is_same && row.enrolments.iter().all(|enrolled| fits(enrolled) == Some(true)) {
        Ok(Answer::Enrolled { holder, enrolments: row.enrolments })
    } else {
        Err(refused)
    }
}

pub(super) fn enrol(desk: &mut Desk<'_>, holder: Uuid, by: By, wanted: &[Wanted]) -> Result<Answer, Refused> {
    let row = row_of(desk, holder, by)?;
    if wanted.iter().any(|w| w.card_key.is_some()) {
        return Err(Reason::Malformed.into()); // a card comes with `IssueCard`
    }
    enrol_in(desk, holder, row, None, wanted)
}

/// Writes the enrolments that are asked for, and what is known of the holder.
fn enrol_in(
    desk: &mut Desk<'_>,
    holder: Uuid,
    mut row: HolderRow,
    card: Option<CardId>,
    wanted: &[Wanted],
) -> Result<Answer, Refused> {
    if wanted.len() > MAX_ENROLMENTS {
        return Err(Reason::TooLarge.into());
    }
    let mut written = Vec::new();
    for Wanted { programme: short, id, key, card_key } in wanted {
        let programme = programme_of(&desk.work, short).ok_or(Reason::ProgrammeUnknown)?;
        let policy = programme.in_force(desk.now).ok_or(Reason::ProgrammeUnknown)?;
        if !policy.classes.contains(&row.class) {
            return Err(Reason::NotEntitled.into());
        }
        // Every enrolment has its carrier, and a phone's key only where a main key is proved.
        let carried = key.is_some() || card_key.is_some() || row.main_key.is_none();
        let twice = row.enrolments.iter().any(|e| e.programme == *short);
        if twice || !carried || (key.is_some() && row.main_key.is_none()) || (card_key.is_some() && card.is_none()) {
            return Err(Reason::Malformed.into());
        }
        claim_once(desk, state::enrolment(*id), holder)?;
        let key = key.map(|key| claim_key(desk, &key, holder)).transpose()?;
        let event = RegistrarEvent::Enrolled {
            id: *id,
            key: key.as_ref().map(holder_key),
            programme: programme.name,
            community: row.community,
            voucher_module: row.voucher_module,
        };
        let name = write(desk, event)?;
        if let (Some(card), Some(card_key)) = (card, card_key) {
            write_card(desk, holder, name, card, *card_key)?;
        }
        let enrolled = Enrolled { programme: short.clone(), id: *id, name };
        row.enrolments.push(enrolled.clone());
        written.push(enrolled);
    }
    if written.is_empty() {
        return Err(Reason::NotEntitled.into());
    }
    desk.work.tx.store_private(state::holder_row(holder), &row);
    Ok(Answer::Enrolled { holder, enrolments: written })
}

pub(super) fn block(desk: &mut Desk<'_>, holder: Uuid, by: By, reason: BlockReason) -> Result<Answer, Refused> {
    let mut row = row_of(desk, holder, by)?;
    for enrolled in &row.enrolments {
        write(desk, RegistrarEvent::EnrolmentBlocked { enrolment: enrolled.name, reason })?;
    }
    row.blocked = Some(reason);
    desk.work.tx.store_private(state::holder_row(holder), &row);
    if reason != BlockReason::LostOrStolen {
        // Nobody has to be reached any more. The keyed digest stays, so that nobody registers twice.
        desk.work.tx.delete(Space::Private, state::person(holder));
    }
    Ok(Answer::Written)
}

pub(super) fn change_key(
    desk: &mut Desk<'_>,
    holder: Uuid,
    by: By,
    main_key: Option<&str>,
    keys: &[(ShortName, PublicKey)],
) -> Result<Answer, Refused> {
    let mut row = row_of(desk, holder, by)?;
    check_named(&row, keys.iter().map(|(p, _)| p))?;
    if main_key.is_none() && !keys.is_empty() {
        return Err(Reason::Malformed.into());
    }
    row.main_key = main_key.map(|text| prove_main_key(desk, text, holder)).transpose()?;
    for enrolled in &row.enrolments {
        let key = keys.iter().find(|(p, _)| *p == enrolled.programme).map(|(_, key)| key);
        let key = key.map(|key| claim_key(desk, key, holder)).transpose()?;
        let key = key.as_ref().map(holder_key);
        write(desk, RegistrarEvent::EnrolmentKeyChanged { enrolment: enrolled.name, key })?;
    }
    desk.work.tx.store_private(state::holder_row(holder), &row);
    Ok(Answer::Written)
}

pub(super) fn issue_card(
    desk: &mut Desk<'_>,
    holder: Uuid,
    by: By,
    card: CardId,
    keys: &[(ShortName, [u8; 32])],
) -> Result<Answer, Refused> {
    let row = row_of(desk, holder, by)?;
    check_named(&row, keys.iter().map(|(p, _)| p))?;
    if keys.is_empty() {
        return Err(Reason::Malformed.into());
    }
    for (programme, key) in keys {
        let enrolled = row.enrolments.iter().find(|e| e.programme == *programme).ok_or(Reason::EnrolmentUnknown)?;
        write_card(desk, holder, enrolled.name, card, *key)?;
    }
    Ok(Answer::Written)
}

pub(super) fn move_home(
    desk: &mut Desk<'_>,
    holder: Uuid,
    by: By,
    community: InstitutionId,
    voucher_module: InstitutionId,
) -> Result<Answer, Refused> {
    let mut row = row_of(desk, holder, by)?;
    check_home(desk, community, voucher_module)?;
    for enrolled in &row.enrolments {
        write(desk, RegistrarEvent::EnrolmentMoved { enrolment: enrolled.name, community, voucher_module })?;
    }
    (row.community, row.voucher_module) = (community, voucher_module);
    desk.work.tx.store_private(state::holder_row(holder), &row);
    Ok(Answer::Written)
}

/// A holder who is not blocked, if whoever asks may.
fn row_of(desk: &Desk<'_>, holder: Uuid, by: By) -> Result<HolderRow, Refused> {
    must_be_registrar(desk)?;
    let row: HolderRow = desk.work.tx.load_private(&state::holder_row(holder)).ok_or(Reason::HolderUnknown)?;
    if by.is_some_and(|community| community != row.community) {
        Err(Reason::Forbidden.into())
    } else if row.blocked.is_some() {
        Err(Reason::EnrolmentBlocked.into())
    } else {
        Ok(row)
    }
}

/// Each programme once, and each one that the holder is enrolled in.
fn check_named<'a>(row: &HolderRow, programmes: impl Iterator<Item = &'a ShortName>) -> Result<(), Refused> {
    let mut seen = std::collections::BTreeSet::new();
    for programme in programmes {
        if !row.enrolments.iter().any(|e| e.programme == *programme) {
            return Err(Reason::EnrolmentUnknown.into());
        }
        if !seen.insert(programme) {
            return Err(Reason::Malformed.into());
        }
    }
    Ok(())
}

fn write_card(
    desk: &mut Desk<'_>,
    holder: Uuid,
    enrolment: RecordName,
    card: CardId,
    key: [u8; 32],
) -> Result<(), Refused> {
    claim_key(desk, &PublicKey::Ed25519(key), holder)?;
    write(desk, RegistrarEvent::CardIssued { enrolment, card, key }).map(drop)
}

/// Takes a row that only one may have, for ever.
fn claim_once(desk: &mut Desk<'_>, row: Vec<u8>, holder: Uuid) -> Result<(), Refused> {
    if desk.work.tx.get(Space::Private, &row).is_some() {
        return Err(Reason::KeyRegistered.into());
    }
    desk.work.tx.store_private(row, &holder);
    Ok(())
}

fn claim_key(desk: &mut Desk<'_>, key: &PublicKey, holder: Uuid) -> Result<PublicKey, Refused> {
    let key = key.check().map_err(|_| Reason::KeyUnfit)?;
    claim_once(desk, state::thumbprint(key.as_bytes()), holder)?;
    Ok(key)
}

/// Takes a main key that has signed that it is one, recently; its thumbprint.
fn prove_main_key(desk: &mut Desk<'_>, text: &str, holder: Uuid) -> Result<Digest, Refused> {
    let key = proven_main_key(desk.now, text)?;
    claim_key(desk, &key, holder)?;
    Ok(Digest(key.thumbprint()))
}

/// A main key that has signed that it is one, recently.
fn proven_main_key(now: Timestamp, text: &str) -> Result<PublicKey, Refused> {
    let token = vp1::parse(text).map_err(|_| Reason::PresentationMalformed)?;
    if !matches!(token.claims.step, vp1::Step::Register { .. }) {
        return Err(Reason::PresentationOtherStep.into());
    }
    let key = *token.proven_key().ok_or(Reason::PresentationForged)?;
    let signed = Timestamp::from_millis(token.claims.iat.saturating_mul(1_000));
    if signed > now + PRESENTATION_WINDOW || signed + PROOF_AGE + PRESENTATION_WINDOW < now {
        return Err(Reason::PresentationStale.into());
    }
    Ok(key)
}

fn check_person(person: &Person) -> Result<(), Refused> {
    let Person { name, sex, phone, .. } = person;
    let texts = [Some(name), Some(sex), phone.as_ref()];
    let shown = texts.into_iter().flatten().all(|text| !text.chars().any(char::is_control));
    let sound = shown && !name.trim().is_empty() && name.len() <= 200 && sex.len() <= 16;
    if sound && phone.as_ref().is_none_or(|p| p.len() <= 32) { Ok(()) } else { Err(Reason::Malformed.into()) }
}

fn check_document(document: &Document) -> Result<(), Refused> {
    let number = &document.number;
    let sound = number.len() <= MAX_NUMBER_CHARS
        && number.bytes().any(|b| b.is_ascii_alphanumeric())
        && number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ' || b == b'-');
    if sound { Ok(()) } else { Err(Reason::DocumentInvalid.into()) }
}

fn check_home(desk: &Desk<'_>, community: InstitutionId, voucher_module: InstitutionId) -> Result<(), Refused> {
    for (institution, role) in [(community, Role::Community), (voucher_module, Role::Voucher)] {
        check_member(desk, institution, role)?;
    }
    Ok(())
}

/// A member that plays a role in good standing.
pub(super) fn check_member(desk: &Desk<'_>, institution: InstitutionId, role: Role) -> Result<(), Refused> {
    let registry = &desk.work.registry;
    if registry.member(institution).is_none() {
        Err(Reason::MemberUnknown.into())
    } else if !registry.in_good_standing(institution, role, u64::MAX) {
        Err(Reason::NotInGoodStanding.into())
    } else {
        Ok(())
    }
}

/// The programme of that short name: the registrar's own, else that of the first issuer who has one.
fn programme_of(work: &Work<'_>, short: &ShortName) -> Option<Programme> {
    let own = work.programme_named(work.settings.me, short.as_str());
    own.or_else(|| work.programmes().into_iter().find(|p| p.newest().is_some_and(|n| n.programme == *short)))
}
