//! Where settings come from, in order of weight: what development mode sets, the lists given as
//! flags, files and directories as named, single values given as flags, and `-hcl` fragments.
//!
//! Lists given as flags come before the files because lists append: the flag's elements are to be
//! the first.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::Error;
use crate::decode::{Rules, Values};
use crate::flags::AgentFlags;
use crate::tree::{INPUT_BYTES_MAX, Node, Position};
use crate::{hcl, json};

/// What development mode sets before anything else speaks.
const DEVELOPMENT: &str = r#"
    bind_addr = "127.0.0.1"
    server = true
    connect { enabled = true }
    ui = true
    enable_debug = true
    log_level = "DEBUG"
    ports { grpc = 8502 }
    performance { raft_multiplier = 1 }
    disable_keyring_file = true
    disable_anonymous_signature = true
    gossip_lan { gossip_interval = "100ms" probe_interval = "100ms" probe_timeout = "100ms" suspicion_mult = 3 }
    gossip_wan { gossip_interval = "100ms" probe_interval = "100ms" probe_timeout = "100ms" suspicion_mult = 3 }
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Hcl,
    Json,
}

impl Format {
    /// The format of that name, as `-config-format` takes it.
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "hcl" => Some(Format::Hcl),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    fn of(path: &Path) -> Option<Format> {
        Format::parse(path.extension()?.to_str()?)
    }
}

/// One place that says something. Not to be printed: it may carry secrets.
#[derive(Clone)]
pub struct Source {
    /// For people: a path, or which part of the command line.
    pub name: String,
    pub tree: Node,
}

impl Source {
    /// Reads one text. Errors: [`Error::Syntax`], with `name` as the file.
    pub fn parse(name: impl Into<String>, text: &[u8], format: Format) -> Result<Source, Error> {
        let name = name.into();
        let tree = match format {
            Format::Hcl => hcl::parse(text),
            Format::Json => json::parse(text),
        };
        match tree {
            Ok(tree) => Ok(Source { name, tree }),
            Err(error) => Err(Error::Syntax { file: name, error }),
        }
    }
}

/// Everything that is said about an agent, the weightiest last.
#[derive(Clone, Default)]
pub struct Sources {
    pub list: Vec<Source>,
}

impl Sources {
    /// Takes the flags and reads the files they name.
    pub fn read(flags: &AgentFlags) -> Result<Sources, Error> {
        let mut list = Vec::new();
        if flags.dev == Some(true) {
            list.push(Source::parse("development mode", DEVELOPMENT.as_bytes(), Format::Hcl)?);
        }
        let (lists, values) = flags.trees()?;
        list.push(Source { name: "command line".to_owned(), tree: lists });
        for path in &flags.config_files {
            read_path(path, flags.config_format, &mut list)?;
        }
        list.push(Source { name: "command line".to_owned(), tree: values });
        for fragment in &flags.hcl {
            list.push(Source::parse("-hcl", fragment.as_bytes(), Format::Hcl)?);
        }
        Ok(Sources { list })
    }

    /// What all of them say.
    pub fn values(&self) -> Option<Values<'_>> {
        Values::root(
            self.list.iter().map(|source| (source.name.as_str(), &source.tree)),
            Rules::File,
        )
    }

    /// The weightiest place that writes the setting at `path`, a path of names such as
    /// `acl.enabled`.
    pub fn find(&self, path: &str) -> Option<(&str, Position)> {
        self.list.iter().rev().find_map(|source| {
            let node = path.split('.').try_fold(&source.tree, descend)?;
            Some((source.name.as_str(), node.at))
        })
    }
}

fn descend<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    use crate::tree::Value;
    match &node.value {
        Value::Object(object) => object
            .iter()
            .find(|(written, _)| written.eq_ignore_ascii_case(name))
            .map(|(_, node)| node),
        Value::List(list) => list.iter().find_map(|node| descend(node, name)),
        _ => None,
    }
}

/// Reads a file, or the files of a directory in order of name; directories in it are passed over,
/// and so are files whose name tells no format.
fn read_path(path: &Path, format: Option<Format>, list: &mut Vec<Source>) -> Result<(), Error> {
    let unreadable = |source| Error::Read { file: path.display().to_string(), source };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        let Some(format) = format.or(Format::of(path)) else {
            return Err(unreadable(io::Error::other(
                "its name ends neither in .hcl nor in .json; rename it, or give -config-format",
            )));
        };
        list.push(read_file(path, format)?);
        return Ok(());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    for path in paths {
        if let Some(format) = format.or(Format::of(&path))
            && !path.is_dir()
        {
            list.push(read_file(&path, format)?);
        }
    }
    Ok(())
}

fn read_file(path: &Path, format: Format) -> Result<Source, Error> {
    let name = path.display().to_string();
    let mut text = Vec::new();
    // One byte more than allowed, so that the reader finds it too long.
    let read = fs::File::open(path)
        .and_then(|file| file.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut text));
    match read {
        Ok(_) => Source::parse(name, &text, format),
        Err(source) => Err(Error::Read { file: name, source }),
    }
}
