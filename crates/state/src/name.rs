//! Keys of the tables: names are matched whatever their letter case, ids by their digits.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use model::id::uuid_key;

/// A table key, shared by all tables that mention the row.
pub(crate) type Name = Arc<str>;

/// `text` in lower case; borrowed when it is already.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::from(fold(text))
}

/// The digits of a UUID; any other text stands for itself.
pub(crate) fn fold_id(id: &str) -> String {
    uuid_key(id).unwrap_or_else(|_| id.to_owned())
}

/// The range of keys from `first` on.
pub(crate) fn from(first: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Included(first), Bound::Unbounded)
}
