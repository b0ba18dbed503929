//! Package `voucher-node`.

pub mod qr;
