//! The studio and the listening page: static files inside the binary, served on the client port; and the control page, on
//! the health port ([`mod@control`]).
//!
//! They need no build step and no other server, so that a new server is enough to stream and to listen. The listening
//! page of a livestream is rendered with what its document says ([`mod@listen`]).
//!
//! **Invariant**: every answer carries the same strict policy headers, so that no page runs a script, opens a
//! connection or is framed except by this server. There are two exceptions for the listening page alone: its cover,
//! and the pages of `http.frame_ancestors`, which may frame it; and one for it and the studio: where `http.firebase` is set,
//! they connect to Firebase to sign people in ([`mod@sign_in`]).

mod control;
mod listen;
mod qr;
mod sign_in;
mod template;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use crate::config::Config;
use crate::http::documents::Documents;
use crate::transport::{RequestConnection, client_address};
pub use control::control;

use listen::ListenPage;
use sign_in::SignIn;
pub use sign_in::WebApp;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const PNG: &str = "image/png";
const MANIFEST: &str = "application/manifest+json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The Content-Security-Policy, but for connections, images and framing pages. `blob:` is the audio file that a streamer picked, and the silence behind
/// the lock screen.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; \
     media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'";

/// The other policy headers of every answer. The token is in the fragment, which is never sent; the referrer is
/// restricted all the same.
const POLICY: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "microphone=(self), screen-wake-lock=(self), camera=(), geolocation=(), payment=(), usb=()",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    // Browsers may store the files and revalidate them: a new server is seen at the next load.
    (CACHE_CONTROL, "no-cache"),
];

/// The files on which people sign in.
const WITH_ACCOUNTS: [&str; 2] = ["/studio", "/listen"];

