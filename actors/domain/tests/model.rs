//! Custody, model checked: every order in which the issuer, a voucher module and two hospitals may act on one voucher, each
//! by the rules themselves ([`domain::custody`]), on what it holds of the others' logs.
//!
//! Whoever decides holds its own log and some prefix of each other one, any: so a message may be late for as long as one
//! likes, logs overtake each other, and a node that crashed may know less of the others than it did. Each record is dated
//! now or a moment ago, so clocks differ. An honest institution writes whatever the rules let it write, whether it makes
//! sense or not. A liar writes any step of a hospital behind any record, under any time that its log allows; it shows one
//! history to all.
//!
//! That honest work counts can fail, and does with planted faults. The other two properties hold by the fold's own making:
//! here they are held against all that can be written, and nothing is planted that would break them.
//!
//! `VOUCHER_TEST_WRITES=n cargo test -p domain --test model -- --nocapture` looks further than the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use domain::custody::{Tree, Verdict};
use domain::duty::{self, Duty, Notes};
use domain::ids::{Digest, InstitutionId, RecordName};
use domain::lifecycle::{Stage, Step};
use domain::member::Parameters;
use domain::record::{Body, ChainRecord};
use domain::time::Timestamp;
use stateright::{Checker as _, HasDiscoveries, Model, Property};
use support::*;

/// Those who act, in this order.
const WHO: [&str; 4] = ["i", "v", "h1", "h2"];

/// Who lies, where somebody does.
const LIAR: &str = "h1";

/// Moments at which anything may happen, in hours: before and at each limit of the steps below, and past every grace.
const HOURS: [i64; 9] = [10, 20, 30, 34, 50, 60, VALID_UNTIL, VALID_UNTIL + 24, VALID_UNTIL + 24 + 30 * 24];

const HONEST_WORK: &str = "what an honest institution wrote by the rules counts";
const SETTLED: &str = "what is settled for anybody is settled for everybody";
const ONE_LIFE: &str = "booked once at a time, used once, redeemed once";
const REDEEMED: &str = "redeemed";
const REBOOKED: &str = "taken back from a silent hospital and booked again";
const VOIDED: &str = "voided";
const RECLAIMED: &str = "reclaimed";

/// When a hospital must have answered, and the window of arrival: of a first booking and of one after it.
const BOOKINGS: [[i64; 3]; 2] = [[20, 30, 34], [50, 60, 90]];

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    Heartbeat,
    Book {
        hospital: u8,
        when: u8,
    },
    Confirm,
    Decline,
    Release,
    Return,
    /// With the hospital's position.
    Lapse(Place),
    Use,
    Abort,
    Complete,
    Claim,
    Redeem,
    Reject {
        is_final: bool,
    },
    Void,
    /// With the positions of who must be silent.
    Expire([Option<Place>; 2]),
    Reclaim,
    Reverse,
}

/// A record by its place: whose log, and which of those that are written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    who: u8,
    nth: u8,
}

/// A record that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Write {
    who: u8,
    act: Act,
    /// The record before it, where it is of the voucher; the one at the start is `None`.
    prev: Option<Place>,
    /// Index into [`HOURS`].
    at: u8,
}

impl Write {
    fn tell(&self) -> String {
        let (who, at) = (WHO[usize::from(self.who)], HOURS[usize::from(self.at)]);
        let prev = self.prev.map_or("the start".to_owned(), |p| format!("{}#{}", WHO[usize::from(p.who)], p.nth));
        format!("{who} at {at} behind {prev}: {:?}", self.act)
    }
}

/// Everything that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct State {
    logs: [Vec<Write>; WHO.len()],
}

impl State {
    fn writes(&self) -> usize {
        self.logs.iter().map(Vec::len).sum()
    }

    /// The times under which somebody may write: its log goes on, and no clock is more than one moment behind another.
    fn times(&self, who: usize) -> std::ops::Range<u8> {
        let newest = self.logs.iter().filter_map(|log| log.last()).map(|write| write.at).max().unwrap_or_default();
        let own = self.logs[who].last().map_or(0, |write| write.at);
        own.max(newest.saturating_sub(1))..HOURS.len() as u8
    }
}

