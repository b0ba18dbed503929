//! Package `voucher-node`.

pub mod import;
pub mod qr;
