//! The desks: what a clerk of a community and of a hospital does in a browser, with a queue in front.
//!
//! | file | what |
//! | --- | --- |
//! | `fields.rs` | what a desk's form sends, field by field |
//! | `scan.rs` | the one field into which every code is read |
//! | `shown.rs` | times, titles and reasons as a desk reads them, and how old the node's knowledge is |
//! | `community.rs` | who is there, what they may have |
//! | `issue.rs` | issuing, the voucher's sheet, booking for somebody without a phone |
//! | `carriers.rs` | registration, cards, phones, blocks, erasure |
//! | `stock.rs` | stock and returns |
//! | `hospital.rs` | today, arrivals, who did not come |
//! | `visits.rs` | who is in: the examination, its end, and what became of the claim |
//! | `hours.rs` | weekly hours and days without them |

pub mod carriers;
pub mod community;
pub mod fields;
pub mod hospital;
pub mod hours;
pub mod issue;
pub mod scan;
pub mod shown;
pub mod stock;
pub mod visits;

/// Registers the desks' pages.
pub fn configure(config: &mut actix_web::web::ServiceConfig) {
    community::configure(config);
    carriers::configure(config);
    issue::configure(config);
    stock::configure(config);
    hospital::configure(config);
    visits::configure(config);
    hours::configure(config);
}
