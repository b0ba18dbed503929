//! Weekly hours and the slots that they make: local time at a fixed offset in, UTC out; it knows no bookings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, FixedOffset, NaiveDate, TimeDelta, Timelike, Weekday};
use domain::booking::Slot;
use domain::ids::{InstitutionId, ShortName};
use domain::time::{Millis, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most rows of weekly hours of one hospital.
pub const MAX_HOURS: usize = 5_000;

/// Most days without hours that are kept.
pub const MAX_CLOSURES: usize = 1_000;

/// Most slots that they make on one day of the week: ten times what a large hospital has.
pub const MAX_SLOTS_A_DAY: usize = 50_000;

/// Longest slot, in minutes: a working day.
pub const MAX_SLOT_MINUTES: u16 = 480;

/// Most bookings of one slot.
pub const MAX_CAPACITY: u16 = 100;

/// Longest name of a department or doctor as people read it, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 100;

/// Longest span in which slots are listed, in days.
pub const MAX_SPAN_DAYS: i64 = 92;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// A minute of the day, `HH:MM` as text; 24:00 is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(u16);

impl Minute {
    /// That hour and minute; none after 24:00.
    #[must_use]
    pub const fn new(hour: u16, minute: u16) -> Option<Self> {
        if hour <= 24 && minute < 60 && hour * 60 + minute <= DAY { Some(Self(hour * 60 + minute)) } else { None }
    }

    /// Minutes since midnight.
    #[must_use]
    pub const fn since_midnight(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A text that is not `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time of day is HH:MM, up to 24:00")]
pub struct BadMinute;

impl FromStr for Minute {
    type Err = BadMinute;
    fn from_str(text: &str) -> Result<Self, BadMinute> {
        let (hour, minute) = text.split_once(':').ok_or(BadMinute)?;
        let number = |part: &str| -> Result<u16, BadMinute> {
            if part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()) {
                part.parse().map_err(|_| BadMinute)
            } else {
                Err(BadMinute)
            }
        };
        Self::new(number(hour)?, number(minute)?).ok_or(BadMinute)
    }
}

impl Serialize for Minute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// When a doctor sees people, every week, in local time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeeklyHours {
    /// The department.
    pub department: ShortName,
    /// The department as people read it.
    pub department_name: String,
    /// The doctor.
    pub doctor: ShortName,
    /// The doctor as people read it.
    pub doctor_name: String,
    /// Day of the week.
    pub weekday: Weekday,
    /// First minute.
    pub start: Minute,
    /// First minute after it.
    pub end: Minute,
    /// Length of a slot, in minutes. What remains before `end` and is shorter stays free.
    pub slot_minutes: u16,
    /// Bookings that one slot takes, 1 to 100.
    pub capacity: u16,
}

/// Weekly hours that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHours {
    /// More than [`MAX_HOURS`] rows.
    #[error("at most {MAX_HOURS} rows of weekly hours")]
    TooMany,
    /// A name is empty or too long.
    #[error("row {0}: names have 1 to {MAX_NAME_BYTES} bytes")]
    Name(usize),
    /// They end before they begin.
    #[error("row {0}: the hours end before they begin")]
    Backwards(usize),
    /// No slot fits.
    #[error("row {0}: a slot has 1 to {MAX_SLOT_MINUTES} minutes and fits into the hours")]
    Slot(usize),
    /// Capacity out of range.
    #[error("row {0}: a slot takes 1 to {MAX_CAPACITY} bookings")]
    Capacity(usize),
    /// More than [`MAX_SLOTS_A_DAY`] slots on this day of the week.
    #[error("{0}: at most {MAX_SLOTS_A_DAY} slots on one day of the week")]
    TooManySlots(Weekday),
    /// A doctor would be in two places.
    #[error("row {0}: the doctor has other hours at the same time")]
    Overlap(usize),
}

/// A day on which the weekly hours do not hold: of everybody, of a department, or of one doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closure {
    /// The local day.
    pub day: NaiveDate,
    /// Only this department.
    pub department: Option<ShortName>,
    /// Only this doctor.
    pub doctor: Option<ShortName>,
}

impl Closure {
    /// Whether a slot falls away.
    fn takes(&self, slot: &Slot, offset: FixedOffset) -> bool {
        slot.start.day_at(offset) == self.day
            && self.department.as_ref().is_none_or(|department| *department == slot.department)
            && self.doctor.as_ref().is_none_or(|doctor| *doctor == slot.doctor)
    }
}

/// Whether a slot falls on a day without hours.
#[must_use]
pub fn is_closed(closures: &[Closure], slot: &Slot, offset: FixedOffset) -> bool {
    closures.iter().any(|closure| closure.takes(slot, offset))
}

/// Checks weekly hours as a whole. Rows are counted from 1.
///
/// # Errors
///
/// [`BadHours`] names the first row that cannot be, and why.
pub fn check(hours: &[WeeklyHours]) -> Result<(), BadHours> {
    if hours.len() > MAX_HOURS {
        return Err(BadHours::TooMany);
    }
    let mut of_days = [0_usize; 7];
    let named = |name: &str| !name.trim().is_empty() && name.len() <= MAX_NAME_BYTES;
    for (row, h) in (1..).zip(hours) {
        let span = h.end.0.checked_sub(h.start.0).filter(|span| *span > 0).ok_or(BadHours::Backwards(row))?;
        if !named(&h.department_name) || !named(&h.doctor_name) {
            return Err(BadHours::Name(row));
        }
        if h.slot_minutes == 0 || h.slot_minutes > MAX_SLOT_MINUTES || h.slot_minutes > span {
            return Err(BadHours::Slot(row));
        }
        if h.capacity == 0 || h.capacity > MAX_CAPACITY {
            return Err(BadHours::Capacity(row));
        }
        let of_day = of_days.get_mut(h.weekday.num_days_from_monday() as usize);
        if let Some(of_day) = of_day {
            *of_day += usize::from(span / h.slot_minutes);
            if *of_day > MAX_SLOTS_A_DAY {
                return Err(BadHours::TooManySlots(h.weekday));
            }
        }
    }
    let mut order: Vec<(usize, &WeeklyHours)> = (1..).zip(hours).collect();
    order.sort_by_key(|(row, h)| (&h.doctor, h.weekday.num_days_from_monday(), h.start, *row));
    for pair in order.windows(2) {
        let [(_, before), (row, after)] = pair else { continue };
        if before.doctor == after.doctor && before.weekday == after.weekday && after.start < before.end {
            return Err(BadHours::Overlap(*row));
        }
    }
    Ok(())
}

/// Midnight of a local day, UTC; none at the ends of the calendar.
fn midnight(day: NaiveDate, offset: FixedOffset) -> Option<Timestamp> {
    let utc = day.and_time(chrono::NaiveTime::MIN).checked_sub_offset(offset)?.and_utc();
    (utc.timestamp_millis() >= 0).then(|| Timestamp::from(utc))
}

/// A row's next slot in a day: first minute, department, doctor, place of the row.
type Next<'a> = Reverse<(u16, &'a ShortName, &'a ShortName, usize)>;

/// The slots of one day, in order of time, department and doctor; each is made when it is asked for.
struct Day<'a> {
    hours: &'a [WeeklyHours],
    hospital: InstitutionId,
    midnight: Timestamp,
    next: BinaryHeap<Next<'a>>,
}

impl<'a> Day<'a> {
    fn new(
        hours: &'a [WeeklyHours],
        hospital: InstitutionId,
        day: NaiveDate,
        midnight: Timestamp,
        from: Timestamp,
    ) -> Self {
        let mut of_day = Self { hours, hospital, midnight, next: BinaryHeap::new() };
        let minutes = (from.millis() - midnight.millis()).max(0).saturating_add(59_999) / 60_000;
        let first = u16::try_from(minutes).unwrap_or(DAY).min(DAY);
        for (row, h) in hours.iter().enumerate().filter(|(_, h)| h.weekday == day.weekday()) {
            let length = h.slot_minutes.max(1);
            // Another hospital's hours come unchecked: a slot may be longer than any day.
            let past = first.saturating_sub(h.start.0).div_ceil(length).checked_mul(length);
            if let Some(start) = past.and_then(|past| h.start.0.checked_add(past)) {
                of_day.push(row, start);
            }
        }
        of_day
    }

    fn push(&mut self, row: usize, start: u16) {
        let hours = self.hours;
        let Some(h) = hours.get(row) else { return };
        if start.checked_add(h.slot_minutes.max(1)).is_some_and(|end| end <= h.end.0) {
            self.next.push(Reverse((start, &h.department, &h.doctor, row)));
        }
    }
}

impl Iterator for Day<'_> {
    type Item = (Slot, u16);

    fn next(&mut self) -> Option<(Slot, u16)> {
        let Reverse((start, department, doctor, row)) = self.next.pop()?;
        let h = self.hours.get(row)?;
        let end = start + h.slot_minutes.max(1);
        self.push(row, end);
        let minute = |m: u16| self.midnight + Millis::minutes(i64::from(m));
        let (department, doctor) = (department.clone(), doctor.clone());
        Some((Slot { hospital: self.hospital, department, doctor, start: minute(start), end: minute(end) }, h.capacity))
    }
}

/// The slots that begin in `[from, until)`, in order of time, department and doctor, each with its capacity.
///
/// At most [`MAX_SPAN_DAYS`] days are looked at. A slot is made when it is asked for: who wants a few pays for a few.
pub fn slots(
    hours: &[WeeklyHours],
    hospital: InstitutionId,
    from: Timestamp,
    until: Timestamp,
    offset: FixedOffset,
) -> impl Iterator<Item = (Slot, u16)> {
    let until = until.min(from + Millis::days(MAX_SPAN_DAYS));
    let days = std::iter::successors(Some(from.day_at(offset)), |day| day.checked_add_signed(TimeDelta::days(1)));
    let begun = days.map_while(move |day| Some((day, midnight(day, offset).filter(|midnight| *midnight < until)?)));
    let found = begun.flat_map(move |(day, midnight)| Day::new(hours, hospital, day, midnight, from));
    found.take_while(move |(slot, _)| slot.start < until)
}

/// How many bookings a slot takes, if these hours make it: department, doctor, begin and end must fit.
#[must_use]
pub fn capacity_of(hours: &[WeeklyHours], slot: &Slot, offset: FixedOffset) -> Option<u16> {
    let local = slot.start.to_utc().with_timezone(&offset);
    let whole = local.second() == 0 && slot.start.millis() % 60_000 == 0;
    let start = u16::try_from(local.hour() * 60 + local.minute()).ok().filter(|_| whole)?;
    let fits = |h: &&WeeklyHours| {
        h.department == slot.department
            && h.doctor == slot.doctor
            && h.weekday == local.weekday()
            && h.start.0 <= start
            && (start - h.start.0).is_multiple_of(h.slot_minutes.max(1))
            && start.checked_add(h.slot_minutes).is_some_and(|end| end <= h.end.0)
            && slot.end == slot.start + Millis::minutes(i64::from(h.slot_minutes))
    };
    hours.iter().find(fits).map(|h| h.capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: i32 = 8 * 3600;

    fn offset() -> FixedOffset {
        FixedOffset::east_opt(OFFSET).unwrap()
    }

    #[test]
    fn a_closure_takes_what_it_names_and_no_more() {
        // day, department, doctor of the closure; whether it takes Monday's slot of dr-a in eyes
        for (day, department, doctor, expected) in [
            (5, None, None, true),
            (6, None, None, false),
            (5, Some("eyes"), None, true),
            (5, Some("ears"), None, false),
            (5, None, Some("dr-a"), true),
            (5, Some("eyes"), Some("dr-b"), false),
        ] {
            let short = |name: Option<&str>| name.map(|name| name.parse().unwrap());
            let day = NaiveDate::from_ymd_opt(2026, 1, day).unwrap();
            let closure = Closure { day, department: short(department), doctor: short(doctor) };
            // Half past midnight there is still the day before in UTC.
            let start = midnight(NaiveDate::from_ymd_opt(2026, 1, 5).unwrap(), offset()).unwrap() + Millis::minutes(30);
            let (department, doctor) = ("eyes".parse().unwrap(), "dr-a".parse().unwrap());
            let end = start + Millis::minutes(15);
            let slot = Slot { hospital: "gulou".parse().unwrap(), department, doctor, start, end };
            assert_eq!(closure.takes(&slot, offset()), expected, "{closure:?}");
        }
    }

    /// `department doctor weekday start end minutes capacity`.
    fn hours(row: &str) -> WeeklyHours {
        let [department, doctor, weekday, start, end, minutes, capacity] = row.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{row}")
        };
        WeeklyHours {
            department: department.parse().unwrap(),
            department_name: "科室".into(),
            doctor: doctor.parse().unwrap(),
            doctor_name: "医生".into(),
            weekday: weekday.parse().unwrap(),
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
            slot_minutes: minutes.parse().unwrap(),
            capacity: capacity.parse().unwrap(),
        }
    }

    #[test]
    fn hours_that_nobody_checked_make_no_slot_and_no_harm() {
        for row in ["heart x Mon 08:00 12:00 65535 1", "heart x Mon 23:59 24:00 64096 1", "heart x Mon 12:00 08:00 0 1"]
        {
            let hours = [hours(row)];
            for from in ["2026-11-23T02:00:00Z", "2026-11-23T15:59:00Z", "2026-11-22T16:00:00Z"] {
                let found = slots(&hours, "gulou".parse().unwrap(), at(from), at(from) + Millis::hours(5), offset());
                assert_eq!(found.count(), 0, "{row} from {from}");
            }
            let slot = Slot {
                hospital: "gulou".parse().unwrap(),
                department: hours[0].department.clone(),
                doctor: hours[0].doctor.clone(),
                start: at("2026-11-23T02:00:00Z"),
                end: at("2026-11-23T02:00:00Z") + Millis::minutes(i64::from(hours[0].slot_minutes)),
            };
            assert_eq!(capacity_of(&hours, &slot, offset()), None, "{row}");
        }
    }

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(serde_json::json!(text)).unwrap()
    }

    #[test]
    fn a_minute_has_one_spelling() {
        assert_eq!("08:05".parse::<Minute>().unwrap().to_string(), "08:05");
        assert_eq!("24:00".parse::<Minute>().unwrap().since_midnight(), 1440);
        for bad in ["8:05", "24:01", "12:60", "+8:05", "0805", "", "08:05 "] {
            assert!(bad.parse::<Minute>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_that_cannot_be_are_named() {
        let good = "heart x Mon 08:00 12:00 30 1";
        let table: [(&[&str], Result<(), BadHours>); 9] = [
            (&[good, "heart x Mon 12:00 14:00 30 1", "heart y Mon 08:00 12:00 30 1"], Ok(())),
            (&[good, "heart x Mon 12:00 12:00 30 1"], Err(BadHours::Backwards(2))),
            (&[good, "heart x Tue 08:00 07:00 30 1"], Err(BadHours::Backwards(2))),
            (&["heart x Mon 08:00 12:00 0 1"], Err(BadHours::Slot(1))),
            (&["heart x Mon 08:00 08:29 30 1"], Err(BadHours::Slot(1))),
            (&["heart x Mon 08:00 18:00 481 1"], Err(BadHours::Slot(1))),
            (&["heart x Mon 08:00 12:00 30 0"], Err(BadHours::Capacity(1))),
            (&["heart x Mon 08:00 12:00 30 101"], Err(BadHours::Capacity(1))),
            (&[good, "bones x Mon 11:59 14:00 30 1"], Err(BadHours::Overlap(2))),
        ];
        for (rows, expected) in table {
            let rows: Vec<_> = rows.iter().map(|row| hours(row)).collect();
            assert_eq!(check(&rows), expected, "{rows:?}");
        }
        let nameless = WeeklyHours { doctor_name: " ".into(), ..hours(good) };
        assert_eq!(check(&[nameless]), Err(BadHours::Name(1)));
        assert_eq!(check(&vec![hours(good); MAX_HOURS + 1]), Err(BadHours::TooMany));
        let every_minute =
            |n: usize| WeeklyHours { doctor: format!("d{n}").parse().unwrap(), ..hours("heart x Tue 00:00 24:00 1 1") };
        let rows: Vec<_> = (0..35).map(every_minute).collect();
        assert_eq!(check(&rows[..34]), Ok(()));
        assert_eq!(check(&rows), Err(BadHours::TooManySlots(Weekday::Tue)));
    }

    #[test]
    fn slots_are_local_hours_in_utc() {
        let hours = [hours("heart x Mon 07:00 08:10 30 2"), hours("bones y Tue 08:00 09:00 30 1")];
        let hospital = "gulou".parse().unwrap();
        // Monday, 2 March 2026, seven o'clock in Nanjing is Sunday, eleven at night, UTC.
        let rows: [(&str, &str, &[&str]); 4] = [
            ("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z", &["03-01T23:00", "03-01T23:30"]),
            ("2026-03-01T23:00:00.001Z", "2026-03-03T00:00:00Z", &["03-01T23:30"]),
            ("2026-03-01T23:00:00Z", "2026-03-03T00:00:00.001Z", &["03-01T23:00", "03-01T23:30", "03-03T00:00"]),
            ("2026-03-04T00:00:00Z", "2026-03-04T00:00:00Z", &[]),
        ];
        for (from, until, expected) in rows {
            let found: Vec<_> = slots(&hours, hospital, at(from), at(until), offset()).collect();
            let starts: Vec<String> = found.iter().map(|(s, _)| s.start.to_string()[5..16].to_owned()).collect();
            assert_eq!(starts, expected, "{from}");
            assert!(found.iter().all(|(slot, n)| capacity_of(&hours, slot, offset()) == Some(*n)), "{from}");
        }
        let year = slots(&hours, hospital, at("2026-03-01T00:00:00Z"), Timestamp::MAX, offset());
        assert!(year.count() < 5 * usize::try_from(MAX_SPAN_DAYS).unwrap(), "a long question ends");
        assert!(slots(&hours, hospital, Timestamp::MAX, Timestamp::MAX, offset()).next().is_none());
        assert!(slots(&hours, hospital, Timestamp::MIN, Timestamp::MIN + Millis::days(1), offset()).count() < 4);
    }

    #[test]
    fn slots_come_in_order_and_are_made_one_by_one() {
        let rows = ["bones y Mon 08:10 09:00 25 1", "heart x Mon 08:00 09:00 20 1", "bones z Mon 08:00 08:40 20 1"];
        let hours = rows.map(hours);
        let hospital = "gulou".parse().unwrap();
        let of_day = |from| {
            let found = slots(&hours, hospital, at(from), at("2026-03-02T12:00:00Z"), offset());
            let told = found.map(|(s, _)| format!("{} {} {}", &s.start.to_string()[11..16], s.department, s.doctor));
            told.collect::<Vec<_>>()
        };
        let all = [
            "00:00 bones z",
            "00:00 heart x",
            "00:10 bones y",
            "00:20 bones z",
            "00:20 heart x",
            "00:35 bones y",
            "00:40 heart x",
        ];
        assert_eq!(of_day("2026-03-01T16:00:00Z"), all);
        assert_eq!(of_day("2026-03-02T00:00:00.001Z"), all[2..]);
        assert_eq!(of_day("2026-03-02T00:20:00Z"), all[3..]);
        assert!(of_day("2026-03-02T00:40:00.001Z").is_empty());

        // The largest schedule that there can be makes four million slots in 92 days. Ten of them are had without the rest.
        let every_minute: Vec<_> = (0..MAX_HOURS)
            .map(|n| WeeklyHours {
                doctor: format!("d{n}").parse().unwrap(),
                ..super::tests::hours("heart x Mon 00:00 24:00 1 1")
            })
            .collect();
        let began = std::time::Instant::now();
        let few = slots(&every_minute, hospital, at("2026-03-01T16:00:00Z"), Timestamp::MAX, offset()).take(10);
        assert_eq!(few.count(), 10);
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[test]
    fn a_slot_that_no_hours_make_has_no_capacity() {
        let hours = [hours("heart x Mon 08:00 12:00 30 2")];
        let hospital = "gulou".parse().unwrap();
        let (good, _) =
            slots(&hours, hospital, at("2026-03-02T00:00:00Z"), at("2026-03-02T00:01:00Z"), offset()).next().unwrap();
        assert_eq!(capacity_of(&hours, &good, offset()), Some(2));
        type Change = fn(&mut Slot);
        let table: [(&str, Change); 7] = [
            ("another department", |s| s.department = "bones".parse().unwrap()),
            ("another doctor", |s| s.doctor = "y".parse().unwrap()),
            ("another day", |s| (s.start, s.end) = (s.start + Millis::days(1), s.end + Millis::days(1))),
            ("between slots", |s| (s.start, s.end) = (s.start + Millis::minutes(15), s.end + Millis::minutes(15))),
            ("longer", |s| s.end = s.end + Millis::minutes(30)),
            ("after hours", |s| (s.start, s.end) = (s.start + Millis::hours(4), s.end + Millis::hours(4))),
            ("a second late", |s| (s.start, s.end) = (s.start + Millis::secs(1), s.end + Millis::secs(1))),
        ];
        for (what, change) in table {
            let mut slot = good.clone();
            change(&mut slot);
            assert_eq!(capacity_of(&hours, &slot, offset()), None, "{what}");
        }
    }
}
