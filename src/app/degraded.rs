//! The failures of a daemon that still serves, for `/readyz` and `systemctl status`.

use std::sync::Arc;

use super::Running;
use crate::cluster::Cluster;
use crate::directory::Directory;
use crate::google::{Access, Health};
use crate::http::health::Readiness;
use crate::relay::Relay;

/// Whether the daemon may be sent clients.
pub(super) fn readiness(
    google: Option<&Access>,
    directory: &Directory,
    cluster: Option<&Arc<Cluster>>,
    relay: &Relay,
) -> Readiness {
    let reasons = reasons(google.cloned(), directory.clone(), cluster.cloned());
    Readiness::new(reasons, unfit(cluster.cloned(), relay.clone()))
}

/// The failures of a daemon that still serves clients.
fn reasons(
    google: Option<Access>,
    directory: Directory,
    cluster: Option<Arc<Cluster>>,
) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
    move || {
        let health = google.iter().flat_map(|access| access.client.health());
        let down = health.filter(|(_, health)| *health == Health::Down);
        let mut reasons: Vec<String> = down
            .map(|(dependency, _)| format!("{} is down", dependency.as_str()))
            .collect();
        if cluster.as_ref().is_some_and(|cluster| !cluster.is_up()) {
            reasons.push("Redis is away: each node serves its own listeners".into());
        }
        let pending = directory.pending();
        if pending > 0 && !reasons.is_empty() {
            reasons.push(format!("{pending} writes of streamerConnected wait"));
        }
        reasons
    }
}

/// The reason for which another node serves new clients better.
fn unfit(
    cluster: Option<Arc<Cluster>>,
    relay: Relay,
) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    move || {
        if relay.is_draining() {
            return Some("an operator drains this node".into());
        }
        cluster
            .as_ref()
            .filter(|cluster| cluster.is_cut_off())
            .map(|_| "Redis has not answered for longer than cluster.lease".into())
    }
}

impl Running {
    /// The daemon's state in one sentence.
    pub fn status(&self) -> String {
        let (livestreams, listeners) = self.parts.relay.count();
        let count = |number: usize, noun: &str| {
            format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
        };
        let mut status = format!(
            "{}, {}",
            count(livestreams, "livestream"),
            count(listeners, "listener")
        );
        if self.parts.relay.is_draining() {
            status.push_str("; draining");
        }
        for reason in self.parts.readiness.degraded() {
            status.push_str("; ");
            status.push_str(&reason);
        }
        status
    }
}
