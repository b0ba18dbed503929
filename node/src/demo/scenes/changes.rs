//! Plans change: a booking is cancelled, one is moved to another hospital and day, a voucher is voided while it is booked.

use domain::time::Millis;
use serde_json::json;

use super::{booking, refused, visit};
use crate::demo::holder::Part;
use crate::demo::world::World;

/// A holder cancels, and books again.
pub(in crate::demo) async fn cancel(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Plans change", world.clock.local(world.clock.now()));
    let holder = world.part(Part::Canceller)?.clone();
    let voucher = holder.voucher()?.clone();
    let qr = holder.phone.cancel_qr(&holder.programme, &world.places.module, &voucher.id);
    let path = format!("/bookings/{}/cancellation", voucher.id);
    let asked = world.wallet(&holder, &path, json!({ "qr": qr })).await?.good()?;
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "issued").await;
    let released = world.history(&voucher.id).await?.step("BookingReleased").cloned();
    let records: Vec<_> = asked.records().into_iter().chain(released.map(|(name, _)| name)).collect();
    world.story.wrote(format!("{} cancels; {} lets the booking go.", holder.person.name, voucher.hospital), &records);
    let detail = format!("expected the voucher to be the holder's again (issued), it is {stage}");
    world.story.check("cancelled", stage == "issued", detail);

    let slot = booking::morning_slot(world, &holder.programme).await?;
    let again = booking::book(world, &holder, &slot).await;
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "booked").await;
    let said = again.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
    let detail = format!("another booking: the node says {said}, the voucher is {stage}");
    world.story.check("booked-again", again.is_ok() && stage == "booked", detail);
    again.into_iter().for_each(|holder| world.replace(holder));
    Ok(())
}

/// A holder moves a booking to another hospital and day.
pub(in crate::demo) async fn move_away(world: &mut World) -> anyhow::Result<()> {
    let holder = world.part(Part::Mover)?.clone();
    let voucher = holder.voucher()?.clone();
    let day = world.days.day_after;
    let others: Vec<String> = world.places.hospitals.iter().filter(|h| **h != voucher.hospital).cloned().collect();
    let slot = world.give(&holder.programme, &others, day - Millis::minutes(60), day + Millis::minutes(110)).await?;
    let mut body = booking::request(&voucher.id, &slot);
    body["qr"] = json!(holder.phone.cancel_qr(&holder.programme, &world.places.module, &voucher.id));
    if let Some(fields) = body.as_object_mut() {
        fields.remove("voucher");
    }
    let asked = world.wallet(&holder, &format!("/bookings/{}/move", voucher.id), body).await?.good()?;
    let moved = holder.with_first(voucher.booked(&slot));
    let there = moved.voucher()?.hospital.clone();
    let arrived = world
        .patience
        .until(async || {
            let seen = world.voucher(&voucher.id).await?;
            Ok((seen["stage"] == "booked" && seen["hospital"] == there.as_str()).then_some(()))
        })
        .await?;
    world.replace(moved);
    let history = world.history(&voucher.id).await?;
    let confirmed = history.step("BookingConfirmed").map(|(name, _)| name.clone());
    let records: Vec<_> = asked.records().into_iter().chain(confirmed).collect();
    let who = &holder.person.name;
    let when = world.clock.local(day);
    world.story.wrote(format!("{who} moves from {} to {there}, near {when}.", voucher.hospital), &records);
    let confirmations = history.steps.iter().filter(|(_, s)| s == "BookingConfirmed").count();
    let detail = format!("expected two confirmations, the second by {there}; seen {confirmations}");
    world.story.check("moved", arrived.is_some() && confirmations == 2, detail);
    Ok(())
}

/// A voucher is voided while it is booked.
pub(in crate::demo) async fn void(world: &mut World) -> anyhow::Result<()> {
    let holder = world.part(Part::Departed)?.clone();
    let voucher = holder.voucher()?.clone();
    let body = json!({ "voucher": voucher.id, "reason": "entitlement-ended" });
    let wish = world.issuer().post_with(&world.second(), "/v1/issuer/voids", body).await?.good()?;
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "voided").await;
    let history = world.history(&voucher.id).await?;
    let ways = [history.step("Returned"), history.step("Voided")];
    let records: Vec<_> =
        wish.records().into_iter().chain(ways.into_iter().flatten().map(|(name, _)| name.clone())).collect();
    let who = &holder.person.name;
    world.story.wrote(
        format!("{who} is no longer entitled: the issuer asks, {} gives back, the issuer voids.", voucher.hospital),
        &records,
    );
    let by = history.step("Returned").map(|(name, _)| name.institution.clone()).unwrap_or_default();
    let detail = format!("expected voided, given back by {}; it is {stage}, given back by \"{by}\"", voucher.hospital);
    world.story.check("void-while-booked", stage == "voided" && by == voucher.hospital, detail);

    world.until_stage(&world.places.module, &voucher.id, "voided").await;
    let slot = booking::morning_slot(world, &holder.programme).await?;
    let answer = world.wallet(&holder, "/bookings", booking::request(&voucher.id, &slot)).await?;
    refused(world, "voided-is-not-booked", &format!("{who} tries to book all the same"), &answer, "voided");
    Ok(())
}

/// The booking that was moved is kept: the day after, at the other hospital.
pub(in crate::demo) async fn moved_visit(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("The day after", world.clock.local(world.clock.now()));
    let moved = [world.part(Part::Mover)?.clone()];
    world.step_to(world.days.day_after, "the morning of the appointment that was moved").await?;
    let (arrived, why) = visit::arrive_all(world, &moved).await;
    world.step_to(world.days.day_after + Millis::minutes(30), "the examination takes its time").await?;
    let (redeemed, why_not) = visit::complete_all(world, &moved).await;
    let there = &moved[0].voucher()?.hospital;
    let detail = format!("{arrived} arrived at {there}, {redeemed} voucher redeemed{why}{why_not}");
    world.story.check("moved-visit-redeemed", arrived == 1 && redeemed == 1, detail);
    Ok(())
}
