//! The `authz` crate; see ARCHITECTURE.md.
