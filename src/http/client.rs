//! Layers of every request on the client port: CORS, a time limit, and its registration with its connection.

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::timeout::TimeoutLayer;

use crate::config::{ConfigError, Server};
use crate::transport::RequestConnection;

/// Puts the layers around the client port's routes, CORS outermost. Socket.IO's requests have no time limit here: a
/// poll ends with the next ping, and an upload may last as long as its bytes arrive.
pub fn layered(socket_io: Router, routes: Router, server: &Server) -> Result<Router, ConfigError> {
    let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, server.request_timeout);
    let routes = socket_io.merge(routes.layer(limit));
    Ok(watched(routes)
        .layer(cors(server)?)
        .layer(middleware::map_request(join_lines)))
}

/// Joins repeated list headers into one line, since CORS reads one line and a list may have several (RFC 9110, 5.3).
async fn join_lines(mut request: Request) -> Request {
    let name = header::ACCESS_CONTROL_REQUEST_HEADERS;
    let headers = request.headers_mut();
    let lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    let joined = lines.collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined)
        && headers.contains_key(&name)
    {
        headers.insert(name, joined);
    }
    request
}

/// Registers requests with their connections, which distinguishes an idle connection from a busy one.
pub fn watched(routes: Router) -> Router {
    routes.layer(middleware::from_fn(notify_connection))
}

fn cors(server: &Server) -> Result<CorsLayer, ConfigError> {
    let origin = if server.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let parse = |origin: &String| {
            HeaderValue::from_str(origin).map_err(|_| {
                ConfigError::value(
                    "server.cors_origins",
                    "holds a text that is no origin, such as https://app.example",
                )
            })
        };
        AllowOrigin::list(
            server
                .cors_origins
                .iter()
                .map(parse)
                .collect::<Result<Vec<_>, _>>()?,
        )
    };
    Ok(CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        // All requested headers, including `id-token` and `livestream-id`.
        .allow_headers(AllowHeaders::mirror_request()))
}

async fn notify_connection(request: Request, next: Next) -> Response {
    let connection = request
        .extensions()
        .get::<ConnectInfo<RequestConnection>>()
        .map(|ConnectInfo(RequestConnection(connection))| connection.clone());
    if let Some(connection) = &connection {
        connection.request_begins();
    }
    let answer = next.run(request).await;
    if let Some(connection) = connection {
        connection.request_ends(tokio::time::Instant::now().into_std());
    }
    answer
}
