//! How a record answers selectors: the kinds of its fields for checking, and their values for
//! evaluating.
//!
//! A type becomes filterable with [`record!`](crate::record), which derives both sides from one
//! list, so that they cannot disagree. Only what is listed can be reached by a filter.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a selector may reach and which operators apply there.
#[derive(Clone, Debug)]
pub enum FieldKind {
    Text,
    Int,
    Uint,
    Float,
    Bool,
    /// Each element is of the kind; a selector may go on through a list of records and means any of
    /// them.
    List(Box<FieldKind>),
    /// Keys are texts; a selector takes any key.
    Map(Box<FieldKind>),
    /// The kind of the field of that name.
    Record(fn(&str) -> Option<FieldKind>),
}

/// A field's value, borrowed from the record.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bool(bool),
    List(&'a dyn List),
    Map(&'a dyn Map),
    Record(&'a dyn Record),
    /// An optional part that is not there; tests as a missing map key does.
    Absent,
}

/// A type that can stand behind a selector.
pub trait Field {
    fn kind() -> FieldKind
    where
        Self: Sized;
    fn value(&self) -> Value<'_>;
}

/// A value with named fields.
pub trait Record {
    fn field_kind(name: &str) -> Option<FieldKind>
    where
        Self: Sized;
    /// The value of the field `name`; `None` if there is no such field.
    fn field(&self, name: &str) -> Option<Value<'_>>;
}

pub trait List {
    fn is_empty(&self) -> bool;
    /// Whether `test` holds for any element; stops at the first.
    fn any(&self, test: &mut dyn FnMut(Value<'_>) -> bool) -> bool;
}

pub trait Map {
    fn is_empty(&self) -> bool;
    fn get(&self, key: &str) -> Option<Value<'_>>;
}

/// Makes text types fields, each by its method that gives a `&str`: `text_field!(ServiceName =>
/// as_str)`.
#[macro_export]
macro_rules! text_field {
    ($($type:ty => $method:ident),+ $(,)?) => {$(
        impl $crate::Field for $type {
            fn kind() -> $crate::FieldKind {
                $crate::FieldKind::Text
            }
            fn value(&self) -> $crate::Value<'_> {
                $crate::Value::Text(self.$method())
            }
        }
    )+};
}

text_field!(String => as_str, Arc<str> => as_ref, Box<str> => as_ref, &str => as_ref);

macro_rules! number_field {
    ($kind:ident, $wide:ty: $($type:ty),+) => {$(
        impl Field for $type {
            fn kind() -> FieldKind {
                FieldKind::$kind
            }
            fn value(&self) -> Value<'_> {
                Value::$kind(<$wide>::from(*self))
            }
        }
    )+};
}

number_field!(Int, i64: i8, i16, i32, i64, u8, u16);
number_field!(Uint, u64: u32, u64);
number_field!(Float, f64: f32, f64);
number_field!(Bool, bool: bool);

impl<T: Field> Field for Vec<T> {
    fn kind() -> FieldKind {
        FieldKind::List(Box::new(T::kind()))
    }
    fn value(&self) -> Value<'_> {
        Value::List(self)
    }
}

impl<T: Field> List for Vec<T> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
    fn any(&self, test: &mut dyn FnMut(Value<'_>) -> bool) -> bool {
        self.iter().any(|element| test(element.value()))
    }
}

impl<K: Ord + std::borrow::Borrow<str>, T: Field> Field for BTreeMap<K, T> {
    fn kind() -> FieldKind {
        FieldKind::Map(Box::new(T::kind()))
    }
    fn value(&self) -> Value<'_> {
        Value::Map(self)
    }
}

impl<K: Ord + std::borrow::Borrow<str>, T: Field> Map for BTreeMap<K, T> {
    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
    fn get(&self, key: &str) -> Option<Value<'_>> {
        BTreeMap::get(self, key).map(Field::value)
    }
}

/// Lets the field kinds of optional and shared parts be those of the part.
macro_rules! wrapper_field {
    ($($wrapper:ident),+) => {$(
        impl<T: Field> Field for $wrapper<T> {
            fn kind() -> FieldKind {
                T::kind()
            }
            fn value(&self) -> Value<'_> {
                (**self).value()
            }
        }
    )+};
}

wrapper_field!(Box, Arc);

impl<T: Field> Field for Option<T> {
    fn kind() -> FieldKind {
        T::kind()
    }
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Absent, Field::value)
    }
}

/// The kind of what `_part` returns, so that [`record!`](crate::record) need not be told the types
/// again.
pub fn kind_of<R, T: Field>(_part: impl Fn(&R) -> &T) -> FieldKind {
    T::kind()
}

/// Makes a struct filterable: the selector's names, each with the field (or nested field) it reads.
///
/// ```
/// struct Weights { passing: i64 }
/// struct Instance { name: String, weights: Weights }
/// filter::record!(Weights { "Passing" => passing });
/// filter::record!(Instance { "Service" => name, "Weights" => weights });
/// ```
#[macro_export]
macro_rules! record {
    ($type:ty { $($name:literal => $($field:tt).+),* $(,)? }) => {
        impl $crate::Record for $type {
            fn field_kind(name: &str) -> Option<$crate::FieldKind> {
                match name {
                    $($name => Some($crate::record::kind_of(|record: &$type| &record.$($field).+)),)*
                    _ => None,
                }
            }
            fn field(&self, name: &str) -> Option<$crate::Value<'_>> {
                match name {
                    $($name => Some($crate::Field::value(&self.$($field).+)),)*
                    _ => None,
                }
            }
        }
        impl $crate::Field for $type {
            fn kind() -> $crate::FieldKind {
                $crate::FieldKind::Record(<$type as $crate::Record>::field_kind)
            }
            fn value(&self) -> $crate::Value<'_> {
                $crate::Value::Record(self)
            }
        }
    };
}
