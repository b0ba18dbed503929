//! One shape for all five roles: the rules of a role, and the one actix actor that runs them.
//!
//! A role never calls a role. It decides by what the replica knows, writes records, and others read them, also on the
//! same node. What it does by itself (its duties) takes the same path as a person's request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use domain::duty::{self, Due, Duty};
use domain::ids::VoucherId;
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::Body;
use domain::time::{Millis, Timestamp};

use crate::keys::{self, Key};
use crate::kv::Space;
use crate::misbehave::misbehaves;
use crate::replica::{self, VoucherDoc, Work};
use crate::writer::{Act, Desk, Done, Refused, Writer};

/// Commands that wait in a role's mailbox; more are answered with `busy`.
pub const MAILBOX: usize = 1_024;

/// How often a role looks at its duties when nothing calls it.
pub const TICK: Duration = Duration::from_millis(200);

/// Shortest time between two looks at the duties that hints ask for.
pub const HINT_REST: Duration = Duration::from_millis(5);

/// Duties done in one look, after which commands get their turn.
pub const DUTIES_AT_ONCE: usize = 32;

/// How long a look goes on to its next duty: a command waits for one look at most, also on a slow machine.
pub const LOOK_MOST: Duration = Duration::from_millis(10);

/// How long a duty rests that could not be done.
pub const REST: Millis = Millis::secs(2);

/// What a role does about a duty.
#[derive(Debug)]
pub enum Reaction<C> {
    /// Decide this command.
    Do(C),
    /// Look again then.
    Later(Due),
    /// Nothing is to be done.
    Nothing,
}

/// The rules of a role: pure over the replica and a command.
pub trait Rules: Sized + Send + Unpin + 'static {
    /// Which role.
    const ROLE: Role;
    /// What it can be asked.
    type Command: Send + 'static;
    /// What it answers.
    type Answer: Send + 'static;

    /// Decides a command, and writes what follows. Nothing is written if it refuses.
    ///
    /// # Errors
    ///
    /// The rule that says no.
    fn decide(desk: &mut Desk<'_>, command: Self::Command) -> Result<Self::Answer, Refused>;

    /// What a duty asks it to do.
    fn react(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, due: Due, now: Timestamp) -> Reaction<Self::Command>;

    /// What it does by itself as time passes, beside duties about vouchers: at most one command a tick.
    fn tick(_work: &Work<'_>, _now: Timestamp) -> Option<Self::Command> {
        None
    }
}

/// A command to a role, with who asks.
pub struct Ask<R: Rules> {
    /// Who acts, by which request.
    pub act: Act,
    /// What is asked.
    pub command: R::Command,
}

impl<R: Rules> Message for Ask<R> {
    type Result = Result<Done<R::Answer>, Refused>;
}

/// Something was committed, or time has passed: look at the duties.
#[derive(Debug, Clone, Default, Message)]
#[rtype(result = "()")]
pub struct LookAround(pub Hint);

/// Whether a [`LookAround`] is on its way already: many commits are one hint.
pub type Hint = Arc<AtomicBool>;

/// The actor that runs a role.
pub struct RoleActor<R: Rules> {
    writer: Arc<Writer>,
    /// When it last looked at its duties.
    looked: Option<Instant>,
    /// Whether the next look is on its way. There is one at most: if each hint brought one along that brings the next,
    /// a command would wait for all of them.
    looking: bool,
    rules: std::marker::PhantomData<fn() -> R>,
}

impl<R: Rules> RoleActor<R> {
    /// An actor of a role over the node's writer.
    #[must_use]
    pub fn new(writer: Arc<Writer>) -> Self {
        Self { writer, looked: None, looking: false, rules: std::marker::PhantomData }
    }
}

impl<R: Rules> Actor for RoleActor<R> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(TICK, |actor, ctx| {
            if !actor.looking {
                actor.look(ctx);
            }
        });
    }
}

impl<R: Rules> Handler<Ask<R>> for RoleActor<R> {
    type Result = ResponseFuture<Result<Done<R::Answer>, Refused>>;

    fn handle(&mut self, ask: Ask<R>, _ctx: &mut Self::Context) -> Self::Result {
        // Decided here and now, in the order of the mailbox; answered when it is on disk.
        let writer = self.writer.clone();
        let decided = writer.decide(ask.act, |desk| R::decide(desk, ask.command));
        let covers = writer.ledger().last_ticket();
        Box::pin(async move {
            // A refusal too depends on what is accepted and not yet durable.
            writer.durable(decided.as_ref().map_or(covers, |d| d.ticket)).await;
            decided
        })
    }
}

impl<R: Rules> Handler<LookAround> for RoleActor<R> {
    type Result = ();

    fn handle(&mut self, LookAround(hint): LookAround, ctx: &mut Self::Context) {
        hint.store(false, Ordering::SeqCst);
        let rest = self.looked.map_or(Duration::ZERO, |at| HINT_REST.saturating_sub(at.elapsed()));
        self.look_after(rest, ctx);
    }
}

impl<R: Rules> RoleActor<R> {
    /// Looks later, behind whatever waits in the mailbox, so that people's requests come in between.
    fn look_after(&mut self, rest: Duration, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        self.looking = true;
        ctx.run_later(rest, |actor, ctx| {
            actor.looking = false;
            actor.look(ctx);
        });
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.writer.now();
        if let Some(command) = self.writer.read(|work| R::tick(work, now)).answer {
            self.act(command);
        }
        let due = due_duties::<R>(&self.writer, now, DUTIES_AT_ONCE);
        let (began, found) = (Instant::now(), due.len());
        let mut done = 0;
        for (id, due) in due {
            if began.elapsed() >= LOOK_MOST {
                break;
            }
            do_duty::<R>(&self.writer, id, due, now);
            done += 1;
        }
        self.looked = Some(Instant::now());
        if done < found || found >= DUTIES_AT_ONCE {
            self.look_after(Duration::ZERO, ctx);
        }
    }

