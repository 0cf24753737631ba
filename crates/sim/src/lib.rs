//! The `sim` crate; see ARCHITECTURE.md.
