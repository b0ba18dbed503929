//! Custody: which records of a voucher count, which wait, which are evidence, and so who may write the next one.
//!
//! A voucher's records form a tree by `prev`. [`fold`] is a pure function of that tree and of what the records name,
//! the same on every node in any order of arrival. It goes in three moves: judge each record on its own path
//! ([`Tree::judge`]); let the issuer's settlements, in the order of the issuer's log, seal their paths; then follow
//! the only successor that can count where nothing is settled.
//!
//! # Source
//!
//! Protocol section 2: counting, freshness, time surely over, two successors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::holder::{Enrolment, EnrolmentAt, HolderKey};
use crate::ids::{InstitutionId, Operator, RecordName, VoucherId};
use crate::lifecycle::{self, Context, Outcome, Stage, Step, VoidCause, Voucher};
use crate::member::{Horizon, Registry, Role};
use crate::policy::Programme;
use crate::reasons::Reason;
use crate::record::{Claims, Consent, MAX_NAMES, MAX_PRESENTATION_BYTES, MAX_TOKEN_BYTES, Presentation};
use crate::time::{Millis, Timestamp};

/// How far the phone's time may be from the record's.
pub const PRESENTATION_WINDOW: Millis = Millis::minutes(5);

/// Most records that one institution may write in one voucher's chain; later ones are evidence and never linked.
///
/// A log is held in order, so every node links the same ones.
pub const MAX_LINKS_PER_AUTHOR: usize = 128;

/// A chain record as the fold sees it: what it says, and what is known of the names in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its own name.
    pub name: RecordName,
    /// Its own time.
    pub at: Timestamp,
    /// The role in which it was written.
    pub role: Role,
    /// The operator.
    pub operator: Option<Operator>,
    /// The record before it.
    pub prev: Option<RecordName>,
    /// The registrar position that it was judged by.
    pub registrar: RecordName,
    /// The step.
    pub step: Step,
    /// Whether what it names is held.
    pub names: Names,
    /// What its presentation says, if it has one that can be read.
    pub claims: Option<Claims>,
    /// Whether no earlier record of the same log carries the same presentation.
    pub first_use: bool,
}

/// What is known of the records that a record names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Names {
    /// All are held; the times of the positions in the step, in their order.
    Held(Vec<Timestamp>),
    /// Some are not here yet.
    Waiting,
    /// One does not stand where it is said to stand, or follows the record itself: never counts.
    Wrong,
}

/// What the fold asks about things outside the voucher's tree.
pub trait View {
    /// Members and parameters.
    fn registry(&self) -> &Registry;
    /// The enrolment made by a record.
    fn enrolment(&self, name: &RecordName) -> Option<Arc<Enrolment>>;
    /// The programme published by a record.
    fn programme(&self, name: &RecordName) -> Option<Arc<Programme>>;
    /// Whether an institution's log is held up to a size.
    fn holds(&self, institution: InstitutionId, size: u64) -> bool;
    /// Whether the presentation of a record verifies under a key.
    fn is_signed(&self, record: &RecordName, presentation: &Presentation, key: &HolderKey) -> bool;
    /// The last size that two views of a forked log have in common.
    fn forked_at(&self, institution: InstitutionId) -> Option<u64>;
}

/// How a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is on the voucher's path.
    Counts,
    /// Something that it names, or that could come before it, is not here yet.
    Waits,
    /// It broke no rule by itself, but another branch stands.
    Superseded,
    /// It broke a rule.
    Broken(Reason),
}

/// A voucher's state as its records and what they name give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The records that count, in order: index into the links, and the state after each.
    pub path: Vec<(usize, Voucher)>,
    /// How each record stands, in the order of the links.
    pub verdicts: Vec<Verdict>,
    /// A record on the path stands in a forked log past the last common size.
    pub contested: bool,
}

impl Folded {
    /// The state after the last record that counts.
    #[must_use]
    pub fn head(&self) -> Option<(usize, &Voucher)> {
        self.path.last().map(|(i, v)| (*i, v))
    }
}

