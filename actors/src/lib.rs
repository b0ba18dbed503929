//! Package `actors`: where rules and book meet. Five roles, one actor shape, one writer.
//!
//! ```text
//!  Ask{command} ─► role.rs (actix mailbox) ─► <role>/state.rs decide ─► writer.rs: record, fold, does it count?
//!                                                                          │ ledger.submit ─► journal sync ─► answer
//!  a peer's entries ─► node/peers ─► ledger::mirror ─► writer.accept ─► replica::apply (the same fold)
//!                                                                          │ alarms by time and log
//!                                     <role>/state.rs react  ◄─ role.rs looks at what is due
//! ```

pub mod auditor;
pub mod clock;
pub mod community;
pub mod document;
pub mod hospital;
pub mod issuer;
pub mod keys;
pub mod kv;
pub mod misbehave;
pub mod openings;
pub mod outbox;
pub mod personal;
pub mod presented;
pub mod receipts;
pub mod replica;
pub mod role;
pub mod token;
pub mod vault;
pub mod voucher;
pub mod writer;

#[cfg(any(test, feature = "town"))]
pub mod town;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
