//! What a read depends on and what a change touches. Matching is by equality, except that a
//! touched key also matches every watched prefix of it.

/// One thing that can change. A read names the topics it depended on, an apply those it touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Any node.
    Nodes,
    /// A node by name: its record, services or checks.
    Node(String),
    /// The list of service names with their tags.
    Services,
    /// All instances of a service name, with their nodes and checks.
    Service(String),
    /// Mesh-capable instances leading to a service name, with their nodes and checks.
    Mesh(String),
    /// Any check.
    Checks,
    /// Exactly this key.
    Key(String),
    /// Every key that starts with this.
    KeyPrefix(String),
    Sessions,
    Session(String),
    Intentions,
    /// Intentions whose destination is this name or the wildcard.
    IntentionDestination(String),
    CaRoots,
    CaConfig,
    ConfigEntries,
    Coordinates,
    Autopilot,
    /// All of the above: the whole state was replaced. Touched, never watched.
    Everything,
}

impl Topic {
    /// Whether a change of `touched` concerns who watches `self`.
    pub fn is_woken_by(&self, touched: &Self) -> bool {
        match (self, touched) {
            (_, Self::Everything) => true,
            (Self::KeyPrefix(prefix), Self::Key(key)) => key.starts_with(prefix.as_str()),
            // A deleted tree concerns the watchers below, at and above it.
            (Self::Key(key), Self::KeyPrefix(tree)) => key.starts_with(tree.as_str()),
            (Self::KeyPrefix(watched), Self::KeyPrefix(tree)) => {
                watched.starts_with(tree.as_str()) || tree.starts_with(watched.as_str())
            }
            _ => self == touched,
        }
    }
}
