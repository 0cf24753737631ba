//! `keygen` and `keyring`: the keys that encrypt gossip.

use std::collections::BTreeMap;

use api::operator::KeyringOptions;
use base64::Engine as _;
use model::keyring::{GossipKey, KeyringResponse};
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

/// Length of a new key, which chooses AES-256.
const KEY_BYTES: usize = 32;
/// Most members that may relay an answer.
const RELAY_FACTOR_MAX: i64 = 5;

#[derive(clap::Args)]
pub(crate) struct KeygenArgs {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// List the keys members have.
    #[arg(long)]
    list: bool,
    /// List the keys members encrypt with.
    #[arg(long)]
    list_primary: bool,
    /// Give all members a new key.
    #[arg(long, default_value = "", value_name = "KEY")]
    install: String,
    /// Encrypt with a key that all members have.
    #[arg(long, default_value = "", value_name = "KEY")]
    r#use: String,
    /// Take from all members a key that none encrypts with.
    #[arg(long, default_value = "", value_name = "KEY")]
    remove: String,
    /// Have so many members relay each answer, 0 to 5.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "COUNT")]
    relay_factor: i64,
    /// Ask only the pools of the agent's own datacenter; with -list.
    #[arg(long)]
    local_only: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

enum Action {
    List { primary: bool },
    Install(GossipKey),
    Use(GossipKey),
    Remove(GossipKey),
}

pub(crate) fn keygen(_args: &KeygenArgs) -> CommandResult {
    let mut key = [0; KEY_BYTES];
    // Straight from the system, which alone is trusted with keys.
    OsRng.try_fill_bytes(&mut key).map_err(Failure::during("generating a key"))?;
    output::line(&base64::engine::general_purpose::STANDARD.encode(key));
    Ok(0)
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let action = action(args)?;
    let relay_factor = match u8::try_from(args.relay_factor) {
        Ok(factor) if args.relay_factor <= RELAY_FACTOR_MAX => factor,
        _ => {
            let text = "Error parsing relay factor: Relay factor must be in range: [0, 5]";
            return Err(Failure::new(text));
        }
    };
    if args.local_only && !matches!(action, Action::List { .. }) {
        let text = "Error validating local-only: local-only can only be set for list requests";
        return Err(Failure::new(text));
    }
    let options = KeyringOptions { relay_factor, local_only: args.local_only };
    let client = args.http.client()?;
    let failed = |error: api::Error| Failure::new(format!("error: {error}"));
    block_on(async {
        match action {
            Action::List { primary } => {
                let what = if primary { "primary encryption" } else { "encryption" };
                output::line(&format!("==> Gathering installed {what} keys..."));
                let rows = client.keyring_list(options).await.map_err(failed)?;
                output::raw(listing(&rows, primary).as_bytes());
            }
            Action::Install(key) => {
                output::line("==> Installing new gossip encryption key...");
                client.keyring_install(&key, options).await.map_err(failed)?;
            }
            Action::Use(key) => {
                output::line("==> Changing primary gossip encryption key...");
                client.keyring_use(&key, options).await.map_err(failed)?;
            }
            Action::Remove(key) => {
                output::line("==> Removing gossip encryption key...");
                client.keyring_remove(&key, options).await.map_err(failed)?;
            }
        }
        Ok(0)
    })
}

fn action(args: &Args) -> Result<Action, Failure> {
    let key = |text: &String| GossipKey(text.clone());
    let given = |text: &String| !text.is_empty();
    let actions = [
        args.list.then_some(Action::List { primary: false }),
        args.list_primary.then_some(Action::List { primary: true }),
        given(&args.install).then(|| Action::Install(key(&args.install))),
        given(&args.r#use).then(|| Action::Use(key(&args.r#use))),
        given(&args.remove).then(|| Action::Remove(key(&args.remove))),
    ];
    let mut actions = actions.into_iter().flatten();
    match (actions.next(), actions.next()) {
        (Some(action), None) => Ok(action),
        (None, _) => Err(Failure::new(
            "Say what to do with the keys: -list, -list-primary, -install, -use or -remove",
        )),
        (Some(_), Some(_)) => Err(Failure::new("Only a single action is allowed")),
    }
}

/// One part a pool: its name, then each key and how many of the members have it.
fn listing(rows: &[KeyringResponse], primary: bool) -> String {
    let mut text = String::new();
    for row in rows {
        let pool = match row.wan {
            true => "WAN".to_owned(),
            false if row.segment.is_empty() => format!("{} (LAN)", row.datacenter),
            false => format!("{} (LAN) [{}]", row.datacenter, row.segment),
        };
        text.push_str(&format!("\n{pool}:\n"));
        for (member, message) in &row.messages {
            text.push_str(&format!("  {member}: {message}\n"));
        }
        let keys: &BTreeMap<String, u32> = if primary { &row.primary_keys } else { &row.keys };
        for (key, count) in keys {
            text.push_str(&format!("  {key} [{count}/{}]\n", row.num_nodes));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_by_pool() {
        let keys = |names: &[(&str, u32)]| {
            names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let row = |wan| KeyringResponse {
            wan,
            datacenter: "dc1".to_owned(),
            keys: keys(&[("a=", 2), ("b=", 1)]),
            primary_keys: keys(&[("a=", 2)]),
            num_nodes: 2,
            ..KeyringResponse::default()
        };
        let rows = [row(true), row(false)];
        assert_eq!(
            listing(&rows, false),
            "\nWAN:\n  a= [2/2]\n  b= [1/2]\n\ndc1 (LAN):\n  a= [2/2]\n  b= [1/2]\n"
        );
        assert_eq!(listing(&rows, true), "\nWAN:\n  a= [2/2]\n\ndc1 (LAN):\n  a= [2/2]\n");
    }
}
