//! The accounts: figures that add up, a proof that stands alone, logs without personal data, the auditor's verdict.

use anyhow::Context as _;
use ledger::key::NoteVerifier;
use ledger::merkle::leaf_hash;
use ledger::policy::Policy;
use ledger::proof::TlogProof;
use ledger::tile::bundles_of;
use serde_json::json;

use crate::demo::client::As;
use crate::demo::world::World;

/// The issuer's figures add up, and are published.
pub(in crate::demo) async fn statistics(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("The accounts", world.clock.local(world.clock.now()));
    let today = world.clock.now().day_at(world.federation.offset);
    let first = today - chrono::Days::new(364);
    let issuer = world.issuer();
    let figures = issuer.get(&format!("/v1/issuer/statistics?from={first}&until={today}")).await?.good()?;
    let rows = figures.list("/rows")?;
    let count = |measure: &str| -> u64 {
        rows.iter().filter(|r| r["measure"] == measure).filter_map(|r| r["count"].as_u64()).sum()
    };
    let measures = ["generated", "sent", "issued", "booked", "used", "examined", "claimed", "redeemed", "rejected"];
    let told: Vec<String> =
        measures.iter().chain(&["reversed", "returned", "voided"]).map(|m| format!("{m} {}", count(m))).collect();
    world.story.tell(format!("Counted by the issuer since {first}: {}.", told.join(", ")));
    let conservation = figures.body["conservation"].clone();
    let sums = conservation.as_array().context("conservation")?;
    let mut all_hold = !sums.is_empty();
    for row in sums {
        let sum = &row["sums"];
        let number = |field: &str| sum[field].as_i64().unwrap_or_default();
        let stock: i64 = sum["stock_by_heads"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_i64()).sum();
        let [generated, voided, redeemed] = ["generated", "voided", "redeemed"].map(number);
        all_hold &= row["holds"] == true && generated == stock + voided + redeemed && generated > 0;
        let programme = row["programme"].as_str().unwrap_or_default();
        world.story.tell(format!(
            "   {programme:<24} {generated} generated = {stock} in stock + {voided} voided + {redeemed} redeemed"
        ));
    }
    world.story.check("conservation", all_hold, format!("what was generated is all accounted for: {all_hold}"));

    let body = json!({ "from": first, "until": today });
    let published = issuer.post("/v1/issuer/statistics/publications", body).await?.good()?;
    world.story.wrote("The figures are published, signed by the log", &published.records());
    Ok(())
}

/// The redemption of a voucher, proved with the log's public key alone, from what the auditor's node holds.
pub(in crate::demo) async fn proof(world: &mut World) -> anyhow::Result<()> {
    let voucher = world.memory.redeemed.clone().context("a redeemed voucher")?;
    let (name, _) = world.history(&voucher).await?.step("Redeemed").cloned().context("its redemption")?;
    let auditor = world.desk(&world.places.auditor);
    let place = format!("{}.{}", name.institution, name.index);
    let record = auditor.get(&format!("/v1/records/{place}")).await?.good()?;
    let bytes = ledger::note::from_base64(record.text("/bytes")?).context("the record's bytes")?;
    let file = auditor.get(&format!("/v1/records/{place}/proof")).await?.good()?;
    let log = world.federation.institutions().find(|i| i.id == name.institution).context("the issuer")?;
    let key: NoteVerifier = log.log_vkey.parse()?;
    let proof = TlogProof::parse(&file.raw)?;
    let origin = log.log_origin.clone();
    let good = proof.verify(&leaf_hash(&bytes), &origin, std::slice::from_ref(&key), &Policy::default());
    let mut forged = bytes.clone();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    let bad = proof.verify(&leaf_hash(&forged), &origin, &[key], &Policy::default());
    let size = good.as_ref().map(|c| c.size).unwrap_or_default();
    let detail =
        format!("{name} is entry {} of {size} under the signed head; with one bit changed it is not", name.index);
    world.story.check("redemption-proved-offline", good.is_ok() && bad.is_err(), detail);
    Ok(())
}

