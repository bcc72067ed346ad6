//! Livestreams and their sockets: list, show, end, kick.

#![expect(
    unused_qualifications,
    reason = "in the code that utoipa's macro writes"
)]

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use humantime_serde::re::humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Operator;
use super::problem::Problem;
use super::{Api, now};
use crate::broadcast::LivestreamId;
use crate::relay::{Overview, SocketId, SocketOverview};

/// The most livestreams in one answer.
const MOST: usize = 1_000;
/// The longest text for a client, in bytes.
const MAX_TEXT: usize = 500;
const DEFAULT_TEXT: &str = "Disconnected by the operator of this service.";

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// By id.
    #[default]
    Id,
    /// The most listeners first.
    Listeners,
    /// The highest data rate first.
    BytesPerSecond,
    /// The oldest first.
    Since,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The order; by id if unset.
    #[serde(default)]
    sort: Sort,
    /// Livestreams to leave out at the beginning.
    #[serde(default)]
    #[param(minimum = 0)]
    offset: usize,
    /// Livestreams in the answer: 1 to 1,000; 100 if unset.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

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

/// A livestream on this node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Livestream {
    id: String,
    /// `waiting`: listeners, and no streamer yet; `live`; `reconnecting`: in the grace period.
    state: &'static str,
    /// The user who streams; none if the streamer was never on this node.
    streamer: Option<String>,
    /// The node that answers.
    node: String,
    /// When the first streamer or clip came, RFC 3339.
    since: Option<String>,
    /// The sequence of the latest clip; 0 before the first.
    sequence: u64,
    /// Listeners on all nodes.
    listeners: usize,
    /// Listeners on this node.
    listeners_here: usize,
    /// Clips relayed.
    clips: u64,
    /// Their bytes.
    bytes_in: u64,
    /// Bytes of clips for listeners on this node, dropped ones included.
    bytes_out: u64,
    /// Clips that slow listeners lost.
    clips_dropped: u64,
    /// Bytes of clips a second, over the latest half a minute.
    bytes_per_second: u64,
}

/// A page of livestreams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Livestreams {
    /// The page.
    livestreams: Vec<Livestream>,
    /// The number of all livestreams on this node.
    total: usize,
}

/// A livestream with its sockets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Details {
    #[serde(flatten)]
    livestream: Livestream,
    /// Its sockets on this node, the streamer's first.
    sockets: Vec<Socket>,
}

/// A socket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Socket {
    /// A client in both roles has the same id twice.
    id: String,
    /// `streamer` or `listener`.
    role: &'static str,
    user: String,
    /// A listener's transport: `websocket` or `polling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    /// When it was admitted, RFC 3339.
    since: String,
    /// A listener's clips that were dropped.
    clips_dropped: u64,
    /// How long a listener's oldest clip has waited, in milliseconds.
    lag_ms: u64,
}

/// The users whose sockets were disconnected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Kicked {
    users: Vec<String>,
}

