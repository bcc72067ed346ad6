//! The endpoint at `/socket.io/`: sessions, and their transports. Long polling goes to the Socket.IO library request by
//! request ([`polling`]); a WebSocket is upgraded here, so that the library gets our own IO.
//!
//! **Invariant**: the library gets requests of our own making only. Of a client's request only its address and copies
//! of two headers are stored, so that the read buffer of the request is freed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use socketioxide::service::SocketIoService;
use tower::ServiceExt as _;

use super::{HandshakeHeaders, Sockets, now, polling};
use crate::transport::{
    Client, Greeting, HttpIo, RequestConnection, Session, TooMany, WebSocketIo, client_address,
    prove,
};

/// The inner router is empty: it answers other requests with 404.
pub(super) type Service = SocketIoService<Router>;

/// The state that all requests at the endpoint share.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) sockets: Sockets,
    pub(super) service: Service,
    pub(super) greeting: Greeting,
    /// The timeout of an upgrade to a WebSocket.
    upgrade_timeout: Duration,
}

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

/// Engine.IO's error bodies.
pub(super) mod errors {
    /// The session has ended: its client opens another.
    pub(crate) const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
    pub(super) const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
    pub(super) const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
    pub(crate) const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
    pub(super) const BAD_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;
}

/// 400, with one of the [`errors`].
pub(super) fn bad_request(error: &'static str) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, json, error).into_response()
}

/// A client at the endpoint.
pub(super) struct Caller {
    pub(super) connection: RequestConnection,
    address: IpAddr,
    client: Client,
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
    let peer = connection.0.peer().ip();
    let client = client_address(peer, request.headers(), proxies);
    // A proxy may use a connection for one client after the other: the connection counts for the latest.
    if client != peer && !connection.0.count_for(client) {
        return too_many(TooMany::FromAddress);
    }
    let is_proxy = proxies.iter().any(|net| net.contains(&peer));
    let caller = Caller {
        connection,
        address: client,
        client: match (is_proxy, client == peer) {
            (false, _) => Client::Direct(client),
            (true, false) => Client::Forwarded(client),
            (true, true) => Client::Unknown,
        },
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
        Some("websocket") => web_socket(endpoint, request, session, &caller),
        Some("polling") => match (request.method().clone(), session) {
            (Method::GET, None) => polling::open(endpoint, request.headers().clone(), caller).await,
            (Method::GET | Method::POST, Some(session)) if session.is_on_web_socket() => {
                bad_request(errors::BAD_REQUEST)
            }
            (Method::GET, Some(session)) => polling::poll(endpoint, &session, caller).await,
            (Method::POST, Some(session)) => {
                polling::post(endpoint, request, &session, caller).await
            }
            _ => bad_request(errors::BAD_METHOD),
        },
        _ => bad_request(errors::UNKNOWN_TRANSPORT),
    }
}

impl Caller {
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
        extensions.insert(HandshakeHeaders::new(self.address, headers));
        extensions.insert(session.clone());
    }
}

fn too_many(why: TooMany) -> Response {
    let status = match why {
        TooMany::InAll => StatusCode::SERVICE_UNAVAILABLE,
        TooMany::FromAddress | TooMany::OnConnection => StatusCode::TOO_MANY_REQUESTS,
    };
    (status, format!("Try again later: {why}.\n")).into_response()
}

/// Reasons why a request is no WebSocket handshake.
enum NoHandshake {
    /// It asks for something else, or for another version.
    Other,
    /// Its key is invalid.
    BadKey,
}

impl IntoResponse for NoHandshake {
    fn into_response(self) -> Response {
        match self {
            Self::BadKey => {
                let problem = "Sec-WebSocket-Key must be one value: 16 bytes in base64.\n";
                (StatusCode::BAD_REQUEST, problem).into_response()
            }
            Self::Other => {
                // RFC 6455, 4.4: the supported version.
                let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
                let problem = "This transport takes a WebSocket handshake, version 13.\n";
                (StatusCode::UPGRADE_REQUIRED, version, problem).into_response()
            }
        }
    }
}

