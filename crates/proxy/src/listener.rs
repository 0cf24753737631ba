//! Listeners: what they are for, how many connections they hold, and who takes the next one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mesh::definition::UpstreamDefinition;

/// What a listener is for; upstreams are told apart by where they are bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Connections from the mesh to the application.
    Public,
    /// Connections from the application to a service of the mesh.
    Upstream { bind_address: String, bind_port: u16 },
}

impl Purpose {
    pub(crate) fn upstream(definition: &UpstreamDefinition) -> Self {
        Self::Upstream {
            bind_address: definition.bind_address.clone(),
            bind_port: definition.bind_port,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("the public listener"),
            Self::Upstream { bind_address, bind_port } => {
                write!(f, "the upstream listener {bind_address}:{bind_port}")
            }
        }
    }
}

/// One listener as its connections know it.
pub(crate) struct Listener {
    pub(crate) purpose: Purpose,
    open: AtomicU32,
    connections_max: AtomicU32,
}

impl Listener {
    pub(crate) fn new(purpose: Purpose, connections_max: u32) -> Self {
        Self { purpose, open: AtomicU32::new(0), connections_max: AtomicU32::new(connections_max) }
    }

    pub(crate) fn set_connections_max(&self, connections_max: u32) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    /// Room for one more connection, given back when dropped; `None` when there is none.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Admission> {
        let admission = Admission(self.clone());
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        (open < self.connections_max.load(Ordering::Relaxed)).then_some(admission)
    }
}

/// A connection's place among those of its listener.
pub(crate) struct Admission(Arc<Listener>);

impl Admission {
    pub(crate) fn purpose(&self) -> &Purpose {
        &self.0.purpose
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
