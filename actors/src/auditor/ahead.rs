//! What can be done with records before their fold, on all cores: reading them, and looking at signatures.
//!
//! It decides nothing. A signature that was found good under a key is remembered for the fold, which alone knows whether it
//! is that key that had to sign; any other question the fold asks for itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use domain::custody::presentation_of;
use domain::holder::{HolderKey, RegistrarEvent};
use domain::ids::{EnrolmentId, InstitutionId, RecordName, VoucherId};
use domain::record::{Body, Record};
use domain::time::Timestamp;
use ledger::merkle::{Edge, leaf_hash};
use ledger::record::{DecodeError, decode_record};
use rayon::iter::{IntoParallelRefMutIterator as _, ParallelIterator as _};

use super::recount::NotHeld;
use crate::kv::Base;
use crate::replica::{self, digest_of, public_key};
use crate::token::PublicKey;
use crate::token::vp1::Unverified;

/// Entries read at once.
const READ: usize = 256;

/// Most keys of enrolments whose ids begin alike that are tried; the fold tries the one that counts.
const MOST_ALIKE: usize = 8;

/// A record before its fold.
pub(super) struct Ahead {
    /// Its name.
    pub(super) name: RecordName,
    /// Its bytes.
    pub(super) bytes: Arc<[u8]>,
    /// What they say.
    pub(super) record: Result<Record, DecodeError>,
    /// Its presentation, taken apart.
    pub(super) token: Option<Unverified>,
    /// A key under which that verifies.
    pub(super) signed: Option<HolderKey>,
}

impl Ahead {
    /// The voucher that it is about.
    pub(super) fn voucher(&self) -> Option<VoucherId> {
        match &self.record.as_ref().ok()?.body {
            Body::Chain(chain) => Some(chain.voucher),
            Body::Note(note) => Some(note.voucher),
            _ => None,
        }
    }
}

/// One log on its way into the fold.
pub(super) struct Source {
    pub(super) institution: InstitutionId,
    pub(super) edge: Edge,
    next: u64,
    size: u64,
    read: VecDeque<Arc<[u8]>>,
    first: Option<Ahead>,
    /// The time of the first record that was not taken, as far as it can be read.
    at: Timestamp,
}

impl Source {
    /// The first `size` entries of a log.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] if the first one is missing.
    pub(super) fn open(base: &dyn Base, institution: InstitutionId, size: u64) -> Result<Self, NotHeld> {
        let (edge, read) = (Edge::default(), VecDeque::new());
        let mut source = Self { institution, edge, next: 0, size, read, first: None, at: Timestamp::MIN };
        source.look(base)?;
        Ok(source)
    }

    /// Reads the next entry.
    fn look(&mut self, base: &dyn Base) -> Result<(), NotHeld> {
        let (institution, index) = (self.institution, self.next);
        self.first = None;
        if index == self.size {
            return Ok(());
        }
        if self.read.is_empty() {
            let most = usize::try_from(self.size - index).unwrap_or(READ).min(READ);
            self.read = base.entries(institution, index, most).into();
        }
        let bytes = self.read.pop_front().ok_or(NotHeld { institution, index })?;
        let hash = leaf_hash(&bytes);
        self.edge.push(hash);
        self.next += 1;
        let name = RecordName { institution, index, id: digest_of(hash) };
        let record: Result<Record, _> = decode_record(&bytes);
        // What cannot be read stands where it stands.
        self.at = record.as_ref().map_or(self.at, |record| record.at.max(self.at));
        self.first = Some(Ahead { name, bytes, record, token: None, signed: None });
        Ok(())
    }
}

/// The keys of holders, as far as records were read.
#[derive(Default)]
pub(super) struct Keys {
    ids: HashMap<RecordName, EnrolmentId>,
    by_kid: HashMap<[u8; 8], Vec<(HolderKey, PublicKey)>>,
}

impl Keys {
    /// The next records of all logs in the order of their times, at most `most`; their signatures looked at.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] names an entry that is missing.
    pub(super) fn take(&mut self, base: &dyn Base, sources: &mut [Source], most: usize) -> Result<Vec<Ahead>, NotHeld> {
        let mut taken = Vec::with_capacity(most);
        while taken.len() < most {
            let earliest = sources.iter_mut().filter(|s| s.first.is_some()).min_by_key(|s| s.at);
            let Some((source, ahead)) = earliest.and_then(|s| s.first.take().map(|ahead| (s, ahead))) else { break };
            source.look(base)?;
            self.learn(&ahead);
            taken.push(ahead);
        }
        taken.par_iter_mut().for_each(|ahead| {
            ahead.token = token_of(ahead);
            ahead.signed = ahead.token.as_ref().and_then(|token| self.signer(token));
        });
        Ok(taken)
    }

    fn learn(&mut self, ahead: &Ahead) {
        let Ok(Record { body: Body::Registrar(event), .. }) = &ahead.record else { return };
        let (id, key) = match event {
            RegistrarEvent::Enrolled { id, key, .. } => {
                self.ids.insert(ahead.name, *id);
                (Some(*id), *key)
            }
            RegistrarEvent::EnrolmentKeyChanged { enrolment, key } => (self.ids.get(enrolment).copied(), *key),
            RegistrarEvent::CardIssued { enrolment, key, .. } => {
                (self.ids.get(enrolment).copied(), Some(HolderKey::Ed25519(*key)))
            }
            _ => return,
        };
        let kid = id.and_then(|id| id.0.as_bytes().first_chunk().copied());
        if let (Some(kid), Some(key)) = (kid, key)
            && let Some(public) = public_key(&key)
        {
            let known = self.by_kid.entry(kid).or_default();
            if known.len() < MOST_ALIKE {
                known.push((key, public));
            }
        }
    }

    fn signer(&self, token: &Unverified) -> Option<HolderKey> {
        let known = self.by_kid.get(&token.claims.kid)?;
        known.iter().find(|(_, public)| token.verify(public)).map(|(key, _)| *key)
    }
}

fn token_of(ahead: &Ahead) -> Option<Unverified> {
    let Ok(Record { body: Body::Chain(chain), .. }) = &ahead.record else { return None };
    replica::token(&presentation_of(&chain.step)?.cose)
}
