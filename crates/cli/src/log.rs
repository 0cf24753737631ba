//! The log of the long-running commands: lines on standard output and, if wanted, in files.

mod file;

use std::io::{self, Write};

use agent::monitor::{LogHub, LogLevel, Sink};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::output::Failure;

pub(crate) use file::{LogFile, Rotation};

/// Starts logging for the rest of the process.
pub(crate) fn start(level: LogLevel, json: bool, file: Option<LogFile>) -> Result<LogHub, Failure> {
    let writer: Box<dyn Write + Send> = match file {
        Some(file) => Box::new(Both { file }),
        None => Box::new(io::stdout()),
    };
    let hub = LogHub::new(Some(Sink { level, json, writer }));
    tracing_subscriber::registry()
        .with(hub.clone())
        .try_init()
        .map_err(Failure::during("starting the log"))?;
    Ok(hub)
}

/// Reads a level by the names users write.
pub(crate) fn level(text: &str) -> Result<LogLevel, Failure> {
    LogLevel::parse(text).ok_or_else(|| {
        Failure::new(format!(
            "==> Invalid log level: {text}. Valid log levels are: TRACE, DEBUG, INFO, WARN, ERR"
        ))
    })
}

/// Writes to standard output and to a file; one that fails does not keep the line from the other.
struct Both {
    file: LogFile,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = io::stdout().write_all(bytes);
        self.file.write_all(bytes)?;
        shown.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().and(io::stdout().flush())
    }
}
