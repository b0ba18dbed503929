//! Records about a voucher outside its chain: which are kept, and which hold. A function of what is held, in any order.

use domain::custody::PRESENTATION_WINDOW;
use domain::holder::HolderKey;
use domain::ids::{RecordName, VoucherId};
use domain::lifecycle::{Outcome, Step};
use domain::member::{Horizon, Role};
use domain::reasons::Reason;
use domain::record::{Body, Consent, Note, NoteRecord, Record, Witnessed};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::voucher::{self, VoucherDoc};
use super::{Broken, Work, presentation};
use crate::keys;
use crate::kv::{Space, after_prefix};

/// Most checks by one institution of one voucher that are kept: the newest.
const MAX_CHECKS_PER_AUTHOR: usize = 16;

/// Most other notes by one institution about one voucher that are kept: the first.
///
/// A log is held in order, so every node keeps the same ones.
const MAX_NOTES_PER_AUTHOR: usize = 64;

/// A note as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteEntry {
    /// Its name.
    pub name: RecordName,
    /// Its time.
    pub at: Timestamp,
    /// The role in which it was written.
    pub role: Role,
    /// The head that its author knew.
    pub about: RecordName,
    /// What it says.
    pub note: Note,
    /// It holds: its author may write it, and so does its presentation, where it has one.
    pub proved: bool,
    /// Why it does not hold; none while it does, or while what it depends on is not here.
    pub refused: Option<Reason>,
}

/// What a note's presentation comes to.
enum Proof {
    Holds,
    Waits,
    Fails(Reason),
}

const fn witnessed(note: &Note) -> Option<&Witnessed> {
    match note {
        Note::CancelRequested { witnessed }
        | Note::MoveRequested { witnessed, .. }
        | Note::UseDisputed { witnessed }
        | Note::HelpRequested { witnessed, .. } => Some(witnessed),
        _ => None,
    }
}

const fn is_check(note: &Note) -> bool {
    matches!(note, Note::Verified { .. })
}

/// Applies a record about a voucher.
pub(super) fn apply(work: &mut Work<'_>, name: RecordName, record: &Record, note: &NoteRecord) {
    // Which record used a presentation first is for the order of its log to say, whatever else is here yet.
    if let Some(claims) = witnessed(&note.note).and_then(|w| presentation::claims(&w.presentation.cose)) {
        voucher::first_use(work, name, claims.kid, claims.cti);
    }
    let Some(mut doc) = work.voucher(note.voucher) else {
        // Taken up when the first record of the voucher comes.
        work.tx.put(Space::State, keys::waiting_note(note.voucher, name), Vec::new());
        return;
    };
    if doc.notes.iter().any(|n| n.name == name) {
        return;
    }
    let check = is_check(&note.note);
    let alike = |n: &NoteEntry| n.name.institution == name.institution && is_check(&n.note) == check;
    let kept = doc.notes.iter().filter(|n| alike(n)).count();
    if check && kept >= MAX_CHECKS_PER_AUTHOR {
        if let Some(oldest) = doc.notes.iter().position(alike) {
            let gone = doc.notes.remove(oldest).name;
            work.tx.delete(Space::State, keys::broken(gone.institution, gone.index));
        }
    } else if kept >= MAX_NOTES_PER_AUTHOR {
        return;
    }
    let NoteRecord { about, note: said, .. } = note.clone();
    let (at, role) = (record.at, record.role);
    doc.notes.push(NoteEntry { name, at, role, about, note: said, proved: false, refused: None });
    voucher::settle_document(work, note.voucher, doc);
}

/// The first record of a voucher has come: notes about it that came before are taken up.
pub(super) fn take_up(work: &mut Work<'_>, voucher: VoucherId) {
    let prefix = keys::waiting_notes_for(voucher);
    // Most often no note waits for any voucher.
    work.tx.look_ahead(&[keys::WAITING_NOTE], &after_prefix(&[keys::WAITING_NOTE]));
    for (key, _) in work.tx.prefix(Space::State, &prefix, usize::MAX) {
        work.tx.delete(Space::State, key.clone());
        let mut parts = keys::Parts(key.get(prefix.len()..).unwrap_or_default());
        let (Some(author), Some(index)) = (parts.institution(), parts.number()) else { continue };
        let Some(bytes) = work.tx.entry(author, index) else { continue };
        let Ok(record) = ledger::record::decode_record::<Record>(&bytes) else { continue };
        if let (Body::Note(note), Some(name)) = (&record.body, work.name_at(author, index)) {
            apply(work, name, &record, note);
        }
    }
}

