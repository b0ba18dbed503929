//! Kinds of damage to a stopped node: what `verify` says to each, and what mends it.

use std::fs;
use std::path::{Path, PathBuf};

use super::backups::{back_up, restored};
use super::house::House;
use crate::cli::store::{self, NotOpened};
use crate::cli::verify::{self, Verdict};

/// What brings a damaged node back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mend {
    /// The next start by itself.
    Start,
    /// Journal and store set aside, and a backup restored.
    Restore,
}

fn data(house: &House, path: &str) -> PathBuf {
    house.config.store.dir.join(path)
}

fn segment(house: &House) -> PathBuf {
    data(house, "journal/000000000001.journal")
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// The end of what says something in a segment.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap()
}

fn verdict(house: &House) -> Verdict {
    match store::open(&house.config) {
        Ok(opened) => verify::judge(&house.config, &opened),
        Err(NotOpened::Damaged(why)) => Verdict { faults: vec![why], ..Verdict::default() },
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_kind_of_damage_has_a_name_and_is_mended() {
    type Harm = fn(&House);
    let table: [(&str, Harm, &str, Mend); 9] = [
        (
            "a store of rubbish",
            |house| change(&data(house, "store/db"), |bytes| bytes.fill(0xa5)),
            "6 records of health are not folded yet",
            Mend::Start,
        ),
        (
            "a store without its beginning",
            |house| change(&data(house, "store/conf"), |bytes| bytes.fill(0xa5)),
            "the store was damaged",
            Mend::Start,
        ),
        (
            "no store",
            |house| fs::remove_dir_all(data(house, "store")).unwrap(),
            "6 records of health are not folded yet",
            Mend::Start,
        ),
        (
            "a bit in the middle of the journal",
            |house| change(&segment(house), |bytes| bytes[500] ^= 1),
            "the journal is damaged in segment 1 at byte",
            Mend::Restore,
        ),
        (
            "a bit in its last commit",
            |house| {
                change(&segment(house), |bytes| {
                    let end = end(bytes);
                    bytes[end - 30] ^= 1;
                });
            },
            "The journal was lost or is an older copy",
            Mend::Restore,
        ),
        (
            "a missing segment",
            |house| fs::remove_file(segment(house)).unwrap(),
            "but the journal ends with frame 0",
            Mend::Restore,
        ),
        (
            "a directory that was half copied",
            |house| change(&segment(house), |bytes| bytes.truncate(end(bytes) / 2)),
            "the store was written behind frame",
            Mend::Restore,
        ),
        (
            "no journal directory",
            |house| {
                fs::remove_dir_all(data(house, "journal")).unwrap();
                fs::create_dir(data(house, "journal")).unwrap();
            },
            "but the journal ends with frame 0",
            Mend::Restore,
        ),
        (
            "another disk's journal",
            |house| change(&segment(house), |bytes| bytes[17] ^= 1),
            "does not open with its header",
            Mend::Restore,
        ),
    ];
    for (case, harm, said, mend) in table {
        let house = House::built();
        let good = verdict(&house);
        let backup = house.home.path().join("backup");
        back_up(&house, &backup).unwrap();
        harm(&house);

        let found = verdict(&house);
        let words = [found.faults.clone(), found.notes.clone()].concat().join("\n");
        assert!(words.contains(said), "{case}: {words}");
        assert_eq!(found.logs.is_empty(), mend == Mend::Restore, "{case}: nothing is served of what is damaged");
        if mend == Mend::Restore {
            // Set aside as the refusal says.
            let refused = restored(&house, &backup).unwrap_err().to_string();
            for name in ["journal", "store"] {
                let aside = format!("mv {0} {0}.before", data(&house, name).display());
                if refused.contains(&aside) {
                    fs::rename(data(&house, name), data(&house, &format!("{name}.before"))).unwrap();
                }
            }
            assert_eq!(restored(&house, &backup).unwrap().faults, [""; 0], "{case}");
        }
        let mended = verdict(&house);
        assert_eq!((mended.faults, &mended.logs[0].root), (vec![], &good.logs[0].root), "{case}");
    }
}

/// Nothing is wrong with a snapshot of yesterday: only the others know that it is not the newest, and they are asked.
#[test]
fn an_old_snapshot_is_good_and_may_not_write() {
    let house = House::built();
    let (data, copy) = (house.config.store.dir.clone(), house.home.path().join("snapshot"));
    let copied = |from: &Path, to: &Path| {
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    copied(&data, &copy);
    super::export::beat(&house, 3);
    fs::remove_dir_all(&data).unwrap();
    copied(&copy, &data);
    let opened = house.open();
    assert_eq!((opened.report.size, opened.report.plain_restart), (6, false));
    assert_eq!(verify::judge(&house.config, &opened).faults, [""; 0]);
}
