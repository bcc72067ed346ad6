//! The operator's API: on the health port with a token, and on a Unix socket for root and the group `castaway-admin`.
//!
//! **Invariant**: every request is authenticated, or answered 401; every error is a problem document; every act has a line
//! in the log that says who did it.

mod acts;
mod auth;
mod bans;
mod drain;
mod livestreams;
mod nodes;
mod peers;
mod problem;
mod recordings;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use secrecy::SecretString;
use tokio::net::UnixListener;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;

use self::auth::{Operator, Tokens};
use self::problem::Problem;
use super::health::Readiness;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::recording::Recordings;
use crate::relay::Relay;
use crate::transport::{RequestConnection, counted_address};

pub use auth::token_problem;

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 16 << 10;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Api {
    relay: Relay,
    readiness: Readiness,
    /// None without one.
    cluster: Option<Arc<Cluster>>,
    /// None if nothing is recorded.
    recordings: Option<Recordings>,
    tokens: Arc<Tokens>,
    node: String,
    timeout: Duration,
    drain_time: Duration,
    metrics: Metrics,
}

/// The peer of a connection on the Unix socket.
#[derive(Clone)]
pub struct Peer(Option<(u32, Option<i32>)>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(
            stream
                .io()
                .peer_cred()
                .ok()
                .map(|peer| (peer.uid(), peer.pid())),
        )
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Castaway media server",
        description = "The operator's API: see docs/api.md. Any node of a cluster answers for all."
    ),
    paths(
        livestreams::list,
        livestreams::show,
        acts::end,
        acts::kick_streamer,
        acts::kick_socket,
        bans::list,
        bans::show,
        bans::put,
        bans::remove,
        nodes::list,
        drain::begin,
        drain::undo,
        recordings::list,
        recordings::show,
        recordings::finish,
    )
)]
struct Description;

impl Api {
    /// The API of this node.
    pub fn new(
        config: &Config,
        relay: Relay,
        readiness: Readiness,
        cluster: Option<Arc<Cluster>>,
        recordings: Option<Recordings>,
        metrics: Metrics,
    ) -> Self {
        let host = || {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        };
        let node = relay.node().map(str::to_owned);
        Self {
            relay,
            readiness,
            cluster,
            recordings,
            tokens: Arc::new(Tokens::new(&config.api)),
            node: node
                .or_else(|| config.cluster.node.clone())
                .unwrap_or_else(host),
            timeout: config.server.request_timeout,
            drain_time: config.server.drain_time,
            metrics,
        }
    }

    /// Replaces the tokens.
    pub fn set_tokens(&self, token: Option<&SecretString>) {
        self.tokens.set(token);
    }

    /// Whether a token opens it on the health port.
    pub fn has_token(&self) -> bool {
        self.tokens.is_any()
    }

    /// The routes, below `/api/v1`.
    pub fn router(&self) -> Router {
        let check = middleware::from_fn_with_state(self.clone(), authenticated);
        // Nested, so that the check is for these paths alone.
        Router::new().nest("/api", self.routes().layer(check))
    }

    /// The routes, without the check and the prefix `/api`: also for the other nodes.
    fn routes(&self) -> Router {
        let description = Description::openapi();
        let description = move || std::future::ready(Json(description.clone()));
        Router::new()
            .route("/v1/livestreams", get(livestreams::list))
            .route("/v1/livestreams/{id}", get(livestreams::show))
            .route("/v1/livestreams/{id}/end", post(acts::end))
            .route("/v1/livestreams/{id}/streamer", delete(acts::kick_streamer))
            .route("/v1/sockets/{id}", delete(acts::kick_socket))
            .route("/v1/bans", get(bans::list))
            .route(
                "/v1/bans/{kind}/{id}",
                get(bans::show).put(bans::put).delete(bans::remove),
            )
            .route("/v1/nodes", get(nodes::list))
            .route("/v1/drain", post(drain::begin).delete(drain::undo))
            .route("/v1/recordings", get(recordings::list))
            .route("/v1/recordings/{id}", get(recordings::show))
            .route("/v1/recordings/{id}/finish", post(recordings::finish))
            .route("/v1/openapi.json", get(description))
            .fallback(unknown)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                self.timeout,
            ))
            .with_state(self.clone())
    }
}

async fn unknown() -> Problem {
    Problem::not_found("there is no such path: see /api/v1/openapi.json")
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has other methods: see /api/v1/openapi.json",
    )
}

async fn authenticated(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let operator = if let Some(ConnectInfo(Peer(uid))) = extensions.get() {
        Ok(Operator::Uid(*uid))
    } else {
        let connection = extensions.get::<ConnectInfo<RequestConnection>>();
        let address = connection.map_or(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            |ConnectInfo(RequestConnection(connection))| connection.peer().ip(),
        );
        api.tokens
            .check(request.headers(), counted_address(address))
    };
    let answer = match operator {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            as_problem(next.run(request).await)
        }
        Err(problem) => problem.into_response(),
    };
    let outcome = match answer.status() {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::TOO_MANY_REQUESTS => "limited",
        status if status.is_server_error() => "failed",
        status if status.is_client_error() => "refused",
        _ => "ok",
    };
    api.metrics.api_requests.with_label_values(&[outcome]).inc();
    answer
}

/// An error that has no problem document yet: a path that is no UTF-8, a request that took too long.
fn as_problem(answer: Response) -> Response {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if status.is_success() || kind.is_some_and(|kind| kind == problem::CONTENT_TYPE) {
        return answer;
    }
    let detail = if status == StatusCode::REQUEST_TIMEOUT {
        "the request took longer than server.request_timeout"
    } else {
        "this is no request of the API: see /api/v1/openapi.json"
    };
    Problem::new(status, detail).into_response()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
