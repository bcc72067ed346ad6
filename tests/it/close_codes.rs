//! Why a WebSocket is closed, as its Close frame says it.

use std::time::Duration;

use crate::support::app::TestApp;
use crate::support::raw::{Raw, WEB_SOCKET, connect, frame};

/// What is answered to these bytes on a new session.
async fn closed_for(app: &TestApp, joined: bool, bytes: &[u8]) -> Option<u16> {
    let mut raw = Raw::web_socket(app, WEB_SOCKET).await;
    if joined {
        let join = connect(app, "streamer", "ada", "show");
        raw.send(&frame(0x81, join.as_bytes())).await;
        raw.next_text(|text| text.contains("connected as"))
            .await
            .expect("success");
    }
    raw.send(bytes).await;
    let (code, reason) = raw.close_frame().await?;
    assert!(!reason.is_empty(), "{code} without a reason");
    Some(code)
}

#[tokio::test]
async fn close_frame_has_the_code_of_the_fault() {
    let app = TestApp::start().await;
    let ceiling = 8 << 20;
    for (joined, bytes, code) in [
        (false, frame(0xc1, b"x"), 1002),
        (true, frame(0xc1, b"x"), 1002),
        (false, frame(0x83, b"x"), 1002),
        (false, frame(0x80, b"x"), 1002),
        (false, vec![0x81, 1, b'2'], 1002),
        (false, frame(0x81, b"4\xff"), 1007),
        (true, frame(0x81, b"4\xc3"), 1007),
        (false, frame(0x81, b"4x"), 1008),
        (true, frame(0x81, b"4x"), 1008),
        (false, frame(0x82, &vec![0; (16 << 10) + 1]), 1009),
        (true, frame(0x82, &vec![0; ceiling + 1]), 1009),
        (false, frame(0x81, b"1"), 1000),
    ] {
        let shown = &bytes[..bytes.len().min(8)];
        let closed = closed_for(&app, joined, &bytes).await;
        assert_eq!(closed, Some(code), "joined: {joined}, {shown:?}");
    }
    app.until_metric("castaway_sessions", |count| count == 0)
        .await;
    app.until_metric("castaway_connections", |count| count == 0)
        .await;
}

#[tokio::test]
async fn session_without_a_namespace_is_told_why() {
    let app = TestApp::with_config(|config| {
        config.server.connect_timeout = Duration::from_millis(300);
    })
    .await;
    let mut raw = Raw::web_socket(&app, WEB_SOCKET).await;
    let told = raw.close_frame().await;
    assert_eq!(
        told,
        Some((1008, "no namespace was joined in time".to_owned()))
    );
}

#[tokio::test]
async fn client_of_a_stopping_server_is_told_so() {
    let app = TestApp::start().await;
    let mut raw = Raw::web_socket(&app, WEB_SOCKET).await;
    raw.next_text(|text| text.starts_with("0{"))
        .await
        .expect("OPEN");
    let (told, _) = tokio::join!(raw.close_frame(), app.stop());
    assert_eq!(told.map(|(code, _)| code), Some(1001));
}
