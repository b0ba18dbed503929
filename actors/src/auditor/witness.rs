//! The auditor as a witness of its federation's logs (C2SP tlog-witness): what it cosigned last is a private row, so it is durable
//! before the cosignature leaves the node, and two that ask at once are judged one after the other.

use domain::ids::{Digest, InstitutionId};
use domain::time::{Millis, Timestamp};
use ledger::checkpoint::Checkpoint;
use ledger::cosignature::Cosigner;
use ledger::fork::{Beginning, Split};
use ledger::merkle::Hash;
use ledger::witness::{Refusal, Signed};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::rows;
use crate::replica::{Fork, Work};
use crate::writer::Desk;

/// How long who asks for a head that was cosigned is answered the same cosignature.
const SAME_FOR: Millis = Millis::minutes(1);

/// What was cosigned last of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosigned {
    /// When.
    at: Timestamp,
    size: u64,
    root: Digest,
    /// The whole checkpoint, with the signatures of the log and of this witness: without it nothing could be proved to others.
    pub note: String,
    /// The cosignature.
    line: String,
}

impl Cosigned {
    /// What the checkpoint says, which is of the log of this name.
    #[must_use]
    pub fn checkpoint(&self, origin: String) -> Checkpoint {
        Checkpoint { origin, size: self.size, root: Hash(self.root.0) }
    }
}

/// What is answered to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The cosignature, as a line.
    Cosigned(String),
    /// None, and why.
    Refused(Refusal),
}

/// What this node holds of the log that a checkpoint is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Whose log.
    pub institution: InstitutionId,
    /// How many entries are held.
    pub size: u64,
    /// The newest signed head that they lead to, if the checkpoint contradicts them, and what shows that to others.
    pub unlike: Option<(String, Option<Split>)>,
    /// The members have agreed which of its histories counts, and the checkpoint is not shown to go on from that.
    pub is_settled: bool,
}

/// What a log's name is looked up by: SHA-256 of the name.
#[must_use]
pub fn digest_of(origin: &str) -> Digest {
    Digest(sha2::Sha256::digest(origin).into())
}

/// Judges a checkpoint that its log has signed, and cosigns it, if it goes on from what was cosigned before. The answer may leave the
/// node once the decision is durable.
///
/// What contradicts the head that was cosigned, or the entries that are held, is the proof of a fork: it is kept as any other, and
/// becomes a finding.
pub fn add_checkpoint(desk: &mut Desk<'_>, signed: &Signed<'_>, cosigner: &Cosigner, mirror: Mirror) -> Answer {
    let Checkpoint { origin: name, size, root } = signed.checkpoint.clone();
    let origin = digest_of(&name);
    let before = rows::cosigned(&desk.work.tx, origin);
    let kept = before.as_ref().map(|before| before.checkpoint(name));
    let fits = if mirror.unlike.is_some() { Err(Refusal::OtherRoot) } else { Ok(()) };
    match signed.judge(kept.as_ref()).and(fits) {
        Ok(()) => {
            if let Some(before) = before
                && before.size == size
                && desk.now < before.at + SAME_FOR
            {
                // Anybody may ask again, and each new time would be a row in the journal.
                return Answer::Cosigned(before.line);
            }
            let (at, seconds) = (desk.now, u64::try_from(desk.now.secs()).unwrap_or_default());
            let (line, note) = signed.cosign(cosigner, seconds);
            let root = Digest(root.0);
            rows::keep_cosigned(&mut desk.work.tx, origin, &Cosigned { at, size, root, note, line: line.clone() });
            Answer::Cosigned(line)
        }
        Err(refusal) => {
            let Mirror { institution, size: common_size, unlike, is_settled } = mirror;
            let of_one_size = |before: Cosigned| {
                let all = |root| Beginning { root, proof: Vec::new() };
                let split = Split { size, held: all(Hash(before.root.0)), offered: all(root) };
                (before.note, Some(split))
            };
            let held = unlike.or_else(|| before.filter(|_| refusal.is_evidence()).map(of_one_size));
            // What is said of the own log is no news about another, and one proof of a fork is enough.
            let is_news = institution != desk.work.settings.me && !is_settled && desk.work.fork(institution).is_none();
            if let Some((held, split)) = held.filter(|_| is_news) {
                desk.work.keep_fork(institution, &Fork { common_size, held, offered: signed.note(), split });
            }
            Answer::Refused(refusal)
        }
    }
}

/// What was cosigned last of the log whose name has this digest.
#[must_use]
pub fn cosigned(work: &Work<'_>, origin: Digest) -> Option<Cosigned> {
    rows::cosigned(&work.tx, origin)
}
