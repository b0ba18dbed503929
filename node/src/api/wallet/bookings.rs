//! What a holder does with a voucher: check, book, cancel, move, send its QR, deny a use (units V1 to V4).

use std::collections::BTreeSet;

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get, post, put};
use actors::voucher::command::{Checked, Profile};
use actors::voucher::{Answer, Command, booking};
use domain::booking::Slot;
use domain::ids::{InstitutionId, ShortName, VoucherId};
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::slots::{self, Offer, Wanted, slot_of};
use super::{by_holder, holder_reads, voucher_id};
use crate::api::answer::{self, Get, Nothing, Page, Post, Receipt};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

/// How far ahead slots are offered unless the caller asks otherwise.
const AHEAD: Millis = Millis::days(14);

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(take_information)
        .service(check)
        .service(offered)
        .service(book)
        .service(cancel)
        .service(move_to)
        .service(present)
        .service(dispute)
        .service(erase);
}

/// What the terminal gives. Personal data.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Information {
    /// Telephone number.
    phone: Option<String>,
    /// Kind of document, such as `resident-id`.
    #[schema(value_type = String)]
    document_type: ShortName,
    /// Its number.
    document_number: String,
    /// Texts of the voucher QRs on the terminal, at most 256.
    #[serde(default)]
    tokens: Vec<String>,
}

/// The vouchers that the terminal's QRs stand for.
#[derive(Debug, Serialize, ToSchema)]
struct Taken {
    /// How many.
    count: usize,
    /// Which ones.
    #[schema(value_type = Vec<String>)]
    vouchers: Vec<VoucherId>,
}

/// Give contact, document and voucher QRs (V1). Each QR must be genuine, current and the holder's.
///
/// `201` with number and ids of the vouchers; `404` for somebody else's voucher; `409` `qr-not-genuine`, `document-invalid`.
#[utoipa::path(tag = "wallet", request_body = Information, responses(
    (status = 201, body = Receipt<Taken>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[put("/v1/wallet/profile")]
async fn take_information(node: Data<Node>, post: Post<Information>) -> Result<HttpResponse, Problem> {
    let make = async |_: &Node, holder, body: &Information| {
        let profile = Box::new(Profile {
            phone: body.phone.clone(),
            document_type: body.document_type.clone(),
            document_number: body.document_number.clone(),
            tokens: body.tokens.clone(),
        });
        Ok(Command::TakeInformation { holder, profile })
    };
    by_holder(&node, post, make, |answer| match answer {
        Answer::Taken(vouchers) => Some(Taken { count: vouchers.len(), vouchers }),
        _ => None,
    })
    .await
}

/// Which voucher.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    voucher: VoucherId,
}

/// The four states.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct FourStates {
    /// `booked`, `examined`, `redeemed`, `valid`.
    states: std::collections::BTreeMap<String, bool>,
    /// `good` or `refused`.
    outcome: String,
}

/// Check the four states of a voucher (V2). Written down once a minute.
///
/// `201` with the states; `404` for somebody else's voucher.
#[utoipa::path(tag = "wallet", request_body = Which, responses(
    (status = 201, body = Receipt<FourStates>), (status = 404, body = ProblemBody),
))]
#[post("/v1/wallet/checks")]
async fn check(node: Data<Node>, post: Post<Which>) -> Result<HttpResponse, Problem> {
    let make = async |_: &Node, holder, body: &Which| Ok(Command::Check { holder, voucher: body.voucher });
    by_holder(&node, post, make, |answer| match answer {
        Answer::Checked(checked) => Some::<Checked>(checked),
        _ => None,
    })
    .await
}

/// Which appointments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// For this voucher: its programme's departments, within its validity.
    #[param(value_type = String)]
    voucher: VoucherId,
    /// At this hospital alone.
    #[param(value_type = Option<String>)]
    hospital: Option<InstitutionId>,
    /// In this department alone.
    #[param(value_type = Option<String>)]
    department: Option<ShortName>,
    /// Not before this time.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before this time; 14 days ahead unless it is given.
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Most items, 1 to 1,000.
    limit: Option<usize>,
}

/// Appointments that are free.
#[derive(Debug, Serialize, ToSchema)]
struct Offers {
    /// In order of time.
    items: Vec<Offer>,
    /// There is no next page: narrow the times instead.
    next: Option<String>,
    /// Hospitals that did not answer.
    #[schema(value_type = Vec<String>)]
    silent: Vec<InstitutionId>,
}

