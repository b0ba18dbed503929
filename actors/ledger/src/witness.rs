//! A witness (C2SP tlog-witness): what it answers to a checkpoint that somebody shows it. Pure: what it keeps of the log and the
//! keys come in, and the answer goes out.
//!
//! ```text
//!   old SIZE            the size that the witness cosigned last, as the caller believes
//!   BASE64              at most 63 hashes: the proof that the checkpoint goes on from there
//!                       an empty line
//!   SIGNED CHECKPOINT   as the log published it
//! ```

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::Cosigner;
use crate::key::NoteVerifier;
use crate::merkle::{Hash, verify_consistency};
use crate::note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, from_decimal};

/// Most hashes of a proof.
pub const MAX_PROOF_HASHES: usize = 63;

/// Largest request, in bytes: a note, and the lines before it.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + 4 * 1024;

/// Most lines by keys of the log that are kept: while a key is replaced, old and new sign.
const MAX_LOG_LINES: usize = 4;

/// A request that has the right form; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    old: u64,
    proof: Vec<Hash>,
    raw: String,
    note: Note,
}

/// Why a checkpoint is not cosigned, in the order in which it is judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not of this form.
    #[error("a request is `old SIZE`, at most {MAX_PROOF_HASHES} hashes, an empty line and a signed checkpoint")]
    Form,
    /// The log is not one of those that are witnessed here.
    #[error("this log is not witnessed here")]
    UnknownLog,
    /// No key of the log signed, or a signature is false.
    #[error("no key of the log signed this checkpoint")]
    NotSigned,
    /// The caller believes that more was cosigned than the checkpoint has.
    #[error("the old size is larger than the checkpoint")]
    OldTooLarge,
    /// A log without entries has one root only.
    #[error("a log without entries has the empty root")]
    EmptyRoot,
    /// Another size was cosigned last: this one.
    #[error("{0} entries were cosigned last")]
    Stale(u64),
    /// The first checkpoint of a log needs no proof.
    #[error("from nothing there is nothing to prove")]
    NeedlessProof,
    /// The log signed two roots of one size.
    #[error("another root of this size was cosigned before")]
    OtherRoot,
    /// The proof does not lead from what was cosigned to the checkpoint.
    #[error("the proof does not lead from what was cosigned to this checkpoint")]
    NotProved,
}

impl Refusal {
    /// The HTTP status that C2SP has for it.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Form | Refusal::OldTooLarge => 400,
            Refusal::NotSigned => 403,
            Refusal::UnknownLog => 404,
            Refusal::Stale(_) => 409,
            Refusal::EmptyRoot | Refusal::NeedlessProof | Refusal::OtherRoot | Refusal::NotProved => 422,
        }
    }

    /// Whether the log has signed what contradicts what it signed before: both are to be kept.
    pub fn is_evidence(&self) -> bool {
        *self == Refusal::OtherRoot
    }
}

/// A request whose checkpoint the log has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<'r> {
    request: &'r AddCheckpoint,
    /// What the checkpoint says.
    pub checkpoint: Checkpoint,
    /// The text that is cosigned.
    text: String,
    /// The good signature lines of the log.
    lines: String,
}

