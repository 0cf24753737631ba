//! The `model` crate; see ARCHITECTURE.md.
