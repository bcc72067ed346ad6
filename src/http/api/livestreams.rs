//! Livestreams and their sockets: list, show.

#![expect(
    unused_qualifications,
    reason = "in the code that utoipa's macro writes"
)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{Method, Uri};
use humantime_serde::re::humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Operator;
use super::problem::Problem;
use super::{Api, now};
use crate::broadcast::{LivestreamId, RecordingState, Role};
use crate::relay::{NoEffect, Overview, SocketOverview};

/// The most livestreams in one answer.
const MOST: usize = 1_000;

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

/// A livestream, over all nodes that answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Livestream {
    id: String,
    /// `waiting`: listeners, and no streamer yet; `live`; `reconnecting`: in the grace period.
    state: String,
    /// The user who streams, or streamed last; none if no node that answers knows it.
    streamer: Option<String>,
    /// The node with the streamer; none while there is no streamer.
    node: Option<String>,
    /// When the first streamer or clip came, RFC 3339.
    since: Option<String>,
    /// The sequence of the latest clip; 0 before the first.
    sequence: u64,
    /// Listeners on all nodes.
    listeners: usize,
    /// Clips relayed.
    clips: u64,
    /// Their bytes.
    bytes_in: u64,
    /// Bytes of clips for listeners, dropped ones included.
    bytes_out: u64,
    /// Clips that slow listeners lost.
    clips_dropped: u64,
    /// Bytes of clips a second, over the latest half a minute.
    bytes_per_second: u64,
    /// Whether it is on air without a clip for `livestream.silence_after`. An older version does not say.
    #[serde(default)]
    silent: bool,
    /// `on`: its clips are recorded; `paused`: not now, by its streamer's wish; `off`: not at all. An older version does not
    /// say.
    #[serde(default = "off")]
    recording: String,
}

/// A page of livestreams.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "a field of the answer")]
pub(super) struct Livestreams {
    /// The page.
    livestreams: Vec<Livestream>,
    /// The number of all livestreams.
    total: usize,
    /// Nodes that did not answer in time: their livestreams, listeners and bytes are missing.
    unanswered: Vec<String>,
}

/// A livestream with its sockets.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Details {
    #[serde(flatten)]
    livestream: Livestream,
    /// Why players cannot hear its latest clip; missing if they can, or if `players.access` is `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unplayable: Option<String>,
    /// Its sockets, the streamer's first.
    sockets: Vec<Socket>,
    /// Nodes that did not answer in time: their sockets are missing.
    unanswered: Vec<String>,
}

/// A socket.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Socket {
    /// A client in both roles has the same id twice.
    id: String,
    /// `streamer` or `listener`.
    role: String,
    user: String,
    /// The node that it is on.
    node: String,
    /// A listener's transport: `websocket` or `polling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    /// When it was admitted, RFC 3339.
    since: String,
    /// A listener's clips that were dropped.
    clips_dropped: u64,
    /// How long a listener's oldest clip has waited, in milliseconds.
    lag_ms: u64,
}

fn off() -> String {
    RecordingState::default().as_str().to_owned()
}

