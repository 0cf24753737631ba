//! Keys, certificate requests, signing, and mutual TLS by SPIFFE identity.
//!
//! Shape of the crate: [`key`] and [`csr`] are what an agent needs to ask for a leaf; [`provider`]
//! is what a server's authority is built on, with [`builtin`] as the provider that needs nothing
//! else; [`mesh`] turns roots and a leaf into `rustls` configurations for proxies; [`tls`] serves
//! plain HTTPS listeners.
//!
//! Deliberately absent: files, sockets, clocks (`now` is an argument) and any decision about who
//! may have a certificate or talk to whom: those belong to the callers. Key agreement, ciphers and
//! signatures are aws-lc's; only certificates are written here, because one fixed shape of them is
//! all we issue and it is written in a few microseconds.

pub mod certificate;
pub mod csr;
pub mod key;

pub mod builtin;
pub mod ca_config;
pub mod provider;

pub mod mesh;
pub mod roots;
pub mod svid;
pub mod tls;

mod chain;
mod crypto;
mod der;
mod identity;
mod issuer;
mod pem;
mod session;
mod subject;
mod verifier;

#[cfg(test)]
mod testing;

pub use pem::PemError;
