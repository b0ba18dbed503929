//! Offline proofs (C2SP tlog-proof): an entry's place in a log, with the signed checkpoint, in one text file.

use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::NoteVerifier;
use crate::merkle::{Hash, MAX_PROOF_HASHES, ProofError, verify_inclusion};
use crate::note::{MAX_NOTE_BYTES, VerifiedNote, from_base64, from_decimal, to_base64};
use crate::policy::Policy;

/// Longest `extra`, in bytes, before base64.
pub const MAX_EXTRA_BYTES: usize = 64 * 1024;

/// Longest proof, in bytes: the longest note and `extra`, and 4 KiB for 63 hashes of 45 characters and the rest.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + MAX_EXTRA_BYTES.div_ceil(3) * 4 + 4096;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof as it stands in its file. It proves nothing before [`TlogProof::verify`]. Its `Display` is the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What the maker of the file adds. Nothing authenticates it.
    pub extra: Option<Vec<u8>>,
    /// The entry's place in the log, from 0.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint, with all its lines.
    pub checkpoint: String,
}

/// Why a proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Longer than [`MAX_PROOF_BYTES`], or `extra` longer than [`MAX_EXTRA_BYTES`].
    #[error("the proof has {0} bytes, more than a proof may have")]
    TooLong(usize),
    /// Not the lines of a proof in their order.
    #[error("this is not an offline proof")]
    Form,
    /// The checkpoint is not good.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Too few of the policy's witnesses cosigned.
    #[error("the witnesses that cosigned are not a quorum")]
    NoQuorum,
    /// The entry is not in that log at that index.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
}

impl TlogProof {
    /// Reads a proof file.
    ///
    /// # Errors
    ///
    /// [`TlogProofError::TooLong`] and [`TlogProofError::Form`]. The checkpoint is not looked into.
    pub fn parse(file: impl AsRef<[u8]>) -> Result<TlogProof, TlogProofError> {
        let file = file.as_ref();
        if file.len() > MAX_PROOF_BYTES {
            return Err(TlogProofError::TooLong(file.len()));
        }
        let proof = std::str::from_utf8(file).ok().and_then(read).ok_or(TlogProofError::Form)?;
        match &proof.extra {
            Some(extra) if extra.len() > MAX_EXTRA_BYTES => Err(TlogProofError::TooLong(extra.len())),
            _ => Ok(proof),
        }
    }

    /// Verifies that the entry with this leaf hash is in the log of this origin, and gives the checkpoint that
    /// says so. `verifiers` are the log's keys that the caller trusts; the witnesses are those of `policy`
    /// ([`Policy::default`] asks for none).
    ///
    /// # Errors
    ///
    /// [`TlogProofError`], in this order: checkpoint, quorum, inclusion.
    pub fn verify(
        &self,
        leaf: &Hash,
        origin: &str,
        verifiers: &[NoteVerifier],
        policy: &Policy,
    ) -> Result<Checkpoint, TlogProofError> {
        self.verify_note(leaf, origin, verifiers, policy).map(|(checkpoint, _)| checkpoint)
    }

    /// Like [`TlogProof::verify`], and gives the verified note too: who cosigned.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn verify_note(
        &self,
        leaf: &Hash,
        origin: &str,
        verifiers: &[NoteVerifier],
        policy: &Policy,
    ) -> Result<(Checkpoint, VerifiedNote), TlogProofError> {
        let mut known = verifiers.to_vec();
        known.extend(policy.witnesses().map(|party| party.verifier.clone()));
        let (checkpoint, note) = Checkpoint::open_note(&self.checkpoint, origin, &known)?;
        if !policy.is_met_by(&note) {
            return Err(TlogProofError::NoQuorum);
        }
        verify_inclusion(self.index, checkpoint.size, leaf, &self.path, &checkpoint.root)?;
        Ok((checkpoint, note))
    }
}