#[derive(Clone, Copy)]
enum Stop {
    Waits,
    Broken(Reason),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Broken(reason)
    }
}

/// A rival's verdict, with the state before that it was judged against.
type Judged = (Voucher, Result<(), Stop>);

/// A voucher's records by `prev`.
pub struct Tree<'a, V> {
    voucher: VoucherId,
    links: &'a [Link],
    /// For each link the index of the link that it continues.
    parents: Vec<Option<usize>>,
    /// Who generated it, and who succeeded each as its issuer.
    issuers: Vec<InstitutionId>,
    view: &'a V,
    /// Verdicts on rivals, so that many rivals that name each other cost no more than their number.
    rivals: RefCell<HashMap<(usize, Rules), Judged>>,
    /// States on own paths, so that many records on one path cost one walk.
    states: RefCell<HashMap<(usize, Rules), Result<Voucher, Stop>>>,
    /// What each `Resolved` may do, so that many that keep each other cost no more than their number.
    resolutions: RefCell<HashMap<usize, Result<Resolution, Stop>>>,
}

/// What a `Resolved` finds.
#[derive(Clone)]
struct Resolution {
    /// A record that would count is cut off by a line or freeze, or stands in a forked log past the common size.
    cut_off: Result<bool, Stop>,
    /// There is another branch.
    branches: bool,
    /// The state of the branch that it keeps; none if it voids.
    kept: Option<Voucher>,
}

/// How strictly a path is judged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Rules {
    horizon: Horizon,
    /// Lines of suspension and freeze are overlooked: only `Resolved` may.
    amnesty: bool,
}

impl<'a, V: View> Tree<'a, V> {
    /// A tree over a voucher's links.
    pub fn new(voucher: VoucherId, links: &'a [Link], view: &'a V) -> Self {
        let parents = links
            .iter()
            .map(|link| link.prev.and_then(|prev| links.iter().position(|other| other.name == prev)))
            .collect();
        let line = view.registry().line(voucher.issuer, Role::Issuer, Horizon::ALL.0).map(|(_, _, heir)| heir);
        let issuers = std::iter::once(voucher.issuer).chain(line).collect();
        let (rivals, states, resolutions) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { voucher, links, parents, issuers, view, rivals, states, resolutions }
    }

    /// The order in which the issuer's records stand: one issuer after the other, each by its log; none for who is none.
    fn issued_at(&self, index: usize) -> Option<(usize, u64)> {
        let name = self.links[index].name;
        self.issuers.iter().position(|id| *id == name.institution).map(|place| (place, name.index))
    }

    /// The state after a link on its own path, without regard to rivals of its ancestors.
    fn after(&self, index: usize, rules: Rules) -> Result<Voucher, Stop> {
        let known = |i: usize| self.states.borrow().get(&(i, rules)).cloned();
        // Names cannot run in circles, so the walk ends.
        let unknown: Vec<usize> = self.ancestors(index).take_while(|i| known(*i).is_none()).collect();
        for i in unknown.into_iter().rev() {
            let state = match self.parents[i].and_then(known) {
                Some(Ok(before)) => self.next(i, Some(&before), rules),
                Some(Err(stop)) => Err(stop),
                None => self.next(i, None, rules),
            };
            self.states.borrow_mut().insert((i, rules), state);
        }
        known(index).unwrap_or(Err(Stop::Waits))
    }

    /// Judges one link against the state before it: everything but rivals.
    fn next(&self, index: usize, before: Option<&Voucher>, rules: Rules) -> Result<Voucher, Stop> {
        let registry = self.view.registry();
        let Some(before) = before.filter(|_| registry.any_succeeded()) else {
            return self.row(index, before, before, rules);
        };
        let position = self.links[index].registrar.index;
        let after = before.clone().inherited(|id, role| registry.heir(id, role, position));
        if after == *before {
            return self.row(index, Some(before), Some(before), rules);
        }
        // Who inherits goes on only from all that was written before: what is in time there may still come.
        let roles = [
            (before.custodian, before.stage.custodian_role()),
            (Some(before.issuer), Role::Issuer),
            (before.community, Role::Community),
            (before.voucher_module, Role::Voucher),
            (before.hospital(), Role::Hospital),
        ];
        let passed =
            roles.into_iter().filter_map(|(id, role)| id.map(|id| registry.line(id, role, position))).flatten();
        for (from, size, _) in passed {
            if !self.view.holds(from, size) {
                return Err(Stop::Waits);
            }
        }
        self.row(index, Some(&after), Some(before), rules)
    }

