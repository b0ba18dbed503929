//! Checking a single text: a personal QR, a voucher QR, a proof, a checkpoint or a record, by what this node holds.

use domain::ids::{InstitutionId, RecordName};
use domain::member::{Member, Purpose};
use domain::record::{Body, Consent, Record};
use domain::time::Timestamp;
use ledger::checkpoint::Checkpoint;
use ledger::key::{KeyKind, NoteVerifier, PublicKey};
use ledger::merkle::{Hash, leaf_hash};
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
}

impl Checked {
    fn new(kind: TextKind) -> Self {
        Self { kind, genuine: false, facts: Vec::new() }
    }
    fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.push((name.to_owned(), value.to_string()));
        self
    }
    fn genuine(mut self, genuine: bool) -> Self {
        self.genuine = genuine;
        self
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

fn log_keys(member: &Member) -> Vec<NoteVerifier> {
    let old = member.old_keys.iter().filter(|(purpose, ..)| *purpose == Purpose::Log).map(|(_, key, _)| key);
    let all = std::iter::once(&member.entry.keys[Purpose::Log as usize]).chain(old);
    let verifier =
        |key: &[u8; 32]| NoteVerifier::new(&member.entry.origin, KeyKind::Log, PublicKey::checked(key).ok()?).ok();
    all.filter_map(verifier).collect()
}

/// Whose checkpoint a text is, if that member's log key signed it.
fn signed_by<'a>(work: &'a Work<'_>, note: &str) -> Option<(&'a Member, Checkpoint)> {
    let origin = note.split('\n').next()?;
    let member = work.registry.members.values().find(|m| m.entry.origin == origin)?;
    Some((member, Checkpoint::open(note, origin, &log_keys(member)).ok()?))
}

fn checkpoint(work: &Work<'_>, text: &str) -> Checked {
    let checked = Checked::new(TextKind::Checkpoint);
    let Some((member, head)) = signed_by(work, text) else {
        return checked.fact("problem", "no member's log key signed it");
    };
    let id = member.entry.institution;
    let checked = checked.genuine(true).fact("institution", id).fact("size", head.size);
    checked.fact("root", Hash::to_base64(&head.root)).fact("folded-here", work.cursor(id).next)
}

fn proof(work: &Work<'_>, text: &str) -> Checked {
    let checked = Checked::new(TextKind::Proof);
    let proof = match TlogProof::parse(text) {
        Ok(proof) => proof,
        Err(error) => return checked.fact("problem", error),
    };
    let Some((member, head)) = signed_by(work, &proof.checkpoint) else {
        return checked.fact("problem", "no member's log key signed its checkpoint");
    };
    let id = member.entry.institution;
    let checked = checked.fact("institution", id).fact("index", proof.index).fact("size", head.size);
    let Some(bytes) = work.tx.entry(id, proof.index) else {
        return checked.fact("problem", "the record is not held here");
    };
    let leaf = leaf_hash(&bytes);
    match proof.verify(&leaf, &member.entry.origin, &log_keys(member), &ledger::policy::Policy::default()) {
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
