//! Stories of accounts, with the clock in hand.

use super::planted::{PASSWORD, accounts};
use super::*;

const NOON: Timestamp = Timestamp::from_millis(1_772_409_600_000);

fn town() -> (tempfile::TempDir, Accounts) {
    let dir = tempfile::tempdir().unwrap();
    let accounts = accounts("gulou".parse().unwrap(), dir.path(), NOON);
    (dir, accounts)
}

fn sign_in(accounts: &Accounts, name: &str, password: &str, now: Timestamp) -> Result<String, Reason> {
    accounts.sign_in(name, password, None, now).map(|(text, ..)| text).map_err(|fault| fault.reason())
}

#[test]
fn nobody_learns_which_of_name_and_password_is_wrong() {
    let (_dir, accounts) = town();
    let id = accounts.named("wang").unwrap().id;
    accounts.set_disabled(id, true).unwrap();
    let long = "x".repeat(300);
    let table =
        [("li", "wrong password"), ("nobody-of-that-name", PASSWORD), ("wang", PASSWORD), ("li", &long), ("", "")];
    for (name, password) in table {
        assert_eq!(sign_in(&accounts, name, password, NOON), Err(Reason::SignInFailed), "{name}");
    }
    // Both are verified against a hash of the same cost.
    assert_eq!(
        accounts.nobody.rsplit_once("$p=1").map(|_| ()),
        accounts.named("li").unwrap().hash.unwrap().rsplit_once("$p=1").map(|_| ())
    );
    assert_eq!(accounts.nobody.split('$').nth(3), accounts.named("li").unwrap().hash.unwrap().split('$').nth(3));
    // A name that nobody has is locked like one that somebody has.
    for name in ["li", "nobody-of-that-name"] {
        for _ in 0..4 {
            let _ = sign_in(&accounts, name, "wrong password", NOON);
        }
        assert_eq!(sign_in(&accounts, name, PASSWORD, NOON), Err(Reason::SignInThrottled), "{name}");
    }
    assert!(sign_in(&accounts, "li", PASSWORD, NOON + Millis::secs(30)).is_ok());
}

#[test]
fn an_account_acts_as_long_as_it_may() {
    let (_dir, accounts) = town();
    let li = accounts.named("li").unwrap();
    let text = sign_in(&accounts, "li", PASSWORD, NOON).unwrap();
    let acting = accounts.who(&text, NOON).unwrap();
    assert_eq!((acting.account, acting.operator), (li.id, pseudonym("gulou".parse().unwrap(), li.id)));
    assert_ne!(acting.operator.0, li.id, "the pseudonym is not the id");

    // Fewer roles act at once; the last who keeps accounts stays.
    accounts.set_roles(li.id, &[AccountRole::Reader]).unwrap();
    assert!(!accounts.who(&text, NOON).unwrap().permissions.has(Permission::VoidVouchers));
    let wang = accounts.named("wang").unwrap().id;
    for refused in [accounts.set_disabled(wang, true), accounts.set_roles(wang, &[AccountRole::Reader])] {
        assert_eq!(refused.unwrap_err().reason(), Reason::LastAdministrator);
    }
    accounts.set_disabled(li.id, true).unwrap();
    assert!(accounts.who(&text, NOON).is_none());
    accounts.set_disabled(li.id, false).unwrap();
    assert!(accounts.who(&text, NOON).is_none(), "a session that was ended does not come back");

    let text = sign_in(&accounts, "li", PASSWORD, NOON).unwrap();
    assert!(accounts.who(&text, NOON + Millis::secs(1_799)).is_some());
    assert!(accounts.who(&text, NOON + Millis::secs(1_799 + 1_800)).is_none(), "idle");
}

