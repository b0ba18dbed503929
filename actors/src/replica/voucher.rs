//! A voucher's document: its records, what is folded from them, and what follows: figures, lists, alarms.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use domain::custody::{self, Folded, Link, MAX_LINKS_PER_AUTHOR, Names, Tree, Verdict, View};
use domain::duty::{self, Due, Notes};
use domain::holder::{Enrolment, HolderKey};
use domain::ids::{InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{Stage, Step, Voucher};
use domain::member::{Horizon, Registry, What};
use domain::policy::Programme;
use domain::reasons::Reason;
use domain::record::{Body, ChainRecord, Note, Presentation, Record};
use domain::statistics::{self, Standing};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::notes::{self, NoteEntry};
use super::{Broken, Work, figures, names, presentation};
use crate::keys;
use crate::kv::{Space, Tx, after_prefix};
use crate::misbehave::misbehaves;
use crate::token::vp1::Unverified;

/// A step of the path as the figures need it; institutions by their place in the document's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Waypoint {
    link: u16,
    stage: Stage,
    custodian: Option<u16>,
    community: Option<u16>,
    hospital: Option<u16>,
}

/// Rows read at once where all vouchers are looked through.
const ROWS_AT_ONCE: usize = 1_000;

/// A voucher's records and state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoucherDoc {
    /// Its chain records, in the order in which they came.
    pub links: Vec<Link>,
    /// Keys under which presentations are known to verify, by place in `links`.
    signed: Vec<(u16, HolderKey)>,
    /// Records about it outside the chain.
    pub notes: Vec<NoteEntry>,
    /// Whether a key signed the presentation of a note, as far as it was looked at.
    pub(super) signed_notes: Vec<(RecordName, HolderKey, bool)>,
    /// The state after the last record that counts, and that record's place in `links`.
    head: Option<(u16, Voucher)>,
    /// The same once what everybody held has passed on, where somebody was succeeded.
    inherited: Option<Voucher>,
    /// A fork touches its path.
    pub contested: bool,
    path: Vec<Waypoint>,
    institutions: Vec<InstitutionId>,
    /// What this institution owes about it.
    pub alarms: Vec<Due>,
}

impl VoucherDoc {
    /// The state, once a record counts.
    #[must_use]
    pub fn state(&self) -> Option<&Voucher> {
        self.inherited.as_ref().or_else(|| self.head.as_ref().map(|(_, v)| v))
    }

    /// The last record that counts.
    #[must_use]
    pub fn head_name(&self) -> Option<RecordName> {
        let (i, _) = self.head.as_ref()?;
        self.links.get(usize::from(*i)).map(|l| l.name)
    }

    /// The records that count, in order.
    pub fn path(&self) -> impl Iterator<Item = &Link> {
        self.path.iter().filter_map(|w| self.links.get(usize::from(w.link)))
    }

    /// The newest record on the path that `wanted` picks.
    pub fn last_on_path(&self, wanted: impl Fn(&Step) -> bool) -> Option<&Link> {
        self.path().filter(|l| wanted(&l.step)).last()
    }

