//! The interface of a node, through the door that users take: bad input gets a clear answer and changes nothing.

mod bad_input;
mod oidc;
mod proof;
mod second_opinion;
