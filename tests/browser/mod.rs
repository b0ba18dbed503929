//! Pages in a real browser: one story for each, on a phone and at a desk, in Chinese and in English.

mod audit;
mod desks;
mod issuer;
mod sign_in;
mod terminal;
