//! Package `domain`: the rules of vouchers, without I/O, clock, actors or hashes. A health officer can read it.
//!
//! | the source's term | our word |
//! | --- | --- |
//! | issuer (backend) | [`member::Role::Issuer`]; one of them keeps the registry: the *registrar* |
//! | community module, voucher module, hospital module | [`member::Role::Community`], `Voucher`, `Hospital` |
//! | personal terminal | *wallet*: the holder's phone, or the printed *card* |
//! | personal QR code | *presentation* ([`record::Presentation`]): what the holder signed, fresh |
//! | voucher QR code | *token* (VQ1), made at *transcoding* ([`lifecycle::Step::Encoded`]) |
//! | registration of a person | *enrolment* ([`holder::Enrolment`]): one person in one programme, without the person |
//! | state of a voucher | [`lifecycle::Stage`]; the four states of unit V2 are [`record::FourStates`] |
//! | who may act on it | *custodian*: exactly one at a time ([`custody`]) |
//! | redemption | [`lifecycle::Step::Redeemed`]: the issuer settles the hospital's claim |
//! | voiding | [`lifecycle::Step::Voided`] |
//!
//! Read [`lifecycle`] first (the rows), then [`custody`] (which records count), then [`record`] (what is written).

pub mod booking;
pub mod causes;
pub mod custody;
pub mod duty;
pub mod holder;
pub mod ids;
pub mod lifecycle;
pub mod member;
pub mod policy;
mod raw;
pub mod reason_texts;
pub mod reasons;
pub mod record;
pub mod statistics;
pub mod time;
