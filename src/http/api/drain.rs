//! The drain of a node: begin, undo, and what is left.

#![expect(
    unused_qualifications,
    reason = "in the code that utoipa's macro writes"
)]

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Operator;
use super::peers::refusal;
use super::problem::Problem;
use super::{Api, now};
use crate::cluster::{PeerError, PeerReply};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The node: its name in the node registry, or `cluster.node`; the one that is asked if unset.
    node: Option<String>,
}

/// A node that drains, or does not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Drain {
    /// The node.
    node: String,
    /// Whether it drains.
    pub(super) draining: bool,
    /// Streamers that are left.
    pub(super) streamers: usize,
    /// Listeners that are left, players included.
    pub(super) listeners: usize,
    /// Seconds until the last one is sent away.
    pub(super) seconds_left: u64,
}

impl Drain {
    /// In the answer of another node.
    fn elsewhere(node: &str, reply: Result<PeerReply, PeerError>) -> Result<Self, Problem> {
        let reply = reply.map_err(|error| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "the node {node} does not answer ({error}): ask again, or on its own machine"
                ),
            )
        })?;
        let drain = (reply.status == 200).then(|| serde_json::from_str(&reply.body).ok());
        drain.flatten().ok_or_else(|| refusal(node, &reply))
    }
}

/// Drains a node: `/readyz` answers 503, nobody is admitted, and clients are disconnected over `server.drain_time`, in
/// random order and streamers last, so that they connect again elsewhere. Ask again to see what is left.
#[utoipa::path(post, path = "/api/v1/drain", params(Which), tag = "nodes",
    responses((status = 200, body = Drain), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Several nodes have this name"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The node does not answer")))]
pub(super) async fn begin(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    method: Method,
    uri: Uri,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Drain>, Problem> {
    if let Some(other) = api.other_node(&operator, which?.0).await? {
        return api.ask_for_drain(&other, &operator, &method, &uri).await;
    }
    if !api.relay.is_draining() {
        api.relay.drain(api.drain_time, now());
        tracing::info!(operator = %operator, node = api.node, "operator: drain begins");
    }
    Ok(Json(api.drain()))
}

/// Ends the drain: the node is ready, and admits clients.
#[utoipa::path(delete, path = "/api/v1/drain", params(Which), tag = "nodes",
    responses((status = 200, body = Drain), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Several nodes have this name"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The node does not answer")))]
pub(super) async fn undo(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    method: Method,
    uri: Uri,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Drain>, Problem> {
    if let Some(other) = api.other_node(&operator, which?.0).await? {
        return api.ask_for_drain(&other, &operator, &method, &uri).await;
    }
    if api.relay.is_draining() {
        api.relay.stop_draining();
        tracing::info!(operator = %operator, node = api.node, "operator: drain undone");
    }
    Ok(Json(api.drain()))
}

impl Api {
    pub(super) fn drain(&self) -> Drain {
        let remaining = self.relay.remaining(now());
        Drain {
            node: self.node.clone(),
            draining: remaining.is_draining,
            streamers: remaining.streamers,
            listeners: remaining.listeners,
            seconds_left: u64::try_from(remaining.time.as_millis().div_ceil(1_000))
                .unwrap_or(u64::MAX),
        }
    }

    /// The other node that is meant; none if it is this one.
    async fn other_node(
        &self,
        operator: &Operator,
        which: Which,
    ) -> Result<Option<String>, Problem> {
        let Some(wanted) = which.node.filter(|_| !operator.is_peer()) else {
            return Ok(None);
        };
        // In a cluster a name ends with a dash and what is the process's own.
        let is_meant = |name: &String| {
            let configured = name.rsplit_once('-').map(|(configured, _)| configured);
            *name == wanted || configured == Some(&wanted)
        };
        let mut names = self.relay.nodes().await;
        names.push(self.node.clone());
        names.sort();
        names.dedup();
        let found: Vec<String> = names.into_iter().filter(is_meant).collect();
        match &found[..] {
            [] => Err(Problem::not_found("no such node: see /api/v1/nodes")),
            [name] if *name == self.node => Ok(None),
            [name] => Ok(Some(name.clone())),
            names => Err(Problem::new(
                StatusCode::CONFLICT,
                format!("several nodes have this name: {}", names.join(", ")),
            )),
        }
    }

    async fn ask_for_drain(
        &self,
        node: &str,
        operator: &Operator,
        method: &Method,
        uri: &Uri,
    ) -> Result<Json<Drain>, Problem> {
        let reply = self.ask_one(node, operator, method, uri).await;
        Drain::elsewhere(node, reply).map(Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(reply: Result<(u16, &str), PeerError>) -> (u64, String) {
        let reply = reply.map(|(status, body)| PeerReply {
            status,
            body: body.to_owned(),
        });
        let answer = match Drain::elsewhere("b-2", reply) {
            Ok(drain) => return (200, drain.node),
            Err(problem) => serde_json::to_value(problem).unwrap(),
        };
        let detail = answer["detail"].as_str().unwrap().to_owned();
        (answer["status"].as_u64().unwrap(), detail)
    }

    #[test]
    fn drain_that_another_node_refuses_says_why() {
        let refused = r#"{"title":"Gone","status":410,"detail":"it is stopping"}"#;
        let said = "the node b-2 answers: it is stopping".to_owned();
        assert_eq!(answered(Ok((410, refused))), (410, said));
        let (status, detail) = answered(Err(PeerError::Away));
        assert_eq!(status, 503);
        assert!(detail.contains("b-2") && detail.contains("Redis is away"));
        assert_eq!(answered(Ok((200, "?"))).0, 502);
        let done = r#"{"node":"b-2","draining":true,"streamers":0,"listeners":0,"seconds_left":9}"#;
        assert_eq!(answered(Ok((200, done))), (200, "b-2".to_owned()));
    }
}
