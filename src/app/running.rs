//! A daemon that serves: its reload, and its stop.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Running;
use crate::http::health::Readiness;
use crate::metrics::Metrics;
use crate::preflight::Preflight;

/// Time at the end of a stop for the answers to the last health checks: one that was accepted and not answered would look
/// like a server that is down.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

impl Running {
    /// Whether the daemon may be sent clients.
    pub fn readiness(&self) -> &Readiness {
        &self.parts.readiness
    }

    /// The daemon's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// How long a stop may take.
    pub fn shutdown_timeout(&self) -> Duration {
        self.parts.config.server.shutdown_timeout
    }

    /// Resolves with the name of a server task that ended too early.
    pub async fn failed(&mut self) -> String {
        self.failure.recv().await.unwrap_or_default()
    }

    /// Applies the settings that can change while the daemon runs: quotas and credentials.
    pub fn reload(&self, new: Preflight) {
        let Preflight {
            config,
            credentials,
            api_key,
            ..
        } = new;
        self.parts.relay.set_quota(&config.upload);
        self.parts.api.set_tokens(config.api.token.as_ref());
        if let Some(webhooks) = &self.parts.webhooks {
            webhooks.set_secrets(config.webhooks.secrets.as_ref());
        }
        if let Some(access) = &self.parts.google {
            access.reload(credentials, &config.google);
            self.parts.identity.reload(access, &config, api_key);
        }
    }

    /// Stops in order, by `deadline`: refuses new clients and clips, clears flags, hands live livestreams over to the
    /// next process, delivers accepted clips, closes every transport so that clients reconnect by themselves, writes
    /// the waiting webhooks, and answers the last health checks.
    pub async fn stop(self, deadline: Instant) {
        self.parts.readiness.stopping();
        self.parts.stopping.cancel();
        self.parts.relay.stop();
        if let Some(players) = &self.parts.players {
            players.close();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let others = self.parts.relay.leave_cluster(left / 4).await;
        if others > 0 {
            tracing::info!(
                nodes = others,
                "the other nodes take over the livestreams of this one"
            );
        } else {
            self.parts.relay.clear_flags();
        }
        self.parts
            .handover
            .leave(&self.parts.relay, &self.parts.identity);
        let left = deadline.saturating_duration_since(Instant::now());
        self.parts.sockets.close_all(left / 4).await;
        if let Some(recorded) = self.parts.relay.recorded_before() {
            let left = deadline.saturating_duration_since(Instant::now());
            recorded.wait_until(Instant::now() + left / 2).await;
        }
        if let Some(webhooks) = &self.parts.webhooks {
            let left = deadline.saturating_duration_since(Instant::now());
            webhooks.settle(left / 4).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let unwritten = self.parts.directory.settle(left).await;
        if unwritten > 0 {
            tracing::error!(
                livestreams = unwritten,
                "streamerConnected could not be cleared in time; the next start clears it"
            );
        }
        self.parts.exiting.cancel();
        // Connections that ask nothing do not delay the exit for longer.
        drop(timeout(LAST_ANSWERS, self.health).await);
    }
}
