//! Config entries from `config write` files, `config_entries.bootstrap`, and bodies of
//! `/v1/config`.
//!
//! All three are read alike, and weakly: texts, numbers and truth values turn into one another. A
//! list of one block in a proxy's free-form settings stays a list, where Consul makes it a block.

use std::collections::BTreeMap;
use std::fmt;

use model::config_entry::{
    ConfigEntry, PROXY_DEFAULTS, PROXY_DEFAULTS_NAME, ProxyDefaults, SERVICE_DEFAULTS,
    ServiceDefaults,
};

use crate::decode::{Fields, Rules, Values};
use crate::error::{Problem, SettingError};
use crate::tree::{Node, Value};

/// Why a tree is no config entry. The texts are what follows "Request decoding failed: " in
/// Consul's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// It is no block at all.
    NoBlock {
        found: &'static str,
    },
    NoKind,
    KindIsNoText,
    /// There is no such kind, or not in this version.
    UnknownKind(String),
    Field(SettingError),
}

/// Kinds Consul has that this version has not.
const KINDS_TO_COME: &[&str] = &[
    "service-router",
    "service-splitter",
    "service-resolver",
    "ingress-gateway",
    "terminating-gateway",
];

/// Reads an entry of any kind. The name of proxy-defaults is always the one it may have; whether a
/// needed name is there is for who stores it to judge.
pub fn entry_from_tree(tree: &Node) -> Result<ConfigEntry, EntryError> {
    let Value::Object(object) = &tree.value else {
        return match tree.value {
            Value::Null => Err(EntryError::NoKind),
            _ => Err(EntryError::NoBlock { found: tree.value.kind() }),
        };
    };
    let kind = match object.get("Kind").or(object.get("kind")).map(|node| &node.value) {
        Some(Value::Text(kind)) => kind.as_str(),
        Some(Value::Null) | None => return Err(EntryError::NoKind),
        Some(_) => return Err(EntryError::KindIsNoText),
    };
    let values = Values::root([("", tree)], Rules::Entry).ok_or(EntryError::NoKind)?;
    match kind {
        PROXY_DEFAULTS => {
            proxy_defaults(&values).map(ConfigEntry::ProxyDefaults).map_err(EntryError::Field)
        }
        SERVICE_DEFAULTS => {
            service_defaults(&values).map(ConfigEntry::ServiceDefaults).map_err(EntryError::Field)
        }
        other => Err(EntryError::UnknownKind(other.to_owned())),
    }
}

fn proxy_defaults(values: &Values<'_>) -> Result<ProxyDefaults, SettingError> {
    let fields = values.fields()?;
    take_name(&fields)?;
    let entry = ProxyDefaults {
        kind: PROXY_DEFAULTS.to_owned(),
        name: PROXY_DEFAULTS_NAME.to_owned(),
        config: match fields.get::<Node>("config")?.map(|node| node.value) {
            // As weak reading has it.
            Some(Value::List(list)) if list.is_empty() => Some(BTreeMap::new()),
            _ => fields.get("config")?,
        },
        mesh_gateway: fields.or_default("mesh_gateway")?,
        expose: fields.or_default("expose")?,
        meta: fields.or_default("meta")?,
        ..ProxyDefaults::default()
    };
    fields.finish()?;
    Ok(entry)
}

fn service_defaults(values: &Values<'_>) -> Result<ServiceDefaults, SettingError> {
    let fields = values.fields()?;
    let protocol: String = fields.or_default("protocol")?;
    let entry = ServiceDefaults {
        kind: SERVICE_DEFAULTS.to_owned(),
        name: take_name(&fields)?,
        protocol: protocol.to_ascii_lowercase(),
        mesh_gateway: fields.or_default("mesh_gateway")?,
        expose: fields.or_default("expose")?,
        external_sni: fields.or_default("external_sni")?,
        meta: fields.or_default("meta")?,
        ..ServiceDefaults::default()
    };
    fields.finish()?;
    Ok(entry)
}

/// The name. What the answer to a read holds beside it may be written back.
fn take_name(fields: &Fields<'_>) -> Result<String, SettingError> {
    for name in ["kind", "create_index", "modify_index"] {
        fields.values(name);
    }
    fields.or_default("name")
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::NoBlock { found } => {
                write!(f, "'' expected a map, got '{}'", go_kind(found))
            }
            EntryError::NoKind => {
                f.write_str("Payload does not contain a kind/Kind key at the top level")
            }
            EntryError::KindIsNoText => f.write_str("Kind value in payload is not a string"),
            EntryError::UnknownKind(kind) if KINDS_TO_COME.contains(&kind.as_str()) => {
                write!(f, "config entry kind {kind} is not available in this version")
            }
            EntryError::UnknownKind(kind) => write!(f, "invalid config entry kind: {kind}"),
            EntryError::Field(error) => match &error.problem {
                Problem::Unknown { .. } => {
                    let why = match error.key.eq_ignore_ascii_case("namespace") {
                        true => ", namespaces are a consul enterprise feature",
                        false => "",
                    };
                    write!(f, "1 error occurred:\n\t* invalid config key {:?}{why}\n\n", error.key)
                }
                Problem::WrongType { expected: "a block", found } => write!(
                    f,
                    "1 error(s) decoding:\n\n* '{}' expected a map, got '{}'",
                    error.key,
                    go_kind(found)
                ),
                _ => write!(f, "1 error(s) decoding:\n\n* {error}"),
            },
        }
    }
}

