//! Who is let in: the order of those who ask, sockets that go while they are checked, and how many one user may have.

use std::time::Duration;

use serde_json::json;

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip};
use crate::support::google::{Endpoint, Fault};
use crate::support::wire::{Packet, Wire, headers};

const TAKEN_OVER: &str = "Livestream show was taken over by another connection.";
const TOO_MANY: &str = "Too many connections of this user, try again later.";
const SLOW: Duration = Duration::from_millis(1500);

/// A streamer that has asked for its namespace and whose check takes a while, on this endpoint of Google's.
async fn slow_streamer(app: &TestApp, way: Way, endpoint: Endpoint) -> Client {
    let calls = app.google.calls(endpoint);
    app.google.fail(endpoint, Fault::Slow(SLOW), 1);
    let token = app.token("ada");
    let named = [("id-token", &*token), ("livestream-id", "show")];
    let mut client = Client::open(app, way, "/streamer", &named).await;
    client.say("0/streamer,").await;
    app.google
        .until(|google| google.calls(endpoint) > calls)
        .await;
    app.google.heal();
    client
}

async fn stays(streamer: &mut Client) {
    assert!(streamer.hears_nothing_for(SLOW * 2).await);
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
}

#[tokio::test]
async fn late_admission_of_a_dead_socket_takes_nothing() {
    for way in [Way::WebSocket, Way::Polling] {
        for endpoint in [Endpoint::Read, Endpoint::Lookup] {
            let app = TestApp::start().await;
            let first = slow_streamer(&app, way, endpoint).await;
            first.wire.cut();
            let mut second = Client::streamer(&app, way, "show").await;
            stays(&mut second).await;
            assert_eq!(app.says("show"), Some(true), "{way:?}, {endpoint:?}");
        }
    }
}

#[tokio::test]
async fn late_admission_of_a_live_socket_is_refused() {
    let app = TestApp::start().await;
    let mut first = slow_streamer(&app, Way::WebSocket, Endpoint::Read).await;
    let mut second = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(first.next().await, Said::Connect);
    first.is_sent_away(TAKEN_OVER).await;
    stays(&mut second).await;
}

#[tokio::test]
async fn dead_socket_is_not_put_on_air() {
    let app = TestApp::start().await;
    let first = slow_streamer(&app, Way::WebSocket, Endpoint::Read).await;
    first.wire.cut();
    app.until_metric(
        r#"castaway_refusals_total{reason="gone",role="streamer"}"#,
        |gone| gone == 1,
    )
    .await;
    assert_eq!(app.says("show"), Some(false));
    assert_eq!(app.metric("castaway_livestream_events_total"), 0);
    app.until_metric("castaway_users", |users| users == 0).await;
}

async fn rejoins(client: &mut Client, namespace: &str, user: &str, way: Way) {
    let role = &namespace[1..];
    for round in 0..60 {
        let leave = Packet::Text(format!("1{namespace},"));
        let join = Packet::Text(format!("0{namespace},"));
        client.wire.send(&[leave, join]).await;
        assert_eq!(client.next().await, Said::Connect, "{way:?} {role} {round}");
        client.is_let_in(user, role, "show").await;
    }
}

/// On threads that race, as in the daemon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejoin_right_behind_a_leave_is_answered() {
    for way in [Way::WebSocket, Way::Polling, Way::Upgraded] {
        let app = TestApp::start().await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        rejoins(&mut streamer, "/streamer", "ada", way).await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        rejoins(&mut listener, "/listener", "bob", way).await;
        app.until_metric("castaway_listeners", |listeners| listeners == 1)
            .await;
    }
}

#[tokio::test]
async fn user_has_so_many_sockets_in_each_role() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::with_config(|config| config.server.max_sockets_per_user = 2).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let first = Client::listener(&app, way, "ada", "show").await;
        let _second = Client::listener(&app, way, "ada", "show").await;
        let mut third = Client::knock(&app, way, "/listener", "ada", "show").await;
        third.is_told_to_come_back(TOO_MANY).await;
        let _another = Client::listener(&app, way, "bob", "show").await;
        assert_eq!(app.metric("castaway_users"), 3);
        app.until_metric("castaway_listeners", |listeners| listeners == 3)
            .await;
        let mut first = first;
        first.leave().await;
        app.until_metric("castaway_listeners", |listeners| listeners == 2)
            .await;
        let _third = Client::listener(&app, way, "ada", "show").await;
        // As a streamer the user takes the livestream over, however many there were.
        for _ in 0..4 {
            let mut next = Client::streamer(&app, way, "show").await;
            streamer.is_sent_away(TAKEN_OVER).await;
            next.upload(&clip(1, 100)).await;
            next.is_received().await;
            streamer = next;
        }
        let mut other = Client::streamer(&app, way, "other").await;
        let mut too_many = Client::knock(&app, way, "/streamer", "ada", "show").await;
        too_many.is_let_in("ada", "streamer", "show").await;
        other.upload(&clip(1, 100)).await;
        other.is_received().await;
    }
}

#[tokio::test]
async fn unknown_event_with_a_callback_is_answered() {
    let app = TestApp::start().await;
    let token = app.token("ada");
    let named = [("id-token", &*token), ("livestream-id", "show")];
    let wire = Wire::web_socket(app.clients(), &headers(&named), None).await;
    let mut streamer = Client::on(wire, "/streamer");
    streamer.connect().await;
    streamer.is_let_in("ada", "streamer", "show").await;
    streamer.say(r#"2/streamer,5["uplaod","x"]"#).await;
    let answer = json!({ "ok": false, "error": "Unknown event uplaod." });
    assert_eq!(streamer.next().await, Said::Ack(5, answer));
    streamer.say(r#"2/streamer,["uplaod","x"]"#).await;
    let long = "x".repeat(5000);
    streamer.say(&format!(r#"2/streamer,6["{long}"]"#)).await;
    let answer = json!({ "ok": false, "error": format!("Unknown event {}.", &long[..64]) });
    assert_eq!(streamer.next().await, Said::Ack(6, answer));
}