    /// Judges one link against the state before it, as it stands at the registrar position that the link names.
    ///
    /// Rivals name positions of their own, so they are judged by the state as it was `left` by the record before.
    fn row(
        &self,
        index: usize,
        before: Option<&Voucher>,
        left: Option<&Voucher>,
        rules: Rules,
    ) -> Result<Voucher, Stop> {
        let link = &self.links[index];
        let registry = self.view.registry();
        let times = match &link.names {
            Names::Held(times) => times.as_slice(),
            Names::Waiting => return Err(Stop::Waits),
            Names::Wrong => return Err(Reason::BadName.into()),
        };
        let author = link.name.institution;
        let position = link.registrar.index;
        if link.registrar.institution != registry.registrar {
            return Err(Reason::BadName.into());
        }
        if !rules.amnesty {
            if !registry.author_counts(author, link.role, link.name.index, rules.horizon) {
                return Err(Reason::NotInGoodStanding.into());
            }
            if registry.any_ended() && self.names_past_end(link, rules.horizon) {
                return Err(Reason::NamedPastFreeze.into());
            }
        }
        if registry.is_stale(author, position, link.at, rules.horizon) && !rules.amnesty {
            return Err(Reason::StalePosition.into());
        }
        let mut context = Context {
            author,
            role: link.role,
            at: link.at,
            parameters: registry.parameters_at(position),
            operator: link.operator,
            voucher_module: None,
            others_gone: false,
        };
        let Some(before) = before else {
            if link.prev.is_some() {
                // The record before it is held and is none of this voucher.
                return Err(Reason::BadName.into());
            }
            if author != self.voucher.issuer {
                return Err(Reason::NotCustodian.into());
            }
            let Step::Generated { programme, .. } = &link.step else { return Err(Reason::BadName.into()) };
            if programme.institution != author || self.view.programme(programme).is_none() {
                return Err(Reason::ProgrammeUnknown.into());
            }
            return Ok(lifecycle::first(&context, &link.step)?);
        };
        let left = left.unwrap_or(before);

        match &link.step {
            Step::Issued { enrolment, presentation } => {
                let (_, now) = self.enrolment(before, enrolment, link, rules)?;
                if registry.heir(now.community, Role::Community, position) != author {
                    return Err(Reason::EnrolmentElsewhere.into());
                }
                context.voucher_module = Some(registry.heir(now.voucher_module, Role::Voucher, position));
                // The row first, here and below: who may not take the step costs no signature and no look at rivals.
                lifecycle::step(before, &context, &link.step)?;
                self.present(before, enrolment, &now, link, presentation)?;
            }
            Step::HandedOver { enrolment } => {
                let (_, now) = self.enrolment(before, enrolment, link, rules)?;
                context.voucher_module = Some(registry.heir(now.voucher_module, Role::Voucher, position));
                context.others_gone = before
                    .voucher_module
                    .is_some_and(|module| !registry.in_good_standing(module, Role::Voucher, position))
                    && !self.rival_counts(index, left, rules, |other| {
                        Some(other.name.institution) == before.voucher_module
                    })?;
            }
            Step::Booked { .. } => {
                let enrolment = before.enrolment.ok_or(Reason::WrongState)?;
                self.enrolment(before, &enrolment, link, rules)?;
            }
            Step::UseConfirmed { presentation, .. } | Step::ExamCompleted { presentation, .. } => {
                lifecycle::step(before, &context, &link.step)?;
                let enrolment = before.enrolment.ok_or(Reason::WrongState)?;
                let (_, now) = self.enrolment(before, &enrolment, link, rules)?;
                self.present(before, &enrolment, &now, link, presentation)?;
            }
            Step::BookingLapsed { position } => {
                lifecycle::step(before, &context, &link.step)?;
                let limit = before.limit().ok_or(Reason::WrongState)?;
                self.surely_over(
                    index,
                    left,
                    std::slice::from_ref(position),
                    times,
                    limit,
                    &[before.hospital()],
                    rules,
                )?;
            }
            Step::Voided { cause: VoidCause::Expired { positions } } => {
                lifecycle::step(before, &context, &link.step)?;
                let needed: Vec<_> = before.must_be_silent().into_iter().map(Some).collect();
                self.surely_over(index, left, positions, times, before.valid_until, &needed, rules)?;
            }
            Step::Reclaimed { .. } => {
                let gone = |id: InstitutionId, role| !registry.in_good_standing(id, role, position);
                context.others_gone = before.custodian.is_some_and(|id| gone(id, before.stage.custodian_role()))
                    || (matches!(before.stage, Stage::BookingRequested | Stage::Booked)
                        && before.voucher_module.is_some_and(|id| gone(id, Role::Voucher)));
            }
            Step::RedemptionClaimed { answers: Some(rejection) } if link.prev != Some(*rejection) => {
                return Err(Reason::AnswerMissing.into());
            }
            Step::Resolved { .. } => {
                let row = lifecycle::step(before, &context, &link.step)?;
                let Resolution { cut_off, branches, kept } = self.resolution(index)?;
                // Beside a superseded branch only what is voided may be resolved: else it would be a way to take a
                // voucher from whoever holds it.
                if (branches && before.stage == Stage::Voided) || cut_off? {
                    return Ok(kept.unwrap_or(row));
                }
                return Err(Reason::NothingToResolve.into());
            }
            _ => {}
        }

        let after = lifecycle::step(before, &context, &link.step)?;
        let next = after.custodian.filter(|id| *id != after.issuer);
        match next {
            Some(id) if !registry.in_good_standing(id, after.stage.custodian_role(), position) => Ok(after.bounced()),
            _ => Ok(after),
        }
    }