/// Appointments that can be booked with a voucher, asked of the hospitals now.
///
/// `200`; `404` for somebody else's voucher; `409` `department-not-allowed`.
#[utoipa::path(tag = "wallet", params(Wish), responses(
    (status = 200, body = Offers), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[get("/v1/wallet/slots")]
async fn offered(node: Data<Node>, get: Get, wish: Query<Wish>) -> Result<HttpResponse, Problem> {
    let listed = async {
        let holder = holder_reads(&node, &get).await?;
        let wish = wish.into_inner();
        let limit = Page { limit: wish.limit, cursor: None }.limit()?;
        let now = node.writer.now();
        let (state, departments) = answer::read(&node, |work| {
            let (_, _, state) = booking::of_holder(work, holder, wish.voucher).map_err(Problem::from)?;
            let programme = work.programme(&state.programme).ok_or(Reason::ProgrammeUnknown)?;
            let policy = programme.in_force(now).ok_or(Reason::ProgrammeUnknown)?;
            Ok::<_, Problem>((state, policy.departments.iter().cloned().collect::<BTreeSet<ShortName>>()))
        })
        .await?;
        let departments = match wish.department {
            Some(one) if departments.contains(&one) => BTreeSet::from([one]),
            Some(_) => return Err(Reason::DepartmentNotAllowed.into()),
            None => departments,
        };
        let from = wish.from.unwrap_or(now).max(now + booking::NOTICE).max(state.valid_from);
        let until = wish.until.unwrap_or(from + AHEAD).min(state.valid_until);
        let (items, silent) = if from < until {
            slots::offers(&node, wish.hospital, &departments, from, until, limit).await
        } else {
            (Vec::new(), Vec::new())
        };
        let items = items.into_iter().filter(|o| o.end <= state.valid_until).collect();
        Ok(HttpResponse::Ok().json(Offers { items, next: None, silent }))
    };
    listed.await.map_err(|problem: Problem| problem.language(get.language))
}

/// An appointment to book.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Booking {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    voucher: VoucherId,
    /// The hospital.
    #[schema(value_type = String)]
    hospital: InstitutionId,
    /// The department.
    #[schema(value_type = String)]
    department: ShortName,
    /// The doctor.
    #[schema(value_type = String)]
    doctor: ShortName,
    /// First moment.
    #[schema(value_type = String)]
    start: Timestamp,
}

/// What was booked.
#[derive(Debug, Serialize, ToSchema)]
struct Booked {
    /// The whole appointment.
    #[schema(value_type = Object)]
    slot: Slot,
}

fn booked(answer: Answer) -> Option<Booked> {
    match answer {
        Answer::Booked(details) => Some(Booked { slot: details.slot }),
        _ => None,
    }
}

/// Book an appointment (V3), only when not yet booked, not yet examined, within validity and not redeemed. The hospital
/// answers within a day; the wallet shows what it says.
///
/// `201`; `409` `already-booked`, `already-used`, `already-redeemed`, `voided`, `expired`, `not-yet-valid`, `open-booking`,
/// `department-not-allowed`, `slot-unknown`, `slot-past`, `enrolment-blocked`, `void-requested`; `404` for somebody else's
/// voucher; `503` if the hospital does not answer.
#[utoipa::path(tag = "wallet", request_body = Booking, responses(
    (status = 201, body = Receipt<Booked>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
#[post("/v1/wallet/bookings")]
async fn book(node: Data<Node>, post: Post<Booking>) -> Result<HttpResponse, Problem> {
    let make = async |node: &Node, holder, body: &Booking| {
        let Booking { voucher, hospital, department, doctor, start } = body;
        let voucher = *voucher;
        // A voucher that cannot be booked is refused before a hospital is asked.
        answer::read(node, |work| booking::can_book(work, holder, voucher)).await?;
        let wanted =
            Wanted { hospital: *hospital, department: department.clone(), doctor: doctor.clone(), start: *start };
        let slot = slot_of(node, &wanted).await?;
        Ok(Command::Book { holder, voucher, slot, salt: rand::random() })
    };
    by_holder(&node, post, make, booked).await
}

/// The holder's own word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Word {
    /// Text of the VP1 with step *cancel*.
    qr: String,
}

