//! The people a community knows: private rows, found by document, key, enrolment or card; names leave the desk masked.

use chrono::NaiveDate;
use domain::ids::{CardId, Digest, EnrolmentId, HolderId, InstitutionId, RecordName, ShortName};
use domain::policy::Class;
use domain::reasons::Reason;
use serde::{Deserialize, Serialize};

use crate::document;
use crate::keys::Key;
use crate::kv::{self, Space, Tx};
use crate::token::PublicKey;
use crate::voucher::letters::{Enrolled, MAX_ENROLMENTS};

/// Longest name of a person, in bytes.
pub const MAX_NAME_BYTES: usize = 120;

/// Longest number of a document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 40;

/// Longest telephone number, in bytes.
pub const MAX_PHONE_BYTES: usize = 32;

/// Most people of whom one key id, enrolment or lookup number can be.
const MAX_FOUND: usize = 64;

/// Sex as the document states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sex {
    /// Female.
    F,
    /// Male.
    M,
}

/// What the desk reads from a document and asks: personal data in every field.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// Kind of document, such as `resident-id`.
    pub document_type: ShortName,
    /// Its number, 1 to 40 bytes.
    pub document_number: String,
    /// As in the document, 1 to 120 bytes.
    pub name: String,
    /// Date of birth.
    pub born: NaiveDate,
    /// As in the document.
    pub sex: Sex,
    /// Telephone number, at most 32 bytes.
    pub phone: Option<String>,
    /// Why this person is entitled.
    pub class: Class,
}

/// Shows nothing of the person.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Form").field("class", &self.class).finish_non_exhaustive()
    }
}

impl Form {
    /// Checks the lengths, and that nothing is there that a page or a terminal would obey instead of showing it.
    ///
    /// # Errors
    ///
    /// [`Reason::DocumentInvalid`], [`Reason::Malformed`].
    pub fn check(&self) -> Result<(), Reason> {
        let filled = |text: &str, max: usize| {
            !text.trim().is_empty() && text.len() <= max && !text.chars().any(char::is_control)
        };
        if !filled(&self.document_number, MAX_DOCUMENT_BYTES) {
            return Err(Reason::DocumentInvalid);
        }
        let phone = self.phone.as_ref().is_none_or(|p| filled(p, MAX_PHONE_BYTES));
        if filled(&self.name, MAX_NAME_BYTES) && phone { Ok(()) } else { Err(Reason::Malformed) }
    }
}

/// A person of this community.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The registrar's random id.
    pub holder: HolderId,
    /// What the document says, and the telephone number.
    pub form: Form,
    /// The phone's main key; none for somebody with a card alone.
    pub main_key: Option<PublicKey>,
    /// Who looks after the vouchers.
    pub voucher_module: InstitutionId,
    /// One for each programme that is open to the class.
    pub enrolments: Vec<Enrolled>,
    /// The printed card, and the number printed on it.
    pub card: Option<(CardId, String)>,
}

fn row(kind: u8) -> Key {
    Key::new(b'c').bytes(&[kind])
}

/// A document's row: the bucket is all that its key says of the document, the digest is in the sealed value.
fn document_key(digest: Digest) -> Key {
    row(b'd').bytes(&document::bucket(digest))
}

fn person_key(holder: HolderId) -> Vec<u8> {
    row(b'h').bytes(holder.0.as_bytes()).done()
}

fn secret_key() -> Vec<u8> {
    row(b's').done()
}

/// The secret under which documents are found again; `fresh` becomes it where there is none yet.
pub(super) fn secret(tx: &mut Tx<'_>, fresh: [u8; 32]) -> [u8; 32] {
    tx.load_private(&secret_key()).unwrap_or_else(|| {
        tx.store_private(secret_key(), &fresh);
        fresh
    })
}

/// What a document is found by; none while no document was ever kept here.
pub(super) fn document_digest(tx: &Tx<'_>, kind: &ShortName, number: &str) -> Option<Digest> {
    tx.load_private(&secret_key()).map(|secret| document::digest(&secret, kind, number))
}

/// Rows that lead to a person.
fn ways(person: &Person) -> Vec<Vec<u8>> {
    let id = person.holder.0;
    let mut ways: Vec<Vec<u8>> = person
        .enrolments
        .iter()
        .take(MAX_ENROLMENTS)
        .map(|e| row(b'e').bytes(e.id.0.as_bytes()).bytes(id.as_bytes()).done())
        .collect();
    if let Some(key) = &person.main_key {
        ways.push(row(b't').bytes(&key.thumbprint()).bytes(id.as_bytes()).done());
    }
    if let Some((card, number)) = &person.card {
        ways.push(row(b'c').bytes(card.0.as_bytes()).bytes(id.as_bytes()).done());
        ways.push(row(b'n').bytes(number.as_bytes()).bytes(id.as_bytes()).done());
    }
    ways
}

