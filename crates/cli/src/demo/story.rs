//! The story of `demo --once`: each step is done through the API and seen on the sockets.

use std::time::{Duration, Instant};

use api::QueryParams;
use model::intention::{Intention, IntentionAction};

use super::processes::{Household, rotation};
use super::toys::{Attempt, Connection, attempt};
use super::{DemoError, STEP_MAX};

/// Requests made in a row where the story says "a while".
const REQUESTS: usize = 50;

pub(super) async fn play(demo: &Household) -> Result<(), DemoError> {
    println!();
    let port = demo.upstream_port;
    for service in ["web", "db"] {
        let leaf = demo.client.leaf(service, &QueryParams::default()).await?.value;
        done(&format!("{service} has the identity {}", leaf.service_uri));
    }

    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        match attempt(port).await {
            Attempt::Answered(latency) => latencies.push(latency),
            Attempt::Refused => return Err(DemoError::Step("every request is answered".into())),
        }
    }
    latencies.sort();
    done(&format!(
        "{REQUESTS} requests over new connections were answered, each with its own mutual TLS \
         handshake, median {:?}",
        latencies[REQUESTS / 2]
    ));

    let mut held = Connection::open(port).await.map_err(|_| step("a connection stays open"))?;
    held.ask().await.map_err(|_| step("a connection stays open"))?;
    let mut intention = Intention {
        source_name: "web".to_owned(),
        destination_name: "db".to_owned(),
        action: IntentionAction::Deny,
        ..Intention::default()
    };
    intention.id = demo.client.create_intention(&intention).await?;
    let refused = until_refused(port).await?;
    let cut = until_cut(&mut held).await?;
    done(&format!("deny web => db: new connections refused after {refused:?}"));
    done(&format!("                the open one was cut after {cut:?}"));

    intention.action = IntentionAction::Allow;
    demo.client.update_intention(&intention).await?;
    done(&format!("allow web => db: answered again after {:?}", until_answered(port).await?));

    rotate(demo, port).await?;
    println!("\nevery step happened");
    Ok(())
}

/// Rotates the root while requests flow over new connections and one that is held open.
async fn rotate(demo: &Household, port: u16) -> Result<(), DemoError> {
    let params = QueryParams::default();
    let before = demo.client.agent_roots(&params).await?.value.active_root_id;
    let issued_before = demo.client.leaf("web", &params).await?.value.serial_number;
    let mut held = Connection::open(port).await.map_err(|_| step("a connection stays open"))?;
    let config = rotation()?;
    demo.client.set_ca_configuration(config.to_string().into_bytes()).await?.ok()?;
    let start = Instant::now();
    let mut requests = 0u64;
    loop {
        requests += 1;
        let is_answered = attempt(port).await.is_answered();
        if !is_answered || held.ask().await.is_err() {
            return Err(step("nothing is dropped while the root is rotated"));
        }
        let roots = demo.client.agent_roots(&params).await?.value;
        let leaf = demo.client.leaf("web", &params).await?.value;
        let is_rotated = roots.active_root_id != before && leaf.serial_number != issued_before;
        // Some requests more, so that both proxies are seen to work with the new leaves.
        if is_rotated && requests >= REQUESTS as u64 {
            break;
        }
        if start.elapsed() > STEP_MAX {
            return Err(step("the root and the leaf of web are replaced"));
        }
    }
    done(&format!(
        "root rotated and leaves replaced under {requests} requests in {:?}: none failed, the \
         open connection lives on",
        start.elapsed()
    ));
    Ok(())
}

async fn until_refused(port: u16) -> Result<Duration, DemoError> {
    until(port, false, "new connections are refused").await
}

async fn until_answered(port: u16) -> Result<Duration, DemoError> {
    until(port, true, "new connections are answered").await
}

async fn until(port: u16, answered: bool, what: &str) -> Result<Duration, DemoError> {
    let start = Instant::now();
    while start.elapsed() < STEP_MAX {
        if attempt(port).await.is_answered() == answered {
            return Ok(start.elapsed());
        }
    }
    Err(step(what))
}

async fn until_cut(held: &mut Connection) -> Result<Duration, DemoError> {
    let start = Instant::now();
    while start.elapsed() < STEP_MAX {
        if held.ask().await.is_err() {
            return Ok(start.elapsed());
        }
    }
    Err(step("an open connection is cut"))
}

fn step(what: &str) -> DemoError {
    DemoError::Step(what.to_owned())
}

fn done(what: &str) {
    println!("  ok  {what}");
}
