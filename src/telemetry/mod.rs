//! Where log lines go: the journal by its own protocol, or stderr as text or JSON.
//!
//! **Invariant**: a line's fields are what code here names (`livestream.id`, `user.id`, …); no token, key or URL with a
//! key in it is ever among them.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Lets the level be changed while the daemon runs.
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

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(level)
        .context("log.level: must be error, warn, info, debug or trace, or directives such as info,castaway_media_server=debug")
}

/// Starts logging. Once a process.
pub fn init(log: &Log) -> anyhow::Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let registry = Registry::default().with(filter);
    registry
        .with(writer(log.format)?)
        .try_init()
        .context("logging is set up already")?;
    Ok(LevelHandle(handle))
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

fn writer(format: LogFormat) -> anyhow::Result<Box<dyn Layer<Filtered> + Send + Sync>> {
    let journal = || -> std::io::Result<Box<dyn Layer<Filtered> + Send + Sync>> {
        // Without a prefix a field is what an operator would query: LIVESTREAM_ID=, USER_ID=, CLIENT_ADDRESS=.
        let layer = tracing_journald::layer()?
            .with_field_prefix(None)
            .with_syslog_identifier("castaway-media-server".into());
        Ok(Box::new(layer))
    };
    let plain = || {
        let colour = std::io::stderr().is_terminal();
        fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .boxed()
    };
    Ok(match format {
        LogFormat::Auto if stderr_is_journal() => journal().unwrap_or_else(|_| plain()),
        LogFormat::Auto | LogFormat::Plain => plain(),
        LogFormat::Journald => {
            journal().context("log.format is journald, and the journal cannot be reached")?
        }
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
    })
}

/// systemd says which device and inode the journal's stream has: stderr may have been redirected since.
fn stderr_is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    told == format!("{}:{}", stat.st_dev, stat.st_ino)
}