/// What an institution does otherwise than the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The voucher module takes back what it has not seen to be over.
    LapsesUnproved,
    /// Records are written without a look at whether they would count.
    Unjudged,
    /// The first hospital lies as it likes.
    Liar,
}

struct Federation {
    /// The voucher as it stands before anybody here acts.
    before: Town,
    /// Its last record then.
    start: RecordName,
    /// Most records that are written.
    writes: usize,
    fault: Fault,
}

impl Federation {
    /// A voucher that is issued, booked at the first hospital and confirmed, or claimed by it.
    fn new(start: Stage, writes: usize, fault: Fault) -> Self {
        let mut before = Town::new();
        let mut last = before.issue();
        for who in WHO {
            before.heartbeat(who, 5);
        }
        if start != Stage::Issued {
            let [respond_by, use_from, use_by] = BOOKINGS[0].map(hour);
            let (hospital, details) = (id(WHO[2]), Digest::default());
            last = before.step("v", hour(6), last, Step::Booked { hospital, details, respond_by, use_from, use_by });
            last = before.step(WHO[2], hour(7), last, Step::BookingConfirmed);
        }
        if start == Stage::Claimed {
            last = before.use_it(WHO[2], BOOKINGS[0][1], last);
            last = before.complete_and_claim(WHO[2], BOOKINGS[0][1], last);
        }
        Self { before, start: last, writes, fault }
    }

    fn name(&self, place: Place) -> RecordName {
        let institution = id(WHO[usize::from(place.who)]);
        let index = self.before.logs[&institution].len() as u64 + u64::from(place.nth);
        let mut digest = [0xff; 32];
        digest[..2].copy_from_slice(&[place.who, place.nth]);
        RecordName { institution, index, id: Digest(digest) }
    }

    fn place(&self, name: RecordName) -> Option<Place> {
        let who = WHO.iter().position(|who| id(who) == name.institution)? as u8;
        let nth = name.index.checked_sub(self.before.logs[&name.institution].len() as u64)?;
        Some(Place { who, nth: nth as u8 })
    }

    /// The logs with all that was written.
    fn town(&self, state: &State) -> Town {
        let mut town = self.before.clone();
        for (who, log) in (0..).zip(&state.logs) {
            for nth in 0..log.len() as u8 {
                self.append(&mut town, Place { who, nth }, log[usize::from(nth)]);
            }
        }
        town
    }

    fn append(&self, town: &mut Town, place: Place, write: Write) {
        let who = WHO[usize::from(write.who)];
        let at = hour(HOURS[usize::from(write.at)]);
        let body = match self.step(town, who, at, write.act) {
            None => Body::Heartbeat,
            Some(step) => {
                let prev = Some(write.prev.map_or(self.start, |prev| self.name(prev)));
                // The last that the registrar says here.
                let registrar = self.before.enrolment;
                Body::Chain(ChainRecord { voucher: town.voucher, prev, registrar, step })
            }
        };
        town.write(who, at, body);
        let log = town.logs.get_mut(&id(who)).unwrap();
        log.last_mut().unwrap().0 = self.name(place);
    }

    fn step(&self, town: &mut Town, who: &str, at: Timestamp, act: Act) -> Option<Step> {
        Some(match act {
            Act::Heartbeat => return None,
            Act::Book { hospital, when } => {
                let [respond_by, use_from, use_by] = BOOKINGS[usize::from(when)].map(hour);
                let details = Digest::default();
                Step::Booked { hospital: id(WHO[usize::from(hospital)]), details, respond_by, use_from, use_by }
            }
            Act::Confirm => Step::BookingConfirmed,
            Act::Decline => declined(),
            Act::Release => released(),
            Act::Return => returned(),
            Act::Lapse(position) => Step::BookingLapsed { position: self.name(position) },
            Act::Use => {
                let presentation = town.arrive(who, at);
                Step::UseConfirmed { presentation, complete_by: hour(VALID_UNTIL) }
            }
            Act::Abort => aborted(),
            Act::Complete => match town.complete_step(who, at) {
                Step::ExamCompleted { evidence, presentation, .. } => {
                    Step::ExamCompleted { evidence, presentation, claim_by: hour(VALID_UNTIL + 24) }
                }
                step => step,
            },
            Act::Claim => Step::RedemptionClaimed { answers: None },
            Act::Redeem => Step::Redeemed,
            Act::Reject { is_final } => rejected(is_final),
            Act::Void => voided(),
            Act::Expire(positions) => {
                let names: Vec<RecordName> = positions.into_iter().flatten().map(|place| self.name(place)).collect();
                expired(&names)
            }
            Act::Reclaim => reclaimed(),
            Act::Reverse => reversed(false),
        })
    }

