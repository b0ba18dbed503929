//! Checking a single text: a personal QR, a voucher QR, a proof, a checkpoint or a record, by what this node holds.

use std::collections::BTreeMap;

use domain::ids::{InstitutionId, RecordName};
use domain::member::{Member, Purpose, Role};
use domain::record::{Body, Consent, Record};
use domain::time::Timestamp;
use ledger::checkpoint::{Checkpoint, claimed_size};
use ledger::key::{KeyKind, NoteVerifier, PublicKey};
use ledger::merkle::{Hash, leaf_hash};
use ledger::note::VerifiedNote;
use ledger::proof::TlogProof;
use serde::Serialize;

use crate::hospital::desk;
use crate::keys;
use crate::replica::{self, Broken, Work};
use crate::token::{vp1, vq1};

/// Longest text that is checked, in characters: a proof with its checkpoint, or a record in hexadecimal.
pub const MAX_CHARS: usize = ledger::proof::MAX_PROOF_BYTES;

/// What a text turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextKind {
    /// VP1.
    PersonalQr,
    /// VQ1.
    VoucherQr,
    /// A C2SP tlog-proof.
    Proof,
    /// A signed checkpoint.
    Checkpoint,
    /// A record's canonical bytes in hexadecimal.
    Record,
    /// None of them.
    Unknown,
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What it is.
    pub kind: TextKind,
    /// The signature, or the place in the log, is proved.
    pub genuine: bool,
    /// What can be said of it, in order: a name and a value.
    pub facts: Vec<(String, String)>,
    /// The head that it is or stands on, if a member's log key signed it: still to be held [`Checked::against`] what this node holds.
    #[serde(skip)]
    pub head: Option<(InstitutionId, Checkpoint)>,
}

impl Checked {
    fn new(kind: TextKind) -> Self {
        Self { kind, genuine: false, facts: Vec::new(), head: None }
    }
    fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.push((name.to_owned(), value.to_string()));
        self
    }
    fn genuine(mut self, genuine: bool) -> Self {
        self.genuine = genuine;
        self
    }

    /// Says of a signed head whether it is of the history that this node holds. `held` is the root of that over as many entries;
    /// none if fewer are held.
    #[must_use]
    pub fn against(self, held: Option<Hash>) -> Self {
        let Some((_, head)) = &self.head else { return self };
        match held {
            Some(root) if root == head.root => self.fact("held-here", "same"),
            None => self.fact("held-here", "fewer"),
            // Signed it is; that it is the log, nobody may conclude.
            Some(_) => self.fact("held-here", "other").genuine(false),
        }
    }
}

/// Checks a text of at most [`MAX_CHARS`].
#[must_use]
pub fn check(work: &Work<'_>, text: &str, now: Timestamp) -> Checked {
    if text.len() > MAX_CHARS {
        return Checked::new(TextKind::Unknown).fact("problem", format!("longer than {MAX_CHARS} characters"));
    }
    let line = text.trim();
    if line.starts_with(vp1::PREFIX) {
        personal(work, line, now)
    } else if line.starts_with(vq1::PREFIX) {
        voucher_qr(work, line, now)
    } else if text.starts_with("c2sp.org/tlog-proof@") {
        proof(work, text)
    } else if let Ok(bytes) = hex::decode(line)
        && !bytes.is_empty()
    {
        record(work, &bytes)
    } else if text.contains("\n\n") {
        checkpoint(work, text)
    } else {
        Checked::new(TextKind::Unknown).fact("problem", "neither VP1, VQ1, proof, checkpoint nor record")
    }
}