    /// The enrolment that a step depends on, as it stood at the named registrar position.
    fn enrolment(
        &self,
        before: &Voucher,
        name: &RecordName,
        link: &Link,
        rules: Rules,
    ) -> Result<(Arc<Enrolment>, EnrolmentAt), Stop> {
        let enrolment = self.view.enrolment(name).ok_or(Reason::EnrolmentUnknown)?;
        let now = enrolment.at(link.registrar.index).ok_or(Reason::EnrolmentUnknown)?;
        if enrolment.programme != before.programme {
            return Err(Reason::EnrolmentElsewhere.into());
        }
        if now.blocked.is_some() {
            return Err(Reason::EnrolmentBlocked.into());
        }
        if enrolment.is_stale(link.registrar.index, link.at, rules.horizon) {
            return Err(Reason::StalePosition.into());
        }
        Ok((enrolment, now))
    }

    /// A presentation is a condition of counting (protocol section 3).
    fn present(
        &self,
        before: &Voucher,
        enrolment: &RecordName,
        now: &EnrolmentAt,
        link: &Link,
        presentation: &Presentation,
    ) -> Result<(), Reason> {
        let claims = link.claims.as_ref().ok_or(Reason::PresentationMalformed)?;
        let holder = self.view.enrolment(enrolment).ok_or(Reason::EnrolmentUnknown)?;
        let programme = self.view.programme(&before.programme).ok_or(Reason::ProgrammeUnknown)?;
        let policy = programme.in_force(link.at).ok_or(Reason::ProgrammeUnknown)?;
        check_consent(claims, &link.step, link.name.institution, self.voucher, policy.programme.as_str())?;
        if !claims.is_for(holder.id) {
            return Err(Reason::PresentationForged);
        }
        if Timestamp::from_millis(claims.iat_secs.saturating_mul(1_000)).distance(link.at) > PRESENTATION_WINDOW {
            return Err(Reason::PresentationStale);
        }
        if !link.first_use {
            return Err(Reason::PresentationReplayed);
        }
        let key = if presentation.assisted.is_some() {
            if !policy.card_allowed {
                return Err(Reason::CardNotAllowed);
            }
            HolderKey::Ed25519(now.card.ok_or(Reason::CardUnknown)?.1)
        } else {
            now.key.ok_or(Reason::PresentationForged)?
        };
        if self.view.is_signed(&link.name, presentation, &key) { Ok(()) } else { Err(Reason::PresentationForged) }
    }

