//! Long polling. The Socket.IO library answers each request, or this module does where the library has no packet but
//! the client needs one: a ping, or the noop that lets its upgrade go on.
//!
//! **Invariant**: a cancelled poll loses nothing: the library keeps no packet in its future while it waits for one. A
//! poll is answered at the latest when the next ping is due.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited};
use tower::ServiceExt as _;

use super::endpoint::{Endpoint, Requester, Service, bad_request, errors};
use crate::transport::{Evict, Overdue, READ_AT_ONCE, Session, Turn, answers_in, corrected_open};

/// Separates the packets of a body (Engine.IO 4).
const SEPARATOR: u8 = 0x1e;
const PING: &str = "2";
const NOOP: &str = "6";
const CLOSE: &str = "1";

/// A body with at most this message limit is copied, in bytes.
const COPIED: usize = 64 << 10;

/// A request of our own making for the library.
fn request(method: Method, id: Option<&str>, body: Body) -> Request {
    let id = id.map(|id| format!("&sid={id}")).unwrap_or_default();
    let mut request = Request::new(body);
    *request.method_mut() = method;
    let uri = format!("/socket.io/?EIO=4&transport=polling{id}");
    *request.uri_mut() = uri.try_into().expect("an id is a part of a URI");
    let text = HeaderValue::from_static("text/plain;charset=UTF-8");
    request.headers_mut().insert(header::CONTENT_TYPE, text);
    request
}

/// The library's answer, with its whole body.
async fn ask(service: &Service, request: Request) -> (StatusCode, Bytes) {
    let answer = service.clone().oneshot(request).await.into_response();
    let status = answer.status();
    match answer.into_body().collect().await {
        Ok(body) => (status, body.to_bytes()),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
    }
}

fn text(body: impl Into<Body>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];
    (kind, body.into()).into_response()
}

fn packets(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == SEPARATOR)
}

/// Opens a session.
pub(super) async fn open(endpoint: Endpoint, headers: HeaderMap, requester: Requester) -> Response {
    let session = match requester.open_session(&endpoint) {
        Ok(session) => session,
        Err(why) => return requester.refuse(why),
    };
    let mut opening = request(Method::GET, None, Body::empty());
    requester.store(&headers, &session, opening.extensions_mut());
    requester.connection.0.serves(&session.activity);
    // A task of its own, which a client that leaves does not cancel: the library would keep the session for longer.
    let opened = tokio::spawn(async move {
        let (_, body) = ask(&endpoint.service, opening).await;
        let times = endpoint.sockets.0.sessions.heartbeat();
        let (id, open) = corrected_open(&body, &times)?;
        session.set_id(&id);
        greet(&endpoint, &id).await;
        Some(open)
    });
    if let Ok(Some(open)) = opened.await {
        text(open)
    } else {
        tracing::error!("the Socket.IO library opens no session");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// Joins and leaves the namespace of the greeting before the client knows its session.
async fn greet(endpoint: &Endpoint, id: &str) {
    let mut greeting = endpoint.greeting.clone();
    let joins = request(Method::POST, Some(id), greeting.connect().into());
    let (mut status, _) = ask(&endpoint.service, joins).await;
    while status.is_success() && !greeting.is_over() {
        let polls = request(Method::GET, Some(id), Body::empty());
        let body;
        (status, body) = ask(&endpoint.service, polls).await;
        if body.is_empty() {
            return;
        }
        for packet in packets(&body) {
            greeting.is_answered(packet);
        }
    }
}

/// Answers a poll.
pub(super) async fn poll(
    endpoint: Endpoint,
    session: &Arc<Session>,
    requester: Requester,
) -> Response {
    session.activity.heard_message();
    requester.connection.0.serves(&session.activity);
    let polls = request(Method::GET, Some(session.id()), Body::empty());
    let (status, body) = tokio::select! {
        biased;
        () = session.closed() => return bad_request(errors::UNKNOWN_SESSION),
        answer = ask(&endpoint.service, polls) => answer,
        turn = session.turn() => return text(match turn {
            Turn::Ping => PING,
            Turn::Noop => NOOP,
        }),
    };
    if !status.is_success() {
        return (status, body).into_response();
    }
    let clips = packets(&body).filter(|packet| packet.first() == Some(&b'b'));
    session.polled(clips.count() as u64);
    session.activity.pressure.let_out(answers_in(&body));
    endpoint.sockets.0.connections.made_room();
    if body.is_empty() || !session.takes_ping() {
        return text(body);
    }
    let mut with_ping = BytesMut::from(body);
    with_ping.extend_from_slice(&[SEPARATOR]);
    with_ping.extend_from_slice(PING.as_bytes());
    text(with_ping.freeze())
}

/// A copy of the body in its own buffer; none if the body is truncated or too long.
async fn copied(mut body: Limited<Body>) -> Option<Body> {
    let mut copy = Vec::new();
    while let Some(frame) = body.frame().await {
        copy.extend_from_slice(frame.ok()?.data_ref().map_or(&[], |data| data));
    }
    Some(copy.into())
}

/// A request's body that is read only while its client takes its answers.
fn paced(body: Body, session: Arc<Session>) -> Body {
    let pieces = stream::unfold(
        (body.into_data_stream(), Bytes::new()),
        move |(mut body, mut rest)| {
            let session = session.clone();
            async move {
                session.activity.pressure.open().await;
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

/// Answers a client's POST. Its bytes are signs of life, as long as they arrive.
pub(super) async fn post(
    endpoint: Endpoint,
    posted: Request,
    session: &Arc<Session>,
    requester: Requester,
) -> Response {
    session.activity.heard_message();
    requester.connection.0.serves(&session.activity);
    let Some(_posting) = session.posts() else {
        let bad_input = &endpoint.sockets.0.metrics.bad_input;
        bad_input.with_label_values(&["concurrent_posts"]).inc();
        session.close();
        return bad_request(errors::BAD_REQUEST);
    };
    let limit = session.message_limit();
    let length = posted.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        session.close();
        let problem = format!("A message may have at most {limit} bytes here.\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, problem).into_response();
    }
    let times = endpoint.sockets.0.sessions.heartbeat();
    let body = Limited::new(posted.into_body(), limit);
    let taken = async {
        // A small body is copied: each piece of it would keep the HTTP server's whole read buffer in memory.
        let body = if limit <= COPIED {
            copied(body).await?
        } else {
            Body::new(body)
        };
        let body = paced(body, session.clone());
        let posts = request(Method::POST, Some(session.id()), body);
        Some(ask(&endpoint.service, posts).await)
    };
    let answer = tokio::select! {
        biased;
        () = session.closed() => return bad_request(errors::UNKNOWN_SESSION),
        answer = taken => answer,
        () = requester.connection.0.falls_behind(&times) => {
            endpoint.sockets.0.sessions.close(session, Overdue::Silent);
            return StatusCode::REQUEST_TIMEOUT.into_response();
        }
    };
    let Some((status, body)) = answer else {
        session.close();
        return bad_request(errors::BAD_REQUEST);
    };
    session.activity.heard_message();
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")],
        body,
    )
        .into_response()
}

/// Makes the library forget a polled session, with a close packet in the client's name. For a session on a WebSocket,
/// or an ended one, the library answers with an error, which needs no handling.
pub(super) fn evict(service: Service) -> Evict {
    Box::new(move |id| {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let service = service.clone();
        let close = request(Method::POST, Some(id), CLOSE.into());
        runtime.spawn(async move { ask(&service, close).await });
    })
}
