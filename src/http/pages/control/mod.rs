//! The control page: the operator's API for people, on the health port.
//!
//! The page itself holds no secret and is served to everybody who reaches the port. It asks for a token of the API and
//! keeps it for its tab alone.
//!
//! **Invariant**: it is served only while the API has a token, and under the policy of the other pages.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{
    CSS, FILES, File, HTML, JAVASCRIPT, TEXT, answer, set_policy, strict_content_policy, tag,
};

const CLOSED: &str = "The control page needs a token of the operator's API, and none is set.\n\
    Set the credential castaway.api.token (docs/api.md), reload the daemon, and load this page again;\n\
    or use `castaway-media-server ctl` on this machine, which needs no token.\n";

/// The files that only this page loads.
pub(super) const OWN: &[File] = &[
    ("/control", HTML, include_bytes!("../control.html")),
    (
        "/pages/control/control.css",
        CSS,
        include_bytes!("control.css"),
    ),
    (
        "/pages/control/api.js",
        JAVASCRIPT,
        include_bytes!("api.js"),
    ),
    (
        "/pages/control/bans.js",
        JAVASCRIPT,
        include_bytes!("bans.js"),
    ),
    (
        "/pages/control/control.js",
        JAVASCRIPT,
        include_bytes!("control.js"),
    ),
    (
        "/pages/control/details.js",
        JAVASCRIPT,
        include_bytes!("details.js"),
    ),
    (
        "/pages/control/livestreams.js",
        JAVASCRIPT,
        include_bytes!("livestreams.js"),
    ),
    (
        "/pages/control/nodes.js",
        JAVASCRIPT,
        include_bytes!("nodes.js"),
    ),
    (
        "/pages/control/plots.js",
        JAVASCRIPT,
        include_bytes!("plots.js"),
    ),
    (
        "/pages/control/poll.js",
        JAVASCRIPT,
        include_bytes!("poll.js"),
    ),
    (
        "/pages/control/question.js",
        JAVASCRIPT,
        include_bytes!("question.js"),
    ),
    (
        "/pages/control/table.js",
        JAVASCRIPT,
        include_bytes!("table.js"),
    ),
    (
        "/pages/control/words.js",
        JAVASCRIPT,
        include_bytes!("words.js"),
    ),
];

/// The files that it shares with the other pages.
const SHARED: &[&str] = &["/pages/icon.svg", "/pages/pages.css", "/pages/ui.js"];

/// The control page and its files, while `is_open`.
pub fn control(is_open: impl Fn() -> bool + Clone + Send + Sync + 'static) -> Router {
    let shared = FILES.iter().filter(|file| SHARED.contains(&file.0));
    let policy = strict_content_policy();
    OWN.iter()
        .chain(shared)
        .fold(Router::new(), |router, &(path, kind, bytes)| {
            let (tag, policy, is_open) = (tag(bytes), policy.clone(), is_open.clone());
            let page = get(move |headers: HeaderMap| {
                std::future::ready(if is_open() {
                    answer(kind, Bytes::from_static(bytes), &tag, &policy, &headers)
                } else {
                    closed()
                })
            });
            router.route(path, page)
        })
}

fn closed() -> Response {
    let mut response = (StatusCode::NOT_FOUND, [(CONTENT_TYPE, TEXT)], CLOSED).into_response();
    set_policy(&mut response, strict_content_policy());
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::super::POLICY;
    use super::*;

    async fn ask(router: &Router, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    fn has_the_policy(response: &Response) -> bool {
        let headers = response.headers();
        let own = headers.get("content-security-policy") == Some(&strict_content_policy());
        own && POLICY
            .iter()
            .all(|(name, value)| headers.get(name).is_some_and(|found| found == value))
    }

    #[tokio::test]
    async fn control_page_is_served_while_open() {
        let open = Arc::new(AtomicBool::new(false));
        let asked = open.clone();
        let router = control(move || asked.load(Ordering::SeqCst));
        for (path, kind, bytes) in OWN {
            open.store(false, Ordering::SeqCst);
            let response = ask(&router, path).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(has_the_policy(&response), "{path}");
            let said = response.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&said).contains("castaway.api.token"));
            open.store(true, Ordering::SeqCst);
            let response = ask(&router, path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert!(has_the_policy(&response), "{path}");
            assert_eq!(response.headers()["content-type"], *kind, "{path}");
            let served = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(served, *bytes, "{path}");
        }
    }

    #[tokio::test]
    async fn studio_is_not_on_the_health_port() {
        let router = control(|| true);
        for path in ["/studio", "/listen", "/pages/studio.js"] {
            assert_eq!(ask(&router, path).await.status(), StatusCode::NOT_FOUND);
        }
        for path in SHARED {
            assert_eq!(ask(&router, path).await.status(), StatusCode::OK, "{path}");
        }
    }

    #[test]
    fn files_that_the_control_page_loads_are_served() {
        let own = OWN.iter().map(|file| file.0);
        let served: BTreeSet<&str> = own.chain(SHARED.iter().copied()).collect();
        let mut loaded = BTreeSet::new();
        for (path, _, bytes) in OWN {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("<script>") && !text.contains("<style"));
            assert!(!text.contains(" style=") && !text.contains(" onclick="));
            for part in text.split('"') {
                let wanted = match part {
                    part if part.starts_with("./") => format!("/pages/control/{}", &part[2..]),
                    part if part.starts_with("../") => format!("/pages/{}", &part[3..]),
                    part if part.starts_with("/pages/") => part.to_owned(),
                    _ => continue,
                };
                assert!(served.contains(&*wanted), "{path} loads {wanted}");
                loaded.insert(wanted);
            }
        }
        let others = served.iter().filter(|path| !loaded.contains(**path));
        assert_eq!(others.collect::<Vec<_>>(), [&"/control"]);
    }
}