fn ago(duration: Duration) -> String {
    let then = SystemTime::now().checked_sub(duration);
    format_rfc3339_seconds(then.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
}

impl Livestream {
    fn new(found: Overview, api: &Api) -> Self {
        Self {
            id: found.livestream.to_string(),
            state: found.state.as_str().to_owned(),
            streamer: found.streamer.map(|user| user.to_string()),
            node: found.has_streamer.then(|| api.node.clone()),
            since: found.lasted.map(ago),
            sequence: found.sequence,
            listeners: found.listeners,
            clips: found.clips,
            bytes_in: found.bytes_in,
            bytes_out: found.bytes_out,
            clips_dropped: found.clips_dropped,
            bytes_per_second: found.bytes_per_second,
            silent: found.is_silent,
            recording: found.recording.as_str().to_owned(),
        }
    }

    /// Adds what another node says of it. What only the node with the streamer knows is taken from there.
    fn merge(&mut self, mut other: Self) {
        let rank = |it: &Self| (it.node.is_some(), it.streamer.is_some());
        if rank(&other) > rank(self) {
            std::mem::swap(self, &mut other);
        }
        self.since = self.since.take().into_iter().chain(other.since).min();
        self.sequence = self.sequence.max(other.sequence);
        self.listeners = self.listeners.max(other.listeners);
        self.clips = self.clips.max(other.clips);
        self.bytes_in = self.bytes_in.max(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.clips_dropped = self.clips_dropped.saturating_add(other.clips_dropped);
        self.bytes_per_second = self.bytes_per_second.max(other.bytes_per_second);
    }
}

impl Socket {
    fn new(found: &SocketOverview, api: &Api) -> Self {
        let transport = |web_socket: bool| if web_socket { "websocket" } else { "polling" };
        Self {
            id: found.socket.to_string(),
            role: found.role.as_str().to_owned(),
            user: found.user.to_string(),
            node: api.node.clone(),
            transport: found.is_on_web_socket.map(transport).map(str::to_owned),
            since: ago(found.lasted),
            clips_dropped: found.clips_dropped,
            lag_ms: u64::try_from(found.lag.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

pub(super) fn livestream_id(id: &str) -> Result<LivestreamId, Problem> {
    LivestreamId::new(id).ok_or_else(|| Problem::not_found("no livestream can have this id"))
}

/// Lists the livestreams of all nodes.
#[utoipa::path(get, path = "/api/v1/livestreams", params(Page), tag = "livestreams",
    responses((status = 200, body = Livestreams), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    uri: Uri,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Livestreams>, Problem> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(100);
    if limit == 0 || limit > MOST {
        return Err(Problem::bad_request(format!("limit must be 1 to {MOST}")));
    }
    let own = api.relay.overviews(now()).into_iter();
    let own: Vec<Livestream> = own.map(|found| Livestream::new(found, &api)).collect();
    if operator.is_peer() {
        // All of them: which ones are on the page, the node that asks finds out.
        return Ok(Json(Livestreams {
            total: own.len(),
            livestreams: own,
            unanswered: Vec::new(),
        }));
    }
    let mut others = api.ask_others(&operator, &Method::GET, &uri).await;
    let found = others.found::<Livestreams>().into_iter();
    let mut merged: BTreeMap<String, Livestream> = BTreeMap::new();
    for livestream in own.into_iter().chain(found.flat_map(|it| it.livestreams)) {
        match merged.entry(livestream.id.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(livestream)),
            Entry::Occupied(mut entry) => entry.get_mut().merge(livestream),
        }
    }
    let mut all: Vec<Livestream> = merged.into_values().collect();
    match page.sort {
        Sort::Id => {}
        Sort::Listeners => all.sort_by_key(|it| Reverse(it.listeners)),
        Sort::BytesPerSecond => all.sort_by_key(|it| Reverse(it.bytes_per_second)),
        // Those that have not begun come last.
        Sort::Since => all.sort_by_key(|it| (it.since.is_none(), it.since.clone())),
    }
    Ok(Json(Livestreams {
        total: all.len(),
        livestreams: all.into_iter().skip(page.offset).take(limit).collect(),
        unanswered: others.unanswered,
    }))
}

/// Shows a livestream with its sockets on all nodes.
#[utoipa::path(get, path = "/api/v1/livestreams/{id}", params(("id" = String, Path, description = "The livestream")), tag = "livestreams",
    responses((status = 200, body = Details), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Another node does not answer")))]
pub(super) async fn show(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    uri: Uri,
    Path(id): Path<String>,
) -> Result<Json<Details>, Problem> {
    let id = livestream_id(&id)?;
    let own = api.relay.overview(&id, now());
    let own = own.map(|(livestream, sockets)| Details {
        livestream: Livestream::new(livestream, &api),
        unplayable: api.relay.find_unplayable(&id).map(|why| why.to_string()),
        sockets: sockets
            .into_iter()
            .map(|it| Socket::new(&it, &api))
            .collect(),
        unanswered: Vec::new(),
    });
    let mut others = api.ask_others(&operator, &Method::GET, &uri).await;
    let found = own.into_iter().chain(others.found());
    let merged = found.reduce(|mut one, other: Details| {
        one.livestream.merge(other.livestream);
        one.unplayable = one.unplayable.or(other.unplayable);
        one.sockets.extend(other.sockets);
        one
    });
    let Some(mut merged) = merged else {
        others.outcome(NoEffect::Unknown)?;
        return Err(NoEffect::Unknown.into());
    };
    merged
        .sockets
        .sort_by_key(|socket| socket.role != Role::Streamer.as_str());
    merged.unanswered = others.unanswered;
    Ok(Json(merged))
}
