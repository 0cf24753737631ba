//! Configuration entries: `ConfigEntry.*`. Replies are text that holds several values.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::command::{Command, Outcome};
use model::config_entry::{
    ConfigEntry, ConfigEntryBlob, ConfigEntryOp, ConfigEntryRequest, PROXY_DEFAULTS,
    PROXY_DEFAULTS_NAME, ProxyDefaults, SERVICE_DEFAULTS, ServiceDefaults, invalid_kind,
};
use model::msgpack::{self, DecodeError, Decoder, Raw};
use model::query::{Query, QueryMeta, QueryOptions, Reply, Token};
use model::service::{Expose, MeshGateway, OpaqueConfig};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written, malformed};
use crate::service::{Call, Handled, encode, nothing};
use crate::wire::{Scope, WireMeta, merged};

/// Kinds that may be asked about; only the first two hold anything.
const KINDS: [&str; 7] = [
    PROXY_DEFAULTS,
    SERVICE_DEFAULTS,
    "service-router",
    "service-splitter",
    "service-resolver",
    "ingress-gateway",
    "terminating-gateway",
];

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    kind: String,
    name: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entries {
    kind: String,
    entries: Vec<Raw>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Resolving {
    name: String,
    upstreams: Vec<String>,
    #[serde(rename = "UpstreamIDs")]
    upstream_ids: Vec<ServiceId>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ServiceId {
    #[serde(rename = "ID")]
    id: String,
}

/// What central settings say of one service and of those it calls.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Resolved {
    proxy_config: Opaque,
    /// By name, for who asked by names.
    upstream_configs: Option<BTreeMap<String, Opaque>>,
    #[serde(rename = "UpstreamIDConfigs")]
    upstream_id_configs: Option<Vec<UpstreamConfig>>,
    mesh_gateway: MeshGateway,
    expose: Expose,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpstreamConfig {
    upstream: ServiceId,
    config: Opaque,
}

/// Settings in the form they have within a proxy: `ProxyDefaults` knows how they travel.
#[derive(Debug, Default)]
struct Opaque(OpaqueConfig);

impl Serialize for Opaque {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Holder {
            config: Raw,
        }
        let holder = ProxyDefaults { config: Some(self.0.clone()), ..ProxyDefaults::default() };
        let bytes = msgpack::to_vec(&holder).map_err(serde::ser::Error::custom)?;
        let Holder { config } = msgpack::from_slice(&bytes).map_err(serde::ser::Error::custom)?;
        config.serialize(serializer)
    }
}

/// The change inside the text of an argument.
fn blob(call: &Call<'_>) -> Result<ConfigEntryBlob, Fault> {
    let inside: ByteBuf = call.read()?;
    let blob = ConfigEntryBlob::from_bytes(&inside).map_err(|error| match error {
        DecodeError::Mismatch(text) => Fault::closing(text),
        other => Fault::from(other),
    })?;
    call.check_datacenter(&Scope { datacenter: blob.datacenter.clone() })?;
    Ok(blob)
}

pub(crate) async fn apply(call: Call<'_>) -> Handled {
    let ConfigEntryBlob { op, entry, token, .. } = blob(&call)?;
    let change = match op {
        ConfigEntryOp::Upsert => ConfigEntryRequest::Upsert(entry.into()),
        ConfigEntryOp::UpsertCas => {
            let index = entry.modify_index();
            ConfigEntryRequest::UpsertCas(entry.into(), index)
        }
        ConfigEntryOp::Delete => deletion(&entry),
    };
    match run(&call, change, token).await? {
        Outcome::Applied(applied) => encode(&applied),
        _ => encode(&true),
    }
}

pub(crate) async fn delete(call: Call<'_>) -> Handled {
    let ConfigEntryBlob { entry, token, .. } = blob(&call)?;
    run(&call, deletion(&entry), token).await?;
    nothing()
}

fn deletion(entry: &ConfigEntry) -> ConfigEntryRequest {
    ConfigEntryRequest::Delete { kind: entry.kind().to_owned(), name: entry.name().to_owned() }
}

async fn run(call: &Call<'_>, change: ConfigEntryRequest, token: String) -> Result<Outcome, Fault> {
    let command = Command::ConfigEntry(change);
    match call.service.cluster.command(command, Token(token.into())).await? {
        Outcome::Refused(text) => Err(Fault::new(text)),
        other => Ok(other),
    }
}

fn check_kind(kind: &str) -> Result<(), Fault> {
    match KINDS.contains(&kind) {
        true => Ok(()),
        false => Err(Fault::new(invalid_kind(kind))),
    }
}

pub(crate) async fn get(call: Call<'_>) -> Handled {
    let Named { kind, name } = call.read()?;
    check_kind(&kind)?;
    let answer = call.ask(Query::ConfigEntry { kind, name }).await?;
    let Reply::ConfigEntry(found) = &answer.body.reply else {
        return Err(Fault::new("the entry was answered with something else"));
    };
    let mut inside = Vec::new();
    match found {
        None => msgpack::append(&mut inside, "")?,
        Some(entry) => {
            msgpack::append(&mut inside, entry.kind())?;
            msgpack::append(&mut inside, &**entry)?;
        }
    }
    msgpack::append(&mut inside, &WireMeta::of(&answer.meta))?;
    encode(&ByteBuf::from(inside))
}

pub(crate) async fn list(call: Call<'_>) -> Handled {
    let Named { kind, .. } = call.read()?;
    if !kind.is_empty() {
        check_kind(&kind)?;
    }
    let answer = call.ask(Query::ConfigEntries { kind: kind.clone() }).await?;
    let Reply::ConfigEntries(found) = &answer.body.reply else {
        return Err(Fault::new("entries were answered with something else"));
    };
    let mut entries = Vec::with_capacity(found.len());
    for entry in found {
        entries.push(Raw(msgpack::to_vec(&**entry)?));
    }
    let mut inside = Vec::new();
    msgpack::append(&mut inside, &entries.len())?;
    msgpack::append(&mut inside, &kind)?;
    inside.extend(merged(&Entries { kind, entries }, &WireMeta::of(&answer.meta))?);
    encode(&ByteBuf::from(inside))
}

/// The defaults of all proxies and of services, as they are at one index.
#[derive(Default)]
pub(crate) struct Defaults {
    pub(crate) proxy: Option<ProxyDefaults>,
    pub(crate) services: BTreeMap<String, ServiceDefaults>,
}

pub(crate) async fn defaults(
    call: &Call<'_>,
    options: QueryOptions,
) -> Result<(QueryMeta, Defaults), Fault> {
    let answer = call.ask_with(Query::ConfigEntries { kind: String::new() }, options).await?;
    let Reply::ConfigEntries(found) = &answer.body.reply else {
        return Err(Fault::new("entries were answered with something else"));
    };
    let mut defaults = Defaults::default();
    for entry in found {
        match &**entry {
            ConfigEntry::ProxyDefaults(entry) if entry.name == PROXY_DEFAULTS_NAME => {
                defaults.proxy = Some(entry.clone());
            }
            ConfigEntry::ProxyDefaults(_) => {}
            ConfigEntry::ServiceDefaults(entry) => {
                defaults.services.insert(entry.name.clone(), entry.clone());
            }
        }
    }
    Ok((answer.meta, defaults))
}

pub(crate) async fn resolve(call: Call<'_>) -> Handled {
    let asked: Resolving = call.read()?;
    let (meta, Defaults { proxy, services }) = defaults(&call, call.options()?).await?;
    let proxy = proxy.unwrap_or_default();
    let own = services.get(&asked.name);
    let protocol = |name: &str| {
        let defaults = services.get(name).filter(|defaults| !defaults.protocol.is_empty())?;
        Some(("protocol".to_owned(), serde_json::Value::from(defaults.protocol.clone())))
    };
    let mut config = proxy.config.unwrap_or_default();
    config.extend(protocol(&asked.name));

    let upstream = |name: &String| Some((name.clone(), Opaque([protocol(name)?].into())));
    let by_name: BTreeMap<String, Opaque> = asked.upstreams.iter().filter_map(upstream).collect();
    let by_id = asked.upstream_ids.iter().filter_map(|id| {
        let config = Opaque([protocol(&id.id)?].into());
        Some(UpstreamConfig { upstream: id.clone(), config })
    });
    let by_id: Vec<UpstreamConfig> = by_id.collect();
    let resolved = Resolved {
        proxy_config: Opaque(config),
        upstream_configs: Some(by_name).filter(|configs| !configs.is_empty()),
        upstream_id_configs: Some(by_id).filter(|configs| !configs.is_empty()),
        mesh_gateway: own
            .map(|own| own.mesh_gateway.clone())
            .filter(|gateway| !gateway.mode.is_empty())
            .unwrap_or(proxy.mesh_gateway),
        expose: own
            .map(|own| own.expose.clone())
            .filter(|expose| *expose != Expose::default())
            .unwrap_or(proxy.expose),
    };
    encode(&ByteBuf::from(merged(&resolved, &WireMeta::of(&meta))?))
}

pub(crate) async fn ask_get(ask: &Ask<'_>, kind: String, name: String) -> Asked {
    let bytes: ByteBuf = ask.body("ConfigEntry.Get", &Named { kind, name }).await?;
    let read = || {
        let mut decoder = Decoder::new(&bytes);
        let kind = String::deserialize(&mut decoder)?;
        let found = match kind.as_str() {
            "" => None,
            _ => Some(Arc::new(ConfigEntry::deserialize(&mut decoder)?)),
        };
        Ok((WireMeta::deserialize(&mut decoder)?, found))
    };
    let (meta, found) = read().map_err(malformed)?;
    Ok((ask.meta(&meta), Reply::ConfigEntry(found)))
}

pub(crate) async fn ask_list(ask: &Ask<'_>, kind: String) -> Asked {
    let asked = Named { kind, name: String::new() };
    let bytes: ByteBuf = ask.body("ConfigEntry.List", &asked).await?;
    let read = || {
        let mut decoder = Decoder::new(&bytes);
        let (_count, _kind) = (u64::deserialize(&mut decoder)?, String::deserialize(&mut decoder)?);
        let meta: WireMeta = msgpack::from_slice(decoder.rest())?;
        let Entries { entries, .. } = msgpack::from_slice(decoder.rest())?;
        // Entries of kinds that are not known here are not shown.
        let known = |Raw(bytes): &Raw| msgpack::from_slice::<ConfigEntry>(bytes).ok();
        let entries = entries.iter().filter_map(known).map(Arc::new).collect();
        Ok((meta, entries))
    };
    let (meta, entries) = read().map_err(malformed)?;
    Ok((ask.meta(&meta), Reply::ConfigEntries(entries)))
}

pub(crate) async fn send(
    remote: &crate::Remote,
    request: ConfigEntryRequest,
    token: &Token,
) -> Written<Outcome> {
    let (op, entry) = match request {
        ConfigEntryRequest::Upsert(entry) => (ConfigEntryOp::Upsert, entry.into()),
        ConfigEntryRequest::UpsertCas(entry, index) => {
            let mut entry = ConfigEntry::from(entry);
            entry.set_indexes(entry.create_index(), index);
            (ConfigEntryOp::UpsertCas, entry)
        }
        ConfigEntryRequest::Delete { kind, name } => (ConfigEntryOp::Delete, named(kind, name)?),
    };
    let blob = ConfigEntryBlob {
        op,
        datacenter: remote.datacenter_of(""),
        entry,
        token: token.0.to_string(),
    };
    let method = match op {
        ConfigEntryOp::Delete => "ConfigEntry.Delete",
        ConfigEntryOp::Upsert | ConfigEntryOp::UpsertCas => "ConfigEntry.Apply",
    };
    let inside = ByteBuf::from(blob.to_bytes().map_err(crate::remote::unencodable)?);
    let body = msgpack::to_vec(&inside).map_err(crate::remote::unencodable)?;
    match op {
        ConfigEntryOp::Delete => remote.send::<serde::de::IgnoredAny>(method, body).await?,
        ConfigEntryOp::Upsert => remote.send::<serde::de::IgnoredAny>(method, body).await?,
        ConfigEntryOp::UpsertCas => {
            return Ok(Outcome::Applied(remote.send(method, body).await?));
        }
    };
    Ok(Outcome::Done)
}

fn named(kind: String, name: String) -> Written<ConfigEntry> {
    match kind.as_str() {
        PROXY_DEFAULTS => {
            Ok(ConfigEntry::ProxyDefaults(ProxyDefaults { kind, name, ..ProxyDefaults::default() }))
        }
        SERVICE_DEFAULTS => Ok(ConfigEntry::ServiceDefaults(ServiceDefaults {
            kind,
            name,
            ..ServiceDefaults::default()
        })),
        other => Err(model::error::Error::invalid(invalid_kind(other))),
    }
}
