//! The busy morning: people arrive, are examined, sign, and every finished examination is redeemed at once.

use domain::time::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::demo::client::Answer;
use crate::demo::holder::{Holder, Part};
use crate::demo::wait::tried;
use crate::demo::world::World;

/// How long the examinations take.
pub(in crate::demo) const EXAMINATION: Millis = Millis::minutes(40);

/// Everybody who has an appointment this morning and means to come.
fn expected(world: &World) -> Vec<Holder> {
    let comes = |part: &&Part| matches!(part, Part::Canceller | Part::Doubler | Part::Thief | Part::Denier);
    let named = world.parts.keys().filter(comes).filter_map(|part| world.parts.get(part));
    world.crowd.iter().chain(named).cloned().collect()
}

/// Everybody arrives who means to come.
pub(in crate::demo) async fn arrive(world: &mut World) -> anyhow::Result<()> {
    let people = expected(world);
    let (arrived, why) = arrive_all(world, &people).await;
    let detail = format!("{arrived} of {} people were let in with their own fresh code{why}", people.len());
    world.story.check("holders-arrived", arrived == people.len(), detail);
    Ok(())
}

/// Lets people in; every second one has sent the voucher's QR ahead by the voucher module. Returns how many were let in and
/// have their vouchers in use, and why the first was not let in.
pub(in crate::demo) async fn arrive_all(world: &World, people: &[Holder]) -> (usize, String) {
    let entered = tried(people, |holder| async move {
        let ahead = holder.person.line.is_multiple_of(2);
        if ahead {
            let voucher = holder.voucher()?;
            world.wallet(holder, "/uses", json!({ "voucher": voucher.id })).await?.good()?;
            // The hospital hears of it by the voucher module's log.
            world.until_presented(&voucher.hospital, &voucher.id).await?;
        }
        enter(world, holder, !ahead).await?.good()?;
        Ok(holder.voucher()?.id.clone())
    })
    .await;
    let why = entered.why();
    let ids: Vec<String> = entered.0.into_iter().filter_map(Result::ok).collect();
    (world.count_in_stage(&world.places.issuer, &ids, "in-use").await, why)
}

/// One person at the hospital's desk, with the voucher's QR or without.
///
/// # Errors
///
/// The node does not answer; a refusal is an answer.
pub(in crate::demo) async fn enter(world: &World, holder: &Holder, with_voucher_qr: bool) -> anyhow::Result<Answer> {
    let voucher = holder.voucher()?;
    let token = with_voucher_qr.then_some(voucher.token.as_str());
    let body = json!({ "personal_qr": holder.arrive_qr()?, "voucher_qr": token });
    Ok(world.desk(&voucher.hospital).post("/v1/hospital/visits", body).await?)
}

/// The examinations are over. Nobody else can end a visit in the holder's name, and a half-done examination is none.
pub(in crate::demo) async fn without_the_holder(world: &mut World) -> anyhow::Result<()> {
    world.step_to(world.days.morning + EXAMINATION, "the examinations take their time").await?;
    let holder = world.crowd[0].clone();
    let voucher = holder.voucher()?.clone();
    let desk = world.doctor(&voucher.hospital);
    let path = format!("/v1/hospital/visits/{}/completion", voucher.id);
    let good = examination(world, &voucher.doctor);

    let answer = desk.post(&path, json!({ "personal_qr": holder.arrive_qr()?, "examination": good })).await?;
    let what = "the hospital completes with the code of the arrival";
    super::refused(world, "no-completion-without-holder", what, &answer, "presentation-other-step");

    let thief = world.part(Part::Thief)?.clone();
    let forged = thief.phone.complete_qr(&thief.programme, &voucher.hospital, &voucher.id);
    let answer = desk.post(&path, json!({ "personal_qr": forged, "examination": good })).await?;
    let what = "somebody else's phone signs for the holder";
    super::refused(world, "no-completion-by-others", what, &answer, "presentation-forged");

    let mut half = good.clone();
    half["items"][0]["done"] = json!(false);
    let answer = desk.post(&path, json!({ "personal_qr": holder.complete_qr()?, "examination": half })).await?;
    super::refused(world, "no-half-examination", "an ordered item is not done", &answer, "item-not-done");
    Ok(())
}

/// Everybody signs, and the vouchers are redeemed.
pub(in crate::demo) async fn complete(world: &mut World) -> anyhow::Result<()> {
    let denier = world.part(Part::Denier)?.person.line;
    let people: Vec<Holder> = expected(world).into_iter().filter(|h| h.person.line != denier).collect();
    let began = std::time::Instant::now();
    let (redeemed, why) = complete_all(world, &people).await;
    let (all, took) = (people.len(), began.elapsed().as_secs_f32());
    let detail = format!("{redeemed} of {all} examinations were claimed, checked and redeemed ({took:.1} s){why}");
    world.story.check("redeemed-at-once", redeemed == all, detail);
    world.memory.redeemed = Some(people[0].voucher()?.id.clone());
    Ok(())
}

