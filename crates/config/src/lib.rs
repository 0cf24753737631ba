//! Files (HCL, JSON), flags and inline fragments to one validated tree of plain structs; and the one decoder that
//! service definitions and config entries are read with, wherever they come from.

pub mod decode;
pub mod definition;
pub mod error;
pub mod hcl;
pub mod json;
pub mod tree;

pub use error::{Error, Problem, SettingError};
