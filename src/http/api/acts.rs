//! Acts on livestreams and their sockets: end, kick.

#![expect(
    unused_qualifications,
    reason = "in the code that utoipa's macro writes"
)]

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Operator;
use super::livestreams::livestream_id;
use super::problem::Problem;
use super::{Api, now};
use crate::cluster::PeerReply;
use crate::relay::{NoEffect, SocketId};

/// The longest text for a client, in bytes.
const MAX_TEXT: usize = 500;
const DEFAULT_TEXT: &str = "Disconnected by the operator of this service.";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Farewell {
    /// The `error` that the client is shown, at most 500 bytes.
    text: Option<String>,
}

impl Farewell {
    fn text(self) -> Result<String, Problem> {
        let text = self.text.unwrap_or_else(|| DEFAULT_TEXT.to_owned());
        if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(Problem::bad_request(format!(
                "text must have 1 to {MAX_TEXT} bytes and no control characters"
            )));
        }
        Ok(text)
    }
}

/// The users whose sockets were disconnected.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Kicked {
    users: Vec<String>,
}

impl Kicked {
    /// In the answer of another node.
    fn elsewhere(reply: &PeerReply) -> Result<Json<Self>, Problem> {
        let kicked = serde_json::from_str(&reply.body);
        let broken = |_| {
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "it is done, but the answer of the other node cannot be read",
            )
        };
        kicked.map(Json).map_err(broken)
    }
}

/// Ends a livestream for everybody: its clients get `state: ended` and a DISCONNECT. Its document stays.
#[utoipa::path(post, path = "/api/v1/livestreams/{id}/end", params(("id" = String, Path, description = "The livestream")), tag = "livestreams",
    responses((status = 204, description = "It is over"), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Its streamer is on no node: it ends by itself after the grace period"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Another node does not answer")))]
pub(super) async fn end(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    method: Method,
    uri: Uri,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let livestream = livestream_id(&id)?;
    let own = api.relay.end_for_operator(&livestream, now());
    if own.is_ok() {
        tracing::info!(operator = %operator, livestream.id = %livestream, "operator: livestream ended");
    }
    // Listeners on other nodes may wait for its streamer, too.
    let others = api.ask_others(&operator, &method, &uri).await;
    if let Err(error) = own {
        others.outcome(error)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Disconnects the streamer for good. The livestream waits for it for the grace period: end it, or ban the user, if it must
/// not come back.
#[utoipa::path(delete, path = "/api/v1/livestreams/{id}/streamer", params(("id" = String, Path, description = "The livestream"), Farewell), tag = "livestreams",
    responses((status = 200, body = Kicked), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has no streamer"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Another node does not answer")))]
pub(super) async fn kick_streamer(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    method: Method,
    uri: Uri,
    Path(id): Path<String>,
    farewell: Result<Query<Farewell>, QueryRejection>,
) -> Result<Json<Kicked>, Problem> {
    let Query(farewell) = farewell?;
    let (livestream, text) = (livestream_id(&id)?, farewell.text()?);
    match api.relay.dismiss_streamer(&livestream, &text) {
        Ok(user) => {
            tracing::info!(operator = %operator, livestream.id = %livestream, user.id = %user, text, "operator: streamer kicked");
            let users = vec![user.to_string()];
            Ok(Json(Kicked { users }))
        }
        Err(error) => {
            let others = api.ask_others(&operator, &method, &uri).await;
            Kicked::elsewhere(&others.outcome(error)?)
        }
    }
}

/// Disconnects a socket for good, in both roles.
#[utoipa::path(delete, path = "/api/v1/sockets/{id}", params(("id" = String, Path, description = "The socket"), Farewell), tag = "livestreams",
    responses((status = 200, body = Kicked), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Another node does not answer")))]
pub(super) async fn kick_socket(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    method: Method,
    uri: Uri,
    Path(id): Path<String>,
    farewell: Result<Query<Farewell>, QueryRejection>,
) -> Result<Json<Kicked>, Problem> {
    let Query(farewell) = farewell?;
    let text = farewell.text()?;
    let Some(socket) = SocketId::from_text(&id) else {
        return Err(NoEffect::NoSocket.into());
    };
    let users = api.relay.dismiss_socket(socket, &text, now());
    if users.is_empty() {
        let others = api.ask_others(&operator, &method, &uri).await;
        return Kicked::elsewhere(&others.outcome(NoEffect::NoSocket)?);
    }
    for user in &users {
        tracing::info!(operator = %operator, socket.id = id, user.id = %user, text, "operator: socket kicked");
    }
    let users = users.iter().map(ToString::to_string).collect();
    Ok(Json(Kicked { users }))
}
