//! The table of methods: name, handler, and the right each will need.

use model::access::{Access, Resource, Right};

use crate::failure::Fault;
use crate::service::{Call, Handling};
use crate::{
    ca, catalog, chain, config_entry, coordinate, health, intention, internal, kv, operator,
    session, status,
};

pub(crate) struct Method {
    name: &'static str,
    pub(crate) handler: for<'a> fn(Call<'a>) -> Handling<'a>,
    /// Read by who judges; see [`Access`].
    #[cfg_attr(not(test), expect(dead_code, reason = "there are no access rules yet"))]
    access: Access,
    /// The argument is text that holds the real one, its datacenter included.
    pub(crate) is_wrapped: bool,
}

const OPEN: Access = Access::Open;
const NODE_READ: Access = Access::Needs(Resource::Node, Right::Read);
const NODE_WRITE: Access = Access::Needs(Resource::Node, Right::Write);
const SERVICE_READ: Access = Access::Needs(Resource::Service, Right::Read);
const SERVICE_WRITE: Access = Access::Needs(Resource::Service, Right::Write);
const KEY_READ: Access = Access::Needs(Resource::Key, Right::Read);
const KEY_WRITE: Access = Access::Needs(Resource::Key, Right::Write);
const SESSION_READ: Access = Access::Needs(Resource::Session, Right::Read);
const SESSION_WRITE: Access = Access::Needs(Resource::Session, Right::Write);
const INTENTION_READ: Access = Access::Needs(Resource::Intention, Right::Read);
const INTENTION_WRITE: Access = Access::Needs(Resource::Intention, Right::Write);
const OPERATOR_READ: Access = Access::Needs(Resource::Operator, Right::Read);
const OPERATOR_WRITE: Access = Access::Needs(Resource::Operator, Right::Write);
const KIND_READ: Access = Access::Needs(Resource::OfKind, Right::Read);
const KIND_WRITE: Access = Access::Needs(Resource::OfKind, Right::Write);
const EVENT_WRITE: Access = Access::Needs(Resource::Event, Right::Write);
const KEYRING_WRITE: Access = Access::Needs(Resource::Keyring, Right::Write);

/// `"Name" handler, access;` with `wrapped` where the argument is text that holds another.
macro_rules! methods {
    ($($name:literal $($handler:ident)::+, $access:expr $(, $wrapped:ident)?;)+) => {
        &[$(Method {
            name: $name,
            handler: |call| Box::pin($($handler)::+(call)),
            access: $access,
            is_wrapped: methods!(@wrapped $($wrapped)?),
        }),+]
    };
    (@wrapped wrapped) => { true };
    (@wrapped) => { false };
}

