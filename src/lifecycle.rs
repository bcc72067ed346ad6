//! The daemon's life from start to stop, as systemd and an operator see it: readiness, watchdog, reload, stop.
//!
//! Without systemd (`NOTIFY_SOCKET` unset) notifications do nothing, and SIGTERM and Ctrl-C still stop the daemon.
//!
//! **Invariant**: READY is sent only when both ports are served; after STOPPING no connection is accepted; the runtime
//! that serves clients feeds the watchdog, and only if it can take the relay's locks.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::app::{App, Running};
use crate::config::{Config, Sources};
use crate::google::{Emulators, GoogleError};
use crate::preflight::Preflight;
use crate::telemetry::LevelHandle;

/// How often the text of STATUS is updated.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// State for a reload: the source of the configuration, and the running one.
pub struct Reload {
    /// The file of the command line.
    pub file: Option<PathBuf>,
    /// The running configuration.
    pub running: Config,
    /// Level of the log.
    pub level: LevelHandle,
}

/// Serves until a signal requests a stop, then stops in order.
pub async fn run(app: App, mut reload: Option<Reload>) -> anyhow::Result<()> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut app = app.serve().await;
    app.readiness().ready();
    notify(&[NotifyState::Ready, NotifyState::Status(&app.status())]);
    let mut status = tokio::time::interval(STATUS_INTERVAL);
    let watchdog = sd_notify::watchdog_enabled().map(|timeout| timeout / 3);
    let mut feed = tokio::time::interval(watchdog.unwrap_or(STATUS_INTERVAL));
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv() => reload_now(&app, reload.as_mut()),
            error = app.failed() => break Err(anyhow::anyhow!("a server task ended: {error}")),
            _ = status.tick() => notify(&[NotifyState::Status(&app.status())]),
            _ = feed.tick(), if watchdog.is_some() => {
                // Takes the locks that serving takes: a daemon that is stuck on one does not feed the watchdog.
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
        NotifyState::Status("stopping: asking clients to reconnect"),
        NotifyState::ExtendTimeoutUsec(extend),
    ]);
    tracing::info!("stopping");
    let again = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    stop(app, timeout, again).await;
    outcome
}

async fn stop(app: Running, timeout: Duration, again: impl Future<Output = ()>) {
    tokio::select! {
        () = app.stop(Instant::now() + timeout) => tracing::info!("stopped"),
        () = again => tracing::warn!("second stop signal: stopping at once"),
    }
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen to signals")
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}

fn reload_now(app: &Running, reload: Option<&mut Reload>) {
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
    // In the message itself: `journalctl` shows no fields unless asked to.
    tracing::error!("the new configuration is refused, the old one stays in use: {error}");
}

fn apply(app: &Running, reload: &mut Reload, new: Preflight) {
    let config = new.config().clone();
    if let Err(error) = reload.level.set(&config.log.level) {
        tracing::error!(%error, "cannot change the log level: the old one stays in use");
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
    // Restarts are judged by the running configuration, not by the last one read.
    let max_clip_bytes = reload.running.upload.max_clip_bytes;
    reload.running.upload = config.upload;
    reload.running.upload.max_clip_bytes = max_clip_bytes;
    reload.running.log.level = config.log.level;
}
