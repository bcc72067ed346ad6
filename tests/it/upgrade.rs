//! The move from polling to a WebSocket where something on the way breaks it.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::app::{TEST_TIMEOUT, TestApp};
use crate::support::client::{Client, Way, clip};
use crate::support::raw::{POLLING, Raw, WEB_SOCKET, connect, frame, handshake};

/// Where the WebSocket breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Nothing comes through behind the 101.
    Silent,
    /// It is cut behind the 101.
    Cut,
    /// It is cut behind the probe.
    CutAfterProbe,
    /// Something else than a probe comes.
    Junk,
}

const BREAKS: [Break; 4] = [Break::Silent, Break::Cut, Break::CutAfterProbe, Break::Junk];

/// A polling listener that was let in, and its path.
async fn listener(app: &TestApp) -> (Raw, String) {
    let (mut raw, path) = Raw::polling(app, "").await;
    let join = connect(app, "listener", "bob", "show");
    assert_eq!(raw.ask("POST", &path, "", Some(&join)).await.0, 200);
    while !raw
        .ask("GET", &path, "", None)
        .await
        .1
        .contains("connected as")
    {}
    (raw, path)
}

/// Tries a WebSocket for the session with this path; it is returned as long as it is open.
async fn try_web_socket(app: &TestApp, path: &str, how: Break) -> Option<Raw> {
    let path = path.replace("transport=polling", "transport=websocket");
    let mut raw = Raw::web_socket(app, &path).await;
    match how {
        Break::Silent => return Some(raw),
        Break::Cut => {}
        Break::CutAfterProbe => {
            raw.send(&frame(0x81, b"2probe")).await;
            assert_eq!(raw.next_frame().await, Some((0x81, b"3probe".to_vec())));
        }
        Break::Junk => {
            raw.send(&frame(0x81, b"42[\"x\"]")).await;
            assert!(raw.close_frame().await.is_some());
        }
    }
    None
}

#[tokio::test]
async fn broken_upgrade_leaves_the_polling_session_alone() {
    for how in BREAKS {
        let app = TestApp::start().await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let (mut raw, path) = listener(&app).await;
        // Twice: a client may try again.
        let held = try_web_socket(&app, &path, how).await;
        let _held = (held, try_web_socket(&app, &path, how).await);
        for number in 0..5 {
            streamer.upload(&clip(number, 100)).await;
            streamer.is_received().await;
        }
        let mut clips = 0;
        while clips < 5 {
            let (status, body) = raw.ask("GET", &path, "", None).await;
            assert_eq!(status, 200, "{how:?}");
            clips += body
                .split('\u{1e}')
                .filter(|packet| packet.starts_with('b'))
                .count();
            if body.contains('2') {
                raw.ask("POST", &path, "", Some("3")).await;
            }
        }
        app.until_metric("castaway_listeners", |count| count == 1)
            .await;
    }
}

#[tokio::test]
async fn poll_ends_with_noop_while_the_client_upgrades() {
    let app = TestApp::start().await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let (mut raw, path) = listener(&app).await;
    let path_of_web_socket = path.replace("transport=polling", "transport=websocket");
    let mut web_socket = Raw::web_socket(&app, &path_of_web_socket).await;
    web_socket.send(&frame(0x81, b"2probe")).await;
    assert_eq!(
        web_socket.next_frame().await,
        Some((0x81, b"3probe".to_vec()))
    );
    // Each poll until the client has stopped polling, and long before the next ping.
    for _ in 0..2 {
        loop {
            let polled = timeout(Duration::from_secs(5), raw.ask("GET", &path, "", None)).await;
            if polled.expect("an answer") == (200, "6".to_owned()) {
                break;
            }
        }
    }
    web_socket.send(&frame(0x81, b"5")).await;
    web_socket.send(&frame(0x81, b"41/listener,")).await;
    app.until_metric("castaway_listeners", |count| count == 0)
        .await;
    assert_eq!(raw.ask("GET", &path, "", None).await.0, 400, "it has moved");
    let second = web_socket_status(&app, &path_of_web_socket, &handshake()).await;
    assert_eq!(second, 400, "it has a WebSocket already");
}

async fn web_socket_status(app: &TestApp, path: &str, headers: &str) -> u16 {
    let mut raw = Raw::connect(app).await;
    raw.ask("GET", path, headers, None).await.0
}

#[tokio::test]
async fn handshake_is_judged_by_its_headers() {
    let app = TestApp::start().await;
    let good = handshake();
    let two_lines = good.replace(
        "Connection: Upgrade",
        "Connection: keep-alive\r\nConnection: Upgrade",
    );
    let two_upgrades = good.replace("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: WebSocket");
    let key = |key: &str| good.replace("dGhlIHNhbXBsZSBub25jZQ==", key);
    let twice = format!("{good}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    let unknown = format!("{WEB_SOCKET}&sid=AAAAAAAAAAAAAAHs");
    for (path, headers, status) in [
        (WEB_SOCKET, &good, 101),
        (WEB_SOCKET, &two_lines, 101),
        (WEB_SOCKET, &two_upgrades, 101),
        (WEB_SOCKET, &key("short"), 400),
        (WEB_SOCKET, &key("dGhlIHNhbXBsZSBub25jZQ"), 400),
        (WEB_SOCKET, &key("dGhlIHNhbXBsZSBub25jZSE5OTk="), 400),
        (WEB_SOCKET, &key(""), 400),
        (WEB_SOCKET, &twice, 400),
        (WEB_SOCKET, &good.replace("13", "12"), 426),
        (&unknown, &good, 400),
    ] {
        assert_eq!(
            web_socket_status(&app, path, headers).await,
            status,
            "{headers}"
        );
    }
    let mut raw = Raw::connect(&app).await;
    let (status, body) = raw.ask("GET", &format!("{POLLING}&sid=x"), "", None).await;
    assert_eq!(
        (status, &*body),
        (400, r#"{"code":1,"message":"Session ID unknown"}"#)
    );
    let open = timeout(
        TEST_TIMEOUT,
        app.until_metric("castaway_sessions", |count| count == 0),
    );
    open.await.expect("no session is left");
}