/// Completes the visits of people; returns how many were completed and are redeemed by what the issuer knows, and why the
/// first was not completed.
pub(in crate::demo) async fn complete_all(world: &World, people: &[Holder]) -> (usize, String) {
    let completed = tried(people, |holder| async move {
        sign_off(world, holder).await?.good()?;
        Ok(holder.voucher()?.id.clone())
    })
    .await;
    let why = completed.why();
    let ids: Vec<String> = completed.0.into_iter().filter_map(Result::ok).collect();
    (world.count_in_stage(&world.places.issuer, &ids, "redeemed").await, why)
}

/// One person signs that the examination took place.
///
/// # Errors
///
/// The hospital does not answer; a refusal is an answer.
pub(in crate::demo) async fn sign_off(world: &World, holder: &Holder) -> anyhow::Result<Answer> {
    let voucher = holder.voucher()?;
    let body = json!({ "personal_qr": holder.complete_qr()?, "examination": examination(world, &voucher.doctor) });
    let path = format!("/v1/hospital/visits/{}/completion", voucher.id);
    Ok(world.doctor(&voucher.hospital).post(&path, body).await?)
}

/// What a doctor did in the last twenty minutes.
#[must_use]
pub(in crate::demo) fn examination(world: &World, doctor: &str) -> Value {
    let now: Timestamp = world.clock.now();
    json!({
        "performer": doctor,
        "started_at": now - Millis::minutes(20),
        "ended_at": now - Millis::minutes(2),
        "items": [
            { "code": "blood-pressure", "done": true, "result": "128/82" },
            { "code": "report", "done": true, "result": "no findings" },
        ],
    })
}

/// After the redemption the community retires the QR, the voucher module removes its record, the phone has the receipt.
pub(in crate::demo) async fn retired(world: &mut World) -> anyhow::Result<()> {
    let holder = world.crowd[0].clone();
    let id = holder.voucher()?.id.clone();
    let notes = world
        .patience
        .until(async || {
            let history = world.history(&id).await?;
            Ok((history.note("QrRetired").is_some() && history.note("RecordRemoved").is_some()).then_some(()))
        })
        .await?;
    let history = world.history(&id).await?;
    let way: Vec<_> = history.steps.iter().map(|(name, _)| name.clone()).collect();
    world.story.tell(format!("The way of {}'s voucher {id:.23}:", holder.person.name));
    for (name, step) in &history.steps {
        let word = step.as_str().or_else(|| step.as_object()?.keys().next().map(String::as_str)).unwrap_or_default();
        world.story.tell(format!("   {word:<18} {name}"));
    }
    let beside = [history.note("QrRetired"), history.note("RecordRemoved")];
    let names: Vec<_> = beside.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    world.story.wrote("The QR is retired, and the voucher module's own record is removed", &names);
    let detail = format!("expected two notes after {} steps, seen {}", way.len(), names.len());
    world.story.check("qr-retired", notes.is_some(), detail);

    let wallet = world.wallet(&holder, "", Value::Null).await?.good()?;
    let shown = wallet.list("/vouchers")?.iter().find(|v| v["voucher"] == id.as_str()).cloned();
    let shown = shown.unwrap_or_default();
    let good = shown["stage"] == "redeemed" && shown["receipt"].is_object() && shown["states"]["redeemed"] == true;
    let detail = format!("the phone shows {} and the receipt {}", shown["word"]["en"], shown["receipt"]["index"]);
    world.story.check("phone-has-receipt", good, detail);
    Ok(())
}

/// Whoever tries, and however: a redeemed voucher is not redeemed again.
pub(in crate::demo) async fn second_time(world: &mut World) -> anyhow::Result<()> {
    let holder = world.crowd[0].clone();
    let voucher = holder.voucher()?.clone();
    world.until_stage(&voucher.hospital, &voucher.id, "redeemed").await;
    let again = enter(world, &holder, true).await?;
    super::refused(world, "no-second-use", "the holder comes again with the same voucher", &again, "already-redeemed");

    let body = json!({ "personal_qr": holder.complete_qr()?, "examination": examination(world, &voucher.doctor) });
    let doctor = world.doctor(&voucher.hospital);
    let answer = doctor.post(&format!("/v1/hospital/visits/{}/completion", voucher.id), body).await?;
    super::refused(world, "no-second-completion", "the hospital completes again", &answer, "already-redeemed");

    let office = world.office(&voucher.hospital);
    let claim = office.post(&format!("/v1/hospital/claims/{}/answer", voucher.id), json!({})).await?;
    super::refused(world, "no-second-claim", "the hospital claims again", &claim, "already-redeemed");

    let path = format!("/v1/issuer/claims/{}/settlement", voucher.id);
    let settled = world.issuer().post(&path, json!({})).await?;
    super::refused(world, "no-second-redemption", "the issuer settles again", &settled, "already-redeemed");
    let redeemed = world.history(&voucher.id).await?.steps.iter().filter(|(_, s)| s == "Redeemed").count();
    world.story.check("redeemed-once", redeemed == 1, format!("its history has {redeemed} redemption(s)"));
    Ok(())
}