    /// Every prefix of the others' logs that somebody may hold beside its own log.
    fn views(&self, state: &State, town: &Town, who: usize) -> Vec<Held> {
        let mut views = vec![town.all()];
        for (other, log) in state.logs.iter().enumerate().filter(|(other, _)| *other != who) {
            let institution = id(WHO[other]);
            let before = self.before.logs[&institution].len();
            let more: Vec<Held> = views
                .iter()
                .flat_map(|held| {
                    (0..log.len()).map(move |n| {
                        let mut held = held.clone();
                        held.insert(institution, before + n);
                        held
                    })
                })
                .collect();
            views.extend(more);
        }
        views
    }

    /// What an institution might want to do at a state of the voucher that it sees.
    fn acts(&self, town: &Town, held: &Held, who: usize, seen: &Seen, now: Timestamp) -> Vec<Act> {
        let (me, voucher) = (id(WHO[who]), seen.state());
        let last = |institution: InstitutionId| {
            let at = held[&institution].checked_sub(1)?;
            self.place(town.logs[&institution].get(at)?.0)
        };
        let hospitals = [2, 3];
        let mut acts = Vec::new();
        let parameters = Parameters::default();
        let last_at = town.logs[&me].last().unwrap().1.at;
        if duty::duties(me, voucher, Notes::default(), &parameters)
            .iter()
            .any(|due| due.duty == Duty::Heartbeat && last_at < due.at && due.at <= now)
        {
            acts.push(Act::Heartbeat);
        }
        match (WHO[who], voucher.stage) {
            ("v", Stage::Issued) => {
                for hospital in hospitals {
                    acts.extend((0..BOOKINGS.len() as u8).map(|when| Act::Book { hospital, when }));
                }
                acts.push(Act::Return);
            }
            ("v", Stage::BookingRequested | Stage::Booked) => {
                acts.extend(voucher.hospital().and_then(last).map(Act::Lapse));
            }
            ("h1" | "h2", stage) if voucher.custodian == Some(me) => acts.extend_from_slice(match stage {
                Stage::BookingRequested => &[Act::Confirm, Act::Decline, Act::Return],
                Stage::Booked => &[Act::Release, Act::Use, Act::Return],
                Stage::InUse => &[Act::Abort, Act::Complete],
                Stage::Examined => &[Act::Claim],
                _ => &[],
            }),
            ("i", stage) => {
                acts.extend_from_slice(match stage {
                    Stage::Generated | Stage::Refused => &[Act::Void],
                    Stage::Claimed => &[Act::Redeem, Act::Reject { is_final: true }, Act::Reject { is_final: false }],
                    Stage::Redeemed => &[Act::Reverse],
                    _ => &[],
                });
                if stage.is_before_use() {
                    let mut positions = voucher.must_be_silent().into_iter().map(last);
                    acts.push(Act::Expire([positions.next().flatten(), positions.next().flatten()]));
                }
                if voucher.custodian.is_some_and(|id| id != me) {
                    acts.push(Act::Reclaim);
                }
            }
            _ => {}
        }
        acts
    }

    /// Whether the author may write a record, by what it holds.
    fn may(&self, town: &Town, held: &Held, seen: &Seen, write: Write, nth: u8) -> bool {
        let mut town = town.clone();
        self.append(&mut town, Place { who: write.who, nth }, write);
        let who = id(WHO[usize::from(write.who)]);
        let mut held = held.clone();
        held.insert(who, town.logs[&who].len());
        let (links, own) = (town.links(&held), self.name(Place { who: write.who, nth }));
        let index = links.iter().position(|link| link.name == own).unwrap();
        Tree::new(town.voucher, &links, &town.node(&held)).judge(index, Some(seen.state())).is_ok()
    }
}

