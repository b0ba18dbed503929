//! A node is killed in the middle of its work and starts again: nothing that it answered is lost.

use crate::demo::world::World;

/// Kills a hospital's node without warning.
pub(in crate::demo) async fn live(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("A node is killed", world.clock.local(world.clock.now()));
    let victim = world.places.hospitals[0].clone();
    let before = world.clock.quiet(&world.client).await?;
    let ahead = world.clock.ahead();
    world.federation.kill_one(&victim).await?;
    world.federation.start_one(&victim, ahead).await?;
    world.federation.ready(&world.client, &victim).await?;
    let after = world.clock.quiet(&world.client).await?;
    let (had, has) = (before.get(&victim).copied(), after.get(&victim).copied());
    world.story.tell(format!("{victim} is killed (kill -9) and started again."));
    let detail = format!("its log had {had:?} records and has {has:?}; every other node agrees");
    world.story.check("killed-node-keeps-all", has.is_some() && has >= had, detail);
    Ok(())
}
