//! `/v1/event/*`: short messages to every agent, and those that came here.

use std::sync::Arc;
use std::time::Duration;

use agent::event::{parse_filter, wait_index};
use model::event::{EVENT_VERSION, UserEvent};

use crate::edge::Edge;
use crate::failure::Failure;
use crate::options::Options;
use crate::request::Request;
use crate::response::{self, Response};

/// How long a request may wait for an event at most, and does unless it says.
const WAIT_MAX: Duration = Duration::from_secs(600);

pub(crate) async fn fire(edge: &Edge, mut request: Request) -> Result<Response, Failure> {
    let name = request.name("Missing name")?;
    let filter = |name: &str| request.parameters.get(name).unwrap_or_default().to_owned();
    let (node_filter, service_filter, tag_filter) =
        (filter("node"), filter("service"), filter("tag"));
    let payload = request.bytes().await?.into();
    let event = UserEvent {
        id: agent::event::new_id(),
        name,
        payload,
        node_filter,
        service_filter,
        tag_filter,
        version: EVENT_VERSION,
        lamport_time: 0,
    };
    check(&event)?;
    edge.check_datacenter(&request)?;
    edge.agent.cluster().fire_event(event.clone(), edge.token(&request)).await?;
    response::json(&event, request.pretty)
}

fn check(event: &UserEvent) -> Result<(), Failure> {
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        return Err(Failure::server("Cannot provide tag filter without service filter"));
    }
    let filters = [
        ("node", &event.node_filter),
        ("service", &event.service_filter),
        ("tag", &event.tag_filter),
    ];
    for (what, filter) in filters {
        parse_filter(filter)
            .map_err(|reason| Failure::server(format!("Invalid {what} filter: {reason}")))?;
    }
    Ok(())
}

/// The events that came, the newest last. Waits for another newest one when the request names the
/// index of the one it knows.
pub(crate) async fn list(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let options = Options::read(edge, &request)?.query;
    let name = request.parameters.get("name").unwrap_or_default();
    let is_wanted = |event: &&Arc<UserEvent>| name.is_empty() || event.name == name;
    let index_of =
        |events: &[Arc<UserEvent>]| events.iter().rfind(is_wanted).map_or(1, |e| wait_index(&e.id));
    let mut events = edge.agent.events();
    if options.min_index > 0 {
        let wait = options.max_wait.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let changed = events.wait_for(|events| index_of(events) != options.min_index);
        // In time or not, what there is then is the answer.
        let _ = tokio::time::timeout(wait, changed).await;
    }
    let events = events.borrow().clone();
    let rows: Vec<_> = events.iter().filter(is_wanted).collect();
    let mut response = response::json(&rows, request.pretty)?;
    response::set_index(&mut response, index_of(&events));
    Ok(response)
}
