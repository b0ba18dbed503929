//! Four states are checked, appointments are booked, and no voucher and no appointment is booked twice.

use anyhow::Context as _;
use domain::time::Millis;
use serde_json::{Value, json};

use super::refused;
use crate::demo::holder::{Holder, Part};
use crate::demo::wait::tried;
use crate::demo::world::World;

/// How long before the busy morning's moment an appointment may begin.
const BEFORE: Millis = Millis::minutes(90);

/// How long after it: less than the arrival window's two hours.
const AFTER: Millis = Millis::minutes(110);

/// Checks and books for everybody but one.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Check and book", world.clock.local(world.clock.now()));
    let forgetful = world.part(Part::Forgetful)?.clone();
    let checked = world.wallet(&forgetful, "/checks", json!({ "voucher": forgetful.voucher()?.id })).await?.good()?;
    let states = checked.body.pointer("/result/states").cloned().unwrap_or_default();
    let expected = json!({ "booked": false, "examined": false, "redeemed": false, "valid": true });
    let said = format!("{} checks the voucher before booking.", forgetful.person.name);
    world.story.wrote(said, &checked.records());
    world.story.check("four-states", states == expected, format!("expected {expected}, the wallet says {states}"));

    let holders: Vec<Holder> = world.everybody().filter(|h| h.person.line != forgetful.person.line).cloned().collect();
    let mut plan = Vec::new();
    for holder in holders {
        let slot = morning_slot(world, &holder.programme).await?;
        plan.push((holder, slot));
    }
    let booked = tried(&plan, |(holder, slot)| book(world, holder, slot)).await;
    let (all, why) = (plan.len(), booked.why());
    let booked: Vec<Holder> = booked.0.into_iter().filter_map(Result::ok).collect();
    let ids: Vec<String> = booked.iter().filter_map(|h| Some(h.voucher().ok()?.id.clone())).collect();
    booked.into_iter().for_each(|holder| world.replace(holder));
    let confirmed = world.count_in_stage(&world.places.module, &ids, "booked").await;
    let morning = world.clock.local(world.days.morning);
    let detail = format!("{confirmed} of {all} appointments around {morning} were confirmed by the hospitals{why}");
    world.story.check("bookings-confirmed", confirmed == all, detail);
    for hospital in world.places.hospitals.clone() {
        let n = world.everybody().filter(|h| h.vouchers.first().is_some_and(|v| v.hospital == hospital)).count();
        world.story.tell(format!("{hospital} expects {n} people."));
    }
    Ok(())
}

/// An appointment near enough to the busy morning's moment that who is there then is within its arrival window.
///
/// # Errors
///
/// None is left.
pub(in crate::demo) async fn morning_slot(world: &mut World, programme: &str) -> anyhow::Result<Value> {
    let (from, until) = (world.days.morning - BEFORE, world.days.morning + AFTER);
    let hospitals = world.places.hospitals.clone();
    world.give(programme, &hospitals, from, until).await
}

/// The body of a booking.
#[must_use]
pub(in crate::demo) fn request(voucher: &str, slot: &Value) -> Value {
    json!({
        "voucher": voucher,
        "hospital": slot["hospital"],
        "department": slot["department"],
        "doctor": slot["doctor"],
        "start": slot["start"],
    })
}

/// Books the first voucher of a holder.
///
/// # Errors
///
/// The wallet refuses.
pub(in crate::demo) async fn book(world: &World, holder: &Holder, slot: &Value) -> anyhow::Result<Holder> {
    let voucher = holder.voucher()?;
    world.wallet(holder, "/bookings", request(&voucher.id, slot)).await?.good()?;
    Ok(holder.with_first(voucher.booked(slot)))
}

/// Every way to book twice is refused.
pub(in crate::demo) async fn twice(world: &mut World) -> anyhow::Result<()> {
    let holder = world.part(Part::Doubler)?.clone();
    let who = &holder.person.name;
    let slot = morning_slot(world, &holder.programme).await?;
    let answer = world.wallet(&holder, "/bookings", request(&holder.voucher()?.id, &slot)).await?;
    refused(world, "no-double-booking", &format!("{who} books the same voucher again"), &answer, "already-booked");

    let second = holder.vouchers.get(1).context("a second voucher")?;
    let answer = world.wallet(&holder, "/bookings", request(&second.id, &slot)).await?;
    refused(world, "one-open-booking", &format!("{who} books a second voucher too"), &answer, "open-booking");

    // Not offered any more, and asked for all the same: the hospital declines, and the holder has the voucher back.
    let late = world.part(Part::Forgetful)?.clone();
    let full = world.full(&late.programme).context("an appointment that is full")?;
    let id = late.voucher()?.id.clone();
    let (first, last) = world.clock.day(world.days.morning)?;
    let path = format!("/slots?limit=1000&voucher={id}&from={first}&until={last}");
    let offered = world.wallet(&late, &path, Value::Null).await?.good()?;
    let offered = offered.list("/items")?;
    let same = |o: &&Value| ["hospital", "doctor", "start"].iter().all(|field| o[*field] == full[*field]);
    let detail = format!("{} appointments are offered to the holder, the full one is not", offered.len());
    let held = !offered.is_empty() && offered.iter().find(same).is_none();
    world.story.check("full-slot-not-offered", held, detail);

    let answer = world.wallet(&late, "/bookings", request(&id, &full)).await?.good()?;
    let declined =
        world.patience.until(async || Ok(world.history(&id).await?.step("BookingDeclined").cloned())).await?;
    let stage = world.stage_at(&world.places.issuer, &id).await;
    let why = declined.as_ref().and_then(|(_, step)| step["BookingDeclined"]["reason"].as_str()).unwrap_or_default();
    let said = format!("{} asks for an appointment that is full; the hospital declines.", late.person.name);
    let records: Vec<_> = answer.records().into_iter().chain(declined.iter().map(|(name, _)| name.clone())).collect();
    world.story.wrote(said, &records);
    let detail =
        format!("expected slot-taken and the voucher back, the hospital says \"{why}\", the voucher is {stage}");
    world.story.check("no-slot-twice", stage == "issued" && why == "slot-taken", detail);
    Ok(())
}