    /// Positions prove that a limit has passed in the logs that matter, and nothing in time stands before them.
    #[allow(clippy::too_many_arguments)]
    fn surely_over(
        &self,
        index: usize,
        left: &Voucher,
        positions: &[RecordName],
        times: &[Timestamp],
        limit: Timestamp,
        needed: &[Option<InstitutionId>],
        rules: Rules,
    ) -> Result<(), Stop> {
        for log in needed {
            let log = log.ok_or(Reason::WrongState)?;
            let found = positions.iter().zip(times).find(|(p, at)| p.institution == log && **at >= limit);
            let (position, _) = found.ok_or(Reason::NotSurelyOver)?;
            // All that an heir's predecessors wrote stands before what the heir writes.
            let (registry, known) = (self.view.registry(), self.links[index].registrar.index);
            let stands_before = |other: &Link| {
                let RecordName { institution, index, .. } = other.name;
                (institution == log && index < position.index)
                    || (institution != log
                        && registry.any_succeeded()
                        && registry.heir(institution, other.role, known) == log)
            };
            if self.rival_counts(index, left, rules, stands_before)? {
                return Err(Reason::NotSurelyOver.into());
            }
        }
        Ok(())
    }

    /// Whether a sibling that `matters` counts by itself; waits while one waits.
    fn rival_counts(
        &self,
        index: usize,
        before: &Voucher,
        rules: Rules,
        matters: impl Fn(&Link) -> bool,
    ) -> Result<bool, Stop> {
        let prev = self.links[index].prev;
        let mut waits = false;
        let is_rival = |(i, other): &(usize, &Link)| *i != index && other.prev == prev && matters(other);
        let mut rivals: Vec<usize> = self.links.iter().enumerate().filter(is_rival).map(|(i, _)| i).collect();
        // In the order of logs a rival finds its own rivals judged already, so the recursion stays shallow.
        rivals.sort_by_key(|i| (self.links[*i].name.institution, self.links[*i].name.index));
        for i in rivals {
            match self.rival(i, before, rules) {
                Ok(()) => return Ok(true),
                Err(Stop::Waits) => waits = true,
                Err(Stop::Broken(_)) => {}
            }
        }
        if waits { Err(Stop::Waits) } else { Ok(false) }
    }

    fn rival(&self, index: usize, before: &Voucher, rules: Rules) -> Result<(), Stop> {
        if let Some((known, verdict)) = self.rivals.borrow().get(&(index, rules))
            && known == before
        {
            return *verdict;
        }
        let verdict = self.next(index, Some(before), rules).map(drop);
        self.rivals.borrow_mut().insert((index, rules), (before.clone(), verdict));
        verdict
    }

    fn names_past_end(&self, link: &Link, horizon: Horizon) -> bool {
        let registry = self.view.registry();
        named(link).any(|name| registry.ended_at(name.institution, horizon).is_some_and(|size| name.index >= size))
    }

    /// What a `Resolved` finds.
    ///
    /// Those before it in the issuer's log are looked at first: it depends on no later one, so none recurses deeper.
    fn resolution(&self, resolved: usize) -> Result<Resolution, Stop> {
        let last = self.issued_at(resolved);
        let mut earlier: Vec<((usize, u64), usize)> = Vec::new();
        for (i, link) in self.links.iter().enumerate() {
            if matches!(link.step, Step::Resolved { .. })
                && matches!(link.names, Names::Held(_))
                && !self.resolutions.borrow().contains_key(&i)
                && let Some(at) = self.issued_at(i).filter(|at| Some(*at) <= last)
            {
                earlier.push((at, i));
            }
        }
        earlier.sort_unstable();
        for (_, i) in earlier {
            let found = self.resolve(i);
            self.resolutions.borrow_mut().insert(i, found);
        }
        self.resolutions.borrow().get(&resolved).cloned().unwrap_or(Err(Stop::Waits))
    }

