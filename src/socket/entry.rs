//! The door at `/socket.io/`: long polling is handed to the Socket.IO library as it comes, a WebSocket is upgraded
//! here, so that the library gets our own IO and of the request only what it needs.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use socketioxide::service::SocketIoService;
use tower::ServiceExt as _;

use super::{Sockets, Visitor};
use crate::transport::{
    HttpIo, READ_AT_ONCE, Session, Tether, Upgrade, Via, WebSocketIo, answers_in, client_address,
};

/// What is not Socket.IO's the empty router answers with 404.
type Service = SocketIoService<Router>;

/// Engine.IO's own words for a session that is no more: its client opens another.
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[derive(Clone)]
struct Door {
    sockets: Sockets,
    service: Service,
}

/// Serves `/socket.io` and what lies below.
pub(super) fn router(sockets: Sockets, service: Service) -> Router {
    let door = Door { sockets, service };
    Router::new()
        .route("/socket.io", any(enter))
        .route("/socket.io/", any(enter))
        .with_state(door)
}

/// What a request asks for in its query.
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

async fn enter(State(door): State<Door>, request: Request) -> Response {
    let bad_input = door.sockets.0.metrics.bad_input.clone();
    let answer = let_in(door, request).await;
    if answer.status().is_client_error() {
        bad_input.with_label_values(&["bad_request"]).inc();
    }
    answer
}

async fn let_in(door: Door, request: Request) -> Response {
    let uri = request.uri().clone();
    let query = Query::of(uri.query().unwrap_or_default());
    let session = query
        .session
        .and_then(|id| door.sockets.0.sessions.find(id));
    let Some(ConnectInfo(via)) = request.extensions().get::<ConnectInfo<Via>>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let peer = via.0.peer().ip();
    let client = client_address(peer, request.headers(), &door.sockets.0.trusted_proxies);
    // A proxy may use a connection for one client after the other: it counts for the latest.
    if client != peer && !via.0.count_for(client) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    if query.protocol == Some("4") && query.transport == Some("websocket") {
        return match accept_key(&request) {
            Some(accept) => upgrade(door, request, query.session, &accept, (via, client)),
            None => not_a_websocket(),
        };
    }
    let poll = request.method() == Method::GET;
    let mut request = strip(request, client);
    if let Some(session) = session.clone().filter(|_| !poll) {
        request = request.map(|body| paced(body, session));
    }
    let connections = door.sockets.0.connections.clone();
    let answer = door.service.oneshot(request);
    let Some(session) = session else {
        return answer.await.into_response();
    };
    let answer = tokio::select! {
        biased;
        () = session.closed() => return gone(),
        answer = answer => answer.into_response(),
    };
    if !poll {
        return answer;
    }
    // The library has it in one piece.
    let (parts, body) = answer.into_parts();
    let Ok(body) = body.collect().await else {
        return gone();
    };
    let body = body.to_bytes();
    session.polled(clips_in(&body));
    session.pressure.let_out(answers_in(&body));
    connections.made_room();
    Response::from_parts(parts, Body::from(body))
}

/// How many binary packets there are in a poll's answer (Engine.IO 4: packets are set apart by 0x1e, binary ones begin
/// with `b`).
fn clips_in(payload: &[u8]) -> u64 {
    let packets = payload.split(|byte| *byte == 0x1e);
    packets
        .filter(|packet| packet.first() == Some(&b'b'))
        .count() as u64
}

/// A request's body that is read on only while its client takes its answers.
fn paced(body: Body, session: Arc<Session>) -> Body {
    let pieces = stream::unfold(
        (body.into_data_stream(), Bytes::new()),
        move |(mut body, mut rest)| {
            let session = session.clone();
            async move {
                session.pressure.open().await;
                while rest.is_empty() {
                    match body.next().await? {
                        Ok(bytes) => rest = bytes,
                        Err(error) => return Some((Err(error), (body, rest))),
                    }
                }
                let piece = rest.split_to(rest.len().min(READ_AT_ONCE));
                Some((Ok(piece), (body, rest)))
            }
        },
    );
    Body::from_stream(pieces)
}

