//! A node is killed in the middle of its work and starts again: nothing that it answered is lost.

use std::collections::BTreeMap;

use crate::demo::world::World;

/// Kills a hospital's node without warning.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("A node is killed", world.clock.local(world.clock.now()));
    let victim = world.places.hospitals[0].clone();
    let before = world.clock.quiet(&world.client).await?;
    world.story.tell(format!("{victim} is killed (kill -9) and started again."));
    let after = kill_and_start(world, &victim).await;
    let size = |sizes: &BTreeMap<String, u64>| sizes.get(&victim).copied().unwrap_or_default();
    let (had, has) = (size(&before), after.as_ref().map(size).unwrap_or_default());
    let detail = match &after {
        Ok(_) => format!("its log had {had} records and has {has}; every other node agrees"),
        Err(error) => format!("its log had {had} records; {error:#}"),
    };
    world.story.check("killed-node-keeps-all", has > 0 && has >= had, detail);
    Ok(())
}

/// Ends a node, starts it again and waits until everybody holds what everybody has. Returns the sizes of the logs.
async fn kill_and_start(world: &mut World, victim: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let ahead = world.clock.ahead();
    world.federation.kill_one(victim).await?;
    world.federation.start_one(victim, ahead).await?;
    world.federation.ready(&world.client, victim).await?;
    world.clock.quiet(&world.client).await
}