impl Model for Federation {
    type State = State;
    type Action = Write;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Write>) {
        if state.writes() >= self.writes {
            return;
        }
        let town = self.town(state);
        for (who, log) in state.logs.iter().enumerate() {
            let nth = log.len() as u8;
            let mut found: Vec<Write> = Vec::new();
            for held in self.views(state, &town, who) {
                let seen = town.look_with(&held);
                let (head, _) = seen.folded.head().unwrap();
                let head = self.place(seen.links[head].name);
                for at in state.times(who) {
                    for act in self.acts(&town, &held, who, &seen, hour(HOURS[usize::from(at)])) {
                        let prev = if act == Act::Heartbeat { None } else { head };
                        let write = Write { who: who as u8, act, prev, at };
                        let unjudged = act == Act::Heartbeat
                            || match self.fault {
                                Fault::None | Fault::Liar => false,
                                Fault::LapsesUnproved => matches!(act, Act::Lapse(_)),
                                Fault::Unjudged => true,
                            };
                        if !found.contains(&write) && (unjudged || self.may(&town, &held, &seen, write, nth)) {
                            found.push(write);
                        }
                    }
                }
            }
            if self.fault == Fault::Liar && WHO[who] == LIAR {
                found.extend(self.lies(state, who));
            }
            actions.append(&mut found);
        }
    }

    fn next_state(&self, state: &State, write: Write) -> Option<State> {
        let mut next = state.clone();
        next.logs[usize::from(write.who)].push(write);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HONEST_WORK, honest_work_counts),
            Property::always(SETTLED, settled_stays),
            Property::always(ONE_LIFE, one_life),
            Property::sometimes(REDEEMED, |model, state| model.path(state).last() == Some(&Stage::Redeemed)),
            Property::sometimes(REBOOKED, |model: &Self, state: &State| {
                state.logs[1].iter().any(|write| matches!(write.act, Act::Lapse(_)))
                    && model.path(state).ends_with(&[Stage::Issued, Stage::BookingRequested])
            }),
            Property::sometimes(VOIDED, |model, state| model.path(state).last() == Some(&Stage::Voided)),
            Property::sometimes(RECLAIMED, |model: &Self, state: &State| {
                state.logs[0].iter().any(|write| write.act == Act::Reclaim)
                    && model.path(state).last() == Some(&Stage::Refused)
            }),
        ]
    }
}

impl Federation {
    /// Anything a hospital can say, behind any record.
    fn lies(&self, state: &State, who: usize) -> Vec<Write> {
        let places =
            (0..).zip(&state.logs).flat_map(|(who, log)| (0..log.len() as u8).map(move |nth| Place { who, nth }));
        let mut lies = Vec::new();
        for prev in std::iter::once(None).chain(places.map(Some)) {
            for act in
                [Act::Confirm, Act::Decline, Act::Release, Act::Return, Act::Use, Act::Abort, Act::Complete, Act::Claim]
            {
                lies.extend(state.times(who).map(|at| Write { who: who as u8, act, prev, at }));
            }
        }
        lies.extend(state.times(who).map(|at| Write { who: who as u8, act: Act::Heartbeat, prev: None, at }));
        lies
    }

    /// The stages that the voucher has gone through for whoever holds everything.
    fn path(&self, state: &State) -> Vec<Stage> {
        self.town(state).look().path().into_iter().map(|(_, voucher)| voucher.stage).collect()
    }
}

/// Nothing that was written by the rules is for nothing, unless the issuer has taken the voucher from somebody silent.
fn honest_work_counts(model: &Federation, state: &State) -> bool {
    let town = model.town(state);
    let seen = town.look();
    let is_honest = |name: RecordName| model.fault != Fault::Liar || name.institution != id(LIAR);
    let reclaimed = seen.folded.path.iter().any(|(i, _)| matches!(seen.links[*i].step, Step::Reclaimed { .. }));
    let mut honest = seen.links.iter().zip(&seen.folded.verdicts).filter(|(link, _)| is_honest(link.name));
    honest.all(|(_, verdict)| match verdict {
        Verdict::Counts => true,
        Verdict::Superseded | Verdict::Broken(_) => reclaimed,
        Verdict::Waits => false,
    })
}

