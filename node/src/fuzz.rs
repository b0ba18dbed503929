//! Files, pictures, letters and answers of peers, fed with changed bytes (tests/fuzz); requests: node/src/api/fuzz.rs.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use actors::community::command::Granted;
use actors::hospital::schedule::{self, WeeklyHours};
use actors::voucher::letters::{ErasureLetter, HelpLetter, HolderLetter, OpeningLetter, ResultLetter};
use chrono::{FixedOffset, NaiveDate};
use domain::policy::Policy;
use domain::time::{Millis, Timestamp};
use fuzz::{Said, Target};
use image::ImageFormat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::api::answer::Listed;
use crate::api::json;
use crate::api::log::{HeadView, LongestAnswer};
use crate::config::Config;
use crate::import::{self, MAX_FAULTS_LISTED, Refused, Report};
use crate::keyfile::{self, Passphrase};
use crate::qr;

const PROGRAMMES: &[u8] = include_bytes!("../../tests/data/programmes.csv");
const RESIDENTS: &[u8] = include_bytes!("../../tests/data/residents.csv");
const DIRTY: &[u8] = include_bytes!("../../tests/data/residents-dirty.csv");
const SCHEDULE: &[u8] = include_bytes!("../../tests/data/schedule.csv");

fn said<T, E: Display>(result: Result<T, E>) -> Said {
    result.map(drop).map_err(|error| error.to_string())
}

/// The beginning of a table: small inputs are changed faster.
fn head(table: &[u8], lines: usize) -> Vec<u8> {
    table.split_inclusive(|byte| *byte == b'\n').take(lines).flatten().copied().collect()
}

fn table<T>(read: Result<Report<T>, Refused>) -> Said {
    if let Ok(report) = &read {
        assert!(report.faults.len() <= MAX_FAULTS_LISTED);
    }
    said(read.map(|report| report.good.len()).map_err(|refused| refused.text().en.into_owned()))
}

fn tables() -> Vec<Target> {
    let gb18030 = |table: &[u8]| encoding_rs::GB18030.encode(std::str::from_utf8(table).unwrap()).0.into_owned();
    let communities: BTreeSet<String> = ["community-xuanwu", "community-qinhuai"].map(str::to_owned).into();
    let today = NaiveDate::from_ymd_opt(2026, 3, 2).unwrap();
    let words = [",", "\n", "\"", "\"\"", "\r\n", "=", "elderly;chronic", "24:00", "2026-02-29", "X"];
    let offset = FixedOffset::east_opt(8 * 3600).unwrap();
    vec![
        Target::new("residents", [head(RESIDENTS, 6), gb18030(&head(RESIDENTS, 6)), head(DIRTY, 6)], move |file| {
            table(import::residents(file, &communities, today))
        })
        .words(words)
        .shares(2),
        Target::new("programmes", [PROGRAMMES.to_vec(), gb18030(PROGRAMMES)], |file| table(import::programmes(file)))
            .words(words),
        Target::new("schedule", [head(SCHEDULE, 6), gb18030(&head(SCHEDULE, 6))], move |file| {
            let report = import::schedule(file);
            if let Ok(report) = &report {
                // Whatever was taken makes slots, or a reason why not.
                let _ = import::slots(&report.good, today, today + chrono::Days::new(8), offset);
            }
            table(report)
        })
        .words(words),
    ]
}

const CONFIG: &str = "version = 1\ninstitution = 'health'\nroles = ['issuer', 'auditor']\nfederation = 'town'\n\
    utc_offset_minutes = 480\n[http]\nbind = '127.0.0.1:7101'\nurl = 'http://127.0.0.1:7101'\nworkers = 2\n\
    [store]\ndir = 'd'\nkeys = 'k'\nmin_free_disk_mib = 64\n[registrar]\ninstitution = 'health'\nurl = 'https://a.b/c'\n\
    [peers]\npoll_wait_secs = 20\nacknowledge = 1\nwitnesses = ['audit']\n[accounts]\nsession_hours = 12\n\
    [retention]\nopening_days = 30\n";

