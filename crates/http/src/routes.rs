//! The table of endpoints: method, path, handler, and the right each will need.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use agent::metrics::{Metrics, Series};
use foldhash::fast::RandomState;
use hyper::Method;
use hyper::header::HeaderValue;
use model::access::{Access, Resource, Right};

use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Request;
use crate::response::Response;
use crate::{
    agent_check, agent_connect, agent_info, agent_service, ca, catalog, config_entry, coordinate,
    event, health, intention, kv, operator, session, snapshot, status,
};

pub(crate) type Pending<'a> = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send + 'a>>;
pub(crate) type Handler = for<'a> fn(&'a Edge, Request) -> Pending<'a>;

struct Route {
    method: Method,
    /// A path, or with a slash at its end all paths below it.
    pattern: &'static str,
    handler: Handler,
    access: Access,
    refuses_namespaces: bool,
}

const fn route(
    method: Method,
    pattern: &'static str,
    handler: Handler,
    access: Access,
    refuses_namespaces: bool,
) -> Route {
    Route { method, pattern, handler, access, refuses_namespaces }
}

/// `METHOD "pattern" handler, access;` with `no_ns` where a namespace is refused.
macro_rules! routes {
    ($($method:ident $pattern:literal $($handler:ident)::+, $access:expr $(, $no_ns:ident)?;)+) => {
        &[$(route(
            Method::$method,
            $pattern,
            |edge, request| Box::pin($($handler)::+(edge, request)),
            $access,
            routes!(@ns $($no_ns)?),
        )),+]
    };
    (@ns no_ns) => { true };
    (@ns) => { false };
}

const OPEN: Access = Access::Open;
const AGENT_READ: Access = Access::Needs(Resource::Agent, Right::Read);
const AGENT_WRITE: Access = Access::Needs(Resource::Agent, Right::Write);
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
const EVENT_READ: Access = Access::Needs(Resource::Event, Right::Read);
const EVENT_WRITE: Access = Access::Needs(Resource::Event, Right::Write);
const KEYRING_READ: Access = Access::Needs(Resource::Keyring, Right::Read);
const KEYRING_WRITE: Access = Access::Needs(Resource::Keyring, Right::Write);
const KIND_READ: Access = Access::Needs(Resource::OfKind, Right::Read);
const KIND_WRITE: Access = Access::Needs(Resource::OfKind, Right::Write);

