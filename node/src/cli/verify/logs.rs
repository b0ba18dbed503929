//! Judging logs from the bytes of their entries up, wherever they are kept: in a store or in the files of an export.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::kv::{Base, Row, Space};
use domain::ids::InstitutionId;
use domain::member::{Member, Purpose, Registry, Role};
use domain::record::Record;
use domain::time::Timestamp;
use indicatif::ProgressBar;
use ledger::checkpoint::{Checkpoint, claimed_size};
use ledger::key::{KeyKind, NoteVerifier};
use ledger::merkle::{EMPTY_ROOT, Hash, leaf_hash};
use ledger::note::VerifiedNote;
use ledger::policy::Policy;
use ledger::record::DecodeError;
use ledger::tile::{TILE_WIDTH, TileKind, TilePath, Tiles, tiles_of};
use rayon::prelude::*;
use serde::Serialize;
use voucher_node::peers;

/// Faults that are listed of each log; the others are counted.
pub(super) const MAX_LISTED: usize = 20;

/// Logs as they are kept somewhere.
pub(super) trait Held: Sync {
    /// Their entries.
    fn base(&self) -> &dyn Base;
    /// A log's name.
    fn origin(&self, institution: InstitutionId) -> String;
    /// Entries that should be there.
    fn size(&self, institution: InstitutionId) -> u64;
    /// The signed head, as it is kept.
    fn head(&self, institution: InstitutionId) -> Option<String>;
    /// The newest cosigned head, where that is another one.
    fn cosigned_head(&self, _: InstitutionId) -> Option<String> {
        None
    }
    /// A tile of hashes, as it is kept.
    fn tile(&self, institution: InstitutionId, level: u8, index: u64, width: u16) -> Option<Vec<u8>>;
}

/// Who is trusted to have signed what.
#[derive(Default)]
pub(super) struct Trust {
    /// Members as the registrar's records say; none if it could not be read.
    pub registry: Option<Arc<Registry>>,
    /// Which witnesses must stand behind each head.
    pub policy: Policy,
}

impl Trust {
    /// The keys that may have signed a head over so many entries of a log.
    pub(super) fn keys_of(&self, institution: InstitutionId, size: u64) -> Vec<NoteVerifier> {
        let member = self.registry.as_ref().and_then(|registry| registry.member(institution));
        member.map(|member| peers::log_keys_at(member, size)).unwrap_or_default()
    }

