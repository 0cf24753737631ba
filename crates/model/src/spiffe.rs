//! SPIFFE ids.
