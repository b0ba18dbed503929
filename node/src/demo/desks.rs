//! The accounts of the demo's desks: for each institution only what its desks need, and how a desk signs in.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use actors::clock::Clock as _;
use anyhow::Context as _;
use domain::member::Role;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::client::Client;
use super::federation::Institution;
use crate::accounts::Accounts;
use crate::accounts::password::Cost;
use crate::accounts::permission::AccountRole as R;
use crate::clock::NodeClock;
use crate::config::{AccountRules, Config};

/// What the digest behind a desk's password begins with.
const PASSWORD_DOMAIN: &[u8] = b"voucher-node/v1/demo-desk\0";

/// Who moves the clock of every node.
pub(super) const CLOCK: &str = "federation-clock";
/// Who is at the desk of every institution.
pub(super) const CLERK: &str = "clerk-li";
/// The issuer's first officer.
pub(super) const OFFICER: &str = "officer-wang";
/// The issuer's second officer.
pub(super) const SECOND_OFFICER: &str = "officer-zhao";
/// Who examines at every hospital.
pub(super) const DOCTOR: &str = "doctor-chen";
/// The office of every hospital.
pub(super) const OFFICE: &str = "office-sun";

/// Rules for nodes of the demo: passwords that protect nothing are hashed cheaply, a hundred times a story. Never elsewhere.
pub(super) fn rules() -> AccountRules {
    let Cost { memory_kib, passes } = Cost::FOR_TESTS_ONLY;
    AccountRules { password_memory_kib: memory_kib, password_passes: passes, ..AccountRules::default() }
}

/// The accounts of an institution, by what it plays.
fn accounts(roles: &[Role]) -> Vec<(&'static str, Vec<R>)> {
    let mut all = vec![("admin-gao", vec![R::Administrator]), (CLOCK, vec![R::Clock])];
    let mut clerk = Vec::new();
    for role in roles {
        match role {
            Role::Issuer => {
                // Each can be the other's second person.
                let both = [R::RegistrarOfficer, R::IssuingOfficer, R::ClaimsOfficer];
                all.push((OFFICER, [both.as_slice(), &[R::ProgrammeOfficer, R::Statistician]].concat()));
                all.push((SECOND_OFFICER, both.to_vec()));
                clerk.push(R::Reader);
            }
            Role::Community => {
                clerk.push(R::CommunityClerk);
                all.push(("manager-he", vec![R::CommunityManager]));
            }
            Role::Hospital => {
                clerk.push(R::Receptionist);
                all.push((DOCTOR, vec![R::Examiner]));
                all.push((OFFICE, vec![R::HospitalOfficer]));
            }
            Role::Auditor => clerk.push(R::Auditor),
            Role::Voucher => {}
        }
    }
    all.push((CLERK, clerk));
    all
}

/// The secret from which the demo makes the passwords of its desks, so that a second start signs in as the first did.
#[derive(Debug, Clone)]
pub(super) struct Desks {
    secret: [u8; 32],
}

impl Desks {
    /// Reads the secret from a file, or makes it if there is none; only its owner may read it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub(super) fn load_or_make(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            write_private(path, &hex::encode(rand::random::<[u8; 32]>()))?;
        }
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut secret = [0; 32];
        hex::decode_to_slice(text.trim_end(), &mut secret).with_context(|| path.display().to_string())?;
        Ok(Self { secret })
    }

    fn password(&self, institution: &str, name: &str) -> String {
        let mut hash = sha2::Sha256::new();
        for part in [PASSWORD_DOMAIN, &self.secret, institution.as_bytes(), b"\0", name.as_bytes()] {
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }

    /// Makes the accounts of an institution whose node does not run yet; those that are there are kept.
    ///
    /// # Errors
    ///
    /// The file of accounts cannot be written.
    pub(super) fn furnish(&self, config: &Config) -> anyhow::Result<()> {
        let rules = &config.accounts;
        let kept = Accounts::open(config.institution, &config.accounts_file(), rules.cost(), rules.limits())?;
        let now = NodeClock::real().now();
        for (name, roles) in accounts(&config.roles) {
            if kept.named(name).is_none() {
                kept.create(name, &roles, &self.password(config.institution.as_str(), name), false, now)?;
            }
        }
        Ok(())
    }

    /// Writes down who signs in on which node's pages, for whoever goes on by hand.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn write_accounts(&self, path: &Path, institutions: &[Institution]) -> anyhow::Result<()> {
        let mut text = String::from("Who signs in on which page; a password is good in this demo alone.\n");
        for Institution { id, url, roles, .. } in institutions {
            text.push_str(&format!("\n{id}  {url}/\n"));
            for (name, held) in accounts(roles) {
                let held: Vec<_> = held.iter().map(|role| role.code()).collect();
                text.push_str(&format!("  {name:<14} {}  {}\n", self.password(id, name), held.join(", ")));
            }
        }
        write_private(path, &text)
    }

    /// What a desk sends to sign in.
    pub(super) fn sign_in(&self, institution: &str, name: &str) -> Value {
        json!({ "name": name, "password": self.password(institution, name) })
    }
}

/// Writes a file that only its owner may read, anew each time.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    writeln!(file.with_context(|| path.display().to_string())?, "{text}")?;
    Ok(())
}

/// A token for whoever goes on by hand: one desk of each institution, for a day, in a file that `curl -H @FILE` reads.
///
/// # Errors
///
/// A node gives none, or a file cannot be written.
pub(super) async fn write_tokens(client: &Client, dir: &Path, issuer: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for institution in client.institutions().map(str::to_owned).collect::<Vec<_>>() {
        let desk = super::desk::Desk::new(client, &institution, if institution == issuer { OFFICER } else { CLERK });
        let may = desk.get("/v1/sessions/current").await?.good()?.body["permissions"].clone();
        let wish = json!({ "label": "walk", "scope": may, "expires_in_secs": 86_400 });
        let token = desk.post("/v1/tokens", wish).await?.good()?;
        let header = format!("Authorization: Bearer {}", token.text("/bearer")?);
        write_private(&dir.join(&institution), &header)?;
    }
    Ok(())
}

/// Sessions that desks have opened, by institution and name.
pub(super) type Open = BTreeMap<(String, String), String>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::permission::{Permission, Permissions};

    #[test]
    fn no_desk_has_what_another_needs() {
        let of = |roles: &[Role], name: &str| {
            let all = accounts(roles);
            let (_, held) = all.iter().find(|(n, _)| *n == name).unwrap();
            Permissions::of(held)
        };
        let hospital = [Role::Hospital];
        assert!(!of(&hospital, CLERK).has(Permission::CompleteExaminations));
        assert!(!of(&hospital, DOCTOR).has(Permission::AdmitHolders));
        assert!(!of(&[Role::Community], CLERK).has(Permission::ManageResidents));
        for name in ["admin-gao", CLOCK] {
            assert_eq!(of(&[Role::Issuer], name).iter().count(), 1, "{name}");
        }
    }
}
