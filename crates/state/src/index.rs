//! The index at which each table changed last.

/// The tables whose changes are numbered. The texts name them in snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Nodes,
    Services,
    Checks,
    Kv,
    Tombstones,
    /// The highest deletion index forgotten. Not a table, yet lists must not fall behind it.
    Reaped,
    Sessions,
    Intentions,
    CaRoots,
    CaConfig,
    CaProvider,
    ConfigEntries,
    Coordinates,
    Autopilot,
    /// When the last instance of some service went.
    ServiceExtinction,
    /// When the last mesh instance leading to some service went.
    MeshExtinction,
}

impl Table {
    pub(crate) const ALL: [(Self, &'static str); 16] = [
        (Self::Nodes, "nodes"),
        (Self::Services, "services"),
        (Self::Checks, "checks"),
        (Self::Kv, "kvs"),
        (Self::Tombstones, "tombstones"),
        (Self::Reaped, "tombstones_reaped"),
        (Self::Sessions, "sessions"),
        (Self::Intentions, "connect-intentions"),
        (Self::CaRoots, "connect-ca-roots"),
        (Self::CaConfig, "connect-ca-config"),
        (Self::CaProvider, "connect-ca-builtin"),
        (Self::ConfigEntries, "config-entries"),
        (Self::Coordinates, "coordinates"),
        (Self::Autopilot, "autopilot-config"),
        (Self::ServiceExtinction, "service_last_extinction"),
        (Self::MeshExtinction, "mesh_last_extinction"),
    ];
}

impl Table {
    /// Whether Consul numbers the changes of the same table under the same name.
    pub(crate) fn is_shared(self) -> bool {
        let ours = [Self::Reaped, Self::CaConfig, Self::Autopilot, Self::MeshExtinction];
        !ours.contains(&self)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Indexes([u64; Table::ALL.len()]);

impl Indexes {
    pub(crate) fn get(&self, table: Table) -> u64 {
        self.0[table as usize]
    }

    pub(crate) fn set(&mut self, table: Table, index: u64) {
        self.0[table as usize] = index;
    }

    pub(crate) fn max(&self, tables: &[Table]) -> u64 {
        tables.iter().map(|table| self.get(*table)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_place() {
        for (at, (table, _)) in Table::ALL.iter().enumerate() {
            assert_eq!(*table as usize, at);
        }
    }
}