    fn resolve(&self, resolved: usize) -> Result<Resolution, Stop> {
        let link = &self.links[resolved];
        let rules = Rules { horizon: Horizon(link.registrar.index), amnesty: true };
        let cut_off = self.is_cut_off(resolved, rules);
        let is_other = |i: usize| i != resolved && self.links[i].prev.is_some();
        let branches = (0..self.links.len())
            .any(|i| is_other(i) && (0..i).any(|j| is_other(j) && self.links[j].prev == self.links[i].prev));
        let kept = match &link.step {
            Step::Resolved { outcome: Outcome::Keep(kept), .. } if branches || !matches!(cut_off, Ok(false)) => {
                let head = self.links.iter().position(|l| l.name == *kept).ok_or(Reason::BadName)?;
                if self.depends_on(head, resolved) {
                    return Err(Reason::BadName.into());
                }
                // Judged without lines and rivals.
                Some(self.after(head, rules)?)
            }
            _ => None,
        };
        Ok(Resolution { cut_off, branches, kept })
    }

    /// Whether a line, a freeze or a fork keeps a record out that would count without.
    fn is_cut_off(&self, resolved: usize, amnesty: Rules) -> Result<bool, Stop> {
        let registry = self.view.registry();
        let mut waits = false;
        for (i, link) in self.links.iter().enumerate() {
            let RecordName { institution, index, .. } = link.name;
            let out = !registry.author_counts(institution, link.role, index, amnesty.horizon)
                || self.view.forked_at(institution).is_some_and(|size| index >= size)
                || registry.is_frozen(institution, amnesty.horizon);
            if !out || self.depends_on(i, resolved) {
                continue;
            }
            match self.after(i, amnesty) {
                Ok(_) => return Ok(true),
                Err(Stop::Waits) => waits = true,
                Err(Stop::Broken(_)) => {}
            }
        }
        if waits { Err(Stop::Waits) } else { Ok(false) }
    }

    /// Whether a record stands on a `Resolved` or on one after it, or names what its author wrote from there on: it was not
    /// there to be resolved.
    fn depends_on(&self, index: usize, resolved: usize) -> bool {
        let (first, author) = (self.issued_at(resolved), self.links[resolved].name);
        let is_later = |name: &RecordName| name.institution == author.institution && name.index >= author.index;
        self.ancestors(index).any(|i| {
            let at = self.issued_at(i);
            (matches!(self.links[i].step, Step::Resolved { .. }) && at.is_some() && at >= first)
                || named(&self.links[i]).any(is_later)
        })
    }

