//! The world of the story: who is where, who holds what, and how the scenes look at it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::NaiveDate;
use domain::time::{Millis, Timestamp};
use serde_json::Value;

use super::Memory;
use super::client::{Answer, As, Client, named};
use super::clock::FederationClock;
use super::desk::Desk;
use super::desks;
use super::federation::Federation;
use super::holder::{History, Holder, Part, Place, Voucher, place};
use super::people::Sample;
use super::phone::{Keyring, Phone};
use super::report::{Named, Story};
use super::wait::Patience;
use crate::import::Resident;

/// Who is where in the federation.
pub(super) struct Places {
    /// Issuer and registrar.
    pub(super) issuer: String,
    /// The communities.
    pub(super) communities: Vec<String>,
    /// The voucher module.
    pub(super) module: String,
    /// The hospitals.
    pub(super) hospitals: Vec<String>,
    /// The auditor.
    pub(super) auditor: String,
}

/// Everything that the scenes share.
pub(super) struct World {
    /// The processes.
    pub(super) federation: Federation,
    /// Calls to them.
    pub(super) client: Client,
    /// Their clock.
    pub(super) clock: FederationClock,
    /// How long the story waits for what the nodes do by themselves.
    pub(super) patience: Patience,
    /// What is told.
    pub(super) story: Story,
    /// The sample input.
    pub(super) sample: Sample,
    /// Who is where.
    pub(super) places: Places,
    /// What the directory remembers.
    pub(super) memory: Memory,
    /// The many for whom everything goes well.
    pub(super) crowd: Vec<Holder>,
    /// Those with a part of their own.
    pub(super) parts: BTreeMap<Part, Holder>,
    /// Who has no phone.
    pub(super) phoneless: Option<Resident>,
    /// Days and times of the story.
    pub(super) days: Days,
    /// Appointments that were offered when the story first asked, by hospital, department and local day.
    pub(super) offers: BTreeMap<(String, String, NaiveDate), Vec<Value>>,
    /// How many of each the story has given away, so that no two people ask for one.
    pub(super) given: BTreeMap<Place, u64>,
    /// Who has no phone: the printed card and its voucher.
    pub(super) card: Option<(String, Voucher)>,
}

/// Days and times of the story.
#[derive(Debug, Clone, Copy)]
pub(super) struct Days {
    /// The busy morning: people arrive.
    pub(super) morning: Timestamp,
    /// The day after, for the booking that was moved.
    pub(super) day_after: Timestamp,
}

impl World {
    /// A desk of an institution.
    #[must_use]
    pub(super) fn desk(&self, institution: &str) -> Desk {
        Desk::new(&self.client, institution, desks::CLERK)
    }

    /// Who examines at a hospital.
    #[must_use]
    pub(super) fn doctor(&self, hospital: &str) -> Desk {
        Desk::new(&self.client, hospital, desks::DOCTOR)
    }

    /// The office of a hospital.
    #[must_use]
    pub(super) fn office(&self, hospital: &str) -> Desk {
        Desk::new(&self.client, hospital, desks::OFFICE)
    }

    /// The issuer's second officer.
    #[must_use]
    pub(super) fn second(&self) -> Desk {
        Desk::new(&self.client, &self.places.issuer, desks::SECOND_OFFICER)
    }

    /// The issuer's desk.
    #[must_use]
    pub(super) fn issuer(&self) -> Desk {
        Desk::new(&self.client, &self.places.issuer, desks::OFFICER)
    }

    /// Somebody with a part.
    ///
    /// # Errors
    ///
    /// Nobody plays it.
    pub(super) fn part(&self, part: Part) -> anyhow::Result<&Holder> {
        self.parts.get(&part).with_context(|| format!("nobody plays {part:?}"))
    }

    /// Replaces what is known of somebody.
    pub(super) fn replace(&mut self, holder: Holder) {
        let line = holder.person.line;
        if let Some(known) = self.crowd.iter_mut().chain(self.parts.values_mut()).find(|h| h.person.line == line) {
            *known = holder;
        }
    }