/// Whether a list-valued header contains this token; its lines are one list (RFC 9110, 5.3).
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The answer to a WebSocket handshake's key, if the request is one (RFC 6455, 4.2.1).
fn accept_key(request: &Request) -> Result<HeaderValue, NoHandshake> {
    let headers = request.headers();
    let asked = request.method() == Method::GET
        && lists(headers, header::CONNECTION, "upgrade")
        && lists(headers, header::UPGRADE, "websocket")
        && lists(headers, header::SEC_WEBSOCKET_VERSION, "13");
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (true, Some(key)) = (asked, keys.next()) else {
        return Err(NoHandshake::Other);
    };
    if keys.next().is_some() || !is_key(key.as_bytes()) {
        return Err(NoHandshake::BadKey);
    }
    Ok(accept_value(key.as_bytes()))
}

fn is_key(key: &[u8]) -> bool {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    decoded.is_ok_and(|nonce| nonce.len() == 16)
}

fn accept_value(key: &[u8]) -> HeaderValue {
    use base64::Engine as _;
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        &[key, GUID].concat(),
    );
    let value = base64::engine::general_purpose::STANDARD.encode(digest.as_ref());
    HeaderValue::try_from(value).expect("base64 is a header's value")
}

/// Answers the handshake. Once the HTTP server releases the connection, the library gets it: at once if the session
/// begins here, otherwise after the client has proved the WebSocket.
fn web_socket(
    endpoint: Endpoint,
    mut request: Request,
    polled: Option<Arc<Session>>,
    caller: &Caller,
) -> Response {
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(problem) => return problem.into_response(),
    };
    if polled
        .as_ref()
        .is_some_and(|session| session.is_on_web_socket())
    {
        return bad_request(errors::BAD_REQUEST);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    if let Some(session) = polled {
        let timeout = endpoint.upgrade_timeout;
        let uri = format!("/socket.io/?EIO=4&transport=websocket&sid={}", session.id());
        let session = Arc::downgrade(&session);
        tokio::spawn(async move {
            let Some((io, read)) = client_io(upgraded).await else {
                return;
            };
            if let Some(io) = prove(io, &read, session, timeout).await {
                hand_over(endpoint, io, for_library(uri)).await;
            }
        });
    } else {
        let session = match caller.open_session(&endpoint) {
            Ok(session) => session,
            Err(why) => return caller.refuse(why),
        };
        let mut opening = for_library("/socket.io/?EIO=4&transport=websocket".to_owned());
        caller.store(request.headers(), &session, opening.extensions_mut());
        tokio::spawn(async move {
            let Some((io, read)) = client_io(upgraded).await else {
                return;
            };
            let io = WebSocketIo::begin(io, &read, session, endpoint.greeting.clone());
            hand_over(endpoint, io, opening).await;
        });
    }
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The connection under an upgraded request, and its bytes that were read already.
async fn client_io(upgraded: hyper::upgrade::OnUpgrade) -> Option<(HttpIo, bytes::Bytes)> {
    // The client may leave meanwhile.
    let upgraded = upgraded.await.ok()?;
    let Ok(parts) = downcast::<TokioIo<HttpIo>>(upgraded) else {
        tracing::error!("an upgraded connection is not the client port's");
        return None;
    };
    Some((parts.io.into_inner(), parts.read_buf))
}

/// A request of our own making.
fn for_library(uri: String) -> http::Request<()> {
    let mut request = http::Request::new(());
    *request.uri_mut() = uri.try_into().expect("an id is a part of a URI");
    request
}

async fn hand_over(endpoint: Endpoint, io: WebSocketIo, request: http::Request<()>) {
    let service: tower::util::Oneshot<Service, (WebSocketIo, http::Request<()>)> =
        endpoint.service.oneshot((io, request));
    if service.await.is_err() {
        tracing::debug!("the library refuses a WebSocket");
    }
}

impl HandshakeHeaders {
    fn new(address: IpAddr, headers: &HeaderMap) -> Self {
        let header = |name: &str| {
            let value = headers.get(name)?.as_bytes();
            (!value.is_empty()).then(|| String::from_utf8_lossy(value).into())
        };
        Self {
            address,
            token: header("id-token"),
            livestream: header("livestream-id"),
        }
    }
}
