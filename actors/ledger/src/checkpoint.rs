//! Checkpoints (C2SP tlog-checkpoint): the signed size and root of a log.

use crate::key::{KeyKind, NoteSigner, NoteVerifier};
use crate::merkle::{EMPTY_ROOT, Hash};
use crate::note::{Note, NoteError, VerifiedNote, from_decimal};

/// The size and the root of one log at one time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Which log: the name of its key. One line.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree of these entries.
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is malformed, or a signature is false or missing.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Only witnesses signed.
    #[error("the log itself did not sign the checkpoint")]
    NotSignedByLog,
    /// The text does not have origin, size and root.
    #[error("the signed text is not a checkpoint")]
    Form,
    /// The checkpoint is another log's.
    #[error("the checkpoint is of {found:?}, not of the expected log")]
    Origin {
        /// The origin that was signed.
        found: String,
    },
    /// Size 0 with a root that is not the empty root.
    #[error("a log without entries has the empty root")]
    EmptyRoot,
}

/// The size that a note claims which nobody has verified yet: its second line.
#[must_use]
pub fn claimed_size(note: &str) -> Option<u64> {
    from_decimal(note.split('\n').nth(1)?)
}

impl Checkpoint {
    /// The text that is signed: origin, size and root, one line each.
    pub fn note_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }

    /// The signed note: the text, a blank line and the log's signature line. Cosignatures are appended to it.
    pub fn sign(&self, signer: &NoteSigner) -> String {
        let text = self.note_text();
        let line = signer.sign(&text);
        format!("{text}\n{line}")
    }

    /// Verifies a signed checkpoint and reads it. At least one of the log's keys must have signed, and the
    /// origin must be the expected one, byte for byte. Unknown extension lines are covered by the signature and
    /// passed over; our logs write none.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn open(
        note: impl AsRef<[u8]>,
        expected_origin: &str,
        verifiers: &[NoteVerifier],
    ) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_note(note, expected_origin, verifiers).map(|(checkpoint, _)| checkpoint)
    }

    /// Like [`Checkpoint::open`], and gives the verified note too: who cosigned when, and the exact text to cosign.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn open_note(
        note: impl AsRef<[u8]>,
        expected_origin: &str,
        verifiers: &[NoteVerifier],
    ) -> Result<(Checkpoint, VerifiedNote), CheckpointError> {
        let note = Note::parse(note)?.verify(verifiers)?;
        if !note.signatures().iter().any(|signature| signature.verifier.kind() == KeyKind::Log) {
            return Err(CheckpointError::NotSignedByLog);
        }
        let checkpoint = Checkpoint::from_text(note.text())?;
        if checkpoint.origin != expected_origin {
            return Err(CheckpointError::Origin { found: checkpoint.origin });
        }
        Ok((checkpoint, note))
    }

    fn from_text(text: &str) -> Result<Checkpoint, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::Form)?;
        // No line may be empty, neither one of the three nor an extension.
        if lines.split('\n').any(str::is_empty) {
            return Err(CheckpointError::Form);
        }
        let mut lines = lines.split('\n');
        let mut next = || lines.next().ok_or(CheckpointError::Form);
        let origin = next()?.to_owned();
        let size = from_decimal(next()?).ok_or(CheckpointError::Form)?;
        let root = Hash::from_base64(next()?).ok_or(CheckpointError::Form)?;
        if size == 0 && root != EMPTY_ROOT {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Checkpoint { origin, size, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::Cosigner;
    use crate::key::PrivateKey;

    const ORIGIN: &str = "a.example/log";

    fn log(seed: u8) -> NoteSigner {
        NoteSigner::new(ORIGIN, PrivateKey::from_seed(&[seed; 32])).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: ORIGIN.into(), size: 5, root: Hash([9; 32]) }
    }

    #[test]
    fn what_was_signed_is_read_again() {
        let signed = checkpoint().sign(&log(1));
        assert_eq!(Checkpoint::open(&signed, ORIGIN, &[log(1).verifier().clone()]), Ok(checkpoint()));
        assert_eq!(
            Checkpoint::open(&signed, "b.example/log", &[log(1).verifier().clone()]),
            Err(CheckpointError::Origin { found: ORIGIN.into() })
        );
        assert_eq!(
            Checkpoint::open(&signed, ORIGIN, &[log(2).verifier().clone()]),
            Err(CheckpointError::Note(NoteError::NoKnownSignature))
        );
    }

    #[test]
    fn a_witness_alone_does_not_make_a_checkpoint() {
        let witness = Cosigner::new("w.example", PrivateKey::from_seed(&[3; 32])).unwrap();
        let text = checkpoint().note_text();
        let known = [log(1).verifier().clone(), witness.verifier().clone()];
        let note = format!("{text}\n{}", witness.sign(7, &text));
        assert_eq!(Checkpoint::open(note, ORIGIN, &known), Err(CheckpointError::NotSignedByLog));
        let note = checkpoint().sign(&log(1)) + &witness.sign(7, &text);
        let (_, verified) = Checkpoint::open_note(note, ORIGIN, &known).unwrap();
        let seconds: Vec<_> = verified.signatures().iter().map(|signature| signature.seconds).collect();
        assert_eq!(seconds, [None, Some(7)]);
    }

    #[test]
    fn a_signed_text_that_is_no_checkpoint_is_refused() {
        let root = EMPTY_ROOT.to_base64();
        let cases = [
            (format!("{ORIGIN}\n0\n{root}\n"), Ok(())),
            (format!("{ORIGIN}\n9223372036854775807\n{root}\nextension\n"), Ok(())),
            (format!("{ORIGIN}\n9223372036854775808\n{root}\n"), Err(CheckpointError::Form)),
            (format!("{ORIGIN}\n 1\n{root}\n"), Err(CheckpointError::Form)),
            (format!("{ORIGIN}\n1\n{root} \n"), Err(CheckpointError::Form)),
            (format!("{ORIGIN}\n1\n{root}\n\nextension\n"), Err(CheckpointError::Form)),
            (format!("\n{ORIGIN}\n1\n{root}\n"), Err(CheckpointError::Form)),
            (format!("{ORIGIN} \n1\n{root}\n"), Err(CheckpointError::Origin { found: format!("{ORIGIN} ") })),
            (format!("{ORIGIN}\n0\n{}\n", Hash([0; 32]).to_base64()), Err(CheckpointError::EmptyRoot)),
        ];
        for (text, outcome) in cases {
            let note = format!("{text}\n{}", log(1).sign(&text));
            assert_eq!(Checkpoint::open(note, ORIGIN, &[log(1).verifier().clone()]).map(|_| ()), outcome, "{text:?}");
        }
    }
}
