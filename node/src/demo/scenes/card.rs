//! Somebody without a phone: a printed card, a clerk who helps, and a signature all the same.

use anyhow::Context as _;
use serde_json::json;

use super::{booking, refused, visit};
use crate::demo::holder::{Part, Voucher};
use crate::demo::people;
use crate::demo::world::World;

/// Registers with a card, is issued a voucher and books with a clerk's help.
pub(in crate::demo) async fn receive_and_book(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Somebody without a phone", world.clock.local(world.clock.now()));
    let person = world.phoneless.clone().context("somebody without a phone")?;
    let desk = world.desk(&person.community);
    let mut form = people::person(&person);
    form["voucher_module"] = json!(world.places.module);
    let registered = desk.post("/v1/community/registrations/without-phone", form).await?.good()?;
    let card = registered.text("/result/card/text")?.to_owned();
    let number = registered.text("/result/card/lookup_number")?;
    world.story.tell(format!("{} gets a printed card with the number {number}.", person.name));

    let programme = world.sample.programme_for(person.class)?.programme.clone();
    let body = json!({
        "card": card,
        "programme": programme,
        "document_number": person.document.as_str(),
        "assist_reason": "no-phone",
    });
    let issued = desk.post("/v1/community/desk/issue", body.clone()).await?.good()?;
    let voucher = Voucher::new(issued.text("/result/voucher")?, issued.text("/result/token")?);
    world.story.wrote("The clerk sees the document, scans the card and issues a voucher", &issued.records());

    let mut wrong = body;
    wrong["document_number"] = json!(world.stranger()?.document.as_str());
    let answer = desk.post("/v1/community/desk/issue", wrong).await?;
    refused(world, "card-needs-its-document", "the card with another document", &answer, "holder-unknown");

    world.until_stage(&world.places.module, &voucher.id, "issued").await;
    let slot = booking::morning_slot(world, &programme).await?;
    let wanted = json!({
        "hospital": slot["hospital"],
        "department": slot["department"],
        "doctor": slot["doctor"],
        "start": slot["start"],
    });
    let body = json!({
        "card": card,
        "voucher": voucher.id,
        "step": "book",
        "slot": wanted,
        "assist_reason": "no-phone",
    });
    let helped = desk.post("/v1/community/desk/help", body).await?.good()?;
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "booked").await;
    let booked = world.history(&voucher.id).await?.step("BookingConfirmed").cloned();
    let records: Vec<_> = helped.records().into_iter().chain(booked.map(|(name, _)| name)).collect();
    world.story.wrote("and asks the voucher module for an appointment", &records);
    world.story.check("card-booked", stage == "booked", format!("expected booked, the voucher is {stage}"));
    world.card = Some((card, voucher.booked(&slot)));
    Ok(())
}

/// Comes with the card, is examined, and the voucher is redeemed.
pub(in crate::demo) async fn visit(world: &mut World) -> anyhow::Result<()> {
    let (card, voucher) = world.card.clone().context("a card with a booked voucher")?;
    let person = world.phoneless.clone().context("somebody without a phone")?;
    let at_desk =
        |qr: &str| json!({ "card": card, "document_checked": true, "voucher_qr": qr, "assist_reason": "no-phone" });
    // Somebody else is expected now, and has not come.
    let theirs = world.part(Part::Absent)?.voucher()?.clone();
    let answer = world.desk(&theirs.hospital).post("/v1/hospital/visits", at_desk(&theirs.token)).await?;
    let what = "the card with the voucher of somebody else";
    refused(world, "card-opens-own-voucher-only", what, &answer, "card-unknown");

    let desk = world.desk(&voucher.hospital);
    let used = desk.post("/v1/hospital/visits", at_desk(&voucher.token)).await?.good()?;
    world.story.wrote(format!("{} is let in with the printed card", person.name), &used.records());
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "in-use").await;
    let step = world.history(&voucher.id).await?.step("UseConfirmed").cloned();
    let by_helper = step.is_some_and(|(_, s)| s["UseConfirmed"]["presentation"]["assisted"]["reason"] == "no-phone");
    let detail = format!("the record says that a clerk signed with the card: {by_helper}, the voucher is {stage}");
    world.story.check("card-use-is-assisted", by_helper && stage == "in-use", detail);
    Ok(())
}

/// The examination is over; the clerk signs with the card again.
pub(in crate::demo) async fn complete(world: &mut World) -> anyhow::Result<()> {
    let (card, voucher) = world.card.clone().context("a card with a booked voucher")?;
    let body = json!({
        "card": card,
        "assist_reason": "no-phone",
        "examination": visit::examination(world, &voucher.doctor),
    });
    let path = format!("/v1/hospital/visits/{}/completion", voucher.id);
    let completed = world.doctor(&voucher.hospital).post(&path, body).await?.good()?;
    let stage = world.until_stage(&world.places.issuer, &voucher.id, "redeemed").await;
    world.story.wrote("The examination of the holder with the card is complete", &completed.records());
    world.story.check("card-redeemed", stage == "redeemed", format!("expected redeemed, the voucher is {stage}"));
    Ok(())
}
