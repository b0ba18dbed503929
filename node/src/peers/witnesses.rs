//! Asking the auditors of the federation to cosign the own log's head (C2SP tlog-witness), and what they answered.
//!
//! A cosignature says: at that time this was the largest tree of this log that the witness had seen. A receipt that carries it proves
//! more than that this node has signed: whoever shows two histories would need the witness as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::receipts;
use actors::writer::{Act, Desk};
use domain::ids::InstitutionId;
use domain::member::{Member, Purpose, Role};
use domain::reasons::Reason;
use ledger::checkpoint::Checkpoint;
use ledger::key::{KeyKind, NoteVerifier};
use ledger::mirror::Head;
use ledger::note::from_decimal;
use ledger::witness::{add_checkpoint, good_lines};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::client::{CallError, Peer};
use crate::node::Node;

/// Where a witness is asked.
const PATH: &str = "/witness/add-checkpoint";

/// A witness that had cosigned another size than this node believed is asked once more.
const TRIES: usize = 2;

/// What the witnesses have cosigned of the own log.
#[derive(Default)]
pub struct Witnesses {
    newest: RwLock<Option<Arc<CosignedHead>>>,
    /// The size that each cosigned last, as far as this node knows: wrong after a start, and then it says so.
    sizes: Mutex<BTreeMap<InstitutionId, u64>>,
    quorum: RwLock<Quorum>,
}

/// Whether enough witnesses stand behind what was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quorum {
    /// How many must: as many as are configured, or all that there are.
    pub of: usize,
    /// Entries under the newest head that so many have cosigned.
    pub size: u64,
    /// A size that is not under such a head, and since when it is there.
    waits: Option<(u64, Instant)>,
    /// It has waited too long.
    pub is_missing: bool,
}

impl Quorum {
    /// How it stands when `here` entries are signed and `size` of them are under a head that `of` witnesses have cosigned.
    fn next(self, of: usize, size: u64, here: u64, now: Instant, wait: Duration) -> Self {
        let size = if of == 0 { here } else { size.max(self.size).min(here) };
        // What waits is the oldest that nobody stands behind: a log that grows all the time is never cosigned whole.
        let waits = match self.waits {
            Some((oldest, since)) if size < oldest => Some((oldest, since)),
            _ => (size < here).then_some((here, now)),
        };
        let is_missing = waits.is_some_and(|(_, since)| now.saturating_duration_since(since) > wait);
        Self { of, size, waits, is_missing }
    }
}

/// A head of the own log with the cosignatures that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignedHead {
    /// What it says.
    pub checkpoint: Checkpoint,
    kept: receipts::CosignedHead,
}

impl CosignedHead {
    /// The signed checkpoint with the cosignatures behind it.
    #[must_use]
    pub fn note(&self) -> String {
        self.kept.note()
    }

    /// Who cosigned it.
    #[must_use]
    pub fn by(&self) -> Vec<InstitutionId> {
        self.kept.lines.keys().copied().collect()
    }
}

impl Witnesses {
    /// The newest head that somebody has cosigned.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<CosignedHead>> {
        self.newest.read().clone()
    }

    /// Whether enough stand behind what was written.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        *self.quorum.read()
    }

    /// Keeps cosignatures of a head: beside those that it has, or in place of an older one.
    fn keep(&self, head: &Head, lines: BTreeMap<InstitutionId, String>) {
        if lines.is_empty() {
            return;
        }
        let mut newest = self.newest.write();
        let checkpoint = head.checkpoint.clone();
        let mut kept = receipts::CosignedHead { size: checkpoint.size, note: head.note.to_string(), lines };
        if let Some(before) = newest.as_ref().filter(|before| before.checkpoint == checkpoint) {
            let new = std::mem::replace(&mut kept.lines, before.kept.lines.clone());
            kept.lines.extend(new);
        }
        *newest = Some(Arc::new(CosignedHead { checkpoint, kept }));
    }
}

/// What came of asking one witness.
enum Asked {
    /// Its line.
    Cosigned(String),
    /// It has cosigned more than there is here.
    Ahead(u64),
    /// Nothing.
    Nothing,
}

/// Asks the witnesses whenever the own log has grown, until the node stops.
pub async fn ask(node: Arc<Node>) {
    let every = Duration::from_secs(node.config.peers.cosign_secs);
    if every.is_zero() {
        return;
    }
    resume(&node);
    loop {
        tokio::time::sleep(every).await;
        // Before the start rule is satisfied, the own log may lack what a witness has seen.
        if node.may_write()
            && let Some(head) = node.writer.ledger().head(&node.config.origin())
        {
            round(&node, &head).await;
            look(&node);
        }
    }
}

