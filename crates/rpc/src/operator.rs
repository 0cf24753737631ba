//! The servers' consensus and autopilot: `Operator.*`.

use std::sync::Arc;

use model::command::{Command, Outcome};
use model::operator::{
    AutopilotConfiguration, AutopilotRequest, ClusterHealth, OperatorReply, OperatorRequest,
    RaftConfiguration,
};
use model::query::{Query, Reply, Token};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode, nothing};
use crate::wire::Empty;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Peer {
    address: String,
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Setting {
    config: AutopilotConfiguration,
    #[serde(rename = "CAS")]
    cas: bool,
}

async fn ask(call: &Call<'_>, request: OperatorRequest) -> Result<OperatorReply, Fault> {
    Ok(call.service.cluster.operator(request, call.token()?).await?)
}

pub(crate) async fn raft_configuration(call: Call<'_>) -> Handled {
    match ask(&call, OperatorRequest::RaftConfiguration).await? {
        OperatorReply::RaftConfiguration(configuration) => encode(&configuration),
        _ => Err(Fault::new("the configuration was answered with something else")),
    }
}

pub(crate) async fn remove_by_address(call: Call<'_>) -> Handled {
    let Peer { address, .. } = call.read()?;
    ask(&call, OperatorRequest::RemovePeerByAddress(address)).await?;
    nothing()
}

pub(crate) async fn remove_by_id(call: Call<'_>) -> Handled {
    let Peer { id, .. } = call.read()?;
    ask(&call, OperatorRequest::RemovePeerById(id)).await?;
    nothing()
}

pub(crate) async fn health(call: Call<'_>) -> Handled {
    match ask(&call, OperatorRequest::Health).await? {
        OperatorReply::Health(health) => encode(&health),
        _ => Err(Fault::new("the health was answered with something else")),
    }
}

pub(crate) async fn autopilot(call: Call<'_>) -> Handled {
    let answer = call.ask(Query::AutopilotConfiguration).await?;
    match &answer.body.reply {
        Reply::AutopilotConfiguration(configuration) => encode(&**configuration),
        _ => Err(Fault::new("the configuration was answered with something else")),
    }
}

pub(crate) async fn set_autopilot(call: Call<'_>) -> Handled {
    let Setting { config: configuration, cas } = call.read()?;
    let cas_index = cas.then_some(configuration.modify_index);
    let request = AutopilotRequest { configuration, cas_index };
    match call.run(Command::Autopilot(request)).await? {
        // Without a condition the answer is false, whatever came of it.
        Outcome::Applied(applied) => encode(&(applied && cas)),
        _ => encode(&false),
    }
}

pub(crate) async fn ask_autopilot(ask: &Ask<'_>) -> Asked {
    let (meta, configuration): (_, AutopilotConfiguration) =
        ask.rows("Operator.AutopilotGetConfiguration", &Empty {}).await?;
    Ok((meta, Reply::AutopilotConfiguration(Arc::new(configuration))))
}

pub(crate) async fn send_autopilot(
    remote: &crate::Remote,
    request: AutopilotRequest,
    token: &Token,
) -> Written<Outcome> {
    let AutopilotRequest { mut configuration, cas_index } = request;
    if let Some(index) = cas_index {
        configuration.modify_index = index;
    }
    let setting = Setting { config: configuration, cas: cas_index.is_some() };
    let applied: bool = remote.write("Operator.AutopilotSetConfiguration", &setting, token).await?;
    Ok(Outcome::Applied(applied || cas_index.is_none()))
}

pub(crate) async fn send(
    remote: &crate::Remote,
    request: OperatorRequest,
    token: &Token,
) -> Written<OperatorReply> {
    let peer = |address: String, id: String| Peer { address, id };
    match request {
        OperatorRequest::RaftConfiguration => {
            let found: RaftConfiguration =
                remote.write("Operator.RaftGetConfiguration", &Empty {}, token).await?;
            Ok(OperatorReply::RaftConfiguration(found))
        }
        OperatorRequest::Health => {
            let found: ClusterHealth =
                remote.write("Operator.ServerHealth", &Empty {}, token).await?;
            Ok(OperatorReply::Health(found))
        }
        OperatorRequest::RemovePeerByAddress(address) => {
            let peer = peer(address, String::new());
            let _: serde::de::IgnoredAny =
                remote.write("Operator.RaftRemovePeerByAddress", &peer, token).await?;
            Ok(OperatorReply::Done)
        }
        OperatorRequest::RemovePeerById(id) => {
            let peer = peer(String::new(), id);
            let _: serde::de::IgnoredAny =
                remote.write("Operator.RaftRemovePeerByID", &peer, token).await?;
            Ok(OperatorReply::Done)
        }
        OperatorRequest::TransferLeadership(_) => Err(model::error::Error::invalid(
            "leadership is transferred by a server, not through a client agent",
        )),
    }
}
