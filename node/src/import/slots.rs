//! From weekly hours to bookable slots in UTC.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, TimeDelta, TimeZone, Utc};
use serde::Serialize;

use super::schedule::WeeklyHours;

/// Longest span of one call, in days.
pub const MAX_SLOT_DAYS: i64 = 366;

/// Most slots of one call.
pub const MAX_SLOTS: usize = 1_000_000;

/// A time that can be booked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Slot {
    /// Begin, UTC.
    pub start_utc: DateTime<Utc>,
    /// End, UTC; it does not belong to the slot.
    pub end_utc: DateTime<Utc>,
    /// Id of the hospital.
    pub hospital: String,
    /// Id of the department.
    pub department: String,
    /// Id of the doctor.
    pub doctor: String,
    /// Bookings that it takes.
    pub capacity: u16,
}

/// Why no slots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotsError {
    /// The span ends before it begins, is longer than [`MAX_SLOT_DAYS`] or lies outside the calendar.
    #[error("ask for slots of 1 to {MAX_SLOT_DAYS} days")]
    Span,
    /// Hours that reading a schedule would have refused.
    #[error("weekly hours must end after they start and hold slots of at least one minute")]
    Hours,
    /// More than [`MAX_SLOTS`].
    #[error("more than {MAX_SLOTS} slots; ask for fewer days")]
    TooMany,
}

