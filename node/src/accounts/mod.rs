//! Accounts: who may act for this institution at its node, and how they prove it (docs/decisions/0018-accounts.md).
//!
//! A password opens a session, a session or a token says which account acts, an account's roles say what it may do. Nothing
//! of it enters the ledger but a pseudonym. The clock comes in by argument.

pub mod password;
pub mod permission;
pub mod session;
pub mod store;
pub mod throttle;

#[cfg(test)]
pub(crate) mod planted;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use domain::ids::{InstitutionId, Operator};
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use parking_lot::{Mutex, RwLock};
use sha2::Digest as _;
use uuid::Uuid;

use password::Cost;
use permission::{AccountRole, Permission, Permissions};
use session::{Limits, Proof, SecretDigest, Session, Sessions, TOKEN_PREFIX};
pub use store::Subject;
use store::{Account, Book, Shelf, Token};
use throttle::Throttle;

/// Longest name of an account, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Longest label of a token, in bytes.
pub const MAX_LABEL_BYTES: usize = 100;

/// Longest life of a token.
pub const MAX_TOKEN_LIFE: Millis = Millis::days(366);

/// How long a password that somebody else has set waits for its one sign-in.
pub const ONE_TIME_LIFE: Millis = Millis::days(1);

/// Most accounts of a node.
pub const MAX_ACCOUNTS: usize = 10_000;

/// Most tokens of one account.
pub const MAX_TOKENS_OF_AN_ACCOUNT: usize = 32;

/// Why something about accounts is not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Name or password is wrong, or the account is disabled; which of them is told to nobody.
    #[error("name or password is wrong, or the account is disabled")]
    SignInFailed,
    /// Too many tries.
    #[error("too many tries; the next one is possible in {} s", secs(*.0))]
    Throttled(Millis),
    /// The password is too short, easily guessed, or has the account's name in it.
    #[error(
        "a password has at least {} characters, does not hold the account's name, and is not easily guessed",
        password::MIN_PASSWORD_CHARS
    )]
    PasswordUnfit,
    /// The name is taken.
    #[error("an account of that name exists")]
    Exists,
    /// There is no such account or token.
    #[error("there is no such account or token")]
    Unknown,
    /// Another account is linked to the subject.
    #[error("another account is linked to that subject")]
    SubjectTaken,
    /// No account is linked to the subject, or it is disabled; which of them is told to nobody.
    #[error("no account is linked to that subject, or it is disabled")]
    NotLinked,
    /// Somebody must be able to keep the accounts.
    #[error("it is the last account that can keep accounts")]
    LastAdministrator,
    /// More than the account itself may do, or longer than a token lives.
    #[error("{0}")]
    Unfit(&'static str),
    /// Another process has the file.
    #[error("{} is in use: stop the node first, or ask it (/v1/accounts)", .0.display())]
    InUse(PathBuf),
    /// The file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
    /// No hash can be made.
    #[error("argon2: {0}")]
    Hashing(String),
}

/// Whole seconds, rounded up: whoever waits so long does not come too early.
const fn secs(left: Millis) -> i64 {
    (left.0 + 999) / 1_000
}

impl Fault {
    fn file(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), why: why.to_string() }
    }

    fn hashing(why: impl std::fmt::Display) -> Self {
        Self::Hashing(why.to_string())
    }

    /// The reason code of it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::SignInFailed => Reason::SignInFailed,
            Self::Throttled(_) => Reason::SignInThrottled,
            Self::PasswordUnfit => Reason::PasswordUnfit,
            Self::Exists => Reason::AccountExists,
            Self::Unknown => Reason::NotFound,
            Self::SubjectTaken => Reason::SubjectTaken,
            Self::NotLinked => Reason::AccountNotLinked,
            Self::LastAdministrator => Reason::LastAdministrator,
            Self::Unfit(_) => Reason::Malformed,
            Self::InUse(_) | Self::File { .. } | Self::Hashing(_) => Reason::Internal,
        }
    }

    /// Seconds after which asking again may help.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u32> {
        match self {
            Self::Throttled(left) => u32::try_from(secs(*left)).ok(),
            _ => None,
        }
    }
}

/// By what somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A person signed in.
    Session(Uuid),
    /// A machine's token.
    Token(Uuid),
    /// A machine's JWT by the identity provider.
    Jwt,
}

/// An account that acts, by this request.
#[derive(Debug, Clone)]
pub struct Acting {
    /// Which account.
    pub account: Uuid,
    /// Its pseudonym, as records carry it.
    pub operator: Operator,
    /// What it may do by this request.
    pub permissions: Permissions,
    /// How it proved itself.
    pub by: Credential,
    /// Nothing but another password is possible.
    pub one_time: bool,
    /// What a page must send back, where the session came as a cookie.
    pub csrf: Option<String>,
}