impl AddCheckpoint {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`Refusal::Form`].
    pub fn parse(body: &[u8]) -> Result<AddCheckpoint, Refusal> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Refusal::Form);
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Form)?;
        let (head, raw) = text.split_once("\n\n").ok_or(Refusal::Form)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| from_decimal(line.strip_prefix("old ")?)).ok_or(Refusal::Form)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF_HASHES {
                return Err(Refusal::Form);
            }
            proof.push(Hash::from_base64(line).ok_or(Refusal::Form)?);
        }
        let note = Note::parse(raw).map_err(|_| Refusal::Form)?;
        Ok(AddCheckpoint { old, proof, raw: raw.to_owned(), note })
    }

    /// The log that it says it is about: good for finding its keys and what is kept of it.
    pub fn claimed_origin(&self) -> &str {
        self.note.claimed_origin()
    }

    /// The signed checkpoint as it was shown.
    pub fn shown(&self) -> &str {
        &self.raw
    }

    /// Looks at what needs no knowledge of the log's past; `keys` are the log's, none for a log that is not witnessed here.
    ///
    /// # Errors
    ///
    /// [`Refusal`], the first that applies.
    pub fn open(&self, keys: Option<&[NoteVerifier]>) -> Result<Signed<'_>, Refusal> {
        let keys = keys.ok_or(Refusal::UnknownLog)?;
        let (checkpoint, note) = match Checkpoint::open_note(&self.raw, self.claimed_origin(), keys) {
            Ok(opened) => opened,
            // It is signed, so whatever `old` says: of nothing there is one root.
            Err(CheckpointError::EmptyRoot) if self.old > 0 => return Err(Refusal::OldTooLarge),
            Err(CheckpointError::EmptyRoot) => return Err(Refusal::EmptyRoot),
            Err(CheckpointError::Form | CheckpointError::Origin { .. }) => return Err(Refusal::Form),
            Err(CheckpointError::Note(_) | CheckpointError::NotSignedByLog) => return Err(Refusal::NotSigned),
        };
        if self.old > checkpoint.size {
            return Err(Refusal::OldTooLarge);
        }
        let text = note.text().to_owned();
        let lines = good_lines(&text, &self.raw[text.len() + 1..], keys).take(MAX_LOG_LINES).collect();
        Ok(Signed { request: self, checkpoint, text, lines })
    }
}

impl Signed<'_> {
    /// Whether it may be cosigned by who cosigned `kept` of the log last.
    ///
    /// # Errors
    ///
    /// [`Refusal`], the first that applies.
    pub fn judge(&self, kept: Option<&Checkpoint>) -> Result<(), Refusal> {
        let (AddCheckpoint { old, proof, .. }, new) = (self.request, &self.checkpoint);
        let last = kept.map_or(0, |kept| kept.size);
        if *old != last {
            return Err(Refusal::Stale(last));
        }
        if *old == 0 && !proof.is_empty() {
            return Err(Refusal::NeedlessProof);
        }
        if let Some(kept) = kept {
            if kept.size == new.size && kept.root != new.root {
                return Err(Refusal::OtherRoot);
            }
            if kept.size > 0 {
                verify_consistency(kept.size, &kept.root, new.size, &new.root, proof)
                    .map_err(|_| Refusal::NotProved)?;
            }
        }
        Ok(())
    }

    /// How many entries it is said to go on from.
    pub fn old(&self) -> u64 {
        self.request.old
    }

    /// Whether its proof leads from that many entries with this root to the checkpoint.
    pub fn continues(&self, root: &Hash) -> bool {
        let (AddCheckpoint { old, proof, .. }, new) = (self.request, &self.checkpoint);
        verify_consistency(*old, root, new.size, &new.root, proof).is_ok()
    }

    /// The checkpoint with the signatures of its log alone: lines that anybody may add are not kept.
    pub fn note(&self) -> String {
        format!("{}\n{}", self.text, self.lines)
    }

    /// Cosigns it at a time in seconds since 1970 UTC: the lines to answer with, and the whole checkpoint to keep, with the
    /// signatures of the log and of the witness.
    pub fn cosign(&self, cosigner: &Cosigner, seconds: u64) -> (String, String) {
        let line = cosigner.sign(seconds, &self.text);
        let kept = format!("{}\n{}{line}", self.text, self.lines);
        (line, kept)
    }
}

/// Those of some signature lines that are good under one of the keys, each with its line feed.
pub fn good_lines<'a>(text: &'a str, lines: &'a str, keys: &'a [NoteVerifier]) -> impl Iterator<Item = String> + 'a {
    let is_good =
        move |line: &&str| Note::parse(format!("{text}\n{line}\n")).is_ok_and(|note| note.verify(keys).is_ok());
    lines.lines().take(MAX_SIGNATURES).filter(is_good).map(|line| format!("{line}\n"))
}

