//! People become holders: the phone announces its keys, the desk sees the document, the registrar registers each once.

use serde_json::json;
use uuid::Uuid;

use super::refused;
use crate::demo::client::As;
use crate::demo::desk::Desk;
use crate::demo::holder::{Holder, Part};
use crate::demo::people;
use crate::demo::wait::tried;
use crate::demo::world::World;

/// Registers everybody who has a phone.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("People register", world.clock.local(world.clock.now()));
    let began = std::time::Instant::now();
    let people: Vec<Holder> = world.everybody().cloned().collect();
    let registered = tried(&people, |holder| register(world, holder)).await;
    let why = registered.why();
    registered.or_as_before(&people).into_iter().for_each(|holder| world.replace(holder));
    let enrolled = world.everybody().filter(|h| h.phone.is_enrolled(&h.programme)).count();
    let people = people.len();
    for community in world.places.communities.clone() {
        let n = world.everybody().filter(|h| h.person.community == community).count();
        world.story.tell(format!("{n} people show phone and document at the desk of {community}."));
    }
    let took = began.elapsed().as_secs_f32();
    let detail =
        format!("{enrolled} of {people} phones find their enrolments at the voucher module ({took:.1} s){why}");
    world.story.check("holders-registered", enrolled == people, detail);
    Ok(())
}

/// Checks that nobody and no key is registered twice.
pub(in crate::demo) async fn once(world: &mut World) -> anyhow::Result<()> {
    // The same document at the other community's desk, with a new phone.
    let holder = world.part(Part::Thief)?.clone();
    let elsewhere = world.places.communities.iter().find(|c| **c != holder.person.community).cloned();
    let desk = world.desk(&elsewhere.unwrap_or_default());
    let mut new_phone = holder.clone();
    new_phone.phone = world.spare_phone(&holder.person)?;
    let answer = complete(world, &desk, &new_phone).await?;
    let what = format!("{}'s document again, with another phone, at {}", holder.person.name, desk.institution);
    refused(world, "document-registers-once", &what, &answer, "document-registered");

    // Somebody else's document with a phone that is registered already.
    let mut other = holder.clone();
    other.person = world.stranger()?;
    let desk = world.desk(&other.person.community);
    let answer = complete(world, &desk, &other).await?;
    let what = format!("{}'s phone again, with another document", holder.person.name);
    refused(world, "key-registers-once", &what, &answer, "key-registered");
    Ok(())
}

/// One person: announce, complete, find the enrolments.
async fn register(world: &World, holder: &Holder) -> anyhow::Result<Holder> {
    let desk = world.desk(&holder.person.community);
    complete(world, &desk, holder).await?.good()?;
    let mut holder = holder.clone();
    // The community tells the voucher module by letter: the phone looks until its enrolments are there.
    let wallet = world
        .patience
        .until(async || {
            let answer = world.wallet(&holder, "", json!(null)).await?;
            let known = answer.is_good() && answer.list("/enrolments").is_ok_and(|e| !e.is_empty());
            Ok(known.then_some(answer))
        })
        .await?;
    for enrolment in wallet.iter().flat_map(|w| w.body["enrolments"].as_array().into_iter().flatten()) {
        let id = enrolment["id"].as_str().and_then(|id| id.parse::<Uuid>().ok());
        if let (Some(programme), Some(id)) = (enrolment["programme"].as_str(), id) {
            holder.phone.enrol(programme, id);
        }
    }
    Ok(holder)
}

/// The phone announces its keys to the community, and the desk completes the registration with the document in hand.
async fn complete(world: &World, desk: &Desk, holder: &Holder) -> anyhow::Result<crate::demo::client::Answer> {
    let phone = &holder.phone;
    let keys = json!({ "main_key": phone.register_qr(), "enrolment_keys": phone.enrolment_keys() });
    let path = "/v1/community/registrations";
    let announced = world.client.post(As::Holder(phone), &desk.institution, path, &keys).await?;
    if !announced.is_good() {
        return Ok(announced);
    }
    let thumbprint = phone.thumbprint();
    let mut form = people::person(&holder.person);
    form["qr"] = json!(phone.register_qr());
    form["voucher_module"] = json!(world.places.module);
    Ok(desk.post(&format!("{path}/{thumbprint}/completion"), form).await?)
}
