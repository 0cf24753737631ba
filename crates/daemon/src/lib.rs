//! The `daemon` crate; see ARCHITECTURE.md.
