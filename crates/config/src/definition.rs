//! Service and check definitions from files and request bodies.
//!
//! Names may be in either spelling everywhere, which lets what the API shows be pasted into a file;
//! Consul takes fewer in files. Names of Consul versions after 1.8 are taken where the product does
//! what they say, and refused otherwise.

use model::definition::{CheckDefinition, ConnectDefinition, ServiceDefinition, WeightsDefinition};
use model::service::{
    ConnectProxyConfig, Expose, ExposePath, MeshGateway, ServiceAddress, ServiceKind, Upstream,
};

use crate::decode::{Decode, Rules, Values};
use crate::error::SettingError;
use crate::tree::Node;

/// Reads the body of `/v1/agent/service/register`.
///
/// Errors: [`SettingError::body_text`] is what follows "Request decode failed: ". What it means is
/// judged by [`ServiceDefinition::validate`].
pub fn service_from_body(body: &Node) -> Result<ServiceDefinition, SettingError> {
    from_body(body)
}

/// Reads the body of `/v1/agent/check/register`; see [`service_from_body`].
pub fn check_from_body(body: &Node) -> Result<CheckDefinition, SettingError> {
    from_body(body)
}

fn from_body<T: Decode + Default>(body: &Node) -> Result<T, SettingError> {
    match Values::root([("", body)], Rules::Body) {
        Some(values) => T::decode(&values),
        None => Ok(T::default()),
    }
}

impl Decode for ServiceDefinition {
    fn decode(values: &Values<'_>) -> Result<ServiceDefinition, SettingError> {
        let fields = values.fields_either_spelling()?;
        // Written empty, `check {}` says nothing.
        let check = fields.get("check")?.filter(|check| *check != CheckDefinition::default());
        let mut checks: Vec<CheckDefinition> = fields.or_default("checks")?;
        // The one comes after the many, which shows in the ids of those that have none of their own.
        checks.extend(check);
        let definition = ServiceDefinition {
            kind: fields.or_default("kind")?,
            id: fields.or_default("id")?,
            name: fields.or_default("name")?,
            tags: fields.or_default("tags")?,
            address: fields.or_default("address")?,
            tagged_addresses: fields.or_default("tagged_addresses")?,
            meta: fields.get("meta")?,
            port: fields.or_default("port")?,
            weights: fields.get("weights")?,
            token: fields.or_default("token")?,
            enable_tag_override: fields.or_default("enable_tag_override")?,
            proxy: fields.get("proxy")?,
            connect: fields.get("connect")?,
            checks,
        };
        fields.finish()?;
        Ok(definition)
    }
}

impl Decode for ServiceKind {
    fn decode(values: &Values<'_>) -> Result<ServiceKind, SettingError> {
        let text = String::decode(values)?;
        ServiceKind::parse(&text).ok_or_else(|| {
            values.invalid(format!(
                "{text:?} is no kind of service; write \"connect-proxy\", \"mesh-gateway\", \"terminating-gateway\", \
                 \"ingress-gateway\", or leave it out"
            ))
        })
    }
}

impl Decode for ServiceAddress {
    fn decode(values: &Values<'_>) -> Result<ServiceAddress, SettingError> {
        let fields = values.fields_either_spelling()?;
        let address = ServiceAddress {
            address: fields.or_default("address")?,
            port: fields.or_default("port")?,
        };
        fields.finish()?;
        Ok(address)
    }
}

impl Decode for WeightsDefinition {
    fn decode(values: &Values<'_>) -> Result<WeightsDefinition, SettingError> {
        let fields = values.fields_either_spelling()?;
        // What a body leaves out is zero, and a zero weight for passing instances is then refused.
        let absent = if values.rules() == Rules::Body { 0 } else { 1 };
        let weights = WeightsDefinition {
            passing: fields.get("passing")?.unwrap_or(absent),
            warning: fields.get("warning")?.unwrap_or(absent),
        };
        fields.finish()?;
        Ok(weights)
    }
}

