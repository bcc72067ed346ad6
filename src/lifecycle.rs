//! From the start to the stop, as systemd and an operator see it: ready, watched, reloaded, stopped.
//!
//! Without systemd (`NOTIFY_SOCKET` unset) every notification is nothing, and a SIGTERM or Ctrl-C stops all the same.
//!
//! **Invariant**: READY is said only when both ports are served; after STOPPING no connection is accepted; the watchdog
//! is fed by the runtime that serves clients, and only if the relay's locks can be had.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::app::App;
use crate::config::{Config, Sources};
use crate::google::{Emulators, GoogleError};
use crate::preflight::Preflight;
use crate::telemetry::LevelHandle;

/// How often the words of STATUS are renewed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// What a reload needs: where the configuration came from, and what of it runs.
pub struct Reload {
    /// The file that was named.
    pub file: Option<PathBuf>,
    /// What runs.
    pub running: Config,
    /// The log's level.
    pub level: LevelHandle,
}

/// Serves until a signal says stop, and stops in order.
pub async fn run(app: App, mut reload: Option<Reload>) -> anyhow::Result<()> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    app.prepare().await;
    app.serve();
    app.readiness().ready();
    notify(&[NotifyState::Ready, NotifyState::Status(&app.status())]);
    let mut status = tokio::time::interval(STATUS_INTERVAL);
    let watchdog = sd_notify::watchdog_enabled().map(|timeout| timeout / 3);
    let mut feed = tokio::time::interval(watchdog.unwrap_or(STATUS_INTERVAL));
    let mut failure = app.failure();
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv() => reload_now(&app, reload.as_mut()),
            error = failure.recv() => {
                break Err(anyhow::anyhow!("a server task ended: {}", error.unwrap_or_default()));
            }
            _ = status.tick() => notify(&[NotifyState::Status(&app.status())]),
            _ = feed.tick(), if watchdog.is_some() => {
                // Takes the locks that serving takes: a daemon that hangs on one is not fed.
                app.status();
                notify(&[NotifyState::Watchdog]);
            }
        }
    };
    let timeout = app.shutdown_timeout();
    let extend = u32::try_from(timeout.as_micros())
        .unwrap_or(u32::MAX)
        .saturating_add(5_000_000);
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: telling clients to come back"),
        NotifyState::ExtendTimeoutUsec(extend),
    ]);
    tracing::info!("stopping");
    let again = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    stop(app, timeout, again).await;
    outcome
}

async fn stop(app: App, timeout: Duration, again: impl Future<Output = ()>) {
    tokio::select! {
        () = app.stop(Instant::now() + timeout) => tracing::info!("stopped"),
        () = again => tracing::warn!("told to stop twice: stopping at once"),
    }
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen to signals")
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

fn reload_now(app: &App, reload: Option<&mut Reload>) {
    if let Ok(monotonic) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, monotonic]);
    }
    if let Some(reload) = reload {
        let sources = Sources::of_process(reload.file.clone());
        let emulators = Emulators::from_environment(&sources.environment);
        match Preflight::load(&sources, emulators) {
            Ok(new) => apply(app, reload, new),
            Err(error) => log_refused(&error),
        }
    } else {
        tracing::info!("nothing to reload: the demo has no configuration");
    }
    notify(&[NotifyState::Ready, NotifyState::Status(&app.status())]);
}

fn log_refused(error: &GoogleError) {
    // In the message itself: `journalctl` shows no fields unless it is asked to.
    tracing::error!("the new configuration is refused, the old one goes on: {error}");
}

fn apply(app: &App, reload: &mut Reload, new: Preflight) {
    let config = new.config().clone();
    if let Err(error) = reload.level.set(&config.log.level) {
        tracing::error!(%error, "the log level stays as it was");
    }
    app.reload(new);
    let changed = config.changes_that_need_a_restart(&reload.running);
    if changed.is_empty() {
        tracing::info!("configuration reloaded");
    } else {
        tracing::warn!(
            "configuration reloaded; a restart is needed for {}",
            changed.join(", ")
        );
    }
    // What needs a restart is compared with what runs, not with what was read last.
    let max_clip_bytes = reload.running.upload.max_clip_bytes;
    reload.running.upload = config.upload;
    reload.running.upload.max_clip_bytes = max_clip_bytes;
    reload.running.log.level = config.log.level;
}