fn ago(duration: Duration) -> String {
    let then = SystemTime::now().checked_sub(duration);
    format_rfc3339_seconds(then.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
}

impl Livestream {
    fn new(found: Overview, api: &Api) -> Self {
        Self {
            id: found.livestream.to_string(),
            state: found.state.as_str(),
            streamer: found.streamer.map(|user| user.to_string()),
            node: api.node.clone(),
            since: found.lasted.map(ago),
            sequence: found.sequence,
            listeners: found.listeners,
            listeners_here: found.listeners_here,
            clips: found.clips,
            bytes_in: found.bytes_in,
            bytes_out: found.bytes_out,
            clips_dropped: found.clips_dropped,
            bytes_per_second: found.bytes_per_second,
        }
    }
}

impl From<SocketOverview> for Socket {
    fn from(found: SocketOverview) -> Self {
        let transport = |web_socket: bool| if web_socket { "websocket" } else { "polling" };
        Self {
            id: found.socket.to_string(),
            role: found.role.as_str(),
            user: found.user.to_string(),
            transport: found.is_on_web_socket.map(transport),
            since: ago(found.lasted),
            clips_dropped: found.clips_dropped,
            lag_ms: u64::try_from(found.lag.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn livestream_id(id: &str) -> Result<LivestreamId, Problem> {
    LivestreamId::new(id).ok_or_else(|| Problem::not_found("no livestream can have this id"))
}

/// Lists the livestreams on this node.
#[utoipa::path(get, path = "/api/v1/livestreams", params(Page), tag = "livestreams",
    responses((status = 200, body = Livestreams), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Livestreams>, Problem> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(100);
    if limit == 0 || limit > MOST {
        return Err(Problem::bad_request(format!("limit must be 1 to {MOST}")));
    }
    let mut found = api.relay.overviews(now());
    found.sort_by(|left, right| left.livestream.cmp(&right.livestream));
    match page.sort {
        Sort::Id => {}
        Sort::Listeners => found.sort_by_key(|it| Reverse(it.listeners)),
        Sort::BytesPerSecond => found.sort_by_key(|it| Reverse(it.bytes_per_second)),
        Sort::Since => found.sort_by_key(|it| Reverse(it.lasted)),
    }
    let total = found.len();
    let page = found.into_iter().skip(page.offset).take(limit);
    let livestreams = page.map(|found| Livestream::new(found, &api)).collect();
    Ok(Json(Livestreams { livestreams, total }))
}

/// Shows a livestream with its sockets on this node.
#[utoipa::path(get, path = "/api/v1/livestreams/{id}", params(("id" = String, Path, description = "The livestream")), tag = "livestreams",
    responses((status = 200, body = Details), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Details>, Problem> {
    let found = api.relay.overview(&livestream_id(&id)?, now());
    let (livestream, sockets) = found.ok_or(crate::relay::NoEffect::Unknown)?;
    Ok(Json(Details {
        livestream: Livestream::new(livestream, &api),
        sockets: sockets.into_iter().map(Socket::from).collect(),
    }))
}

/// Ends a livestream for everybody: its clients get `state: ended` and a DISCONNECT. Its document stays.
#[utoipa::path(post, path = "/api/v1/livestreams/{id}/end", params(("id" = String, Path, description = "The livestream")), tag = "livestreams",
    responses((status = 204, description = "It is over"), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Its streamer is on another node")))]
pub(super) async fn end(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let livestream = livestream_id(&id)?;
    api.relay.end_for_operator(&livestream, now())?;
    tracing::info!(operator = %operator, livestream.id = %livestream, "operator: livestream ended");
    Ok(StatusCode::NO_CONTENT)
}

/// Disconnects the streamer for good. The livestream waits for it for the grace period: end it, or ban the user, if it must
/// not come back.
#[utoipa::path(delete, path = "/api/v1/livestreams/{id}/streamer", params(("id" = String, Path, description = "The livestream"), Farewell), tag = "livestreams",
    responses((status = 200, body = Kicked), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has no streamer on this node")))]
pub(super) async fn kick_streamer(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    farewell: Result<Query<Farewell>, QueryRejection>,
) -> Result<Json<Kicked>, Problem> {
    let Query(farewell) = farewell?;
    let (livestream, text) = (livestream_id(&id)?, farewell.text()?);
    let user = api.relay.dismiss_streamer(&livestream, &text)?;
    tracing::info!(operator = %operator, livestream.id = %livestream, user.id = %user, text, "operator: streamer kicked");
    let users = vec![user.to_string()];
    Ok(Json(Kicked { users }))
}

/// Disconnects a socket on this node for good, in both roles.
#[utoipa::path(delete, path = "/api/v1/sockets/{id}", params(("id" = String, Path, description = "The socket"), Farewell), tag = "livestreams",
    responses((status = 200, body = Kicked), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn kick_socket(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    farewell: Result<Query<Farewell>, QueryRejection>,
) -> Result<Json<Kicked>, Problem> {
    let Query(farewell) = farewell?;
    let text = farewell.text()?;
    let socket = SocketId::from_text(&id);
    let users = socket.map(|socket| api.relay.dismiss_socket(socket, &text, now()));
    let users = users.unwrap_or_default();
    if users.is_empty() {
        return Err(Problem::not_found("no such socket on this node"));
    }
    for user in &users {
        tracing::info!(operator = %operator, socket.id = id, user.id = %user, text, "operator: socket kicked");
    }
    let users = users.iter().map(ToString::to_string).collect();
    Ok(Json(Kicked { users }))
}
