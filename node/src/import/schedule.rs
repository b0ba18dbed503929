//! The table of weekly consulting hours, as a hospital exports it.

use std::collections::HashMap;

use chrono::{NaiveTime, Timelike, Weekday};
use serde::{Deserialize, Serialize};

use super::field;
use super::report::{Code, Faults, Flaw, Note, Report};
use super::table::{self, Row};
use super::text::Refused;

const COLUMNS: [&str; 10] = [
    "hospital",
    "department",
    "department_name",
    "doctor",
    "doctor_name",
    "weekday",
    "start",
    "end",
    "slot_minutes",
    "capacity",
];

/// Longest slot, in minutes: a working day.
const MAX_SLOT_MINUTES: u16 = 480;

/// Most bookings of one slot.
const MAX_CAPACITY: u16 = 100;

/// When a doctor sees people, every week, in the local time of the hospital.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeeklyHours {
    /// Id of the hospital.
    pub hospital: String,
    /// Id of the department.
    pub department: String,
    /// The department as people read it.
    pub department_name: String,
    /// Id of the doctor, one person across all hospitals.
    pub doctor: String,
    /// The doctor as people read it.
    pub doctor_name: String,
    /// Day of the week.
    pub weekday: Weekday,
    /// Local time, before `end`.
    pub start: NaiveTime,
    /// Local time of the same day.
    pub end: NaiveTime,
    /// Length of a slot, in minutes. What remains before `end` and is shorter stays free.
    pub slot_minutes: u16,
    /// Bookings that one slot takes, 1 to 100.
    pub capacity: u16,
}

/// Reads weekly hours.
///
/// Rows in which one doctor has overlapping hours, wherever they are, are all reported: the file
/// cannot say which of them is right.
///
/// # Errors
///
/// [`Refused`] if the file as a whole is not this table.
pub fn schedule(file: &[u8]) -> Result<Report<WeeklyHours>, Refused> {
    let mut faults = Faults::default();
    let mut good = Vec::new();
    table::read(file, &COLUMNS, &mut faults, |mut row| {
        let line = row.line;
        good.extend(hours(&mut row).map(|hours| (line, hours)));
    })?;
    let overlapping = overlapping(&good);
    for (line, other) in &overlapping {
        faults.push(*line, Some("start"), Flaw(Code::DoctorOverlap, Note::SeeLine(*other)));
    }
    good.retain(|(line, _)| !overlapping.contains_key(line));
    Ok(faults.report(good.into_iter().map(|(_, hours)| hours).collect()))
}

fn hours(row: &mut Row<'_, 10>) -> Option<WeeklyHours> {
    let [hospital, department, department_name, doctor, doctor_name, weekday, start, end, slot_minutes, capacity] =
        row.cells;
    let hospital = row.read(hospital, field::id);
    let department = row.read(department, field::id);
    let department_name = row.read(department_name, field::text);
    let doctor = row.read(doctor, field::id);
    let doctor_name = row.read(doctor_name, field::text);
    let weekday = row.read(weekday, parse_weekday);
    let start = row.read(start, parse_time);
    let ends = row.read(end, parse_time);
    let minutes = row.read(slot_minutes, |text| field::number(text, 1, MAX_SLOT_MINUTES));
    let capacity = row.read(capacity, |text| field::number(text, 1, MAX_CAPACITY));
    let (from, to) = (start?, ends?);
    if to <= from {
        row.fault(end, Code::EndsBeforeStart);
        return None;
    }
    let minutes = minutes?;
    if i64::from(minutes) > (to - from).num_minutes() {
        row.fault(slot_minutes, Code::SlotDoesNotFit);
        return None;
    }
    Some(WeeklyHours {
        hospital: hospital?,
        department: department?,
        department_name: department_name?,
        doctor: doctor?,
        doctor_name: doctor_name?,
        weekday: weekday?,
        start: from,
        end: to,
        slot_minutes: minutes,
        capacity: capacity?,
    })
}

/// Lines whose hours overlap others of the same doctor, each with one of those others.
fn overlapping(rows: &[(u32, WeeklyHours)]) -> HashMap<u32, u32> {
    let mut order: Vec<&(u32, WeeklyHours)> = rows.iter().collect();
    order.sort_by_key(|(line, hours)| (&hours.doctor, hours.weekday.num_days_from_monday(), hours.start, *line));
    let mut found = HashMap::new();
    // The row that ends last so far overlaps the next one if any earlier row does.
    let mut last: Option<&(u32, WeeklyHours)> = None;
    for row in order {
        let (line, hours) = row;
        match last {
            Some((other, before)) if before.doctor == hours.doctor && before.weekday == hours.weekday => {
                if hours.start < before.end {
                    found.entry(*line).or_insert(*other);
                    found.entry(*other).or_insert(*line);
                }
                if hours.end > before.end {
                    last = Some(row);
                }
            }
            _ => last = Some(row),
        }
    }
    found
}

fn parse_weekday(text: &str) -> Result<Weekday, Code> {
    match text {
        "Mon" => Ok(Weekday::Mon),
        "Tue" => Ok(Weekday::Tue),
        "Wed" => Ok(Weekday::Wed),
        "Thu" => Ok(Weekday::Thu),
        "Fri" => Ok(Weekday::Fri),
        "Sat" => Ok(Weekday::Sat),
        "Sun" => Ok(Weekday::Sun),
        _ => Err(Code::UnknownWeekday),
    }
}

