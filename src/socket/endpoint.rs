//! The state that requests at the endpoint share, their client, and Engine.IO's refusals.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use socketioxide::service::SocketIoService;

use super::attempt::Credentials;
use super::{Sockets, now};
use crate::transport::{Client, Greeting, RequestConnection, Session, TooMany, client_address};

/// The inner router is empty: it answers other requests with 404.
pub(super) type Service = SocketIoService<Router>;

/// The state that all requests at the endpoint share.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) sockets: Sockets,
    pub(super) service: Service,
    pub(super) greeting: Greeting,
    /// The timeout of an upgrade to a WebSocket.
    pub(super) upgrade_timeout: Duration,
}

/// Engine.IO's error bodies.
pub(super) mod errors {
    /// The session has ended: its client opens another.
    pub(in crate::socket) const UNKNOWN_SESSION: &str =
        r#"{"code":1,"message":"Session ID unknown"}"#;
    pub(in crate::socket) const UNKNOWN_TRANSPORT: &str =
        r#"{"code":0,"message":"Transport unknown"}"#;
    pub(in crate::socket) const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
    pub(in crate::socket) const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
    pub(in crate::socket) const BAD_VERSION: &str =
        r#"{"code":5,"message":"Unsupported protocol version"}"#;
}

/// 400, with one of the [`errors`].
pub(super) fn bad_request(error: &'static str) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, json, error).into_response()
}

/// The client that sends a request.
pub(super) struct Requester {
    pub(super) connection: RequestConnection,
    address: IpAddr,
    client: Client,
}

impl Requester {
    pub(super) fn of(
        connection: RequestConnection,
        headers: &HeaderMap,
        proxies: &[IpNet],
    ) -> Result<Self, TooMany> {
        let peer = connection.0.peer().ip();
        let address = client_address(peer, headers, proxies);
        // A proxy may use a connection for one client after the other: the connection counts for the latest.
        if address != peer && !connection.0.count_for(address) {
            return Err(TooMany::FromAddress);
        }
        let is_proxy = proxies.iter().any(|net| net.contains(&peer));
        let client = match (is_proxy, address == peer) {
            (false, _) => Client::Direct(address),
            (true, false) => Client::Forwarded(address),
            (true, true) => Client::Unknown,
        };
        Ok(Self {
            connection,
            address,
            client,
        })
    }

    /// Opens a session for it, within the limits.
    pub(super) fn open_session(&self, endpoint: &Endpoint) -> Result<Arc<Session>, TooMany> {
        let sessions = &endpoint.sockets.0.sessions;
        sessions.open(&self.connection.0, self.client, now())
    }

    /// The answer to a client beyond a limit.
    pub(super) fn refuse(&self, why: TooMany) -> Response {
        let mut refusal = too_many(why);
        // A refused client must not occupy a connection; but a proxy's connection has other clients, too.
        if matches!(self.client, Client::Direct(_)) && why != TooMany::OnConnection {
            let close = HeaderValue::from_static("close");
            refusal.headers_mut().insert(header::CONNECTION, close);
        }
        refusal
    }

    /// Adds the session, and the stored part of the request that opens it, to the library's request.
    pub(super) fn store(
        &self,
        headers: &HeaderMap,
        session: &Arc<Session>,
        extensions: &mut Extensions,
    ) {
        extensions.insert(Credentials::of_request(self.address, headers));
        extensions.insert(session.clone());
    }
}

/// The answer to a request beyond a limit.
pub(super) fn too_many(why: TooMany) -> Response {
    let status = match why {
        TooMany::InAll => StatusCode::SERVICE_UNAVAILABLE,
        TooMany::FromAddress | TooMany::OnConnection => StatusCode::TOO_MANY_REQUESTS,
    };
    (status, format!("Try again later: {why}.\n")).into_response()
}
