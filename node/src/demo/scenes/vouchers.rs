//! Vouchers come to their holders: generated, sent, transcoded, issued at the desk.

use std::collections::BTreeMap;

use actors::token::{PublicKey, vq1};
use anyhow::Context as _;
use serde_json::{Value, json};

use super::refused;
use crate::demo::client::As;
use crate::demo::holder::{Holder, Part, Voucher};
use crate::demo::people;
use crate::demo::wait::tried;
use crate::demo::world::World;
use crate::qr;

/// Generates what is needed, sends it, and issues one voucher to each.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Vouchers are generated, sent and issued", world.clock.local(world.clock.now()));
    let needed = needed(world);
    let issuer = world.issuer();
    twice(world).await?;
    for ((programme, community), count) in &needed {
        let body = json!({ "programme": programme, "count": count });
        let generated = issuer.post("/v1/issuer/vouchers", body).await?.good()?;
        let body = json!({ "community": community, "programme": programme, "count": count });
        let sent = issuer.post("/v1/issuer/dispatches", body).await?.good()?;
        world.story.wrote(format!("{count} vouchers of {programme} are generated"), &generated.records());
        world.story.wrote(format!("and sent to {community}"), &sent.records());
    }
    for community in world.places.communities.clone() {
        let due: u64 = needed.iter().filter(|((_, c), _)| *c == community).map(|(_, n)| n).sum();
        let encoded = world
            .patience
            .until(async || {
                let n = in_stock(world, &community).await?;
                Ok((n >= due).then_some(n))
            })
            .await?;
        let has = match encoded {
            Some(n) => n,
            None => in_stock(world, &community).await?,
        };
        let detail = format!("{community} made the QR of {has} vouchers by itself, {due} were sent");
        world.story.check("transcoded", has >= due, detail);
    }

    let people: Vec<Holder> = world.everybody().cloned().collect();
    let all = people.len();
    let issued = tried(&people, |holder| receive(world, holder)).await;
    let why = issued.why();
    issued.or_as_before(&people).into_iter().for_each(|holder| world.replace(holder));
    // One who may have several takes two.
    if let Ok(two) = receive(world, world.part(Part::Doubler)?).await {
        world.replace(two);
    }
    let people: Vec<Holder> = world.everybody().cloned().collect();
    let have = people.iter().filter(|h| !h.vouchers.is_empty()).count();
    let detail = format!("{have} of {all} people left the desk with a voucher on the phone{why}");
    world.story.check("vouchers-issued", have == all, detail);
    let given = tried(&people, |holder| give_information(world, holder)).await;
    let (good, why) = (given.good(), given.why());
    let detail = format!("{good} of {all} phones gave contact, document and vouchers, and got back their number{why}");
    world.story.check("information-given", good == all, detail);

    let holder = world.part(Part::Canceller)?.clone();
    let qr = holder.phone.receive_qr(&holder.programme, &holder.person.community);
    let answer = world.desk(&holder.person.community).post("/v1/community/desk/issue", json!({ "qr": qr })).await?;
    let what = format!("{} asks for a second voucher of {}", holder.person.name, holder.programme);
    refused(world, "allowance-kept", &what, &answer, "allowance-used");
    Ok(())
}

/// A request whose answer was lost is sent again: nothing is generated twice.
async fn twice(world: &mut World) -> anyhow::Result<()> {
    let programme = world.sample.programmes.first().map(|p| p.programme.clone()).unwrap_or_default();
    let body = json!({ "programme": programme, "count": 2 });
    let [first, again] = world.issuer().post_twice("/v1/issuer/vouchers", body).await?;
    let (first, again) = (first.good()?, again.good()?);
    let same = !first.records().is_empty() && first.records() == again.records();
    world.story.wrote(
        format!("2 vouchers of {programme} are generated; the answer is lost, and asked for again"),
        &first.records(),
    );
    let detail = format!("the same records again: {same}, said to be repeated: {}", again.body["repeated"]);
    world.story.check("nothing-done-twice", same && again.body["repeated"] == true, detail);
    Ok(())
}

/// Vouchers for each programme and community: one for each holder, and one more for who may have several.
fn needed(world: &World) -> BTreeMap<(String, String), u64> {
    let mut needed = BTreeMap::new();
    for holder in world.everybody() {
        *needed.entry((holder.programme.clone(), holder.person.community.clone())).or_insert(0) += 1;
    }
    // For the doubler and for who has a card, and some to stay on the shelf.
    for count in needed.values_mut() {
        *count += 2;
    }
    needed
}

