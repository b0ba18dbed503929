//! The file of accounts and tokens: one for each node, whole or not at all, and no secret in it that opens anything.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Fault;
use super::permission::{AccountRole, Permission, Permissions};

/// Format of the file; 1 is the only one.
const VERSION: u32 = 1;

/// Somebody who may act for the institution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Random, for good. Records carry a pseudonym that is made of it.
    pub id: Uuid,
    /// What is typed to sign in. It stands in no record.
    pub name: String,
    /// What it is there for.
    pub roles: Vec<AccountRole>,
    /// The password's hash: a PHC string. None if no password opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The password was given by somebody else: after signing in, nothing but another password is possible.
    pub one_time: bool,
    /// That password has opened a session: it opens no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_time_spent: bool,
    /// First moment at which that password opens nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_until: Option<Timestamp>,
    /// It cannot sign in, and its tokens open nothing.
    pub disabled: bool,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// Who it is at an identity provider, if somebody who keeps accounts has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
}

/// Somebody as an identity provider knows them: by a name that it gives to nobody else, ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The provider.
    pub issuer: String,
    /// Its name for them (`sub`).
    pub sub: String,
}

/// A machine's key to an account: what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Random id, no secret.
    pub id: Uuid,
    /// Whose.
    pub account: Uuid,
    /// What it is for, in its owner's words.
    pub label: String,
    /// SHA-256 of its text, hexadecimal.
    pub digest: String,
    /// What it may do, as far as its account still may.
    pub scope: Vec<Permission>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// First moment at which it opens nothing.
    pub expires_at: Timestamp,
}

/// All that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    version: u32,
    /// By time of creation.
    pub accounts: Vec<Account>,
    /// By time of creation.
    pub tokens: Vec<Token>,
}

impl Account {
    /// What it may do now.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        if self.disabled { Permissions::default() } else { Permissions::of(&self.roles) }
    }

    fn administers(&self) -> bool {
        let can_sign_in = self.hash.is_some() || self.subject.is_some();
        can_sign_in && self.permissions().has(Permission::ManageAccounts)
    }
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, accounts: Vec::new(), tokens: Vec::new() }
    }
}

impl Book {
    /// An account by its id.
    #[must_use]
    pub fn account(&self, id: Uuid) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// An account by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// The account of a subject.
    #[must_use]
    pub fn of_subject(&self, subject: &Subject) -> Option<&Account> {
        self.accounts.iter().find(|account| account.subject.as_ref() == Some(subject))
    }

    /// An account to change.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub fn account_mut(&mut self, id: Uuid) -> Result<&mut Account, Fault> {
        self.accounts.iter_mut().find(|account| account.id == id).ok_or(Fault::Unknown)
    }

    /// Whether somebody is left who can keep the accounts.
    #[must_use]
    pub fn has_administrator(&self) -> bool {
        self.accounts.iter().any(Account::administers)
    }

    fn load(path: &Path) -> Result<Self, Fault> {
        let book: Self = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| Fault::file(path, error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Fault::file(path, error)),
        };
        if book.version == VERSION {
            Ok(book)
        } else {
            Err(Fault::file(path, "another version of the program wrote it"))
        }
    }

    fn save(&self, path: &Path) -> Result<(), Fault> {
        let write = || {
            let beside = path.with_extension("new");
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            // The new name must outlive a power cut too: a revoked token would come back.
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        write().map_err(|error: std::io::Error| Fault::file(path, error))
    }
}

/// The file, held by one process at a time.
#[derive(Debug)]
pub struct Shelf {
    path: PathBuf,
    book: Book,
    _lock: File,
}

impl Shelf {
    /// Opens the file, or a new one, and keeps other processes off it.
    ///
    /// # Errors
    ///
    /// [`Fault::InUse`], or [`Fault::File`] if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Fault::file(folder, error))?;
        }
        let beside = path.with_extension("lock");
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(&beside);
        let lock = lock.map_err(|error| Fault::file(&beside, error))?;
        lock.try_lock().map_err(|_| Fault::InUse(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), book: Book::load(path)?, _lock: lock })
    }

    /// What is kept.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Changes it, durably, or not at all.
    ///
    /// # Errors
    ///
    /// What the change says, or [`Fault::File`].
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Book) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut book = self.book.clone();
        let answer = change(&mut book)?;
        book.save(&self.path)?;
        self.book = book;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_changed_is_there_again_and_nobody_elses_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.json");
        let account = Account {
            id: Uuid::from_u128(1),
            name: "wang".into(),
            roles: vec![AccountRole::Administrator],
            hash: Some("$".into()),
            one_time: false,
            one_time_spent: false,
            one_time_until: None,
            disabled: false,
            created_at: Timestamp::MIN,
            subject: None,
        };
        let mut shelf = Shelf::open(&path).unwrap();
        assert!(matches!(Shelf::open(&path), Err(Fault::InUse(_))), "one process at a time");
        let added = shelf.change(|book| {
            book.accounts.push(account.clone());
            Ok(())
        });
        added.unwrap();
        let refused = shelf.change(|book| {
            book.accounts.clear();
            Err::<(), _>(Fault::LastAdministrator)
        });
        assert!(refused.is_err() && shelf.book().has_administrator());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        drop(shelf);
        assert_eq!(Shelf::open(&path).unwrap().book().accounts, [account]);
        fs::write(&path, "{\"version\":2,\"accounts\":[],\"tokens\":[]}").unwrap();
        assert!(Shelf::open(&path).unwrap_err().to_string().contains("another version"));
    }
}