    fn ancestors(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(index), |i| self.parents[*i])
    }

    /// Judges a link on its own path, by all that is held.
    fn alone(&self, index: usize) -> Result<Voucher, Stop> {
        self.after(index, Rules { horizon: Horizon::ALL, amnesty: false })
    }

    /// The path that the issuer's settlements seal, in the order of the issuer's log.
    ///
    /// Each part is judged by what the settlement at its end knew, so that what the issuer settled stays. Settlements
    /// after one that waits are held back with it, and returned beside the path.
    fn sealed(&self) -> (Vec<(usize, Voucher)>, Vec<usize>) {
        let registry = self.view.registry();
        let by_issuer = |i: &usize| is_settlement(&self.links[*i]) && self.issued_at(*i).is_some();
        let mut settlements: Vec<usize> = (0..self.links.len()).filter(by_issuer).collect();
        settlements.sort_by_key(|i| self.issued_at(*i));
        let mut path: Vec<(usize, Voucher)> = Vec::new();
        for (n, &i) in settlements.iter().enumerate() {
            let link = &self.links[i];
            let tip = path.last().map(|(t, _)| *t);
            let mut part: Vec<usize> = self.ancestors(i).take_while(|a| Some(*a) != tip).collect();
            part.reverse();
            let from = part[0];
            if tip.is_some() && self.parents[from].is_none() && self.links[from].names == Names::Waiting {
                return (path, settlements.split_off(n)); // on which branch it stands is not known yet
            }
            if tip.is_some() && self.parents[from] != tip {
                continue; // another branch: superseded by the settlement before
            }
            let author = link.name.institution;
            if !registry.author_counts(author, link.role, link.name.index, Horizon::ALL)
                || registry.is_stale(author, link.registrar.index, link.at, Horizon::ALL)
            {
                continue;
            }
            match self.walk(&part, path.last().map(|(_, v)| v), Horizon(link.registrar.index)) {
                Ok(states) => path.extend(part.into_iter().zip(states)),
                // An earlier settlement that waits may still win: later rivals wait with it.
                Err(Stop::Waits) => return (path, settlements.split_off(n)),
                Err(Stop::Broken(_)) => {}
            }
        }
        (path, Vec::new())
    }

    fn walk(&self, part: &[usize], before: Option<&Voucher>, horizon: Horizon) -> Result<Vec<Voucher>, Stop> {
        let mut states: Vec<Voucher> = Vec::with_capacity(part.len());
        for &i in part {
            let state = self.next(i, states.last().or(before), Rules { horizon, amnesty: false })?;
            states.push(state);
        }
        Ok(states)
    }

    /// The one successor of a record that counts where nothing is settled; else those that an earlier record of their
    /// own log, which waits, holds back.
    fn successor(&self, parent: Option<usize>, before: Option<&Voucher>) -> Result<(usize, Voucher), Vec<usize>> {
        let prev = parent.map(|p| self.links[p].name);
        let mut children: Vec<usize> = (0..self.links.len()).filter(|i| self.links[*i].prev == prev).collect();
        // In one log the earlier counts; a proved lapse goes before what its author wrote instead.
        children.sort_by_key(|i| {
            let link = &self.links[*i];
            (!matches!(link.step, Step::BookingLapsed { .. }), link.name.institution, link.name.index)
        });
        let mut waiting: Vec<RecordName> = Vec::new();
        let mut held_back = Vec::new();
        for i in children {
            let name = self.links[i].name;
            if waiting.iter().any(|w| w.institution == name.institution && w.index < name.index) {
                held_back.push(i);
                continue;
            }
            match self.next(i, before, Rules { horizon: Horizon::ALL, amnesty: false }) {
                // Settlements that stand are on the sealed path already.
                Ok(_) if is_settlement(&self.links[i]) => {}
                Ok(after) => return Ok((i, after)),
                Err(Stop::Waits) => waiting.push(name),
                Err(Stop::Broken(_)) => {}
            }
        }
        Err(held_back)
    }

    /// Judges a record that its author has not written yet: the last of the links.
    ///
    /// # Errors
    ///
    /// [`Reason::Waiting`] while something it depends on is not here, or a record of its author's own about this voucher
    /// waits: an honest node never signs two successors; else the rule that it breaks.
    pub fn judge(&self, index: usize, before: Option<&Voucher>) -> Result<Voucher, Reason> {
        let author = self.links[index].name.institution;
        let own_waits = |i: usize| {
            i != index && self.links[i].name.institution == author && matches!(self.alone(i), Err(Stop::Waits))
        };
        match self.next(index, before, Rules { horizon: Horizon::ALL, amnesty: false }) {
            Ok(_) if self.links.iter().any(|l| l.names == Names::Waiting) && (0..self.links.len()).any(own_waits) => {
                Err(Reason::Waiting)
            }
            Ok(after) => Ok(after),
            Err(Stop::Waits) => Err(Reason::Waiting),
            Err(Stop::Broken(reason)) => Err(reason),
        }
    }
}

/// All records that a link names, the registrar position included.
pub fn named(link: &Link) -> impl Iterator<Item = &RecordName> {
    link.prev.iter().chain(std::iter::once(&link.registrar)).chain(named_in(&link.step))
}

