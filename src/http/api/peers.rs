//! The other nodes of a cluster: any node answers for all of them.
//!
//! A request goes to the others as it came, and each answers for itself alone. The node that was asked puts the answers
//! together, and names the nodes that are missing.
//!
//! **Invariant**: a request of another node is never asked on.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::Api;
use super::auth::Operator;
use super::problem::Problem;
use crate::cluster::{PeerError, PeerReply, PeerRequest};
use crate::relay::NoEffect;

/// Nodes that are asked at the same time: bounds the memory for their replies.
const AT_ONCE: usize = 16;
/// The largest answer of a node, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// The answers of the other nodes.
#[derive(Default)]
pub(super) struct Others {
    /// Each with the node's name.
    replies: Vec<(String, PeerReply)>,
    /// The nodes that do not answer, by name.
    pub(super) unanswered: Vec<String>,
}

impl Others {
    /// The answers that are a success, decoded.
    pub(super) fn found<T: DeserializeOwned>(&mut self) -> Vec<T> {
        let mut found = Vec::new();
        for (node, reply) in &self.replies {
            if reply.status == StatusCode::NOT_FOUND.as_u16() {
                continue;
            }
            match serde_json::from_str(&reply.body) {
                Ok(answer) if reply.status == StatusCode::OK.as_u16() => found.push(answer),
                _ => self.unanswered.push(node.clone()),
            }
        }
        self.unanswered.sort();
        found
    }

    /// What an act comes to that has no effect on this node: the answer of the node where it has one, or else the error of a
    /// node that could not do it.
    pub(super) fn outcome(self, own: NoEffect) -> Result<PeerReply, Problem> {
        let is_success = |status| (200..300).contains(&status);
        let is_conflict = |(_, reply): &(String, PeerReply)| reply.status == 409;
        let has_streamer = own == NoEffect::NoStreamer || self.replies.iter().any(is_conflict);
        let (done, others): (Vec<_>, Vec<_>) =
            { self.replies.into_iter() }.partition(|(_, reply)| is_success(reply.status));
        if let Some((_, done)) = done.into_iter().next() {
            return Ok(done);
        }
        // Neither "it is not here" nor "its streamer is not here".
        let failed = |(_, reply): &&(String, PeerReply)| ![404, 409].contains(&reply.status);
        if let Some((node, reply)) = others.iter().find(failed) {
            return Err(refusal(node, reply));
        }
        if self.unanswered.is_empty() {
            let effect = if has_streamer {
                NoEffect::NoStreamer
            } else {
                own
            };
            return Err(effect.into());
        }
        let missing = self.unanswered.join(", ");
        Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "no node that answers can do this, and these do not answer: {missing}; ask again"
            ),
        ))
    }
}

/// The error of another node, in its own words.
pub(super) fn refusal(node: &str, reply: &PeerReply) -> Problem {
    #[derive(Deserialize)]
    struct Said {
        detail: String,
    }
    let status = StatusCode::from_u16(reply.status).ok();
    let status = status.filter(|status| status.is_client_error() || status.is_server_error());
    match (status, serde_json::from_str::<Said>(&reply.body)) {
        (Some(status), Ok(said)) => {
            Problem::new(status, format!("the node {node} answers: {}", said.detail))
        }
        _ => Problem::new(
            StatusCode::BAD_GATEWAY,
            format!(
                "the answer of the node {node} cannot be read (status {}): ask on its own machine",
                reply.status
            ),
        ),
    }
}

fn request(operator: &Operator, method: &Method, uri: &Uri) -> PeerRequest {
    PeerRequest {
        operator: operator.to_string(),
        method: method.to_string(),
        path: uri.to_string(),
    }
}