/// Takes over what was cosigned before the start, if it is a head of the log as it is here.
fn resume(node: &Node) {
    let Some(kept) = receipts::kept(node.writer.logs()) else { return };
    let origin = node.config.origin();
    let keys = super::keys_for(node, node.config.institution, kept.note.as_bytes());
    let Ok(checkpoint) = Checkpoint::open(&kept.note, &origin, &keys) else { return };
    if node.writer.ledger().root_at(&origin, checkpoint.size) == Some(checkpoint.root) {
        *node.witnesses.newest.write() = Some(Arc::new(CosignedHead { checkpoint, kept }));
    }
}

/// Sees whether enough stand behind what was written; if not, it is said, or nothing more is written.
fn look(node: &Node) {
    let registry = node.writer.registry();
    let me = node.config.institution;
    let others = registry.playing(Role::Auditor).filter(|member| member.entry.institution != me).count();
    let of = node.config.peers.cosign_quorum.min(others);
    let cosigned = node.witnesses.newest().filter(|newest| newest.kept.lines.len() >= of);
    let size = cosigned.map_or(0, |newest| newest.checkpoint.size);
    let here = node.writer.ledger().head(&node.config.origin()).map_or(0, |head| head.checkpoint.size);
    let wait = Duration::from_secs(node.config.peers.cosign_wait_secs);
    let before = node.witnesses.quorum();
    let quorum = before.next(of, size, here, Instant::now(), wait);
    *node.witnesses.quorum.write() = quorum;
    if quorum.is_missing != before.is_missing {
        let (of, cosigned) = (quorum.of, quorum.size);
        if quorum.is_missing {
            tracing::error!(of, cosigned, here, "too few auditors have cosigned this log");
        } else {
            tracing::info!(of, cosigned, here, "enough auditors have cosigned this log again");
        }
    }
    let stops = quorum.is_missing && node.config.peers.cosign_required;
    node.writer.pause(stops.then_some(Reason::WitnessesMissing));
}

async fn round(node: &Arc<Node>, head: &Head) {
    let has = node.witnesses.newest().filter(|newest| newest.checkpoint == head.checkpoint);
    let registry = node.writer.registry();
    let missing = |member: &&Member| {
        let institution = member.entry.institution;
        institution != node.config.institution
            && has.as_ref().is_none_or(|has| !has.kept.lines.contains_key(&institution))
    };
    let asked = registry.playing(Role::Auditor).filter(missing).map(|member| async {
        let institution = member.entry.institution;
        match one(node, member, head).await {
            Ok(Asked::Cosigned(line)) => Some((institution, line)),
            Ok(Asked::Ahead(size)) => {
                let here = head.checkpoint.size;
                tracing::error!(witness = %institution, size, here, "a witness has seen more of this log than is here");
                None
            }
            Ok(Asked::Nothing) => None,
            Err(trouble) => {
                tracing::debug!(witness = %institution, %trouble, "no cosignature");
                None
            }
        }
    });
    let lines: BTreeMap<_, _> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    if lines.is_empty() {
        return;
    }
    node.witnesses.keep(head, lines);
    if let Some(newest) = node.witnesses.newest() {
        let writing = node.clone();
        let keep = move || {
            let decide = |desk: &mut Desk<'_>| {
                receipts::keep(desk, &newest.kept);
                Ok(())
            };
            writing.writer.decide(Act::default(), decide).map(drop)
        };
        // A node that cannot keep it asks again after its next start.
        if let Ok(Err(refused)) = tokio::task::spawn_blocking(keep).await {
            tracing::debug!(%refused, "the cosigned head is not kept");
        }
    }
}

async fn one(node: &Node, member: &Member, head: &Head) -> Result<Asked, CallError> {
    let institution = member.entry.institution;
    let Some(verifier) =
        super::verifier(&member.entry.origin, KeyKind::Witness, &member.entry.keys[Purpose::Witness as usize])
    else {
        return Ok(Asked::Nothing);
    };
    let (peer, size) = (Peer { institution, url: member.entry.url.clone() }, head.checkpoint.size);
    for _ in 0..TRIES {
        let old = node.witnesses.sizes.lock().get(&institution).copied().unwrap_or_default();
        let proof = if old == 0 || old == size {
            Vec::new()
        } else {
            let Some(proof) = node.writer.ledger().consistency_proof(&head.checkpoint.origin, old, size) else {
                return Ok(Asked::Nothing);
            };
            proof
        };
        let body = add_checkpoint(old, &proof, &head.note).into_bytes();
        let answer = node.client.post(&peer, PATH, &Uuid::new_v4().to_string(), body).await?;
        match answer.status {
            200 => {
                let line = line_of(&head.checkpoint, &answer.body, &verifier);
                if line.is_some() {
                    node.witnesses.sizes.lock().insert(institution, size);
                }
                return Ok(line.map_or(Asked::Nothing, Asked::Cosigned));
            }
            409 => {
                let text = std::str::from_utf8(&answer.body).ok();
                let Some(cosigned) = text.and_then(|text| from_decimal(text.strip_suffix('\n')?)) else { break };
                if cosigned > node.writer.ledger().accepted_size(&head.checkpoint.origin) {
                    return Ok(Asked::Ahead(cosigned));
                }
                if cosigned > size {
                    break; // The log has grown since this head; the next round asks for the next one.
                }
                node.witnesses.sizes.lock().insert(institution, cosigned);
            }
            status => return Err(CallError::Refused { status, code: None }),
        }
    }
    Ok(Asked::Nothing)
}