impl Decode for ConnectDefinition {
    fn decode(values: &Values<'_>) -> Result<ConnectDefinition, SettingError> {
        let fields = values.fields_either_spelling()?;
        let connect = ConnectDefinition {
            native: fields.or_default("native")?,
            sidecar_service: fields.get("sidecar_service")?,
        };
        // Old clients send the settings of managed proxies here; Consul passes over what it does
        // not know.
        if values.rules() != Rules::Body {
            fields.finish()?;
        }
        Ok(connect)
    }
}

impl Decode for ConnectProxyConfig {
    fn decode(values: &Values<'_>) -> Result<ConnectProxyConfig, SettingError> {
        let fields = values.fields_either_spelling()?;
        let proxy = ConnectProxyConfig {
            destination_service_name: fields.or_default("destination_service_name")?,
            destination_service_id: fields.or_default("destination_service_id")?,
            local_service_address: fields.or_default("local_service_address")?,
            local_service_port: fields.or_default("local_service_port")?,
            config: fields.or_default("config")?,
            upstreams: fields.or_default("upstreams")?,
            mesh_gateway: fields.or_default("mesh_gateway")?,
            expose: fields.or_default("expose")?,
        };
        fields.finish()?;
        Ok(proxy)
    }
}

impl Decode for Upstream {
    fn decode(values: &Values<'_>) -> Result<Upstream, SettingError> {
        let fields = values.fields_either_spelling()?;
        let upstream = Upstream {
            destination_type: fields.or_default("destination_type")?,
            destination_namespace: fields.or_default("destination_namespace")?,
            destination_name: fields.or_default("destination_name")?,
            datacenter: fields.or_default("datacenter")?,
            local_bind_address: fields.or_default("local_bind_address")?,
            local_bind_port: fields.or_default("local_bind_port")?,
            config: fields.or_default("config")?,
            mesh_gateway: fields.or_default("mesh_gateway")?,
        };
        fields.finish()?;
        Ok(upstream)
    }
}

impl Decode for MeshGateway {
    fn decode(values: &Values<'_>) -> Result<MeshGateway, SettingError> {
        let fields = values.fields_either_spelling()?;
        let gateway = MeshGateway { mode: fields.or_default("mode")? };
        fields.finish()?;
        Ok(gateway)
    }
}

impl Decode for Expose {
    fn decode(values: &Values<'_>) -> Result<Expose, SettingError> {
        let fields = values.fields_either_spelling()?;
        let expose =
            Expose { checks: fields.or_default("checks")?, paths: fields.or_default("paths")? };
        fields.finish()?;
        Ok(expose)
    }
}

impl Decode for ExposePath {
    fn decode(values: &Values<'_>) -> Result<ExposePath, SettingError> {
        let fields = values.fields_either_spelling()?;
        let path = ExposePath {
            listener_port: fields.or_default("listener_port")?,
            path: fields.or_default("path")?,
            local_path_port: fields.or_default("local_path_port")?,
            protocol: fields.or_default("protocol")?,
            parsed_from_check: false,
        };
        fields.finish()?;
        Ok(path)
    }
}

