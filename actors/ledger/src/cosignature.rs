//! Ed25519 cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1`).

use crate::key::{KeyError, KeyKind, NoteVerifier, PrivateKey, verify_strict};
use crate::merkle::MAX_SIZE;
use crate::note;

/// Largest time, in seconds since 1970 UTC: what C2SP decimals may say.
const MAX_SECONDS: u64 = MAX_SIZE;

/// What a witness signs: its words, the time, and the whole note text with its last line feed.
fn message(seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// A witness's private key with its name.
///
/// A cosignature says: at that time this was the largest consistent tree of its origin that I had seen. The
/// signed message does not hold the name, so each name needs a key of its own.
#[derive(Debug)]
pub struct Cosigner {
    key: PrivateKey,
    verifier: NoteVerifier,
}

impl Cosigner {
    /// A cosigner under this name.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn new(name: &str, key: PrivateKey) -> Result<Cosigner, KeyError> {
        let verifier = NoteVerifier::new(name, KeyKind::Witness, key.public())?;
        Ok(Cosigner { key, verifier })
    }

    /// What verifies this witness's lines. Its text form is the witness's vkey.
    pub fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// Cosigns a note text (which ends with a line feed) at a time in seconds since 1970 UTC, and gives the line,
    /// with its line feed, to put behind the note. Nobody accepts a time of 2^63 seconds or more.
    pub fn sign(&self, seconds: u64, text: &str) -> String {
        let signature = self.key.sign(message(seconds, text).as_bytes());
        let field = [&seconds.to_be_bytes()[..], &signature].concat();
        note::signature_line(self.verifier.name(), self.verifier.key_id(), &field)
    }
}

/// Checks what stands behind the key ID in a witness's line: 8 bytes of time, 64 bytes of signature. Gives the
/// time in seconds since 1970 UTC if all is true; whether a time in the future is acceptable is the caller's
/// question.
pub fn verify(verifier: &NoteVerifier, text: &str, field: &[u8]) -> Option<u64> {
    let (seconds, signature) = field.split_first_chunk::<8>()?;
    let seconds = u64::from_be_bytes(*seconds);
    let signature: &[u8; 64] = signature.try_into().ok()?;
    let good = verifier.kind() == KeyKind::Witness
        && seconds <= MAX_SECONDS
        && verify_strict(verifier.key(), message(seconds, text).as_bytes(), signature);
    good.then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{Note, NoteError};

    #[test]
    fn a_cosignature_holds_for_its_time_text_and_key() {
        let cosigner = |seed| Cosigner::new("w.example", PrivateKey::from_seed(&[seed; 32])).unwrap();
        let (first, second) = (cosigner(1), cosigner(2));
        let line = first.sign(1_767_225_605, "text\n");
        let base64 = line.trim_end().rsplit(' ').next().unwrap();
        let field = note::from_base64(base64).unwrap().split_off(4);
        let log = NoteVerifier::new("w.example", KeyKind::Log, *first.verifier().key()).unwrap();
        let mut later = field.clone();
        later[7] ^= 1;
        let longer = [&field[..], &[0]].concat();
        let cases = [
            ("as signed", first.verifier(), "text\n", &field[..], Some(1_767_225_605)),
            ("another time", first.verifier(), "text\n", &later, None),
            ("another text", first.verifier(), "test\n", &field, None),
            ("another key", second.verifier(), "text\n", &field, None),
            ("a log's key", &log, "text\n", &field, None),
            ("one byte more", first.verifier(), "text\n", &longer, None),
            ("one byte less", first.verifier(), "text\n", &field[..71], None),
            ("nothing", first.verifier(), "text\n", &[], None),
        ];
        for (case, verifier, text, field, seconds) in cases {
            assert_eq!(verify(verifier, text, field), seconds, "{case}");
        }
    }

    #[test]
    fn a_time_past_all_times_is_refused() {
        let witness = Cosigner::new("w.example", PrivateKey::from_seed(&[1; 32])).unwrap();
        for (seconds, good) in [(MAX_SECONDS, true), (MAX_SECONDS + 1, false)] {
            let note = Note::parse(format!("text\n\n{}", witness.sign(seconds, "text\n"))).unwrap();
            match note.verify(&[witness.verifier().clone()]) {
                Ok(note) => assert!(good && note.signatures()[0].seconds == Some(seconds)),
                Err(error) => assert!(!good && error == NoteError::FalseSignature("w.example".into())),
            }
        }
    }
}