    /// The VQ1 token that is current: that of the last `Encoded` that counts.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.last_on_path(|s| matches!(s, Step::Encoded { .. })).and_then(|link| match &link.step {
            Step::Encoded { token } => Some(token.as_str()),
            _ => None,
        })
    }

    /// Whether a record of this institution about the voucher waits for what it names.
    #[must_use]
    pub fn own_waits(&self, me: InstitutionId) -> bool {
        self.links.iter().any(|l| l.name.institution == me && l.names == Names::Waiting)
    }

    /// What is known of it beside its chain.
    #[must_use]
    pub fn notes_state(&self) -> Notes {
        let Some(voucher) = self.state().filter(|_| !self.notes.is_empty()) else { return Notes::default() };
        let mut notes = Notes::default();
        let is_over = |w: &&Waypoint| w.stage.is_settled() || matches!(w.stage, Stage::Generated | Stage::Refused);
        let over: Vec<RecordName> = self
            .path
            .iter()
            .rev()
            .take_while(is_over)
            .filter_map(|w| self.links.get(usize::from(w.link)).map(|l| l.name))
            .collect();
        let booked = self.last_on_path(|s| matches!(s, Step::Booked { .. })).map(|l| l.name);
        let since = |first: Option<RecordName>| -> Vec<RecordName> {
            self.path().skip_while(|l| Some(l.name) != first).map(|l| l.name).collect()
        };
        let of_booking = since(booked);
        let of_token = since(self.last_on_path(|s| matches!(s, Step::Encoded { .. })).map(|l| l.name));
        // Who was succeeded has spoken as well as the heir does.
        let left = self.head.as_ref().map_or(voucher, |(_, left)| left);
        for entry in &self.notes {
            let author = entry.name.institution;
            let by_module = [left, voucher].iter().any(|v| v.voucher_module == Some(author));
            let by_hospital = [left, voucher].iter().any(|v| v.hospital() == Some(author));
            let by_community = [left, voucher].iter().any(|v| v.community == Some(author));
            let stands = of_booking.contains(&entry.about);
            match &entry.note {
                Note::VoidRequested { .. } if [left.issuer, voucher.issuer].contains(&author) => {
                    notes.void_requested = true;
                }
                Note::CancelRequested { .. } | Note::MoveRequested { .. } if by_module && stands && entry.proved => {
                    notes.release_requested = true;
                }
                Note::UsePresented { .. } if by_module && stands => notes.use_presented = true,
                Note::UseDisputed { .. } if by_module && entry.proved => notes.disputed = true,
                Note::NoShow if by_hospital && stands => notes.no_show = true,
                Note::QrRetired if by_community && of_token.contains(&entry.about) => notes.qr_retired = true,
                Note::QrRestored if by_community && of_token.contains(&entry.about) => notes.qr_retired = false,
                Note::RecordRemoved if by_module && over.contains(&entry.about) => notes.record_removed = true,
                _ => {}
            }
        }
        notes
    }

    fn place(&mut self, id: InstitutionId) -> u16 {
        let found = self.institutions.iter().position(|i| *i == id);
        let at = found.unwrap_or_else(|| {
            self.institutions.push(id);
            self.institutions.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn standings(&self, path: &[Waypoint]) -> Vec<(&Link, Standing)> {
        let who = |at: Option<u16>| at.and_then(|i| self.institutions.get(usize::from(i)).copied());
        let programme = self.links.iter().find_map(|l| match &l.step {
            Step::Generated { programme, .. } => Some(*programme),
            _ => None,
        });
        let Some(programme) = programme else { return Vec::new() };
        path.iter()
            .filter_map(|w| {
                let standing = Standing {
                    programme,
                    stage: w.stage,
                    custodian: who(w.custodian),
                    community: who(w.community),
                    hospital: who(w.hospital),
                };
                self.links.get(usize::from(w.link)).map(|link| (link, standing))
            })
            .collect()
    }
}

/// The rules' view of everything outside a voucher's tree.
struct DocView<'a, 'b> {
    tx: &'a Tx<'b>,
    registry: &'a Registry,
    signed: RefCell<Vec<(RecordName, HolderKey)>>,
    new: Option<&'a New>,
}

/// A record that has just come, with its presentation taken apart.
struct New {
    name: RecordName,
    token: Option<Unverified>,
}

impl View for DocView<'_, '_> {
    fn registry(&self) -> &Registry {
        self.registry
    }
    fn enrolment(&self, name: &RecordName) -> Option<Arc<Enrolment>> {
        self.tx.load_kept(&keys::enrolment(name)).filter(|found: &Arc<Enrolment>| found.name == *name)
    }
    fn programme(&self, name: &RecordName) -> Option<Arc<Programme>> {
        self.tx.load_kept(&keys::programme(name)).filter(|found: &Arc<Programme>| found.name == *name)
    }
    fn is_signed(&self, record: &RecordName, presented: &Presentation, key: &HolderKey) -> bool {
        if self.signed.borrow().iter().any(|(name, k)| name == record && k == key) {
            return true;
        }
        let read = self.new.filter(|new| new.name == *record).and_then(|new| new.token.as_ref());
        let verifies = || match read {
            Some(token) => presentation::is_signed(token, key),
            None => presentation::verifies(&presented.cose, key),
        };
        let good = self.tx.is_known_signed(record, key) || verifies() || misbehaves("signatures-unchecked");
        if good {
            self.signed.borrow_mut().push((*record, *key));
        }
        good
    }
    fn holds(&self, institution: InstitutionId, size: u64) -> bool {
        let cursor: Option<Arc<super::Cursor>> = self.tx.load_kept(&keys::cursor(institution));
        cursor.map_or(0, |cursor| cursor.next) >= size
    }
    fn forked_at(&self, institution: InstitutionId) -> Option<u64> {
        self.tx.load_private::<super::Fork>(&keys::forked(institution)).map(|fork| fork.common_size)
    }
}

/// Applies a record of a voucher's chain; with its presentation, if that was taken apart already.
pub(super) fn apply_chain(
    work: &mut Work<'_>,
    name: RecordName,
    record: &Record,
    chain: &ChainRecord,
    token: Option<Unverified>,
) {
    if !custody::is_small(&chain.step) {
        super::report(work, name, &Broken::Rule(Reason::Malformed));
        return;
    }
    let known = work.voucher_kept(chain.voucher);
    let links = known.as_ref().map_or(&[][..], |doc| &doc.links);
    if links.iter().filter(|l| l.name.institution == name.institution).count() >= MAX_LINKS_PER_AUTHOR {
        super::report(work, name, &Broken::Rule(Reason::Superseded));
        return;
    }
    if let Some(before) = links.iter().find(|l| Some(l.name) == chain.prev) {
        work.tx.remember(before.name, before.at);
    }
    drop(known);
    let (names, missing) = names::resolve(work, name, chain);
    for missing in missing {
        let key = keys::waiting(missing.institution, missing.index, chain.voucher);
        work.tx.put(Space::State, key, Vec::new());
    }
    let token = token.or_else(|| presentation::token(&custody::presentation_of(&chain.step)?.cose));
    let claims = token.as_ref().and_then(|token| presentation::of_token(&token.claims));
    let claims = claims.map(|claims| presentation::taken_as(work, record.at, chain, claims));
    let first_use = claims.as_ref().is_none_or(|c| first_use(work, name, c.kid, c.cti));
    let link = Link {
        name,
        at: record.at,
        role: record.role,
        operator: record.operator,
        prev: chain.prev,
        registrar: chain.registrar,
        step: chain.step.clone(),
        names,
        claims,
        first_use,
    };
    let enrolled = match &link.step {
        Step::Issued { enrolment, .. } | Step::HandedOver { enrolment } => Some(*enrolment),
        _ => None,
    };
    if let Some(enrolment) = enrolled {
        work.tx.put(Space::State, keys::of_enrolment(&enrolment, chain.voucher), Vec::new());
    }
    let mut doc: VoucherDoc = work.tx.take_kept(&keys::voucher(chain.voucher)).unwrap_or_default();
    let is_first = doc.links.is_empty();
    doc.links.push(link);
    fold_again(work, chain.voucher, doc, Some(&New { name, token }));
    if is_first {
        notes::take_up(work, chain.voucher);
    }
}

pub(super) fn first_use(work: &mut Work<'_>, name: RecordName, kid: [u8; 8], cti: [u8; 8]) -> bool {
    let key = keys::presentation(name.institution, kid, cti);
    match work.tx.load::<u64>(&key) {
        Some(first) => first == name.index || misbehaves("replays-pass"),
        None => {
            work.tx.store(key, &name.index);
            true
        }
    }
}

/// Folds a voucher again: something that it depends on has changed.
pub fn refold(work: &mut Work<'_>, voucher: VoucherId) {
    if let Some(doc) = work.voucher(voucher) {
        fold_again(work, voucher, doc, None);
    }
}

fn fold_again(work: &mut Work<'_>, id: VoucherId, mut doc: VoucherDoc, new: Option<&New>) {
    if let Some(new) = new
        && let Some((after, signed)) = quick_step(work, id, &doc, new)
    {
        return extend(work, id, doc, after, signed);
    }
    let signed = doc.signed.iter().filter_map(|(i, k)| doc.links.get(usize::from(*i)).map(|l| (l.name, *k)));
    let view = DocView { tx: &work.tx, registry: &work.registry, signed: RefCell::new(signed.collect()), new };
    let Folded { path, verdicts, contested } = custody::fold(id, &doc.links, &view);
    doc.contested = contested;
    doc.signed = view
        .signed
        .into_inner()
        .into_iter()
        .filter_map(|(name, key)| {
            let at = doc.links.iter().position(|l| l.name == name)?;
            Some((u16::try_from(at).ok()?, key))
        })
        .collect();

    let (old_path, old_state) = (std::mem::take(&mut doc.path), doc.state().cloned());
    doc.head = None;
    let last = path.len().saturating_sub(1);
    for (n, (i, state)) in path.into_iter().enumerate() {
        let at = u16::try_from(i).unwrap_or(u16::MAX);
        let waypoint = waypoint(&mut doc, at, &state);
        doc.path.push(waypoint);
        if n == last {
            doc.head = Some((at, state));
        }
    }
    doc.inherited = inherited(work, doc.head.as_ref().map(|(_, v)| v));
    let changes = statistics::difference(&doc.standings(&old_path), &doc.standings(&doc.path), work.settings.offset);
    figures::add(work, changes);
    for (link, verdict) in doc.links.iter().zip(&verdicts) {
        let key = keys::broken(link.name.institution, link.name.index);
        match verdict {
            Verdict::Broken(reason) => work.tx.store(key, &(link.name, Broken::Rule(*reason))),
            Verdict::Superseded => work.tx.store(key, &(link.name, Broken::Rule(Reason::Superseded))),
            Verdict::Counts | Verdict::Waits => {
                if new.is_none_or(|new| new.name != link.name) && work.tx.get(Space::State, &key).is_some() {
                    work.tx.delete(Space::State, key);
                }
            }
        }
    }
    move_in_lists(work, id, old_state.as_ref(), doc.state());
    settle_document(work, id, doc);
}

fn waypoint(doc: &mut VoucherDoc, link: u16, state: &Voucher) -> Waypoint {
    Waypoint {
        link,
        stage: state.stage,
        custodian: state.custodian.map(|id| doc.place(id)),
        community: state.community.map(|id| doc.place(id)),
        hospital: state.hospital().map(|id| doc.place(id)),
    }
}

/// The state as it stands now, where anybody in it was succeeded.
fn inherited(work: &Work<'_>, left: Option<&Voucher>) -> Option<Voucher> {
    let left = left.filter(|_| work.registry.any_succeeded())?;
    let now = left.clone().inherited(|id, role| work.registry.heir(id, role, Horizon::ALL.0));
    (now != *left).then_some(now)
}

/// The common case: all records so far are on one path and the new one continues it. With the state after it, the key under
/// which its presentation verifies.
fn quick_step(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, come: &New) -> Option<(Voucher, Option<HolderKey>)> {
    let (new, before) = doc.links.split_last()?;
    let (head, state) = doc.head.as_ref()?;
    let linear = doc.path.len() == before.len() && usize::from(*head) + 1 == before.len();
    let plain = linear && new.prev == doc.head_name() && !custody::is_settlement(new) && !doc.contested;
    let (tx, registry) = (&work.tx, &*work.registry);
    let view = DocView { tx, registry, signed: RefCell::default(), new: Some(come) };
    if !plain || !matches!(new.names, Names::Held(_)) || view.forked_at(new.name.institution).is_some() {
        return None;
    }
    let after = Tree::new(id, &doc.links, &view).judge(doc.links.len() - 1, Some(state)).ok()?;
    let signed = view.signed.into_inner().into_iter().find(|(name, _)| *name == new.name);
    Some((after, signed.map(|(_, key)| key)))
}

/// The path goes on by its newest record.
fn extend(work: &mut Work<'_>, id: VoucherId, mut doc: VoucherDoc, after: Voucher, signed: Option<HolderKey>) {
    let at = u16::try_from(doc.links.len() - 1).unwrap_or(u16::MAX);
    doc.signed.extend(signed.map(|key| (at, key)));
    let left = doc.head.take().map(|(_, left)| left);
    let old_state = doc.inherited.take().or(left);
    let waypoint = waypoint(&mut doc, at, &after);
    doc.path.push(waypoint);
    doc.head = Some((at, after));
    doc.inherited = inherited(work, doc.head.as_ref().map(|(_, v)| v));
    let end = &doc.path[doc.path.len().saturating_sub(2)..];
    let (was, is) = (doc.standings(&end[..end.len() - 1]), doc.standings(end));
    let changes = statistics::difference(&was, &is, work.settings.offset);
    figures::add(work, changes);
    move_in_lists(work, id, old_state.as_ref(), doc.state());
    settle_document(work, id, doc);
}

/// Keeps this institution's lists of vouchers by stage.
fn move_in_lists(work: &mut Work<'_>, id: VoucherId, old: Option<&Voucher>, new: Option<&Voucher>) {
    let me = work.settings.me;
    let concerns = |v: &Voucher| {
        v.custodian == Some(me)
            || v.issuer == me
            || v.community == Some(me)
            || v.voucher_module == Some(me)
            || v.hospital() == Some(me)
    };
    let was = old.filter(|v| concerns(v)).map(|v| v.stage);
    let is = new.filter(|v| concerns(v)).map(|v| v.stage);
    if was != is {
        if let Some(stage) = was {
            work.tx.delete(Space::State, keys::mine(stage, id));
        }
        if let Some(stage) = is {
            work.tx.add(keys::mine(stage, id));
        }
    }
    // What can be passed on: the issuer sends what is generated, a community issues what has its QR.
    let on_shelf = |v: &Voucher| {
        let can_go = v.custodian == Some(me) && matches!(v.stage, Stage::Generated | Stage::Encoded);
        can_go.then(|| keys::shelf(v.stage, &v.programme, v.valid_until, id))
    };
    let (was, is) = (old.and_then(on_shelf), new.and_then(on_shelf));
    if was != is {
        if let Some(key) = was {
            work.tx.delete(Space::State, key);
        }
        if let Some(key) = is {
            work.tx.add(key);
        }
    }
}

/// Sets the alarms that follow from the state, and stores the document.
pub(super) fn settle_document(work: &mut Work<'_>, id: VoucherId, mut doc: VoucherDoc) {
    notes::judge(work, id, &mut doc);
    let parameters = work.registry.parameters_at(u64::MAX);
    let due = doc
        .state()
        .map_or_else(Vec::new, |voucher| duty::duties(work.settings.me, voucher, doc.notes_state(), &parameters));
    set_alarms(work, id, &mut doc, due);
    work.tx.keep(keys::voucher(id), doc);
}

fn set_alarms(work: &mut Work<'_>, id: VoucherId, doc: &mut VoucherDoc, due: Vec<Due>) {
    for gone in doc.alarms.iter().filter(|d| !due.contains(d)) {
        work.tx.delete(Space::State, keys::alarm(gone.blocker, gone.at, id, gone.duty as u8));
    }
    for new in due.iter().filter(|d| !doc.alarms.contains(d)) {
        work.tx.add(keys::alarm(new.blocker, new.at, id, new.duty as u8));
    }
    doc.alarms = due;
}

/// Moves one alarm to another time, or takes it away: it was looked at, and the voucher's state did not change.
pub fn postpone(work: &mut Work<'_>, id: VoucherId, alarm: Due, until: Option<Due>) {
    let Some(mut doc) = work.voucher(id) else {
        work.tx.delete(Space::State, keys::alarm(alarm.blocker, alarm.at, id, alarm.duty as u8));
        return;
    };
    let mut due = doc.alarms.clone();
    due.retain(|d| *d != alarm);
    due.extend(until);
    work.tx.delete(Space::State, keys::alarm(alarm.blocker, alarm.at, id, alarm.duty as u8));
    set_alarms(work, id, &mut doc, due);
    work.tx.keep(keys::voucher(id), doc);
}

/// A record has come: whatever waited for it is judged again.
pub(super) fn wake(work: &mut Work<'_>, name: RecordName) {
    // Most often nothing waits for anything that this log is still to bring.
    let prefix = keys::waiting_for(name.institution, name.index);
    work.tx.look_ahead(&prefix, &after_prefix(&keys::waiting_for(name.institution, u64::MAX)));
    let waiting = work.tx.prefix(Space::State, &prefix, usize::MAX);
    for (key, _) in waiting {
        work.tx.delete(Space::State, key.clone());
        let Some(id) = keys::Parts(&key[prefix.len()..]).voucher() else { continue };
        let Some(mut doc) = work.voucher(id) else { continue };
        for i in 0..doc.links.len() {
            if doc.links[i].names != Names::Waiting {
                continue;
            }
            let link = &doc.links[i];
            let chain =
                ChainRecord { voucher: id, prev: link.prev, registrar: link.registrar, step: link.step.clone() };
            let (names, missing) = names::resolve(work, link.name, &chain);
            doc.links[i].names = names;
            for missing in missing {
                work.tx.put(Space::State, keys::waiting(missing.institution, missing.index, id), Vec::new());
            }
        }
        fold_again(work, id, doc, None);
    }
}

/// A line was drawn in a log, or a key changed: every voucher that it wrote about from there on is judged again.
pub(super) fn judge_log_again(work: &mut Work<'_>, institution: InstitutionId, from: u64) {
    let end = work.cursor(institution).next;
    let seen = (from..end).filter_map(|index| about(&record_at(work, institution, index)?)).collect();
    refold_all(work, seen);
}

/// A log is held up to where it was succeeded: what its heirs wrote waited for that.
pub(super) fn wake_heirs(work: &mut Work<'_>, institution: InstitutionId, size: u64) {
    let Some(member) = work.registry.member(institution) else { return };
    let heirs: BTreeSet<InstitutionId> = member
        .changes
        .iter()
        .filter(|c| c.from == size)
        .filter_map(|c| match c.what {
            What::LogSucceeded(heir) | What::IssuerSucceeded(heir) => Some(heir),
            _ => None,
        })
        .collect();
    for heir in heirs {
        judge_log_again(work, heir, 0);
    }
}

/// What an institution held has passed on: every voucher in which it plays a part is judged and listed again.
pub(super) fn pass_on(work: &mut Work<'_>, from: InstitutionId) {
    let prefix = [keys::VOUCHER];
    let (mut at, end) = (prefix.to_vec(), after_prefix(&prefix));
    loop {
        let rows = work.tx.range(Space::State, &at, &end, ROWS_AT_ONCE);
        let Some((last, _)) = rows.last() else { break };
        at = [last.as_slice(), &[0]].concat();
        for (key, bytes) in rows {
            let doc: VoucherDoc = crate::kv::read(&bytes);
            let plays = doc.institutions.contains(&from) || doc.links.iter().any(|l| l.name.institution == from);
            if let Some(id) = keys::Parts(key.get(1..).unwrap_or_default()).voucher().filter(|_| plays) {
                fold_again(work, id, doc, None);
            }
        }
    }
}

/// A change acts from a time on: every voucher that somebody wrote about from then on is judged again.
pub(super) fn judge_again_since(work: &mut Work<'_>, since: Timestamp) {
    let mut seen = BTreeSet::new();
    for institution in work.logs() {
        // The times of records that count never go back, so the first of them before it ends the search.
        for index in (0..work.cursor(institution).next).rev() {
            let Some(record) = record_at(work, institution, index) else { continue };
            if record.at < since {
                if work.tx.get(Space::State, &keys::broken(institution, index)).is_some() {
                    continue;
                }
                break;
            }
            seen.extend(about(&record));
        }
    }
    refold_all(work, seen);
}

fn record_at(work: &Work<'_>, institution: InstitutionId, index: u64) -> Option<Record> {
    ledger::record::decode_record(&work.tx.entry(institution, index)?).ok()
}

const fn about(record: &Record) -> Option<VoucherId> {
    match &record.body {
        Body::Chain(chain) => Some(chain.voucher),
        Body::Note(note) => Some(note.voucher),
        _ => None,
    }
}

fn refold_all(work: &mut Work<'_>, vouchers: BTreeSet<VoucherId>) {
    for voucher in vouchers {
        refold(work, voucher);
    }
}
