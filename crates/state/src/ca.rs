//! The certificate authority's records, changed by compare-and-set alone.

use std::sync::Arc;

use model::ca::{CaConfiguration, CaProviderState, CaRequest, CaRoot, CaRoots};
use model::command::Outcome;
use model::query::Reply;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::name::Name;
use crate::read::Read;

impl State {
    pub(crate) fn apply_ca(&mut self, request: CaRequest, change: &mut Change) -> Outcome {
        match request {
            CaRequest::SetConfig(config) => {
                if !self.may_set_config(&config) {
                    return Outcome::Applied(false);
                }
                self.set_config(*config, change);
            }
            CaRequest::SetRoots { expected_index, roots } => {
                if let Err(outcome) = self.judge_roots(expected_index, &roots) {
                    return outcome;
                }
                self.set_roots(roots, change);
            }
            CaRequest::SetRootsAndConfig { expected_index, roots, config } => {
                if let Err(outcome) = self.judge_roots(expected_index, &roots) {
                    return outcome;
                }
                if !self.may_set_config(&config) {
                    return Outcome::Applied(false);
                }
                self.set_config(*config, change);
                self.set_roots(roots, change);
            }
            CaRequest::SetProviderState(state) => self.set_provider_state(*state, change),
            CaRequest::DeleteProviderState(id) => {
                if self.ca_provider_states.remove(id.as_str()).is_some() {
                    self.bump(Table::CaProvider, change);
                }
            }
        }
        Outcome::Applied(true)
    }

    /// A configuration that names an index replaces only the one of that index.
    fn may_set_config(&self, config: &CaConfiguration) -> bool {
        let stored = self.ca_config.as_ref().map_or(0, |stored| stored.modify_index);
        config.modify_index == 0 || config.modify_index == stored
    }

    fn judge_roots(&self, expected_index: u64, roots: &[CaRoot]) -> Result<(), Outcome> {
        if roots.iter().filter(|root| root.active).count() != 1 {
            return Err(Outcome::Refused("there must be exactly one active CA root".into()));
        }
        if self.ca_roots_index() != expected_index {
            return Err(Outcome::Applied(false));
        }
        Ok(())
    }

    fn set_config(&mut self, mut config: CaConfiguration, change: &mut Change) {
        config.create_index = change.index;
        if let Some(stored) = &self.ca_config {
            config.create_index = stored.create_index;
            if config.cluster_id.is_empty() {
                config.cluster_id = stored.cluster_id.clone();
            }
        }
        config.modify_index = change.index;
        self.insert_config(config);
        self.bump(Table::CaConfig, change);
        change.touch(Topic::CaConfig);
    }

    pub(crate) fn insert_config(&mut self, config: CaConfiguration) {
        let trust_domain = match config.cluster_id.as_str() {
            "" => String::new(),
            id => format!("{id}.consul"),
        };
        if self.ca_roots.trust_domain != trust_domain {
            Arc::make_mut(&mut self.ca_roots).trust_domain = trust_domain;
        }
        self.ca_config = Some(Arc::new(config));
    }

    fn set_roots(&mut self, mut roots: Vec<CaRoot>, change: &mut Change) {
        for root in &mut roots {
            let stored = self.ca_roots.roots.iter().find(|stored| stored.id == root.id);
            root.create_index = stored.map_or(change.index, |stored| stored.create_index);
            root.modify_index = change.index;
        }
        self.insert_roots(roots);
        self.bump(Table::CaRoots, change);
        change.touch(Topic::CaRoots);
    }

    pub(crate) fn insert_roots(&mut self, mut roots: Vec<CaRoot>) {
        roots.sort_by(|a, b| a.id.cmp(&b.id));
        let active = roots.iter().find(|root| root.active).map(|root| root.id.clone());
        self.ca_roots = Arc::new(CaRoots {
            active_root_id: active.unwrap_or_default(),
            trust_domain: self.ca_roots.trust_domain.clone(),
            roots,
        });
    }

    fn set_provider_state(&mut self, mut state: CaProviderState, change: &mut Change) {
        let stored = self.ca_provider_state(&state.id);
        state.create_index = stored.map_or(change.index, |stored| stored.create_index);
        state.modify_index = change.index;
        self.ca_provider_states.insert(Name::from(state.id.as_str()), Arc::new(state));
        self.bump(Table::CaProvider, change);
    }

    pub(crate) fn read_ca_roots(&self) -> Read {
        Read {
            index: self.indexes.max(&[Table::CaRoots, Table::CaConfig]),
            topics: vec![Topic::CaRoots, Topic::CaConfig],
            reply: Reply::CaRoots(self.ca_roots.clone()),
        }
    }

    pub(crate) fn read_ca_config(&self) -> Read {
        Read {
            index: self.indexes.get(Table::CaConfig),
            topics: vec![Topic::CaConfig],
            reply: Reply::CaConfiguration(self.ca_config.clone()),
        }
    }
}