async fn in_stock(world: &World, community: &str) -> anyhow::Result<u64> {
    let answer = world.desk(community).get("/v1/community/stock").await?.good()?;
    let encoded = |row: &Value| row["encoded"].as_u64().unwrap_or_default();
    Ok(answer.list("/items")?.iter().map(encoded).sum())
}

/// The desk looks who is there, and issues; the phone keeps the voucher QR.
async fn receive(world: &World, holder: &Holder) -> anyhow::Result<Holder> {
    let desk = world.desk(&holder.person.community);
    let seen = desk.post("/v1/community/desk/identify", json!({ "qr": holder.phone.identify_qr() })).await?.good()?;
    let programmes = seen.list("/programmes")?;
    let entitled = programmes.iter().any(|p| p["programme"] == holder.programme.as_str() && p["may_issue"] == true);
    anyhow::ensure!(entitled, "{} may not be issued {}: {}", holder.person.name, holder.programme, seen.body);
    let qr = holder.phone.receive_qr(&holder.programme, &holder.person.community);
    let issued = desk.post("/v1/community/desk/issue", json!({ "qr": qr })).await?.good()?;
    let mut holder = holder.clone();
    holder.vouchers.push(Voucher::new(issued.text("/result/voucher")?, issued.text("/result/token")?));
    Ok(holder)
}

/// Unit V1: the phone gives contact, document and voucher QRs to the voucher module, which says which vouchers they are.
async fn give_information(world: &World, holder: &Holder) -> anyhow::Result<()> {
    for voucher in &holder.vouchers {
        world.until_stage(&world.places.module, &voucher.id, "issued").await;
    }
    let person = people::person(&holder.person);
    let body = json!({
        "phone": person["phone"],
        "document_type": person["document_type"],
        "document_number": person["document_number"],
        "tokens": holder.vouchers.iter().map(|v| &v.token).collect::<Vec<_>>(),
    });
    let who = As::Holder(&holder.phone);
    let given = world.client.put(who, &world.places.module, "/v1/wallet/profile", &body).await?.good()?;
    let mut named: Vec<&str> = given.list("/result/vouchers")?.iter().filter_map(Value::as_str).collect();
    let mut own: Vec<&str> = holder.vouchers.iter().map(|v| v.id.as_str()).collect();
    named.sort_unstable();
    own.sort_unstable();
    let same = named == own && given.body["result"]["count"] == own.len();
    let (gave, has) = (own.join(", "), named.join(", "));
    anyhow::ensure!(same && !own.is_empty(), "{} gave {gave}; the voucher module has {has}", holder.person.name);
    Ok(())
}

/// The voucher QR proves itself without a network, and its picture can be read.
pub(in crate::demo) async fn pictures(world: &mut World) -> anyhow::Result<()> {
    let holder = world.part(Part::Canceller)?.clone();
    let voucher = holder.voucher()?.clone();
    let members = world.client.get(As::Anyone, &world.places.issuer, "/v1/members").await?.good()?;
    let key = members.list("/items")?.iter().find(|m| m["institution"] == holder.person.community.as_str());
    let key = key.and_then(|m| m["node_key"].as_str()).context("the community's node key")?;
    let key: PublicKey = format!("ed25519:{key}").parse()?;
    let token = vq1::parse(&voucher.token)?;
    let mut forged = token.claims.clone();
    forged.expires += 86_400;
    let own_key = ed25519_dalek::SigningKey::from_bytes(&rand::random());
    let forged = vq1::parse(&vq1::sign(&forged, &own_key)?)?;
    let detail = format!("the QR of {:.40} verifies offline, one that somebody made at home does not", voucher.id);
    world.story.check("voucher-qr-offline", token.verify(&key) && !forged.verify(&key), detail);

    let path = format!("/v1/vouchers/{}/qr.png", voucher.id);
    let picture = world.client.get(As::Anyone, &holder.person.community, &path).await?.good()?;
    let read = qr::decode(&picture.raw).unwrap_or_default();
    let detail = format!("a camera reads {} code(s) in the picture, {} characters", read.len(), voucher.token.len());
    world.story.check("voucher-qr-picture", read == [voucher.token.clone()], detail);
    Ok(())
}
