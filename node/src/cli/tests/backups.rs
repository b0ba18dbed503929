//! `backup` and `restore`: what is copied, what is not copied again, what comes back, and what is refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use domain::time::Timestamp;

use super::export::{beat, exported, files};
use super::house::House;
use crate::cli::backup::{self, BackedUp, BackupArgs};
use crate::cli::manifest::{Kind, Manifest};
use crate::cli::restore::{self, RestoreArgs, Restored};
use crate::cli::verify;

/// When backups are made.
const NOON: Timestamp = Timestamp::from_millis(1_772_452_800_000);

fn args(house: &House, out: &Path) -> BackupArgs {
    BackupArgs { config: house.file(), out: out.to_owned(), with_keys: false, with_vault: false, json: false }
}

pub(super) fn back_up(house: &House, out: &Path) -> anyhow::Result<BackedUp> {
    backup::make(&house.config, &args(house, out), NOON)
}

pub(super) fn restored(house: &House, from: &Path) -> anyhow::Result<Restored> {
    let args = RestoreArgs { config: house.file(), from: from.to_owned(), without_vault: false, json: false };
    restore::make(&house.config, &args)
}

/// The disk of the node is lost; its keys are not.
fn lose_the_disk(house: &House) {
    fs::remove_dir_all(&house.config.store.dir).unwrap();
}