    /// Another phone for somebody, with keys that nobody knows yet.
    ///
    /// # Errors
    ///
    /// The phones' secret cannot be read.
    pub(super) fn spare_phone(&self, person: &Resident) -> anyhow::Result<Phone> {
        let keyring = Keyring::load_or_make(&self.federation.dir.join("phones.secret"))?;
        let open: Vec<String> = self.sample.open_to(person.class).map(|p| p.programme.clone()).collect();
        Ok(keyring.phone(&format!("{} spare", person.document.as_str()), &open, 1, self.clock.shared()))
    }

    /// Somebody who is not registered.
    ///
    /// # Errors
    ///
    /// Everybody is.
    pub(super) fn stranger(&self) -> anyhow::Result<Resident> {
        let free = self.sample.residents.iter().rev().find(|r| r.smartphone && !self.memory.taken.contains(&r.line));
        free.cloned().context("everybody in the table is registered")
    }

    /// Everybody with a phone.
    pub(super) fn everybody(&self) -> impl Iterator<Item = &Holder> {
        self.crowd.iter().chain(self.parts.values())
    }

    /// What the issuer's node says of a voucher.
    ///
    /// # Errors
    ///
    /// It does not answer, or does not know the voucher.
    pub(super) async fn voucher(&self, id: &str) -> anyhow::Result<Value> {
        self.voucher_at(&self.places.issuer, id).await
    }

