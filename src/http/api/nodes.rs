//! The nodes: this one in detail, the others by name.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;

/// All live nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    /// By name.
    nodes: Vec<Node>,
}

/// A node. The node that answers knows only the names of the others.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Node {
    /// In a cluster, the name in the node registry.
    name: String,
    /// Whether it is the node that answers.
    answers: bool,
    /// The version of the daemon.
    version: Option<&'static str>,
    /// Whether it may be sent clients: `/readyz` answers 200.
    ready: Option<bool>,
    /// Its failures, as in `/readyz`.
    degraded: Option<Vec<String>>,
    /// Livestreams on this node.
    livestreams: Option<usize>,
    /// Listeners on this node.
    listeners: Option<usize>,
}

/// Lists the nodes: alone, or in a cluster the live ones of the node registry.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes",
    responses((status = 200, body = Nodes),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Redis does not answer")))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Nodes>, Problem> {
    let this = api.node.clone();
    let mut names = api.relay.nodes().await.map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Redis, which knows the other nodes, does not answer: ask again, or see /readyz",
        )
    })?;
    if !names.contains(&this) {
        names.push(this.clone());
    }
    names.sort();
    let node = |name: String| {
        if name == this {
            return api.describe(name);
        }
        Node {
            name,
            ..Node::default()
        }
    };
    let nodes = names.into_iter().map(node).collect();
    Ok(Json(Nodes { nodes }))
}

impl Api {
    fn describe(&self, name: String) -> Node {
        let (livestreams, listeners) = self.relay.count();
        Node {
            name,
            answers: true,
            version: Some(env!("CARGO_PKG_VERSION")),
            ready: Some(self.readiness.is_ready()),
            degraded: Some(self.readiness.degraded()),
            livestreams: Some(livestreams),
            listeners: Some(listeners),
        }
    }
}