/// Whether a chain record is small enough to be linked: names, token and presentation within their limits.
///
/// With [`MAX_LINKS_PER_AUTHOR`] this bounds what one author can make every node keep of one voucher.
#[must_use]
pub fn is_small(step: &Step) -> bool {
    let token = match step {
        Step::Encoded { token } => token.len(),
        _ => 0,
    };
    let presented = presentation_of(step).map_or(0, |p| p.cose.len());
    named_in(step).len() + 2 <= MAX_NAMES && token <= MAX_TOKEN_BYTES && presented <= MAX_PRESENTATION_BYTES
}

/// The records that a step names.
#[must_use]
pub fn named_in(step: &Step) -> &[RecordName] {
    match step {
        Step::Generated { programme, .. } => std::slice::from_ref(programme),
        Step::Issued { enrolment, .. } | Step::HandedOver { enrolment } => std::slice::from_ref(enrolment),
        Step::BookingLapsed { position } => std::slice::from_ref(position),
        Step::RedemptionClaimed { answers: Some(rejection) } => std::slice::from_ref(rejection),
        Step::Voided { cause: VoidCause::Expired { positions } } | Step::Reclaimed { positions, .. } => positions,
        Step::Resolved { outcome: Outcome::Keep(kept), .. } => std::slice::from_ref(kept),
        _ => &[],
    }
}

/// The presentation that a step carries.
#[must_use]
pub const fn presentation_of(step: &Step) -> Option<&Presentation> {
    match step {
        Step::Issued { presentation, .. }
        | Step::UseConfirmed { presentation, .. }
        | Step::ExamCompleted { presentation, .. } => Some(presentation),
        _ => None,
    }
}

/// Whether what the holder signed is consent to this step, here, for this voucher or programme.
///
/// # Errors
///
/// Which of step, institution and voucher differs.
pub fn check_consent(
    claims: &Claims,
    step: &Step,
    author: InstitutionId,
    voucher: VoucherId,
    programme: &str,
) -> Result<(), Reason> {
    let (aud, same) = match (&claims.consent, step) {
        (Consent::Receive { aud, programme: p }, Step::Issued { .. }) => (aud, p == programme),
        (Consent::Arrive { aud, voucher: v }, Step::UseConfirmed { .. })
        | (Consent::Complete { aud, voucher: v }, Step::ExamCompleted { .. }) => (aud, *v == voucher),
        _ => return Err(Reason::PresentationOtherStep),
    };
    if *aud != author {
        Err(Reason::PresentationElsewhere)
    } else if !same {
        Err(Reason::PresentationOtherVoucher)
    } else {
        Ok(())
    }
}

/// The state of a voucher: a pure function of its records and of what they name.
pub fn fold<V: View>(voucher: VoucherId, links: &[Link], view: &V) -> Folded {
    let tree = Tree::new(voucher, links, view);
    let (mut path, mut held_back) = tree.sealed();
    loop {
        match tree.successor(path.last().map(|(i, _)| *i), path.last().map(|(_, v)| v)) {
            Ok(next) => path.push(next),
            Err(children) => {
                held_back.extend(children);
                break;
            }
        }
    }

    // What stands before a `Resolved` is resolved.
    let contested = path
        .iter()
        .rev()
        .take_while(|(i, _)| !matches!(links[*i].step, Step::Resolved { .. }))
        .any(|(i, _)| view.forked_at(links[*i].name.institution).is_some_and(|size| links[*i].name.index >= size));
    let verdicts = (0..links.len())
        .map(|i| {
            if path.iter().any(|(on, _)| *on == i) {
                return Verdict::Counts;
            }
            match tree.alone(i) {
                Ok(_) if tree.ancestors(i).any(|a| held_back.contains(&a)) => Verdict::Waits,
                Ok(_) => Verdict::Superseded,
                Err(Stop::Waits) => Verdict::Waits,
                Err(Stop::Broken(reason)) => Verdict::Broken(reason),
            }
        })
        .collect();
    Folded { path, verdicts, contested }
}

/// Whether a record is one by which the issuer settles and seals.
#[must_use]
pub const fn is_settlement(link: &Link) -> bool {
    matches!(link.step, Step::Redeemed | Step::Voided { .. } | Step::Reclaimed { .. } | Step::Resolved { .. })
}
