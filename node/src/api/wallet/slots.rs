//! Appointments: what hospitals offer for a voucher, and the one that a holder means by doctor and begin.

use std::collections::BTreeSet;

use actors::hospital::schedule::{self, WeeklyHours};
use domain::booking::Slot;
use domain::ids::{InstitutionId, ShortName};
use domain::member::Role;
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem::Problem;
use crate::node::Node;
use crate::peers;
use crate::peers::client::CallError;

/// Most hospitals that are asked for one list.
const MAX_HOSPITALS: usize = 64;

/// Most pages of a hospital's weekly hours.
const MAX_PAGES: usize = 8;

/// An appointment by its place and begin.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The hospital.
    #[schema(value_type = String)]
    pub hospital: InstitutionId,
    /// The department.
    #[schema(value_type = String)]
    pub department: ShortName,
    /// The doctor.
    #[schema(value_type = String)]
    pub doctor: ShortName,
    /// First moment.
    #[schema(value_type = String)]
    pub start: Timestamp,
}

/// A free appointment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// The hospital.
    #[schema(value_type = String)]
    pub hospital: InstitutionId,
    /// The department.
    #[schema(value_type = String)]
    pub department: ShortName,
    /// The department as people read it; empty where the hospital's node does not say.
    #[serde(default)]
    pub department_name: String,
    /// The doctor.
    #[schema(value_type = String)]
    pub doctor: ShortName,
    /// The doctor as people read it.
    #[serde(default)]
    pub doctor_name: String,
    /// First moment.
    #[schema(value_type = String)]
    pub start: Timestamp,
    /// First moment after it.
    #[schema(value_type = String)]
    pub end: Timestamp,
    /// How many more bookings it takes.
    pub free: u16,
}

#[derive(Deserialize)]
struct Paged<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// What hospitals offer between two times in some departments, in order of time; and which hospitals did not answer.
pub async fn offers(
    node: &Node,
    hospital: Option<InstitutionId>,
    departments: &BTreeSet<ShortName>,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
) -> (Vec<Offer>, Vec<InstitutionId>) {
    let registry = node.writer.registry();
    let hospitals: Vec<InstitutionId> = registry
        .playing(Role::Hospital)
        .map(|m| m.entry.institution)
        .filter(|id| hospital.is_none_or(|h| h == *id))
        .take(MAX_HOSPITALS)
        .collect();
    let calls = hospitals.iter().flat_map(|id| departments.iter().map(move |department| (*id, department)));
    let asked = calls.map(|(id, department)| async move {
        let Some(peer) = peers::peer(node, id) else { return (id, None) };
        let path = format!("/v1/hospital/slots?limit={limit}&department={department}&from={from}&until={until}");
        let page: Result<Paged<Offer>, CallError> = node.client.get_json(&peer, &path).await;
        (id, page.ok().map(|p| p.items))
    });
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for (id, offered) in join_all(asked).await {
        match offered {
            // A hospital speaks for itself alone.
            Some(items) => found.extend(items.into_iter().filter(|o| o.hospital == id)),
            None => silent.push(id),
        }
    }
    silent.dedup();
    found.sort_by(|a: &Offer, b: &Offer| {
        (a.start, a.hospital, &a.department, &a.doctor).cmp(&(b.start, b.hospital, &b.department, &b.doctor))
    });
    found.truncate(limit);
    (found, silent)
}

/// The whole appointment that somebody means, by the hospital's weekly hours: also one that is full, since who has it is the
/// hospital's to say.
///
/// # Errors
///
/// [`Reason::MemberUnknown`], [`Reason::SlotUnknown`], [`Reason::PeerUnreachable`].
pub async fn slot_of(node: &Node, wanted: &Wanted) -> Result<Slot, Problem> {
    let Wanted { hospital, department, doctor, start } = wanted;
    let peer = peers::peer(node, *hospital).ok_or(Reason::MemberUnknown)?;
    let offset = node.writer.settings().offset;
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let path = format!("/v1/hospital/schedules?limit=1000{cursor}");
        let page: Paged<WeeklyHours> = node.client.get_json(&peer, &path).await.map_err(|error| {
            let reason =
                if error.reason() == Reason::NotMyRole { Reason::SlotUnknown } else { Reason::PeerUnreachable };
            Problem::new(reason).detail(format!("{hospital}: {error}"))
        })?;
        let hours: Vec<WeeklyHours> =
            page.items.into_iter().filter(|h| h.department == *department && h.doctor == *doctor).collect();
        let slots = schedule::slots(&hours, *hospital, *start, *start + Millis(1), offset);
        if let Some((slot, _)) = slots.into_iter().next() {
            return Ok(slot);
        }
        match page.next.filter(|next| next.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:".contains(&b))) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    Err(Reason::SlotUnknown.into())
}