fn read(file: &str) -> Option<TlogProof> {
    // The first blank line ends the proof's own lines; the checkpoint has another one.
    let (head, checkpoint) = file.split_once("\n\n")?;
    let mut lines = head.split('\n').peekable();
    if lines.next()? != HEADER {
        return None;
    }
    let extra = match lines.next_if(|line| line.starts_with("extra ")) {
        Some(line) => Some(from_base64(line.strip_prefix("extra ")?)?),
        None => None,
    };
    let index = from_decimal(lines.next()?.strip_prefix("index ")?)?;
    let mut path = Vec::new();
    for line in lines {
        if path.len() == MAX_PROOF_HASHES {
            return None;
        }
        path.push(Hash::from_base64(line)?);
    }
    if checkpoint.is_empty() {
        return None;
    }
    Some(TlogProof { extra, index, path, checkpoint: checkpoint.to_owned() })
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", to_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", hash.to_base64())?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{NoteSigner, PrivateKey};
    use crate::merkle::{EMPTY_ROOT, leaf_hash, node_hash};
    use crate::note::NoteError;
    use proptest::prelude::*;

    const ORIGIN: &str = "a.example/log";

    fn log() -> NoteSigner {
        NoteSigner::new(ORIGIN, PrivateKey::from_seed(&[1; 32])).unwrap()
    }

    /// Entry 1 of two.
    fn proof() -> TlogProof {
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 2, root: node_hash(&left, &right) };
        TlogProof { extra: None, index: 1, path: vec![left], checkpoint: checkpoint.sign(&log()) }
    }

    #[test]
    fn a_proof_holds_for_its_entry_place_log_and_quorum() {
        let witness = crate::cosignature::Cosigner::new("w", PrivateKey::from_seed(&[2; 32])).unwrap();
        let policy: Policy = format!("witness w {}\nquorum w", witness.verifier()).parse().unwrap();
        let mut cosigned = proof();
        let text = cosigned.checkpoint.split_once("\n\n").unwrap().0.to_owned() + "\n";
        cosigned.checkpoint += &witness.sign(7, &text);
        let moved = TlogProof { index: 0, ..proof() };
        let open = Policy::default();
        let cases = [
            ("as made", proof(), &b"right"[..], ORIGIN, &open, None),
            ("cosigned", cosigned, b"right", ORIGIN, &policy, None),
            ("no quorum", proof(), b"right", ORIGIN, &policy, Some(TlogProofError::NoQuorum)),
            ("another entry", proof(), b"left", ORIGIN, &open, Some(ProofError::Root.into())),
            ("another place", moved, b"right", ORIGIN, &open, Some(ProofError::Root.into())),
            (
                "another log",
                proof(),
                b"right",
                "b.example/log",
                &open,
                Some(CheckpointError::Origin { found: ORIGIN.into() }.into()),
            ),
        ];
        for (case, proof, entry, origin, policy, error) in cases {
            let proof = TlogProof::parse(proof.to_string()).unwrap();
            let verdict = proof.verify(&leaf_hash(entry), origin, &[log().verifier().clone()], policy);
            assert_eq!(verdict.err(), error, "{case}");
        }
        let unknown = proof().verify(&leaf_hash(b"right"), ORIGIN, &[], &Policy::default());
        assert_eq!(unknown, Err(CheckpointError::Note(NoteError::NoKnownSignature).into()));
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        let good = proof().to_string();
        let hash = format!("{}\n", EMPTY_ROOT.to_base64());
        let cases = [
            ("another version", good.replace("@v1", "@v2")),
            ("no header", good.replacen(&format!("{HEADER}\n"), "", 1)),
            ("no index", good.replace("index 1\n", "")),
            ("index with a zero", good.replace("index 1", "index 01")),
            ("index behind a hash", good.replace("index 1\n", &format!("{hash}index 1\n"))),
            ("extra behind the index", good.replace("index 1\n", "index 1\nextra AQ==\n")),
            ("extra twice", good.replace("index 1\n", "extra AQ==\nextra AQ==\nindex 1\n")),
            ("extra not base64", good.replace("index 1\n", "extra AQ\nindex 1\n")),
            ("carriage returns", good.replace('\n', "\r\n")),
            ("a hash too short", good.replace("index 1\n", "index 1\nAQ==\n")),
            ("64 hashes", good.replace("index 1\n", &format!("index 1\n{}", hash.repeat(63)))),
            ("no checkpoint", good.split_once("\n\n").unwrap().0.to_owned() + "\n\n"),
            ("nothing", String::new()),
        ];
        for (case, file) in cases {
            assert_eq!(TlogProof::parse(file), Err(TlogProofError::Form), "{case}");
        }
        assert_eq!(TlogProof::parse(vec![0; MAX_PROOF_BYTES + 1]), Err(TlogProofError::TooLong(MAX_PROOF_BYTES + 1)));
        let large = TlogProof { extra: Some(vec![0; MAX_EXTRA_BYTES + 1]), ..proof() };
        assert_eq!(TlogProof::parse(large.to_string()), Err(TlogProofError::TooLong(MAX_EXTRA_BYTES + 1)));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(extra in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), index in 0..=i64::MAX as u64, hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..=63), junk in "[a-z0-9 \n]{0,60}") {
            let path = hashes.into_iter().map(Hash).collect();
            let proof = TlogProof { extra, index, path, checkpoint: proof().checkpoint };
            prop_assert_eq!(TlogProof::parse(proof.to_string()), Ok(proof));
            let file = format!("{HEADER}\nindex {junk}");
            if let Ok(proof) = TlogProof::parse(&file) {
                prop_assert_eq!(proof.to_string(), file);
            }
        }
    }
}
