//! The nodes.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Operator;

/// All live nodes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Nodes {
    /// By name.
    nodes: Vec<Node>,
}

/// A node. Of one that does not answer only the name is known.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct Node {
    /// In a cluster, the name in the node registry.
    name: String,
    /// Whether it answered in time.
    answers: bool,
    /// The version of the daemon.
    version: Option<String>,
    /// Whether it may be sent clients: `/readyz` answers 200.
    ready: Option<bool>,
    /// Whether it drains: its clients leave, and nobody is admitted.
    draining: Option<bool>,
    /// Its failures, as in `/readyz`.
    degraded: Option<Vec<String>>,
    /// Livestreams on this node.
    livestreams: Option<usize>,
    /// Streamers on this node.
    streamers: Option<usize>,
    /// Listeners on this node, players included.
    listeners: Option<usize>,
    /// While it drains, the seconds until its last client is sent away.
    seconds_left: Option<u64>,
}

/// Lists the nodes: alone, or in a cluster the live ones of the node registry; while Redis does not answer, the latest known.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", responses((status = 200, body = Nodes)))]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    uri: Uri,
) -> Json<Nodes> {
    let mut others = api.ask_others(&operator, &Method::GET, &uri).await;
    let mut nodes = vec![api.describe()];
    nodes.extend(others.found::<Nodes>().into_iter().flat_map(|it| it.nodes));
    nodes.extend(others.unanswered.into_iter().map(|name| Node {
        name,
        ..Node::default()
    }));
    nodes.sort_by(|left, right| left.name.cmp(&right.name));
    Json(Nodes { nodes })
}

impl Api {
    fn describe(&self) -> Node {
        let livestreams = self.relay.count().0;
        let drain = self.drain();
        Node {
            name: self.node.clone(),
            answers: true,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ready: Some(self.readiness.is_ready()),
            draining: Some(drain.draining),
            degraded: Some(self.readiness.degraded()),
            livestreams: Some(livestreams),
            streamers: Some(drain.streamers),
            listeners: Some(drain.listeners),
            seconds_left: drain.draining.then_some(drain.seconds_left),
        }
    }
}
