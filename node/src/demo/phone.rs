//! A holder's phone: a main key, a key for each programme, and the signed codes that it shows; it talks to no node by itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use actors::clock::Clock as _;
use actors::token::{HolderKey, VoucherName, vp1};
use anyhow::Context as _;
use domain::ids::VoucherId;
use sha2::Digest as _;
use uuid::Uuid;

use crate::clock::NodeClock;

/// What the digest behind a demo phone's key begins with.
const SEED_DOMAIN: &[u8] = b"voucher-node/v1/demo-phone\0";

/// The secret from which the demo makes the keys of its phones, so that a second start plays the same phones.
pub(super) struct Keyring {
    secret: [u8; 32],
}

impl Keyring {
    /// Reads the secret from a file, or makes it if there is none; only its owner may read it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or does not hold 32 bytes in hexadecimal.
    pub(super) fn load_or_make(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = hex::encode(rand::random::<[u8; 32]>());
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                writeln!(file, "{text}")?;
                text
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let mut secret = [0; 32];
        hex::decode_to_slice(text.trim_end(), &mut secret).with_context(|| path.display().to_string())?;
        Ok(Self { secret })
    }

    fn seed(&self, owner: &str, purpose: &str, round: u8) -> [u8; 32] {
        let mut hash = sha2::Sha256::new();
        for part in [SEED_DOMAIN, &self.secret, owner.as_bytes(), b"\0", purpose.as_bytes(), &[0, round]] {
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn ed25519(&self, owner: &str, purpose: &str) -> HolderKey {
        HolderKey::ed25519(&self.seed(owner, purpose, 0))
    }

    fn es256(&self, owner: &str, purpose: &str) -> HolderKey {
        // One in 2^32 scalars is not below the order of the curve: then the next, and Ed25519 if all were unlucky.
        let tries = (0..=u8::MAX).find_map(|round| HolderKey::es256(&self.seed(owner, purpose, round)).ok());
        tries.unwrap_or_else(|| self.ed25519(owner, purpose))
    }

    /// The phone of a person, with a key for each of these programmes. Phones of one kind sign with ES256, others with
    /// Ed25519; `model` says which.
    #[must_use]
    pub(super) fn phone(&self, owner: &str, programmes: &[String], model: usize, clock: &Arc<NodeClock>) -> Phone {
        let make = |purpose: &str, es256: bool| {
            if es256 { self.es256(owner, purpose) } else { self.ed25519(owner, purpose) }
        };
        let keys = programmes.iter().map(|p| (p.clone(), make(p, model.is_multiple_of(2)))).collect();
        Phone { main: make("main", model.is_multiple_of(3)), keys, enrolments: BTreeMap::new(), clock: clock.clone() }
    }
}

/// A phone.
#[derive(Clone)]
pub(super) struct Phone {
    main: HolderKey,
    keys: BTreeMap<String, HolderKey>,
    enrolments: BTreeMap<String, Uuid>,
    clock: Arc<NodeClock>,
}

impl Phone {
    /// Remembers under which id the person is enrolled in a programme.
    pub(super) fn enrol(&mut self, programme: &str, id: Uuid) {
        self.enrolments.insert(programme.to_owned(), id);
    }

    /// Whether the phone knows its enrolment in a programme.
    #[must_use]
    pub(super) fn is_enrolled(&self, programme: &str) -> bool {
        self.enrolments.contains_key(programme)
    }

    /// The public keys by programme, as text.
    #[must_use]
    pub(super) fn enrolment_keys(&self) -> BTreeMap<&str, String> {
        self.keys.iter().map(|(programme, key)| (programme.as_str(), key.public().to_string())).collect()
    }

    /// Thumbprint of the main key, hexadecimal: by it the community finds the phone.
    #[must_use]
    pub(super) fn thumbprint(&self) -> String {
        hex::encode(self.main.public().thumbprint())
    }

    /// The code *register*: this is my main key.
    #[must_use]
    pub(super) fn register_qr(&self) -> String {
        self.by_main(vp1::Step::Register { key: self.main.public() })
    }

    /// The code *identify*: who is there.
    #[must_use]
    pub(super) fn identify_qr(&self) -> String {
        self.by_main(vp1::Step::Identify)
    }

    /// The code *receive*: a voucher of this programme, from this community.
    #[must_use]
    pub(super) fn receive_qr(&self, programme: &str, community: &str) -> String {
        let step = vp1::Step::Receive { community: community.to_owned(), programme: programme.to_owned() };
        self.by_enrolment(programme, step)
    }

    /// The code *arrive*: I am here, with this voucher.
    #[must_use]
    pub(super) fn arrive_qr(&self, programme: &str, hospital: &str, voucher: &str) -> String {
        self.about(programme, hospital, voucher, |audience, voucher| vp1::Step::Arrive { audience, voucher })
    }

    /// The code *complete*: the examination took place.
    #[must_use]
    pub(super) fn complete_qr(&self, programme: &str, hospital: &str, voucher: &str) -> String {
        self.about(programme, hospital, voucher, |audience, voucher| vp1::Step::Complete { audience, voucher })
    }

    /// The code *cancel*: let the booking go, move it, or deny a use.
    #[must_use]
    pub(super) fn cancel_qr(&self, programme: &str, module: &str, voucher: &str) -> String {
        self.about(programme, module, voucher, |audience, voucher| vp1::Step::Cancel { audience, voucher })
    }

    /// The signature over a request to a node.
    #[must_use]
    pub(super) fn wallet_token(&self, institution: &str, method: &str, path: &str, body: &[u8]) -> String {
        let request = vp1::request_digest(method, path, body);
        self.by_main(vp1::Step::Wallet { audience: institution.to_owned(), request })
    }

    fn about(
        &self,
        programme: &str,
        audience: &str,
        voucher: &str,
        step: impl Fn(String, VoucherName) -> vp1::Step,
    ) -> String {
        let Ok(id) = voucher.parse::<VoucherId>() else { return String::new() };
        let name = VoucherName { issuer: id.issuer.to_string(), id: id.uuid };
        self.by_enrolment(programme, step(audience.to_owned(), name))
    }

    fn by_main(&self, step: vp1::Step) -> String {
        self.sign(self.main.public().key_id(), step, &self.main)
    }

    /// An empty text if the phone is not enrolled: a desk refuses it like any other code that is none.
    fn by_enrolment(&self, programme: &str, step: vp1::Step) -> String {
        let (Some(id), Some(key)) = (self.enrolments.get(programme), self.keys.get(programme)) else {
            return String::new();
        };
        let mut kid = [0; 8];
        kid.copy_from_slice(&id.as_bytes()[..8]);
        self.sign(kid, step, key)
    }

    fn sign(&self, kid: [u8; 8], step: vp1::Step, key: &HolderKey) -> String {
        let claims = vp1::Claims { kid, iat: self.clock.now().secs(), cti: rand::random(), step };
        vp1::sign(&claims, key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_shows_codes_that_verify_and_is_the_same_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("phones.secret");
        let clock = Arc::new(NodeClock::federation(domain::time::Millis(0)));
        let programmes = ["p-1".to_owned(), "p-2".to_owned()];
        let voucher = "nanjing-health.6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b";
        for model in 0..6 {
            let phone = || {
                let mut phone = Keyring::load_or_make(&file).unwrap().phone("990", &programmes, model, &clock);
                phone.enrol("p-1", Uuid::from_bytes([7; 16]));
                phone
            };
            assert_eq!(phone().thumbprint(), phone().thumbprint());
            let keys = phone().enrolment_keys().into_values().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(keys.len(), 2, "one key for each programme");

            let register = vp1::parse(&phone().register_qr()).unwrap();
            assert!(register.proven_key().is_some());
            let arrive = vp1::parse(&phone().arrive_qr("p-1", "hospital-gulou", voucher)).unwrap();
            assert_eq!(arrive.claims.kid, [7; 8]);
            assert!(arrive.verify(&phone().enrolment_keys()["p-1"].parse().unwrap()));
            assert!(!arrive.verify(&phone().enrolment_keys()["p-2"].parse().unwrap()));
            assert_eq!(phone().arrive_qr("p-2", "hospital-gulou", voucher), "", "not enrolled");
        }
    }
}
