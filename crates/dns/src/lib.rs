//! The `dns` crate; see ARCHITECTURE.md.