fn files() -> Vec<Target> {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap()).path().to_owned();
    let file = |name: &str| -> PathBuf { dir.join(name) };
    let put = |path: &PathBuf, bytes: &[u8]| {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (secret, plain, sealed) = (file("passphrase"), file("plain.key"), file("sealed.key"));
    put(&secret, b"correct horse battery\n");
    let passphrase = Passphrase::read(&secret).unwrap();
    keyfile::make(&plain, "log", None).unwrap();
    // The costs of tests: a key that is opened thousands of times.
    let cheap = keyfile::sealed_line("log", &Zeroizing::new([7; 32]), &passphrase, [8, 1, 1]).unwrap();
    let (toml, again) = (file("node.toml"), file("again.toml"));
    vec![
        Target::text(
            "configuration",
            [
                CONFIG,
                &fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/nanjing-health.toml")).unwrap(),
            ],
            move |text| {
                fs::write(&toml, text).unwrap();
                let read = Config::load(&toml);
                if let Ok(config) = &read {
                    // What was read can be written down, and read again.
                    fs::write(&again, toml::to_string(config).unwrap()).unwrap();
                    assert_eq!(format!("{config:?}"), format!("{:?}", Config::load(&again).unwrap()));
                    assert!(config.offset().is_some() && config.http.bind.ip().is_loopback());
                }
                said(read)
            },
        )
        .words(["[http]\n", "= ", "'", "\"\"\"", "[[", "true", "1979-05-27", "0x", "inf", "['", "\n"])
        .shares(2),
        Target::new("key file", [fs::read(&plain).unwrap()], move |bytes| {
            put(&plain, bytes);
            said(keyfile::read(&plain, "log", None))
        }),
        Target::new("sealed key file", [cheap.as_str()], move |bytes| {
            // A file may ask for a gigabyte, and gets it: whoever writes it is who starts the node.
            let costs = String::from_utf8_lossy(bytes);
            let words = costs.split_ascii_whitespace().skip(1).take(2).map(|word| word.parse::<u32>().unwrap_or(0));
            if words.into_iter().any(|cost| cost > 64) {
                return Err("dear".into());
            }
            put(&sealed, bytes);
            let read = keyfile::read(&sealed, "log", Some(&passphrase));
            said(read)
        })
        .words(["voucher-node/v1/log-key-sealed ", " ", "8 1 1 ", "="]),
    ]
}

fn pictures() -> Vec<Target> {
    let png = qr::png("VC1:0", 2).unwrap();
    let picture = image::load_from_memory(&png).unwrap();
    let as_file = |format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let seeds = [png, as_file(ImageFormat::Jpeg), as_file(ImageFormat::WebP)];
    vec![
        Target::new("picture", seeds, |bytes| {
            let read = qr::decode(bytes);
            if let Ok(texts) = &read {
                assert!((1..=qr::MAX_CODES).contains(&texts.len()));
                assert!(texts.iter().all(|text| text.len() <= 8 * 1024), "{texts:?}");
            }
            said(read)
        })
        .words([
            &b"IHDR"[..],
            b"IDAT",
            b"PLTE",
            b"tRNS",
            b"\xff\xd8",
            b"\xff\xc0",
            b"\xff\xc4",
            b"VP8L",
            b"VP8X",
            b"ANIM",
        ])
        .may_take(Duration::from_secs(40), 512)
        .shares(4),
        Target::text("drawn text", ["VC1:0", "A"], |text| {
            let drawn = qr::svg(text, text);
            assert!(drawn.as_ref().is_ok_and(|svg| svg.starts_with("<svg ")) || drawn.is_err());
            said(drawn)
        }),
    ]
}

/// What is read strictly is read loosely too, and stays the same when it is written and read again.
fn strictly<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Said {
    let read = json::read::<T>(bytes);
    if let Ok(read) = &read {
        let value = serde_json::to_value(read).unwrap();
        assert_eq!(serde_json::to_value(serde_json::from_slice::<T>(bytes).unwrap()).unwrap(), value);
        assert_eq!(serde_json::to_value(json::of::<T>(value.clone()).unwrap()).unwrap(), value);
    }
    said(read)
}

/// JSON that is read from peers, who may say what they like.
fn loosely<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8]) -> Said {
    let read = serde_json::from_slice::<T>(bytes);
    if let Ok(read) = &read {
        let written = serde_json::to_vec(read).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", serde_json::from_slice::<T>(&written).unwrap()));
    }
    said(read)
}