fn segment(backup: &Path) -> PathBuf {
    let manifest = Manifest::read(backup).unwrap().unwrap();
    backup.join(&manifest.of(Kind::Journal).next().unwrap().path)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_backup_is_made_while_the_node_runs_and_goes_on_where_it_stopped() {
    let house = House::built();
    let out = house.home.path().join("backup");
    let running = house.open();
    let first = back_up(&house, &out).unwrap();
    drop(running);
    assert_eq!(first.manifest.logs[0].entries, 6);
    assert_eq!(first.manifest.taken_at, NOON);
    assert_eq!(first.left_out.len(), 2, "{:?}", first.left_out);
    let all = files(&out);
    assert!(all.iter().any(|path| path.ends_with("-node.toml")), "{all:?}");
    assert!(!all.iter().any(|path| path.contains("key") || path.contains("vault")), "{all:?}");

    assert_eq!(back_up(&house, &out).unwrap().copied_bytes, 0, "nothing has grown");
    beat(&house, 3);
    let second = back_up(&house, &out).unwrap();
    let whole = second.manifest.of(Kind::Journal).map(|file| file.bytes).sum::<u64>();
    assert!(second.copied_bytes > 0 && second.copied_bytes < whole, "{} of {whole}", second.copied_bytes);
    assert_eq!(second.manifest.logs[0].entries, 9);

    // Broken off in the middle of what has grown: the manifest is as true as before, and the same command goes on.
    beat(&house, 3);
    let segment = segment(&out);
    let sure = fs::read(&segment).unwrap();
    fs::write(&segment, [sure.as_slice(), &[0x5a; 100]].concat()).unwrap();
    for file in &Manifest::read(&out).unwrap().unwrap().files {
        file.check(&out).unwrap();
    }
    assert_eq!(back_up(&house, &out).unwrap().manifest.logs[0].entries, 12);
}

#[test]
fn a_lost_disk_comes_back_from_a_backup_and_does_not_write_at_once() {
    let house = House::built();
    let before = verify::judge(&house.config, &house.open());
    let out = house.home.path().join("backup");
    back_up(&house, &out).unwrap();
    lose_the_disk(&house);

    let back = restored(&house, &out).unwrap();
    assert_eq!((back.from, back.faults), ("backup", vec![]));
    assert!(back.notes[0].contains("is asked of the other members"), "{:?}", back.notes);
    let opened = house.open();
    assert!(!opened.report.plain_restart, "the others are asked first");
    let after = verify::judge(&house.config, &opened);
    assert_eq!((after.faults, &after.logs[0].root), (vec![], &before.logs[0].root));
    assert!(!house.config.store.dir.join("restoring").exists());
    drop(opened);

    let again = restored(&house, &out).unwrap_err().to_string();
    assert!(again.contains("nothing is restored over") && again.contains("/journal.before"), "{again}");
}

#[test]
fn a_lost_disk_comes_back_from_an_export() {
    let house = House::built();
    beat(&house, 600);
    let before = verify::judge(&house.config, &house.open());
    let out = house.home.path().join("export");
    exported(&house, &out).unwrap();
    lose_the_disk(&house);

    let back = restored(&house, &out).unwrap();
    assert_eq!((back.from, back.faults, back.logs[0].entries), ("export", vec![], 606));
    assert!(back.notes.iter().any(|note| note.contains("logs and nothing else")), "{:?}", back.notes);
    let opened = house.open();
    assert!(!opened.report.plain_restart);
    let after = verify::judge(&house.config, &opened);
    assert_eq!((after.faults, &after.logs[0].root), (vec![], &before.logs[0].root));
}

#[test]
fn what_is_not_whole_or_not_the_same_is_refused_by_name() {
    type Spoil = fn(&House, &Path);
    let table: [(&str, Spoil, &str); 9] = [
        ("another directory", |_, dir| fs::rename(dir, dir.with_file_name("elsewhere")).unwrap(), "neither a backup"),
        ("half a manifest", |_, dir| cut(&dir.join("backup.json"), 100), "backup.json is not the manifest of a backup"),
        ("half a segment", |_, dir| cut(&segment(dir), 900), ".journal has 900 bytes, and the backup wrote"),
        ("no segment", |_, dir| fs::remove_file(segment(dir)).unwrap(), ".journal of the backup"),
        ("a bit in a segment", |_, dir| flip(&segment(dir), 700), ".journal is not what the backup wrote"),
        (
            "a bit in the configuration",
            |_, dir| flip(&small(dir, "-node.toml"), 3),
            "-node.toml is not what the backup wrote",
        ),
        (
            "a path out of it",
            |_, dir| replace(dir, "journal/000000000001.journal", "../data/000000000001.journal"),
            "names ../data",
        ),
        (
            "another institution's",
            |_, dir| replace(dir, "\"institution\": \"health\"", "\"institution\": \"gulou\""),
            "is of town/gulou",
        ),
        (
            "another log's end",
            |_, dir| replace(dir, "\"entries\": 6", "\"entries\": 7"),
            "files of two backups were mixed",
        ),
    ];
    for (case, spoil, said) in table {
        let house = House::built();
        let out = house.home.path().join("backup");
        back_up(&house, &out).unwrap();
        lose_the_disk(&house);
        spoil(&house, &out);
        let error = format!("{:#}", restored(&house, &out).unwrap_err());
        assert!(error.contains(said), "{case}: {error}");
        assert!(!house.config.store.dir.join("journal").exists(), "{case}: nothing is in its place");
    }
}

#[test]
fn without_keys_nothing_is_restored_and_none_are_made() {
    let house = House::built();
    let out = house.home.path().join("backup");
    back_up(&house, &out).unwrap();
    let other = House::built();
    lose_the_disk(&other);
    fs::remove_dir_all(&other.config.store.keys).unwrap();
    let error = format!("{:#}", restored(&other, &out).unwrap_err());
    assert!(error.contains("log.key is missing"), "{error}");
    assert!(!other.config.store.keys.join("log.key").exists());
}

#[test]
fn a_backup_of_another_history_is_left_alone() {
    let house = House::built();
    let out = house.home.path().join("backup");
    back_up(&house, &out).unwrap();
    let kept = fs::read(segment(&out)).unwrap();
    let other = House::built();
    beat(&other, 2);
    let error = format!("{:#}", back_up(&other, &out).unwrap_err());
    assert!(error.contains("is not a beginning of"), "{error}");
    assert_eq!(fs::read(segment(&out)).unwrap(), kept);
}

#[test]
fn keys_go_into_a_backup_only_sealed_and_a_vault_only_if_it_is_asked_for() {
    let house = House::built();
    let out = house.home.path().join("backup");
    let with_keys = BackupArgs { with_keys: true, ..args(&house, &out) };
    let error = format!("{:#}", backup::make(&house.config, &with_keys, NOON).unwrap_err());
    assert!(error.contains("log.key is not sealed") && error.contains("keys seal"), "{error}");
    assert!(!out.join("backup.json").exists());

    let passphrase = house.home.path().join("passphrase");
    fs::write(&passphrase, "correct horse battery").unwrap();
    fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let passphrase = voucher_node::keys::Passphrase::read(&passphrase).unwrap();
    voucher_node::keys::NodeKeys::seal(&house.config.store.keys, &passphrase).unwrap();
    fs::write(house.config.vault(), [7; 256]).unwrap();
    let with_vault = BackupArgs { with_vault: true, ..with_keys };
    let made = backup::make(&house.config, &with_vault, NOON).unwrap();
    assert_eq!((made.left_out.len(), made.manifest.of(Kind::Key).count()), (0, 4));

    // What is erased at the node is erased in the copy by the next backup, asked for or not.
    fs::write(house.config.vault(), [0; 256]).unwrap();
    back_up(&house, &out).unwrap();
    assert_eq!(fs::read(out.join("vault")).unwrap(), [0; 256]);
}

fn cut(path: &Path, bytes: usize) {
    let held = fs::read(path).unwrap();
    fs::write(path, &held[..bytes]).unwrap();
}

fn replace(backup: &Path, what: &str, with: &str) {
    let path = backup.join("backup.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(what), "{text}");
    fs::write(path, text.replace(what, with)).unwrap();
}

fn small(backup: &Path, name: &str) -> PathBuf {
    backup.join(files(backup).into_iter().find(|path| path.ends_with(name)).unwrap())
}
