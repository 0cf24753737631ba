//! `services`: registration with the local agent, from files or flags.

use clap::{Args, Subcommand};
use config::decode::{Rules, Values};
use model::definition::ServiceDefinition;
use serde_json::{Map, Value, json};

use crate::client_flags::{HttpFlags, NamespaceFlag, block_on, key_value};
use crate::data;
use crate::output::{self, CommandResult, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Remove services from the local agent.
    Deregister(DeregisterArgs),
    /// Register services with the local agent.
    Register(RegisterArgs),
}

#[derive(Args)]
pub(crate) struct DeregisterArgs {
    /// Id of the one service to remove, instead of files.
    #[arg(long, default_value = "", value_name = "ID")]
    id: String,
    /// Files the services were registered from; - is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// Name of the service to register from flags.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// Its id; default is the name.
    #[arg(long, default_value = "", value_name = "ID")]
    id: String,
    /// Its address; default is the node's.
    #[arg(long, default_value = "", value_name = "ADDRESS")]
    address: String,
    /// Its port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: i64,
    /// What it is, when not an application: connect-proxy or one of the gateways.
    #[arg(long, default_value = "", value_name = "KIND")]
    kind: String,
    /// A tag; repeat for more.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Metadata; repeat for more.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// A further address under a name, with an optional port; repeat for more.
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = key_value)]
    tagged_address: Vec<(String, String)>,
    /// Files with service definitions, in HCL or JSON; - is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Deregister(args) => deregister(&args),
        Command::Register(args) => register(&args),
    }
}

fn register(args: &RegisterArgs) -> CommandResult {
    let bodies = match (args.name.is_empty(), args.files.is_empty()) {
        (true, true) => {
            return Err(Failure::new(
                "Service registration requires at least one argument or flags.",
            ));
        }
        (false, false) => {
            return Err(Failure::new("Service registration requires arguments or -id, not both."));
        }
        (false, true) => vec![(args.name.clone(), body_from_flags(args)?)],
        (true, false) => {
            let mut bodies = Vec::new();
            for service in definitions(&args.files)? {
                let mut body =
                    serde_json::to_value(&service).map_err(Failure::during("writing JSON"))?;
                name_checks(&mut body);
                bodies.push((service.name, body));
            }
            bodies
        }
    };
    let client = args.http.client_in(&args.namespace)?;
    block_on(async {
        for (name, body) in bodies {
            client
                .register_service(&body)
                .await
                .map_err(Failure::during(format!("registering service {name:?}")))?;
            output::line(&format!("Registered service: {name}"));
        }
        Ok(0)
    })
}

fn deregister(args: &DeregisterArgs) -> CommandResult {
    let ids: Vec<String> = match (args.id.is_empty(), args.files.is_empty()) {
        (true, true) => {
            return Err(Failure::new(
                "Service deregistration requires at least one argument or -id.",
            ));
        }
        (false, false) => {
            return Err(Failure::new(
                "Service deregistration requires arguments or -id, not both.",
            ));
        }
        (false, true) => vec![args.id.clone()],
        (true, false) => {
            let id = |service: ServiceDefinition| {
                if service.id.is_empty() { service.name } else { service.id }
            };
            definitions(&args.files)?.into_iter().map(id).collect()
        }
    };
    let client = args.http.client_in(&args.namespace)?;
    block_on(async {
        for id in ids {
            client
                .deregister_service(&id)
                .await
                .map_err(Failure::during(format!("deregistering service {id:?}")))?;
            output::line(&format!("Deregistered service: {id}"));
        }
        Ok(0)
    })
}

/// Inside a service, the id of a check is called `CheckID`, and the service needs no naming.
fn name_checks(service: &mut Value) {
    for check in service.get_mut("Checks").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(check) = check.as_object_mut() else { continue };
        check.remove("ServiceID");
        if let Some(id) = check.remove("ID") {
            check.insert("CheckID".to_owned(), id);
        }
    }
    if let Some(sidecar) = service.pointer_mut("/Connect/SidecarService") {
        name_checks(sidecar);
    }
}

/// The registration the flags describe, with no more keys than were given.
fn body_from_flags(args: &RegisterArgs) -> Result<Value, Failure> {
    let mut addresses = Map::new();
    for (name, text) in &args.tagged_address {
        addresses.insert(name.clone(), tagged_address(text)?);
    }
    let mut body = json!({ "Name": args.name });
    let mut set = |key: &str, value: Value, is_given: bool| {
        if is_given {
            body[key] = value;
        }
    };
    set("ID", json!(args.id), !args.id.is_empty());
    set("Kind", json!(args.kind), !args.kind.is_empty());
    set("Address", json!(args.address), !args.address.is_empty());
    set("Port", json!(args.port), args.port != 0);
    set("Tags", json!(args.tag), !args.tag.is_empty());
    let meta: Map<String, Value> =
        args.meta.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    set("Meta", Value::Object(meta), !args.meta.is_empty());
    set("TaggedAddresses", Value::Object(addresses), !args.tagged_address.is_empty());
    Ok(body)
}

/// Reads `address`, `address:port` or `[address]:port`.
fn tagged_address(text: &str) -> Result<Value, Failure> {
    let invalid = |reason: &str| Failure::new(format!("Invalid Tagged Address: {text}: {reason}"));
    let (address, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) =
                bracketed.split_once(']').ok_or_else(|| invalid("missing ']' in address"))?;
            (address, rest.strip_prefix(':'))
        }
        None => match text.matches(':').count() {
            0 => (text, None),
            1 => text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port))),
            _ => return Err(invalid("too many colons in address, write [address]:port")),
        },
    };
    match port {
        None => Ok(json!({ "Address": address })),
        Some(port) => {
            let port: u16 = port.parse().map_err(|_| invalid("the port is not a port number"))?;
            Ok(json!({ "Address": address, "Port": port }))
        }
    }
}

/// The services of agent configuration files; their other settings are passed over.
fn definitions(files: &[String]) -> Result<Vec<ServiceDefinition>, Failure> {
    let mut services = Vec::new();
    for file in files {
        let text = data::file_or_stdin(file)?;
        let tree = config::hcl::parse(&text)
            .map_err(|error| Failure::new(format!("Error: failed to parse {file}: {error}")))?;
        let Some(values) = Values::root([(file.as_str(), &tree)], Rules::File) else { continue };
        let read = || {
            let fields = values.fields()?;
            let one: Option<ServiceDefinition> = fields.get("service")?;
            let many: Vec<ServiceDefinition> = fields.or_default("services")?;
            Ok(one.into_iter().chain(many))
        };
        let found = read()
            .map_err(|error: config::SettingError| Failure::new(format!("Error: {error}")))?;
        services.extend(found);
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_addresses() {
        let check = |text: &str, want: Option<Value>| {
            assert_eq!(tagged_address(text).ok(), want, "{text}");
        };
        check("1.1.1.1", Some(json!({ "Address": "1.1.1.1" })));
        check("1.1.1.1:80", Some(json!({ "Address": "1.1.1.1", "Port": 80 })));
        check("[::1]:80", Some(json!({ "Address": "::1", "Port": 80 })));
        check("http://1.1.1.1:80", None);
        check("1.1.1.1:x", None);
        check("[::1", None);
    }
}