/// Keeps a person, and what leads to them; an earlier row of theirs is replaced.
pub(super) fn keep(tx: &mut Tx<'_>, person: &Person) {
    if let Some(old) = of(tx, person.holder) {
        remove(tx, &old);
    }
    for key in ways(person) {
        tx.store_private(key, &person.holder);
    }
    if let Some(digest) = document_digest(tx, &person.form.document_type, &person.form.document_number) {
        let key = document_key(digest).bytes(person.holder.0.as_bytes()).done();
        tx.store_private(key, &(digest, person.holder));
    }
    tx.store_private(person_key(person.holder), person);
}

fn remove(tx: &mut Tx<'_>, person: &Person) {
    ways(person).into_iter().for_each(|key| tx.delete(Space::Private, key));
    if let Some(digest) = document_digest(tx, &person.form.document_type, &person.form.document_number) {
        tx.delete(Space::Private, document_key(digest).bytes(person.holder.0.as_bytes()).done());
    }
    tx.delete(Space::Private, person_key(person.holder));
}

/// Forgets a person, and what leads to them.
pub(super) fn forget(tx: &mut Tx<'_>, holder: HolderId) {
    if let Some(person) = of(tx, holder) {
        remove(tx, &person);
    }
}

/// The person of an id.
#[must_use]
pub fn of(tx: &Tx<'_>, holder: HolderId) -> Option<Person> {
    tx.load_private(&person_key(holder))
}

fn found(tx: &Tx<'_>, key: Key) -> Vec<Person> {
    let rows = tx.prefix(Space::Private, &key.done(), MAX_FOUND);
    rows.iter().filter_map(|(_, holder)| of(tx, kv::read(holder))).collect()
}

/// Those whose main key has this key id: several on a collision.
#[must_use]
pub fn by_main_key_id(tx: &Tx<'_>, kid: [u8; 8]) -> Vec<Person> {
    found(tx, row(b't').bytes(&kid))
}

/// Those one of whose enrolments begins with these eight bytes.
#[must_use]
pub fn by_enrolment_start(tx: &Tx<'_>, kid: [u8; 8]) -> Vec<Person> {
    found(tx, row(b'e').bytes(&kid))
}

/// Whose enrolment it is.
#[must_use]
pub fn by_enrolment(tx: &Tx<'_>, id: EnrolmentId) -> Option<Person> {
    found(tx, row(b'e').bytes(id.0.as_bytes())).into_iter().next()
}

/// Whose card it is.
#[must_use]
pub fn by_card(tx: &Tx<'_>, card: CardId) -> Option<Person> {
    found(tx, row(b'c').bytes(card.0.as_bytes())).into_iter().next()
}

/// Whose document it is.
#[must_use]
pub fn by_document(tx: &Tx<'_>, kind: &ShortName, number: &str) -> Option<Person> {
    let wanted = document_digest(tx, kind, number)?;
    let rows = tx.prefix(Space::Private, &document_key(wanted).done(), usize::MAX);
    let mut found = rows.iter().map(|(_, value)| kv::read::<(Digest, HolderId)>(value));
    found.find(|(digest, _)| *digest == wanted).and_then(|(_, holder)| of(tx, holder))
}

/// Those on whose card a number is printed.
#[must_use]
pub fn by_number(tx: &Tx<'_>, number: &str) -> Vec<Person> {
    found(tx, row(b'n').bytes(number.as_bytes()))
}

impl Person {
    /// The enrolment that a record made.
    #[must_use]
    pub fn enrolment(&self, name: &RecordName) -> Option<&Enrolled> {
        self.enrolments.iter().find(|e| e.name == *name)
    }
}

/// A name of which only the first character of each word is left: enough for a clerk to compare, too little to publish.
#[must_use]
pub fn mask(name: &str) -> String {
    let words = name.split_whitespace().filter_map(|word| word.chars().next());
    words.map(|first| format!("{first}**")).collect::<Vec<_>>().join(" ")
}

/// The last characters of a number; of a short one less, so that something stays hidden.
#[must_use]
pub fn ending(number: &str, characters: usize) -> String {
    let length = number.chars().count();
    let hidden = length - characters.min(length / 2);
    std::iter::once('…').chain(number.chars().skip(hidden)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_name_says_little() {
        for (name, masked) in [("王小明", "王**"), ("Anna Berg", "A** B**"), ("  ", ""), ("李", "李**")] {
            assert_eq!(mask(name), masked);
        }
        for (number, masked) in [("11010519491231002X", "…002X"), ("1234", "…34"), ("1", "…"), ("", "…")] {
            assert_eq!(ending(number, 4), masked);
        }
    }
}
