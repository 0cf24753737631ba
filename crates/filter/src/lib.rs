//! The `filter` crate; see ARCHITECTURE.md.
