//! `/v1/event`: user events.

use model::event::UserEvent;

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::Answer;

impl Client {
    /// Sends an event to every agent whom its filters choose. Of `event` the name, the payload and
    /// the filters count; the answer is what was sent, with its id.
    pub async fn fire_event(
        &self,
        event: &UserEvent,
        params: &QueryParams,
    ) -> Result<UserEvent, Error> {
        let mut params = params.clone();
        let filters = [
            ("node", &event.node_filter),
            ("service", &event.service_filter),
            ("tag", &event.tag_filter),
        ];
        for (name, filter) in filters {
            if !filter.is_empty() {
                params = params.with(name, filter.clone());
            }
        }
        let path = format!("/v1/event/fire/{}", event.name);
        self.put(&path, &params, event.payload.clone()).await?.ok()?.json()
    }

    /// Events that came to the agent, the newest last; only those of this name unless it is empty.
    ///
    /// The index is made of the newest event's id: another one is not a greater one.
    pub async fn events(
        &self,
        name: &str,
        params: &QueryParams,
    ) -> Result<Answer<Vec<UserEvent>>, Error> {
        let mut params = params.clone();
        if !name.is_empty() {
            params = params.with("name", name);
        }
        self.get_json("/v1/event/list", &params).await
    }
}
