//! Callers for tests of the interface: accounts whose secrets are known beforehand.

use domain::ids::InstitutionId;
use domain::time::Timestamp;

use super::password::{Cost, made_up};
use super::permission::AccountRole;
use super::session::Limits;
use super::*;

/// A header's name and value: a session of an account that may do everything.
pub(crate) const CLERK: (&str, &str) = ("Authorization", "Bearer vns_li");
/// Another one.
pub(crate) const SECOND: (&str, &str) = ("Authorization", "Bearer vns_wang");
/// A session of an account that may do nothing.
pub(crate) const POWERLESS: (&str, &str) = ("Authorization", "Bearer vns_nobody");
/// The password of all three.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Accounts in a directory: li and wang, who may do everything, and somebody who may do nothing.
pub(crate) fn accounts(institution: InstitutionId, dir: &Path, now: Timestamp) -> Accounts {
    let limits = Limits { idle: Millis::minutes(30), absolute: Millis::hours(12) };
    let accounts = Accounts::open(institution, &dir.join("accounts.json"), Cost::FOR_TESTS_ONLY, limits).unwrap();
    for (name, roles) in [("li", AccountRole::ALL), ("wang", AccountRole::ALL), ("nobody", &[])] {
        let account = accounts.create(name, roles, PASSWORD, false, now).unwrap();
        accounts.sessions.lock().plant(&format!("vns_{name}"), account.id, now);
    }
    assert!(made_up().len() > 12);
    accounts
}

/// A session of an account of these roles, made where there is none yet: its secret.
pub(crate) fn session(accounts: &Accounts, name: &str, roles: &[AccountRole], now: Timestamp) -> String {
    let account = accounts.named(name).unwrap_or_else(|| accounts.create(name, roles, PASSWORD, false, now).unwrap());
    let secret = format!("vns_{name}");
    accounts.sessions.lock().plant(&secret, account.id, now);
    secret
}