#[test]
fn a_password_that_somebody_else_set_is_for_one_sign_in() {
    let (_dir, accounts) = town();
    let li = accounts.named("li").unwrap().id;
    let (old, _) = (sign_in(&accounts, "li", PASSWORD, NOON).unwrap(), ());
    let (token, _) =
        accounts.issue_token(li, "machine", &[Permission::ReadRecords], NOON + Millis::days(1), NOON).unwrap();
    let given = password::made_up();
    assert!(accounts.reset_password(li, &given).unwrap().one_time);
    assert!(accounts.who(&old, NOON).is_none() && accounts.who(&token, NOON).is_none());
    let (first, second) =
        (sign_in(&accounts, "li", &given, NOON).unwrap(), sign_in(&accounts, "li", &given, NOON).unwrap());
    let acting = accounts.who(&first, NOON).unwrap();
    assert!(acting.one_time);
    let change = |current: &str, new: &str| {
        accounts.change_password(&acting, current, new, NOON).map_err(|fault| fault.reason())
    };
    assert_eq!(change("wrong password", "another password"), Err(Reason::SignInFailed));
    assert_eq!(change(&given, "short"), Err(Reason::PasswordUnfit));
    assert_eq!(change(&given, &given), Err(Reason::PasswordUnfit));
    assert_eq!(change(&given, "another password"), Ok(()));
    assert!(!accounts.who(&first, NOON).unwrap().one_time);
    assert!(accounts.who(&second, NOON).is_none(), "other sessions end");
}

#[test]
fn a_token_is_scoped_expires_to_the_second_and_is_revoked() {
    let (dir, accounts) = town();
    let li = accounts.named("li").unwrap().id;
    let issue = |scope: &[Permission], life: Millis| {
        accounts.issue_token(li, "importer", scope, NOON + life, NOON).map_err(|fault| fault.to_string())
    };
    for (scope, life) in [
        (&[][..], Millis::days(1)),
        (&[Permission::ManageAccounts], Millis::days(1)),
        (&[Permission::ReadRecords], Millis(0)),
        (&[Permission::ReadRecords], MAX_TOKEN_LIFE + Millis(1)),
    ] {
        assert!(issue(scope, life).is_err(), "{scope:?} {life:?}");
    }
    let (text, token) = issue(&[Permission::ReadRecords, Permission::ReadStock], Millis::hours(1)).unwrap();
    assert!(!std::fs::read_to_string(dir.path().join("accounts.json")).unwrap().contains(&text[4..]));
    let may = |now| accounts.who(&text, now).map(|acting| acting.permissions.iter().collect::<Vec<_>>());
    let both = vec![Permission::ReadRecords, Permission::ReadStock];
    assert_eq!(may(NOON + Millis::secs(3_599)), Some(both));
    assert_eq!(may(NOON + Millis::secs(3_600)), None);
    // What the account may no more, its token may no more.
    accounts.set_roles(li, &[AccountRole::Reader]).unwrap();
    assert_eq!(may(NOON), Some(vec![Permission::ReadRecords]));
    let wang = accounts.named("wang").unwrap().id;
    assert!(accounts.revoke_token(Some(wang), token.id).is_err(), "somebody else's");
    accounts.revoke_token(Some(li), token.id).unwrap();
    assert_eq!(may(NOON), None);
    assert!(accounts.who("vns_nothing", NOON).is_none() && accounts.who("", NOON).is_none());

    let (kept, _) =
        accounts.issue_token(wang, "kept", &[Permission::ReadStock], NOON + Millis::hours(1), NOON).unwrap();
    drop(accounts);
    let limits = Limits { idle: Millis::minutes(30), absolute: Millis::hours(12) };
    let file = dir.path().join("accounts.json");
    let again = Accounts::open("gulou".parse().unwrap(), &file, Cost::FOR_TESTS_ONLY, limits).unwrap();
    assert!(again.who(&kept, NOON).is_some(), "tokens outlive a restart");
    assert!(again.who("vns_li", NOON).is_none(), "sessions do not");
}

#[test]
fn names_are_plain_and_distinct() {
    let (_dir, accounts) = town();
    for (name, reason) in [
        ("li", Reason::AccountExists),
        ("", Reason::Malformed),
        ("a b", Reason::Malformed),
        ("a\nb", Reason::Malformed),
    ] {
        let refused = accounts.create(name, &[], PASSWORD, false, NOON).unwrap_err();
        assert_eq!(refused.reason(), reason, "{name}");
    }
    accounts.create("王芳", &[AccountRole::Reader], PASSWORD, false, NOON).unwrap();
}
