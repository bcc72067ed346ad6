//! The drain: clients are sent away, streamers last, and come back elsewhere.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::{ask, open, start};
use crate::support::app::{TEST_TIMEOUT, TestApp};
use crate::support::client::{Client, Said, Way};
use crate::support::raw::{Raw, WEB_SOCKET, connect, frame};
use crate::support::wire::http_client;

async fn draining(time: Duration) -> TestApp {
    TestApp::with_config(|config| {
        open(config);
        config.server.drain_time = time;
    })
    .await
}

async fn readiness(app: &TestApp) -> (u16, String) {
    let request = http_client().get(app.health_url("/readyz"));
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

#[tokio::test]
async fn draining_node_is_not_ready_and_admits_nobody() {
    let app = draining(Duration::from_hours(1)).await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let (status, answer) = ask(&app, "POST", "/drain", None).await;
    assert_eq!((status, &answer["draining"]), (200, &true.into()));
    assert_eq!([&answer["streamers"], &answer["listeners"]], [1, 0]);
    assert!(answer["seconds_left"].as_u64().expect("a number") > 3_590);
    let (status, text) = readiness(&app).await;
    assert_eq!((status, text.contains("drains this node")), (503, true));
    let mut late = Client::knock(&app, Way::WebSocket, "/listener", "bob", "show").await;
    late.is_told_to_come_back("Service is temporarily unavailable, try again.")
        .await;
    let refused = r#"castaway_refusals_total{reason="draining",role="listener"}"#;
    assert!(app.metric(refused) >= 1);
    let (status, answer) = ask(&app, "DELETE", "/drain", None).await;
    assert_eq!((status, &answer["draining"]), (200, &false.into()));
    assert_eq!(readiness(&app).await.0, 200);
    Client::listener(&app, Way::WebSocket, "bob", "show").await;
}

#[tokio::test]
async fn drained_clients_are_told_to_come_back() {
    let app = draining(Duration::from_millis(600)).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let mut polling = Client::listener(&app, Way::Polling, "eve", "show").await;
    assert_eq!(ask(&app, "POST", "/drain", None).await.0, 200);
    // The end of the transport, and no DISCONNECT: a client of the protocol connects again.
    for client in [&mut listener, &mut polling, &mut streamer] {
        assert_eq!(client.next().await, Said::Closed);
    }
    // As a client does that reads the Close frame.
    drop((streamer, listener, polling));
    let live = "castaway_livestreams{state=\"live\"}";
    app.until_metric(live, |live| live == 0).await;
    let (_, answer) = ask(&app, "POST", "/drain", None).await;
    assert_eq!([&answer["streamers"], &answer["listeners"]], [0, 0]);
    let sent = |role| {
        app.metric(&format!(
            "castaway_sockets_sent_away_total{{role=\"{role}\"}}"
        ))
    };
    assert!(sent("listener") >= 2);
    assert_eq!(app.metric("castaway_draining"), 1);
}

#[tokio::test]
async fn drained_client_that_stays_is_cut_off() {
    let app = draining(Duration::ZERO).await;
    let mut deaf = Raw::web_socket(&app, WEB_SOCKET).await;
    let join = connect(&app, "streamer", "ada", "show");
    deaf.send(&frame(0x81, join.as_bytes())).await;
    let joined = deaf.next_text(|text| text.contains("connected as")).await;
    assert!(joined.is_some());
    assert_eq!(ask(&app, "POST", "/drain", None).await.0, 200);
    assert!(deaf.close_frame().await.is_some());
    // It answers no Close frame and closes nothing: the end is the server's.
    let end = timeout(TEST_TIMEOUT, deaf.tcp.read_u8()).await;
    end.expect("an end in time").expect_err("nothing more");
    app.until_metric("castaway_connections", |count| count == 0)
        .await;
}

#[tokio::test]
async fn drain_of_an_unknown_node_is_refused() {
    let app = start().await;
    assert_eq!(ask(&app, "POST", "/drain?node=nobody", None).await.0, 404);
    assert_eq!(ask(&app, "POST", "/drain?colour=red", None).await.0, 400);
    assert_eq!(readiness(&app).await.0, 200);
}