/// One file: its path, its content type, its bytes.
type File = (&'static str, &'static str, &'static [u8]);

const FILES: &[File] = &[
    ("/", HTML, include_bytes!("index.html")),
    ("/studio", HTML, include_bytes!("studio.html")),
    ("/listen", HTML, include_bytes!("listen.html")),
    ("/pages/pages.css", CSS, include_bytes!("pages.css")),
    ("/pages/icon.svg", SVG, include_bytes!("icon.svg")),
    (
        "/pages/icons/manifest.webmanifest",
        MANIFEST,
        include_bytes!("icons/manifest.webmanifest"),
    ),
    (
        "/pages/icons/icon-192.png",
        PNG,
        include_bytes!("icons/icon-192.png"),
    ),
    (
        "/pages/icons/icon-512.png",
        PNG,
        include_bytes!("icons/icon-512.png"),
    ),
    (
        "/pages/icons/maskable-512.png",
        PNG,
        include_bytes!("icons/maskable-512.png"),
    ),
    (
        "/pages/icons/apple-touch-icon.png",
        PNG,
        include_bytes!("icons/apple-touch-icon.png"),
    ),
    (
        "/pages/account.js",
        JAVASCRIPT,
        include_bytes!("account.js"),
    ),
    ("/pages/signin.js", JAVASCRIPT, include_bytes!("signin.js")),
    (
        "/pages/capture-worklet.js",
        JAVASCRIPT,
        include_bytes!("capture-worklet.js"),
    ),
    (
        "/pages/cliplist.js",
        JAVASCRIPT,
        include_bytes!("cliplist.js"),
    ),
    (
        "/pages/client/connection.js",
        JAVASCRIPT,
        include_bytes!("../../../clients/js/connection.js"),
    ),
    (
        "/pages/client/outbox.js",
        JAVASCRIPT,
        include_bytes!("../../../clients/js/outbox.js"),
    ),
    (
        "/pages/client/place.js",
        JAVASCRIPT,
        include_bytes!("../../../clients/js/place.js"),
    ),
    (
        "/pages/client/wire.js",
        JAVASCRIPT,
        include_bytes!("../../../clients/js/wire.js"),
    ),
    (
        "/pages/encoder-worker.js",
        JAVASCRIPT,
        include_bytes!("encoder-worker.js"),
    ),
    (
        "/pages/capture.js",
        JAVASCRIPT,
        include_bytes!("capture.js"),
    ),
    (
        "/pages/container.js",
        JAVASCRIPT,
        include_bytes!("container.js"),
    ),
    ("/pages/framer.js", JAVASCRIPT, include_bytes!("framer.js")),
    (
        "/pages/hearing.js",
        JAVASCRIPT,
        include_bytes!("hearing.js"),
    ),
    (
        "/pages/interruption.js",
        JAVASCRIPT,
        include_bytes!("interruption.js"),
    ),
    (
        "/pages/otherplayer.js",
        JAVASCRIPT,
        include_bytes!("otherplayer.js"),
    ),
    ("/pages/onair.js", JAVASCRIPT, include_bytes!("onair.js")),
    (
        "/pages/recording.js",
        JAVASCRIPT,
        include_bytes!("recording.js"),
    ),
    (
        "/pages/resumption.js",
        JAVASCRIPT,
        include_bytes!("resumption.js"),
    ),
    ("/pages/share.js", JAVASCRIPT, include_bytes!("share.js")),
    ("/pages/trim.js", JAVASCRIPT, include_bytes!("trim.js")),
    ("/pages/link.js", JAVASCRIPT, include_bytes!("link.js")),
    ("/pages/listen.js", JAVASCRIPT, include_bytes!("listen.js")),
    (
        "/pages/lockscreen.js",
        JAVASCRIPT,
        include_bytes!("lockscreen.js"),
    ),
    ("/pages/meter.js", JAVASCRIPT, include_bytes!("meter.js")),
    ("/pages/mp3.js", JAVASCRIPT, include_bytes!("mp3.js")),
    ("/pages/player.js", JAVASCRIPT, include_bytes!("player.js")),
    (
        "/pages/schedule.js",
        JAVASCRIPT,
        include_bytes!("schedule.js"),
    ),
    ("/pages/source.js", JAVASCRIPT, include_bytes!("source.js")),
    ("/pages/studio.js", JAVASCRIPT, include_bytes!("studio.js")),
    ("/pages/ui.js", JAVASCRIPT, include_bytes!("ui.js")),
    ("/pages/waves.js", JAVASCRIPT, include_bytes!("waves.js")),
    (
        "/pages/lamejs/lame.min.js",
        JAVASCRIPT,
        include_bytes!("lamejs/lame.min.js"),
    ),
    (
        "/pages/lamejs/README.md",
        TEXT,
        include_bytes!("lamejs/README.md"),
    ),
    (
        "/pages/lamejs/LICENSE",
        TEXT,
        include_bytes!("lamejs/LICENSE"),
    ),
    (
        "/pages/lamejs/COPYING",
        TEXT,
        include_bytes!("lamejs/COPYING"),
    ),
    (
        "/pages/lamejs/COPYING.LESSER",
        TEXT,
        include_bytes!("lamejs/COPYING.LESSER"),
    ),
];

/// The routes of the pages: `/`, `/studio`, `/listen`, `/listen/{id}`, what these load from `/pages/`, and `/studio/qr`.
/// `auth_emulator`: where Firebase's Auth emulator is, if it is used.
pub fn router(config: &Config, documents: Documents, auth_emulator: Option<&str>) -> Router {
    let trusted: Arc<[_]> = config.server.trusted_proxies.clone().into();
    let find_client = move |request: Request, next: Next| {
        let trusted = trusted.clone();
        async move { with_address(request, next, &trusted).await }
    };
    routes(config, documents, auth_emulator).layer(middleware::from_fn(find_client))
}

/// The routes, without what finds the client's address.
fn routes(config: &Config, documents: Documents, auth_emulator: Option<&str>) -> Router {
    let frames: Arc<[String]> = config.http.frame_ancestors.clone().into();
    // Preflight has told of one that cannot be read.
    let app = WebApp::find(config).unwrap_or_default();
    let sign_in = app.map(|app| SignIn::new(&app, auth_emulator));
    let page = Arc::new(ListenPage::new(
        documents,
        frames.clone(),
        config.players.access,
        sign_in.clone(),
    ));
    let listen = Router::new()
        .route("/listen/{id}", get(listen))
        .route("/studio/qr", post(draw_qr))
        .with_state(page);
    FILES.iter().fold(listen, |router, &(path, kind, bytes)| {
        let sign_in = sign_in.as_ref().filter(|_| WITH_ACCOUNTS.contains(&path));
        let bytes = match (sign_in, std::str::from_utf8(bytes)) {
            (Some(sign_in), Ok(page)) => Bytes::from(sign_in.offered_on(page)),
            _ => Bytes::from_static(bytes),
        };
        let tag = tag(&bytes);
        let frames: &[String] = if path == "/listen" { &frames } else { &[] };
        let policy = content_policy(frames, sign_in, None);
        let page = get(move |headers: HeaderMap| {
            std::future::ready(answer(kind, bytes.clone(), &tag, &policy, &headers))
        });
        router.route(path, page)
    })
}

/// The client's address, for the quota of documents.
async fn with_address(mut request: Request, next: Next, trusted: &[ipnet::IpNet]) -> Response {
    let connection = request.extensions().get::<ConnectInfo<RequestConnection>>();
    let Some(ConnectInfo(RequestConnection(connection))) = connection else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let address = client_address(connection.peer().ip(), request.headers(), trusted);
    request.extensions_mut().insert(address);
    next.run(request).await
}

/// The listening page of one livestream.
async fn listen(
    State(page): State<Arc<ListenPage>>,
    Extension(address): Extension<IpAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let rendered = page.render(&id, address).await;
    let tag = tag(rendered.html.as_bytes());
    let mut response = if is_current(&tag, &headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HTML)], rendered.html).into_response()
    };
    guard(&mut response, tag, rendered.policy);
    response
}

