//! Passwords: argon2id hashes, what a password must be, and one that is made up for the first sign-in.

use argon2::password_hash::PasswordVerifier as _;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use domain::ids::InstitutionId;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

use super::Fault;

/// Fewest characters of a password.
pub const MIN_PASSWORD_CHARS: usize = 12;

/// Longest password, in bytes: hashing takes no longer for a longer one, reading does.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// Fewest letters and digits of a password beside such words.
const MIN_OWN_CHARS: usize = 6;

/// Words of this work: nobody's password is made of them.
const OUR_WORDS: [&str; 10] =
    ["voucher", "hospital", "community", "health", "issuer", "registrar", "auditor", "office", "ledger", "nanjing"];

/// Random bytes behind a password that is made up: 100 bits.
const MADE_UP_CHARS: usize = 20;

/// Characters of a password that is made up: nothing that is read as something else.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A text that is wiped from memory when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::ops::Deref for Secret {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// How much work a hash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

/// OWASP's second choice for argon2id: 19 MiB, two passes, one lane.
impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

impl Cost {
    /// So cheap that it protects nothing: for tests and the demo, whose passwords protect nothing.
    pub const FOR_TESTS_ONLY: Self = Self { memory_kib: 64, passes: 1 };

    /// Whether argon2id takes it.
    #[must_use]
    pub fn is_possible(self) -> bool {
        Params::new(self.memory_kib, self.passes, 1, None).is_ok()
    }

    /// The hash of a password, with a salt of its own, as a PHC string.
    ///
    /// # Errors
    ///
    /// [`Fault::Hashing`]: the machine gives no randomness, or the cost is not possible.
    pub fn hash(self, password: &str) -> Result<String, Fault> {
        let params = Params::new(self.memory_kib, self.passes, 1, None).map_err(Fault::hashing)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(argon2.hash_password(password.as_bytes()).map_err(Fault::hashing)?.to_string())
    }
}

/// Whether a password is the one behind a hash. Takes as long for a wrong one.
#[must_use]
pub fn is_right(password: &str, hash: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

/// Checks what a person chose.
///
/// # Errors
///
/// [`Fault::PasswordUnfit`].
pub fn check(password: &str, name: &str, institution: InstitutionId) -> Result<(), Fault> {
    let long_enough = password.chars().count() >= MIN_PASSWORD_CHARS && password.len() <= MAX_PASSWORD_BYTES;
    // One character over and over, or the account's own name, is the first that anybody tries.
    let first = password.chars().next();
    let varied = password.chars().any(|c| Some(c) != first);
    let own_name = password.to_lowercase().contains(&name.to_lowercase());
    if !(long_enough && varied && !own_name) {
        return Err(Fault::PasswordUnfit);
    }
    // What is known of this account and its institution is tried first, like the commonest passwords and runs of keys.
    let known: Vec<&str> = [name].into_iter().chain(institution.as_str().split('-')).chain(OUR_WORDS).collect();
    // Put together by a dash they look like much; what is left without them must be a password of its own.
    let mut left = password.to_lowercase();
    known.iter().filter(|word| word.len() >= 3).for_each(|word| left = left.replace(&word.to_lowercase(), ""));
    let own = left.chars().filter(|c| c.is_alphanumeric()).count();
    let is_guessed = own < MIN_OWN_CHARS || zxcvbn(password, &known).score() < Score::Three;
    if is_guessed { Err(Fault::PasswordUnfit) } else { Ok(()) }
}

/// A password for one sign-in, after which another one must be set.
#[must_use]
pub fn made_up() -> Secret {
    let bytes: [u8; MADE_UP_CHARS] = rand::random();
    Secret::from(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_argon2id_of_the_recommended_cost_and_salted() {
        assert_eq!(Cost::default(), Cost { memory_kib: 19_456, passes: 2 });
        let hash = Cost::default().hash("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(is_right("correct horse battery", &hash) && !is_right("correct horse batterz", &hash));
        let cheap = Cost::FOR_TESTS_ONLY;
        assert_ne!(cheap.hash("correct horse battery").unwrap(), cheap.hash("correct horse battery").unwrap());
        assert!(!is_right("anything", "no hash at all"));
    }

    #[test]
    fn what_a_password_must_be() {
        let table = [
            ("elevenchars", false),
            ("twelve chars", true),
            ("aaaaaaaaaaaaaaaa", false),
            ("my-Officer-Wang-1", false),
            ("十二个汉字组成的一个口令吧", true),
            ("correct horse battery", true),
            // Common ones, runs of keys, dates, and words of the place.
            ("password1234", false),
            ("P@ssw0rd2026!", false),
            ("qwertyuiop123", false),
            ("123456789012", false),
            ("abcabcabcabc", false),
            ("gulou-hospital", false),
            ("voucherhealth1", false),
        ];
        let gulou = "hospital-gulou".parse().unwrap();
        for (password, good) in table {
            assert_eq!(check(password, "officer-wang", gulou).is_ok(), good, "{password}");
        }
        assert!(check(&"xy".repeat(129), "li", gulou).is_err(), "too long");
        assert!(check(&made_up(), "li", gulou).is_ok());
        assert_ne!(made_up(), made_up());
    }
}
