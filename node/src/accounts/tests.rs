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
    assert!(accounts.reset_password(li, &given, NOON).unwrap().one_time);
    assert!(accounts.who(&old, NOON).is_none() && accounts.who(&token, NOON).is_none());
    let first = sign_in(&accounts, "li", &given, NOON).unwrap();
    assert_eq!(sign_in(&accounts, "li", &given, NOON), Err(Reason::SignInFailed), "it was for one");
    let acting = accounts.who(&first, NOON).unwrap();
    assert!(acting.one_time);
    let change = |current: &str, new: &str| {
        accounts.change_password(&acting, current, new, NOON).map_err(|fault| fault.reason())
    };
    assert_eq!(change("wrong password", "nine brown otters"), Err(Reason::SignInFailed));
    assert_eq!(change(&given, "short"), Err(Reason::PasswordUnfit));
    assert_eq!(change(&given, &given), Err(Reason::PasswordUnfit));
    assert_eq!(change(&given, "nine brown otters"), Ok(()));
    assert!(!accounts.who(&first, NOON).unwrap().one_time);
    let again = || sign_in(&accounts, "li", "nine brown otters", NOON);
    let (second, _) = (again().unwrap(), again().unwrap());
    let acting = accounts.who(&first, NOON).unwrap();
    assert_eq!(
        accounts.change_password(&acting, "nine brown otters", "seven blue herons", NOON).map_err(|f| f.reason()),
        Ok(())
    );
    assert!(accounts.who(&first, NOON).is_some() && accounts.who(&second, NOON).is_none(), "other sessions end");
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

fn subject(sub: &str) -> Subject {
    Subject { issuer: "https://idp.example".into(), sub: sub.into() }
}

#[test]
fn a_subject_opens_the_account_that_somebody_linked() {
    let (dir, accounts) = town();
    let sign_in_as = |sub: &str| accounts.sign_in_as(&subject(sub), None, NOON).map_err(|fault| fault.reason());
    let [li, wang] = ["li", "wang"].map(|name| accounts.named(name).unwrap().id);
    let link = |id, sub: Option<&str>, drop| accounts.link(id, sub.map(subject), drop).map_err(|fault| fault.reason());
    assert_eq!(sign_in_as("s-li").unwrap_err(), Reason::AccountNotLinked);
    link(li, Some("s-li"), false).unwrap();
    link(li, Some("s-li"), false).unwrap();
    assert_eq!(link(wang, Some("s-li"), false), Err(Reason::SubjectTaken));
    assert_eq!(link(Uuid::nil(), Some("s-nobody"), false), Err(Reason::NotFound));
    assert_eq!(link(wang, Some(""), false), Err(Reason::Malformed));
    assert_eq!(link(wang, None, true), Err(Reason::Malformed), "nobody could sign in");

    let (text, session, account) = sign_in_as("s-li").unwrap();
    assert_eq!((account.id, session.account), (li, li));
    assert_eq!(accounts.who(&text, NOON).unwrap().by, Credential::Session(session.id));
    let elsewhere = Subject { issuer: "https://another.example".into(), ..subject("s-li") };
    assert!(accounts.sign_in_as(&elsewhere, None, NOON).is_err(), "another provider's");
    // A password of somebody else's making holds up whoever shows it, and nobody else.
    let given = password::made_up();
    accounts.reset_password(li, &given, NOON).unwrap();
    assert!(accounts.who(&text, NOON).is_none());
    let (text, ..) = sign_in_as("s-li").unwrap();
    assert!(!accounts.who(&text, NOON).unwrap().one_time);
    assert!(accounts.who(&sign_in(&accounts, "li", &given, NOON).unwrap(), NOON).unwrap().one_time);

    accounts.set_disabled(li, true).unwrap();
    assert!(accounts.who(&text, NOON).is_none());
    assert_eq!(sign_in_as("s-li").unwrap_err(), Reason::AccountNotLinked);
    accounts.set_disabled(li, false).unwrap();
    let (text, ..) = sign_in_as("s-li").unwrap();
    link(li, None, false).unwrap();
    assert!(accounts.who(&text, NOON).is_none(), "unlinked: its sessions are over");
    link(wang, Some("s-li"), false).unwrap();
    assert_eq!(sign_in_as("s-li").unwrap().2.id, wang);
    drop(accounts);
    let kept = std::fs::read_to_string(dir.path().join("accounts.json")).unwrap();
    assert_eq!(kept.matches("s-li").count(), 1);
}

