//! Settings that decide who may do what: access control, TLS that sets itself up, the mesh.

use std::collections::BTreeMap;
use std::fmt;

use model::time::GoDuration;
use serde_json::Value;

use crate::SettingError;
use crate::decode::{Decode, Values};
use crate::setting::Setting;

/// A value that is never shown.
#[derive(Clone, Default, PartialEq)]
pub struct Hidden<T>(pub T);

/// A secret text.
pub type Secret = Hidden<String>;

impl<T: Default + PartialEq> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 == T::default() { "none" } else { "hidden" })
    }
}

impl<T: Decode> Decode for Hidden<T> {
    fn decode(values: &Values<'_>) -> Result<Hidden<T>, SettingError> {
        T::decode(values).map(Hidden)
    }
}

impl<T: Decode + PartialEq> Setting for Hidden<T> {}

settings! {
    /// The service mesh.
    pub struct Connect {
        /// Run a certificate authority and issue identities. On unless switched off, as in later
        /// Consul versions: it changes nothing for services that do not ask for it.
        enabled: bool = true;
        /// Empty means `consul`, the built-in one.
        ca_provider: String = String::new(), check(ca_provider);
        /// The provider's own settings, perhaps with its private key.
        ca_config: Hidden<BTreeMap<String, Value>> = Hidden::default();
        enable_mesh_gateway_wan_federation: bool = false;
        /// Not documented, for tests: spread of leaf renewals after a root change.
        test_ca_leaf_root_change_spread: Option<GoDuration> = None;
    }
}

settings! {
    /// Access control lists.
    pub struct Acl {
        enabled: bool = false;
        /// `allow` or `deny`.
        default_policy: String = "allow".to_owned();
        down_policy: String = "extend-cache".to_owned();
        policy_ttl: GoDuration = GoDuration::from_secs(30);
        role_ttl: GoDuration = GoDuration::ZERO;
        token_ttl: GoDuration = GoDuration::from_secs(30);
        disabled_ttl: GoDuration = GoDuration::from_secs(120);
        enable_key_list_policy: bool = false;
        enable_token_replication: bool = false;
        enable_token_persistence: bool = false;
        tokens: AclTokens = AclTokens::default(), reload;
        msp_disable_bootstrap: bool = false;
    }
}

settings! {
    /// Tokens given to the agent.
    pub struct AclTokens {
        master: Secret = Secret::default();
        replication: Secret = Secret::default();
        agent_master: Secret = Secret::default();
        default: Secret = Secret::default();
        agent: Secret = Secret::default();
        /// Newer names of two of these, and two newer ones.
        initial_management: Secret = Secret::default();
        agent_recovery: Secret = Secret::default();
        config_file_service_registration: Secret = Secret::default();
        dns: Secret = Secret::default();
        managed_service_provider: Hidden<Vec<Value>> = Hidden::default();
    }
}

settings! {
    /// Certificates for agents, signed by the mesh's authority.
    pub struct AutoEncrypt {
        allow_tls: bool = false;
        tls: bool = false;
        dns_san: Vec<String> = Vec::new();
        ip_san: Vec<String> = Vec::new();
    }
}

settings! {
    /// The whole configuration of a client for a token.
    pub struct AutoConfig {
        enabled: bool = false;
        intro_token: Secret = Secret::default();
        intro_token_file: String = String::new();
        server_addresses: Vec<String> = Vec::new();
        dns_sans: Vec<String> = Vec::new();
        ip_sans: Vec<String> = Vec::new();
        authorization: Value = Value::Null;
    }
}

fn ca_provider(provider: &str) -> Result<(), String> {
    match provider {
        "" | "consul" | "vault" | "aws-pca" => Ok(()),
        other => Err(format!("{other:?} is no CA provider; write \"consul\" or leave it out")),
    }
}

pub(super) fn default_intention_policy(policy: &str) -> Result<(), String> {
    match policy {
        "" | "allow" | "deny" => Ok(()),
        other => Err(format!("{other:?} is no policy; write \"allow\" or \"deny\"")),
    }
}
