//! Where requests for a service go: `DiscoveryChain.Get`. Without routers, splitters and resolvers
//! there is one kind of chain: to the instances of that service in this datacenter.

use std::collections::BTreeMap;

use model::duration::GoDuration;
use model::query::{Query, QueryOptions, Reply};
use model::service::MeshGateway;
use serde::{Deserialize, Serialize};

use crate::config_entry::{Defaults, defaults};
use crate::failure::Fault;
use crate::service::{Call, Handled, with_meta};

const NAMESPACE: &str = "default";
const PROTOCOL: &str = "tcp";
const CONNECT_TIMEOUT: GoDuration = GoDuration::from_secs(5);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Asking {
    name: String,
    evaluate_in_datacenter: String,
    override_protocol: String,
    override_connect_timeout: GoDuration,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    chain: Chain,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Chain {
    service_name: String,
    namespace: &'static str,
    datacenter: String,
    /// Tells customized chains apart; empty for the others.
    customization_hash: String,
    protocol: String,
    start_node: String,
    nodes: BTreeMap<String, Node>,
    targets: BTreeMap<String, Target>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    r#type: &'static str,
    name: String,
    routes: Option<()>,
    splits: Option<()>,
    resolver: Resolver,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Resolver {
    default: bool,
    connect_timeout: GoDuration,
    target: String,
    failover: Option<()>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    service_subset: &'static str,
    namespace: &'static str,
    datacenter: String,
    mesh_gateway: MeshGateway,
    subset: Subset,
    external: bool,
    #[serde(rename = "SNI")]
    sni: String,
    name: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Subset {
    filter: &'static str,
    only_passing: bool,
}

pub(crate) async fn get(call: Call<'_>) -> Handled {
    let asked: Asking = call.read()?;
    if asked.name.is_empty() {
        return Err(Fault::new("Must provide service name"));
    }
    let options = call.options()?;
    let at_once = QueryOptions { min_index: 0, filter: String::new(), ..options.clone() };
    let (meta, defaults) = defaults(&call, options).await?;
    let roots = call.ask_with(Query::CaRoots, at_once).await?;
    let Reply::CaRoots(roots) = &roots.body.reply else {
        return Err(Fault::new("the roots were answered with something else"));
    };
    let datacenter = match asked.evaluate_in_datacenter.as_str() {
        "" => call.service.datacenter.clone(),
        named => named.to_owned(),
    };
    with_meta(&Found { chain: chain(asked, &datacenter, &defaults, &roots.trust_domain) }, &meta)
}

fn chain(asked: Asking, datacenter: &str, defaults: &Defaults, trust_domain: &str) -> Chain {
    let Asking { name, override_protocol, override_connect_timeout, .. } = asked;
    let own = defaults.services.get(&name);
    let central = || {
        let config = defaults.proxy.as_ref()?.config.as_ref()?;
        Some(config.get("protocol")?.as_str()?.to_owned())
    };
    let protocol = own
        .map(|own| own.protocol.clone())
        .filter(|protocol| !protocol.is_empty())
        .or_else(central)
        .unwrap_or_else(|| PROTOCOL.to_owned());
    let mut custom = String::new();
    let mut customize = |what: &str, value: &str| {
        custom.push_str(what);
        custom.push_str(value);
    };
    let protocol = match override_protocol.as_str() {
        "" => protocol,
        wanted if wanted == protocol => protocol,
        wanted => {
            customize("protocol", wanted);
            wanted.to_owned()
        }
    };
    let connect_timeout = match override_connect_timeout {
        timeout if timeout.0 > 0 && timeout != CONNECT_TIMEOUT => {
            customize("timeout", &timeout.0.to_string());
            timeout
        }
        _ => CONNECT_TIMEOUT,
    };
    let id = format!("{name}.{NAMESPACE}.{datacenter}");
    let domain_name = format!("{id}.internal.{trust_domain}");
    let external_sni =
        own.map(|own| own.external_sni.clone()).filter(|external_sni| !external_sni.is_empty());
    let target = Target {
        id: id.clone(),
        service: name.clone(),
        service_subset: "",
        namespace: NAMESPACE,
        datacenter: datacenter.to_owned(),
        mesh_gateway: MeshGateway::default(),
        subset: Subset::default(),
        external: external_sni.is_some(),
        sni: external_sni.unwrap_or_else(|| domain_name.clone()),
        name: domain_name,
    };
    let node = Node {
        r#type: "resolver",
        name: id.clone(),
        routes: None,
        splits: None,
        resolver: Resolver { default: true, connect_timeout, target: id.clone(), failover: None },
    };
    let start_node = format!("resolver:{id}");
    Chain {
        service_name: name,
        namespace: NAMESPACE,
        datacenter: datacenter.to_owned(),
        customization_hash: fingerprint(&custom),
        protocol,
        start_node: start_node.clone(),
        nodes: [(start_node, node)].into(),
        targets: [(id, target)].into(),
    }
}

/// Eight digits that differ where texts do; none for none. FNV-1a, which needs no key.
fn fingerprint(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    format!("{:08x}", text.bytes().fold(0x811c_9dc5, mix))
}