/// `HH:MM`, and `H:MM` as spreadsheets write it.
fn parse_time(text: &str) -> Result<NaiveTime, Code> {
    let (hour, minute) = text.split_once(':').ok_or(Code::BadTime)?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !(1..=2).contains(&hour.len()) || minute.len() != 2 || !digits(hour) || !digits(minute) {
        return Err(Code::BadTime);
    }
    let (hour, minute) = (hour.parse().map_err(|_| Code::BadTime)?, minute.parse().map_err(|_| Code::BadTime)?);
    NaiveTime::from_hms_opt(hour, minute, 0).filter(|time| time.second() == 0).ok_or(Code::BadTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../../../tests/data/schedule.csv");

    fn faults(rows: &[&str]) -> (String, usize) {
        let file = format!("{}\n{}\n", COLUMNS.join(","), rows.join("\n"));
        let report = schedule(file.as_bytes()).unwrap();
        let told: Vec<_> =
            report.faults.iter().map(|f| format!("{} {} {}", f.line, f.column.unwrap_or("-"), f.code)).collect();
        (told.join(" "), report.good.len())
    }

    #[test]
    fn the_sample_comes_in() {
        let report = schedule(SAMPLE).unwrap();
        assert_eq!((report.good.len(), report.faults.len()), (17, 0));
        let cardiology = &report.good[4];
        assert_eq!((cardiology.department_name.as_str(), cardiology.doctor.as_str()), ("心内科", "gl-2001"));
        assert_eq!((cardiology.weekday, cardiology.slot_minutes, cardiology.capacity), (Weekday::Mon, 10, 2));
        assert_eq!((cardiology.start.to_string(), cardiology.end.to_string()), ("08:00:00".into(), "12:00:00".into()));
    }

    #[test]
    fn one_cell_at_a_time() {
        const ROW: [&str; 10] = ["h", "d", "产科", "x-1", "周玉珍", "Mon", "08:00", "11:30", "15", "1"];
        let rows = [
            (0, "H", "2 hospital bad-id"),
            (1, "", "2 department missing"),
            (2, "=产科", "2 department_name formula"),
            (3, "x 1", "2 doctor bad-id"),
            (4, "", "2 doctor_name missing"),
            (5, "mon", "2 weekday unknown-weekday"),
            (6, "8:00", ""),
            (6, "08:60", "2 start bad-time"),
            (6, "+8:00", "2 start bad-time"),
            (6, "11:29", "2 slot_minutes slot-does-not-fit"),
            (6, "11:15", ""),
            (7, "24:00", "2 end bad-time"),
            (7, "08:00", "2 end ends-before-start"),
            (7, "07:00", "2 end ends-before-start"),
            (8, "0", "2 slot_minutes out-of-range"),
            (8, "211", "2 slot_minutes slot-does-not-fit"),
            (8, "25", ""),
            (9, "0", "2 capacity out-of-range"),
            (9, "101", "2 capacity out-of-range"),
            (9, "100", ""),
        ];
        for (column, value, expected) in rows {
            let mut cells = ROW;
            cells[column] = value;
            assert_eq!(faults(&[&cells.join(",")]), (expected.to_owned(), usize::from(expected.is_empty())), "{value}");
        }
    }

    #[test]
    fn a_doctor_is_in_one_place_at_a_time() {
        let row = |place: &str| {
            let [hospital, doctor, weekday, start, end] = place.split(' ').collect::<Vec<_>>()[..] else { panic!() };
            format!("{hospital},d,科,{doctor},名,{weekday},{start},{end},10,1")
        };
        let cases: [(&[&str], &[u32]); 7] = [
            (&["h x Mon 08:00 12:00", "h x Mon 12:00 14:00"], &[]),
            (&["h x Mon 08:00 12:00", "g x Mon 11:59 14:00"], &[2, 3]),
            (&["h x Mon 08:00 12:00", "g x Tue 08:00 12:00"], &[]),
            (&["h x Mon 08:00 12:00", "g y Mon 08:00 12:00"], &[]),
            (&["h x Mon 13:00 14:00", "g x Mon 08:00 18:00", "g x Mon 15:00 16:00"], &[2, 3, 4]),
            (&["h x Mon 08:00 18:00", "g x Mon 09:00 10:00", "g x Mon 10:00 11:00", "h x Mon 18:00 19:00"], &[2, 3, 4]),
            (&["h x Mon 08:00 09:00", "g x Mon 09:00 11:00", "g x Mon 10:30 12:00"], &[3, 4]),
        ];
        for (places, expected) in cases {
            let rows: Vec<String> = places.iter().map(|place| row(place)).collect();
            let told: Vec<String> = expected.iter().map(|line| format!("{line} start doctor-overlap")).collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            assert_eq!(faults(&rows), (told.join(" "), places.len() - expected.len()), "{places:?}");
        }
        let same = row("h x Mon 08:00 09:00");
        assert_eq!(faults(&[&same, &same]), ("3 - duplicate-row".to_owned(), 1));
    }
}
