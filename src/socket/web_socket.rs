//! The upgrade of a request to a WebSocket, over which the Socket.IO library gets our own IO.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tower::ServiceExt as _;

use super::endpoint::{Endpoint, Requester, Service, bad_request, errors};
use crate::transport::{HttpIo, Session, WebSocketIo, prove};

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
pub(super) fn upgrade(
    endpoint: Endpoint,
    mut request: Request,
    polled: Option<Arc<Session>>,
    requester: &Requester,
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
        let session = match requester.open_session(&endpoint) {
            Ok(session) => session,
            Err(why) => return requester.refuse(why),
        };
        let mut opening = for_library("/socket.io/?EIO=4&transport=websocket".to_owned());
        requester.store(request.headers(), &session, opening.extensions_mut());
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
    // In a box, since the futures of the library's task have room for several of it.
    let service: tower::util::Oneshot<Service, (Box<WebSocketIo>, http::Request<()>)> =
        endpoint.service.oneshot((Box::new(io), request));
    if service.await.is_err() {
        tracing::debug!("the library refuses a WebSocket");
    }
}
