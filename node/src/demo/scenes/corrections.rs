//! What goes wrong is put right in the open: a claim that the holder denies is rejected, a redemption is reversed.

use serde_json::json;

use super::{refused, visit};
use crate::demo::holder::{Part, Voucher};
use crate::demo::world::World;

/// A holder denies a use: the claim is rejected, and at last refused for good.
pub(in crate::demo) async fn rejected(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Claims are checked, mistakes are corrected", world.clock.local(world.clock.now()));
    let holder = world.part(Part::Denier)?.clone();
    let voucher = holder.voucher()?.clone();
    let who = holder.person.name.clone();
    let issuer = world.places.issuer.clone();
    let qr = holder.phone.cancel_qr(&holder.programme, &world.places.module, &voucher.id);
    let denied = world.wallet(&holder, "/disputes", json!({ "voucher": voucher.id, "qr": qr })).await?.good()?;
    world.story.wrote(format!("{who} says on the phone: that was not my examination."), &denied.records());
    world.until_note(&voucher.id, "UseDisputed").await?;

    let done = visit::sign_off(world, &holder).await?.good()?;
    let stage = world.until_stage(&issuer, &voucher.id, "rejected").await;
    let history = world.history(&voucher.id).await?;
    let rejection = history.step("ClaimRejected").cloned();
    let why = rejection.as_ref().and_then(|(_, s)| s["ClaimRejected"]["reason"].as_str()).unwrap_or_default();
    let records: Vec<_> = done.records().into_iter().chain(rejection.iter().map(|(name, _)| name.clone())).collect();
    world.story.wrote(format!("{} completes and claims; the issuer rejects.", voucher.hospital), &records);
    let detail = format!("expected a rejection because the holder denies it; the voucher is {stage}, reason \"{why}\"");
    world.story.check("disputed-claim-rejected", stage == "rejected" && why == "disputed", detail);

    world.until_stage(&voucher.hospital, &voucher.id, "rejected").await;
    let office = world.office(&voucher.hospital);
    let answered = office.post(&format!("/v1/hospital/claims/{}/answer", voucher.id), json!({})).await?;
    let stage = world.until_stage(&issuer, &voucher.id, "claimed").await;
    world.story.wrote(
        format!("{} claims once more; now a person at the issuer decides.", voucher.hospital),
        &answered.records(),
    );
    world.story.check("second-claim-waits-for-a-person", stage == "claimed", format!("the voucher is {stage}"));

    let body = json!({ "reason": "unfounded", "is_final": true });
    let path = format!("/v1/issuer/claims/{}/rejection", voucher.id);
    let refused_for_good = world.issuer().post(&path, body).await?;
    let stage = world.until_stage(&issuer, &voucher.id, "voided").await;
    world.story.wrote("The issuer refuses for good, and the voucher is voided.", &refused_for_good.records());
    world.story.check("refused-claim-voids", stage == "voided", format!("expected voided, the voucher is {stage}"));

    // The holder is not the one who pays for it.
    world.until_stage(&holder.person.community, &voucher.id, "voided").await;
    let qr = holder.phone.receive_qr(&holder.programme, &holder.person.community);
    let desk = world.desk(&holder.person.community);
    let issued = desk.post("/v1/community/desk/issue", json!({ "qr": qr })).await?;
    let detail = format!("{who} is issued a new voucher: the node says {issued}");
    if world.story.check("new-voucher-after-refusal", issued.is_good(), detail) {
        let fresh = Voucher::new(issued.text("/result/voucher")?, issued.text("/result/token")?);
        world.replace(holder.with_first(fresh));
    }
    Ok(())
}

/// Two officers reverse a redemption.
pub(in crate::demo) async fn reversed(world: &mut World) -> anyhow::Result<()> {
    let holder = world.crowd[1].clone();
    let voucher = holder.voucher()?.clone();
    let issuer = world.issuer();
    let body = json!({ "voucher": voucher.id, "reason": "mistake", "void": false });
    let asked = issuer.post("/v1/issuer/reversals", body).await?.good()?;
    let alone = issuer.consent(&asked).await?;
    refused(world, "reversal-needs-two", "one officer alone reverses a redemption", &alone, "approver-needed");
    let reversed = world.second().consent(&asked).await?;
    let stage = world.until_stage(&world.places.module, &voucher.id, "issued").await;
    let said = format!("Two officers reverse the redemption of {}'s voucher: it was a mistake.", holder.person.name);
    world.story.wrote(said, &reversed.records());
    let restored = world.until_note(&voucher.id, "QrRestored").await?;
    let detail = format!("expected issued with its QR restored; the voucher is {stage}, restored: {restored}");
    world.story.check("reversed", stage == "issued" && restored, detail);
    Ok(())
}
