//! The `http` crate; see ARCHITECTURE.md.
