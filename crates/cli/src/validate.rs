//! `validate`: reads configuration as the agent would, without starting one.

use std::path::PathBuf;

use config::source::Format;
use config::{AgentFlags, ThisMachine};

use crate::output::{self, CommandResult, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Read files as hcl or json, whatever their names end in.
    #[arg(long, default_value = "", value_name = "FORMAT")]
    config_format: String,
    /// Say nothing if all is well.
    #[arg(long)]
    quiet: bool,
    /// All the files and directories the agent will be given.
    #[arg(value_name = "FILE_OR_DIRECTORY")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    if args.files.is_empty() {
        return Err(Failure::new("Must specify at least one config file or directory"));
    }
    let flags = AgentFlags {
        config_files: args.files.clone(),
        config_format: format(&args.config_format)?,
        ..AgentFlags::default()
    };
    let config = config::load(&flags, &ThisMachine).map_err(|error| {
        Failure::new(format!("Config validation failed: {}", output::with_causes(&error)))
    })?;
    if args.quiet {
        return Ok(0);
    }
    for line in config.unsupported.iter().chain(&config.warnings) {
        output::note(&format!("Warning: {line}"));
    }
    output::line("Configuration is valid!");
    Ok(0)
}

/// Reads the value of `-config-format`; empty is none.
pub(crate) fn format(text: &str) -> Result<Option<Format>, Failure> {
    match text {
        "" => Ok(None),
        text => Format::parse(text)
            .map(Some)
            .ok_or_else(|| Failure::new("-config-format must be either 'hcl' or 'json'")),
    }
}
