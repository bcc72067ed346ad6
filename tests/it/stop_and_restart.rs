//! From one process to the next: flags, shows, clients.

use std::time::Duration;

use castaway_media_server::app::Directories;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::{TEST_TIMEOUT, TestApp, world};
use crate::support::client::{Client, Said, Way, clip};
use crate::support::google::Kind;
use crate::support::wire::http_client;

fn runtime_in(directory: &TempDir) -> Directories {
    Directories {
        runtime: Some(directory.path().to_owned()),
        state: None,
    }
}

#[tokio::test]
async fn stop_clears_the_flags_and_closes_transports() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        app.until_it_says("show", true).await;
        let google = app.stop().await;
        assert_eq!(google.world().streamer_connected("show"), Some(false));
        // No DISCONNECT: that would end it for good.
        assert_eq!(streamer.next().await, Said::Closed, "{way:?}");
        assert_eq!(listener.next().await, Said::Closed, "{way:?}");
    }
}

#[tokio::test]
async fn check_that_was_accepted_outlives_the_stop() {
    let app = TestApp::start().await;
    let health = app.health;
    let mut check = TcpStream::connect(health).await.expect("a connection");
    let begun = b"GET /healthz HTTP/1.1\r\nhost: castaway\r\n";
    check.write_all(begun).await.expect("a write");
    // A later one is answered, so this one was accepted.
    let answer = http_client().get(app.health_url("/healthz")).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let stop = tokio::spawn(app.stop());
    let is_shut = async {
        while TcpStream::connect(health).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let is_shut = timeout(TEST_TIMEOUT, is_shut).await;
    assert!(is_shut.is_ok(), "the health port is shut in the end");
    check.write_all(b"\r\n").await.expect("a write");
    let mut rest = String::new();
    check.read_to_string(&mut rest).await.expect("an answer");
    assert!(rest.starts_with("HTTP/1.1 200"), "{rest}");
    stop.await.expect("a stop");
}

#[tokio::test]
async fn livestream_continues_after_a_restart() {
    let runtime = tempfile::tempdir().expect("a directory");
    let app = TestApp::beside(world().await, &runtime_in(&runtime), |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for number in 1..=3 {
        streamer.upload(&clip(number, 1000)).await;
        streamer.is_received().await;
    }
    let google = app.stop().await;
    assert!(runtime.path().join("handover").exists());

    let app = TestApp::beside(google, &runtime_in(&runtime), |_| {}).await;
    assert!(
        !runtime.path().join("handover").exists(),
        "it is taken once"
    );
    // The listener may be first: the livestream is on, and waits for its streamer.
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    listener.hears(&clip(3, 1000)).await;
    listener
        .until_state(|state| state["state"] == "reconnecting")
        .await;
    app.until_it_says("show", true).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.upload_asking(1, &clip(4, 1000)).await;
    streamer.is_received().await;
    let answer = json!({ "ok": true, "sequence": 4, "listeners": 1 });
    assert_eq!(streamer.next().await, Said::Ack(1, answer));
    listener.hears(&clip(4, 1000)).await;
    app.until_it_says("show", true).await;
}

#[tokio::test]
async fn absent_streamer_after_a_restart_ends_the_livestream() {
    let runtime = tempfile::tempdir().expect("a directory");
    let app = TestApp::beside(world().await, &runtime_in(&runtime), |_| {}).await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let google = app.stop().await;
    let short = Duration::from_secs(6);
    let app = TestApp::beside(google, &runtime_in(&runtime), |config| {
        config.livestream.grace = short;
    })
    .await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    assert_eq!(listener.next().await, Said::Disconnect);
    app.until_it_says("show", false).await;
}

#[tokio::test]
async fn senseless_handover_is_dropped() {
    let runtime = tempfile::tempdir().expect("a directory");
    let file = runtime.path().join("handover");
    std::fs::write(&file, b"{\"left_at\":0}\njunk").expect("a file");
    let app = TestApp::beside(world().await, &runtime_in(&runtime), |_| {}).await;
    assert!(!file.exists());
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
}

#[tokio::test]
async fn start_clears_what_a_crash_left() {
    let state = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        state: Some(state.path().to_owned()),
        runtime: None,
    };
    let crashed = TestApp::beside(world().await, &directories, |_| {}).await;
    let _streamer = Client::streamer(&crashed, Way::WebSocket, "show").await;
    crashed.until_it_says("show", true).await;
    // Never told to stop: to the document it is as if it were gone.
    let app = TestApp::beside(crashed.google.clone(), &directories, |_| {}).await;
    app.until_it_says("show", false).await;
}

#[tokio::test]
async fn listener_may_return_before_the_streamer() {
    let runtime = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        state: None,
        runtime: Some(runtime.path().to_owned()),
    };
    let crashed = TestApp::beside(world().await, &directories, |_| {}).await;
    let mut streamer = Client::streamer(&crashed, Way::WebSocket, "show").await;
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
    let note = runtime.path().join("handover");
    timeout(TEST_TIMEOUT, async {
        while !note.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a note of what is on");
    // Never told to stop: to its clients it is as if it were gone.
    let app = TestApp::beside(crashed.google.clone(), &directories, |_| {}).await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.upload(&clip(2, 100)).await;
    streamer.is_received().await;
    listener.hears(&clip(2, 100)).await;
}

/// A client whose token is good for a process that allows for clocks that differ, and has expired for another.
async fn aged(app: &TestApp, token: &str, namespace: &'static str, way: Way) -> Client {
    let named = [("id-token", token), ("livestream-id", "show")];
    let mut client = Client::open(app, way, namespace, &named).await;
    client.connect().await;
    client
}

#[tokio::test]
async fn expired_token_returns_after_stop_or_crash() {
    const EXPIRED: &str = "Id token has expired.";
    for (stops, way) in [(true, Way::WebSocket), (false, Way::Polling)] {
        let (state, runtime) = (tempfile::tempdir(), tempfile::tempdir());
        let (state, runtime) = (state.expect("a directory"), runtime.expect("a directory"));
        let directories = Directories {
            state: Some(state.path().to_owned()),
            runtime: Some(runtime.path().to_owned()),
        };
        let first = TestApp::beside(world().await, &directories, |_| {}).await;
        let token = |user: &str| first.google.token(user, Kind::Ends(-30));
        let (ada, bob, eve) = (token("ada"), token("bob"), token("eve"));
        let mut streamer = aged(&first, &ada, "/streamer", way).await;
        streamer.is_let_in("ada", "streamer", "show").await;
        let mut listener = aged(&first, &bob, "/listener", way).await;
        listener.is_let_in("bob", "listener", "show").await;
        let google = if stops {
            first.stop().await
        } else {
            let noted = || {
                let note = std::fs::read_to_string(state.path().join("returns"));
                note.is_ok_and(|text| text.contains("bob"))
                    && runtime.path().join("handover").exists()
            };
            timeout(TEST_TIMEOUT, async {
                while !noted() {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("a note of who is there");
            first.google.clone()
        };
        let note = std::fs::read_to_string(state.path().join("returns")).expect("a file");
        assert!(!note.contains(&ada[..20]), "no token is left: {note}");

        let second = TestApp::beside(google, &directories, |config| {
            config.identity.clock_skew = Duration::ZERO;
        })
        .await;
        let mut streamer = aged(&second, &ada, "/streamer", way).await;
        streamer.is_let_in("ada", "streamer", "show").await;
        let mut listener = aged(&second, &bob, "/listener", way).await;
        listener.is_let_in("bob", "listener", "show").await;
        for (stranger, namespace) in [(&eve, "/listener"), (&ada, "/listener")] {
            let mut stranger = aged(&second, stranger, namespace, way).await;
            stranger.is_sent_away(EXPIRED).await;
        }
    }
}

/// A phone is back before the loss of its socket is noticed, with the token that it has.
#[tokio::test]
async fn expired_token_returns_beside_its_old_socket() {
    let app = TestApp::with_config(|config| {
        config.identity.clock_skew = Duration::from_secs(2);
    })
    .await;
    let token = app.google.token("ada", Kind::Ends(0));
    let mut old = aged(&app, &token, "/streamer", Way::WebSocket).await;
    old.is_let_in("ada", "streamer", "show").await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    let mut new = aged(&app, &token, "/streamer", Way::WebSocket).await;
    new.is_let_in("ada", "streamer", "show").await;
    old.hears_error("Livestream show was taken over by another connection.")
        .await;
    assert_eq!(old.next().await, Said::Disconnect);
    new.wire.cut();
    app.until_metric("castaway_users", |users| users == 0).await;
    let mut again = aged(&app, &token, "/streamer", Way::WebSocket).await;
    again.is_let_in("ada", "streamer", "show").await;
    again.leave().await;
    app.until_metric("castaway_users", |users| users == 0).await;
    let mut gone = aged(&app, &token, "/streamer", Way::WebSocket).await;
    gone.is_sent_away("Id token has expired.").await;
}