fn personal(work: &Work<'_>, text: &str, now: Timestamp) -> Checked {
    let checked = Checked::new(TextKind::PersonalQr);
    let token = match vp1::parse(text) {
        Ok(token) => token,
        Err(error) => return checked.fact("problem", error),
    };
    let signed_at = Timestamp::from_millis(token.claims.iat.saturating_mul(1_000));
    let checked = checked.fact("signed-at", signed_at).fact("age-secs", (now.millis() - signed_at.millis()) / 1_000);
    let Some(claims) = replica::of_token(&token.claims) else { return checked.fact("problem", "names no institution") };
    let (step, voucher) = match &claims.consent {
        Consent::Register => return checked.fact("step", "register").genuine(token.proven_key().is_some()),
        Consent::Identify => ("identify", None),
        Consent::Receive { .. } => ("receive", None),
        Consent::Arrive { voucher, .. } => ("arrive", Some(*voucher)),
        Consent::Complete { voucher, .. } => ("complete", Some(*voucher)),
        Consent::Cancel { voucher, .. } => ("cancel", Some(*voucher)),
        Consent::Wallet { .. } => ("wallet", None),
    };
    let checked = checked.fact("step", step);
    let Some(voucher) = voucher else {
        return checked.fact("signature", "only who knows the holder can tell");
    };
    let checked = checked.fact("voucher", voucher);
    let enrolment = work.voucher(voucher).and_then(|doc| doc.state()?.enrolment).and_then(|e| work.enrolment(&e));
    let Some((enrolment, state)) = enrolment.and_then(|e| e.now().map(|state| (e, state))) else {
        return checked.fact("signature", "nobody has this voucher here");
    };
    let by = |key| replica::public_key(&key).is_some_and(|key| token.verify(&key));
    let by_phone = state.key.is_some_and(by);
    let by_card = state.card.is_some_and(|(_, key)| by(domain::holder::HolderKey::Ed25519(key)));
    let signer = if by_phone {
        "the holder's phone"
    } else if by_card {
        "the holder's card"
    } else {
        "somebody else"
    };
    let blocked = state.blocked.is_some();
    let genuine = claims.is_for(enrolment.id) && (by_phone || by_card);
    checked.fact("signature", signer).fact("blocked", blocked).genuine(genuine)
}

fn voucher_qr(work: &Work<'_>, text: &str, now: Timestamp) -> Checked {
    let checked = Checked::new(TextKind::VoucherQr);
    let token = match vq1::parse(text) {
        Ok(token) => token,
        Err(error) => return checked.fact("problem", error),
    };
    let genuine = desk::is_genuine(work, &token);
    let until = Timestamp::from_millis(token.claims.expires.saturating_mul(1_000));
    let checked = checked.genuine(genuine).fact("community", &token.claims.community).fact("valid-until", until);
    let Ok(id) = desk::named_by(text) else { return checked };
    let checked = checked.fact("voucher", id).fact("service", &token.claims.service);
    let Some(doc) = work.voucher(id) else { return checked.fact("state", "unknown here") };
    let current = desk::current_token(&doc) == Some(text);
    let checked = checked.fact("current", current);
    match doc.state() {
        Some(state) => checked.fact("stage", word(&state.stage)).fact("in-time", desk::four_states(state, now).valid),
        None => checked.fact("state", "waiting"),
    }
}

fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn verifier(member: &Member, kind: KeyKind, key: &[u8; 32]) -> Option<NoteVerifier> {
    NoteVerifier::new(&member.entry.origin, kind, PublicKey::checked(key).ok()?).ok()
}

/// The keys that may have signed a head over so many entries: one that was replaced signs nothing longer.
fn log_keys(member: &Member, size: u64) -> Vec<NoteVerifier> {
    let old = member.old_keys.iter().filter(|(purpose, _, until)| *purpose == Purpose::Log && size <= *until);
    let all = std::iter::once(&member.entry.keys[Purpose::Log as usize]).chain(old.map(|(_, key, _)| key));
    all.filter_map(|key| verifier(member, KeyKind::Log, key)).collect()
}

/// The keys of the federation's witnesses.
fn witness_keys(work: &Work<'_>) -> Vec<NoteVerifier> {
    let auditors = work.registry.playing(Role::Auditor);
    auditors.filter_map(|m| verifier(m, KeyKind::Witness, &m.entry.keys[Purpose::Witness as usize])).collect()
}

/// Whose checkpoint a text is, if that member's log key signed it.
fn signed_by<'a>(work: &'a Work<'_>, note: &str) -> Option<(&'a Member, Checkpoint, VerifiedNote)> {
    let origin = note.split('\n').next()?;
    let member = work.registry.members.values().find(|m| m.entry.origin == origin)?;
    let mut keys = log_keys(member, claimed_size(note)?);
    keys.extend(witness_keys(work));
    let (head, note) = Checkpoint::open_note(note, origin, &keys).ok()?;
    Some((member, head, note))
}

/// Auditors that have cosigned a checkpoint, and when.
pub type By = BTreeMap<InstitutionId, Timestamp>;

