//! Package `voucher-node`.