impl Api {
    /// Asks all other nodes; none without a cluster, or if another node asks.
    pub(super) async fn ask_others(
        &self,
        operator: &Operator,
        method: &Method,
        uri: &Uri,
    ) -> Others {
        let mut others = Others::default();
        let Some(cluster) = self.cluster.as_ref().filter(|_| !operator.is_peer()) else {
            return others;
        };
        let request = request(operator, method, uri);
        let names = self.relay.nodes().await;
        let names = names.into_iter().filter(|name| *name != self.node);
        let asked = stream::iter(names).map(async |name| {
            let reply = cluster.peers.ask(&name, &request).await;
            (name, reply)
        });
        let mut asked = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
        while let Some((name, reply)) = asked.next().await {
            match reply {
                Ok(reply) => others.replies.push((name, reply)),
                Err(error) => {
                    tracing::warn!(node = name, %error, "operator: another node is missing in the answer");
                    others.unanswered.push(name);
                }
            }
        }
        others
            .replies
            .sort_by(|(left, _), (right, _)| left.cmp(right));
        others.unanswered.sort();
        others
    }

    /// Asks one other node of the cluster.
    pub(super) async fn ask_one(
        &self,
        node: &str,
        operator: &Operator,
        method: &Method,
        uri: &Uri,
    ) -> Result<PeerReply, PeerError> {
        let cluster = self.cluster.as_ref().ok_or(PeerError::Gone)?;
        let request = request(operator, method, uri);
        cluster.peers.ask(node, &request).await
    }

    /// Answers the other nodes, for as long as the process lives; at once without a cluster.
    pub async fn answer_peers(self) {
        let Some(cluster) = self.cluster.clone() else {
            return;
        };
        let answer = move |node: String, request: PeerRequest| {
            let api = self.clone();
            async move { api.answer_peer(node, request).await }
        };
        cluster.peers.clone().run(answer).await;
    }

    async fn answer_peer(&self, node: String, request: PeerRequest) -> PeerReply {
        let failed = |status: StatusCode| PeerReply {
            status: status.as_u16(),
            body: String::new(),
        };
        let operator = Operator::Peer {
            operator: request.operator,
            node,
        };
        let built = Request::builder()
            .method(request.method.as_str())
            .uri(request.path)
            .extension(operator)
            .body(Body::empty());
        let Ok(built) = built else {
            return failed(StatusCode::BAD_REQUEST);
        };
        let answer = match self.routes().oneshot(built).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let status = answer.status().as_u16();
        let Ok(body) = Limited::new(answer.into_body(), MAX_ANSWER).collect().await else {
            return failed(StatusCode::INSUFFICIENT_STORAGE);
        };
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        PeerReply { status, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> PeerReply {
        let body = body.to_owned();
        PeerReply { status, body }
    }

    fn problem(problem: &Problem) -> (u16, String) {
        let shown = serde_json::to_value(problem).unwrap();
        let status = shown["status"].as_u64().unwrap().try_into().unwrap();
        (status, shown["detail"].as_str().unwrap().to_owned())
    }

    fn outcome(replies: &[(u16, &str)]) -> (u16, String) {
        let named = |(status, body): &(u16, &str)| ("b-2".to_owned(), reply(*status, body));
        let others = Others {
            replies: replies.iter().map(named).collect(),
            unanswered: Vec::new(),
        };
        match others.outcome(NoEffect::Unknown) {
            Ok(reply) => (reply.status, reply.body),
            Err(error) => problem(&error),
        }
    }

    #[test]
    fn error_of_another_node_is_passed_on() {
        let body = r#"{"title":"Bad Request","status":400,"detail":"no such field"}"#;
        let refused = refusal("b-2", &reply(400, body));
        let said = "the node b-2 answers: no such field".to_owned();
        assert_eq!(problem(&refused), (400, said.clone()));
        for unreadable in [(500, ""), (200, "{}"), (99, body)] {
            let (status, detail) = problem(&refusal("b-2", &reply(unreadable.0, unreadable.1)));
            assert_eq!(status, 502);
            assert!(detail.contains("the node b-2"), "{detail}");
        }
        assert_eq!(outcome(&[(404, ""), (400, body)]), (400, said));
    }

    #[test]
    fn act_of_another_node_outweighs_errors() {
        let done = (200, "{}");
        assert_eq!(outcome(&[(500, ""), done]), (200, "{}".to_owned()));
        assert_eq!(outcome(&[(404, "")]).0, 404);
        assert_eq!(outcome(&[(404, ""), (409, "")]).0, 409);
        assert_eq!(outcome(&[]).0, 404);
    }
}
