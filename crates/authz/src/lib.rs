//! Who may do what: pure rules, no storage, no clock, no I/O.
//!
//! [`intention`] decides who may connect to whom. Deliberately absent: where intentions are kept (`state`), how an
//! identity is proven (`pki`), and what happens to a connection afterwards (`proxy`).

pub mod intention;
