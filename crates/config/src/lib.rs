//! The `config` crate; see ARCHITECTURE.md.