/// Methods of one pattern stand in the order of its `Allow` header.
const ROUTES: &[Route] = routes! {
    GET "/v1/agent/self" agent_info::this, AGENT_READ;
    GET "/v1/agent/host" agent_info::host, OPERATOR_READ;
    GET "/v1/agent/members" agent_info::members, NODE_READ;
    GET "/v1/agent/metrics" agent_info::metrics, AGENT_READ;
    GET "/v1/agent/monitor" agent_info::monitor, AGENT_READ;
    PUT "/v1/agent/reload" agent_info::reload, AGENT_WRITE;
    PUT "/v1/agent/leave" agent_info::leave, AGENT_WRITE;
    PUT "/v1/agent/maintenance" agent_info::maintenance, NODE_WRITE;
    PUT "/v1/agent/join/" agent_info::join, AGENT_WRITE;
    PUT "/v1/agent/force-leave/" agent_info::force_leave, OPERATOR_WRITE;
    PUT "/v1/agent/token/" agent_info::token, AGENT_WRITE;
    GET "/debug/pprof/" agent_info::token, OPERATOR_READ;

    GET "/v1/agent/services" agent_service::list, SERVICE_READ, no_ns;
    GET "/v1/agent/service/" agent_service::read, SERVICE_READ, no_ns;
    PUT "/v1/agent/service/register" agent_service::register, SERVICE_WRITE, no_ns;
    PUT "/v1/agent/service/deregister/" agent_service::deregister, SERVICE_WRITE, no_ns;
    PUT "/v1/agent/service/maintenance/" agent_service::maintenance, SERVICE_WRITE, no_ns;
    GET "/v1/agent/health/service/name/" agent_service::health_by_name, SERVICE_READ, no_ns;
    GET "/v1/agent/health/service/id/" agent_service::health_by_id, SERVICE_READ, no_ns;

    GET "/v1/agent/checks" agent_check::list, NODE_READ, no_ns;
    PUT "/v1/agent/check/register" agent_check::register, NODE_WRITE, no_ns;
    PUT "/v1/agent/check/deregister/" agent_check::deregister, NODE_WRITE, no_ns;
    PUT "/v1/agent/check/pass/" agent_check::pass, NODE_WRITE, no_ns;
    PUT "/v1/agent/check/warn/" agent_check::warn, NODE_WRITE, no_ns;
    PUT "/v1/agent/check/fail/" agent_check::fail, NODE_WRITE, no_ns;
    PUT "/v1/agent/check/update/" agent_check::update, NODE_WRITE, no_ns;

    POST "/v1/agent/connect/authorize" agent_connect::authorize, SERVICE_WRITE;
    GET "/v1/agent/connect/ca/roots" agent_connect::roots, OPEN;
    GET "/v1/agent/connect/ca/leaf/" agent_connect::leaf, SERVICE_WRITE, no_ns;

    PUT "/v1/catalog/register" catalog::register, NODE_WRITE;
    PUT "/v1/catalog/deregister" catalog::deregister, NODE_WRITE;
    GET "/v1/catalog/datacenters" catalog::datacenters, OPEN;
    GET "/v1/catalog/nodes" catalog::nodes, NODE_READ;
    GET "/v1/catalog/services" catalog::services, SERVICE_READ, no_ns;
    GET "/v1/catalog/service/" catalog::service, SERVICE_READ, no_ns;
    GET "/v1/catalog/connect/" catalog::connect, SERVICE_READ, no_ns;
    GET "/v1/catalog/node/" catalog::node, NODE_READ, no_ns;
    GET "/v1/catalog/node-services/" catalog::node_services, NODE_READ, no_ns;
    GET "/v1/catalog/gateway-services/" catalog::gateway_services, SERVICE_READ, no_ns;

    GET "/v1/health/node/" health::node, NODE_READ, no_ns;
    GET "/v1/health/checks/" health::checks, SERVICE_READ, no_ns;
    GET "/v1/health/service/" health::service, SERVICE_READ, no_ns;
    GET "/v1/health/connect/" health::connect, SERVICE_READ, no_ns;
    GET "/v1/health/ingress/" health::ingress, SERVICE_READ, no_ns;
    GET "/v1/health/state/" health::state, NODE_READ, no_ns;

    GET "/v1/kv/" kv::read, KEY_READ, no_ns;
    PUT "/v1/kv/" kv::write, KEY_WRITE, no_ns;
    DELETE "/v1/kv/" kv::delete, KEY_WRITE, no_ns;

    PUT "/v1/session/create" session::create, SESSION_WRITE, no_ns;
    PUT "/v1/session/destroy/" session::destroy, SESSION_WRITE, no_ns;
    PUT "/v1/session/renew/" session::renew, SESSION_WRITE, no_ns;
    GET "/v1/session/info/" session::read, SESSION_READ, no_ns;
    GET "/v1/session/node/" session::of_node, SESSION_READ, no_ns;
    GET "/v1/session/list" session::list, SESSION_READ, no_ns;

    PUT "/v1/event/fire/" event::fire, EVENT_WRITE;
    GET "/v1/event/list" event::list, EVENT_READ;

    GET "/v1/coordinate/datacenters" coordinate::datacenters, OPEN;
    GET "/v1/coordinate/nodes" coordinate::nodes, NODE_READ;
    GET "/v1/coordinate/node/" coordinate::node, NODE_READ;
    PUT "/v1/coordinate/update" coordinate::update, NODE_WRITE;

    GET "/v1/operator/raft/configuration" operator::raft_configuration, OPERATOR_READ;
    DELETE "/v1/operator/raft/peer" operator::remove_peer, OPERATOR_WRITE;
    POST "/v1/operator/raft/transfer-leader" operator::transfer_leader, OPERATOR_WRITE;
    GET "/v1/operator/autopilot/configuration" operator::autopilot_configuration, OPERATOR_READ;
    PUT "/v1/operator/autopilot/configuration" operator::configure_autopilot, OPERATOR_WRITE;
    GET "/v1/operator/autopilot/health" operator::autopilot_health, OPERATOR_READ;
    GET "/v1/operator/autopilot/state" operator::autopilot_state, OPERATOR_READ;
    GET "/v1/operator/keyring" operator::list_keys, KEYRING_READ;
    POST "/v1/operator/keyring" operator::install_key, KEYRING_WRITE;
    PUT "/v1/operator/keyring" operator::use_key, KEYRING_WRITE;
    DELETE "/v1/operator/keyring" operator::remove_key, KEYRING_WRITE;

    GET "/v1/status/leader" status::leader, OPEN;
    GET "/v1/status/peers" status::peers, OPEN;

    GET "/v1/snapshot" snapshot::save, OPERATOR_WRITE;
    PUT "/v1/snapshot" snapshot::restore, OPERATOR_WRITE;

    GET "/v1/connect/ca/roots" ca::roots, OPEN;
    GET "/v1/connect/ca/configuration" ca::configuration, OPERATOR_READ;
    PUT "/v1/connect/ca/configuration" ca::configure, OPERATOR_WRITE;
    GET "/v1/connect/intentions" intention::list, INTENTION_READ;
    POST "/v1/connect/intentions" intention::create, INTENTION_WRITE;
    GET "/v1/connect/intentions/match" intention::matching, INTENTION_READ;
    GET "/v1/connect/intentions/check" intention::check, INTENTION_READ;
    GET "/v1/connect/intentions/exact" intention::read_exact, INTENTION_READ;
    PUT "/v1/connect/intentions/exact" intention::write_exact, INTENTION_WRITE;
    DELETE "/v1/connect/intentions/exact" intention::delete_exact, INTENTION_WRITE;
    GET "/v1/connect/intentions/" intention::read, INTENTION_READ;
    PUT "/v1/connect/intentions/" intention::update, INTENTION_WRITE;
    DELETE "/v1/connect/intentions/" intention::delete, INTENTION_WRITE;

    PUT "/v1/config" config_entry::write, KIND_WRITE, no_ns;
    GET "/v1/config/" config_entry::read, KIND_READ, no_ns;
    DELETE "/v1/config/" config_entry::delete, KIND_WRITE, no_ns;
};