    /// What a node says of a voucher.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) async fn voucher_at(&self, institution: &str, id: &str) -> anyhow::Result<Value> {
        let answer = self.desk(institution).get(&format!("/v1/vouchers/{id}")).await?.good()?;
        answer.body.get("inside").cloned().with_context(|| format!("{institution} says nothing of {id}"))
    }

    /// The stage of a voucher by what a node knows now; empty if it knows none.
    pub(super) async fn stage_at(&self, institution: &str, id: &str) -> String {
        let seen = self.voucher_at(institution, id).await;
        seen.ok().and_then(|inside| inside["stage"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What the issuer's node knows of a voucher's way: the steps that count, and what is noted beside them.
    ///
    /// # Errors
    ///
    /// It does not answer, or does not know the voucher.
    pub(super) async fn history(&self, id: &str) -> anyhow::Result<History> {
        let answer = self.issuer().get(&format!("/v1/vouchers/{id}/history")).await?.good()?;
        let read = |list: &str, what: &str| -> anyhow::Result<Vec<(Named, Value)>> {
            let rows = answer.list(list)?.iter();
            Ok(rows.filter_map(|row| Some((named(&row["name"])?, row[what].clone()))).collect())
        };
        Ok(History { steps: read("/path", "step")?, notes: read("/notes", "note")? })
    }

    /// A holder's call to the voucher module.
    ///
    /// # Errors
    ///
    /// Nobody answers; a refusal is an answer.
    pub(super) async fn wallet(&self, holder: &Holder, path: &str, body: Value) -> anyhow::Result<Answer> {
        let who = As::Holder(&holder.phone);
        let path = format!("/v1/wallet{path}");
        if body.is_null() {
            return Ok(self.client.get(who, &self.places.module, &path).await?);
        }
        Ok(self.client.post(who, &self.places.module, &path, &body).await?)
    }

    /// The appointments of a department that were offered for the day of a moment.
    ///
    /// # Errors
    ///
    /// The hospital does not answer.
    pub(super) async fn offered(
        &mut self,
        hospital: &str,
        department: &str,
        at: Timestamp,
    ) -> anyhow::Result<Vec<Value>> {
        let day = at.day_at(self.federation.offset);
        let key = (hospital.to_owned(), department.to_owned(), day);
        if let Some(known) = self.offers.get(&key) {
            return Ok(known.clone());
        }
        let slots = self.slots(hospital, Some(department), at).await?;
        self.offers.insert(key, slots.clone());
        Ok(slots)
    }

    /// What a hospital offers on the local day of a moment.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub(super) async fn slots(
        &self,
        hospital: &str,
        department: Option<&str>,
        at: Timestamp,
    ) -> anyhow::Result<Vec<Value>> {
        let (from, until) = self.clock.day(at)?;
        let department = department.map(|d| format!("&department={d}")).unwrap_or_default();
        let path = format!("/v1/hospital/slots?limit=1000&from={from}&until={until}{department}");
        let answer = self.client.get(As::Anyone, hospital, &path).await?.good()?;
        Ok(answer.list("/items")?.clone())
    }

    /// An appointment that nobody was given yet, in a department of a programme, that begins between two times; it is
    /// given away with that.
    ///
    /// # Errors
    ///
    /// None is left.
    pub(super) async fn give(
        &mut self,
        programme: &str,
        hospitals: &[String],
        from: Timestamp,
        until: Timestamp,
    ) -> anyhow::Result<Value> {
        let known = self.sample.programmes.iter().find(|p| p.programme == programme);
        let departments = known.with_context(|| format!("no programme {programme}"))?.departments.clone();
        for hospital in hospitals {
            for department in &departments {
                for slot in self.offered(hospital, department, from).await? {
                    let Some((place, free)) = place(&slot) else { continue };
                    let given = self.given.entry(place.clone()).or_default();
                    if (from..=until).contains(&place.2) && *given < free {
                        *given += 1;
                        return Ok(slot);
                    }
                }
            }
        }
        anyhow::bail!("no appointment is left in {}", departments.join(", "))
    }

    /// An appointment that is free in the coming days, in a department of a programme.
    ///
    /// # Errors
    ///
    /// None is.
    pub(super) async fn any_slot(&self, programme: &str) -> anyhow::Result<Value> {
        let known = self.sample.programmes.iter().find(|p| p.programme == programme);
        let departments = &known.with_context(|| format!("no programme {programme}"))?.departments;
        for day in 1..=7 {
            for hospital in &self.places.hospitals {
                for department in departments {
                    let at = self.clock.now() + Millis::days(day);
                    if let Some(slot) = self.slots(hospital, Some(department), at).await?.into_iter().next() {
                        return Ok(slot);
                    }
                }
            }
        }
        anyhow::bail!("no appointment in {} within a week", departments.join(", "))
    }

    /// An appointment in a department of a programme that was given away as often as it can be.
    #[must_use]
    pub(super) fn full(&self, programme: &str) -> Option<Value> {
        let departments = &self.sample.programmes.iter().find(|p| p.programme == programme)?.departments;
        let mut slots =
            self.offers.iter().filter(|((_, d, _), _)| departments.contains(d)).flat_map(|(_, slots)| slots);
        let is_full =
            |slot: &&Value| place(slot).is_some_and(|(p, free)| self.given.get(&p).is_some_and(|n| *n >= free));
        slots.find(is_full).cloned()
    }

    /// Moves the clock of everyone and tells it.
    ///
    /// # Errors
    ///
    /// The federation does not come to rest.
    pub(super) async fn step_to(&mut self, to: Timestamp, why: &str) -> anyhow::Result<()> {
        let stepped = self.clock.step_to(&self.client, to).await?;
        let when = self.clock.local(self.clock.now());
        self.story.tell(format!("-- the clock steps forward by {} to {when}: {why}", span(stepped.by)));
        let seen = if stepped.astray.is_empty() { "all six do".to_owned() } else { stepped.astray.join("; ") };
        self.story.check("clock-step", stepped.astray.is_empty(), format!("every answer shows the new time: {seen}"));
        Ok(())
    }
}

/// A length of time as people say it.
fn span(by: Millis) -> String {
    let minutes = (by.0 + 30_000) / 60_000;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_as_people_say_it() {
        for (by, said) in [
            (Millis::minutes(40), "40 min"),
            (Millis(20 * 3_600_000 - 1_000), "20 h 0 min"),
            (Millis::minutes(361), "6 h 1 min"),
            (Millis::days(60) + Millis::hours(3), "60 d 3 h"),
        ] {
            assert_eq!(span(by), said);
        }
    }
}
