//! The settings of autopilot.

use std::sync::Arc;

use model::command::Outcome;
use model::operator::AutopilotRequest;
use model::query::Reply;
use model::topic::Topic;

use crate::State;
use crate::applied::Change;
use crate::index::Table;
use crate::read::Read;

impl State {
    pub(crate) fn apply_autopilot(
        &mut self,
        request: AutopilotRequest,
        change: &mut Change,
    ) -> Outcome {
        let AutopilotRequest { mut configuration, cas_index } = request;
        let stored = self.autopilot.as_deref();
        if let Some(expected) = cas_index
            // What nobody set yet was never changed, which readers see as index 0.
            && stored.map_or(0, |stored| stored.modify_index) != expected
        {
            return Outcome::Applied(false);
        }
        configuration.create_index = stored.map_or(change.index, |stored| stored.create_index);
        configuration.modify_index = change.index;
        self.autopilot = Some(Arc::new(configuration));
        self.bump(Table::Autopilot, change);
        change.touch(Topic::Autopilot);
        Outcome::Applied(true)
    }

    pub(crate) fn read_autopilot(&self) -> Read {
        Read {
            index: self.indexes.get(Table::Autopilot),
            topics: vec![Topic::Autopilot],
            reply: Reply::AutopilotConfiguration(self.autopilot.clone().unwrap_or_default()),
        }
    }
}