/// Cancel a booking. The hospital lets it go by itself.
///
/// `201`; `409` `not-booked`, `presentation-…`; `404` for somebody else's voucher.
#[utoipa::path(tag = "wallet", params(("voucher" = String, Path)), request_body = Word, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/wallet/bookings/{voucher}/cancellation")]
async fn cancel(node: Data<Node>, voucher: Path<String>, post: Post<Word>) -> Result<HttpResponse, Problem> {
    let make = async |_: &Node, holder, body: &Word| {
        Ok(Command::Cancel { holder, voucher: voucher_id(&voucher)?, qr: body.qr.clone() })
    };
    by_holder(&node, post, make, |_| Some(Nothing {})).await
}

/// An appointment to which a booking is moved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Move {
    /// Text of the VP1 with step *cancel*.
    qr: String,
    /// The hospital.
    #[schema(value_type = String)]
    hospital: InstitutionId,
    /// The department.
    #[schema(value_type = String)]
    department: ShortName,
    /// The doctor.
    #[schema(value_type = String)]
    doctor: ShortName,
    /// First moment.
    #[schema(value_type = String)]
    start: Timestamp,
}

/// Move a booking: the old one is let go, then the new one is booked by itself.
///
/// `201`; `409` `not-booked`, `presentation-…`, and what may be wrong with the new appointment.
#[utoipa::path(tag = "wallet", params(("voucher" = String, Path)), request_body = Move, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/wallet/bookings/{voucher}/move")]
async fn move_to(node: Data<Node>, voucher: Path<String>, post: Post<Move>) -> Result<HttpResponse, Problem> {
    let make = async |node: &Node, holder, body: &Move| {
        let Move { qr, hospital, department, doctor, start } = body;
        let voucher = voucher_id(&voucher)?;
        answer::read(node, |work| booking::of_holder(work, holder, voucher).map(drop)).await?;
        let wanted =
            Wanted { hospital: *hospital, department: department.clone(), doctor: doctor.clone(), start: *start };
        let slot = slot_of(node, &wanted).await?;
        Ok(Command::Move { holder, voucher, qr: qr.clone(), slot, salt: rand::random() })
    };
    by_holder(&node, post, make, |_| Some(Nothing {})).await
}

/// Send a voucher's QR to the hospital where it is booked (V4).
///
/// `201`; `409` `not-booked`, `already-used`, `too-late`; `404` for somebody else's voucher.
#[utoipa::path(tag = "wallet", request_body = Which, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/wallet/uses")]
async fn present(node: Data<Node>, post: Post<Which>) -> Result<HttpResponse, Problem> {
    let make = async |_: &Node, holder, body: &Which| Ok(Command::Use { holder, voucher: body.voucher });
    by_holder(&node, post, make, |_| Some(Nothing {})).await
}

/// A use that the holder denies.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Denial {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    voucher: VoucherId,
    /// Text of the VP1 with step *cancel*.
    qr: String,
}

/// Deny a use. The auditor finds it, the issuer looks at the claim, the hospital must answer.
///
/// `201`; `409` `wrong-state` if it was never used, `presentation-…`.
#[utoipa::path(tag = "wallet", request_body = Denial, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/wallet/disputes")]
async fn dispute(node: Data<Node>, post: Post<Denial>) -> Result<HttpResponse, Problem> {
    let make = async |_: &Node, holder, body: &Denial| {
        Ok(Command::Dispute { holder, voucher: body.voucher, qr: body.qr.clone() })
    };
    by_holder(&node, post, make, |_| Some(Nothing {})).await
}

/// What shall be erased.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Erasure {
    /// Also what the home community and the registrar keep; the holder is blocked for good then. If absent, what this node
    /// keeps.
    #[serde(default)]
    everywhere: bool,
}

/// Erase everything that this node keeps about the holder. Vouchers that are not booked go back to the issuer.
///
/// `201`; `409` `open-booking` while an appointment stands or a visit goes on.
#[utoipa::path(tag = "wallet", request_body = Erasure, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/wallet/erasure")]
async fn erase(node: Data<Node>, post: Post<Erasure>) -> Result<HttpResponse, Problem> {
    let make = async |_: &Node, holder, Erasure { everywhere }: &Erasure| {
        Ok(Command::Erase { holder, everywhere: *everywhere })
    };
    by_holder(&node, post, make, |_| Some(Nothing {})).await
}