impl std::error::Error for EntryError {}

/// Go's word for a kind of value.
fn go_kind(found: &str) -> &str {
    match found {
        "text" => "string",
        "a list" => "slice",
        "a number" => "float64",
        "true or false" => "bool",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hcl;

    /// The entry as JSON, or what is answered; a JSON text is read by the same reader.
    fn check(text: &str, expected: &str) {
        let answer = match entry_from_tree(&hcl::parse(text.as_bytes()).unwrap()) {
            Ok(entry) => serde_json::to_string(&entry).unwrap(),
            Err(error) => error.to_string(),
        };
        assert_eq!(answer, expected, "{text}");
    }

    #[test]
    fn entries() {
        check(
            r#"kind = "service-defaults" name = "web" protocol = "HTTP" expose { checks = true paths { path = "/y" listener_port = "5" } }"#,
            r#"{"Kind":"service-defaults","Name":"web","Protocol":"http","MeshGateway":{},"Expose":{"Checks":true,"Paths":[{"ListenerPort":5,"Path":"/y","ParsedFromCheck":false}]},"CreateIndex":0,"ModifyIndex":0}"#,
        );
        check(
            r#"Kind = "proxy-defaults" Name = "x" Config { protocol = "http" a { b_c = "c" } l = [1] } MeshGateway { Mode = "local" }"#,
            r#"{"Kind":"proxy-defaults","Name":"global","Config":{"a":{"b_c":"c"},"l":[1],"protocol":"http"},"MeshGateway":{"Mode":"local"},"Expose":{},"CreateIndex":0,"ModifyIndex":0}"#,
        );
        check(
            r#"{"Kind":"proxy-defaults","Name":"global","Config":[]}"#,
            r#"{"Kind":"proxy-defaults","Name":"global","Config":{},"MeshGateway":{},"Expose":{},"CreateIndex":0,"ModifyIndex":0}"#,
        );
        check(
            r#"{"Kind":"proxy-defaults","Name":"global"}"#,
            r#"{"Kind":"proxy-defaults","Name":"global","Config":null,"MeshGateway":{},"Expose":{},"CreateIndex":0,"ModifyIndex":0}"#,
        );
        check(
            r#"{"Kind":"service-defaults","Name":"web","Protocol":5,"ExternalSNI":"x","Meta":{"a":"b"},"ModifyIndex":7}"#,
            r#"{"Kind":"service-defaults","Name":"web","Protocol":"5","MeshGateway":{},"Expose":{},"ExternalSNI":"x","Meta":{"a":"b"},"CreateIndex":0,"ModifyIndex":0}"#,
        );
    }

    /// Expected answers are those of a running Consul 1.8.7, but for the kinds to come.
    #[test]
    fn what_is_refused() {
        check("", "Payload does not contain a kind/Kind key at the top level");
        check(r#"{"Kind":5}"#, "Kind value in payload is not a string");
        check(r#"{"Kind":"bogus"}"#, "invalid config entry kind: bogus");
        check(r#"{"Kind":"Service-Defaults"}"#, "invalid config entry kind: Service-Defaults");
        check(
            r#"{"Kind":"service-defaults","Name":"web","Bogus":5}"#,
            "1 error occurred:\n\t* invalid config key \"Bogus\"\n\n",
        );
        check(
            r#"{"Kind":"service-defaults","Name":"web","Namespace":"default"}"#,
            "1 error occurred:\n\t* invalid config key \"Namespace\", namespaces are a consul \
             enterprise feature\n\n",
        );
        check(
            r#"{"Kind":"proxy-defaults","Config":"x"}"#,
            "1 error(s) decoding:\n\n* 'config' expected a map, got 'string'",
        );
        check(
            r#"{"Kind":"service-router","Name":"web"}"#,
            "config entry kind service-router is not available in this version",
        );
        let list = Node::from(Value::List(vec![]));
        assert_eq!(
            entry_from_tree(&list).unwrap_err().to_string(),
            "'' expected a map, got 'slice'"
        );
    }
}