#[test]
fn a_password_for_one_sign_in_lapses() {
    let (_dir, accounts) = town();
    let li = accounts.named("li").unwrap().id;
    let given = password::made_up();
    accounts.create("sun", &[AccountRole::Reader], &given, true, NOON).unwrap();
    accounts.reset_password(li, &given, NOON).unwrap();
    let end = NOON + ONE_TIME_LIFE;
    for name in ["sun", "li"] {
        assert_eq!(sign_in(&accounts, name, &given, end), Err(Reason::SignInFailed), "{name}");
        assert!(sign_in(&accounts, name, &given, end - Millis(1)).is_ok(), "{name}");
    }
    // An own one does not.
    assert!(sign_in(&accounts, "wang", PASSWORD, NOON + Millis::days(400)).is_ok());
}

#[test]
fn sessions_are_listed_and_ended_one_by_one() {
    let (_dir, accounts) = town();
    let [li, wang] = ["li", "wang"].map(|name| accounts.named(name).unwrap().id);
    let texts = [0, 1].map(|secs| sign_in(&accounts, "li", PASSWORD, NOON + Millis::secs(secs)).unwrap());
    let now = NOON + Millis::secs(2);
    let open = accounts.sessions(li, now);
    assert!(open[0].began == NOON + Millis::secs(1) && open[1..].iter().all(|session| session.began == NOON));
    let ended = |account, id| accounts.sign_out_of(account, id, now).map_err(|fault| fault.reason());
    assert_eq!(ended(wang, open[0].id), Err(Reason::NotFound), "somebody else's");
    assert_eq!((ended(li, open[0].id), ended(li, open[0].id)), (Ok(()), Err(Reason::NotFound)));
    assert!(accounts.who(&texts[1], now).is_none() && accounts.who(&texts[0], now).is_some());
    assert!(accounts.sessions(li, now + Millis::hours(1)).is_empty(), "what is over is not listed");
}

#[test]
fn an_account_without_a_password_is_opened_by_none() {
    let (_dir, accounts) = town();
    let chen = accounts.create_linked("chen", &[AccountRole::Reader], subject("s-chen"), NOON).unwrap();
    assert_eq!((chen.hash, chen.one_time), (None, false));
    let taken = accounts.create_linked("zhao", &[], subject("s-chen"), NOON).unwrap_err();
    assert_eq!(taken.reason(), Reason::SubjectTaken);
    for password in ["", PASSWORD] {
        assert_eq!(sign_in(&accounts, "chen", password, NOON), Err(Reason::SignInFailed));
    }
    let (text, ..) = accounts.sign_in_as(&subject("s-chen"), None, NOON).unwrap();
    let acting = accounts.who(&text, NOON).unwrap();
    let changed = accounts.change_password(&acting, "", "some other words", NOON);
    assert_eq!(changed.unwrap_err().reason(), Reason::SignInFailed);

    let wang = accounts.named("wang").unwrap().id;
    let linked = accounts.link(wang, Some(subject("s-wang")), true).unwrap();
    assert_eq!((linked.hash, sign_in(&accounts, "wang", PASSWORD, NOON)), (None, Err(Reason::SignInFailed)));
    // Somebody who keeps accounts must be able to sign in.
    accounts.set_roles(accounts.named("li").unwrap().id, &[]).unwrap();
    assert_eq!(accounts.link(wang, None, false).unwrap_err().reason(), Reason::LastAdministrator);
    let given = password::made_up();
    accounts.reset_password(wang, &given, NOON).unwrap();
    assert!(accounts.link(wang, None, false).is_ok() && sign_in(&accounts, "wang", &given, NOON).is_ok());
}

#[test]
fn a_jwt_acts_like_a_token() {
    let (_dir, accounts) = town();
    let li = accounts.named("li").unwrap().id;
    accounts.link(li, Some(subject("s-li")), false).unwrap();
    let all: Permissions = Permission::ALL.iter().copied().collect();
    let who = |scope| accounts.who_is(&subject("s-li"), scope).unwrap();
    assert_eq!(who(None).permissions, all.without(Permission::ManageAccounts));
    assert_eq!((who(None).by, who(None).csrf, who(None).operator), (Credential::Jwt, None, accounts.pseudonym(li)));
    assert_eq!(who(Some(all)).permissions, who(None).permissions);
    let narrow: Permissions = [Permission::ManageAccounts, Permission::ReadStock].into_iter().collect();
    assert_eq!(who(Some(narrow)).permissions.iter().collect::<Vec<_>>(), [Permission::ReadStock]);
    assert_eq!(who(None).must_be_person().map_err(|problem| problem.reason), Err(Reason::PersonNeeded));
    accounts.set_roles(li, &[AccountRole::Reader]).unwrap();
    assert!(!who(Some(all)).permissions.has(Permission::ReadStock), "what the account may no more");
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
