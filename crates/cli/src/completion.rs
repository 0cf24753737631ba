//! `completion`: scripts with which shells complete commands and flags.

use clap::ValueEnum;

use crate::command;
use crate::output::{self, CommandResult};

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell to write the script for.
    shell: Shell,
}

pub(crate) fn run(program: &str, args: &Args) -> CommandResult {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command::root(program), program, &mut script);
    output::raw(&script);
    Ok(0)
}

/// Consul's flag for this edits start-up files; here the user does, and is told how.
pub(crate) fn explain_install(program: &str) -> CommandResult {
    output::line(&format!(
        "Completion is not installed by itself. Add the line for your shell to its start-up file:\n\n\
         \x20 bash  source <({program} completion bash)\n\
         \x20 zsh   source <({program} completion zsh)\n\
         \x20 fish  {program} completion fish | source"
    ));
    Ok(0)
}