/// The witness's own line of an answer, if its signature is good.
fn line_of(checkpoint: &Checkpoint, answer: &[u8], verifier: &NoteVerifier) -> Option<String> {
    let answer = std::str::from_utf8(answer).ok()?;
    good_lines(&checkpoint.note_text(), answer, std::slice::from_ref(verifier)).next()
}

#[cfg(test)]
mod tests {
    use ledger::cosignature::Cosigner;
    use ledger::key::{NoteSigner, PrivateKey};
    use ledger::merkle::Hash;

    use super::*;

    fn head(size: u64) -> Head {
        let log = NoteSigner::new("town/health", PrivateKey::from_seed(&[1; 32])).unwrap();
        let checkpoint = Checkpoint { origin: "town/health".into(), size, root: Hash([size as u8; 32]) };
        let note = checkpoint.sign(&log).into();
        Head { checkpoint, note }
    }

    #[test]
    fn only_a_good_line_of_the_witness_itself_is_kept() {
        let witness = |seed| Cosigner::new("town/audit", PrivateKey::from_seed(&[seed; 32])).unwrap();
        let (own, other, head) = (witness(7), witness(8), head(3));
        let text = head.checkpoint.note_text();
        let (good, strange, false_line) = (own.sign(9, &text), other.sign(9, &text), own.sign(9, "else\n"));
        for (answer, expected) in [
            (good.clone(), Some(good.clone())),
            (format!("{strange}{good}"), Some(good.clone())),
            (strange, None),
            (false_line, None),
            (String::new(), None),
            ("\u{2014} town/audit\n".repeat(1_000), None),
        ] {
            assert_eq!(line_of(&head.checkpoint, answer.as_bytes(), own.verifier()), expected, "{answer:.60}");
        }
        assert_eq!(line_of(&head.checkpoint, &[0xff], own.verifier()), None);
    }

    #[test]
    fn a_quorum_is_missing_when_the_oldest_that_waits_has_waited_too_long() {
        let (start, wait) = (Instant::now(), Duration::from_secs(60));
        // seconds, how many must, cosigned, here; whether the quorum is missing then
        let table = [
            (0, 1, 0, 10, false),
            (50, 1, 0, 20, false),
            (61, 1, 0, 30, true),
            (65, 1, 10, 40, false), // what waited is cosigned; now 40 waits
            (120, 1, 30, 90, false),
            (126, 1, 30, 95, true),
            (127, 1, 40, 95, false),
            (188, 1, 94, 95, true),
            (189, 1, 95, 95, false),
            (500, 1, 95, 95, false), // nothing new is written
            (501, 2, 95, 96, false),
            (562, 2, 95, 96, true),
            (563, 0, 0, 97, false), // there is no auditor any more
        ];
        let mut quorum = Quorum::default();
        for (secs, of, cosigned, here, is_missing) in table {
            quorum = quorum.next(of, cosigned, here, start + Duration::from_secs(secs), wait);
            assert_eq!(quorum.is_missing, is_missing, "after {secs} s: {quorum:?}");
        }
    }

    #[test]
    fn cosignatures_of_one_head_gather_and_a_newer_head_begins_anew() {
        let witnesses = Witnesses::default();
        let one = |id: &str| BTreeMap::from([(id.parse().unwrap(), format!("{id}\n"))]);
        witnesses.keep(&head(3), BTreeMap::new());
        assert_eq!(witnesses.newest(), None);
        witnesses.keep(&head(3), one("b"));
        witnesses.keep(&head(3), one("a"));
        let newest = witnesses.newest().unwrap();
        assert_eq!(newest.note(), format!("{}a\nb\n", head(3).note));
        witnesses.keep(&head(4), one("c"));
        assert_eq!(witnesses.newest().unwrap().by(), ["c".parse().unwrap()]);
    }
}
