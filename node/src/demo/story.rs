//! The order of the story's scenes.

use super::scenes::{
    absence, accounts, booking, card, changes, corrections, expiry, refusals, registration, restart, tables, visit,
    vouchers,
};
use super::world::World;

/// Lives through the whole story. A scene that breaks off is a check that failed; the next one begins all the same.
pub(super) async fn live(world: &mut World) {
    macro_rules! scenes {
        ($($name:literal: $scene:path;)*) => {
            $(if let Err(error) = $scene(world).await {
                world.story.check($name, false, format!("the scene broke off: {error:#}"));
            })*
        };
    }
    scenes! {
        "scene-tables": tables::live;
        "scene-registration": registration::live;
        "scene-vouchers": vouchers::live;
        "scene-card": card::receive_and_book;
        "scene-booking": booking::live;
        "scene-changes": changes::live;
        "scene-refusals": refusals::live;
        "scene-arrival": visit::arrive;
        "scene-card-visit": card::visit;
        "scene-completion": visit::complete;
        "scene-card-completion": card::complete;
        "scene-corrections": corrections::live;
        "scene-absence": absence::live;
        "scene-moved-visit": changes::moved_visit;
        "scene-restart": restart::live;
        "scene-expiry": expiry::live;
        "scene-accounts": accounts::live;
    }
}