/// What a caller sends: the size that the witness is believed to have, the proof from there, and the signed checkpoint.
pub fn add_checkpoint(old: u64, proof: &[Hash], note: &str) -> String {
    let lines: String = proof.iter().map(|hash| format!("{}\n", hash.to_base64())).collect();
    format!("old {old}\n{lines}\n{note}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::{NoteSigner, PrivateKey};
    use crate::merkle::{EMPTY_ROOT, Edge, leaf_hash};

    const ORIGIN: &str = "town/health";

    fn log(seed: u8) -> NoteSigner {
        NoteSigner::new(ORIGIN, PrivateKey::from_seed(&[seed; 32])).unwrap()
    }

    fn head(size: u64) -> Checkpoint {
        let mut edge = Edge::default();
        (0..size).for_each(|n| edge.push(leaf_hash(&n.to_be_bytes())));
        Checkpoint { origin: ORIGIN.into(), size, root: edge.root() }
    }

    fn judged(body: &str, kept: Option<&Checkpoint>) -> Result<(), Refusal> {
        AddCheckpoint::parse(body.as_bytes())?.open(Some(&[log(1).verifier().clone()]))?.judge(kept)
    }

    #[test]
    fn what_is_kept_has_the_signatures_of_log_and_witness_and_no_others() {
        let cosigner = Cosigner::new("town/audit", PrivateKey::from_seed(&[9; 32])).unwrap();
        let note = head(3).sign(&log(1));
        let stranger = Cosigner::new("else/where", PrivateKey::from_seed(&[8; 32])).unwrap();
        let shown = format!("{note}{}", stranger.sign(7, &head(3).note_text()));
        let body = add_checkpoint(0, &[], &shown);
        assert_eq!(judged(&body, None), Ok(()));
        let (request, known) = (AddCheckpoint::parse(body.as_bytes()).unwrap(), [log(1).verifier().clone()]);
        let (line, kept) = request.open(Some(&known)).unwrap().cosign(&cosigner, 1_767_225_605);
        assert_eq!(kept, format!("{note}{line}"));
        let keys = [log(1).verifier().clone(), cosigner.verifier().clone()];
        let (read, signed) = Checkpoint::open_note(&kept, ORIGIN, &keys).unwrap();
        assert_eq!((read, signed.signatures().len()), (head(3), 2));
    }

    #[test]
    fn a_log_that_contradicts_itself_gets_nothing() {
        let other = Checkpoint { root: Hash([5; 32]), ..head(3) };
        let sign = |checkpoint: &Checkpoint| checkpoint.sign(&log(1));
        let table = [
            (add_checkpoint(3, &[], &sign(&other)), Some(head(3)), Refusal::OtherRoot),
            (add_checkpoint(0, &[], &sign(&head(5))), Some(head(3)), Refusal::Stale(3)),
            (add_checkpoint(0, &[], &sign(&head(2))), Some(head(3)), Refusal::Stale(3)),
            (add_checkpoint(3, &[], &sign(&head(2))), Some(head(3)), Refusal::OldTooLarge),
            (add_checkpoint(3, &[], &sign(&head(5))), Some(head(3)), Refusal::NotProved),
            (add_checkpoint(3, &[EMPTY_ROOT], &sign(&head(3))), Some(head(3)), Refusal::NotProved),
            (add_checkpoint(0, &[], &head(3).sign(&log(2))), None, Refusal::NotSigned),
        ];
        for (body, kept, refusal) in table {
            assert_eq!(judged(&body, kept.as_ref()), Err(refusal), "{body}");
        }
        let stranger = AddCheckpoint::parse(add_checkpoint(0, &[], &sign(&head(3))).as_bytes()).unwrap();
        assert_eq!(stranger.open(None), Err(Refusal::UnknownLog));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(before in "old [0-9]{1,3}\n([A-Za-z+/]{43}=\n){0,3}\n?", rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let note = head(3).sign(&log(1));
            for tail in [rest, note.into_bytes()] {
                let body = [before.as_bytes(), &tail].concat();
                let _ = AddCheckpoint::parse(&body).and_then(|request| {
                    request.open(Some(&[log(1).verifier().clone()]))?.judge(Some(&head(2)))
                });
            }
        }
    }
}