/// How many entries are under a member's signed checkpoint, and whose cosignatures below it are good.
pub(super) fn cosigned(work: &Work<'_>, note: &str) -> Option<(u64, By)> {
    let (_, head, note) = signed_by(work, note)?;
    Some((head.size, cosigned_by(work, &note)))
}

fn cosigned_by(work: &Work<'_>, note: &VerifiedNote) -> By {
    let by = note.signatures().iter().filter_map(|signature| {
        let at = i64::try_from(signature.seconds?).ok()?;
        let name = signature.verifier.name();
        let member = work.registry.members.values().find(|m| m.entry.origin == name)?;
        Some((member.entry.institution, Timestamp::from_millis(at.saturating_mul(1_000))))
    });
    by.collect()
}

fn names(by: &By) -> String {
    let names: Vec<String> = by.keys().map(ToString::to_string).collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

fn checkpoint(work: &Work<'_>, text: &str) -> Checked {
    let checked = Checked::new(TextKind::Checkpoint);
    let Some((member, head, note)) = signed_by(work, text) else {
        return checked.fact("problem", "no member's log key signed it");
    };
    let id = member.entry.institution;
    let checked = checked.genuine(true).fact("institution", id).fact("size", head.size);
    let checked = checked.fact("root", Hash::to_base64(&head.root)).fact("folded-here", work.cursor(id).next);
    let checked = checked.fact("cosigned-by", names(&cosigned_by(work, &note)));
    Checked { head: Some((id, head)), ..checked }
}

fn proof(work: &Work<'_>, text: &str) -> Checked {
    let checked = Checked::new(TextKind::Proof);
    let proof = match TlogProof::parse(text) {
        Ok(proof) => proof,
        Err(error) => return checked.fact("problem", error),
    };
    let Some((member, head, note)) = signed_by(work, &proof.checkpoint) else {
        return checked.fact("problem", "no member's log key signed its checkpoint");
    };
    let id = member.entry.institution;
    let checked = checked.fact("institution", id).fact("index", proof.index).fact("size", head.size);
    let checked = checked.fact("cosigned-by", names(&cosigned_by(work, &note)));
    let checked = Checked { head: Some((id, head.clone())), ..checked };
    let Some(bytes) = work.tx.entry(id, proof.index) else {
        return checked.fact("problem", "the record is not held here");
    };
    let leaf = leaf_hash(&bytes);
    match proof.verify(&leaf, &member.entry.origin, &log_keys(member, head.size), &ledger::policy::Policy::default()) {
        Ok(_) => described(work, checked.genuine(true), id, proof.index, &bytes),
        Err(error) => checked.fact("problem", error),
    }
}

fn record(work: &Work<'_>, bytes: &[u8]) -> Checked {
    let checked = Checked::new(TextKind::Record);
    let record: Record = match ledger::record::decode_record(bytes) {
        Ok(record) => record,
        Err(error) => return checked.fact("problem", error),
    };
    let (institution, index) = (record.institution, record.index);
    let checked = checked.fact("institution", institution).fact("index", index);
    match work.tx.entry(institution, index) {
        Some(held) if *held == *bytes => described(work, checked.genuine(true), institution, index, bytes),
        Some(_) => checked.fact("problem", "another record stands there"),
        None => checked.fact("problem", "that place is not held here"),
    }
}

/// What a record that stands in its log says, and whether it counts.
fn described(work: &Work<'_>, checked: Checked, institution: InstitutionId, index: u64, bytes: &[u8]) -> Checked {
    let id = leaf_hash(bytes);
    let checked = checked.fact("record-id", hex::encode(id.0));
    let Ok(record) = ledger::record::decode_record::<Record>(bytes) else { return checked };
    let voucher = match &record.body {
        Body::Chain(chain) => Some(chain.voucher),
        Body::Note(note) => Some(note.voucher),
        _ => None,
    };
    let checked = checked.fact("at", record.at).fact("role", record.role.as_str());
    let checked = match voucher {
        Some(voucher) => checked.fact("voucher", voucher),
        None => checked,
    };
    let broken: Option<(RecordName, Broken)> = work.tx.load(&keys::broken(institution, index));
    match broken {
        None => checked.fact("verdict", "stands"),
        Some((_, Broken::Rule(reason))) => checked.fact("verdict", reason),
        Some((_, why)) => checked.fact("verdict", format!("{why:?}")),
    }
}
