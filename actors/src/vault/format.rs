//! The bytes of a sealed row and of a slot. Both are found in a heap of bytes by their first eight.
//!
//! ```text
//! sealed row   "VNSEAL1\0"  slot u32  key id 8  place 16  length u32  nonce 24  ciphertext and tag
//! slot, 128    "VNSLOT1\0"  key id 8  nonce 24  key wrapped under the data key 48  zeros
//! ```
//!
//! Numbers are little-endian. The place is the beginning of a SHA-256 over the row's key: a value opens nowhere else.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::Digest as _;
use zeroize::Zeroizing;

/// What every sealed row begins with.
pub const ROW_MAGIC: [u8; 8] = *b"VNSEAL1\0";

/// What every slot in use begins with; an erased one is zeros.
pub const SLOT_MAGIC: [u8; 8] = *b"VNSLOT1\0";

/// Bytes of a slot: several to a sector of the disk, none across two.
pub const SLOT_BYTES: usize = 128;

/// Bytes before the ciphertext of a sealed row.
pub const HEADER_BYTES: usize = 64;

const NONCE_AT: usize = HEADER_BYTES - 24;

/// Bytes by which a ciphertext is longer than what it hides.
const TAG_BYTES: usize = 16;

/// A key of 32 bytes, wiped when it is dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// Random bytes that tell one key of a slot from the next.
pub type KeyId = [u8; 8];

/// Which key: the slot, and which of the keys that it has held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRef {
    /// Number of the slot in its file.
    pub slot: u32,
    /// Which key.
    pub id: KeyId,
}

/// Hides bytes under a key.
#[must_use]
pub fn encrypt(key: &[u8; 32], nonce: &[u8; 24], bound: &[u8], plain: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plain, aad: bound };
    let sealed = XChaCha20Poly1305::new(key.into()).encrypt(&XNonce::from(*nonce), payload);
    sealed.expect("only texts of 256 GiB cannot be encrypted")
}

/// Opens what [`encrypt`] made; none if key, bound bytes or text are others.
#[must_use]
pub fn decrypt(key: &[u8; 32], nonce: &[u8; 24], bound: &[u8], hidden: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let payload = Payload { msg: hidden, aad: bound };
    XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
}

/// What of a row's key goes into its sealed value.
#[must_use]
pub fn place(row_key: &[u8]) -> [u8; 16] {
    let mut hash = sha2::Sha256::new();
    hash.update(b"voucher-node/v1/place\0");
    hash.update(row_key);
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|i| digest[i])
}

/// A sealed row, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Under which key.
    pub key: SlotRef,
    /// [`place`] of the row.
    pub place: [u8; 16],
    nonce: [u8; 24],
    header: &'a [u8],
    hidden: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the sealed row with which some bytes begin, whatever follows it; none if they begin otherwise.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&ROW_MAGIC)?;
        let (slot, rest) = rest.split_first_chunk::<4>()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (place, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<24>()?;
        let hidden = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let key = SlotRef { slot: u32::from_le_bytes(*slot), id: *id };
        let header = bytes.get(..NONCE_AT)?;
        Some(Self { key, place: *place, nonce: *nonce, header, hidden })
    }

    /// Opens it.
    #[must_use]
    pub fn open(&self, key: &[u8; 32]) -> Option<Zeroizing<Vec<u8>>> {
        decrypt(key, &self.nonce, self.header, self.hidden)
    }
}

/// A row's value, sealed.
#[must_use]
pub fn seal(key: &[u8; 32], of: SlotRef, nonce: &[u8; 24], row_key: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + TAG_BYTES);
    sealed.extend_from_slice(&ROW_MAGIC);
    sealed.extend_from_slice(&of.slot.to_le_bytes());
    sealed.extend_from_slice(&of.id);
    sealed.extend_from_slice(&place(row_key));
    let length = u32::try_from(plain.len() + TAG_BYTES).expect("rows are small: a batch has a limit");
    sealed.extend_from_slice(&length.to_le_bytes());
    let hidden = encrypt(key, nonce, &sealed, plain);
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(&hidden);
    sealed
}

fn bound(of: SlotRef) -> [u8; 20] {
    let mut bound = [0; 20];
    bound[..8].copy_from_slice(&SLOT_MAGIC);
    bound[8..12].copy_from_slice(&of.slot.to_le_bytes());
    bound[12..].copy_from_slice(&of.id);
    bound
}

/// The bytes of a slot.
#[must_use]
pub fn wrap(data_key: &[u8; 32], of: SlotRef, nonce: &[u8; 24], key: &[u8; 32]) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&SLOT_MAGIC);
    slot[8..16].copy_from_slice(&of.id);
    slot[16..40].copy_from_slice(nonce);
    slot[40..88].copy_from_slice(&encrypt(data_key, nonce, &bound(of), key));
    slot
}

/// The key in a slot; none if it is erased, damaged, or wrapped under another data key.
#[must_use]
pub fn unwrap(data_key: &[u8; 32], slot: u32, bytes: &[u8]) -> Option<(SlotRef, Key)> {
    let (id, rest) = bytes.strip_prefix(&SLOT_MAGIC)?.split_first_chunk::<8>()?;
    let (nonce, rest) = rest.split_first_chunk::<24>()?;
    let of = SlotRef { slot, id: *id };
    let key = decrypt(data_key, nonce, &bound(of), rest.get(..48)?)?;
    Some((of, Zeroizing::new(key.as_slice().try_into().ok()?)))
}
