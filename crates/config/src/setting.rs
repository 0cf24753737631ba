//! One setting is one entry of a [`settings!`] block: its doc comment, name, type, default, whether
//! a reload takes it over, and its validation. The block makes the plain struct, its default, its
//! decoding and its comparison.

use std::collections::BTreeMap;

use model::time::GoDuration;

use crate::decode::Decode;

/// A setting whose value differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Path of names, such as `dns_config.node_ttl`.
    pub key: String,
    /// Whether the running agent takes the new value over; if not, only a restart does.
    pub is_reloadable: bool,
}

/// A type a setting of the agent can have.
pub trait Setting: Decode + PartialEq {
    /// Adds the changes from `self` to `new`: one for a plain value, one a field for a block.
    fn changes(&self, new: &Self, key: &str, is_reloadable: bool, changes: &mut Vec<Change>) {
        if self != new {
            changes.push(Change { key: key.to_owned(), is_reloadable });
        }
    }
}

macro_rules! plain_settings {
    ($($type:ty),+ $(,)?) => {$( impl Setting for $type {} )+};
}

plain_settings!(bool, String, u16, u32, u64, i64, f64, GoDuration, serde_json::Value,);

impl<T: Setting> Setting for Option<T> {}
impl<T: Setting> Setting for Vec<T> {}
impl<T: Setting> Setting for BTreeMap<String, T> {}

/// Declares a block of settings:
///
/// ```text
/// settings! {
///     /// Doc of the block.
///     pub struct Limits {
///         /// Doc of the setting.
///         name: Type = default;
///         other: Type = default, reload;
///         third: Type = default, check(function from &Type to Result<(), String>);
///     }
/// }
/// ```
///
/// Errors of a check name the remedy. A check is asked about the default as well, which proves that
/// it passes.
macro_rules! settings {
    ($(#[$meta:meta])* $vis:vis struct $block:ident {
        $($(#[$doc:meta])* $name:ident: $type:ty = $default:expr $(, $mark:ident $(($check:expr))?)*;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $block {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for $block {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl $crate::decode::Decode for $block {
            fn decode(values: &$crate::decode::Values<'_>) -> Result<Self, $crate::error::SettingError> {
                let fields = values.fields()?;
                let block = Self {
                    $($name: match fields.get::<$type>(stringify!($name))? {
                        Some(value) => value,
                        None => $default,
                    },)*
                };
                // Names first: a misspelt one explains a value that is missing.
                fields.finish()?;
                $($( settings!(@check $mark $(($check))?, values, block, $name); )*)*
                Ok(block)
            }
        }

        impl $crate::setting::Setting for $block {
            fn changes(
                &self,
                new: &Self,
                key: &str,
                is_reloadable: bool,
                changes: &mut Vec<$crate::setting::Change>,
            ) {
                $({
                    let name = stringify!($name);
                    let key = if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
                    let is_taken_over = is_reloadable $(|| settings!(@reload $mark))*;
                    $crate::setting::Setting::changes(&self.$name, &new.$name, &key, is_taken_over, changes);
                })*
            }
        }
    };
    (@check reload, $values:ident, $block:ident, $name:ident) => {};
    (@check check ($check:expr), $values:ident, $block:ident, $name:ident) => {
        if let Err(reason) = $check(&$block.$name) {
            return Err($values.fields()?.invalid(stringify!($name), reason));
        }
    };
    (@reload reload) => { true };
    (@reload check) => { false };
}

/// A check that a number is not below `least`.
pub(crate) fn at_least(least: i64) -> impl Fn(&i64) -> Result<(), String> {
    move |number| {
        if *number >= least {
            return Ok(());
        }
        Err(format!("cannot be {number}; write {least} or more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Rules, Values};
    use crate::hcl;

    settings! {
        /// Inside.
        struct Inner {
            /// A number.
            number: i64 = 5, reload, check(at_least(3));
        }
    }

    settings! {
        /// Outside.
        struct Outer {
            name: String = "x".to_owned();
            inner: Inner = Inner::default();
            list: Vec<String> = Vec::new(), reload;
        }
    }

    fn read(files: &[&str]) -> Result<Outer, String> {
        let trees: Vec<_> = files.iter().map(|text| hcl::parse(text.as_bytes()).unwrap()).collect();
        let values = Values::root(trees.iter().map(|tree| ("f", tree)), Rules::File);
        Outer::decode(&values.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_fill_and_sources_merge() {
        assert_eq!(read(&[""]).unwrap(), Outer::default());
        let merged = read(&[
            "list = [\"a\"] name = \"a\" inner { number = 3 }",
            "list = [\"b\"] inner {} name = \"b\"",
        ]);
        let expected = Outer {
            name: "b".to_owned(),
            inner: Inner { number: 3 },
            list: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(merged.unwrap(), expected);
    }

    #[test]
    fn wrong_values_are_named() {
        assert_eq!(
            read(&["inner { number = 2 }"]).unwrap_err(),
            "f:1:18: inner.number: cannot be 2; write 3 or more"
        );
        assert_eq!(
            read(&["inner { numbr = 2 }"]).unwrap_err(),
            "f:1:17: invalid config key inner.numbr; did you mean number? Correct or remove it"
        );
        // Wrong even though a weightier source says something else.
        assert_eq!(
            read(&["name = 1", "name = \"a\""]).unwrap_err(),
            "f:1:8: name: expected text, found a number; write it in double quotes, such as name = \"x\""
        );
    }

    #[test]
    fn changes_tell_what_a_reload_takes_over() {
        let old = Outer::default();
        let mut new =
            Outer { name: "y".to_owned(), list: vec!["a".to_owned()], ..Outer::default() };
        new.inner.number = 6;
        let mut changes = Vec::new();
        old.changes(&new, "", false, &mut changes);
        let shown: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.is_reloadable)).collect();
        assert_eq!(shown, [("name", false), ("inner.number", true), ("list", true)]);
    }
}
