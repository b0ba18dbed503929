//! Somebody does not come: the hospital notes it, the booking lapses by itself, and the holder has the voucher back.

use domain::time::Millis;
use serde_json::json;

use super::refused;
use crate::demo::holder::Part;
use crate::demo::world::World;

/// How long after the busy morning's moment every appointment of the morning is over.
const ALL_OVER: Millis = Millis::hours(3);

/// How long after it every arrival window is closed.
const ALL_CLOSED: Millis = Millis::hours(7);

/// The no-show.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Somebody does not come", world.clock.local(world.clock.now()));
    let holder = world.part(Part::Absent)?.clone();
    let voucher = holder.voucher()?.clone();
    let desk = world.desk(&voucher.hospital);
    let path = format!("/v1/hospital/bookings/{}/no-show", voucher.id);
    world.step_to(world.days.morning + ALL_OVER, "noon").await?;
    let noted = desk.post(&path, json!({})).await?.good()?;
    world.story.wrote(format!("{} did not come, notes {}.", holder.person.name, voucher.hospital), &noted.records());
    let known = world.until_note(&voucher.id, "NoShow").await?;
    let stage = world.stage_at(&world.places.issuer, &voucher.id).await;
    let detail =
        format!("the issuer knows: {known}; within the arrival window the booking stands: the voucher is {stage}");
    world.story.check("no-show-noted", known && stage == "booked", detail);

    world.step_to(world.days.morning + ALL_CLOSED, "the arrival window has closed").await?;
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "issued").await;
    let lapsed = world.history(&voucher.id).await?.step("BookingLapsed").cloned();
    let proof = lapsed.as_ref().and_then(|(_, s)| s["BookingLapsed"]["position"]["institution"].as_str());
    let detail = format!(
        "expected the voucher back, proved by a record of {}; it is {stage}, by {}",
        voucher.hospital,
        proof.unwrap_or("nobody")
    );
    let held = stage == "issued" && proof == Some(voucher.hospital.as_str());
    let records: Vec<_> = lapsed.iter().map(|(name, _)| name.clone()).collect();
    world.story.wrote("The voucher module takes the booking back.", &records);
    world.story.check("lapsed-by-itself", held, detail);

    world.until_stage(&voucher.hospital, &voucher.id, "issued").await;
    let late = super::visit::enter(world, &holder, true).await?;
    let what = format!("{} comes now, without a booking", holder.person.name);
    refused(world, "lapsed-cannot-be-used", &what, &late, "not-booked");
    Ok(())
}