    /// The keys of everybody who cosigns: of the policy, and of the auditors.
    fn witnesses(&self) -> Vec<NoteVerifier> {
        let named = self.policy.witnesses().map(|party| party.verifier.clone());
        let auditors = self.registry.iter().flat_map(|registry| registry.playing(Role::Auditor));
        let auditors = auditors.filter_map(witness_key);
        let mut keys: Vec<NoteVerifier> = named.collect();
        for key in auditors {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

fn witness_key(member: &Member) -> Option<NoteVerifier> {
    peers::verifier(&member.entry.origin, KeyKind::Witness, &member.entry.keys[Purpose::Witness as usize])
}

/// The verdict on a log.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct LogVerdict {
    /// Whose log.
    pub institution: InstitutionId,
    /// Its name.
    pub origin: String,
    /// Entries held.
    pub entries: u64,
    /// Entries under the newest signed head of which all are held.
    pub signed: u64,
    /// The root over all entries held, base64, computed from their bytes.
    pub root: String,
    /// Entries under the newest head with a good cosignature.
    pub cosigned: u64,
    /// The witnesses whose cosignature under that head is good.
    pub cosigned_by: Vec<String>,
    /// The next record has a format that this program does not know.
    pub upgrade_needed: bool,
    /// How many things are wrong with it.
    pub faults: usize,
    #[serde(skip)]
    pub listed: Vec<String>,
}

/// Judges logs on all cores.
pub(super) fn judge_all(
    held: &impl Held,
    institutions: &[InstitutionId],
    keys: &BTreeMap<InstitutionId, Vec<NoteVerifier>>,
    trust: &Trust,
    bar: &ProgressBar,
) -> Vec<LogVerdict> {
    let judge = |id: &InstitutionId| judge(held, *id, keys.get(id).map(Vec::as_slice), trust, bar);
    institutions.par_iter().map(judge).collect()
}

/// Judges one log; its signature where it is known whose keys may have made it.
fn judge(
    held: &impl Held,
    institution: InstitutionId,
    keys: Option<&[NoteVerifier]>,
    trust: &Trust,
    bar: &ProgressBar,
) -> LogVerdict {
    let (origin, note, entries) = (held.origin(institution), held.head(institution), held.size(institution));
    let signed = note.as_deref().and_then(claimed_size).unwrap_or_default();
    let cosigned_note = held.cosigned_head(institution);
    let cosigned_size = cosigned_note.as_deref().and_then(claimed_size).unwrap_or_default();
    let (root, cosigned, cosigned_by, listed) = (String::new(), 0, Vec::new(), Vec::new());
    let upgrade_needed = false;
    let mut log = LogVerdict {
        institution,
        origin,
        entries,
        signed,
        root,
        cosigned,
        cosigned_by,
        upgrade_needed,
        faults: 0,
        listed,
    };
    let mut tree = Tiles::new();
    let (mut signed_root, mut cosigned_root) = (EMPTY_ROOT, EMPTY_ROOT);
    let mut last_at = Timestamp::MIN;
    while tree.size() < entries {
        let chunk = held.base().entries(institution, tree.size(), TILE_WIDTH);
        if chunk.is_empty() {
            log.fault(format!("entry {} is missing", tree.size()));
            break;
        }
        let count = chunk.len() as u64;
        for entry in chunk {
            log.read(&entry, tree.size(), &mut last_at);
            tree.push(leaf_hash(&entry));
            if tree.size() == signed {
                signed_root = tree.root();
            }
            if tree.size() == cosigned_size {
                cosigned_root = tree.root();
            }
        }
        for (level, index, bytes) in tree.take_full() {
            log.compare(held, TilePath { kind: TileKind::Hashes(level), index, width: TILE_WIDTH as u16 }, &bytes);
        }
        bar.inc(count);
    }
    for path in tiles_of(tree.size()).filter(|path| usize::from(path.width) < TILE_WIDTH) {
        if let TileKind::Hashes(level) = path.kind
            && let Some((_, bytes)) = tree.partial(level)
        {
            log.compare(held, path, bytes);
        }
    }
    log.root = tree.root().to_base64();
    match (note, keys) {
        (None, _) if entries > 0 => log.fault("no signed head covers its entries".to_owned()),
        (None, _) | (Some(_), None) => {}
        (Some(_), Some([])) => log.fault("nobody is known whose key may have signed it".to_owned()),
        (Some(note), Some(keys)) => {
            let before = log.faults;
            let older = cosigned_note.map(|note| (note, cosigned_root));
            let heads = std::iter::once((note, signed_root)).chain(older);
            let met = heads.filter(|(note, root)| log.signed(note, keys, *root, trust)).count();
            // Nobody cosigns a log of its own.
            let is_witness = trust.policy.witnesses().any(|party| party.verifier.name() == log.origin);
            if met == 0 && log.faults == before && !is_witness {
                log.fault("the witnesses that cosigned its heads are not a quorum of the policy".to_owned());
            }
        }
    }
    log
}

impl LogVerdict {
    pub(super) fn fault(&mut self, text: String) {
        self.faults += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(text);
        }
    }

    /// Compares a tile with the one that the entries give.
    fn compare(&mut self, held: &impl Held, path: TilePath, expected: &[u8]) {
        let TileKind::Hashes(level) = path.kind else { return };
        match held.tile(self.institution, level, path.index, path.width) {
            Some(bytes) if bytes == expected => {}
            Some(_) => self.fault(format!("{path} is not what its entries give")),
            None => self.fault(format!("{path} is missing")),
        }
    }

    /// Reads a record in its place.
    fn read(&mut self, entry: &[u8], index: u64, last_at: &mut Timestamp) {
        if self.upgrade_needed {
            return;
        }
        match ledger::record::decode_record::<Record>(entry) {
            Err(DecodeError::UnknownVersion(_)) => self.upgrade_needed = true,
            Err(error) => self.fault(format!("record {index} is not a canonical record: {error}")),
            Ok(record) if (record.institution, record.index) != (self.institution, index) => {
                self.fault(format!("record {index} says that it is {}.{}", record.institution, record.index));
            }
            Ok(record) if record.at < *last_at => {
                self.fault(format!("record {index} is dated {} after one of {last_at}", record.at));
            }
            Ok(record) => *last_at = record.at,
        }
    }

    /// Judges a head: its signature, what it says, and whether a quorum stands behind it.
    fn signed(&mut self, note: &str, keys: &[NoteVerifier], root: Hash, trust: &Trust) -> bool {
        let known: Vec<NoteVerifier> = keys.iter().cloned().chain(trust.witnesses()).collect();
        match Checkpoint::open_note(note, &self.origin, &known) {
            Err(error) => self.fault(format!("its signed head is not good: {error}")),
            Ok((said, _)) if said.root != root || said.size > self.entries => {
                self.fault(format!("its signed head over {} entries is not the root of its entries", said.size));
            }
            Ok((said, note)) => {
                let by = cosigned_by(&note);
                if said.size > self.cosigned && !by.is_empty() {
                    (self.cosigned, self.cosigned_by) = (said.size, by);
                }
                return trust.policy.is_met_by(&note);
            }
        }
        false
    }
}

/// The witnesses that have cosigned a note.
pub(super) fn cosigned_by(note: &VerifiedNote) -> Vec<String> {
    let witnesses = note.signatures().iter().filter(|signature| signature.seconds.is_some());
    witnesses.map(|signature| signature.verifier.name().to_owned()).collect()
}

/// Entries on their way into a fold, counted on a bar.
pub(super) struct Watched<'a> {
    pub base: &'a dyn Base,
    pub bar: &'a ProgressBar,
}

impl Base for Watched<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        self.base.get(space, key)
    }
    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        self.base.range(space, from, to, limit)
    }
    fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.base.entry(institution, index)
    }
    fn entries(&self, institution: InstitutionId, from: u64, most: usize) -> Vec<Arc<[u8]>> {
        let entries = self.base.entries(institution, from, most);
        self.bar.inc(entries.len() as u64);
        entries
    }
}
