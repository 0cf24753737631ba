//! The `proxy` crate; see ARCHITECTURE.md.