/// Every endpoint with the right it needs.
pub fn permissions() -> impl Iterator<Item = (&'static Method, &'static str, Access)> {
    ROUTES.iter().map(|route| (&route.method, route.pattern, route.access))
}

/// All methods of one pattern.
pub(crate) struct Endpoint {
    operations: Vec<(Method, Operation)>,
    pub(crate) allow: HeaderValue,
}

pub(crate) struct Operation {
    pub(crate) handler: Handler,
    pub(crate) refuses_namespaces: bool,
    pub(crate) latency: Series,
}

impl Endpoint {
    pub(crate) fn operation(&self, method: &Method) -> Option<&Operation> {
        self.operations.iter().find(|(known, _)| known == method).map(|(_, operation)| operation)
    }
}

pub(crate) struct Router {
    endpoints: HashMap<&'static str, Endpoint, RandomState>,
    /// Most slashes of any pattern: how deep a search for a subtree need go.
    slashes_max: usize,
}

impl Router {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let mut endpoints: HashMap<&'static str, Endpoint, RandomState> = HashMap::default();
        for route in ROUTES {
            let endpoint = endpoints.entry(route.pattern).or_insert_with(|| Endpoint {
                operations: Vec::new(),
                allow: HeaderValue::from_static("OPTIONS"),
            });
            let operation = Operation {
                handler: route.handler,
                refuses_namespaces: route.refuses_namespaces,
                latency: metrics.sample_series(&metric_name(route), &[]),
            };
            endpoint.operations.push((route.method.clone(), operation));
            let methods = endpoint.operations.iter().map(|(method, _)| method.as_str());
            let allow = ["OPTIONS"].into_iter().chain(methods).collect::<Vec<_>>().join(",");
            endpoint.allow = HeaderValue::from_str(&allow).expect("methods are plain words");
        }
        let slashes = |pattern: &&str| pattern.bytes().filter(|byte| *byte == b'/').count();
        let slashes_max = endpoints.keys().map(slashes).max().unwrap_or(0);
        Self { endpoints, slashes_max }
    }

    /// The endpoint with the longest pattern for `path`, and the length of that pattern.
    pub(crate) fn find(&self, path: &str) -> Option<(&Endpoint, usize)> {
        if let Some(endpoint) = self.endpoints.get(path) {
            return Some((endpoint, path.len()));
        }
        let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        let mut found = None;
        for (at, _) in slashes.take(self.slashes_max) {
            if let Some(endpoint) = self.endpoints.get(&path[..=at]) {
                found = Some((endpoint, at + 1));
            }
        }
        found
    }

    /// Whether `path` lacks only the slash at the end of a pattern.
    pub(crate) fn has_subtree(&self, path: &str) -> bool {
        self.endpoints.contains_key(format!("{path}/").as_str())
    }
}

/// As Consul names them: `http.GET.v1.kv._`.
fn metric_name(route: &Route) -> String {
    let parts = route.pattern.split('/').skip(1);
    let parts: Vec<_> = parts.map(|part| if part.is_empty() { "_" } else { part }).collect();
    format!("http.{}.{}", route.method, parts.join("."))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn longest_patterns_win() {
        let router = Router::new(&Metrics::new("consul", None, false));
        let check = |path: &str, want: Option<usize>| {
            assert_eq!(router.find(path).map(|(_, rest_at)| rest_at), want, "{path}");
        };
        check("/v1/kv/a/b/c/d/e/f/g/h", Some("/v1/kv/".len()));
        check("/v1/kv/", Some("/v1/kv/".len()));
        check("/v1/kv", None);
        check("/v1/agent/service/register", Some("/v1/agent/service/register".len()));
        check("/v1/agent/service/registers", Some("/v1/agent/service/".len()));
        check("/v1/agent/health/service/name/x", Some("/v1/agent/health/service/name/".len()));
        check("/v1/connect/intentions/match", Some("/v1/connect/intentions/match".len()));
        check("/v1/catalog/nodes/", None);
        check("/", None);
        assert!(router.has_subtree("/v1/kv"));
        assert!(!router.has_subtree("/v1/catalog/nodes"));
    }

    #[test]
    fn allowed_methods_stand_in_table_order() {
        let router = Router::new(&Metrics::new("consul", None, false));
        let allow = |path| router.find(path).unwrap().0.allow.to_str().unwrap().to_owned();
        assert_eq!(allow("/v1/kv/x"), "OPTIONS,GET,PUT,DELETE");
        assert_eq!(allow("/v1/connect/intentions"), "OPTIONS,GET,POST");
    }

    #[test]
    fn metrics_are_named_by_pattern() {
        let names: Vec<_> = ROUTES.iter().map(metric_name).collect();
        assert!(names.contains(&"http.GET.v1.kv._".to_owned()));
        assert!(names.contains(&"http.PUT.v1.session.create".to_owned()));
    }
}
