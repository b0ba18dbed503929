//! A voucher that nobody uses expires: it cannot be booked any more, and the issuer voids it by itself, with proof.

use anyhow::Context as _;
use domain::time::Millis;

use crate::demo::holder::{Part, time};
use crate::demo::world::World;

/// The forgotten voucher.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("A voucher is forgotten", world.clock.local(world.clock.now()));
    let holder = world.part(Part::Forgetful)?.clone();
    let voucher = holder.voucher()?.clone();
    let issuer = world.places.issuer.clone();
    let known = world.voucher(&voucher.id).await?;
    let valid_until = time(&known["valid_until"]).context("valid_until")?;
    world.step_to(valid_until + Millis::minutes(1), "the end of the voucher's validity").await?;

    let stage = world.until_stage(&issuer, &voucher.id, "voided").await;
    let voided = world.history(&voucher.id).await?.step("Voided").cloned();
    let positions = voided.as_ref().and_then(|(_, s)| s["Voided"]["cause"]["Expired"]["positions"].as_array().cloned());
    let proof: Vec<String> = positions
        .iter()
        .flatten()
        .filter_map(|p| Some(format!("{}.{}", p["institution"].as_str()?, p["index"])))
        .collect();
    let proof = proof.join(", ");
    let records: Vec<_> = voided.iter().map(|(name, _)| name.clone()).collect();
    let who = &holder.person.name;
    world.story.wrote(format!("{who}'s voucher expired; the issuer voids it, proved by {proof}"), &records);
    let detail =
        format!("expected voided as expired, with a position of its custodian; it is {stage}, proof \"{proof}\"");
    world.story.check("expired-is-voided", stage == "voided" && !proof.is_empty(), detail);

    let wallet = world
        .patience
        .until(async || {
            let wallet = world.wallet(&holder, "", serde_json::Value::Null).await?.good()?;
            let shown = wallet.list("/vouchers")?.iter().find(|v| v["voucher"] == voucher.id.as_str()).cloned();
            Ok(shown.filter(|v| v["stage"] == "voided"))
        })
        .await?;
    let shown = wallet.unwrap_or_default();
    let detail = format!("the phone says {} and {} days left", shown["word"]["en"], shown["days_left"]);
    world.story.check("phone-says-expired", shown["states"]["valid"] == false && shown["days_left"] == 0, detail);

    let slot = world.any_slot(&holder.programme).await?;
    let answer = world.wallet(&holder, "/bookings", super::booking::request(&voucher.id, &slot)).await?;
    let held = !answer.is_good() && ["voided", "expired"].contains(&answer.code());
    world.story.check("expired-is-not-booked", held, format!("{who} tries to book it: the node says {answer}"));
    Ok(())
}