/// The pseudonym of an account: the same in all its records, and telling nothing to who has not this node's file.
#[must_use]
pub fn pseudonym(institution: InstitutionId, account: Uuid) -> Operator {
    let mut hash = sha2::Sha256::new();
    hash.update(b"voucher-node/v1/account\0");
    hash.update(institution.as_str());
    hash.update(b"\0");
    hash.update(account.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Operator(Uuid::from_bytes(id))
}

/// The accounts of a node.
#[derive(Debug)]
pub struct Accounts {
    institution: InstitutionId,
    cost: Cost,
    limits: Limits,
    /// What is verified when there is no such account, so that both take as long.
    nobody: String,
    shelf: RwLock<Shelf>,
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
}

impl Accounts {
    /// Opens the file of a node.
    ///
    /// # Errors
    ///
    /// Another process has it, or it cannot be read.
    pub fn open(institution: InstitutionId, file: &Path, cost: Cost, limits: Limits) -> Result<Self, Fault> {
        let nobody = cost.hash(&password::made_up())?;
        let shelf = RwLock::new(Shelf::open(file)?);
        Ok(Self { institution, cost, limits, nobody, shelf, sessions: Mutex::default(), throttle: Mutex::default() })
    }

    /// The pseudonym of one of these accounts.
    #[must_use]
    pub fn pseudonym(&self, account: Uuid) -> Operator {
        pseudonym(self.institution, account)
    }

    /// How long sessions last.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Every account, by time of creation.
    #[must_use]
    pub fn all(&self) -> Vec<Account> {
        self.shelf.read().book().accounts.clone()
    }

    /// An account by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Account> {
        self.shelf.read().book().named(name).cloned()
    }

    /// Makes an account. Slow: it hashes.
    ///
    /// # Errors
    ///
    /// [`Fault::Exists`], [`Fault::PasswordUnfit`], [`Fault::Unfit`] for a name that cannot be.
    pub fn create(
        &self,
        name: &str,
        roles: &[AccountRole],
        password: &str,
        one_time: bool,
        now: Timestamp,
    ) -> Result<Account, Fault> {
        check_name(name)?;
        password::check(password, name, self.institution)?;
        let hash = Some(self.cost.hash(password)?);
        let one_time_until = one_time.then(|| now + ONE_TIME_LIFE);
        let account = Account { hash, one_time, one_time_until, ..blank(name, roles, now) };
        self.shelf.write().change(|book| add(book, account))
    }

    /// Makes an account that no password opens: its owner signs in at the identity provider.
    ///
    /// # Errors
    ///
    /// [`Fault::Exists`], [`Fault::SubjectTaken`], [`Fault::Unfit`].
    pub fn create_linked(
        &self,
        name: &str,
        roles: &[AccountRole],
        subject: Subject,
        now: Timestamp,
    ) -> Result<Account, Fault> {
        check_name(name)?;
        check_subject(&subject)?;
        self.shelf.write().change(|book| {
            let subject = Some(free(book, subject, None)?);
            add(book, Account { subject, ..blank(name, roles, now) })
        })
    }

    /// Links an account to a subject of the identity provider, or to none. Its sessions end. With `drop_password` no
    /// password opens it from now on.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`], [`Fault::SubjectTaken`], [`Fault::Unfit`]; [`Fault::LastAdministrator`] if nobody could sign in any
    /// more who keeps accounts.
    pub fn link(&self, id: Uuid, subject: Option<Subject>, drop_password: bool) -> Result<Account, Fault> {
        subject.as_ref().map_or(Ok(()), check_subject)?;
        if drop_password && subject.is_none() {
            return Err(Fault::Unfit("an account without a subject keeps its password: nobody could sign in"));
        }
        let account = self.shelf.write().change(|book| {
            let subject = subject.map(|subject| free(book, subject, Some(id))).transpose()?;
            let account = book.account_mut(id)?;
            account.subject = subject;
            if drop_password {
                (account.hash, account.one_time, account.one_time_until) = (None, false, None);
            }
            let account = account.clone();
            if book.has_administrator() { Ok(account) } else { Err(Fault::LastAdministrator) }
        })?;
        self.sessions.lock().end_all(id, None);
        Ok(account)
    }

    /// Gives an account other roles. They act from the next request on.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`], [`Fault::LastAdministrator`].
    pub fn set_roles(&self, id: Uuid, roles: &[AccountRole]) -> Result<Account, Fault> {
        self.alter(id, |account| account.roles = in_order(roles))
    }

    /// Disables an account, or lets it in again. Its sessions end.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn set_disabled(&self, id: Uuid, disabled: bool) -> Result<Account, Fault> {
        let account = self.alter(id, |account| account.disabled = disabled)?;
        self.sessions.lock().end_all(id, None);
        Ok(account)
    }

    fn alter(&self, id: Uuid, change: impl FnOnce(&mut Account)) -> Result<Account, Fault> {
        self.shelf.write().change(|book| {
            let account = book.account_mut(id)?;
            change(account);
            let account = account.clone();
            if book.has_administrator() { Ok(account) } else { Err(Fault::LastAdministrator) }
        })
    }

    /// Sets somebody else's password, for one sign-in. Sessions end and tokens are gone: it may have been stolen. Slow.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`], [`Fault::PasswordUnfit`].
    pub fn reset_password(&self, id: Uuid, password: &str, now: Timestamp) -> Result<Account, Fault> {
        let account = self.put_password(id, password, Some(now + ONE_TIME_LIFE), None)?;
        self.shelf.write().change(|book| {
            book.tokens.retain(|token| token.account != id);
            Ok(())
        })?;
        self.sessions.lock().end_all(id, None);
        Ok(account)
    }

    /// Sets the own password. Other sessions end. Slow: it hashes twice.
    ///
    /// # Errors
    ///
    /// [`Fault::SignInFailed`] for a wrong current one, [`Fault::Throttled`], [`Fault::PasswordUnfit`].
    pub fn change_password(&self, acting: &Acting, current: &str, new: &str, now: Timestamp) -> Result<(), Fault> {
        let account = self.shelf.read().book().account(acting.account).cloned().ok_or(Fault::Unknown)?;
        self.throttle.lock().attempt(&account.name, None, now).map_err(Fault::Throttled)?;
        if !self.is_right(current, Some(&account)) {
            return Err(Fault::SignInFailed);
        }
        self.throttle.lock().succeeded(&account.name, None);
        if current == new {
            return Err(Fault::PasswordUnfit);
        }
        self.put_password(account.id, new, None, account.hash.as_deref())?;
        let this = match acting.by {
            Credential::Session(id) => Some(id),
            Credential::Token(_) | Credential::Jwt => None,
        };
        self.sessions.lock().end_all(account.id, this);
        Ok(())
    }

    /// Puts a password in the place of `old`, or of whatever there is: while this one was hashed another may have been set.
    /// With a time it is for one sign-in until then.
    fn put_password(
        &self,
        id: Uuid,
        password: &str,
        one_time_until: Option<Timestamp>,
        old: Option<&str>,
    ) -> Result<Account, Fault> {
        let name = self.shelf.read().book().account(id).ok_or(Fault::Unknown)?.name.clone();
        password::check(password, &name, self.institution)?;
        let hash = self.cost.hash(password)?;
        self.shelf.write().change(|book| {
            let account = book.account_mut(id)?;
            if old.is_some_and(|old| account.hash.as_deref() != Some(old)) {
                return Err(Fault::SignInFailed);
            }
            (account.hash, account.one_time, account.one_time_spent) = (Some(hash), one_time_until.is_some(), false);
            account.one_time_until = one_time_until;
            Ok(account.clone())
        })
    }

    /// Opens a session by name and password. Slow: it hashes, as long for a name that nobody has.
    ///
    /// # Errors
    ///
    /// [`Fault::SignInFailed`], [`Fault::Throttled`].
    pub fn sign_in(
        &self,
        name: &str,
        password: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(String, Session, Account), Fault> {
        if name.len() > MAX_NAME_BYTES || password.len() > password::MAX_PASSWORD_BYTES {
            return Err(Fault::SignInFailed);
        }
        self.throttle.lock().attempt(name, address, now).map_err(Fault::Throttled)?;
        let known = self.named(name);
        let is_right = self.is_right(password, known.as_ref());
        // One that somebody else has set is for one sign-in, and not for ever: nobody keeps watch over the note it stands on.
        let is_over =
            |account: &Account| account.one_time_spent || account.one_time_until.is_some_and(|until| now >= until);
        let opens = |account: &Account| is_right && !account.disabled && !(account.one_time && is_over(account));
        let account = known.filter(opens).ok_or(Fault::SignInFailed)?;
        if account.one_time {
            self.spend(account.id)?;
        }
        self.throttle.lock().succeeded(name, address);
        let (text, session) = self.sessions.lock().begin(account.id, Proof::Password, now, self.limits);
        // Between looking and opening it may have been disabled or changed.
        let still = self.named(name).is_some_and(|now| !now.disabled && now.hash == account.hash);
        if !still {
            self.sessions.lock().end(session.id);
            return Err(Fault::SignInFailed);
        }
        Ok((text, session, account))
    }

    /// Takes a password that is for one sign-in: of several tries at once, one opens a session.
    fn spend(&self, id: Uuid) -> Result<(), Fault> {
        self.shelf.write().change(|book| {
            let account = book.account_mut(id)?;
            if std::mem::replace(&mut account.one_time_spent, true) { Err(Fault::SignInFailed) } else { Ok(()) }
        })
    }

    /// Whether a password opens an account. It takes as long where there is no account, or none that has a password.
    fn is_right(&self, password: &str, account: Option<&Account>) -> bool {
        let hash = account.and_then(|account| account.hash.as_ref());
        password::is_right(password, hash.unwrap_or(&self.nobody)) && hash.is_some()
    }

    /// Counts a try to sign in at the identity provider, as failed until it succeeds.
    ///
    /// # Errors
    ///
    /// [`Fault::Throttled`].
    pub fn attempt_from(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Fault> {
        let Some(address) = address else { return Ok(()) };
        self.throttle.lock().attempt_from(address, now).map_err(Fault::Throttled)
    }

    /// Opens a session of whom the identity provider has named, by a try that was counted.
    ///
    /// # Errors
    ///
    /// [`Fault::NotLinked`].
    pub fn sign_in_as(
        &self,
        subject: &Subject,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(String, Session, Account), Fault> {
        // Held until the session is there: whoever disables or unlinks the account ends it too.
        let shelf = self.shelf.read();
        let account = acting_for(shelf.book(), subject)?;
        let (text, session) = self.sessions.lock().begin(account.id, Proof::Provider, now, self.limits);
        self.throttle.lock().succeeded_from(address);
        Ok((text, session, account.clone()))
    }

    /// Whom a JWT of the identity provider stands for now: a machine, which keeps no accounts and is nobody's second person.
    ///
    /// # Errors
    ///
    /// [`Fault::NotLinked`].
    pub fn who_is(&self, subject: &Subject, scope: Option<Permissions>) -> Result<Acting, Fault> {
        let shelf = self.shelf.read();
        let account = acting_for(shelf.book(), subject)?;
        let all = account.permissions().without(Permission::ManageAccounts);
        Ok(Acting {
            account: account.id,
            operator: self.pseudonym(account.id),
            permissions: scope.map_or(all, |scope| all.and(scope)),
            by: Credential::Jwt,
            one_time: false,
            csrf: None,
        })
    }

    /// Ends a session.
    pub fn sign_out(&self, session: Uuid) {
        self.sessions.lock().end(session);
    }

    /// The sessions of an account that are open.
    #[must_use]
    pub fn sessions(&self, account: Uuid, now: Timestamp) -> Vec<Session> {
        self.sessions.lock().of(account, now, self.limits)
    }

    /// Ends one session of an account.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`] if it has none of that id.
    pub fn sign_out_of(&self, account: Uuid, session: Uuid, now: Timestamp) -> Result<(), Fault> {
        let mut sessions = self.sessions.lock();
        if !sessions.of(account, now, self.limits).iter().any(|open| open.id == session) {
            return Err(Fault::Unknown);
        }
        sessions.end(session);
        Ok(())
    }

    /// Ends all sessions of an account.
    pub fn sign_out_everywhere(&self, account: Uuid) {
        self.sessions.lock().end_all(account, None);
    }

    /// Who a secret stands for now. None if it is unknown, over, revoked, or its account is disabled.
    #[must_use]
    pub fn who(&self, secret: &str, now: Timestamp) -> Option<Acting> {
        let digest = SecretDigest::of(secret);
        let (account, by, scope, csrf, proof) = if secret.starts_with(TOKEN_PREFIX) {
            let (shelf, digest) = (self.shelf.read(), hex::encode(digest.0));
            let token = shelf.book().tokens.iter().find(|token| token.digest == digest && now < token.expires_at)?;
            let scope = token.scope.iter().copied().collect();
            (token.account, Credential::Token(token.id), Some(scope), None, Proof::Password)
        } else {
            let session = self.sessions.lock().find(digest, now, self.limits)?;
            (session.account, Credential::Session(session.id), None, Some(session.csrf), session.proof)
        };
        let shelf = self.shelf.read();
        let account = shelf.book().account(account).filter(|account| !account.disabled)?;
        let all = account.permissions();
        Some(Acting {
            account: account.id,
            operator: self.pseudonym(account.id),
            permissions: scope.map_or(all, |scope: Permissions| all.and(scope)),
            by,
            // Whoever came by the provider has shown no password that somebody else has set.
            one_time: account.one_time && proof == Proof::Password,
            csrf,
        })
    }

    /// Makes a token of an account; its text is known to nobody but the caller.
    ///
    /// # Errors
    ///
    /// [`Fault::Unfit`] for a scope beyond the account's, a life that is too long, or too many tokens.
    pub fn issue_token(
        &self,
        account: Uuid,
        label: &str,
        scope: &[Permission],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(String, Token), Fault> {
        if label.is_empty() || label.len() > MAX_LABEL_BYTES || label.chars().any(char::is_control) {
            return Err(Fault::Unfit("a label has 1 to 100 bytes and no control characters"));
        }
        if expires_at <= now || expires_at > now + MAX_TOKEN_LIFE {
            return Err(Fault::Unfit("a token expires in the future, within 366 days"));
        }
        let text = session::secret(TOKEN_PREFIX);
        let token = Token {
            id: Uuid::new_v4(),
            account,
            label: label.to_owned(),
            digest: hex::encode(SecretDigest::of(&text).0),
            scope: scope.iter().copied().collect::<Permissions>().iter().collect(),
            created_at: now,
            expires_at,
        };
        self.shelf.write().change(|book| {
            let held = book.account(account).ok_or(Fault::Unknown)?.permissions();
            let wanted: Permissions = scope.iter().copied().collect();
            // A token is for a machine: whoever keeps accounts is a person.
            if wanted == Permissions::default() || !wanted.is_within(held) || wanted.has(Permission::ManageAccounts) {
                return Err(Fault::Unfit("a scope names permissions that the account has, and not manage-accounts"));
            }
            book.tokens.retain(|token| now < token.expires_at);
            if book.tokens.iter().filter(|token| token.account == account).count() >= MAX_TOKENS_OF_AN_ACCOUNT {
                return Err(Fault::Unfit("an account has at most 32 tokens; revoke one"));
            }
            book.tokens.push(token.clone());
            Ok((text, token))
        })
    }

    /// The tokens of an account.
    #[must_use]
    pub fn tokens(&self, account: Uuid) -> Vec<Token> {
        self.shelf.read().book().tokens.iter().filter(|token| token.account == account).cloned().collect()
    }

    /// Revokes a token, of an account or, for whoever keeps accounts, of anybody. It opens nothing from now on.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub fn revoke_token(&self, of: Option<Uuid>, id: Uuid) -> Result<(), Fault> {
        self.shelf.write().change(|book| {
            let before = book.tokens.len();
            book.tokens.retain(|token| token.id != id || of.is_some_and(|account| account != token.account));
            if book.tokens.len() < before { Ok(()) } else { Err(Fault::Unknown) }
        })
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let is_plain = |c: char| c.is_alphanumeric() || "-._@".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(is_plain) {
        return Err(Fault::Unfit("a name has 1 to 64 bytes: letters, digits, - . _ @"));
    }
    Ok(())
}

fn check_subject(subject: &Subject) -> Result<(), Fault> {
    crate::oidc::jwt::check_subject(&subject.sub)
        .map_err(|_| Fault::Unfit("a subject has 1 to 255 bytes of ASCII and no control characters"))
}

/// An account that nothing opens yet.
fn blank(name: &str, roles: &[AccountRole], now: Timestamp) -> Account {
    Account {
        id: Uuid::new_v4(),
        name: name.to_owned(),
        roles: in_order(roles),
        hash: None,
        one_time: false,
        one_time_spent: false,
        one_time_until: None,
        disabled: false,
        created_at: now,
        subject: None,
    }
}

fn add(book: &mut Book, account: Account) -> Result<Account, Fault> {
    if book.named(&account.name).is_some() {
        return Err(Fault::Exists);
    }
    if book.accounts.len() >= MAX_ACCOUNTS {
        return Err(Fault::Unfit("there are too many accounts"));
    }
    book.accounts.push(account.clone());
    Ok(account)
}

/// A subject that no other account is linked to.
fn free(book: &Book, subject: Subject, but: Option<Uuid>) -> Result<Subject, Fault> {
    let taken = book.of_subject(&subject).is_some_and(|account| Some(account.id) != but);
    if taken { Err(Fault::SubjectTaken) } else { Ok(subject) }
}

/// The account that acts for a subject: linked, and not disabled.
fn acting_for<'a>(book: &'a Book, subject: &Subject) -> Result<&'a Account, Fault> {
    book.of_subject(subject).filter(|account| !account.disabled).ok_or(Fault::NotLinked)
}

fn in_order(roles: &[AccountRole]) -> Vec<AccountRole> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    roles
}
