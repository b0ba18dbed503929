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
        "scene-registering-once": registration::once;
        "scene-vouchers": vouchers::live;
        "scene-pictures": vouchers::pictures;
        "scene-card": card::receive_and_book;
        "scene-booking": booking::live;
        "scene-booking-twice": booking::twice;
        "scene-cancelling": changes::cancel;
        "scene-moving": changes::move_away;
        "scene-voiding": changes::void;
        "scene-refusals": refusals::live;
        "scene-replay": refusals::replayed;
        "scene-arrival": visit::arrive;
        "scene-card-visit": card::visit;
        "scene-without-the-holder": visit::without_the_holder;
        "scene-completion": visit::complete;
        "scene-retirement": visit::retired;
        "scene-second-time": visit::second_time;
        "scene-card-completion": card::complete;
        "scene-rejection": corrections::rejected;
        "scene-reversal": corrections::reversed;
        "scene-absence": absence::live;
        "scene-moved-visit": changes::moved_visit;
        "scene-restart": restart::live;
        "scene-expiry": expiry::live;
        "scene-statistics": accounts::statistics;
        "scene-proof": accounts::proof;
        "scene-privacy": accounts::privacy;
        "scene-audit": accounts::audit;
    }
}
