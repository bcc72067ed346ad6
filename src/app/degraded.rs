//! The failures of a daemon that still serves, for `/readyz` and `systemctl status`.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::directory::Directory;
use crate::google::{Access, Health};

/// The failures of a daemon that still serves clients.
pub(super) fn reasons(
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
pub(super) fn unfit(
    cluster: Option<Arc<Cluster>>,
) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    move || {
        cluster
            .as_ref()
            .filter(|cluster| cluster.is_cut_off())
            .map(|_| "Redis has not answered for longer than cluster.lease".into())
    }
}