/// Whoever sees a settlement sees the beginning of what everybody will see.
fn settled_stays(model: &Federation, state: &State) -> bool {
    if !state.logs[0].iter().any(|write| matches!(write.act, Act::Redeem | Act::Void | Act::Expire(_))) {
        return true; // nobody sees any
    }
    let town = model.town(state);
    let whole = town.look().path();
    (0..WHO.len()).all(|who| {
        model.views(state, &town, who).into_iter().all(|held| {
            let path = town.look_with(&held).path();
            let settled = path.iter().rposition(|(_, voucher)| voucher.stage.is_settled());
            settled.is_none_or(|end| whole.get(..=end) == Some(&path[..=end]))
        })
    })
}

/// For whoever holds everything: one booking at a time, one use until it is undone, one redemption of what was used until it
/// is reversed, and nothing after it is voided.
fn one_life(model: &Federation, state: &State) -> bool {
    let seen = model.town(state).look();
    let (mut booked, mut used, mut redeemed, mut voided) = (false, false, false, false);
    seen.folded.path.iter().all(|(i, _)| {
        let good = !voided
            && match &seen.links[*i].step {
                Step::Booked { .. } => !booked && !used && !redeemed,
                Step::UseConfirmed { .. } => booked && !used,
                Step::Redeemed => used && !redeemed,
                _ => true,
            };
        match &seen.links[*i].step {
            Step::Booked { .. } => booked = true,
            Step::UseConfirmed { .. } => used = true,
            Step::Redeemed => redeemed = true,
            Step::Voided { .. } => voided = true,
            Step::BookingDeclined { .. }
            | Step::BookingReleased { .. }
            | Step::BookingLapsed { .. }
            | Step::Returned { .. }
            | Step::UseAborted { .. }
            | Step::Reclaimed { .. }
            | Step::Reversed { .. } => (booked, used, redeemed) = (false, false, false),
            _ => {}
        }
        good
    })
}

/// Looks at every state, and says which were found: those that may be, and those that must not.
fn found(start: Stage, writes: usize, fault: Fault) -> BTreeSet<&'static str> {
    let began = std::time::Instant::now();
    let writes = std::env::var("VOUCHER_TEST_WRITES").ok().and_then(|n| n.parse().ok()).unwrap_or(writes);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Federation::new(start, writes, fault).checker().threads(cores);
    let is_searched = matches!(fault, Fault::LapsesUnproved | Fault::Unjudged);
    let until = if is_searched { HasDiscoveries::AnyFailures } else { HasDiscoveries::All };
    let checker = checker.finish_when(until).spawn_bfs().join();
    let (states, seconds) = (checker.unique_state_count(), began.elapsed().as_secs_f64());
    println!("{start:?}, {fault:?}, {writes} records: {states} states, {seconds:.1} s");
    let found = checker.discoveries();
    for (name, path) in &found {
        let writes: Vec<String> = path.clone().into_actions().iter().map(Write::tell).collect();
        println!("  {name}: {}", writes.join(", "));
    }
    found.into_keys().collect()
}

/// What must not be found.
fn broken(found: &BTreeSet<&'static str>) -> Vec<&'static str> {
    found.iter().copied().filter(|name| [HONEST_WORK, SETTLED, ONE_LIFE].contains(name)).collect()
}

#[test]
fn honest_institutions_agree_and_none_works_for_nothing() {
    let table: [(Stage, &[&str]); 2] =
        [(Stage::Issued, &[REBOOKED, RECLAIMED, VOIDED]), (Stage::Booked, &[REBOOKED, RECLAIMED, VOIDED, REDEEMED])];
    for (start, reached) in table {
        let found = found(start, 4, Fault::None);
        assert_eq!(broken(&found), [""; 0], "{start:?}");
        assert!(reached.iter().all(|name| found.contains(name)), "{start:?}: {found:?}");
    }
}

#[test]
fn one_hospital_that_lies_takes_nothing_from_others() {
    for start in [Stage::Issued, Stage::Booked, Stage::Claimed] {
        assert_eq!(broken(&found(start, 2, Fault::Liar)), [""; 0], "{start:?}");
    }
}

/// The model can fail: who does not look before it writes is found.
#[test]
fn what_breaks_the_rules_is_found() {
    for fault in [Fault::LapsesUnproved, Fault::Unjudged] {
        assert!(found(Stage::Issued, 4, fault).contains(HONEST_WORK), "{fault:?}");
    }
}
