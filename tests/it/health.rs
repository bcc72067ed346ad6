//! Port 8080: for load balancers, for probes, and for Prometheus.

use crate::support::app::TestApp;
use crate::support::client::{Client, Way, clip};
use crate::support::google::{Endpoint, Fault};
use crate::support::wire::http_client;

async fn request(url: &str) -> reqwest::Response {
    http_client().get(url).send().await.expect("an answer")
}

async fn get(app: &TestApp, path: &str) -> (u16, String) {
    let answer = request(&app.health_url(path)).await;
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

#[tokio::test]
async fn health_port_answers_in_the_originals_words() {
    let app = TestApp::start().await;
    let up = (200, "Media server is up and running.".to_owned());
    assert_eq!(get(&app, "/").await, up);
    assert_eq!(get(&app, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&app, "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(get(&app, "/nothing").await.0, 404);
    let clients = request(&app.url("/metrics")).await;
    assert_eq!(
        clients.status().as_u16(),
        404,
        "metrics are for the health port alone"
    );
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    for number in 0..3 {
        streamer.upload(&clip(number, 1000)).await;
        streamer.is_received().await;
        listener.hears(&clip(number, 1000)).await;
    }
    app.until_metric(r#"castaway_livestreams{state="live"}"#, |live| live == 1)
        .await;
    app.until_metric("castaway_listeners", |count| count == 1)
        .await;
    let (status, text) = get(&app, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "castaway_clips_received_total 3",
        "castaway_clips_sent_total 3",
        "castaway_connections 2",
        "castaway_clips_dropped_total 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
    assert!(
        !text.contains("\"show\"") && !text.contains("\"ada\""),
        "no id is a label"
    );
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().expect("a name");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
}

#[tokio::test]
async fn outage_of_google_leaves_the_daemon_ready() {
    let app = TestApp::start().await;
    app.google.fail(Endpoint::Read, Fault::Status(503), 1000);
    // As many failures as it takes to believe it.
    while get(&app, "/readyz").await.1 == "ready\n" {
        let mut client = Client::knock(&app, Way::WebSocket, "/listener", "bob", "show").await;
        client
            .is_told_to_come_back("Service is temporarily unavailable, try again.")
            .await;
    }
    let (status, text) = get(&app, "/readyz").await;
    assert_eq!(status, 200);
    assert!(text.starts_with("ready\ndegraded: "), "{text}");
}
