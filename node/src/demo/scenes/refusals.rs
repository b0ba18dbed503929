//! The desk lets nobody in with a stolen picture, an old one, somebody else's, at the wrong place or at the wrong time.

use serde_json::json;

use super::{refused, visit};
use crate::demo::holder::Part;
use crate::demo::world::World;

/// The morning has come; before anybody is let in, those are refused who should be.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    // Some days before, somebody photographed a holder's code over the shoulder.
    let photographed = world.crowd[2].clone();
    let picture = photographed.arrive_qr()?;
    world.story.chapter("The busy morning", world.clock.local(world.days.morning));
    world.step_to(world.days.morning, "the morning of the appointments").await?;
    let victim = world.crowd[0].clone();
    let thief = world.part(Part::Thief)?.clone();
    let voucher = victim.voucher()?.clone();
    let desk = world.desk(&voucher.hospital);
    let visits = "/v1/hospital/visits";
    let (robbed, stealing) = (victim.person.name.clone(), thief.person.name.clone());

    let seen = photographed.voucher()?;
    let body = json!({ "personal_qr": picture, "voucher_qr": seen.token });
    let answer = world.desk(&seen.hospital).post(visits, body).await?;
    let what = format!("{stealing} shows a photograph of {}'s personal QR", photographed.person.name);
    refused(world, "old-picture-refused", &what, &answer, "presentation-stale");

    let own = thief.phone.arrive_qr(&thief.programme, &voucher.hospital, &thief.voucher()?.id);
    let answer = desk.post(visits, json!({ "personal_qr": own, "voucher_qr": voucher.token })).await?;
    let what = format!("{stealing} shows a picture of {robbed}'s voucher QR with an own personal QR");
    refused(world, "stolen-voucher-refused", &what, &answer, "presentation-other-voucher");

    let forged = thief.phone.arrive_qr(&thief.programme, &voucher.hospital, &voucher.id);
    let answer = desk.post(visits, json!({ "personal_qr": forged, "voucher_qr": voucher.token })).await?;
    let what = format!("{stealing} signs for {robbed}'s voucher with an own key");
    refused(world, "forged-presentation-refused", &what, &answer, "presentation-forged");

    let elsewhere = world.places.hospitals.iter().find(|h| **h != voucher.hospital).cloned().unwrap_or_default();
    let there = world.desk(&elsewhere);
    let body = json!({ "personal_qr": victim.arrive_qr()?, "voucher_qr": voucher.token });
    let answer = there.post(visits, body).await?;
    let what = format!("{robbed} shows the code for {} at {elsewhere}", voucher.hospital);
    refused(world, "other-hospital-refused", &what, &answer, "presentation-elsewhere");

    let mover = world.part(Part::Mover)?.clone();
    let answer = visit::enter(world, &mover, true).await?;
    let what = format!("{} comes a day too early", mover.person.name);
    refused(world, "too-early-refused", &what, &answer, "too-early");
    Ok(())
}

/// A code opens the door once: not again after a slip of the desk.
pub(in crate::demo) async fn replayed(world: &mut World) -> anyhow::Result<()> {
    let holder = world.crowd[3].clone();
    let voucher = holder.voucher()?.clone();
    let desk = world.desk(&voucher.hospital);
    let body = json!({ "personal_qr": holder.arrive_qr()?, "voucher_qr": voucher.token });
    let first = desk.post("/v1/hospital/visits", body.clone()).await?.good()?;
    let abort = format!("/v1/hospital/visits/{}/abort", voucher.id);
    let undone = desk.post(&abort, json!({ "reason": "desk-error" })).await?.good()?;
    let records: Vec<_> = first.records().into_iter().chain(undone.records()).collect();
    world.story.wrote(format!("{} is let in by mistake, and the desk undoes it.", holder.person.name), &records);
    if let Some(last) = records.last() {
        world.until_held(&world.places.module, last).await;
    }
    let answer = desk.post("/v1/hospital/visits", body).await?;
    refused(world, "replay-refused", "the very same code is shown again", &answer, "presentation-replayed");
    Ok(())
}
