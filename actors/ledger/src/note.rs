//! Signed notes (C2SP signed-note), and the strict text forms that all formats of a log share.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cosignature;
use crate::key::{KeyKind, NoteVerifier, verify_strict};

/// Longest signed note, in bytes. An ML-DSA-44 line has about 3.3 KB, so this holds more than sixteen of them.
pub const MAX_NOTE_BYTES: usize = 128 * 1024;

/// Most signature lines of a note. C2SP asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;

/// What a signature line begins with: an em dash and a space.
const LINE_PREFIX: &str = "\u{2014} ";

/// Length of a key ID, in bytes.
const KEY_ID_BYTES: usize = 4;

/// Reads standard base64 strictly: right padding, no white space, unused bits zero. `None` for all else. The
/// result is shorter than the text.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Writes standard base64 with padding.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads a decimal strictly: ASCII digits, no sign, no leading zero, at most 2^63 - 1. `None` for all else.
pub fn from_decimal(text: &str) -> Option<u64> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits_only || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok().filter(|number| i64::try_from(*number).is_ok())
}

/// Whether a key may have this name in a note: not empty, no Unicode white space, no plus sign.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.contains(char::is_whitespace)
}

/// A signature line with its line feed. The signature is what stands behind the key ID.
pub(crate) fn signature_line(name: &str, key_id: [u8; 4], signature: &[u8]) -> String {
    format!("{LINE_PREFIX}{name} {}\n", to_base64(&[&key_id, signature].concat()))
}

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("the note has {0} bytes, more than a note may have")]
    TooLong(usize),
    /// More than [`MAX_SIGNATURES`] lines.
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// Not UTF-8, or a control character other than a line feed.
    #[error("the note is not plain text")]
    NotText,
    /// No blank line between text and signatures, no signature, or no line feed at the end.
    #[error("the note does not have a text, a blank line and signature lines")]
    Form,
    /// A signature line does not have dash, name and base64.
    #[error("signature line {0} is malformed")]
    Line(usize),
    /// A line names a known key and its signature is false.
    #[error("the signature of {0} is false")]
    FalseSignature(String),
    /// No line is by a known key.
    #[error("no known key signed the note")]
    NoKnownSignature,
}

/// A signature line as it stands in a note. It says nothing until it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    key_id: [u8; KEY_ID_BYTES],
    signature: Vec<u8>,
}

/// A note that has the right form and is not yet verified, so its text stays closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<Line>,
}

impl Note {
    /// Reads a signed note: text, blank line, signature lines.
    ///
    /// # Errors
    ///
    /// [`NoteError`] for anything that is not of exactly this form, or too large.
    pub fn parse(note: impl AsRef<[u8]>) -> Result<Note, NoteError> {
        let bytes = note.as_ref();
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::NotText);
        }
        // The last blank line counts: the text itself may have blank lines.
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Form)?;
        let mut lines = Vec::new();
        for (number, line) in signatures.split('\n').enumerate() {
            if number == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            lines.push(Line::parse(line).ok_or(NoteError::Line(number + 1))?);
        }
        Ok(Note { text: format!("{text}\n"), lines })
    }

    /// The first line, unverified. Good for one thing: to find the keys with which to verify the note.
    pub fn claimed_origin(&self) -> &str {
        self.text.split('\n').next().unwrap_or_default()
    }

    /// Verifies the note with the keys that the caller trusts. Lines of other keys are ignored; of two lines by
    /// one key the first is judged.
    ///
    /// # Errors
    ///
    /// [`NoteError::FalseSignature`] if a known key's line is false, [`NoteError::NoKnownSignature`] if there is none.
    pub fn verify(self, verifiers: &[NoteVerifier]) -> Result<VerifiedNote, NoteError> {
        let mut signatures: Vec<GoodSignature> = Vec::new();
        for line in &self.lines {
            let known = |v: &&NoteVerifier| v.name() == line.name && v.key_id() == line.key_id;
            let Some(verifier) = verifiers.iter().find(known) else { continue };
            if signatures.iter().any(|earlier| earlier.verifier == *verifier) {
                continue;
            }
            let seconds = match verifier.kind() {
                KeyKind::Log => {
                    let signature = line.signature.as_slice().try_into().ok();
                    signature.filter(|s| verify_strict(verifier.key(), self.text.as_bytes(), s)).map(|_| None)
                }
                KeyKind::Witness => cosignature::verify(verifier, &self.text, &line.signature).map(Some),
            };
            let seconds = seconds.ok_or_else(|| NoteError::FalseSignature(line.name.clone()))?;
            signatures.push(GoodSignature { verifier: verifier.clone(), seconds });
        }
        if signatures.is_empty() {
            return Err(NoteError::NoKnownSignature);
        }
        Ok(VerifiedNote { text: self.text, signatures })
    }
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let (name, base64) = line.strip_prefix(LINE_PREFIX)?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let bytes = from_base64(base64)?;
        let (key_id, signature) = bytes.split_first_chunk::<KEY_ID_BYTES>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Line { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }
}

