//! `version`: what this program is, and the level of Consul's interface it speaks.

use serde::Serialize;

use crate::output::{self, CommandResult, Failure};

/// Version of the interface: what clients that ask for Consul's version should go by.
const CONSUL_LEVEL: &str = "1.8.7";
/// Gossip protocol versions spoken: by default, and the range understood.
const PROTOCOL: (u8, u8, u8) = (2, 2, 3);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
    revision: &'static str,
    prerelease: &'static str,
    #[serde(rename = "RPC")]
    rpc: Protocol,
    product: Product,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Protocol {
    default: u8,
    min: u8,
    max: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Product {
    name: &'static str,
    version: &'static str,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How to print: pretty or json.
    #[arg(long, default_value = "pretty")]
    format: String,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    match args.format.as_str() {
        "pretty" => print_text(),
        "json" => {
            let (default, min, max) = PROTOCOL;
            let version = Version {
                version: CONSUL_LEVEL,
                revision: "",
                prerelease: "",
                rpc: Protocol { default, min, max },
                product: Product { name: "Lictor", version: env!("CARGO_PKG_VERSION") },
            };
            output::line(&output::json(&version, "   ")?);
            Ok(0)
        }
        other => Err(Failure::new(format!("Unknown format: {other}"))),
    }
}

/// Two lines; the second has the form in which scripts look for Consul's version.
pub(crate) fn print_text() -> CommandResult {
    let (default, min, max) = PROTOCOL;
    output::line(&format!("Lictor v{}", env!("CARGO_PKG_VERSION")));
    output::line(&format!(
        "Consul v{CONSUL_LEVEL} interface, gossip protocol {default} (understands {min} to {max})"
    ));
    Ok(0)
}
