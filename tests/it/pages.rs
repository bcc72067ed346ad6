//! The listening page of a livestream, over the network: what it says, and what it costs Google.

use std::time::Duration;

use castaway_media_server::config::Config;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::client::{Client, Way};
use crate::support::google::{Endpoint, Fault};
use crate::support::wire::http_client;

/// What the double's documents are called.
const TITLE: &str = "<title>a livestream · Castaway</title>";
const GENERIC: &str = "<title>Listen · Castaway</title>";

fn with_pages(config: &mut Config) {
    config.http.pages = true;
    config.http.document_timeout = Duration::from_secs(20);
}

async fn get(app: &TestApp, path: &str) -> (HeaderMap, String) {
    let answer = http_client().get(app.url(path)).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let headers = answer.headers().clone();
    (headers, answer.text().await.expect("a text"))
}

fn outcome(app: &TestApp, outcome: &str) -> u64 {
    app.metric(&format!(
        "castaway_page_documents_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test]
async fn page_says_what_the_document_says() {
    let app = TestApp::with_config(with_pages).await;
    app.google
        .world()
        .livestreams
        .get_mut("show")
        .expect("it")
        .extend([
            (
                "description".to_owned(),
                json!({ "stringValue": "<b>Hot</b>" }),
            ),
            ("artistName".to_owned(), json!({ "stringValue": "Ada" })),
            (
                "coverUrl".to_owned(),
                json!({ "stringValue": "https://pictures.example/a.png" }),
            ),
        ]);
    let (headers, html) = get(&app, "/listen/show").await;
    for part in [
        TITLE,
        "content=\"&lt;b&gt;Hot&lt;/b&gt;\"",
        "<p id=\"artist\">Ada</p>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(
        policy.ends_with("img-src 'self' https://pictures.example"),
        "{policy}"
    );
}

#[tokio::test]
async fn document_is_read_once_for_many_pages() {
    let app = TestApp::with_config(with_pages).await;
    let pages = (0..50).map(|_| get(&app, "/listen/show"));
    for (_, html) in futures_util::future::join_all(pages).await {
        assert!(html.contains(TITLE));
    }
    for _ in 0..50 {
        assert!(get(&app, "/listen/missing").await.1.contains(GENERIC));
        assert!(get(&app, "/listen/__reserved__").await.1.contains(GENERIC));
    }
    assert_eq!(app.google.calls(Endpoint::Read), 2);
    assert_eq!((outcome(&app, "found"), outcome(&app, "missing")), (1, 1));
}

#[tokio::test]
async fn pages_beyond_the_quota_read_nothing() {
    let app = TestApp::with_config(|config| {
        with_pages(config);
        config.http.documents_per_minute_per_address = 3;
    })
    .await;
    assert!(get(&app, "/listen/show").await.1.contains(TITLE));
    for number in 0..20 {
        get(&app, &format!("/listen/guess-{number}")).await;
    }
    assert_eq!(app.google.calls(Endpoint::Read), 3);
    assert_eq!(outcome(&app, "rate_limit"), 18);
    assert!(get(&app, "/listen/show").await.1.contains(TITLE));
    assert!(get(&app, "/listen/other").await.1.contains(GENERIC));
}

#[tokio::test]
async fn page_waits_for_google_only_a_moment() {
    let app = TestApp::with_config(|config| {
        with_pages(config);
        config.http.document_timeout = Duration::from_millis(50);
    })
    .await;
    app.google
        .fail(Endpoint::Read, Fault::Slow(Duration::from_mins(10)), 1);
    assert!(get(&app, "/listen/show").await.1.contains(GENERIC));
    assert_eq!(outcome(&app, "timeout"), 1);
}

#[tokio::test]
async fn page_without_its_document_is_generic() {
    let app = TestApp::with_config(with_pages).await;
    app.google.fail(Endpoint::Read, Fault::Status(503), 100);
    assert!(get(&app, "/listen/show").await.1.contains(GENERIC));
    assert_eq!(outcome(&app, "unavailable"), 1);
}

#[tokio::test]
async fn huge_description_harms_no_join() {
    let app = TestApp::with_config(with_pages).await;
    let huge = json!({ "stringValue": "a".repeat(2 << 20) });
    app.google
        .world()
        .livestreams
        .get_mut("show")
        .expect("it")
        .insert("description".to_owned(), huge);
    for _ in 0..20 {
        assert!(get(&app, "/listen/show").await.1.contains(GENERIC));
    }
    assert_eq!(app.google.calls(Endpoint::Read), 1);
    Client::streamer(&app, Way::WebSocket, "show").await;
}
