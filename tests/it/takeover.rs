//! Two sockets, one livestream: the newest is the streamer.

use std::time::Duration;

use serde_json::json;

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip};

const TAKEN_OVER: &str = "Livestream show was taken over by another connection.";
const NOT_ON_AIR: &str = "This connection is not the streamer of the livestream.";

#[tokio::test]
async fn newest_socket_takes_the_livestream_over() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::start().await;
        let mut old = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        app.until_it_says("show", true).await;
        let mut new = Client::streamer(&app, way, "show").await;
        old.upload_asking(1, &clip(666, 100)).await;
        old.hears_error(TAKEN_OVER).await;
        let answer = json!({ "ok": false, "error": NOT_ON_AIR });
        assert_eq!(old.next().await, Said::Ack(1, answer));
        assert_eq!(old.next().await, Said::Disconnect);
        // Neither its DISCONNECT nor the end of its transport ends anything.
        old.leave().await;
        drop(old);
        new.upload_asking(2, &clip(1, 100)).await;
        new.is_received().await;
        let answer = json!({ "ok": true, "sequence": 1, "listeners": 1 });
        assert_eq!(new.next().await, Said::Ack(2, answer));
        listener.hears(&clip(1, 100)).await;
        assert_eq!(app.says("show"), Some(true));
        new.leave().await;
        assert_eq!(listener.next().await, Said::Disconnect);
        app.until_it_says("show", false).await;
    }
}

#[tokio::test]
async fn replaced_socket_that_leaves_ends_nothing() {
    let app = TestApp::start().await;
    let mut old = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut new = Client::streamer(&app, Way::WebSocket, "show").await;
    old.leave().await;
    drop(old);
    app.until_metric("castaway_connections", |open| open == 1)
        .await;
    new.upload(&clip(1, 100)).await;
    new.is_received().await;
    app.until_it_says("show", true).await;
}

#[tokio::test]
async fn another_user_takes_nothing_over() {
    let app = TestApp::start().await;
    let mut ada = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut eve = Client::knock(&app, Way::WebSocket, "/streamer", "eve", "show").await;
    eve.is_sent_away("User is not authorized to livestream in this room.")
        .await;
    ada.upload(&clip(1, 100)).await;
    ada.is_received().await;
}

fn taken_over() -> Said {
    Said::Text("error".into(), TAKEN_OVER.into())
}

/// Sockets that come at the same time: the one that holds the livestream in the end can upload, and the other is sent
/// away, whether it was replaced before it was greeted or after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_simultaneous_sockets_is_the_streamer() {
    let app = TestApp::with_config(|config| {
        config.google.max_requests = 4;
    })
    .await;
    for round in 0..4 {
        let knocks = (0..8).map(|_| async {
            let mut client = Client::knock(&app, Way::WebSocket, "/streamer", "ada", "show").await;
            match client.next().await {
                // The one that is not sent away within a while is the streamer.
                Said::Text(event, _) if event == "success" => {
                    let next = tokio::time::timeout(Duration::from_secs(2), client.next());
                    match next.await {
                        Err(_) => return Some(client),
                        Ok(said) => assert_eq!(said, taken_over()),
                    }
                }
                said => assert_eq!(said, taken_over()),
            }
            assert_eq!(client.next().await, Said::Disconnect);
            None
        });
        let stayed = futures_util::future::join_all(knocks).await;
        let mut stayed: Vec<Client> = stayed.into_iter().flatten().collect();
        assert_eq!(stayed.len(), 1, "round {round}");
        stayed[0].upload(&clip(round, 100)).await;
        stayed[0].is_received().await;
        stayed[0].leave().await;
        app.until_it_says("show", false).await;
    }
}
