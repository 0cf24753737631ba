//! The `rpc` crate; see ARCHITECTURE.md.