/// A signature of a known key that proved true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodSignature {
    /// Whose it is.
    pub verifier: NoteVerifier,
    /// The time of a cosignature, in seconds since 1970 UTC; none for a log's own signature.
    pub seconds: Option<u64>,
}

/// A note with at least one true signature by a known key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedNote {
    text: String,
    signatures: Vec<GoodSignature>,
}

impl VerifiedNote {
    /// The text, with its last line feed and without signatures.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The true signatures by known keys, in the order of the note, each key once.
    pub fn signatures(&self) -> &[GoodSignature] {
        &self.signatures
    }

    /// Whether this key signed.
    pub fn is_signed_by(&self, verifier: &NoteVerifier) -> bool {
        self.signatures.iter().any(|signature| signature.verifier == *verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{NoteSigner, PrivateKey};
    use proptest::prelude::*;

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::new("a.example/log", PrivateKey::from_seed(&[seed; 32])).unwrap()
    }

    #[test]
    fn a_decimal_has_one_spelling() {
        for (text, number) in [("0", 0), ("7", 7), ("10", 10), ("9223372036854775807", i64::MAX as u64)] {
            assert_eq!(from_decimal(text), Some(number));
        }
        for bad in [
            "",
            "00",
            "05",
            "+5",
            "-0",
            " 5",
            "5 ",
            "5\n",
            "1e3",
            "\u{665}",
            "9223372036854775808",
            "18446744073709551616",
        ] {
            assert_eq!(from_decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(
            (from_base64(""), from_base64("AQ=="), from_base64("+/8=")),
            (Some(vec![]), Some(vec![1]), Some(vec![0xfb, 0xff]))
        );
        for bad in ["AQ", "AQ=", "AR==", "AQ==\n", "A Q==", "-_8=", "AQ==AQ==", "===="] {
            assert_eq!(from_base64(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_text_may_have_blank_lines_of_its_own() {
        let text = "one\n\ntwo\n";
        let note = Note::parse(format!("{text}\n{}", signer(1).sign(text))).unwrap();
        assert_eq!(note.claimed_origin(), "one");
        let note = note.verify(&[signer(1).verifier().clone()]).unwrap();
        assert_eq!(note.text(), text);
        assert!(note.is_signed_by(signer(1).verifier()) && !note.is_signed_by(signer(2).verifier()));
    }

    #[test]
    fn of_two_lines_by_one_key_the_first_is_judged() {
        let (good, bad) = (signer(1).sign("text\n"), signer(1).sign("other\n"));
        let verify =
            |lines: String| Note::parse(format!("text\n\n{lines}")).unwrap().verify(&[signer(1).verifier().clone()]);
        assert_eq!(verify(format!("{good}{bad}")).unwrap().signatures().len(), 1);
        assert_eq!(verify(format!("{bad}{good}")), Err(NoteError::FalseSignature("a.example/log".into())));
    }

    #[test]
    fn a_note_of_wrong_form_or_size_is_refused() {
        let line = signer(1).sign("text\n");
        let cases = [
            (String::new(), NoteError::Form),
            ("text\n".into(), NoteError::Form),
            (format!("text\n{line}"), NoteError::Form),
            ("text\n\n".into(), NoteError::Form),
            ("text\n\n\n".into(), NoteError::Form),
            (format!("text\n\n{}", line.trim_end()), NoteError::Form),
            (format!("text\u{0}\n\n{line}"), NoteError::NotText),
            (format!("text\n\n{}", line.replace("\u{2014} ", "- ")), NoteError::Line(1)),
            (format!("text\n\n{line}{}", line.replace("a.example", "a+example")), NoteError::Line(2)),
            (format!("text\n\n{}", line.replace("a.example", "a\u{a0}example")), NoteError::Line(1)),
            (format!("text\n\n{}", line.replace("log ", "log  ")), NoteError::Line(1)),
            ("text\n\n\u{2014} a AQIDBA==\n".into(), NoteError::Line(1)),
            ("text\n\n\u{2014} a \n".into(), NoteError::Line(1)),
            (format!("text\n\n{}", line.repeat(MAX_SIGNATURES + 1)), NoteError::TooManySignatures),
            (format!("{}\n\n{line}", "x".repeat(MAX_NOTE_BYTES)), NoteError::TooLong(MAX_NOTE_BYTES + 2 + line.len())),
        ];
        for (note, error) in cases {
            assert_eq!(Note::parse(&note), Err(error), "{:.80}", note);
        }
        assert_eq!(Note::parse(b"text\xff\n\n"), Err(NoteError::NotText));
        assert!(Note::parse(format!("text\n\n{}", line.repeat(MAX_SIGNATURES))).is_ok());
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), tail in "\n{0,3}(\u{2014} [a+ ]{0,3}[A-Z=]{0,12}\n)*") {
            let _ = Note::parse([&bytes[..], tail.as_bytes()].concat());
            let _ = Note::parse(tail.as_bytes());
        }
    }
}