/// In the order of names, to be searched by halves.
const METHODS: &[Method] = methods! {
    "Catalog.Deregister" catalog::deregister, NODE_WRITE;
    "Catalog.GatewayServices" catalog::gateway_services, SERVICE_READ;
    "Catalog.ListDatacenters" catalog::datacenters, OPEN;
    "Catalog.ListNodes" catalog::nodes, NODE_READ;
    "Catalog.ListServices" catalog::services, SERVICE_READ;
    "Catalog.NodeServiceList" catalog::node_service_list, NODE_READ;
    "Catalog.NodeServices" catalog::node_services, NODE_READ;
    "Catalog.Register" catalog::register, NODE_WRITE;
    "Catalog.ServiceList" catalog::service_list, SERVICE_READ;
    "Catalog.ServiceNodes" catalog::service_nodes, SERVICE_READ;
    "ConfigEntry.Apply" config_entry::apply, KIND_WRITE, wrapped;
    "ConfigEntry.Delete" config_entry::delete, KIND_WRITE, wrapped;
    "ConfigEntry.Get" config_entry::get, KIND_READ;
    "ConfigEntry.List" config_entry::list, KIND_READ;
    "ConfigEntry.ResolveServiceConfig" config_entry::resolve, SERVICE_READ;
    "ConnectCA.ConfigurationGet" ca::configuration, OPERATOR_READ;
    "ConnectCA.ConfigurationSet" ca::configure, OPERATOR_WRITE;
    "ConnectCA.Roots" ca::roots, OPEN;
    "ConnectCA.Sign" ca::sign, SERVICE_WRITE;
    "Coordinate.ListDatacenters" coordinate::datacenters, OPEN;
    "Coordinate.ListNodes" coordinate::list_nodes, NODE_READ;
    "Coordinate.Node" coordinate::node, NODE_READ;
    "Coordinate.Update" coordinate::update, NODE_WRITE;
    "DiscoveryChain.Get" chain::get, SERVICE_READ;
    "Health.ChecksInState" health::checks_in_state, NODE_READ;
    "Health.NodeChecks" health::node_checks, NODE_READ;
    "Health.ServiceChecks" health::service_checks, SERVICE_READ;
    "Health.ServiceNodes" health::service_nodes, SERVICE_READ;
    "Intention.Apply" intention::apply, INTENTION_WRITE;
    "Intention.Check" intention::check, INTENTION_READ;
    "Intention.Get" intention::get, INTENTION_READ;
    "Intention.List" intention::list, INTENTION_READ;
    "Intention.Match" intention::matches, INTENTION_READ;
    "Internal.EventFire" internal::fire_event, EVENT_WRITE;
    "Internal.KeyringOperation" internal::keyring, KEYRING_WRITE;
    "Internal.NodeDump" internal::node_dump, NODE_READ;
    "Internal.NodeInfo" internal::node_info, NODE_READ;
    "Internal.ServiceDump" internal::service_dump, SERVICE_READ;
    "KVS.Apply" kv::apply, KEY_WRITE;
    "KVS.Get" kv::get, KEY_READ;
    "KVS.List" kv::list, KEY_READ;
    "KVS.ListKeys" kv::list_keys, KEY_READ;
    "Operator.AutopilotGetConfiguration" operator::autopilot, OPERATOR_READ;
    "Operator.AutopilotSetConfiguration" operator::set_autopilot, OPERATOR_WRITE;
    "Operator.RaftGetConfiguration" operator::raft_configuration, OPERATOR_READ;
    "Operator.RaftRemovePeerByAddress" operator::remove_by_address, OPERATOR_WRITE;
    "Operator.RaftRemovePeerByID" operator::remove_by_id, OPERATOR_WRITE;
    "Operator.ServerHealth" operator::health, OPERATOR_READ;
    "Session.Apply" session::apply, SESSION_WRITE;
    "Session.Get" session::get, SESSION_READ;
    "Session.List" session::list, SESSION_READ;
    "Session.NodeSessions" session::of_node, SESSION_READ;
    "Session.Renew" session::renew, SESSION_WRITE;
    "Status.Leader" status::leader, OPEN;
    "Status.Peers" status::peers, OPEN;
    "Status.Ping" status::ping, OPEN;
};

/// The method called `name`. Errors: the texts agents look for; the stream ends with them.
pub(crate) fn find(name: &str) -> Result<&'static Method, Fault> {
    if let Ok(at) = METHODS.binary_search_by(|method| method.name.cmp(name)) {
        return Ok(&METHODS[at]);
    }
    let Some((service, _)) = name.rsplit_once('.') else {
        return Err(Fault::closing(format!("rpc: service/method request ill-formed: {name}")));
    };
    if service == "ACL" {
        return Err(Fault::new("ACL support disabled"));
    }
    let prefix = format!("{service}.");
    match METHODS.iter().any(|method| method.name.starts_with(&prefix)) {
        true => Err(Fault::closing(format!("rpc: can't find method {name}"))),
        false => Err(Fault::closing(format!("rpc: can't find service {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_stand_in_order_and_all_are_found() {
        assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
        for method in METHODS {
            assert!(find(method.name).is_ok(), "{}", method.name);
        }
    }

    #[test]
    fn whoever_writes_needs_a_right() {
        let writes = ["Apply", "Register", "Deregister", "Set", "Remove", "Fire", "Update", "Sign"];
        for method in METHODS {
            let (_, verb) = method.name.split_once('.').unwrap();
            if writes.iter().any(|write| verb.contains(write)) {
                let is_write = matches!(method.access, Access::Needs(_, Right::Write));
                assert!(is_write, "{}", method.name);
            }
        }
    }

    #[test]
    fn unknown_methods_end_the_stream_with_the_texts_agents_look_for() {
        let check = |name: &str, text: &str| {
            let fault = find(name).err().unwrap();
            assert_eq!((fault.text.as_str(), fault.closes), (text, true));
        };
        check("Foo.Bar", "rpc: can't find service Foo.Bar");
        check("KVS.Bogus", "rpc: can't find method KVS.Bogus");
        check("Nodot", "rpc: service/method request ill-formed: Nodot");
        check("AutoEncrypt.Sign", "rpc: can't find service AutoEncrypt.Sign");
    }
}
