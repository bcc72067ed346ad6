//! The outputs of the log: the journal by its own protocol, or stderr as text or JSON.
//!
//! A reader of the log may stop reading: journald is stopped, or a pipe is full. So the caller formats a line, and a
//! separate thread writes it.
//!
//! **Invariant**: logging never waits for a reader. Only code here names a line's fields (`livestream.id`, `user.id`,
//! …); they never contain a token, a key or a URL with a key.

mod journal;
mod queue;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use self::journal::JournalLayer;
use self::queue::Queue;
use crate::config::{Log, LogFormat};
use crate::metrics;

/// How long the process waits at its end for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Changes the level while the daemon runs.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Logs at this level from now on.
    pub fn set(&self, level: &str) -> anyhow::Result<()> {
        self.0
            .reload(filter(level)?)
            .context("the log level cannot be changed")
    }
}

/// Directives before the configured ones, which win. The reader of m4a logs what it also returns as an error.
const DIRECTIVES: &str = "mp4_atom=off";

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("{DIRECTIVES},{level}")).context(
        "log.level: must be error, warn, info, debug or trace, or directives such as \
         info,castaway_media_server=debug",
    )
}

/// The log of the process. Its drop writes the last lines.
pub struct Logging {
    level: LevelHandle,
    queue: Queue,
}

impl Logging {
    /// Handle for a reload.
    pub fn level(&self) -> LevelHandle {
        self.level.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_TIMEOUT);
    }
}

/// Starts logging. Called once per process.
pub fn init(log: &Log) -> anyhow::Result<Logging> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let (queue, writer) = writer(log)?;
    let registry = Registry::default().with(filter);
    registry
        .with(writer)
        .try_init()
        .context("logging is set up already")?;
    let level = LevelHandle(handle);
    Ok(Logging { level, queue })
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Writer = Box<dyn Layer<Filtered> + Send + Sync>;

fn writer(log: &Log) -> anyhow::Result<(Queue, Writer)> {
    let socket = || journal::Socket::open(Path::new(journal::PATH));
    let socket = match log.format {
        // Without the socket stderr leads to the journal as well, as text.
        LogFormat::Auto if stderr_is_journal() => socket().ok(),
        LogFormat::Journald => {
            Some(socket().context("log.format is journald, and the journal cannot be reached")?)
        }
        LogFormat::Auto | LogFormat::Plain | LogFormat::Json => None,
    };
    let Some(socket) = socket else {
        let queue = start(log, |line| std::io::stderr().write_all(line))?;
        let lines = queue.clone();
        let layer = fmt::layer().with_writer(move || lines.clone());
        let layer = if log.format == LogFormat::Json {
            layer.json().flatten_event(true).boxed()
        } else {
            layer.with_ansi(std::io::stderr().is_terminal()).boxed()
        };
        return Ok((queue, layer));
    };
    let queue = start(log, move |entry| socket.send(entry))?;
    Ok((queue.clone(), JournalLayer(queue).boxed()))
}

fn start(
    log: &Log,
    write: impl FnMut(&[u8]) -> std::io::Result<()> + Send + 'static,
) -> anyhow::Result<Queue> {
    Queue::start(log.queue_bytes, metrics::log_lines_dropped(), write, report)
        .context("the log has no thread")
}

/// In the message itself: `journalctl` shows no fields unless asked to.
fn report(dropped: u64) {
    tracing::warn!(
        "{dropped} log lines were dropped, because the log was read too slowly or not at all"
    );
}

/// systemd names the device and inode of the journal's stream: stderr may have been redirected since.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}
