//! Pages in a real browser: one story for each, on a phone and at a desk, in Chinese and in English.

mod audit;
mod authority;
mod community;
mod desks;
mod hospital;
mod issuer;
mod phone;
mod sign_in;
mod speed;
mod terminal;
