//! The log as lines, for the terminal and for those who watch it over the API.
//!
//! A [`LogHub`] is a `tracing` layer: it formats each event once per form wanted and hands the line
//! to the sink and to all subscribers. Fields that name secrets are hidden here, at the one place
//! where log lines are made.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use model::time::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines a slow subscriber may lag behind before it misses some.
pub const LINES_BEHIND_MAX: usize = 512;
/// Longest line in bytes; the rest of a longer one is cut.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Words in field names whose values are hidden.
const SECRET_WORDS: [&str; 6] =
    ["token", "secret", "password", "private_key", "key_pem", "encrypt"];

/// How much is logged, least to most, by the names users write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Err,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Reads a level as Consul does: `trace`, `debug`, `info`, `warn`, `err` or `error`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "err" | "error" => Self::Err,
            _ => return None,
        })
    }

    fn of(level: &Level) -> Self {
        match *level {
            Level::ERROR => Self::Err,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Err => "[ERROR]",
            Self::Warn => "[WARN] ",
            Self::Info => "[INFO] ",
            Self::Debug => "[DEBUG]",
            Self::Trace => "[TRACE]",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Err => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[derive(Clone)]
struct Line {
    level: LogLevel,
    text: Bytes,
    json: Bytes,
}

/// Where the process' own log goes, and in which form.
pub struct Sink {
    pub level: LogLevel,
    pub json: bool,
    pub writer: Box<dyn Write + Send>,
}

struct Shared {
    sink: Option<Mutex<Sink>>,
    sink_level: AtomicU8,
    /// The most that the sink or any subscriber wants; read on every event.
    wanted: AtomicU8,
    subscribed: Mutex<Vec<LogLevel>>,
    lines: broadcast::Sender<Line>,
}

/// Makes log lines and gives them to all who want them.
#[derive(Clone)]
pub struct LogHub(Arc<Shared>);

impl LogHub {
    /// `None` as sink: only subscribers see lines.
    pub fn new(sink: Option<Sink>) -> Self {
        let level = sink.as_ref().map_or(0, |sink| sink.level as u8 + 1);
        Self(Arc::new(Shared {
            sink: sink.map(Mutex::new),
            sink_level: AtomicU8::new(level),
            wanted: AtomicU8::new(level),
            subscribed: Mutex::default(),
            lines: broadcast::channel(LINES_BEHIND_MAX).0,
        }))
    }

    /// Changes how much goes to the sink, as a reload does.
    pub fn set_level(&self, level: LogLevel) {
        if let Some(sink) = &self.0.sink {
            sink.lock().level = level;
            self.0.sink_level.store(level as u8 + 1, Ordering::Relaxed);
        }
        self.refresh_wanted(&self.0.subscribed.lock());
    }

    /// Lines from now on up to `level`, as text or as JSON objects.
    pub fn subscribe(&self, level: LogLevel, json: bool) -> LogStream {
        let mut subscribed = self.0.subscribed.lock();
        subscribed.push(level);
        self.refresh_wanted(&subscribed);
        LogStream { hub: self.clone(), level, json, lines: self.0.lines.subscribe() }
    }

    fn refresh_wanted(&self, subscribed: &[LogLevel]) {
        let most = subscribed.iter().map(|level| *level as u8 + 1).max().unwrap_or(0);
        let wanted = most.max(self.0.sink_level.load(Ordering::Relaxed));
        self.0.wanted.store(wanted, Ordering::Relaxed);
        // Call sites may have been told that nobody is interested.
        tracing::callsite::rebuild_interest_cache();
    }

    fn wants(&self, level: LogLevel) -> bool {
        (level as u8) < self.0.wanted.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for LogHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHub").finish_non_exhaustive()
    }
}

/// A subscription to the log; ends when dropped.
pub struct LogStream {
    hub: LogHub,
    level: LogLevel,
    json: bool,
    lines: broadcast::Receiver<Line>,
}

impl LogStream {
    /// The next line with its line end. Lines missed by lagging behind are skipped; `None` when the
    /// log ends. Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.lines.recv().await {
                Ok(line) if line.level <= self.level => {
                    return Some(if self.json { line.json } else { line.text });
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        let mut subscribed = self.hub.0.subscribed.lock();
        if let Some(at) = subscribed.iter().position(|level| *level == self.level) {
            subscribed.swap_remove(at);
        }
        self.hub.refresh_wanted(&subscribed);
    }
}

impl<S: Subscriber> Layer<S> for LogHub {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // What is wanted changes while running.
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(LogLevel::of(metadata.level())) && is_ours(metadata.target())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = LogLevel::of(event.metadata().level());
        if !self.wants(level) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now: Timestamp = std::time::SystemTime::now().into();
        let module = module_name(event.metadata().target());
        let line = Line {
            level,
            text: fields.text(now, level, &module),
            json: fields.json(now, level, &module),
        };
        if let Some(sink) = &self.0.sink {
            let mut sink = sink.lock();
            if level <= sink.level {
                let bytes = if sink.json { &line.json } else { &line.text };
                // A log that cannot be written has nowhere to say so.
                let _ = sink.writer.write_all(bytes);
            }
        }
        // Fails when nobody listens.
        let _ = self.0.lines.send(line);
    }
}

/// Libraries below only speak up when something is wrong; their chatter may show data in transit.
fn is_ours(target: &str) -> bool {
    const FOREIGN: [&str; 7] = ["h2", "hyper", "hyper_util", "rustls", "tokio_util", "mio", "want"];
    !FOREIGN.contains(&target.split("::").next().unwrap_or_default())
}

/// `agent::sync::plan` is shown as `agent.sync.plan`, the HTTP edge as `agent.http`.
fn module_name(target: &str) -> String {
    let dotted = target.replace("::", ".");
    let head = dotted.split('.').next().unwrap_or_default();
    match head {
        "http" | "dns" | "server" | "replica" | "proxy" | "state" => format!("agent.{dotted}"),
        "daemon" | "cli" | "lictor" => "agent".to_owned(),
        _ => dotted,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        let name = field.name();
        let is_secret = SECRET_WORDS.iter().any(|word| name.contains(word));
        self.rest.push((name, if is_secret { "hidden".to_owned() } else { value }));
    }

    fn text(&self, now: Timestamp, level: LogLevel, module: &str) -> Bytes {
        let mut line = format!("{} {} {module}: {}", milliseconds(now), level.tag(), self.message);
        for (at, (name, value)) in self.rest.iter().enumerate() {
            let colon = if at == 0 { ":" } else { "" };
            let value = one_line(value);
            // Writing to a text cannot fail.
            let _ = match value.contains(' ') {
                true => write!(line, "{colon} {name}={value:?}"),
                false => write!(line, "{colon} {name}={value}"),
            };
        }
        end_line(line)
    }

    fn json(&self, now: Timestamp, level: LogLevel, module: &str) -> Bytes {
        let mut object = Map::new();
        let mut put = |name: &str, value: &str| {
            object.insert(name.to_owned(), Value::String(value.to_owned()));
        };
        put("@level", level.word());
        put("@message", &self.message);
        put("@module", module);
        put("@timestamp", &now.to_string());
        for (name, value) in &self.rest {
            put(name, value);
        }
        end_line(Value::Object(object).to_string())
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// A value from outside must not forge further lines.
fn one_line(value: &str) -> String {
    value.replace('\n', "\\n").replace('\r', "\\r")
}

fn end_line(mut line: String) -> Bytes {
    if line.len() > LINE_BYTES_MAX {
        let mut cut = LINE_BYTES_MAX;
        while !line.is_char_boundary(cut) {
            cut -= 1;
        }
        line.truncate(cut);
    }
    line.push('\n');
    Bytes::from(line)
}

/// `2026-11-23T04:04:36.140Z`.
fn milliseconds(now: Timestamp) -> String {
    let whole = Timestamp::from_unix(now.unix_seconds).to_string();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), now.nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn levels_have_consul_names() {
        let check = |text, want| assert_eq!(LogLevel::parse(text), want, "{text}");
        check("DEBUG", Some(LogLevel::Debug));
        check("err", Some(LogLevel::Err));
        check("warn", Some(LogLevel::Warn));
        check("foo", None);
        check("", None);
    }

    #[test]
    fn formats_as_consul_does() {
        let fields = Fields {
            message: "Request finished".into(),
            rest: vec![("method", "GET".into()), ("url", "/v1/a b".into())],
        };
        let now = Timestamp { unix_seconds: 1_795_407_733, nanos: 755_842_000 };
        assert_eq!(
            fields.text(now, LogLevel::Debug, "agent.http"),
            "2026-11-23T04:22:13.755Z [DEBUG] agent.http: Request finished: method=GET url=\"/v1/a b\"\n"
        );
        assert_eq!(
            fields.json(now, LogLevel::Debug, "agent.http"),
            "{\"@level\":\"debug\",\"@message\":\"Request finished\",\"@module\":\"agent.http\",\
             \"@timestamp\":\"2026-11-23T04:22:13.755842Z\",\"method\":\"GET\",\"url\":\"/v1/a b\"}\n"
        );
    }

    #[tokio::test]
    async fn subscribers_get_their_level_without_secrets() {
        let hub = LogHub::new(None);
        let subscriber = tracing_subscriber::registry().with(hub.clone());
        let mut stream = hub.subscribe(LogLevel::Info, false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("not for this one");
            tracing::info!(acl_token = "root", node = "a\nb", "hello");
        });
        let line = stream.next().await.unwrap();
        let line = std::str::from_utf8(&line).unwrap();
        assert!(line.ends_with("hello: acl_token=hidden node=a\\nb\n"), "{line}");
        drop(stream);
        assert_eq!(hub.0.wanted.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_slow_subscriber_misses_lines_and_holds_nobody_up() {
        let hub = LogHub::new(None);
        let mut stream = hub.subscribe(LogLevel::Info, false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(hub.clone()), || {
            (0..LINES_BEHIND_MAX * 2).for_each(|at| tracing::info!(at, "line"))
        });
        let line = stream.next().await.unwrap();
        assert!(!line.ends_with(b"at=0\n"), "the first lines are gone");
    }
}
