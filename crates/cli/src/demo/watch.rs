//! The interactive demo: traffic, and what changes under it.

use std::time::{Duration, Instant};

use api::{Client, QueryParams, Watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::DemoError;
use super::toys::{Attempt, Connection, attempt};

const REQUEST_INTERVAL: Duration = Duration::from_millis(250);
/// Requests between two lines while nothing changes.
const QUIET_REQUESTS: u32 = 20;
/// How long an effect is looked for after an intention has changed.
const EFFECT_MAX: Duration = Duration::from_secs(3);
/// Pause after the agent failed to answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Requests from web to db for ever, one line whenever their fate changes.
pub(super) async fn traffic(port: u16, client: Client) -> Result<(), DemoError> {
    let mut ticks = interval(REQUEST_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_answered = None;
    let mut quiet = 0;
    let mut held = Connection::open(port).await.ok();
    let mut changes = Box::pin(intention_change(client.clone(), Watch::default(), true));
    loop {
        // Both are started anew after the other was ready; a tick missed is only delayed, and the
        // pinned wait is kept.
        tokio::select! {
            _ = ticks.tick() => {}
            (change, watch) = &mut changes => {
                if let Some(text) = change {
                    println!("            {text}");
                    if let Some(was) = last_answered {
                        show_effect(port, was).await;
                    }
                }
                changes = Box::pin(intention_change(client.clone(), watch, false));
            }
        }
        let result = attempt(port).await;
        let is_open = match &mut held {
            Some(connection) => connection.ask().await.is_ok(),
            None => false,
        };
        if held.is_some() && !is_open {
            println!("            the long-lived connection was cut");
            held = None;
        }
        let answered = result.is_answered();
        quiet += 1;
        if last_answered != Some(answered) || quiet >= QUIET_REQUESTS {
            match result {
                Attempt::Answered(latency) => {
                    println!("web -> db   allowed   {latency:?} for connect, handshake, answer");
                }
                Attempt::Refused => println!("web -> db   REFUSED"),
            }
            quiet = 0;
        }
        if answered && held.is_none() {
            held = Connection::open(port).await.ok();
        }
        last_answered = Some(answered);
    }
}

/// Tries without pause until requests fare differently than before.
async fn show_effect(port: u16, was_answered: bool) {
    let start = Instant::now();
    while start.elapsed() < EFFECT_MAX {
        if attempt(port).await.is_answered() != was_answered {
            println!("            in effect after {:?}", start.elapsed());
            return;
        }
    }
}

/// Waits for the next change of the intentions for db. Shape: what to say of it, if it was not the
/// first look.
async fn intention_change(
    client: Client,
    mut watch: Watch,
    is_first: bool,
) -> (Option<String>, Watch) {
    loop {
        let params = watch.next_params(&QueryParams::default());
        match client.intentions(&params).await {
            Ok(answer) if watch.observe(&answer.meta) => {
                let shown: Vec<String> = answer
                    .value
                    .iter()
                    .map(|row| {
                        format!("{} {} => {}", row.action, row.source_name, row.destination_name)
                    })
                    .collect();
                let text = match shown.is_empty() {
                    true => "intentions: none, the default policy holds".to_owned(),
                    false => format!("intentions: {}", shown.join(", ")),
                };
                return ((!is_first).then_some(text), watch);
            }
            Ok(_) => {}
            Err(_) => sleep(RETRY_INTERVAL).await,
        }
    }
}

/// One line whenever the active root is another one.
pub(super) async fn roots(client: Client) -> Result<(), DemoError> {
    let mut watch = Watch::default();
    let mut active = String::new();
    loop {
        let params = watch.next_params(&QueryParams::default());
        match client.agent_roots(&params).await {
            Ok(answer) => {
                if watch.observe(&answer.meta) && active != answer.value.active_root_id {
                    if !active.is_empty() {
                        println!("            root rotated, now {}", answer.value.active_root_id);
                    }
                    active = answer.value.active_root_id;
                }
            }
            Err(_) => sleep(RETRY_INTERVAL).await,
        }
    }
}
