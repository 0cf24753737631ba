//! The `mesh` crate; see ARCHITECTURE.md.
