//! Type numbers of records, and what Consul's tools call them.

use std::fmt;

/// Type of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    pub(crate) const REGISTRATION: Self = Self(0);
    pub(crate) const KV: Self = Self(2);
    pub(crate) const SESSION: Self = Self(3);
    pub(crate) const LEGACY_ACL: Self = Self(4);
    pub(crate) const TOMBSTONE: Self = Self(5);
    pub(crate) const COORDINATES: Self = Self(6);
    pub(crate) const PREPARED_QUERY: Self = Self(7);
    pub(crate) const AUTOPILOT: Self = Self(9);
    pub(crate) const LEGACY_ACL_BOOTSTRAP: Self = Self(11);
    pub(crate) const INTENTION: Self = Self(12);
    pub(crate) const CA_ROOT: Self = Self(13);
    pub(crate) const CA_PROVIDER_STATE: Self = Self(14);
    pub(crate) const CA_CONFIG: Self = Self(15);
    pub(crate) const INDEX: Self = Self(16);
    pub(crate) const ACL_TOKEN: Self = Self(17);
    pub(crate) const ACL_POLICY: Self = Self(19);
    pub(crate) const CONFIG_ENTRY: Self = Self(22);
    pub(crate) const ACL_ROLE: Self = Self(23);
    pub(crate) const ACL_BINDING_RULE: Self = Self(25);
    pub(crate) const ACL_AUTH_METHOD: Self = Self(27);
    pub(crate) const CHUNKING: Self = Self(29);
    pub(crate) const FEDERATION_STATE: Self = Self(30);
    pub(crate) const VIRTUAL_IP: Self = Self(32);
    pub(crate) const FREE_VIRTUAL_IP: Self = Self(33);
    /// First of those that versions after 1.8 brought.
    pub(crate) const NEWER: u8 = 31;
    /// Last of those of the community edition.
    pub(crate) const COMMUNITY_MAX: u8 = 63;

    /// The name under which `snapshot inspect` lists it; `None` for types not known here.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "Register",
            2 => "KVS",
            3 => "Session",
            4 => "ACL (Deprecated)",
            5 => "Tombstone",
            6 => "CoordinateBatchUpdate",
            7 => "PreparedQuery",
            9 => "Autopilot",
            11 => "ACLBootstrap (Deprecated)",
            12 => "Intention",
            13 => "ConnectCA",
            14 => "ConnectCAProviderState",
            15 => "ConnectCAConfig",
            16 => "Index",
            17 => "ACLToken",
            19 => "ACLPolicy",
            22 => "ConfigEntry",
            23 => "ACLRole",
            25 => "ACLBindingRule",
            27 => "ACLAuthMethod",
            29 => "ChunkingState",
            30 => "FederationState",
            31 => "SystemMetadata",
            32 => "ServiceVirtualIP",
            33 => "FreeVirtualIP",
            34 => "KindServiceNames",
            35 => "Peering",
            38 => "PeeringTrustBundle",
            40 => "PeeringSecrets",
            42 => "Resource",
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}