/// The QR code of a text.
async fn draw_qr(body: Body) -> Response {
    let mut response = qr::draw(body).await;
    set_policy(&mut response, strict_content_policy());
    response
}

/// The file, or 304 if the browser's copy is current.
fn answer(
    content_type: &'static str,
    bytes: Bytes,
    tag: &HeaderValue,
    policy: &HeaderValue,
    headers: &HeaderMap,
) -> Response {
    let mut response = if is_current(tag, headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, content_type)], bytes).into_response()
    };
    guard(&mut response, tag.clone(), policy.clone());
    response
}

fn is_current(tag: &HeaderValue, headers: &HeaderMap) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|current| current.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// Adds the tag and the policy.
fn guard(response: &mut Response, tag: HeaderValue, content_policy: HeaderValue) {
    response.headers_mut().insert(ETAG, tag);
    set_policy(response, content_policy);
}

fn set_policy(response: &mut Response, content_policy: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, content_policy);
    for (name, value) in POLICY {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The Content-Security-Policy without an exception.
fn strict_content_policy() -> HeaderValue {
    content_policy(&[], None, None)
}

/// The whole Content-Security-Policy: pages of these origins may frame the page, it connects to this server and for
/// `sign_in` to Firebase, and images come from this server and from the origin of the cover.
fn content_policy(
    frames: &[String],
    sign_in: Option<&SignIn>,
    cover_origin: Option<&str>,
) -> HeaderValue {
    let frames = if frames.is_empty() {
        "'none'".to_owned()
    } else {
        frames.join(" ")
    };
    let cover = cover_origin.map_or_else(String::new, |origin| format!(" {origin}"));
    let accounts = sign_in.map_or_else(String::new, |it| format!(" {}", it.origins.join(" ")));
    let policy = format!(
        "{CONTENT_POLICY}; connect-src 'self'{accounts}; frame-ancestors {frames}; img-src 'self'{cover}"
    );
    HeaderValue::try_from(policy).expect("origins are checked, and of ASCII")
}

/// An entity tag: the first half of the bytes' SHA-256.
fn tag(bytes: &[u8]) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in &digest(&SHA256, bytes).as_ref()[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).expect("hexadecimal digits in quotes are a header value")
}

#[cfg(test)]
mod tests;
