//! Reads arguments the way Go programs do, which is how Consul's are written: long flags with one
//! dash or two, `-flag=value` or `-flag value`, booleans with an optional `=true`, and everything
//! from the first argument that is no flag taken as it stands.
//!
//! The result is the same invocation in the form `clap` reads.

use api::client_config::parse_switch;
use clap::ArgAction;

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Words for clap: program, command path, flags as `--name=value`, `--`, arguments.
    Run(Vec<String>),
    /// Help on the command at this path.
    Help(Vec<String>),
    Version,
    InstallCompletion,
    /// To be told with the help of the command at `path`. An empty message says the help itself.
    Misuse {
        path: Vec<String>,
        message: String,
        code: u8,
    },
}

const HELP: [&str; 3] = ["-h", "-help", "--help"];
const VERSION: [&str; 3] = ["-v", "-version", "--version"];
const INSTALL: [&str; 4] = [
    "-autocomplete-install",
    "--autocomplete-install",
    "-autocomplete-uninstall",
    "--autocomplete-uninstall",
];
/// Exit code of a command that does not exist, as shells have it.
const UNKNOWN_COMMAND: u8 = 127;

pub(crate) fn arrange(root: &clap::Command, words: &[String]) -> Invocation {
    let mut command = root;
    let mut path = Vec::new();
    let mut words = words.iter();
    while command.has_subcommands() {
        let misuse_code = if path.is_empty() { UNKNOWN_COMMAND } else { 1 };
        let Some(word) = words.next() else {
            return Invocation::Misuse { path, message: String::new(), code: misuse_code };
        };
        if HELP.contains(&word.as_str()) {
            return Invocation::Help(path);
        }
        if path.is_empty() && VERSION.contains(&word.as_str()) {
            return Invocation::Version;
        }
        if path.is_empty() && INSTALL.contains(&word.as_str()) {
            return Invocation::InstallCompletion;
        }
        match command.find_subcommand(word) {
            Some(found) => command = found,
            None => {
                let message = if word.starts_with('-') {
                    format!("flag provided but not defined: {word}")
                } else {
                    format!("no such command: {word}")
                };
                return Invocation::Misuse { path, message, code: misuse_code };
            }
        }
        path.push(word.clone());
    }
    let words: Vec<String> = words.cloned().collect();
    if asks_for_help(command, &words) {
        return Invocation::Help(path);
    }
    match flags_and_arguments(command, words) {
        Ok(rest) => {
            let program = root.get_name().to_owned();
            Invocation::Run([vec![program], path, rest].concat())
        }
        Err(message) => Invocation::Misuse { path, message, code: 1 },
    }
}

/// Whether help is asked for anywhere before `--`. What a command hands to a child process is the
/// child's.
fn asks_for_help(command: &clap::Command, words: &[String]) -> bool {
    let has_child = command.get_positionals().any(clap::Arg::is_trailing_var_arg_set);
    words
        .iter()
        .take_while(|word| *word != "--" && (!has_child || word.starts_with('-')))
        .any(|word| HELP.contains(&word.as_str()))
}

fn flags_and_arguments(command: &clap::Command, words: Vec<String>) -> Result<Vec<String>, String> {
    let mut flags: Vec<(String, String)> = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| word.len() > 1 && word.starts_with('-')) {
        if word == "--" {
            break;
        }
        let body = word.strip_prefix("--").unwrap_or(&word[1..]);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("bad flag syntax: {word}"));
        }
        let is_named = |arg: &&clap::Arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(name) || aliases.contains(&name)
        };
        let Some(arg) = command.get_arguments().find(is_named) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        let has_optional_value = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
        if is_switch || has_optional_value {
            let text = value.as_deref().unwrap_or("true");
            let on = parse_switch(text)
                .ok_or_else(|| format!("invalid boolean value {text:?} for -{name}"))?;
            // The last one counts, so what was said before of a switch is taken back.
            flags.retain(|(earlier, _)| earlier != name);
            match (is_switch, on) {
                (true, true) => flags.push((name.to_owned(), format!("--{name}"))),
                (true, false) => {}
                (false, on) => flags.push((name.to_owned(), format!("--{name}={on}"))),
            }
            continue;
        }
        let value = match value {
            Some(value) => value,
            None => words.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
        };
        flags.push((name.to_owned(), format!("--{name}={value}")));
    }
    let mut arranged: Vec<String> = flags.into_iter().map(|(_, flag)| flag).collect();
    if words.peek().is_some() {
        arranged.push("--".to_owned());
        arranged.extend(words);
    }
    Ok(arranged)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn tree() -> Command {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let rest = || Arg::new("rest").num_args(0..);
        Command::new("lictor")
            .subcommand(
                Command::new("kv").subcommand(
                    Command::new("put")
                        .arg(switch("cas"))
                        .arg(Arg::new("flags").long("flags"))
                        .arg(rest()),
                ),
            )
            .subcommand(
                Command::new("agent")
                    .arg(Arg::new("server").long("server").num_args(0..=1).require_equals(true)),
            )
            .subcommand(Command::new("lock").arg(rest().trailing_var_arg(true)))
    }

    fn arranged(line: &str) -> Invocation {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        arrange(&tree(), &words)
    }

    #[test]
    fn invocations_are_put_in_order() {
        let check = |line: &str, want: &str| match arranged(line) {
            Invocation::Run(words) => assert_eq!(words.join(" "), format!("lictor {want}")),
            other => panic!("{line}: {other:?}"),
        };
        check("kv put a b", "kv put -- a b");
        check("kv put -flags 3 a", "kv put --flags=3 -- a");
        check("kv put --flags=3 a", "kv put --flags=3 -- a");
        check("kv put -flags -cas a", "kv put --flags=-cas -- a");
        check("kv put -cas a -cas", "kv put --cas -- a -cas");
        check("kv put -cas=true -cas=0 a", "kv put -- a");
        check("kv put -cas - x", "kv put --cas -- - x");
        check("kv put -- -cas", "kv put -- -cas");
        check("agent -server", "agent --server=true");
        check("agent -server=F", "agent --server=false");
        check("lock p ls -h", "lock -- p ls -h");
        check("lock p -- ls", "lock -- p -- ls");
    }

    #[test]
    fn help_and_version_are_recognised() {
        let help = |path: &[&str]| Invocation::Help(path.iter().map(|p| (*p).into()).collect());
        assert_eq!(arranged("-h"), help(&[]));
        assert_eq!(arranged("kv --help"), help(&["kv"]));
        assert_eq!(arranged("kv put a -h"), help(&["kv", "put"]));
        assert_eq!(arranged("lock -help p"), help(&["lock"]));
        assert_eq!(arranged("-version"), Invocation::Version);
        assert_eq!(arranged("-autocomplete-install"), Invocation::InstallCompletion);
    }

    #[test]
    fn misuse_is_told() {
        let check = |line: &str, want_code: u8, want: &str| match arranged(line) {
            Invocation::Misuse { message, code, .. } => {
                assert_eq!((message.as_str(), code), (want, want_code), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        };
        check("", 127, "");
        check("bogus", 127, "no such command: bogus");
        check("kv", 1, "");
        check("kv bogus", 1, "no such command: bogus");
        check("kv put -bogus=1", 1, "flag provided but not defined: -bogus");
        check("kv put -flags", 1, "flag needs an argument: -flags");
        check("kv put -cas=perhaps", 1, "invalid boolean value \"perhaps\" for -cas");
        check("kv put ---cas", 1, "bad flag syntax: ---cas");
        check("kv put -=1", 1, "bad flag syntax: -=1");
    }
}
