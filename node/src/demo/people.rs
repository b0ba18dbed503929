//! The sample input, compiled in: people entitled, weekly hours and programmes, and who of them plays which part.

use std::collections::BTreeSet;

use anyhow::Context as _;
use chrono::NaiveDate;
use serde_json::{Value, json};

use domain::policy::Class;

use crate::import::{self, CardPresentation, Programme, Resident, WeeklyHours};

const RESIDENTS: &[u8] = include_bytes!("../../../tests/data/residents.csv");
const SCHEDULE: &[u8] = include_bytes!("../../../tests/data/schedule.csv");
const PROGRAMMES: &[u8] = include_bytes!("../../../tests/data/programmes.csv");

/// How many of each class make up the crowd.
const CROWD: [(Class, usize); 4] =
    [(Class::Elderly, 56), (Class::Chronic, 30), (Class::Pregnant, 12), (Class::Disabled, 6)];

/// The three tables as the offices sent them.
pub(super) struct Sample {
    /// People entitled.
    pub(super) residents: Vec<Resident>,
    /// Weekly hours.
    pub(super) hours: Vec<WeeklyHours>,
    /// Programmes.
    pub(super) programmes: Vec<Programme>,
}

impl Sample {
    /// Reads the tables with the node's own importer.
    ///
    /// # Errors
    ///
    /// A table has a fault: the sample is meant to have none.
    pub(super) fn read(communities: &[&str], today: NaiveDate) -> anyhow::Result<Self> {
        let known: BTreeSet<String> = communities.iter().map(|id| (*id).to_owned()).collect();
        Ok(Self {
            residents: whole("residents", import::residents(RESIDENTS, &known, today)?)?,
            hours: whole("schedule", import::schedule(SCHEDULE)?)?,
            programmes: whole("programmes", import::programmes(PROGRAMMES)?)?,
        })
    }

    /// The programmes that are open to a class.
    pub(super) fn open_to(&self, class: Class) -> impl Iterator<Item = &Programme> {
        self.programmes.iter().filter(move |p| p.classes.contains(&class))
    }

    /// The programme that a person of this class is here for: the first that is open to it and, if there is one, to
    /// nobody else.
    ///
    /// # Errors
    ///
    /// No programme is open to the class.
    pub(super) fn programme_for(&self, class: Class) -> anyhow::Result<&Programme> {
        let own = self.programmes.iter().find(|p| p.classes == [class]);
        own.or_else(|| self.open_to(class).next()).with_context(|| format!("no programme for {}", class.as_str()))
    }
}

fn whole<T>(table: &str, report: import::Report<T>) -> anyhow::Result<Vec<T>> {
    anyhow::ensure!(report.faults.is_empty(), "{table}: {report}");
    Ok(report.good)
}

/// A programme as `POST /v1/issuer/programmes` takes it.
#[must_use]
pub(super) fn policy(programme: &Programme) -> Value {
    json!({
        "programme": programme.programme,
        "title_zh": programme.title_zh,
        "title_en": programme.title_en,
        "service": programme.service,
        "issuing_department": programme.issuing_department,
        "classes": programme.classes,
        "validity_days": programme.validity_days,
        "vouchers_per_holder": programme.vouchers_per_holder,
        "departments": programme.departments,
        "card_allowed": programme.card == CardPresentation::Allowed,
    })
}

/// A person as the desks take it.
#[must_use]
pub(super) fn person(resident: &Resident) -> Value {
    json!({
        "document_type": "resident-id",
        "document_number": resident.document.as_str(),
        "name": resident.name,
        "born": resident.born,
        "sex": resident.sex,
        "phone": resident.phone,
        "class": resident.class.as_str(),
    })
}

/// Who plays which part. Nobody plays two.
pub(super) struct Cast {
    /// The many for whom everything goes well.
    pub(super) crowd: Vec<Resident>,
    /// Cancels a booking and books again.
    pub(super) canceller: Resident,
    /// Moves a booking to another hospital and day.
    pub(super) mover: Resident,
    /// Does not come.
    pub(super) absent: Resident,
    /// Tries to book twice.
    pub(super) doubler: Resident,
    /// Shows somebody else's picture.
    pub(super) thief: Resident,
    /// Has no phone.
    pub(super) phoneless: Resident,
    /// Never books: the voucher expires.
    pub(super) forgetful: Resident,
    /// Is no longer entitled: the voucher is voided while it is booked.
    pub(super) departed: Resident,
    /// Denies a use.
    pub(super) denier: Resident,
}

impl Cast {
    /// Picks people whose line of the table is not taken yet, and marks their lines as taken.
    ///
    /// Returns none if the table has not enough people left.
    #[must_use]
    pub(super) fn pick(residents: &[Resident], taken: &mut BTreeSet<u32>) -> Option<Self> {
        let mut marked = taken.clone();
        let mut next = |class: Class, smartphone: bool| {
            let fits = |r: &&Resident| r.class == class && r.smartphone == smartphone && !marked.contains(&r.line);
            let found = residents.iter().find(fits)?.clone();
            marked.insert(found.line);
            Some(found)
        };
        let cast = Self {
            canceller: next(Class::Elderly, true)?,
            mover: next(Class::Chronic, true)?,
            absent: next(Class::Chronic, true)?,
            doubler: next(Class::Chronic, true)?,
            thief: next(Class::Elderly, true)?,
            phoneless: next(Class::Elderly, false)?,
            forgetful: next(Class::Chronic, true)?,
            departed: next(Class::Disabled, true)?,
            // May have one voucher at a time: a second one proves that the refused one does not count.
            denier: next(Class::Elderly, true)?,
            crowd: CROWD
                .into_iter()
                .flat_map(|(class, n)| (0..n).map(move |_| class))
                .map(|class| next(class, true))
                .collect::<Option<Vec<_>>>()?,
        };
        *taken = marked;
        Some(cast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_people_for_several_rounds_and_nobody_plays_twice() {
        let today = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap();
        let sample = Sample::read(&["community-xuanwu", "community-qinhuai"], today).unwrap();
        let mut taken = BTreeSet::new();
        let mut rounds = 0;
        while let Some(cast) = Cast::pick(&sample.residents, &mut taken) {
            rounds += 1;
            assert!(!cast.phoneless.smartphone);
            assert_eq!(taken.len(), rounds * (cast.crowd.len() + 9), "each line once");
        }
        assert!(rounds >= 5, "{rounds}");
        for class in [Class::Elderly, Class::Chronic, Class::Pregnant, Class::Disabled] {
            assert!(sample.programme_for(class).unwrap().classes.contains(&class));
        }
    }
}