/// Reads every entry of every log as anyone can, and looks for names, documents and telephone numbers.
pub(in crate::demo) async fn privacy(world: &mut World) -> anyhow::Result<()> {
    let mut needles: Vec<(u32, Vec<u8>)> = Vec::new();
    for person in world.sample.residents.iter().filter(|r| world.memory.taken.contains(&r.line)) {
        needles.push((person.line, person.document.as_str().as_bytes().to_vec()));
        // A name of two characters could stand in bytes by chance; the document and the telephone cannot.
        needles.extend((person.name.chars().count() > 2).then(|| (person.line, person.name.clone().into_bytes())));
        needles.extend(person.phone.iter().map(|phone| (person.line, phone.clone().into_bytes())));
    }
    let sizes = world.clock.quiet(&world.client).await?;
    let (mut read, mut found) = (0_usize, Vec::new());
    for (id, size) in &sizes {
        for bundle in bundles_of(*size) {
            let tile = world.client.get(As::Anyone, id, &format!("/log/{bundle}")).await?.good()?;
            read += tile.raw.len();
            let holds = |needle: &[u8]| tile.raw.windows(needle.len()).any(|window| window == needle);
            found.extend(needles.iter().filter(|(_, n)| holds(n)).map(|(line, _)| format!("{id}: line {line}")));
        }
    }
    let detail = format!(
        "{} names, documents and telephone numbers looked for in {read} bytes of six logs; found {}",
        needles.len(),
        if found.is_empty() { "none".to_owned() } else { found.join(", ") }
    );
    world.story.check("no-personal-data-in-logs", found.is_empty() && read > 0, detail);
    Ok(())
}

/// The auditor's node has judged every record and counted the published figures again.
pub(in crate::demo) async fn audit(world: &mut World) -> anyhow::Result<()> {
    let auditor = world.desk(&world.places.auditor);
    let report = world
        .patience
        .until(async || {
            let report = auditor.get("/v1/audit/report").await?.good()?;
            let tables = report.list("/tables")?;
            let counted = !tables.is_empty() && tables.iter().all(|t| t["counted_at"].is_string());
            Ok(counted.then_some(report))
        })
        .await?;
    let report = match report {
        Some(report) => report,
        None => auditor.get("/v1/audit/report").await?.good()?,
    };
    world.story.tell(format!("The auditor ({}) says:", world.places.auditor));
    let logs = report.list("/logs")?;
    for log in logs {
        let text = |field: &str| log[field].as_str().unwrap_or_default();
        let (whose, verdict, records) = (text("institution"), text("verdict"), &log["records"]);
        world
            .story
            .tell(format!("   log of {whose:<18} {verdict:<12} {records:>4} records, findings {}", log["findings"]));
    }
    let all_good = logs.len() == 6 && logs.iter().all(|l| l["verdict"] == "good" && l["forked_at"].is_null());
    world.story.check(
        "auditor-logs",
        all_good,
        format!("{} logs judged record by record, all good: {all_good}", logs.len()),
    );
    let programmes = report.list("/programmes")?;
    let held = programmes.iter().filter(|p| p["holds"] == true).count();
    let detail = format!("{held} of {} programmes are conserved by the auditor's own count", programmes.len());
    world.story.check("auditor-conservation", held == programmes.len() && held > 0, detail);
    let tables = report.list("/tables")?;
    let same = tables.iter().filter(|t| t["counted_at"].is_string() && t["difference"].is_null()).count();
    let detail = format!("{same} of {} published tables are what the logs say, counted again", tables.len());
    world.story.check("auditor-statistics", same == tables.len() && same > 0, detail);

    let found = auditor.get("/v1/audit/findings?limit=1000").await?.good()?;
    let found = found.list("/items")?.clone();
    for finding in &found {
        let text = |field: &str| finding[field].as_str().unwrap_or_default();
        world.story.tell(format!("   found: {} at {}, {:.40}", text("kind"), text("institution"), text("voucher")));
    }
    // The denied use of this story must be among them, and nothing that an honest federation does not do.
    let denied = found.iter().filter(|f| f["kind"] == "use-disputed").count();
    let detail = format!("{} finding(s), of them {denied} about a use that its holder denies", found.len());
    world.story.check("auditor-findings", denied > 0 && found.len() == denied, detail);
    world.story.check("auditor-verdict", report.body["good"] == true, "the verdict on everything together is good");
    Ok(())
}