fn letter<T: DeserializeOwned + Serialize + 'static>(name: &'static str, seed: &Value) -> Target {
    Target::new(name, [seed.to_string()], strictly::<T>).words(WORDS)
}

const WORDS: [&str; 14] =
    ["null", "true", "{}", "[]", "[", "{\"a\":", "\\u0000", "\\ud800", "1e999", "-0", ",", ":", "\"", "0.1"];

fn letters() -> Vec<Target> {
    let (uuid, digest) = ("6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b", "00ff".repeat(16));
    let record = json!({ "institution": "health", "index": 3, "id": digest });
    let voucher = format!("health.{uuid}");
    let slot = json!({
        "hospital": "gulou", "department": "imaging", "doctor": "d-1", "start": "2026-03-02T00:00:00Z",
        "end": "2026-03-02T00:30:00Z",
    });
    let key = "ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    let enrolled = json!({ "programme": "ecg", "id": uuid, "name": record });
    let holder = json!({
        "holder": uuid, "main_key": key, "class": "elderly", "enrolments": [enrolled.clone()], "contact": "139",
    });
    let help = json!({
        "record": record,
        "opening": { "salt": vec![7_u8; 32], "voucher": voucher, "step": "book", "slot": slot },
        "cancel": { "cose": [1, 2, 3], "assisted": { "helper": uuid, "reason": "no-phone" } },
    });
    let opening = json!({ "details": { "salt": vec![7_u8; 32], "voucher": voucher, "slot": slot } });
    let result =
        json!({ "voucher": voucher, "text": "窦性心律", "items": [{ "code": "ecg", "done": true, "result": "x" }] });
    let policy = json!({
        "programme": "ecg", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "issuing_department": "卫健委",
        "classes": ["elderly"], "validity_days": 30, "vouchers_per_holder": 2, "departments": ["cardiology"],
        "card_allowed": true,
    });
    let hours = json!([{
        "department": "imaging", "department_name": "影像", "doctor": "d-1", "doctor_name": "周", "weekday": "Mon",
        "start": "08:00", "end": "12:00", "slot_minutes": 30, "capacity": 1,
    }]);
    let heads = json!({ "items": [{ "institution": "a", "note": "a/b\n1\nx\n\n\u{2014} a/b x\n" }], "next": null });
    let offset = FixedOffset::east_opt(8 * 3600).unwrap();
    let monday = Timestamp::from_millis(1_772_409_600_000);
    vec![
        letter::<HolderLetter>("letter of a holder", &holder),
        letter::<HelpLetter>("letter for help", &help),
        letter::<ResultLetter>("letter of a result", &result),
        letter::<OpeningLetter>("letter of an opening", &opening),
        letter::<ErasureLetter>("letter of an erasure", &json!({ "holder": uuid })),
        letter::<Policy>("programme's body", &policy),
        letter::<Value>("any body", &json!({ "a": [1, -1, 0.5, null, true, "x"], "b": { "c": {} } })),
        Target::new("a peer's heads", [heads.to_string()], loosely::<Listed<HeadView>>).words(WORDS),
        Target::new("a peer's longest", [r#"{"checkpoint":"a"}"#], loosely::<LongestAnswer>).words(WORDS),
        Target::new(
            "a registrar's answer",
            [json!({ "holder": uuid, "enrolments": [enrolled] }).to_string()],
            loosely::<Granted>,
        )
        .words(WORDS),
        Target::new("a hospital's hours", [hours.to_string()], move |bytes| {
            let hours: Vec<WeeklyHours> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            let hospital = "gulou".parse().unwrap();
            for minutes in [0, 1, 61, 600, 1_439] {
                let from = monday + Millis::minutes(minutes);
                for (slot, _) in schedule::slots(&hours, hospital, from, from + Millis::days(8), offset).take(50) {
                    assert!(slot.start >= from && slot.start <= slot.end);
                    let _ = schedule::capacity_of(&hours, &slot, offset);
                }
            }
            said(schedule::check(&hours))
        })
        .words(["65535", "64096", "\"24:00\"", "\"00:01\"", "\"Sun\""]),
    ]
}

#[test]
fn no_file_letter_or_picture_brings_a_reader_down() {
    let all = || [tables(), files(), letters(), pictures()].into_iter().flatten().collect();
    fuzz::run(module_path!(), "no_file_letter_or_picture_brings_a_reader_down", all);
}