/// The slots of `hours` from the day `from` to the day `to`, both included, earliest first.
///
/// Days and hours are local, at `offset` from UTC: a hospital in China is at +08:00 all year.
/// Minutes before the end of the hours that do not fill a slot make none.
///
/// # Errors
///
/// [`SlotsError`].
pub fn slots(
    hours: &[WeeklyHours],
    from: NaiveDate,
    to: NaiveDate,
    offset: FixedOffset,
) -> Result<Vec<Slot>, SlotsError> {
    let days = to.signed_duration_since(from).num_days().saturating_add(1);
    if !(1..=MAX_SLOT_DAYS).contains(&days) {
        return Err(SlotsError::Span);
    }
    let mut slots = Vec::new();
    for date in from.iter_days().take_while(|date| *date <= to) {
        for hours in hours.iter().filter(|hours| hours.weekday == date.weekday()) {
            let utc = |time| offset.from_local_datetime(&date.and_time(time)).single().map(|time| time.to_utc());
            let (mut start_utc, until) = utc(hours.start).zip(utc(hours.end)).ok_or(SlotsError::Span)?;
            if hours.slot_minutes == 0 || until <= start_utc {
                return Err(SlotsError::Hours);
            }
            let length = TimeDelta::minutes(hours.slot_minutes.into());
            while let Some(end_utc) = start_utc.checked_add_signed(length).filter(|end| *end <= until) {
                if slots.len() >= MAX_SLOTS {
                    return Err(SlotsError::TooMany);
                }
                slots.push(Slot {
                    start_utc,
                    end_utc,
                    hospital: hours.hospital.clone(),
                    department: hours.department.clone(),
                    doctor: hours.doctor.clone(),
                    capacity: hours.capacity,
                });
                start_utc = end_utc;
            }
        }
    }
    slots.sort();
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::super::schedule;
    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../../../tests/data/schedule.csv");

    fn between(hours: &[WeeklyHours], from: &str, to: &str) -> Result<Vec<Slot>, SlotsError> {
        let offset = FixedOffset::east_opt(8 * 3600).unwrap();
        slots(hours, from.parse().unwrap(), to.parse().unwrap(), offset)
    }

    #[test]
    fn a_week_of_two_hospitals() {
        let hours = schedule(SAMPLE).unwrap().good;
        let rows = [
            // day            slots  the first, UTC
            ("2026-11-23", 14 + 24 + 12 + 54 + 15, "2026-11-23T00:00:00Z"), // Monday
            ("2026-11-24", 14 + 54 + 14, "2026-11-24T00:00:00Z"),
            ("2026-11-25", 14 + 12, "2026-11-25T00:00:00Z"),
            ("2026-11-26", 24 + 16 + 14, "2026-11-26T00:00:00Z"),
            ("2026-11-27", 14 + 15, "2026-11-27T00:00:00Z"),
            ("2026-11-28", 9, "2026-11-28T00:00:00Z"),
            ("2026-11-29", 9, "2026-11-29T00:00:00Z"),
        ];
        let mut sum = 0;
        for (day, count, first) in rows {
            let slots = between(&hours, day, day).unwrap();
            assert_eq!(slots.len(), count, "{day}");
            assert_eq!(slots[0].start_utc, first.parse::<DateTime<Utc>>().unwrap(), "{day}");
            sum += count;
        }
        let week = between(&hours, "2026-11-23", "2026-11-29").unwrap();
        assert_eq!(week.len(), sum);
        assert!(week.is_sorted());
        assert_eq!(between(&hours, "2026-11-23", "2026-12-06").unwrap().len(), 2 * sum);
    }

    #[test]
    fn a_slot_is_local_time_in_utc() {
        let hours = schedule(SAMPLE).unwrap().good;
        let saturday = between(&hours, "2026-11-28", "2026-11-28").unwrap();
        let last = serde_json::to_value(saturday.last().unwrap()).unwrap();
        let expected = serde_json::json!({
            "start_utc": "2026-11-28T02:40:00Z", "end_utc": "2026-11-28T03:00:00Z", "hospital": "hospital-gulou",
            "department": "geriatrics", "doctor": "gl-3001", "capacity": 1
        });
        assert_eq!(last, expected);
    }

    #[test]
    fn hours_before_eight_are_the_day_before_and_a_rest_stays_free() {
        let mut hours = schedule(SAMPLE).unwrap().good;
        hours.truncate(1);
        hours[0].start = "07:00:00".parse().unwrap();
        hours[0].end = "08:10:00".parse().unwrap();
        hours[0].slot_minutes = 30;
        let slots = between(&hours, "2026-11-23", "2026-11-23").unwrap();
        let starts: Vec<String> = slots.iter().map(|slot| slot.start_utc.to_rfc3339()).collect();
        assert_eq!(starts, ["2026-11-22T23:00:00+00:00", "2026-11-22T23:30:00+00:00"]);
    }

    #[test]
    fn a_hostile_question_ends() {
        let hours = schedule(SAMPLE).unwrap().good;
        let endless = vec![WeeklyHours { slot_minutes: 0, ..hours[0].clone() }];
        let backwards = vec![WeeklyHours { end: hours[0].start, ..hours[0].clone() }];
        let many = vec![WeeklyHours { slot_minutes: 1, ..hours[0].clone() }; 100];
        let rows = [
            (&hours, "2026-11-24", "2026-11-23", Some(SlotsError::Span)),
            (&hours, "2026-01-01", "2027-01-01", None),
            (&hours, "2026-01-01", "2027-01-02", Some(SlotsError::Span)),
            (&endless, "2026-11-23", "2026-11-23", Some(SlotsError::Hours)),
            (&backwards, "2026-11-23", "2026-11-23", Some(SlotsError::Hours)),
            (&many, "2026-01-01", "2027-01-01", Some(SlotsError::TooMany)),
        ];
        for (hours, from, to, expected) in rows {
            assert_eq!(between(hours, from, to).err(), expected, "{from} {to}");
        }
        let offset = FixedOffset::east_opt(8 * 3600).unwrap();
        let everyday: Vec<_> = chrono::Weekday::try_from(0)
            .into_iter()
            .flat_map(|day: chrono::Weekday| (0..7).map(move |n| (0..n).fold(day, |day, _| day.succ())))
            .map(|weekday| WeeklyHours { weekday, start: "00:00:00".parse().unwrap(), ..hours[0].clone() })
            .collect();
        let first = NaiveDate::MIN;
        assert_eq!(slots(&everyday, first, first, offset), Err(SlotsError::Span));
        assert!(slots(&everyday, NaiveDate::MAX, NaiveDate::MAX, offset).is_ok());
    }
}
