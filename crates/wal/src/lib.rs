//! The `wal` crate; see ARCHITECTURE.md.