/// RFC 6455, 4.4: which version there is.
fn not_a_websocket() -> Response {
    let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
    (
        StatusCode::UPGRADE_REQUIRED,
        version,
        "This transport takes a WebSocket handshake, version 13.\n",
    )
        .into_response()
}

fn gone() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, json, UNKNOWN_SESSION).into_response()
}

/// The answer to a WebSocket handshake's key, if the request is one (RFC 6455, 4.2.1).
fn accept_key(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let says = |name, word: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value: &str| {
                value
                    .split(',')
                    .any(|item| item.trim().eq_ignore_ascii_case(word))
            })
    };
    let asked = request.method() == Method::GET
        && says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked)?;
    accept_value(key.as_bytes())
}

fn accept_value(key: &[u8]) -> Option<HeaderValue> {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        &[key, GUID].concat(),
    );
    HeaderValue::from_str(&base64(digest.as_ref())).ok()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Answers the handshake; once the HTTP server lets go of the connection, the library gets it.
fn upgrade(
    door: Door,
    mut request: Request,
    session: Option<&str>,
    accept: &HeaderValue,
    (via, client): (Via, IpAddr),
) -> Response {
    let session = session.map(|id| door.sockets.0.sessions.get(id));
    let upgraded = hyper::upgrade::on(&mut request);
    let request = essence(&request, via, client);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = downcast::<TokioIo<HttpIo>>(upgraded) else {
            tracing::error!("an upgraded connection is not the client listener's");
            return;
        };
        let io = parts.io.into_inner();
        let upgrade = session.map(|session| {
            session.moves_to(io.connection());
            let gone = close_polled(&door, session.id().to_owned());
            Upgrade { session, gone }
        });
        hand_over(door, WebSocketIo::new(io, parts.read_buf, upgrade), request).await;
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept.clone()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Closes a session that still polls, in the client's name: where its WebSocket dies before the move is done, the
/// library neither pings it nor lets it go. A session that has moved, or is gone, answers with an error, which is fine.
fn close_polled(door: &Door, id: String) -> Box<dyn FnOnce() + Send + Sync> {
    const CLOSE: &str = "1";
    let service = door.service.clone();
    Box::new(move || {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={id}");
        let close = http::Request::post(uri)
            .header(header::CONTENT_TYPE, "text/plain;charset=UTF-8")
            .body(Body::from(CLOSE));
        if let Ok(close) = close {
            runtime.spawn(service.oneshot(close));
        }
    })
}

async fn hand_over(door: Door, io: WebSocketIo, request: http::Request<()>) {
    let service: tower::util::Oneshot<Service, (WebSocketIo, http::Request<()>)> =
        door.service.oneshot((io, request));
    if service.await.is_err() {
        tracing::debug!("a WebSocket that names no session of ours");
    }
}

/// Of a request, what is needed for as long as its socket lives: a copy, so that the read buffer it came in is freed.
fn essence(request: &Request, via: Via, client: IpAddr) -> http::Request<()> {
    let mut kept = http::Request::new(());
    let query = request.uri().query().unwrap_or_default();
    if let Ok(uri) = http::Uri::try_from(format!("/socket.io/?{query}")) {
        *kept.uri_mut() = uri;
    }
    kept.extensions_mut().insert(via);
    kept.extensions_mut()
        .insert(Visitor::new(client, request.headers()));
    kept.extensions_mut().insert(Tether::default());
    kept
}

impl Visitor {
    /// Copies the headers that are looked at later; all others are let go of with the request.
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

/// Of a polling request the library keeps all that it is given: it gets what is looked at later, and of the headers
/// those that it needs itself.
fn strip(request: Request, client: IpAddr) -> Request {
    let (mut parts, body) = request.into_parts();
    // Not to be held by a session that outlives the request.
    parts.extensions.remove::<ConnectInfo<Via>>();
    let visitor = Visitor::new(client, &parts.headers);
    parts.extensions.insert(visitor);
    let mut headers = HeaderMap::new();
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONNECTION,
    ] {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    parts.headers = headers;
    parts.extensions.insert(Tether::default());
    Request::from_parts(parts, body)
}
