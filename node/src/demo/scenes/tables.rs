//! Programmes and weekly hours, unchanged from the tables that the offices sent.

use serde_json::json;

use crate::demo::client::As;
use crate::demo::people;
use crate::demo::wait::each;
use crate::demo::world::World;
use crate::import;

/// Publishes the programmes, sets the weekly hours, and checks that everyone reads what the tables say.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("Programmes and consulting hours", world.clock.local(world.clock.now()));
    let issuer = world.issuer();
    let known = issuer.get("/v1/programmes").await?.good()?;
    let known: Vec<String> =
        known.list("/items")?.iter().filter_map(|p| Some(p["policy"]["programme"].as_str()?.to_owned())).collect();
    for programme in world.sample.programmes.iter().filter(|p| !known.contains(&p.programme)) {
        let answer = issuer.post("/v1/issuer/programmes", people::policy(programme)).await?.good()?;
        let title = &programme.title_en;
        world.story.wrote(format!("The health authority publishes {title}."), &answer.records());
    }
    for hospital in &world.places.hospitals {
        let hours: Vec<_> = world.sample.hours.iter().filter(|h| h.hospital == *hospital).collect();
        let rows: Vec<_> = hours
            .iter()
            .map(|h| {
                json!({
                    "department": h.department,
                    "department_name": h.department_name,
                    "doctor": h.doctor,
                    "doctor_name": h.doctor_name,
                    "weekday": h.weekday.to_string(),
                    "start": h.start.format("%H:%M").to_string(),
                    "end": h.end.format("%H:%M").to_string(),
                    "slot_minutes": h.slot_minutes,
                    "capacity": h.capacity,
                })
            })
            .collect();
        let count = rows.len();
        world.office(hospital).post("/v1/hospital/schedules", json!({ "hours": rows })).await?.good()?;
        world.story.tell(format!("{hospital} opens {count} weekly consulting hours for booking."));
    }

    world.clock.quiet(&world.client).await?;
    let nodes: Vec<String> = world.client.institutions().map(str::to_owned).collect();
    let counts = each(&nodes, |id| async {
        let programmes = world.client.get(As::Anyone, id, "/v1/programmes").await?.good()?;
        Ok(programmes.list("/items")?.len())
    })
    .await?;
    let all = world.sample.programmes.len();
    let known = counts.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let detail = format!("{all} programmes in the table, the six nodes know {known}");
    world.story.check("programmes-everywhere", counts.iter().all(|n| *n == all), detail);

    for hospital in world.places.hospitals.clone() {
        let day = world.days.morning.day_at(world.federation.offset);
        let hours: Vec<_> = world.sample.hours.iter().filter(|h| h.hospital == hospital).cloned().collect();
        let expected = import::slots(&hours, day, day, world.federation.offset)?.len();
        let offered = world.slots(&hospital, None, world.days.morning).await?.len();
        let detail = format!("{hospital} offers {offered} appointments on {day}, the table makes {expected}");
        world.story.check("slots-as-imported", offered == expected, detail);
    }
    Ok(())
}