    fn act(&self, command: R::Command) {
        if let Err(refused) = self.writer.decide(Act::default(), |desk| R::decide(desk, command)) {
            tracing::debug!(role = R::ROLE.as_str(), reason = %refused, "a tick's command was refused");
        }
    }
}

/// The duties of a role that are due: those whose blocker's log, or whose own clock, has reached their time.
#[must_use]
pub fn due_duties<R: Rules>(writer: &Writer, now: Timestamp, limit: usize) -> Vec<(VoucherId, Due)> {
    writer.read(|work| due_in::<R>(work, now, limit)).answer
}

/// The same over a replica.
#[must_use]
pub fn due_in<R: Rules>(work: &Work<'_>, now: Timestamp, limit: usize) -> Vec<(VoucherId, Due)> {
    let me = work.settings.me;
    let mut found = Vec::new();
    let others = work.registry.members.keys().copied().filter(|id| *id != me);
    for blocker in others.chain(std::iter::once(me)) {
        let reached = if blocker == me { now } else { work.cursor(blocker).last_at };
        let from = Key::new(keys::ALARM).institution(blocker).done();
        let to = Key::new(keys::ALARM).institution(blocker).time(reached + Millis(1)).done();
        for (key, _) in work.tx.range(Space::State, &from, &to, 8 * limit) {
            if found.len() >= limit {
                break; // a city may lapse in one minute: no document is read that is not acted on
            }
            let Some((id, due)) = read_alarm(&key) else { continue };
            if duty::fixed_role(due.duty).is_some_and(|role| role != R::ROLE) {
                continue;
            }
            let Some(doc) = work.voucher(id) else { continue };
            let stage = doc.state().map(|v| v.stage);
            let mine = stage.is_some_and(|stage| duty::role_of(due.duty, stage) == R::ROLE)
                || (due.duty == Duty::Heartbeat && work.settings.roles.first() == Some(&R::ROLE));
            if mine {
                found.push((id, due));
            }
        }
    }
    found.sort_by_key(|(_, due)| due.at);
    found.dedup();
    found
}

fn read_alarm(key: &[u8]) -> Option<(VoucherId, Due)> {
    let mut parts = keys::Parts(key.get(1..)?);
    let blocker = parts.institution()?;
    let at = Timestamp::from_millis(i64::try_from(parts.number()?).ok()?);
    let id = parts.voucher()?;
    let duty = Duty::ALL.into_iter().find(|d| Some(&(*d as u8)) == parts.0.first())?;
    Some((id, Due { blocker, at, duty }))
}

/// What doing a duty comes to.
///
/// # Errors
///
/// Why it cannot be done now.
pub fn duty_step<R: Rules>(desk: &mut Desk<'_>, id: VoucherId, due: Due, now: Timestamp) -> Result<(), Refused> {
    let Some(doc) = desk.work.voucher(id).filter(|d| d.alarms.contains(&due)) else {
        replica::postpone(&mut desk.work, id, due, None);
        return Ok(());
    };
    if due.duty == Duty::Heartbeat {
        // One record covers every limit up to its time.
        if desk.work.cursor(desk.me()).last_at < due.at {
            desk.write(R::ROLE, Body::Heartbeat)?;
        }
        replica::postpone(&mut desk.work, id, due, None);
        return Ok(());
    }
    if misbehaves(forgetting(due.duty)) {
        replica::postpone(&mut desk.work, id, due, None);
        return Ok(());
    }
    match R::react(&desk.work, id, &doc, due, now) {
        Reaction::Do(command) => R::decide(desk, command).map(drop),
        Reaction::Later(until) => {
            replica::postpone(&mut desk.work, id, due, Some(until));
            Ok(())
        }
        Reaction::Nothing => {
            replica::postpone(&mut desk.work, id, due, None);
            Ok(())
        }
    }
}

/// The misbehaviour under which a node forgets a duty; empty for those that none concerns.
const fn forgetting(duty: Duty) -> &'static str {
    match duty {
        Duty::Return => "return-forgotten",
        Duty::Release => "release-forgotten",
        Duty::Claim => "claim-forgotten",
        Duty::Lapse => "lapse-forgotten",
        Duty::VoidExpired => "expiry-forgotten",
        Duty::RetireQr => "retirement-forgotten",
        _ => "",
    }
}

/// Does one duty, or puts it off. Doing it twice is impossible: the record goes onto the head or nowhere.
pub fn do_duty<R: Rules>(writer: &Writer, id: VoucherId, due: Due, now: Timestamp) {
    let me = writer.settings().me;
    let result = writer.decide(Act::default(), |desk| duty_step::<R>(desk, id, due, now));
    let Err(refused) = result else { return };
    let reason = refused.reason();
    tracing::debug!(voucher = %id, duty = ?due.duty, %reason, "a duty could not be done now");
    if matches!(
        reason,
        Reason::Busy
            | Reason::DiskLow
            | Reason::NotReady
            | Reason::ClockOff
            | Reason::WitnessesMissing
            | Reason::Closing
    ) {
        return; // the whole node waits: the duty stays where it is
    }
    let later = Due { blocker: me, at: now + REST, duty: due.duty };
    let rested = writer.decide(Act::default(), |desk| {
        replica::postpone(&mut desk.work, id, due, Some(later));
        Ok(())
    });
    if let Err(refused) = rested {
        tracing::debug!(voucher = %id, reason = %refused, "a duty could not be put off");
    }
}
