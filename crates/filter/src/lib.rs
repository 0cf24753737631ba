//! The filter expression language of the `filter` query parameter: parse, check against a record
//! type, evaluate.
//!
//! Start at [`Filter::new`], which does all three steps a request needs:
//!
//! ```
//! use filter::{Filter, record};
//! struct Node { name: String, tags: Vec<String> }
//! record!(Node { "Node" => name, "Tags" => tags });
//!
//! let filter = Filter::<Node>::new("Node == web1 and blue in Tags").unwrap();
//! assert!(filter.matches(&Node { name: "web1".into(), tags: vec!["blue".into()] }));
//! ```
//!
//! The language, the field kinds and the error texts are those of Consul 1.8.7, taken from its
//! answers. Deliberately absent: any knowledge of the records themselves, of JSON, and of who may
//! see what.

pub mod expression;
mod go;
mod parse;
#[macro_use]
pub mod record;
mod check;

pub use check::{CheckError, Filter, FilterError};
pub use expression::{Expression, Match, Operator};
pub use parse::{DEPTH_MAX, EXPRESSION_BYTES_MAX, ParseError};
pub use record::{Field, FieldKind, List, Map, Record, Value};
