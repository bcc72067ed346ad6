//! The endpoint at `/socket.io/`: sessions, and their transports. Long polling goes to the Socket.IO library request by
//! request ([`polling`]); a WebSocket is upgraded ([`web_socket`]), so that the library gets our own IO.
//!
//! **Invariant**: the library gets requests of our own making only. Of a client's request only its address and copies
//! of two headers are stored, so that the read buffer of the request is freed.

use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::endpoint::{Endpoint, Requester, Service, bad_request, errors, too_many};
use super::{Sockets, polling, web_socket};
use crate::transport::{Greeting, RequestConnection};

/// Serves `/socket.io` and `/socket.io/`.
pub(super) fn router(
    sockets: Sockets,
    service: Service,
    greeting: Greeting,
    upgrade_timeout: Duration,
) -> Router {
    let endpoint = Endpoint {
        sockets,
        service,
        greeting,
        upgrade_timeout,
    };
    let sessions = endpoint.sockets.0.sessions.clone();
    sessions.evict_with(polling::evict(endpoint.service.clone()));
    Router::new()
        .route("/socket.io", any(handle))
        .route("/socket.io/", any(handle))
        .with_state(endpoint)
}

/// The parameters in a request's query.
#[derive(Default)]
struct Query<'a> {
    protocol: Option<&'a str>,
    transport: Option<&'a str>,
    session: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn of(query: &'a str) -> Self {
        let mut found = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("EIO", value)) => found.protocol = found.protocol.or(Some(value)),
                Some(("transport", value)) => found.transport = found.transport.or(Some(value)),
                Some(("sid", value)) => found.session = found.session.or(Some(value)),
                _ => {}
            }
        }
        found
    }
}

async fn handle(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let bad_input = endpoint.sockets.0.metrics.bad_input.clone();
    let answer = route(endpoint, request).await;
    if answer.status().is_client_error() {
        bad_input.with_label_values(&["bad_request"]).inc();
    }
    answer
}

async fn route(endpoint: Endpoint, request: Request) -> Response {
    let uri = request.uri().clone();
    let query = Query::of(uri.query().unwrap_or_default());
    let Some(ConnectInfo(connection)) = request
        .extensions()
        .get::<ConnectInfo<RequestConnection>>()
        .cloned()
    else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let proxies = &endpoint.sockets.0.trusted_proxies;
    let requester = match Requester::of(connection, request.headers(), proxies) {
        Ok(requester) => requester,
        Err(why) => return too_many(why),
    };
    if query.protocol != Some("4") {
        return bad_request(errors::BAD_VERSION);
    }
    let known = |id| endpoint.sockets.0.sessions.find(id);
    let session = match query.session.map(known) {
        Some(None) => return bad_request(errors::UNKNOWN_SESSION),
        Some(Some(session)) => Some(session),
        None => None,
    };
    match query.transport {
        Some("websocket") => web_socket::upgrade(endpoint, request, session, &requester),
        Some("polling") => match (request.method().clone(), session) {
            (Method::GET, None) => {
                polling::open(endpoint, request.headers().clone(), requester).await
            }
            (Method::GET | Method::POST, Some(session)) if session.is_on_web_socket() => {
                bad_request(errors::BAD_REQUEST)
            }
            (Method::GET, Some(session)) => polling::poll(endpoint, &session, requester).await,
            (Method::POST, Some(session)) => {
                polling::post(endpoint, request, &session, requester).await
            }
            _ => bad_request(errors::BAD_METHOD),
        },
        _ => bad_request(errors::UNKNOWN_TRANSPORT),
    }
}