/// Judges every note by what is held now.
pub(super) fn judge(work: &mut Work<'_>, id: VoucherId, doc: &mut VoucherDoc) {
    for i in 0..doc.notes.len() {
        let entry = &doc.notes[i];
        let name = entry.name;
        let stands = work.registry.author_counts(name.institution, entry.role, name.index, Horizon::ALL);
        let (proved, refused) = match (stands, witnessed(&entry.note)) {
            (false, _) => (false, Some(Reason::NotInGoodStanding)),
            (true, None) => (true, None),
            (true, Some(witnessed)) => match prove(work, id, doc, entry, witnessed) {
                (Proof::Holds, key) => {
                    remember(doc, name, key, true);
                    (true, None)
                }
                (Proof::Fails(reason), key) => {
                    remember(doc, name, key, false);
                    (false, Some(reason))
                }
                (Proof::Waits, _) => (false, None),
            },
        };
        let Some(entry) = doc.notes.get_mut(i) else { continue };
        if entry.refused != refused {
            let key = keys::broken(name.institution, name.index);
            match refused {
                Some(reason) => work.tx.store(key, &(name, Broken::Rule(reason))),
                None => work.tx.delete(Space::State, key),
            }
        }
        (entry.proved, entry.refused) = (proved, refused);
    }
}

/// Keeps what a verification came to: it is the dear part, and the key does not change.
fn remember(doc: &mut VoucherDoc, name: RecordName, key: Option<HolderKey>, good: bool) {
    let Some(key) = key else { return };
    if !doc.signed_notes.iter().any(|(n, k, _)| *n == name && *k == key) {
        doc.signed_notes.retain(|(n, ..)| *n != name);
        doc.signed_notes.push((name, key, good));
    }
}

/// Whether a presentation outside the chain holds: fresh, first, for this author and voucher, under the holder's key.
///
/// With the answer comes the key if it was asked whether it signed.
fn prove(
    work: &mut Work<'_>,
    id: VoucherId,
    doc: &VoucherDoc,
    entry: &NoteEntry,
    witnessed: &Witnessed,
) -> (Proof, Option<HolderKey>) {
    let no = |reason| (Proof::Fails(reason), None);
    let author = entry.name.institution;
    let Some(claims) = presentation::claims(&witnessed.presentation.cose) else {
        return no(Reason::PresentationMalformed);
    };
    match claims.consent {
        Consent::Cancel { aud, .. } if aud != author => return no(Reason::PresentationElsewhere),
        Consent::Cancel { voucher, .. } if voucher != id => return no(Reason::PresentationOtherVoucher),
        Consent::Cancel { .. } => {}
        _ => return no(Reason::PresentationOtherStep),
    }
    let iat = Timestamp::from_millis(claims.iat_secs.saturating_mul(1_000));
    if iat.distance(entry.at) > PRESENTATION_WINDOW {
        return no(Reason::PresentationStale);
    }
    let first: Option<u64> = work.tx.load(&keys::presentation(author, claims.kid, claims.cti));
    if first != Some(entry.name.index) {
        return no(Reason::PresentationReplayed);
    }
    let position = witnessed.registrar;
    if position.institution != work.settings.registrar {
        return no(Reason::BadName);
    }
    if work.cursor(position.institution).next <= position.index {
        work.tx.put(Space::State, keys::waiting(position.institution, position.index, id), Vec::new());
        return (Proof::Waits, None);
    }
    if work.name_at(position.institution, position.index) != Some(position) {
        return no(Reason::BadName);
    }
    let enrolment = match enrolment_of(doc, entry.about) {
        Ok(Some(name)) => work.enrolment(&name),
        Ok(None) => None,
        Err(NotHere) => return (Proof::Waits, None),
    };
    let Some((enrolment, state)) = enrolment.and_then(|e| e.at(position.index).map(|at| (e, at))) else {
        return no(Reason::EnrolmentUnknown);
    };
    if state.blocked.is_some() {
        return no(Reason::EnrolmentBlocked);
    }
    let key = match witnessed.presentation.assisted {
        Some(_) => state.card.map(|(_, key)| HolderKey::Ed25519(key)),
        None => state.key,
    };
    let Some(key) = key.filter(|_| claims.is_for(enrolment.id)) else { return no(Reason::PresentationForged) };
    let known = doc.signed_notes.iter().find(|(n, k, _)| *n == entry.name && *k == key).map(|(.., good)| *good);
    let good = known.unwrap_or_else(|| presentation::verifies(&witnessed.presentation.cose, &key));
    (if good { Proof::Holds } else { Proof::Fails(Reason::PresentationForged) }, Some(key))
}

/// A record between a note and the step that gave the voucher to its holder has not come yet.
struct NotHere;

/// Whose the voucher was at a record of its chain: nothing but that record and what it continues.
fn enrolment_of(doc: &VoucherDoc, about: RecordName) -> Result<Option<RecordName>, NotHere> {
    let mut next = Some(about);
    // Names cannot run in circles; a path is no longer than all records together, and ends behind them.
    for _ in 0..=doc.links.len() {
        let Some(name) = next else { return Ok(None) };
        let link = doc.links.iter().find(|l| l.name == name).ok_or(NotHere)?;
        next = match &link.step {
            Step::Issued { enrolment, .. } | Step::HandedOver { enrolment } => return Ok(Some(*enrolment)),
            Step::Returned { .. } | Step::Reclaimed { .. } => return Ok(None),
            Step::Resolved { outcome: Outcome::Keep(kept), .. } => Some(*kept),
            _ => link.prev,
        };
    }
    Err(NotHere)
}