impl Decode for CheckDefinition {
    fn decode(values: &Values<'_>) -> Result<CheckDefinition, SettingError> {
        let fields = values.fields_either_spelling()?;
        let check = CheckDefinition {
            id: fields.alias("id", "check_id")?.unwrap_or_default(),
            name: fields.or_default("name")?,
            notes: fields.or_default("notes")?,
            service_id: fields.or_default("service_id")?,
            token: fields.or_default("token")?,
            status: fields.or_default("status")?,
            script_args: fields.alias("args", "script_args")?.unwrap_or_default(),
            http: fields.or_default("http")?,
            header: fields.or_default("header")?,
            method: fields.or_default("method")?,
            body: fields.or_default("body")?,
            disable_redirects: fields.or_default("disable_redirects")?,
            tcp: fields.or_default("tcp")?,
            grpc: fields.or_default("grpc")?,
            grpc_use_tls: fields.or_default("grpc_use_tls")?,
            tls_server_name: fields.or_default("tls_server_name")?,
            tls_skip_verify: fields.or_default("tls_skip_verify")?,
            ttl: fields.or_default("ttl")?,
            docker_container_id: fields.or_default("docker_container_id")?,
            shell: fields.or_default("shell")?,
            alias_node: fields.or_default("alias_node")?,
            alias_service: fields.or_default("alias_service")?,
            interval: fields.or_default("interval")?,
            timeout: fields.or_default("timeout")?,
            output_max_size: fields.or_default("output_max_size")?,
            success_before_passing: fields.or_default("success_before_passing")?,
            failures_before_warning: fields.or_default("failures_before_warning")?,
            failures_before_critical: fields.or_default("failures_before_critical")?,
            deregister_critical_service_after: fields
                .or_default("deregister_critical_service_after")?,
        };
        fields.finish()?;
        Ok(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hcl, json};

    /// Compares JSON without what is empty, which is not this crate's to decide; an error as it is.
    fn assert_shown(answer: Result<ServiceDefinition, String>, expected: &str, text: &str) {
        match answer {
            Ok(definition) => {
                let expected =
                    serde_json::from_str(expected).unwrap_or_else(|_| panic!("{text}: {expected}"));
                assert_eq!(
                    prune(serde_json::to_value(definition).unwrap()),
                    prune(expected),
                    "{text}"
                );
            }
            Err(error) => assert_eq!(error, expected, "{text}"),
        }
    }

    fn prune(value: serde_json::Value) -> Option<serde_json::Value> {
        use serde_json::Value;
        match value {
            Value::Object(object) => {
                let entries =
                    object.into_iter().filter_map(|(name, value)| Some((name, prune(value)?)));
                let object: serde_json::Map<_, _> = entries.collect();
                (!object.is_empty()).then_some(Value::Object(object))
            }
            Value::Array(list) => {
                Some(list.into_iter().map(|one| prune(one).unwrap_or_default()).collect())
            }
            Value::String(text) if text.is_empty() => None,
            Value::Null => None,
            other => Some(other),
        }
    }

    /// The definition as the register endpoint takes it, or what is answered.
    fn check_body(text: &str, expected: &str) {
        let body = json::parse_body(text.as_bytes()).unwrap();
        assert_shown(service_from_body(&body).map_err(|error| error.body_text()), expected, text);
    }

    fn check_file(text: &str, expected: &str) {
        let tree = hcl::parse(text.as_bytes()).unwrap();
        let values = Values::root([("a.hcl", &tree)], Rules::File).unwrap();
        assert_shown(
            ServiceDefinition::decode(&values).map_err(|error| error.to_string()),
            expected,
            text,
        );
    }

    /// Expected answers to wrong bodies are those of a running Consul 1.8.7.
    #[test]
    fn bodies() {
        check_body("null", r#"{"Name":""}"#);
        check_body(r#"{"NAME":"a","port":80}"#, r#"{"Name":"a","Port":80}"#);
        check_body(
            r#"{"name":"a","tagged_addresses":{"lan":{"address":"x","Port":1}},"enable_tag_override":true,"Meta":null}"#,
            r#"{"Name":"a","TaggedAddresses":{"lan":{"Address":"x","Port":1}},"EnableTagOverride":true}"#,
        );
        check_body(
            r#"{"Name":"a","Check":{"TTL":10500000000,"deregister_critical_service_after":"1m"},"Checks":[{"Interval":"0","CheckID":"z"}]}"#,
            r#"{"Name":"a","Checks":[{"ID":"z"},{"TTL":"10.5s","DeregisterCriticalServiceAfter":"1m0s"}]}"#,
        );
        check_body(
            r#"{"Name":"a","Connect":{"Proxy":{},"sidecar_service":{"proxy":{"upstreams":[{"destination_name":"x","local_bind_port":1}]}}}}"#,
            r#"{"Name":"a","Connect":{"SidecarService":{"Name":"","Proxy":{"Upstreams":[{"DestinationName":"x","LocalBindPort":1,"MeshGateway":{}}],"MeshGateway":{},"Expose":{}}}}}"#,
        );
        check_body(
            r#"{"Name":"a","Weights":{"Passing":1}}"#,
            r#"{"Name":"a","Weights":{"Passing":1,"Warning":0}}"#,
        );
        check_body(r#"{"Name":"a","Check":{}}"#, r#"{"Name":"a"}"#);
        check_body(
            r#"{"Name":1}"#,
            "json: cannot unmarshal number into Go struct field .Name of type string",
        );
        check_body(
            r#"{"Port":"80"}"#,
            "json: cannot unmarshal string into Go struct field .Port of type int",
        );
        check_body(
            r#"{"EnableTagOverride":"true"}"#,
            "json: cannot unmarshal string into Go struct field .EnableTagOverride of type bool",
        );
        check_body(
            r#"{"Tags":"x"}"#,
            "json: cannot unmarshal string into Go struct field .Tags of type []string",
        );
        check_body(
            r#"{"Tags":[1]}"#,
            "json: cannot unmarshal number into Go struct field .Tags of type string",
        );
        check_body(
            r#"{"Meta":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field .Meta of type string",
        );
        check_body(
            r#"{"Proxy":{"local_service_port":"x"}}"#,
            "json: cannot unmarshal string into Go struct field .Proxy of type int",
        );
        check_body(r#"{"Name":"a","Bogus":1}"#, r#"json: unknown field "Bogus""#);
        check_body(r#"{"Name":"a","Check":{"Bogus":1}}"#, r#"json: unknown field "Bogus""#);
        check_body(r#"{"Check":{"TTL":"10"}}"#, r#"time: missing unit in duration "10""#);
        check_body(r#"{"Check":{"TTL":""}}"#, r#"time: invalid duration """#);
    }

    #[test]
    fn files() {
        check_file(
            r#"name = "web" port = 8080 check { http = "http://x" interval = "10s" header { a = ["b"] } } weights { warning = 5 }"#,
            r#"{"Name":"web","Port":8080,"Weights":{"Passing":1,"Warning":5},"Checks":[{"HTTP":"http://x","Header":{"a":["b"]},"Interval":"10s"}]}"#,
        );
        check_file(
            r#"name = "web" connect { sidecar_service { proxy { upstreams { destination_name = "db" local_bind_port = 1 config { a { b = 2 } } } } } }"#,
            r#"{"Name":"web","Connect":{"SidecarService":{"Name":"","Proxy":{"Upstreams":[{"DestinationName":"db","LocalBindPort":1,"Config":{"a":{"b":2}},"MeshGateway":{}}],"MeshGateway":{},"Expose":{}}}}}"#,
        );
        check_file(
            r#"name = "web" checks { ttl = "1s" } checks { DockerContainerID = "x" }"#,
            r#"{"Name":"web","Checks":[{"TTL":"1s"},{"DockerContainerID":"x"}]}"#,
        );
        check_file(
            "name = \"web\"\nprot = 80",
            "a.hcl:2:8: invalid config key prot; did you mean port? Correct or remove it",
        );
        check_file(
            "check { script = \"x\" }",
            "a.hcl:1:18: invalid config key check.script; there is no such setting, remove it",
        );
        check_file(
            "port = \"80\"",
            "a.hcl:1:8: port: expected a whole number, found text; write it without quotes, such as port = 1",
        );
        check_file(
            "port = 70000",
            "a.hcl:1:8: port: 70000 is out of range; write a number from 0 to 65535",
        );
        check_file(
            "check { ttl = 10 }",
            "a.hcl:1:15: check.ttl: expected a duration, found a number; write it in double quotes with its unit, such \
             as ttl = \"10s\"",
        );
        check_file(
            "check { ttl = \"10\" }",
            "a.hcl:1:15: check.ttl: time: missing unit in duration \"10\"; write a duration with its unit, such as ttl = \
             \"10s\"",
        );
        check_file(
            "tags = \"a\"",
            "a.hcl:1:8: tags: expected a list, found text; write it in brackets, such as tags = [\"x\"]",
        );
        check_file(
            "meta { a = \"b\" } meta { c = \"d\" }",
            "a.hcl:1:6: meta: written 2 times in one file; write one block with all of it",
        );
        check_file(
            "kind = \"x\"",
            "a.hcl:1:8: kind: \"x\" is no kind of service; write \"connect-proxy\", \"mesh-gateway\", \
             \"terminating-gateway\", \"ingress-gateway\", or leave it out",
        );
    }
}
